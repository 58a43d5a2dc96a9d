//! Computes cells: stored ones as they are, the others live from the link cells.

use super::model::{is_empty_cell, linked_ids, Base, Field, Kind, Record, Table};
use crate::datetime;
use crate::formula::{Evaluator, Expr, RowContext, Value};
use crate::ids::Id;
use serde_json::{json, Value as Json};
use std::borrow::Cow;

/// Formulas over lookups over formulas: a cycle through links ends in an error cell at this depth.
const MAX_DEPTH: u8 = 12;

/// Reads one base at one moment.
pub(crate) struct Reader<'a> {
    pub(crate) base: &'a Base,
    pub(crate) now_ms: i64,
    /// Between elements where an array is read as text.
    pub(crate) separator: &'a str,
    pub(crate) evaluator: Evaluator,
}

/// One record of one table.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) table: &'a Table,
    pub(crate) id: &'a Id,
    pub(crate) record: &'a Record,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(base: &'a Base, now_ms: i64, separator: &'a str) -> Self {
        const STEPS_PER_REQUEST: u64 = 200_000_000;
        Self {
            base,
            now_ms,
            separator,
            evaluator: Evaluator::new(STEPS_PER_REQUEST),
        }
    }

    /// A record of a table.
    pub(crate) fn row(&self, table: &'a Table, record: &str) -> Option<Row<'a>> {
        table
            .records
            .get_key_value(record)
            .map(|(id, record)| Row { table, id, record })
    }

    /// The cell as JSON; null when empty.
    pub(crate) fn cell(&self, row: Row<'a>, field: &'a Field) -> Cow<'a, Json> {
        self.cell_at(row, field, 0)
    }

    /// The cell as formulas see it.
    pub(crate) fn value(&self, row: Row<'a>, field: &'a Field) -> Value {
        self.value_at(row, field, 0)
    }

    /// The result of a formula on a record.
    pub(crate) fn evaluate(&self, expr: &Expr, row: Row<'a>) -> Value {
        self.evaluator.run(
            expr,
            &Context {
                reader: self,
                row,
                depth: 0,
                values: None,
            },
        )
    }

    /// The primary field's text, as link cells show it in formulas and payloads.
    pub(crate) fn primary_text(&self, row: Row<'a>) -> Value {
        self.primary_text_at(row, 0)
    }

    fn primary_text_at(&self, row: Row<'a>, depth: u8) -> Value {
        match row.table.fields.get(&row.table.primary) {
            Some(primary) => Value::Text(
                self.value_at(row, primary, depth + 1)
                    .to_text(self.separator),
            ),
            None => Value::Blank,
        }
    }

    /// A cell that overrides the computation: stored for a computed field, or lagging behind an edit.
    fn overriding(&self, row: Row<'a>, field: &Field) -> Option<&'a Json> {
        if !self.base.lagging.is_empty() {
            if let Some((until_ms, old)) =
                self.base.lagging.get(&(row.id.clone(), field.id.clone()))
            {
                if self.now_ms < *until_ms {
                    return Some(old);
                }
            }
        }
        row.record.cells.get(&field.id)
    }

    fn cell_at(&self, row: Row<'a>, field: &'a Field, depth: u8) -> Cow<'a, Json> {
        if let Some(stored) = self.overriding(row, field) {
            return Cow::Borrowed(stored);
        }
        if depth > MAX_DEPTH {
            return Cow::Owned(json!({"error": "#ERROR!"}));
        }
        Cow::Owned(match &field.kind {
            Kind::Lookup {
                link,
                field: target,
            } => {
                let mut found = Vec::new();
                for linked in self.linked(row, link) {
                    let Some(target) = linked.table.fields.get(target) else {
                        continue;
                    };
                    match self.cell_at(linked, target, depth + 1).into_owned() {
                        // A lookup of a list cell is one flat list.
                        Json::Array(items) => found.extend(items),
                        cell if is_empty_cell(&cell) => {}
                        cell => found.push(cell),
                    }
                }
                if found.is_empty() {
                    Json::Null
                } else {
                    Json::Array(found)
                }
            }
            Kind::Rollup { .. } | Kind::Count { .. } | Kind::Formula { .. } => {
                self.value_at(row, field, depth).to_json()
            }
            Kind::CreatedTime => Json::String(datetime::iso(row.record.created_ms)),
            Kind::ModifiedTime => Json::String(datetime::iso(row.record.modified_ms)),
            _ => Json::Null,
        })
    }

    fn value_at(&self, row: Row<'a>, field: &'a Field, depth: u8) -> Value {
        if depth > MAX_DEPTH {
            return Value::Error;
        }
        let stored = self.overriding(row, field);
        match (&field.kind, stored) {
            (Kind::Link { .. }, Some(_)) => Value::Array(
                self.linked(row, &field.id)
                    .map(|linked| self.primary_text_at(linked, depth))
                    .collect(),
            ),
            (Kind::Date, Some(cell)) => date(cell, true),
            (Kind::DateTime | Kind::CreatedTime | Kind::ModifiedTime, Some(cell)) => {
                date(cell, false)
            }
            (_, Some(cell)) => Value::from_json(cell),
            (
                Kind::Lookup {
                    link,
                    field: target,
                },
                None,
            ) => {
                let mut found = Vec::new();
                for linked in self.linked(row, link) {
                    let Some(target) = linked.table.fields.get(target) else {
                        continue;
                    };
                    match self.value_at(linked, target, depth + 1) {
                        Value::Array(items) => found.extend(items),
                        Value::Blank => {}
                        value => found.push(value),
                    }
                }
                if found.is_empty() {
                    Value::Blank
                } else {
                    Value::Array(found)
                }
            }
            (
                Kind::Rollup {
                    link,
                    field: target,
                    aggregate,
                },
                None,
            ) => {
                let values = self
                    .linked(row, link)
                    .filter_map(|linked| {
                        linked
                            .table
                            .fields
                            .get(target)
                            .map(|f| self.value_at(linked, f, depth + 1))
                    })
                    .collect();
                let context = Context {
                    reader: self,
                    row,
                    depth: depth + 1,
                    values: Some(values),
                };
                self.evaluator.run(aggregate, &context)
            }
            (Kind::Count { link }, None) => {
                let linked = self.linked(row, link).count();
                Value::Number(f64::from(u32::try_from(linked).unwrap_or(u32::MAX)))
            }
            (Kind::Formula { expr }, None) => self.evaluator.run(
                expr,
                &Context {
                    reader: self,
                    row,
                    depth: depth + 1,
                    values: None,
                },
            ),
            (Kind::CreatedTime, None) => Value::Date(row.record.created_ms, false),
            (Kind::ModifiedTime, None) => Value::Date(row.record.modified_ms, false),
            (_, None) => Value::Blank,
        }
    }

    /// The records that a link cell points to.
    pub(crate) fn linked(&self, row: Row<'a>, link: &Id) -> impl Iterator<Item = Row<'a>> + 'a {
        let base = self.base;
        let target = match row.table.fields.get(link).map(|f| &f.kind) {
            Some(Kind::Link { table, .. }) => base.table(table),
            _ => None,
        };
        linked_ids(row.record.cells.get(link)).filter_map(move |id| {
            target.and_then(|table| {
                table
                    .records
                    .get_key_value(id)
                    .map(|(id, record)| Row { table, id, record })
            })
        })
    }
}

fn date(cell: &Json, date_only: bool) -> Value {
    match cell.as_str().and_then(datetime::parse) {
        Some(ms) => Value::Date(ms, date_only),
        None => Value::from_json(cell),
    }
}

struct Context<'r, 'a> {
    reader: &'r Reader<'a>,
    row: Row<'a>,
    depth: u8,
    values: Option<Vec<Value>>,
}

impl RowContext for Context<'_, '_> {
    fn record_id(&self) -> Id {
        self.row.id.clone()
    }

    fn created_ms(&self) -> i64 {
        self.row.record.created_ms
    }

    fn modified_ms(&self) -> i64 {
        self.row.record.modified_ms
    }

    fn now_ms(&self) -> i64 {
        self.reader.now_ms
    }

    fn field(&self, id: &Id) -> Value {
        match self.row.table.fields.get(id) {
            Some(field) => self.reader.value_at(self.row, field, self.depth),
            None => Value::Error,
        }
    }

    fn values(&self) -> Value {
        self.values.clone().map_or(Value::Blank, Value::Array)
    }

    fn separator(&self) -> &str {
        self.reader.separator
    }
}
