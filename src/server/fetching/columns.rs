//! Columns that specs name by their ids: every answer with records passes through here on its way to the cache, and holds
//! their cells under the names that the spec uses.
//!
//! Where the base's schema may be read, it says what the columns are called: answers by name are put under the ids, and one
//! that holds a column which the schema does not know is a sign that it changed. Where it may not, records are read by ids;
//! and if the spec names other columns by their names, a second time: for those.

pub(crate) mod known;

pub(crate) use crate::server::fetching::columns::known::learn;

use crate::server::desk::desk;
use crate::server::fetching::columns::known::{bases, is_futile, known};
use crate::server::fetching::schema;
use crate::server::state::clock;
use crate::server::state::lane::Lane;
use crate::server::upstream::fault::is_refusal;
use crate::server::upstream::figures::{self, Cause};
use podium_airtable::{Ask, Client, Damaged, Failure, FailureKind, ListQuery, Page, Phase, Record};
use podium_core::columns::{names_ids, Names};
use podium_core::pace::Class;
use podium_core::question;
use podium_core::spec::Spec;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// Calls for one page of records by ids.
const MOST_CALLS: usize = 8;

/// One more call in the place of one.
fn also<T>(
    lane: &Lane,
    cause: Cause,
    call: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    {
        let mut d = desk();
        let base = d.base(&lane.base);
        d.sched.also(base, Class::Read, clock::mono_ms());
    }
    let begun = Instant::now();
    let result = call();
    figures::call(cause, begun.elapsed().as_millis() as u64, 0);
    result
}

/// Reads the schema; `None`: it cannot be had, or does not hold the table.
fn fresh(client: &Client, ask: &Ask, lane: &Lane) -> Option<Arc<Names>> {
    if is_futile(ask.base) {
        return None;
    }
    match also(lane, Cause::Meta, || client.tables(ask)) {
        Ok(schema) => {
            // What specs lack in it is found out by the way: the check behind the first fetch needs no call of its own.
            schema::take_in(ask.base, &schema);
            known(ask.base, ask.table)
        }
        Err(f) => {
            let refused = is_refusal(&f);
            if refused {
                let mut known = bases();
                let b = known.entry(ask.base.to_string()).or_default();
                b.refused_ms = Some(clock::mono_ms());
            }
            None
        }
    }
}

/// One page of a table, its cells under the names that the spec uses.
pub(crate) fn list(
    client: &Client,
    ask: &Ask,
    lane: &Lane,
    query: &ListQuery,
) -> Result<Page, Failure> {
    let columns = lane.spec.columns();
    if columns.ids.is_empty() || query.by_field_id {
        return client.list(ask, query);
    }
    // What is asked and answered by ids needs no names.
    let asks_by_id = query.formula.is_some_and(names_ids);
    if columns.only_ids() && !asks_by_id {
        let query = ListQuery {
            by_field_id: true,
            ..*query
        };
        return client.list(ask, &query);
    }
    let names = known(ask.base, ask.table).or_else(|| fresh(client, ask, lane));
    let Some(names) = names else {
        let by_field_id = columns.only_ids();
        let query = ListQuery {
            by_field_id,
            ..*query
        };
        let mut page = client.list(ask, &query)?;
        if !by_field_id {
            by_ids(client, ask, lane, rows(&mut page))?;
        }
        return Ok(page);
    };
    let named = |names: &Names| {
        let formula = query.formula.map(|f| names.in_formula(f));
        let query = ListQuery {
            formula: formula.as_deref(),
            ..*query
        };
        client.list(ask, &query)
    };
    let mut page = match named(&names) {
        Err(f) if asks_by_id && matches!(f.kind, FailureKind::UnknownField(_)) => {
            match fresh(client, ask, lane).filter(|now| *now != names) {
                Some(now) => also(lane, lane.cause, || named(&now)),
                None => Err(f),
            }
            .map_err(|f| told_by_id(f, lane, &names))
        }
        result => result,
    }?;
    put_under_ids(client, ask, lane, names, rows(&mut page))?;
    Ok(page)
}

/// What was written, its cells under the names that the spec uses.
pub(crate) fn written(
    client: &Client,
    ask: &Ask,
    lane: &Lane,
    mut records: Vec<Result<Record, Damaged>>,
) -> Result<Vec<Result<Record, Damaged>>, Failure> {
    if lane.spec.columns().ids.is_empty() || records.is_empty() {
        return Ok(records);
    }
    let rows: Vec<Row> = records
        .iter_mut()
        .filter_map(|r| match r {
            Ok(r) => Some(Row::of(r)),
            Err(d) => Row::of_damaged(d),
        })
        .collect();
    let result = match known(ask.base, ask.table).or_else(|| fresh(client, ask, lane)) {
        Some(names) => put_under_ids(client, ask, lane, names, rows),
        None => by_ids(client, ask, lane, rows),
    };
    match result {
        Ok(()) => Ok(records),
        Err(mut f) => {
            f.may_have_applied = true;
            Err(f)
        }
    }
}

