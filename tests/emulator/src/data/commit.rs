//! Transactions: all operations or none, both ends of links, and what changed for webhooks and lagging cells.

use super::dependents::{self, CellRef};
use super::input::Cells;
use super::model::{is_empty_cell, linked_ids, Base, Kind, Record};
use super::reader::Reader;
use super::show;
use crate::ids::Id;
use crate::webhooks;
use indexmap::{IndexMap, IndexSet};
use serde_json::{json, Value as Json};
use std::collections::{HashMap, HashSet};

/// One operation on one record; cells are checked already, null clears.
pub(crate) enum Operation {
    Create { table: Id, record: Id, cells: Cells },
    Update { table: Id, record: Id, cells: Cells },
    Delete { table: Id, record: Id },
}

/// The circumstances of a transaction.
#[derive(Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) now_ms: i64,
    pub(crate) separator: &'a str,
    /// How long computed cells show their old value.
    pub(crate) computed_lag_ms: i64,
    /// How long payloads take until they can be listed.
    pub(crate) payload_delay_ms: i64,
    /// Payloads leave out the other ends of links.
    pub(crate) one_ended_payloads: bool,
    /// `client`, `publicApi`, …
    pub(crate) source: &'a str,
}

/// By table, record and field: the payload cells before and after.
pub(crate) type Changes = IndexMap<Id, IndexMap<Id, IndexMap<Id, (Json, Json)>>>;

/// What a transaction did, as webhooks report it.
#[derive(Default)]
pub(crate) struct Transaction {
    pub(crate) created: Vec<(Id, Id)>,
    pub(crate) changed: Changes,
    /// Computed cells that changed in consequence.
    pub(crate) recomputed: Changes,
    pub(crate) destroyed: Vec<(Id, Id)>,
}

/// Applies the operations, keeps both ends of every link, and tells the base's webhooks.
pub(crate) fn commit(base: &mut Base, operations: Vec<Operation>, at: Circumstances<'_>) {
    let mut draft = Draft {
        base,
        edits: IndexMap::new(),
        created: IndexSet::new(),
        destroyed: IndexSet::new(),
    };
    let named = at.one_ended_payloads.then(|| named_cells(&operations));
    for operation in operations {
        draft.plan(operation);
    }
    let Draft {
        edits,
        created,
        destroyed,
        ..
    } = draft;
    let edits = without_repeats(base, edits, &created, &destroyed);
    if edits.is_empty() && destroyed.is_empty() && created.is_empty() {
        return;
    }
    let cells = edits.iter().flat_map(|((table, record), cells)| {
        cells.keys().map(|field| CellRef {
            table: table.clone(),
            record: record.clone(),
            field: field.clone(),
        })
    });
    let written: Vec<CellRef> = cells.collect();
    let derived = dependents::of(base, written.iter().cloned());
    let observed = !base.webhooks.is_empty() || at.computed_lag_ms > 0;
    let before = if observed {
        snapshot(base, written.iter().chain(&derived), at)
    } else {
        HashMap::new()
    };

    apply(base, edits, &created, &destroyed, at.now_ms);
    base.transaction += 1;
    if !observed {
        return;
    }
    let after = snapshot(base, written.iter().chain(&derived), at);
    let mut transaction = Transaction {
        created: created.iter().cloned().collect(),
        destroyed: destroyed.iter().cloned().collect(),
        ..Transaction::default()
    };
    let is_new = |cell: &CellRef| created.contains(&(cell.table.clone(), cell.record.clone()));
    difference(
        &mut transaction.changed,
        written
            .iter()
            .filter(|c| !is_new(c) && named.as_ref().is_none_or(|n| n.contains(*c))),
        &before,
        &after,
    );
    difference(
        &mut transaction.recomputed,
        derived.iter().filter(|c| !is_new(c)),
        &before,
        &after,
    );
    if at.computed_lag_ms > 0 {
        // What a new record shows of others comes late, so it is told of late as well.
        for cell in derived
            .iter()
            .filter(|c| is_new(c) && follows_links(base, c))
        {
            let Some((_, new)) = after.get(cell).filter(|(_, new)| !new.is_null()) else {
                continue;
            };
            let records = transaction
                .recomputed
                .entry(cell.table.clone())
                .or_default();
            let cells = records.entry(cell.record.clone()).or_default();
            cells.insert(cell.field.clone(), (Json::Null, new.clone()));
        }
    }
    webhooks::report(base, &transaction, at);
    if at.computed_lag_ms > 0 {
        lag(base, &derived, &before, &after, at);
    }
}

