//! Cells of write requests: checked against the field's type, converted when `typecast` asks for it.

use super::model::{is_empty_cell, Base, Kind};
use super::seed::add_choice;
use crate::api::errors::ApiError;
use crate::datetime;
use crate::ids::{is_shaped, Id};
use serde_json::{json, Map, Value as Json};
use std::collections::HashMap;

/// A checked write of one record: field id to new cell, null to clear.
pub(crate) type Cells = HashMap<Id, Json>;

/// Checks the `fields` of a request. With `typecast`, missing choices are made and unknown link texts become new records,
/// which are returned as (table, id, primary text) for the same transaction.
///
/// # Errors
/// The 422 that Airtable gives for the first cell that does not fit.
pub(crate) fn cells(
    base: &mut Base,
    table: &Id,
    fields: &Map<String, Json>,
    typecast: bool,
) -> Result<Checked, ApiError> {
    let mut checked = Checked::default();
    for (name, value) in fields {
        let field = base.table(table).and_then(|t| t.field_named(name));
        let field = field.ok_or_else(|| ApiError::unknown_field(name))?;
        if field.kind.is_read_only() {
            return Err(ApiError::invalid(
                "INVALID_VALUE_FOR_COLUMN",
                &format!(
                    "Field \"{}\" cannot accept a value because the field is computed",
                    field.name
                ),
            ));
        }
        let (id, kind) = (field.id.clone(), field.kind.clone());
        let rejected = ApiError::invalid(
            "INVALID_VALUE_FOR_COLUMN",
            &format!("Field \"{}\" cannot accept the provided value", field.name),
        );
        let cell = if value.is_null() {
            Json::Null
        } else {
            match &kind {
                Kind::Link { table: target, .. } => {
                    links(base, target, value, typecast, &mut checked.created_links)?
                }
                Kind::Select | Kind::MultiSelect => {
                    let value = if typecast {
                        as_choices(&kind, value)
                    } else {
                        value.clone()
                    };
                    choices(base, table, &id, &kind, value, typecast)?.ok_or(rejected)?
                }
                Kind::Attachments => attachments(base, value).ok_or(rejected)?,
                _ => plain(&kind, value, typecast).ok_or(rejected)?,
            }
        };
        let cell = if is_empty_cell(&cell) {
            Json::Null
        } else {
            cell
        };
        checked.cells.insert(id, cell);
    }
    Ok(checked)
}

/// What [`cells`] found.
#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) cells: Cells,
    /// Records that typecast asks to create first: (table, id, primary text).
    pub(crate) created_links: Vec<(Id, Id, String)>,
}

fn plain(kind: &Kind, value: &Json, typecast: bool) -> Option<Json> {
    match (kind, value) {
        (Kind::Text, Json::String(_)) => Some(value.clone()),
        (Kind::Text, Json::Number(n)) if typecast => Some(json!(n.to_string())),
        (Kind::Text, Json::Bool(b)) if typecast => Some(json!(b.to_string())),
        (Kind::Number, Json::Number(_)) => Some(value.clone()),
        (Kind::Number, Json::String(text)) if text.is_empty() => Some(Json::Null),
        (Kind::Number, Json::String(text)) if typecast => Some(
            text.trim()
                .parse::<f64>()
                .map_or(Json::Null, crate::formula::number_json),
        ),
        (Kind::Checkbox, Json::Bool(_)) => Some(value.clone()),
        (Kind::Checkbox, Json::String(text)) if typecast => {
            Some(json!(matches!(text.as_str(), "true" | "checked" | "1")))
        }
        (Kind::Checkbox, Json::Number(n)) if typecast => Some(json!(n.as_f64() != Some(0.0))),
        (Kind::Date | Kind::DateTime, Json::String(text)) if text.is_empty() => Some(Json::Null),
        (Kind::Date, Json::String(text)) => {
            datetime::parse(text).map(|ms| json!(datetime::iso_date(ms)))
        }
        (Kind::DateTime, Json::String(text)) => {
            datetime::parse(text).map(|ms| json!(datetime::iso(ms)))
        }
        (Kind::Collaborator, Json::Object(_)) => collaborator(value),
        (Kind::Collaborators, Json::Array(items)) => items
            .iter()
            .map(collaborator)
            .collect::<Option<Vec<_>>>()
            .map(Json::Array),
        (Kind::Barcode, Json::Object(map)) if map.get("text").is_some_and(Json::is_string) => {
            Some(value.clone())
        }
        _ => None,
    }
}

fn collaborator(value: &Json) -> Option<Json> {
    let known = value
        .get("id")
        .or_else(|| value.get("email"))
        .and_then(Json::as_str)?;
    if value.get("id").is_some() {
        return Some(value.clone());
    }
    Some(json!({"id": &*crate::ids::mint("usr", known), "email": known, "name": known}))
}

