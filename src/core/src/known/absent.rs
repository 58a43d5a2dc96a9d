//! A column that a spec names and its table lacks: why, and which may be meant.

use super::fits::fits;
use super::near::nearest;
use super::{Column as Known, Table as KnownTable};
use crate::discover::table::{Column, Table};
use crate::spec::{Field, Spec};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;
use hashbrown::HashSet;
use serde_json::Value;

/// One table's check under way.
pub(super) struct Checked<'a> {
    pub(super) spec: &'a Spec,
    pub(super) known: Option<&'a KnownTable>,
    pub(super) table: &'a Table<'a>,
    pub(super) all: &'a [Table<'a>],
    /// Columns that no field of the spec uses.
    pub(super) free: Vec<&'a Column<'a>>,
    /// Names that may still be guessed: of a spec of another table altogether, not all of thousands.
    pub(super) guesses: Cell<u32>,
}

/// Names guessed at, at most, in one spec.
pub(super) const MOST_GUESSES: u32 = 100;

/// The columns of a table that no field of a spec uses.
pub(super) fn free<'a>(spec: &Spec, table: &'a Table<'a>) -> Vec<&'a Column<'a>> {
    let mut used: HashSet<&str> = HashSet::new();
    for f in spec.fields() {
        used.insert(&f.airtable);
        used.extend(f.lookup.as_deref());
    }
    let is_free = |f: &&Column| f.name != "id" && !used.contains(f.name) && !used.contains(f.id);
    table.fields.iter().filter(is_free).collect()
}

/// A name as it stands in JSON.
pub(super) fn shown(name: &str) -> String {
    Value::from(name).to_string()
}

/// A column that is not there.
pub(super) struct Absent<'a> {
    pub(super) problem: String,
    /// The one that had the name, or probably is meant.
    pub(super) instead: Option<&'a Column<'a>>,
}

/// Why a column is not there. `field`: whose cells it should hold.
pub(super) fn absent<'a>(d: &Checked<'a>, column: &str, field: Option<&Field>) -> Absent<'a> {
    let listed = |c: &Known| d.table.fields.iter().find(|f| f.id == c.id);
    let had = d.known.and_then(|k| k.column(column));
    let lacks = format!(
        "the table {} has no column {}",
        shown(d.table.name),
        shown(column)
    );
    if let Some(f) = had.and_then(listed) {
        return Absent {
            problem: format!(
                "{lacks}: the one that was called so, {}, is called {} now",
                f.id,
                shown(f.name)
            ),
            instead: Some(f),
        };
    }
    if let Some(c) = had {
        return Absent {
            problem: format!("{lacks} (it was {}, and was deleted)", c.id),
            instead: None,
        };
    }
    let meant = guess(d, column, field);
    let guessed = meant.map_or(String::new(), |f| {
        format!("; perhaps it is called {} ({}) now", shown(f.name), f.id)
    });
    Absent {
        problem: format!("{lacks}{guessed}"),
        instead: meant,
    }
}

/// The column that was probably meant: one that no other field uses and whose type would do.
fn guess<'a>(d: &Checked<'a>, column: &str, field: Option<&Field>) -> Option<&'a Column<'a>> {
    d.guesses.set(d.guesses.get().checked_sub(1)?);
    let does = |f: &&Column| field.is_none_or(|field| fits(field, f, d.table, d.all));
    let free: Vec<&Column> = d.free.iter().copied().filter(does).collect();
    let names: Vec<&str> = free.iter().map(|f| f.name).collect();
    let near = nearest(column, &names)?;
    free.into_iter().find(|f| f.name == near)
}
