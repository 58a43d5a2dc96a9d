//! Tables and fields as the metadata API lists them.

use alloc::string::String;
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// A table of the metadata API, checked as far as it is used.
pub(crate) struct Table<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) fields: Vec<Column<'a>>,
}

/// A field of the metadata API.
pub(crate) struct Column<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) options: Option<&'a Map<String, Value>>,
}

impl Column<'_> {
    pub(crate) fn option(&self, name: &str) -> Option<&Value> {
        self.options?.get(name)
    }
    /// What a computed column comes to, as far as its options tell.
    pub(crate) fn result(&self) -> Option<&str> {
        self.option("result")?.get("type")?.as_str()
    }
    pub(crate) fn option_text(&self, name: &str) -> Option<&str> {
        self.option(name)?.as_str()
    }
}

pub(crate) fn tables(schema: &Value) -> Vec<Table<'_>> {
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

pub(crate) fn field<'t, 'a>(
    tables: &'t [Table<'a>],
    table: &str,
    id: &str,
) -> Option<&'t Column<'a>> {
    tables
        .iter()
        .find(|t| t.id == table)?
        .fields
        .iter()
        .find(|f| f.id == id)
}