/// The cells that operations write themselves.
fn named_cells(operations: &[Operation]) -> HashSet<CellRef> {
    let mut named = HashSet::new();
    for operation in operations {
        let Operation::Update {
            table,
            record,
            cells,
        } = operation
        else {
            continue;
        };
        named.extend(cells.keys().map(|field| CellRef {
            table: table.clone(),
            record: record.clone(),
            field: field.clone(),
        }));
    }
    named
}

type Edits = IndexMap<(Id, Id), HashMap<Id, Json>>;

struct Draft<'a> {
    base: &'a Base,
    edits: Edits,
    created: IndexSet<(Id, Id)>,
    destroyed: IndexSet<(Id, Id)>,
}

impl Draft<'_> {
    fn plan(&mut self, operation: Operation) {
        match operation {
            Operation::Create {
                table,
                record,
                cells,
            } => {
                self.created.insert((table.clone(), record.clone()));
                self.edits
                    .entry((table.clone(), record.clone()))
                    .or_default();
                self.write(&table, &record, cells);
            }
            Operation::Update {
                table,
                record,
                cells,
            } => self.write(&table, &record, cells),
            Operation::Delete { table, record } => self.delete(table, record),
        }
    }

    fn write(&mut self, table: &Id, record: &Id, cells: Cells) {
        for (field, cell) in cells {
            self.unlink_and_link(table, record, &field, &cell);
            self.edits
                .entry((table.clone(), record.clone()))
                .or_default()
                .insert(field, cell);
        }
    }

    fn current(&self, table: &Id, record: &Id, field: &Id) -> Option<&Json> {
        let edited = self
            .edits
            .get(&(table.clone(), record.clone()))
            .and_then(|cells| cells.get(field));
        edited.or_else(|| {
            self.base
                .table(table)?
                .records
                .get(record)?
                .cells
                .get(field)
        })
    }

    /// Keeps the other end of a link cell that is about to become `cell`.
    fn unlink_and_link(&mut self, table: &Id, record: &Id, field: &Id, cell: &Json) {
        let kind = self
            .base
            .table(table)
            .and_then(|t| t.fields.get(field))
            .map(|f| &f.kind);
        let Some(Kind::Link {
            table: target,
            inverse: Some(inverse),
        }) = kind
        else {
            return;
        };
        let ids = |cell: Option<&Json>| linked_ids(cell).map(Id::from).collect::<IndexSet<Id>>();
        let (old, new) = (ids(self.current(table, record, field)), ids(Some(cell)));
        for lost in old.difference(&new) {
            let mut back = ids(self.current(target, lost, inverse));
            back.shift_remove(record);
            self.set_links(target, lost, inverse, &back);
        }
        for gained in new.difference(&old) {
            let mut back = ids(self.current(target, gained, inverse));
            back.insert(record.clone());
            self.set_links(target, gained, inverse, &back);
        }
    }

    fn set_links(&mut self, table: &Id, record: &Id, field: &Id, ids: &IndexSet<Id>) {
        let cell = if ids.is_empty() {
            Json::Null
        } else {
            ids.iter().map(|id| json!(&**id)).collect()
        };
        self.edits
            .entry((table.clone(), record.clone()))
            .or_default()
            .insert(field.clone(), cell);
    }

    fn delete(&mut self, table: Id, record: Id) {
        let base = self.base;
        for field in base
            .table(&table)
            .into_iter()
            .flat_map(|t| t.fields.values())
        {
            self.unlink_and_link(&table, &record, &field.id, &Json::Null);
        }
        // Links without another end are found by looking.
        for other in &base.tables {
            for field in other.fields.values() {
                if !matches!(&field.kind, Kind::Link { table: target, inverse: None } if *target == table)
                {
                    continue;
                }
                for id in other.records.keys() {
                    let mut links: IndexSet<Id> =
                        linked_ids(self.current(&other.id, id, &field.id))
                            .map(Id::from)
                            .collect();
                    if links.shift_remove(&record) {
                        self.set_links(&other.id, id, &field.id, &links);
                    }
                }
            }
        }
        let key = (table, record);
        self.edits.shift_remove(&key);
        self.destroyed.insert(key);
    }
}

/// Leaves out cells that already are what is written, and records that go.
fn without_repeats(
    base: &Base,
    edits: Edits,
    created: &IndexSet<(Id, Id)>,
    destroyed: &IndexSet<(Id, Id)>,
) -> Edits {
    let mut kept = Edits::new();
    for ((table, record), mut cells) in edits {
        if destroyed.contains(&(table.clone(), record.clone())) {
            continue;
        }
        let old = base.table(&table).and_then(|t| t.records.get(&record));
        cells.retain(|field, cell| {
            old.and_then(|r| r.cells.get(field)).unwrap_or(&Json::Null) != cell
        });
        let key = (table, record);
        if !cells.is_empty() || created.contains(&key) {
            kept.insert(key, cells);
        }
    }
    kept
}

