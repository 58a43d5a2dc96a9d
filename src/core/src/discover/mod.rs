//! From a base's schema, as Airtable's metadata API tells it, to an entity for each table.
//!
//! Reading order: [`plan`] here (names, links, lookups), `property` (one field's JSON Schema), `merge` (what changed
//! upstream and what a user set, brought together).

mod merge;
mod property;
#[cfg(test)]
mod tests;

pub use merge::merged;

use crate::automation::same_name;
use crate::key;
use crate::spec::entity_name_ok;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::{json, Map, Value};

/// An entity that is there already.
#[derive(Clone, Debug)]
pub struct Existing {
    pub name: String,
    pub base: String,
    /// The table's name or id, as its spec has it.
    pub table: String,
    /// What an earlier discovery found, if one did.
    pub found: Option<Found>,
}

/// What is known of an entity from its base's schema, beside its spec.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// `tbl…`
    pub table_id: String,
    /// The table's name.
    pub table_name: String,
    pub links: Vec<LinkTo>,
    /// The spec that was made of it: what differs from it was set by a user. Null: the user's own spec was left alone.
    pub made: Value,
}

/// Where a link field leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkTo {
    /// The link's column.
    pub column: String,
    /// The entity of the linked records.
    pub entity: String,
    /// Their table, `tbl…`.
    pub table: String,
    /// The id of their field that holds the way back.
    pub inverse: Option<String>,
}

/// One entity to define.
#[derive(Clone, PartialEq, Debug)]
pub struct Planned {
    pub name: String,
    pub found: Found,
    /// It is there already, made by a user and not by a discovery: its spec stays.
    pub users_own: bool,
}

impl Found {
    /// As it is kept beside the spec.
    pub fn to_json(&self) -> String {
        let links: Vec<Value> =
            self.links.iter().map(|l| json!({"column": l.column, "entity": l.entity, "table": l.table, "inverse": l.inverse})).collect();
        json!({"table_id": self.table_id, "table_name": self.table_name, "links": links, "made": self.made}).to_string()
    }
    /// Does the base's schema say that `lookup` holds the ids of the records linked in `column`? Not where a user's own spec
    /// was left alone: nothing was looked for then.
    pub fn proves(&self, column: &str, lookup: &str) -> bool {
        let made = self.made.get("index_to_airtable");
        made.and_then(|l| l.get(column)).and_then(Value::as_str) == Some(lookup)
    }
    /// Reads what [`Found::to_json`] wrote.
    pub fn parse(json: &[u8]) -> Option<Found> {
        let Ok(Value::Object(mut o)) = serde_json::from_slice(json) else {
            return None;
        };
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(ToOwned::to_owned);
        let links = o.get("links")?.as_array()?.iter();
        let links = links.map(|l| {
            let (column, entity, table) = (
                text(l.get("column"))?,
                text(l.get("entity"))?,
                text(l.get("table"))?,
            );
            Some(LinkTo {
                column,
                entity,
                table,
                inverse: text(l.get("inverse")),
            })
        });
        Some(Found {
            table_id: text(o.get("table_id"))?,
            table_name: text(o.get("table_name"))?,
            links: links.collect::<Option<_>>()?,
            made: o.shift_remove("made").unwrap_or(Value::Null),
        })
    }
    /// Where a column leads.
    pub fn link(&self, column: &str) -> Option<&LinkTo> {
        self.links.iter().find(|l| l.column == column)
    }
    /// Is this what the table is called, by name or id, whatever the case?
    pub fn is_table(&self, name: &str) -> bool {
        same_name(&self.table_id, name) || same_name(&self.table_name, name)
    }
}

/// A table of the metadata API, checked as far as it is used.
struct Table<'a> {
    id: &'a str,
    name: &'a str,
    fields: Vec<Column<'a>>,
}

/// A field of the metadata API.
pub(crate) struct Column<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) options: Option<&'a Map<String, Value>>,
}

impl Column<'_> {
    fn option(&self, name: &str) -> Option<&Value> {
        self.options?.get(name)
    }
    fn option_text(&self, name: &str) -> Option<&str> {
        self.option(name)?.as_str()
    }
}

fn tables(schema: &Value) -> Vec<Table<'_>> {
    let list = schema.get("tables").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|t| {
            let fields = t.get("fields")?.as_array()?.iter().filter_map(|f| {
                Some(Column {
                    id: f.get("id")?.as_str()?,
                    name: f.get("name")?.as_str()?,
                    kind: f.get("type")?.as_str()?,
                    options: f.get("options").and_then(Value::as_object),
                })
            });
            Some(Table {
                id: t.get("id")?.as_str()?,
                name: t.get("name")?.as_str()?,
                fields: fields.collect(),
            })
        })
        .collect()
}

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

