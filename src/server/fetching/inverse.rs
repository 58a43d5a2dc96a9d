//! An index question about a link for which the table has no usable lookup, by the way back: the linked record's own cell
//! holds the ids, and those are read by id. Instead of the whole table.

use crate::server::desk::desk;
use crate::server::desk::job;
use crate::server::desk::job::WayBack;
use crate::server::desk::job::{Mode, Question};
use crate::server::fetching;
use crate::server::fetching::landing;
use crate::server::fetching::missing::missing;
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::lane::Lane;
use crate::server::upstream::fault::is_refusal;
use compact_str::CompactString;
use podium_airtable::{ListQuery, Record};
use podium_core::missing::{Asked, Missing};
use podium_core::pace::{CallId, Class, Outcome};
use podium_core::question;
use podium_core::spec::record_id_ok;
use serde_json::Value;
use std::sync::Arc;

/// The way back of a link field, where the base's schema is known.
pub(crate) fn of(st: &State, ix: EntityIx, field: u16) -> Option<WayBack> {
    let (_, link) = st.link_found(ix, field)?;
    Some(WayBack {
        table: link.table.as_str().into(),
        field: link.inverse.as_deref()?.into(),
    })
}

/// One call of it.
pub(crate) fn step(
    id: CallId,
    class: Class,
    job: &Arc<job::Job>,
    q: &Question,
    left: Option<Vec<CompactString>>,
    sent: u64,
    asked_ms: u64,
) {
    let plan = fetching::size::plan(&q.lane);
    match left {
        None => {
            let value = q
                .asks
                .as_ref()
                .and_then(|(_, v)| std::str::from_utf8(v).ok());
            let (Some(value), Some(way)) = (value, &q.way_back) else {
                return close(id, job, q, sent);
            };
            let formula = question::ids_formula(&[value]);
            let lane = Lane {
                table: way.table.clone(),
                ..q.lane.clone()
            };
            let query = ListQuery {
                formula: Some(&formula),
                page_size: 1,
                by_field_id: true,
                ..ListQuery::default()
            };
            match fetching::list_for(q, &lane, &query, class) {
                Ok(page) => {
                    let missing = missing(&mut Asked::all([value]), &page);
                    let record = page.records.iter().find(|r| r.id == value);
                    match (record, missing) {
                        (Some(record), _) => {
                            go_on(id, job, q, sent, asked_ms, linked(record, &way.field))
                        }
                        // A record that is not there is linked to by none.
                        (None, Missing::Gone) => go_on(id, job, q, sent, asked_ms, Vec::new()),
                        (None, _) => close(id, job, q, sent),
                    }
                }
                Err(f) if is_refusal(&f) => close(id, job, q, sent),
                Err(f) => fetching::page_failed(id, job, q, sent, f),
            }
        }
        Some(left) => {
            let (ids, rest) = left.split_at(left.len().min(plan.size.into()));
            let formula = question::ids_formula(ids);
            let query = ListQuery {
                formula: Some(&formula),
                page_size: plan.size,
                fields: &plan.columns,
                ..ListQuery::default()
            };
            let result = fetching::list_for(q, &q.lane, &query, class);
            if fetching::size::note(&q.lane, &plan, &result) {
                return fetching::go_on(id, job, q, sent);
            }
            match result {
                Ok(page) => {
                    let short = match missing(&mut Asked::all(ids), &page) {
                        Missing::None | Missing::Gone => false,
                        // No set is complete that may lack what does not say which record it is.
                        Missing::Unread if page.nameless == 0 => true,
                        Missing::Unread | Missing::Unknown(_) => return close(id, job, q, sent),
                    };
                    let left = {
                        let mut p = q.progress.lock();
                        p.take(&q.lane, &page, sent, asked_ms);
                        // What a short page left out is asked for again.
                        let came = |i: &CompactString| {
                            p.records.contains_key(i) || p.damaged.contains_key(i)
                        };
                        let lacking = |i: &CompactString| short && !came(i);
                        let again = ids.iter().filter(|i| lacking(i));
                        again.chain(rest).cloned().collect()
                    };
                    go_on(id, job, q, sent, asked_ms, left);
                }
                Err(f) => fetching::page_failed(id, job, q, sent, f),
            }
        }
    }
}

/// The ids in the linked record's cell.
fn linked(record: &Record, field: &str) -> Vec<CompactString> {
    let cell = record.fields.get(field);
    let ids = cell
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    ids.filter(|i| record_id_ok(i.as_bytes()))
        .map(CompactString::new)
        .collect()
}

fn go_on(
    id: CallId,
    job: &Arc<job::Job>,
    q: &Question,
    sent: u64,
    asked_ms: u64,
    left: Vec<CompactString>,
) {
    let listing = {
        let mut p = q.progress.lock();
        if left.is_empty() {
            Some(std::mem::take(&mut *p))
        } else {
            p.mode = Mode::WayBack(Some(left));
            None
        }
    };
    match listing {
        Some(listing) => {
            desk().sched.done(id, Outcome::Ok, clock::mono_ms(), 0);
            landing::question(q, sent, asked_ms, listing);
        }
        None => fetching::go_on(id, job, q, sent),
    }
}

/// The way back is of no use (the schema has changed since it was discovered): the whole table it is.
fn close(id: CallId, job: &Arc<job::Job>, q: &Question, sent: u64) {
    q.progress.lock().mode = Mode::Table;
    fetching::go_on(id, job, q, sent);
}
