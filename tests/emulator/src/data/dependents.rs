//! Which computed cells may change when stored cells do: the schema's dependencies, followed record by record.

use super::model::{linked_ids, Base, Kind};
use crate::formula::Function;
use crate::ids::Id;
use indexmap::IndexSet;
use std::collections::HashMap;

/// One cell: table, record, field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CellRef {
    pub(crate) table: Id,
    pub(crate) record: Id,
    pub(crate) field: Id,
}

/// A storm of dependents ends here; a base that large is beyond what the emulator needs to report exactly.
const MAX_DEPENDENTS: usize = 200_000;

enum Edge {
    /// A computed field of the same record.
    Here(Id),
    /// A computed field of the records of a table that link here through a field.
    Through { table: Id, link: Id, field: Id },
}

/// Computed cells that depend, directly or not, on the given stored cells, by the links as they are now.
///
/// Cells that are about to gain or lose a link are covered when the link cell itself is among `changed`.
pub(crate) fn of(base: &Base, changed: impl Iterator<Item = CellRef>) -> IndexSet<CellRef> {
    let edges = edges(base);
    let mut pending: Vec<CellRef> = changed.collect();
    let mut found = IndexSet::new();
    while let Some(cell) = pending.pop() {
        for edge in edges.get(&cell.field).into_iter().flatten() {
            let next: Vec<CellRef> = match edge {
                Edge::Here(field) => vec![CellRef {
                    field: field.clone(),
                    ..cell.clone()
                }],
                Edge::Through { table, link, field } => linkers(base, &cell, table, link)
                    .into_iter()
                    .map(|record| CellRef {
                        table: table.clone(),
                        record,
                        field: field.clone(),
                    })
                    .collect(),
            };
            for cell in next {
                if found.len() < MAX_DEPENDENTS && found.insert(cell.clone()) {
                    pending.push(cell);
                }
            }
        }
    }
    found
}

/// The records of `table` whose cell `link` holds the record.
fn linkers(base: &Base, cell: &CellRef, table: &Id, link: &Id) -> Vec<Id> {
    let Some(table) = base.table(table) else {
        return Vec::new();
    };
    let record = base
        .table(&cell.table)
        .and_then(|t| t.records.get(&cell.record));
    if let (
        Some(Kind::Link {
            inverse: Some(inverse),
            ..
        }),
        Some(record),
    ) = (table.fields.get(link).map(|f| &f.kind), record)
    {
        let ids = linked_ids(record.cells.get(inverse));
        return ids
            .filter_map(|id| table.records.get_key_value(id).map(|(id, _)| id.clone()))
            .collect();
    }
    let holds = |id: &str| id == &*cell.record;
    table
        .records
        .iter()
        .filter(|(_, r)| linked_ids(r.cells.get(link)).any(holds))
        .map(|(id, _)| id.clone())
        .collect()
}

fn edges(base: &Base) -> HashMap<Id, Vec<Edge>> {
    let mut edges: HashMap<Id, Vec<Edge>> = HashMap::new();
    for table in &base.tables {
        let stored = || table.fields.values().filter(|f| !f.kind.is_derived());
        for field in table.fields.values() {
            let id = &field.id;
            let mut here = |on: &Id| {
                edges
                    .entry(on.clone())
                    .or_default()
                    .push(Edge::Here(id.clone()))
            };
            match &field.kind {
                Kind::ModifiedTime | Kind::ModifiedBy => stored().for_each(|f| here(&f.id)),
                Kind::Count { link } => here(link),
                Kind::Lookup {
                    link,
                    field: target,
                }
                | Kind::Rollup {
                    link,
                    field: target,
                    ..
                } => {
                    here(link);
                    let edge = Edge::Through {
                        table: table.id.clone(),
                        link: link.clone(),
                        field: id.clone(),
                    };
                    edges.entry(target.clone()).or_default().push(edge);
                }
                Kind::Formula { expr } => {
                    if expr.calls(Function::LastModifiedTime) {
                        stored().for_each(|f| here(&f.id));
                    }
                    for on in expr.fields() {
                        edges
                            .entry(on.clone())
                            .or_default()
                            .push(Edge::Here(id.clone()));
                        // A formula sees a link as the linked records' primary text.
                        let Some(Kind::Link { table: target, .. }) =
                            table.fields.get(on).map(|f| &f.kind)
                        else {
                            continue;
                        };
                        let Some(target) = base.table(target) else {
                            continue;
                        };
                        let edge = Edge::Through {
                            table: table.id.clone(),
                            link: on.clone(),
                            field: id.clone(),
                        };
                        edges.entry(target.primary.clone()).or_default().push(edge);
                    }
                }
                _ => {}
            }
        }
    }
    edges
}