fn apply(
    base: &mut Base,
    edits: Edits,
    created: &IndexSet<(Id, Id)>,
    destroyed: &IndexSet<(Id, Id)>,
    now_ms: i64,
) {
    for (table, record) in created {
        base.homes.insert(record.clone(), table.clone());
        let Some(table) = base.table_mut(table) else {
            continue;
        };
        let mut new = Record {
            created_ms: now_ms,
            modified_ms: now_ms,
            cells: HashMap::new(),
        };
        for field in table.fields.values() {
            match field.kind {
                Kind::AutoNumber => new.cells.insert(field.id.clone(), json!(table.next_number)),
                Kind::CreatedBy => {
                    let user = json!({"id": crate::api::USER_ID, "email": crate::api::USER_EMAIL, "name": crate::api::USER_NAME});
                    new.cells.insert(field.id.clone(), user)
                }
                _ => None,
            };
        }
        table.next_number += 1;
        table.records.insert(record.clone(), new);
    }
    for ((table, record), cells) in edits {
        let Some(record) = base
            .table_mut(&table)
            .and_then(|t| t.records.get_mut(&record))
        else {
            continue;
        };
        record.modified_ms = now_ms;
        for (field, cell) in cells {
            if is_empty_cell(&cell) {
                record.cells.remove(&field);
            } else {
                record.cells.insert(field, cell);
            }
        }
    }
    for (table, record) in destroyed {
        base.homes.remove(record);
        if let Some(table) = base.table_mut(table) {
            table.records.shift_remove(record);
        }
    }
}

/// A cell as reads show it and as payloads do.
type Seen = (Json, Json);

fn snapshot<'c>(
    base: &Base,
    cells: impl Iterator<Item = &'c CellRef>,
    at: Circumstances<'_>,
) -> HashMap<CellRef, Seen> {
    let reader = Reader::new(base, at.now_ms, at.separator);
    cells
        .filter_map(|cell| {
            let table = base.table(&cell.table)?;
            let (row, field) = (
                reader.row(table, &cell.record)?,
                table.fields.get(&cell.field)?,
            );
            let seen = (
                reader.cell(row, field).into_owned(),
                show::payload_cell(&reader, row, field),
            );
            Some((cell.clone(), seen))
        })
        .collect()
}

fn difference<'c>(
    changes: &mut Changes,
    cells: impl Iterator<Item = &'c CellRef>,
    before: &HashMap<CellRef, Seen>,
    after: &HashMap<CellRef, Seen>,
) {
    for cell in cells {
        let (Some((_, old)), Some((_, new))) = (before.get(cell), after.get(cell)) else {
            continue;
        };
        if old != new {
            let records = changes.entry(cell.table.clone()).or_default();
            let cells = records.entry(cell.record.clone()).or_default();
            cells.insert(cell.field.clone(), (old.clone(), new.clone()));
        }
    }
}

/// Lets computed cells show their old value for a while, as Airtable may after an edit.
fn lag(
    base: &mut Base,
    derived: &IndexSet<CellRef>,
    before: &HashMap<CellRef, Seen>,
    after: &HashMap<CellRef, Seen>,
    at: Circumstances<'_>,
) {
    base.lagging
        .retain(|_, (until_ms, _)| *until_ms > at.now_ms);
    for cell in derived {
        let old = before.get(cell).map_or(&Json::Null, |(old, _)| old);
        // A new record's own formulas are there at once; what it shows of others may not be.
        let may_lag = before.contains_key(cell) || follows_links(base, cell);
        if may_lag && after.get(cell).is_some_and(|(new, _)| new != old) {
            let until_ms = at.now_ms + at.computed_lag_ms;
            base.lagging.insert(
                (cell.record.clone(), cell.field.clone()),
                (until_ms, old.clone()),
            );
        }
    }
}

/// Whether a cell is computed from linked records.
fn follows_links(base: &Base, cell: &CellRef) -> bool {
    let field = base
        .table(&cell.table)
        .and_then(|t| t.fields.get(&cell.field));
    field.is_some_and(|f| {
        matches!(
            f.kind,
            Kind::Lookup { .. } | Kind::Rollup { .. } | Kind::Count { .. }
        )
    })
}
