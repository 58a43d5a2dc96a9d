//! A spec beside its base's schema: what it names that is not there, and what cannot be as it says.

use super::absent::{absent, free, shown, Absent, Checked, MOST_GUESSES};
use super::fits::{called, fits};
use super::near::{listed, nearest};
use super::{lookup, Table as KnownTable};
use crate::discover::table::{self, Column, Table};
use crate::key;
use crate::spec::{Field, Spec};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use serde_json::Value;

/// Something in a spec that the base does not bear out.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    pub entity: String,
    /// Empty: the entity's table itself.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub todo: String,
}

/// A spec to be checked.
pub struct Subject<'a> {
    pub spec: &'a Spec,
    /// What is known of its table, earlier schemas included.
    pub known: Option<&'a KnownTable>,
}

/// What is wrong with specs of one base, as its schema has it now; sorted by entity and field. `entities`: the names of all
/// that are defined.
pub fn check(schema: &Value, subjects: &[Subject], entities: &[&str]) -> Vec<Problem> {
    let all = table::tables(schema);
    let mut out = Vec::new();
    for s in subjects {
        let mut tell = |field: &str, (problem, todo): (String, String)| {
            out.push(Problem {
                entity: s.spec.entity().to_owned(),
                field: field.to_owned(),
                problem,
                todo,
            });
        };
        for f in s.spec.fields() {
            if let Some(found) = depends(f, entities) {
                tell(&f.name, found);
            }
        }
        let named = s.spec.table();
        let table = all
            .iter()
            .find(|t| t.id == named)
            .or_else(|| all.iter().find(|t| t.name == named));
        let Some(table) = table else {
            tell("", missing_table(s, &all));
            continue;
        };
        let d = Checked {
            spec: s.spec,
            known: s.known.filter(|k| k.id == table.id),
            table,
            all: &all,
            free: free(s.spec, table),
            guesses: Cell::new(MOST_GUESSES),
        };
        for f in s.spec.fields() {
            for found in field(&d, f) {
                tell(&f.name, found);
            }
        }
        for (name, found) in views(&d) {
            tell(&name, found);
        }
    }
    out.sort();
    out.dedup();
    out
}

fn depends(f: &Field, entities: &[&str]) -> Option<(String, String)> {
    let on = f.depends.as_deref()?;
    let there = |e: &&str| *e == on || key::untagged(e) == on;
    if entities.iter().any(there) {
        return None;
    }
    let near = nearest(on, entities).filter(|_| entities.len() > 1);
    let meant = near.map_or(String::new(), |n| format!(" (is it {}?)", shown(n)));
    Some((
        format!(
            "it depends on {}, and there is no such entity{meant}",
            shown(on)
        ),
        "name an entity that is defined in \"depends\", or define it".to_owned(),
    ))
}

fn missing_table(s: &Subject, all: &[Table]) -> (String, String) {
    let named = s.spec.table();
    let renamed = s
        .known
        .filter(|k| k.is_called(named))
        .and_then(|k| all.iter().find(|t| t.id == k.id));
    if let Some(t) = renamed {
        return (
            format!(
                "the base has no table {}: the one that was called so, {}, is called {} now",
                shown(named),
                t.id,
                shown(t.name)
            ),
            format!(
                "set \"table\": {} in the spec (an id stays when a name changes)",
                shown(t.id)
            ),
        );
    }
    let deleted = s
        .known
        .filter(|k| k.is_called(named))
        .map_or(String::new(), |k| {
            format!(" (it was {}, and was deleted)", k.id)
        });
    let names: Vec<&str> = all.iter().map(|t| t.name).collect();
    let meant = nearest(named, &names).and_then(|n| all.iter().find(|t| t.name == n));
    let todo = match meant {
        Some(t) => format!(
            "is {} meant? Set \"table\": {} in the spec",
            shown(t.name),
            shown(t.id)
        ),
        None => format!(
            "set \"table\" in the spec to one of {}, and look whether \"base\" is the right one",
            listed(&names)
        ),
    };
    (
        format!("the base has no table {}{deleted}", shown(named)),
        todo,
    )
}

/// What is wrong with one field.
fn field(d: &Checked, f: &Field) -> Vec<(String, String)> {
    let is = |c: &&Column| c.id == f.airtable;
    let called_so = |c: &&Column| c.name == f.airtable;
    let fields = &d.table.fields;
    let found = fields
        .iter()
        .find(is)
        .or_else(|| fields.iter().find(called_so));
    let Some(column) = found else {
        let Absent { problem, instead } = absent(d, &f.airtable, Some(f));
        let todo = match instead {
            Some(c) => format!(
                "set \"airtable\": {} on the property {} (an id stays when a name changes; the name now is {})",
                shown(c.id),
                shown(&f.name),
                shown(c.name)
            ),
            None => format!(
                "create the column, name another by \"airtable\" on the property {}, or take the property out of the model",
                shown(&f.name)
            ),
        };
        return Vec::from([(problem, todo)]);
    };
    let mut out = Vec::new();
    if !fits(f, column, d.table, d.all) {
        out.push((
            format!(
                "the model says {}, and the column {} is a {}",
                f.kind.as_str(),
                shown(column.name),
                called(column)
            ),
            format!(
                "change the type of {} in the model, or that of the column",
                shown(&f.name)
            ),
        ));
    } else if f.indexed && (f.kind.is_link() || column.kind == "multipleRecordLinks") {
        out.extend(lookup::wrong(d, f, column));
    }
    out
}

/// Names in views that are no field of the model: in a spec without a schema they are columns.
fn views(d: &Checked) -> Vec<(String, (String, String))> {
    let mut out: Vec<(String, (String, String))> = Vec::new();
    for view in d.spec.views() {
        for c in view.columns().iter().filter(|c| c.field.is_none()) {
            let there = d.table.fields.iter().any(|f| f.name == c.name);
            if c.name == "id" || there || out.iter().any(|(name, _)| *name == c.name) {
                continue;
            }
            let Absent { problem, instead } = absent(d, &c.name, None);
            let todo = match instead {
                Some(now) => format!(
                    "name {} in the view {}",
                    shown(now.name),
                    shown(view.name())
                ),
                None => format!(
                    "name a column of the table in the view {}",
                    shown(view.name())
                ),
            };
            out.push((
                c.name.clone(),
                (
                    format!("the view {} names it, and {problem}", shown(view.name())),
                    todo,
                ),
            ));
        }
    }
    out
}
