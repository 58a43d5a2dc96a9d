//! Cells as the API shows them: records of Get and List, and the richer shapes of webhook payloads.

use super::model::{is_empty_cell, Field, Kind};
use super::reader::{Reader, Row};
use crate::datetime;
use serde_json::{json, Map, Value as Json};
use std::collections::HashSet;

/// How long an attachment url works after the reply that carried it.
const ATTACHMENT_LIFE_MS: i64 = 2 * 3_600_000;

/// How records are shown in one reply.
#[derive(Default)]
pub(crate) struct Shape {
    /// Keys of `fields` are field ids.
    pub(crate) by_field_id: bool,
    /// Field ids to show; `None` shows all.
    pub(crate) only: Option<HashSet<crate::ids::Id>>,
    /// `cellFormat=string`.
    pub(crate) as_text: bool,
    pub(crate) comment_count: bool,
    /// Differs from reply to reply, so that attachment urls do; `None` leaves the urls out.
    pub(crate) reply_serial: Option<u64>,
}

/// `{"id", "createdTime", "fields"}`, empty cells left out.
pub(crate) fn record<'a>(reader: &Reader<'a>, row: Row<'a>, shape: &Shape) -> Json {
    let mut fields = Map::new();
    for field in row.table.fields.values() {
        if shape
            .only
            .as_ref()
            .is_some_and(|only| !only.contains(&field.id))
        {
            continue;
        }
        let cell = if shape.as_text {
            Json::String(
                reader
                    .value(row, field)
                    .to_text(reader.separator)
                    .to_string(),
            )
        } else {
            sign_attachments(
                reader.cell(row, field).into_owned(),
                reader.now_ms,
                shape.reply_serial,
            )
        };
        if !is_empty_cell(&cell) {
            let key = if shape.by_field_id {
                field.id.to_string()
            } else {
                field.name.clone()
            };
            fields.insert(key, cell);
        }
    }
    let mut shown = json!({"id": &**row.id, "createdTime": datetime::iso(row.record.created_ms), "fields": fields});
    if shape.comment_count {
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("commentCount".to_owned(), json!(0));
        }
    }
    shown
}

/// Gives attachments (also looked-up ones) urls that are this reply's own and name their end.
pub(crate) fn sign_attachments(mut cell: Json, now_ms: i64, serial: Option<u64>) -> Json {
    for item in cell.as_array_mut().into_iter().flatten() {
        let Some(item) = item.as_object_mut() else {
            return cell;
        };
        let Some(id) = item
            .get("id")
            .and_then(Json::as_str)
            .filter(|id| id.starts_with("att"))
            .map(str::to_owned)
        else {
            return cell;
        };
        let Some(serial) = serial else {
            item.remove("url");
            continue;
        };
        let expires_ms = now_ms + ATTACHMENT_LIFE_MS;
        let url = |size: &str| {
            format!("https://v5.airtableusercontent.com/v3/u/{expires_ms}/{serial:x}/{id}/{size}")
        };
        item.insert("url".to_owned(), json!(url("original")));
        if item
            .get("type")
            .and_then(Json::as_str)
            .is_some_and(|t| t.starts_with("image/"))
        {
            let thumbnail =
                |size: &str, side: u32| json!({"url": url(size), "width": side, "height": side});
            let thumbnails = json!({"small": thumbnail("small", 36), "large": thumbnail("large", 512), "full": thumbnail("full", 3000)});
            item.insert("thumbnails".to_owned(), thumbnails);
        }
    }
    cell
}

/// The cell as webhook payloads hold it: choices and links as objects, lookups by linked record, empty as null.
pub(crate) fn payload_cell<'a>(reader: &Reader<'a>, row: Row<'a>, field: &'a Field) -> Json {
    let cell = reader.cell(row, field);
    if is_empty_cell(&cell) {
        return Json::Null;
    }
    match &field.kind {
        Kind::Select => choice(field, &cell),
        Kind::MultiSelect => cell.as_array().into_iter().flatten().map(|c| choice(field, c)).collect(),
        Kind::Link { .. } => reader
            .linked(row, &field.id)
            .map(|linked| json!({"id": &**linked.id, "name": &*reader.primary_text(linked).to_text(reader.separator)}))
            .collect(),
        Kind::Lookup { link, field: target } if !row.record.cells.contains_key(&field.id) => {
            let mut ids = Vec::new();
            let mut values = Map::new();
            for linked in reader.linked(row, link) {
                ids.push(json!(&**linked.id));
                let Some(target) = linked.table.fields.get(target) else { continue };
                let shown = match reader.cell(linked, target).into_owned() {
                    Json::Array(items) => Json::Array(items),
                    empty if is_empty_cell(&empty) => continue,
                    one => Json::Array(vec![one]),
                };
                values.insert(linked.id.to_string(), sign_attachments(shown, reader.now_ms, Some(0)));
            }
            json!({"linkedRecordIds": ids, "valuesByLinkedRecordId": values})
        }
        _ => sign_attachments(cell.into_owned(), reader.now_ms, Some(0)),
    }
}

fn choice(field: &Field, name: &Json) -> Json {
    let choices = field.options.get("choices").and_then(Json::as_array);
    choices
        .into_iter()
        .flatten()
        .find(|c| c.get("name") == Some(name))
        .cloned()
        .unwrap_or_else(|| json!({"name": name}))
}