/// Typecast takes one text, or several joined by commas, where choices are wanted.
fn as_choices(kind: &Kind, value: &Json) -> Json {
    match (kind, value) {
        (Kind::MultiSelect, Json::String(text)) => text
            .split(',')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(|t| json!(t))
            .collect(),
        (Kind::Select, Json::Number(n)) => json!(n.to_string()),
        _ => value.clone(),
    }
}

fn choices(
    base: &mut Base,
    table: &Id,
    field: &Id,
    kind: &Kind,
    value: Json,
    typecast: bool,
) -> Result<Option<Json>, ApiError> {
    let wanted: Vec<String> = match (kind, &value) {
        (Kind::Select, Json::String(name)) if name.is_empty() => return Ok(Some(Json::Null)),
        (Kind::Select, Json::String(name)) => vec![name.clone()],
        (Kind::MultiSelect, Json::Array(items)) => match items
            .iter()
            .map(|c| c.as_str().map(str::to_owned))
            .collect()
        {
            Some(names) => names,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let base_id = base.id.clone();
    let Some(field) = base.table_mut(table).and_then(|t| t.fields.get_mut(field)) else {
        return Ok(None);
    };
    for name in &wanted {
        let known = field.options.get("choices").and_then(Json::as_array);
        if known
            .into_iter()
            .flatten()
            .any(|c| c.get("name").and_then(Json::as_str) == Some(name))
        {
            continue;
        }
        if !typecast {
            return Err(ApiError::invalid(
                "INVALID_MULTIPLE_CHOICE_OPTIONS",
                &format!("Insufficient permissions to create new select option \"{name}\""),
            ));
        }
        add_choice(field, name, &base_id);
    }
    Ok(Some(value))
}

fn links(
    base: &mut Base,
    target: &Id,
    value: &Json,
    typecast: bool,
    created: &mut Vec<(Id, Id, String)>,
) -> Result<Json, ApiError> {
    let rejected =
        || ApiError::invalid("INVALID_RECORD_ID", "Value is not an array of record IDs.");
    let single;
    let items = match value {
        Json::Array(items) => items,
        Json::String(text) if typecast && !text.is_empty() => {
            single = [value.clone()];
            &single[..]
        }
        Json::String(text) if text.is_empty() => return Ok(Json::Null),
        _ => return Err(rejected()),
    };
    let mut ids: Vec<Json> = Vec::new();
    for item in items {
        let text = item
            .as_str()
            .or_else(|| item.get("id").and_then(Json::as_str))
            .ok_or_else(rejected)?;
        let table = base.table(target).ok_or_else(rejected)?;
        let id = if table.records.contains_key(text) {
            text.to_owned()
        } else if typecast && !is_shaped("rec", text) {
            by_primary_text(base, target, text, created)
        } else {
            let message = format!("Record ID {text} does not exist in this table");
            return Err(ApiError::invalid("ROW_DOES_NOT_EXIST", &message));
        };
        let id = json!(id);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(Json::Array(ids))
}

/// The record whose primary field reads `text`; a new one when there is none.
fn by_primary_text(
    base: &mut Base,
    target: &Id,
    text: &str,
    created: &mut Vec<(Id, Id, String)>,
) -> String {
    if let Some((_, id, _)) = created
        .iter()
        .find(|(table, _, name)| table == target && name == text)
    {
        return id.to_string();
    }
    let found = base.table(target).and_then(|table| {
        let mut with_text = table
            .records
            .iter()
            .filter(|(_, r)| r.cells.get(&table.primary).and_then(Json::as_str) == Some(text));
        with_text.next().map(|(id, _)| id.clone())
    });
    found.map_or_else(
        || {
            let id = base.mint("rec");
            created.push((target.clone(), id.clone(), text.to_owned()));
            id.to_string()
        },
        |id| id.to_string(),
    )
}

/// New attachments come by url and get an id; `{"id": "att…"}` keeps one that is there, wherever it is.
fn attachments(base: &mut Base, value: &Json) -> Option<Json> {
    let mut out = Vec::new();
    for item in value.as_array()? {
        let id = item.get("id").and_then(Json::as_str);
        if let Some(id) = id.filter(|id| is_shaped("att", id)) {
            out.push(
                existing_attachment(base, id)
                    .unwrap_or_else(|| json!({"id": id, "filename": "file"})),
            );
            continue;
        }
        let url = item.get("url").and_then(Json::as_str)?;
        let last = url
            .rsplit('/')
            .next()
            .filter(|name| !name.is_empty())
            .unwrap_or("file");
        let filename = item
            .get("filename")
            .and_then(Json::as_str)
            .unwrap_or(last)
            .to_owned();
        out.push(json!({"id": &*base.mint("att"), "filename": filename}));
    }
    Some(Json::Array(out))
}

fn existing_attachment(base: &Base, id: &str) -> Option<Json> {
    let cells = base
        .tables
        .iter()
        .flat_map(|t| t.records.values())
        .flat_map(|r| r.cells.values());
    cells
        .filter_map(Json::as_array)
        .flatten()
        .find(|item| item.get("id").and_then(Json::as_str) == Some(id))
        .cloned()
}
