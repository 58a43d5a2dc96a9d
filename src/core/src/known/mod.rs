//! What is known of an entity's table from its base's schema, and was known before: its columns by their ids, the names they
//! had, and where links lead. Kept beside the entity's spec, so that it outlives the process.
//!
//! Reading order: [`Table`] here, `check` (a spec beside the schema), `lookup` (the column that a link is asked for through),
//! `fits` (a model's kind beside a column's type), `near` (what a name was probably meant to be),
//! `when` (the pauses between two readings).

mod absent;
mod check;
mod fits;
mod lookup;
mod near;
#[cfg(test)]
mod tests;
pub mod when;

pub use check::{check, Problem, Subject};

use crate::discover::computed::holds_own_id;
use crate::discover::table::{self, field, Column as Listed};
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::{json, Value};

/// Former names kept of a column or table.
const MOST_NAMES: usize = 8;
/// Columns kept of a table that has them no more.
const MOST_GONE: usize = 500;

/// A table, as its base's schema listed it last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// `tbl…`
    pub id: String,
    pub name: String,
    /// Names it had before, the latest last.
    former: Vec<String>,
    columns: Vec<Column>,
}

/// A column of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// `fld…`
    pub id: String,
    pub name: String,
    former: Vec<String>,
    /// The table has it no more.
    gone: bool,
    /// Its cells hold ids of records of this table.
    leads: Option<To>,
}

/// The table that a link leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct To {
    pub table: String,
    /// Its name when the schema was read.
    pub name: String,
}

/// The tables of a base, as its schema lists them.
pub fn tables(schema: &Value) -> Vec<Table> {
    let all = table::tables(schema);
    let one = |t: &table::Table| Table {
        id: t.id.to_owned(),
        name: t.name.to_owned(),
        former: Vec::new(),
        columns: t
            .fields
            .iter()
            .map(|f| Column {
                id: f.id.to_owned(),
                name: f.name.to_owned(),
                former: Vec::new(),
                gone: false,
                leads: leads(t, f, &all),
            })
            .collect(),
    };
    all.iter().map(one).collect()
}

/// The table whose records' ids a column holds: a link's, or what is looked up through one.
fn leads(t: &table::Table, f: &Listed, all: &[table::Table]) -> Option<To> {
    let to = match f.kind {
        "multipleRecordLinks" => f.option_text("linkedTableId")?,
        "multipleLookupValues" | "rollup" => {
            let link = f.option_text("recordLinkFieldId")?;
            let link = t.fields.iter().find(|l| l.id == link)?;
            let linked = link.option_text("linkedTableId")?;
            let of = field(all, linked, f.option_text("fieldIdInLinkedTable")?)?;
            match of.kind {
                "multipleRecordLinks" => of.option_text("linkedTableId")?,
                _ if holds_own_id(of) => linked,
                _ => return None,
            }
        }
        _ => return None,
    };
    let name = all.iter().find(|t| t.id == to).map_or("", |t| t.name);
    Some(To {
        table: to.to_owned(),
        name: name.to_owned(),
    })
}

/// Puts a name that is no more in use behind those before it.
fn keep_former(former: &[String], was: &str, is: &str) -> Vec<String> {
    let mut all: Vec<String> = former.to_vec();
    if was != is {
        all.retain(|n| n != was);
        all.push(was.to_owned());
    }
    all.retain(|n| n != is);
    all.split_off(all.len().saturating_sub(MOST_NAMES))
}

impl Table {
    /// Adds what an earlier schema said of the same table.
    pub fn after(mut self, before: &Table) -> Table {
        if before.id != self.id {
            return self;
        }
        self.former = keep_former(&before.former, &before.name, &self.name);
        let mut gone = Vec::new();
        for old in &before.columns {
            match self.columns.iter_mut().find(|c| c.id == old.id) {
                Some(c) => c.former = keep_former(&old.former, &old.name, &c.name),
                None => gone.push(Column {
                    gone: true,
                    leads: None,
                    ..old.clone()
                }),
            }
        }
        // Those that went last are the first.
        gone.truncate(MOST_GONE);
        self.columns.append(&mut gone);
        self
    }

    /// Is this what it is called, or was, by name or id?
    pub fn is_called(&self, named: &str) -> bool {
        self.id == named || self.name == named || self.former.iter().any(|n| n == named)
    }

    /// The column of this name or id; else the one that had the name last.
    pub fn column(&self, named: &str) -> Option<&Column> {
        let by = |pick: &dyn Fn(&Column) -> bool| self.columns.iter().find(|c| pick(c));
        by(&|c| !c.gone && (c.id == named || c.name == named))
            .or_else(|| by(&|c| !c.gone && c.former.iter().any(|n| n == named)))
            .or_else(|| by(&|c| c.gone && c.id == named))
            .or_else(|| by(&|c| c.gone && (c.name == named || c.former.iter().any(|n| n == named))))
    }

    /// Where a column leads, if its cells hold ids of records.
    pub fn leads(&self, column: &str) -> Option<&To> {
        self.column(column)?.leads.as_ref()
    }

    /// As it is kept beside the spec.
    pub fn to_json(&self) -> String {
        let column = |c: &Column| {
            let mut v = json!({"id": c.id, "name": c.name});
            if let Some(o) = v.as_object_mut() {
                if !c.former.is_empty() {
                    o.insert(
                        "former".into(),
                        c.former.iter().map(String::as_str).collect(),
                    );
                }
                if c.gone {
                    o.insert("gone".into(), true.into());
                }
                if let Some(to) = &c.leads {
                    o.insert("to".into(), json!({"table": to.table, "name": to.name}));
                }
            }
            v
        };
        let columns: Vec<Value> = self.columns.iter().map(column).collect();
        json!({"id": self.id, "name": self.name, "former": self.former, "columns": columns})
            .to_string()
    }

    /// Reads what [`Table::to_json`] wrote; a column that cannot be read is left out.
    pub fn parse(json: &[u8]) -> Option<Table> {
        let v: Value = serde_json::from_slice(json).ok()?;
        let column = |c: &Value| {
            let to = c.get("to");
            let leads = to.and_then(|to| {
                Some(To {
                    table: text(to, "table")?,
                    name: text(to, "name")?,
                })
            });
            Some(Column {
                id: text(c, "id")?,
                name: text(c, "name")?,
                former: texts(c, "former"),
                gone: c.get("gone") == Some(&Value::Bool(true)),
                leads,
            })
        };
        let columns = v.get("columns")?.as_array()?;
        Some(Table {
            id: text(&v, "id")?,
            name: text(&v, "name")?,
            former: texts(&v, "former"),
            columns: columns.iter().filter_map(column).collect(),
        })
    }
}

impl Column {
    /// The table has it no more.
    pub fn gone(&self) -> bool {
        self.gone
    }
}

fn text(v: &Value, name: &str) -> Option<String> {
    v.get(name)?.as_str().map(ToString::to_string)
}

fn texts(v: &Value, name: &str) -> Vec<String> {
    let list = v.get(name).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|n| n.as_str().map(ToOwned::to_owned))
        .collect()
}