fn field<'t, 'a>(tables: &'t [Table<'a>], table: &str, id: &str) -> Option<&'t Column<'a>> {
    tables
        .iter()
        .find(|t| t.id == table)?
        .fields
        .iter()
        .find(|f| f.id == id)
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

/// The column of the same table that looks up the ids of a link's records, whatever it is called.
fn id_lookup<'a>(t: &'a Table, link: &Column, tables: &[Table]) -> Option<&'a str> {
    let to = link
        .option_text("linkedTableId")
        .filter(|_| link.kind == "multipleRecordLinks")?;
    let holds_id = |id: &str| {
        field(tables, to, id).is_some_and(|f| {
            let formula = f.option_text("formula").unwrap_or("");
            let bare: String = formula.chars().filter(|c| !c.is_whitespace()).collect();
            f.kind == "formula" && bare.eq_ignore_ascii_case("RECORD_ID()")
        })
    };
    t.fields
        .iter()
        .find(|f| {
            f.kind == "multipleLookupValues"
                && f.option_text("recordLinkFieldId") == Some(link.id)
                && f.option_text("fieldIdInLinkedTable").is_some_and(holds_id)
                && f.option("isValid") != Some(&Value::Bool(false))
        })
        .map(|f| f.name)
}

/// How deep formulas are followed through the formulas they are made of.
const DEEPEST: usize = 16;

/// The one entity from which a computed field is computed: its own for what its own cells give; `None`: several, or
/// nobody knows.
fn computed_from(t: &Table, f: &Column, tables: &[Table], names: &Names) -> Option<String> {
    if !property::is_computed(f.kind) {
        return None;
    }
    let mut from: Vec<&str> = Vec::new();
    sources(t, f, tables, &mut from, DEEPEST)?;
    from.retain(|id| *id != t.id);
    match from.as_slice() {
        [] => names.entity(t.id),
        [one] => names.entity(one),
        _ => None,
    }
    .map(ToOwned::to_owned)
}

/// Collects the tables that a field's value comes from; `None`: it cannot be told.
fn sources<'a>(
    t: &Table<'a>,
    f: &Column<'a>,
    tables: &[Table<'a>],
    out: &mut Vec<&'a str>,
    depth: usize,
) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let mut add = |id: &'a str| {
        if !out.contains(&id) {
            out.push(id);
        }
    };
    match f.kind {
        "multipleLookupValues" | "rollup" | "count" => {
            let link = f.options?.get("recordLinkFieldId")?.as_str()?;
            let link = t.fields.iter().find(|l| l.id == link)?;
            let to = link.options?.get("linkedTableId")?.as_str()?;
            add(to);
            // What is looked up may itself be computed over there.
            let linked = tables.iter().find(|t| t.id == to)?;
            if let Some(of) = f
                .options?
                .get("fieldIdInLinkedTable")
                .and_then(Value::as_str)
            {
                if let Some(of) = linked
                    .fields
                    .iter()
                    .find(|l| l.id == of)
                    .filter(|l| property::is_computed(l.kind))
                {
                    sources(linked, of, tables, out, depth)?;
                }
            }
        }
        "formula" => {
            let used = f
                .options
                .and_then(|o| o.get("referencedFieldIds"))
                .and_then(Value::as_array);
            for id in used.into_iter().flatten().filter_map(Value::as_str) {
                let of = t.fields.iter().find(|l| l.id == id)?;
                // A link's text is the primary field of the linked record.
                if of.kind == "multipleRecordLinks" {
                    if let Some(to) = of
                        .options
                        .and_then(|o| o.get("linkedTableId"))
                        .and_then(Value::as_str)
                    {
                        add_to(out, to);
                    }
                } else if property::is_computed(of.kind) {
                    sources(t, of, tables, out, depth)?;
                }
            }
        }
        _ => {}
    }
    Some(())
}

fn add_to<'a>(out: &mut Vec<&'a str>, id: &'a str) {
    if !out.contains(&id) {
        out.push(id);
    }
}

/// Is a prefix one that names can begin with?
pub fn prefix_ok(prefix: &str) -> bool {
    entity_name_ok(format!("{prefix}x").as_bytes())
        && key::untagged(&format!("{prefix}x")).ends_with('x')
}
