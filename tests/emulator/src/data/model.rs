//! Workspace, bases, tables, fields, records: the stored truth. Computed cells are not stored.

use crate::formula::{Expr, FieldNames};
use crate::ids::Id;
use crate::webhooks::Webhook;
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Everything that a seed defines.
#[derive(Default)]
pub(crate) struct World {
    /// Empty: every non-empty token is valid for everything.
    pub(crate) tokens: Vec<Token>,
    pub(crate) bases: IndexMap<Id, Base>,
}

pub(crate) struct Token {
    pub(crate) secret: String,
    /// `None`: all scopes.
    pub(crate) scopes: Option<HashSet<String>>,
    /// `None`: all bases.
    pub(crate) bases: Option<HashSet<String>>,
}

pub(crate) struct Base {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) permission_level: String,
    pub(crate) tables: Vec<Table>,
    /// Which table holds a record: Get finds a record whatever table the path names.
    pub(crate) homes: HashMap<Id, Id>,
    /// Counts transactions; shown in webhook payloads.
    pub(crate) transaction: u64,
    /// Counts ids minted for records, attachments, choices and hooks made after the seed.
    pub(crate) minted: u64,
    /// Computed cells that still show their old value, and until when (ms), by (record, field).
    pub(crate) lagging: HashMap<(Id, Id), (i64, Json)>,
    pub(crate) webhooks: Vec<Webhook>,
}

pub(crate) struct Table {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) primary: Id,
    pub(crate) fields: IndexMap<Id, Field>,
    pub(crate) views: Vec<View>,
    pub(crate) records: IndexMap<Id, Record>,
    pub(crate) next_number: u64,
}

pub(crate) struct View {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) kind: String,
    /// Only records that pass are in the view.
    pub(crate) filter: Option<Expr>,
    /// Field ids that are shown; `None` shows all.
    pub(crate) visible: Option<Vec<Id>>,
}

pub(crate) struct Field {
    pub(crate) id: Id,
    pub(crate) name: String,
    /// Airtable's name of the type.
    pub(crate) type_name: String,
    pub(crate) description: Option<String>,
    pub(crate) kind: Kind,
    /// As the schema route shows them.
    pub(crate) options: Map<String, Json>,
}

/// What a field does, as far as cells behave differently.
#[derive(Clone)]
pub(crate) enum Kind {
    Text,
    Number,
    Checkbox,
    Select,
    MultiSelect,
    Date,
    DateTime,
    Link {
        table: Id,
        inverse: Option<Id>,
    },
    Attachments,
    Collaborator,
    Collaborators,
    Barcode,
    AutoNumber,
    CreatedTime,
    ModifiedTime,
    CreatedBy,
    ModifiedBy,
    Lookup {
        link: Id,
        field: Id,
    },
    Rollup {
        link: Id,
        field: Id,
        aggregate: Arc<Expr>,
    },
    Count {
        link: Id,
    },
    Formula {
        expr: Arc<Expr>,
    },
    /// Kept as it is (`button`, `aiText`, types yet unknown); not writable.
    Opaque,
}

#[derive(Clone, Default)]
pub(crate) struct Record {
    pub(crate) created_ms: i64,
    pub(crate) modified_ms: i64,
    /// Non-empty stored cells by field id. A value stored for a computed field wins over the computation: a lookup that lies.
    pub(crate) cells: HashMap<Id, Json>,
}

impl Kind {
    /// Computed from other cells of this or linked records, so that it changes without being written.
    pub(crate) fn is_derived(&self) -> bool {
        matches!(
            self,
            Self::Lookup { .. }
                | Self::Rollup { .. }
                | Self::Count { .. }
                | Self::Formula { .. }
                | Self::ModifiedTime
                | Self::ModifiedBy
        )
    }

    /// Refused in writes: derived, or set by Airtable itself.
    pub(crate) fn is_read_only(&self) -> bool {
        self.is_derived()
            || matches!(
                self,
                Self::AutoNumber | Self::CreatedTime | Self::CreatedBy | Self::Opaque
            )
    }
}

impl Base {
    pub(crate) fn table(&self, id: &str) -> Option<&Table> {
        self.tables.iter().find(|t| &*t.id == id)
    }

    pub(crate) fn table_mut(&mut self, id: &str) -> Option<&mut Table> {
        self.tables.iter_mut().find(|t| &*t.id == id)
    }

    /// A table by id or exact name.
    pub(crate) fn table_named(&self, name: &str) -> Option<&Table> {
        self.table(name)
            .or_else(|| self.tables.iter().find(|t| t.name == name))
    }

    /// A record and the table that holds it.
    pub(crate) fn locate(&self, record: &str) -> Option<(&Table, &Id, &Record)> {
        let table = self.table(self.homes.get(record)?)?;
        let (id, record) = table.records.get_key_value(record)?;
        Some((table, id, record))
    }

    /// The next deterministic id of a kind.
    pub(crate) fn mint(&mut self, prefix: &str) -> Id {
        loop {
            self.minted += 1;
            let id = crate::ids::mint(prefix, &format!("{}#{}", self.id, self.minted));
            if !self.homes.contains_key(&id) {
                return id;
            }
        }
    }
}

impl Table {
    /// A field by id or exact name.
    pub(crate) fn field_named(&self, name: &str) -> Option<&Field> {
        self.fields
            .get(name)
            .or_else(|| self.fields.values().find(|f| f.name == name))
    }

    pub(crate) fn view_named(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|v| &*v.id == name || v.name == name)
    }
}

/// Resolves formula names against a table; ids too, where formulas accept them.
pub(crate) struct TableNames<'a> {
    pub(crate) table: &'a Table,
    pub(crate) accept_ids: bool,
}

impl FieldNames for TableNames<'_> {
    fn field(&self, name: &str) -> Option<Id> {
        let by_name = self.table.fields.values().find(|f| f.name == name);
        let found = by_name.or_else(|| {
            if self.accept_ids {
                self.table.fields.get(name)
            } else {
                None
            }
        });
        found.map(|f| f.id.clone())
    }
}

/// An empty cell is never shown nor stored.
pub(crate) fn is_empty_cell(cell: &Json) -> bool {
    match cell {
        Json::Null | Json::Bool(false) => true,
        Json::String(s) => s.is_empty(),
        Json::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The record ids in a link cell.
pub(crate) fn linked_ids(cell: Option<&Json>) -> impl Iterator<Item = &str> {
    cell.and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
}