/// The cells that a client told, under the names that the spec uses. `None`: it cannot be said which columns they are of.
pub(crate) fn told<'a>(
    base: &str,
    spec: &Spec,
    cells: &'a Map<String, Value>,
) -> Option<Cow<'a, Map<String, Value>>> {
    let columns = spec.columns();
    if columns.ids.is_empty() {
        return Some(Cow::Borrowed(cells));
    }
    if let Some(names) = known(base, spec.table()) {
        let mut cells = cells.clone();
        names.put_under_ids(columns, &mut cells);
        return Some(Cow::Owned(cells));
    }
    let told = |f: &podium_core::spec::Field| {
        cells.contains_key(&f.airtable) || cells.contains_key(&f.name)
    };
    let by_id = |f: &&podium_core::spec::Field| columns.ids.contains(&f.airtable);
    let strange = |name: &String| {
        name != "id"
            && !columns.names.contains(name)
            && !columns.ids.contains(name)
            && spec.field(name).is_none()
    };
    let clear =
        spec.open() || spec.fields().iter().filter(by_id).all(told) || !cells.keys().any(strange);
    clear.then_some(Cow::Borrowed(cells))
}

/// A record's cells, as far as they can be read.
struct Row<'a> {
    id: &'a str,
    cells: &'a mut Map<String, Value>,
}

impl<'a> Row<'a> {
    fn of(r: &'a mut Record) -> Row<'a> {
        Row {
            id: &r.id,
            cells: &mut r.fields,
        }
    }
    fn of_damaged(d: &'a mut Damaged) -> Option<Row<'a>> {
        Some(Row {
            id: d.id.as_deref()?,
            cells: d.fields.as_mut()?,
        })
    }
}

fn rows(page: &mut Page) -> Vec<Row<'_>> {
    let whole = page.records.iter_mut().map(Row::of);
    let damaged = page.damaged.iter_mut().filter_map(Row::of_damaged);
    whole.chain(damaged).collect()
}

/// Puts the cells of an answer by names under the ids.
fn put_under_ids(
    client: &Client,
    ask: &Ask,
    lane: &Lane,
    names: Arc<Names>,
    records: Vec<Row>,
) -> Result<(), Failure> {
    let all_known = |names: &Names, records: &[Row]| records.iter().all(|r| names.know(r.cells));
    let names = if all_known(&names, &records) {
        names
    } else {
        let Some(now) = fresh(client, ask, lane) else {
            return by_ids(client, ask, lane, records);
        };
        if all_known(&now, &records) {
            now
        } else {
            // The schema just read does not tell of it: it will not, if it is read again.
            let mut all = (*now).clone();
            records.iter().for_each(|r| all.accept(r.cells));
            let all = Arc::new(all);
            if let Some(b) = bases().get_mut(ask.base) {
                b.tables.insert(ask.table.to_string(), all.clone());
            }
            all
        }
    };
    for r in records {
        names.put_under_ids(lane.spec.columns(), r.cells);
    }
    Ok(())
}

/// Reads records that came by name once more, by ids, for the columns that the spec names so.
fn by_ids(client: &Client, ask: &Ask, lane: &Lane, mut left: Vec<Row>) -> Result<(), Failure> {
    let columns = lane.spec.columns();
    for _ in 0..MOST_CALLS {
        if left.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = left.iter().take(100).map(|r| r.id).collect();
        let formula = question::ids_formula(&ids);
        let query = ListQuery {
            formula: Some(&formula),
            page_size: 100,
            by_field_id: true,
            ..ListQuery::default()
        };
        let mut page = also(lane, lane.cause, || client.list(ask, &query))?;
        let before = left.len();
        left.retain_mut(|r| {
            let whole = page.records.iter_mut().find(|p| p.id == r.id);
            let damaged = page
                .damaged
                .iter_mut()
                .find(|d| d.id.as_deref() == Some(r.id));
            let cells = match (whole, damaged) {
                (Some(p), _) => Some(&mut p.fields),
                (None, Some(d)) => d.fields.as_mut(),
                (None, None) => return true,
            };
            if let Some(cells) = cells {
                for id in &columns.ids {
                    if let Some(cell) = cells.shift_remove(id) {
                        r.cells.insert(id.clone(), cell);
                    }
                }
            }
            false
        });
        if left.len() == before {
            break;
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    // One of them was deleted in between, or Airtable left it out: what the others hold is asked for again.
    Err(Failure {
        kind: FailureKind::Retriable,
        status: None,
        error_type: None,
        message: "records changed while they were read".into(),
        retry_after: None,
        phase: Phase::Parse,
        may_have_applied: false,
    })
}

/// Names that a formula was refused for, by the ids that the spec uses for them.
fn told_by_id(mut f: Failure, lane: &Lane, names: &Names) -> Failure {
    if let FailureKind::UnknownField(unknown) = &mut f.kind {
        let ids = lane.spec.columns().ids.iter().filter(|id| {
            let name = names.name(id).map(str::to_lowercase);
            name.is_some_and(|name| unknown.iter().any(|u| u.to_lowercase() == name))
        });
        let ids: Vec<String> = ids.cloned().collect();
        unknown.extend(ids);
    }
    f
}
