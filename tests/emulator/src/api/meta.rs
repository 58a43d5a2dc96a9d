//! Who am I, which bases, which tables.

use super::errors::ApiError;
use super::{Reply, Visit, USER_EMAIL, USER_ID};
use crate::data::model::Table;
use crate::http::response::Response;
use crate::ids::is_shaped;
use serde_json::{json, Map, Value as Json};

/// Bases on one page.
const PAGE: usize = 1000;

pub(super) fn whoami(visit: &Visit<'_>) -> Reply {
    let mut body = json!({ "id": USER_ID });
    let scopes = visit.scopes(&visit.shared.world.read());
    let shows_email = scopes.is_none_or(|s| s.iter().any(|s| s == "user.email:read"));
    if let (true, Some(body)) = (shows_email, body.as_object_mut()) {
        body.insert("email".to_owned(), json!(USER_EMAIL));
    }
    Ok(Response::json(200, &body))
}

pub(super) fn bases(visit: &Visit<'_>) -> Reply {
    let world = visit.shared.world.read();
    let after = visit
        .text("offset")
        .and_then(|o| o.split_once('/').map(|(_, base)| base.to_owned()));
    let mut seen = world
        .bases
        .values()
        .filter(|b| visit.may_see(&world, &b.id));
    if let Some(after) = after {
        seen.by_ref()
            .find(|b| *b.id == *after)
            .ok_or_else(ApiError::iterator_gone)?;
    }
    let page: Vec<_> = seen.by_ref().take(PAGE).collect();
    let shown: Vec<Json> = page
        .iter()
        .map(|b| json!({"id": &*b.id, "name": b.name, "permissionLevel": b.permission_level}))
        .collect();
    let mut body = json!({ "bases": shown });
    if let (Some(_), Some(last), Some(body)) = (seen.next(), page.last(), body.as_object_mut()) {
        body.insert(
            "offset".to_owned(),
            json!(format!("itrBases000000000/{}", last.id)),
        );
    }
    Ok(Response::json(200, &body))
}

pub(super) fn tables(visit: &Visit<'_>, base: &str) -> Reply {
    if !is_shaped("app", base) {
        return Err(ApiError::not_found());
    }
    let with_visible = visit
        .request
        .query
        .iter()
        .any(|(key, value)| key.starts_with("include") && value == "visibleFieldIds");
    let world = visit.shared.world.read();
    let base = visit.base(&world, base, "schema.bases:read")?;
    let tables: Vec<Json> = base.tables.iter().map(|t| table(t, with_visible)).collect();
    Ok(Response::json(200, &json!({ "tables": tables })))
}

fn table(table: &Table, with_visible: bool) -> Json {
    let fields: Vec<Json> = table.fields.values().map(field).collect();
    let views = table.views.iter().map(|view| {
        let mut shown = json!({"id": &*view.id, "name": view.name, "type": view.kind});
        if with_visible && view.kind == "grid" {
            let visible: Vec<&str> = match &view.visible {
                Some(ids) => ids.iter().map(|id| &**id).collect(),
                None => table.fields.keys().map(|id| &**id).collect(),
            };
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("visibleFieldIds".to_owned(), json!(visible));
            }
        }
        shown
    });
    let mut shown = Map::new();
    shown.insert("id".to_owned(), json!(&*table.id));
    shown.insert("name".to_owned(), json!(table.name));
    shown.insert("primaryFieldId".to_owned(), json!(&*table.primary));
    if let Some(description) = &table.description {
        shown.insert("description".to_owned(), json!(description));
    }
    shown.insert("fields".to_owned(), Json::Array(fields));
    shown.insert("views".to_owned(), views.collect());
    Json::Object(shown)
}

/// A field as the schema and webhook payloads show it.
pub(crate) fn field(field: &crate::data::model::Field) -> Json {
    let mut shown = json!({"id": &*field.id, "name": field.name, "type": field.type_name});
    if let Some(shown) = shown.as_object_mut() {
        if let Some(description) = &field.description {
            shown.insert("description".to_owned(), json!(description));
        }
        if !field.options.is_empty() {
            shown.insert("options".to_owned(), Json::Object(field.options.clone()));
        }
    }
    shown
}
