//! From a base's schema, as Airtable's metadata API tells it, to an entity for each table.
//!
//! Reading order: `table` (the schema as Airtable lists it), `found` (what a discovery makes of it), [`plan`] here (names,
//! links, lookups), `computed` (where computed values come from), `property` (one field's JSON Schema), `merge` (what changed
//! upstream and what a user set, brought together).

pub(crate) mod computed;
mod found;
mod merge;
mod property;
pub(crate) mod table;
#[cfg(test)]
mod tests;

pub use found::{Existing, Found, LinkTo, Planned};
pub use merge::merged;

use computed::{computed_from, id_lookup};
use table::{field, tables, Column, Table};

use crate::automation::same_name;
use crate::key;
use crate::key::entity_name_ok;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::{json, Map, Value};

/// The entities of a base. `prefix` stands in front of every new name (a `{tag}`, say).
pub fn plan(schema: &Value, base: &str, prefix: &str, existing: &[Existing]) -> Vec<Planned> {
    let tables = tables(schema);
    let names = named(&tables, base, prefix, existing);
    tables
        .iter()
        .zip(&names.0)
        .map(|(t, (_, name, users_own))| {
            let made = if *users_own {
                Value::Null
            } else {
                spec_of(t, base, &tables, &names)
            };
            let links = t
                .fields
                .iter()
                .filter_map(|f| link(f, &tables, &names))
                .collect();
            let found = Found {
                table_id: t.id.to_owned(),
                table_name: t.name.to_owned(),
                links,
                types: t
                    .fields
                    .iter()
                    .map(|f| (f.name.to_owned(), f.kind.to_owned()))
                    .collect(),
                made,
            };
            Planned {
                name: name.clone(),
                found,
                users_own: *users_own,
            }
        })
        .collect()
}

/// Table id, entity, and whether it is a user's own, of each table.
struct Names<'a>(Vec<(&'a str, String, bool)>);

impl Names<'_> {
    fn entity(&self, table: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(id, _, _)| *id == table)
            .map(|(_, name, _)| name.as_str())
    }
}

fn named<'a>(tables: &[Table<'a>], base: &str, prefix: &str, existing: &[Existing]) -> Names<'a> {
    // A table keeps the name of its entity, whatever it is called by now.
    let known = |t: &Table| {
        let same_base = || {
            existing
                .iter()
                .filter(|e| e.base == base && e.name.starts_with(prefix))
        };
        let found = same_base().find(|e| e.found.as_ref().is_some_and(|f| f.table_id == t.id));
        let called = || {
            same_base().find(|e| {
                e.found.is_none()
                    && (e.table == t.id || same_name(&e.table, t.name))
                    && e.name == format!("{prefix}{}", plain(t.name))
            })
        };
        found.or_else(called).map(|e| {
            (
                e.name.clone(),
                e.found.as_ref().is_none_or(|f| f.made.is_null()),
            )
        })
    };
    let mut out: Vec<(&str, String, bool)> = Vec::new();
    let reserved: Vec<Option<(String, bool)>> = tables.iter().map(known).collect();
    for (t, known) in tables.iter().zip(&reserved) {
        if let Some((name, own)) = known {
            out.push((t.id, name.clone(), *own));
            continue;
        }
        let wanted = format!("{prefix}{}", plain(t.name));
        let taken = |name: &str| {
            !entity_name_ok(name.as_bytes())
                || out.iter().any(|(_, n, _)| n == name)
                || reserved.iter().flatten().any(|(n, _)| n == name)
                || existing.iter().any(|e| e.name == name)
        };
        let mut name = wanted.clone();
        let mut n = 2u32;
        while taken(&name) && n < 10_000 {
            name = format!("{wanted}_{n}");
            n += 1;
        }
        out.push((t.id, name, false));
    }
    Names(out)
}

/// Lower case, and `_` for what a name cannot hold.
fn plain(name: &str) -> String {
    let out: String = name
        .trim()
        .chars()
        .flat_map(char::to_lowercase)
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    if out.is_empty() {
        "_".to_string()
    } else {
        out
    }
}

fn link(f: &Column, tables: &[Table], names: &Names) -> Option<LinkTo> {
    if f.kind != "multipleRecordLinks" {
        return None;
    }
    let to = f.option_text("linkedTableId")?;
    let inverse = f
        .option_text("inverseLinkFieldId")
        .and_then(|id| field(tables, to, id))
        .map(|i| i.id.to_owned());
    Some(LinkTo {
        column: f.name.to_owned(),
        entity: names.entity(to)?.to_owned(),
        table: to.to_owned(),
        inverse,
    })
}

/// The spec of one table.
fn spec_of(t: &Table, base: &str, tables: &[Table], names: &Names) -> Value {
    let mut properties = Map::new();
    let mut lookups = Map::new();
    let mut depends = Map::new();
    for f in t
        .fields
        .iter()
        .filter(|f| f.name != "id" && !f.name.is_empty())
    {
        properties.insert(f.name.to_owned(), property::of(f));
        if let Some(lookup) = id_lookup(t, f, tables) {
            lookups.insert(f.name.to_owned(), lookup.into());
        }
        if let Some(entity) = computed_from(t, f, tables, names) {
            depends.insert(f.name.to_owned(), entity.into());
        }
    }
    let mut out = Map::new();
    out.insert("table".into(), t.id.into());
    out.insert("base".into(), base.into());
    let whole = if properties.is_empty() {
        None
    } else {
        Some(json!({"type": "object", "properties": properties}))
    };
    if let Some(schema) = whole {
        out.insert("schema".into(), schema);
    }
    if !lookups.is_empty() {
        out.insert("index_to_airtable".into(), Value::Object(lookups));
    }
    if !depends.is_empty() {
        out.insert("depends".into(), Value::Object(depends));
    }
    Value::Object(out)
}

/// Is a prefix one that names can begin with?
pub fn prefix_ok(prefix: &str) -> bool {
    entity_name_ok(format!("{prefix}x").as_bytes())
        && key::untagged(&format!("{prefix}x")).ends_with('x')
}
