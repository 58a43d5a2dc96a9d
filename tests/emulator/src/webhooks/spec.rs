//! What a webhook watches.

use crate::api::errors::ApiError;
use crate::data::model::Base;
use serde_json::{json, Value as Json};
use std::collections::HashSet;

/// A checked specification.
pub(crate) struct Spec {
    /// As it was given, for the list.
    pub(crate) shown: Json,
    pub(crate) table_data: bool,
    pub(crate) table_fields: bool,
    pub(crate) table_metadata: bool,
    /// The one table or view that is watched.
    pub(crate) scope: Scope,
    pub(crate) change_types: Option<HashSet<String>>,
    pub(crate) sources: Option<HashSet<String>>,
    pub(crate) watched_fields: Option<HashSet<String>>,
    pub(crate) watched_schemas: Option<HashSet<String>>,
    pub(crate) include_cells: Include,
    pub(crate) include_previous: bool,
    pub(crate) include_previous_fields: bool,
}

pub(crate) enum Scope {
    Base,
    Table(String),
    View { table: String, view: String },
}

pub(crate) enum Include {
    None,
    All,
    Fields(HashSet<String>),
}

impl Spec {
    /// Checks a specification against the base.
    ///
    /// # Errors
    /// 422 for missing or unknown data types and for ids that the base lacks.
    pub(crate) fn parse(specification: &Json, base: &Base) -> Result<Self, ApiError> {
        let invalid = |what: &str| {
            ApiError::invalid(
                "INVALID_WEBHOOK_SPECIFICATION",
                &format!("Invalid webhook specification: {what}"),
            )
        };
        let options = specification
            .get("options")
            .ok_or_else(|| invalid("options is required"))?;
        let filters = options
            .get("filters")
            .ok_or_else(|| invalid("filters is required"))?;
        let types = strings(filters, "dataTypes")
            .filter(|t| !t.is_empty())
            .ok_or_else(|| invalid("dataTypes is required"))?;
        if let Some(unknown) = types
            .iter()
            .find(|t| !["tableData", "tableFields", "tableMetadata"].contains(&t.as_str()))
        {
            return Err(invalid(&format!("unknown data type {unknown}")));
        }
        let scope = match filters.get("recordChangeScope").and_then(Json::as_str) {
            None => Scope::Base,
            Some(id) if base.table(id).is_some() => Scope::Table(id.to_owned()),
            Some(id) => {
                let holder = base
                    .tables
                    .iter()
                    .find(|t| t.views.iter().any(|v| &*v.id == id));
                let table =
                    holder.ok_or_else(|| invalid(&format!("unknown recordChangeScope {id}")))?;
                Scope::View {
                    table: table.id.to_string(),
                    view: id.to_owned(),
                }
            }
        };
        let watched_fields = strings(filters, "watchDataInFieldIds").filter(|f| !f.is_empty());
        let known = |id: &str| base.tables.iter().any(|t| t.fields.contains_key(id));
        if let Some(unknown) = watched_fields.iter().flatten().find(|f| !known(f)) {
            return Err(invalid(&format!("unknown field {unknown}")));
        }
        let null = Json::Null;
        let includes = options.get("includes").unwrap_or(&null);
        let flag = |key: &str| includes.get(key).and_then(Json::as_bool).unwrap_or(false);
        Ok(Self {
            shown: without_nulls(json!({ "options": options })),
            table_data: types.contains("tableData"),
            table_fields: types.contains("tableFields"),
            table_metadata: types.contains("tableMetadata"),
            scope,
            change_types: strings(filters, "changeTypes").filter(|t| !t.is_empty()),
            sources: strings(filters, "fromSources").filter(|t| !t.is_empty()),
            watched_fields,
            watched_schemas: strings(filters, "watchSchemasOfFieldIds").filter(|f| !f.is_empty()),
            include_cells: match includes.get("includeCellValuesInFieldIds") {
                Some(Json::String(all)) if all == "all" => Include::All,
                Some(Json::Array(_)) => Include::Fields(
                    strings(includes, "includeCellValuesInFieldIds").unwrap_or_default(),
                ),
                _ => Include::None,
            },
            include_previous: flag("includePreviousCellValues"),
            include_previous_fields: flag("includePreviousFieldDefinitions"),
        })
    }

    /// Whether changes of this type (`add`, `remove`, `update`) are reported.
    pub(crate) fn reports(&self, change: &str) -> bool {
        self.change_types
            .as_ref()
            .is_none_or(|types| types.contains(change))
    }

    pub(crate) fn watches_table(&self, table: &str) -> bool {
        match &self.scope {
            Scope::Base => true,
            Scope::Table(id) => id == table,
            Scope::View { table: id, .. } => id == table,
        }
    }

    pub(crate) fn watches_field(&self, field: &str) -> bool {
        self.watched_fields
            .as_ref()
            .is_none_or(|fields| fields.contains(field))
    }

    pub(crate) fn includes(&self, field: &str) -> bool {
        match &self.include_cells {
            Include::None => false,
            Include::All => true,
            Include::Fields(fields) => fields.contains(field),
        }
    }
}

fn strings(object: &Json, key: &str) -> Option<HashSet<String>> {
    let items = object.get(key)?.as_array()?;
    Some(
        items
            .iter()
            .filter_map(|s| s.as_str().map(str::to_owned))
            .collect(),
    )
}

/// Reference clients send nulls for what is not set; the list does not show them.
fn without_nulls(value: Json) -> Json {
    match value {
        Json::Object(map) => map
            .into_iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k, without_nulls(v)))
            .collect(),
        other => other,
    }
}
