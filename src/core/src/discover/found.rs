//! What a discovery finds of a table, as it is kept beside the entity's spec.

use crate::automation::same_name;
use crate::question::Column;
use alloc::borrow::ToOwned;
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
    /// Its columns and the names of their types.
    pub types: Vec<(String, String)>,
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
        let types: Map<String, Value> = self
            .types
            .iter()
            .map(|(c, t)| (c.clone(), t.as_str().into()))
            .collect();
        json!({"table_id": self.table_id, "table_name": self.table_name, "links": links, "types": types, "made": self.made}).to_string()
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
            types: match o.get("types") {
                Some(Value::Object(types)) => types
                    .iter()
                    .filter_map(|(c, t)| Some((c.clone(), t.as_str()?.to_owned())))
                    .collect(),
                _ => Vec::new(),
            },
            made: o.shift_remove("made").unwrap_or(Value::Null),
        })
    }
    /// What is known of a column.
    pub fn column(&self, column: &str) -> Column {
        let named = self.types.iter().find(|(c, _)| c == column);
        named.map_or(Column::Unknown, |(_, t)| Column::of(t))
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
