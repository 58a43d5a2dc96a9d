//! From a transaction to the payloads of each webhook.

use super::spec::Scope;
use super::{Spec, Webhook};
use crate::data::commit::{Changes, Circumstances, Transaction};
use crate::data::model::Base;
use crate::data::reader::Reader;
use crate::data::show;
use crate::datetime;
use serde_json::{json, Map, Value as Json};

/// A change of the schema, in the words of payloads.
pub(crate) enum SchemaChange {
    FieldCreated {
        table: String,
        field: String,
        definition: Json,
    },
    FieldChanged {
        table: String,
        field: String,
        current: Json,
        previous: Json,
    },
    FieldDestroyed {
        table: String,
        field: String,
    },
    TableRenamed {
        table: String,
        current: Json,
        previous: Json,
    },
    TableDestroyed {
        table: String,
    },
}

/// Gives every active webhook of the base its payloads: one for what was written, one for what was recomputed in consequence
/// (which can be listed only when reads show it).
pub(crate) fn report(base: &mut Base, transaction: &Transaction, at: Circumstances<'_>) {
    let mut webhooks = std::mem::take(&mut base.webhooks);
    for webhook in webhooks.iter_mut().filter(|w| w.is_active(at.now_ms)) {
        let spec = &webhook.spec;
        if !spec.table_data
            || spec
                .sources
                .as_ref()
                .is_some_and(|s| !s.contains(at.source))
        {
            continue;
        }
        let written = written(base, spec, transaction, at);
        let recomputed = changed_tables(base, spec, &transaction.recomputed, at);
        let visible_ms = at.now_ms + at.payload_delay_ms;
        for (tables, visible_ms) in [
            (written, visible_ms),
            (recomputed, visible_ms + at.computed_lag_ms),
        ] {
            if !tables.is_empty() {
                let mut payload = envelope(base, at);
                insert(&mut payload, "changedTablesById", Json::Object(tables));
                webhook.push(payload, at.now_ms, visible_ms);
            }
        }
    }
    base.webhooks = webhooks;
}

/// Reports a change of the schema; a webhook whose specification names what is gone gets an error payload and stays dead.
pub(crate) fn report_schema(base: &mut Base, change: &SchemaChange, at: Circumstances<'_>) {
    let mut webhooks = std::mem::take(&mut base.webhooks);
    for webhook in webhooks.iter_mut().filter(|w| w.is_active(at.now_ms)) {
        if is_fatal(&webhook.spec, change) {
            fail(webhook, "INVALID_FILTERS", base.transaction, at.now_ms);
            continue;
        }
        if let Some((key, value)) = schema_part(&webhook.spec, change) {
            let mut payload = envelope(base, at);
            insert(&mut payload, key, value);
            webhook.push(payload, at.now_ms, at.now_ms + at.payload_delay_ms);
        }
    }
    base.webhooks = webhooks;
}

/// The one error payload after which nothing more comes.
pub(crate) fn fail(webhook: &mut Webhook, code: &str, transaction: u64, now_ms: i64) {
    let payload = json!({"timestamp": datetime::iso(now_ms), "baseTransactionNumber": transaction, "payloadFormat": "v0", "error": true, "code": code});
    webhook.push(payload, now_ms, now_ms);
    webhook.healthy = false;
}

fn envelope(base: &Base, at: Circumstances<'_>) -> Json {
    let user = json!({"id": crate::api::USER_ID, "email": crate::api::USER_EMAIL, "name": crate::api::USER_NAME, "permissionLevel": "create"});
    let metadata = match at.source {
        "client" | "publicApi" => json!({"source": at.source, "sourceMetadata": {"user": user}}),
        _ => json!({"source": at.source}),
    };
    json!({
        "timestamp": datetime::iso(at.now_ms),
        "baseTransactionNumber": base.transaction,
        "payloadFormat": "v0",
        "actionMetadata": metadata,
    })
}

fn insert(object: &mut Json, key: &str, value: Json) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// The part of a table's entry, created when first needed; under its view when the scope is one.
fn part<'t>(
    tables: &'t mut Map<String, Json>,
    spec: &Spec,
    table: &str,
    key: &str,
    empty: Json,
) -> Option<&'t mut Json> {
    let mut entry = tables.entry(table).or_insert_with(|| json!({}));
    if let Scope::View { view, .. } = &spec.scope {
        let views = entry
            .as_object_mut()?
            .entry("changedViewsById")
            .or_insert_with(|| json!({}));
        entry = views
            .as_object_mut()?
            .entry(view)
            .or_insert_with(|| json!({}));
    }
    Some(entry.as_object_mut()?.entry(key).or_insert(empty))
}

fn written(
    base: &Base,
    spec: &Spec,
    transaction: &Transaction,
    at: Circumstances<'_>,
) -> Map<String, Json> {
    let mut tables = changed_tables(base, spec, &transaction.changed, at);
    let reader = Reader::new(base, at.now_ms, at.separator);
    for (table, record) in transaction
        .created
        .iter()
        .filter(|(t, _)| spec.reports("add") && spec.watches_table(t))
    {
        let Some(row) = base.table(table).and_then(|t| reader.row(t, record)) else {
            continue;
        };
        let shown = row
            .table
            .fields
            .values()
            .filter(|f| spec.watches_field(&f.id) || spec.includes(&f.id));
        let cells = shown
            .map(|f| (f.id.to_string(), show::payload_cell(&reader, row, f)))
            .filter(|(_, cell)| !cell.is_null());
        let cells: Map<String, Json> = cells.collect();
        let created = json!({"createdTime": datetime::iso(row.record.created_ms), "cellValuesByFieldId": cells});
        if let Some(Json::Object(records)) =
            part(&mut tables, spec, table, "createdRecordsById", json!({}))
        {
            records.insert(record.to_string(), created);
        }
    }
    for (table, record) in transaction
        .destroyed
        .iter()
        .filter(|(t, _)| spec.reports("remove") && spec.watches_table(t))
    {
        if let Some(Json::Array(ids)) =
            part(&mut tables, spec, table, "destroyedRecordIds", json!([]))
        {
            ids.push(json!(&**record));
        }
    }
    tables
}

fn changed_tables(
    base: &Base,
    spec: &Spec,
    changes: &Changes,
    at: Circumstances<'_>,
) -> Map<String, Json> {
    let mut tables = Map::new();
    if !spec.reports("update") {
        return tables;
    }
    let reader = Reader::new(base, at.now_ms, at.separator);
    for (table, records) in changes.iter().filter(|(t, _)| spec.watches_table(t)) {
        for (record, cells) in records {
            let cells: Vec<_> = cells
                .iter()
                .filter(|(field, _)| spec.watches_field(field))
                .collect();
            if cells.is_empty() {
                continue;
            }
            let side = |pick: fn(&(Json, Json)) -> &Json| -> Map<String, Json> {
                cells
                    .iter()
                    .map(|(field, both)| (field.to_string(), pick(both).clone()))
                    .collect()
            };
            let mut changed = json!({"current": {"cellValuesByFieldId": side(|both| &both.1)}});
            if spec.include_previous {
                insert(
                    &mut changed,
                    "previous",
                    json!({"cellValuesByFieldId": side(|both| &both.0)}),
                );
            }
            if let Some(row) = base.table(table).and_then(|t| reader.row(t, record)) {
                let is_changed = |id: &str| cells.iter().any(|(field, _)| &***field == id);
                let unchanged = row
                    .table
                    .fields
                    .values()
                    .filter(|f| spec.includes(&f.id) && !is_changed(&f.id));
                let unchanged: Map<String, Json> = unchanged
                    .map(|f| (f.id.to_string(), show::payload_cell(&reader, row, f)))
                    .collect();
                if !unchanged.is_empty() {
                    insert(
                        &mut changed,
                        "unchanged",
                        json!({"cellValuesByFieldId": unchanged}),
                    );
                }
            }
            if let Some(Json::Object(records)) =
                part(&mut tables, spec, table, "changedRecordsById", json!({}))
            {
                records.insert(record.to_string(), changed);
            }
        }
    }
    tables
}

fn is_fatal(spec: &Spec, change: &SchemaChange) -> bool {
    match change {
        SchemaChange::TableDestroyed { table } => {
            !matches!(spec.scope, Scope::Base) && spec.watches_table(table)
        }
        SchemaChange::FieldDestroyed { field, .. } => {
            let named = |fields: &Option<std::collections::HashSet<String>>| {
                fields.as_ref().is_some_and(|f| f.contains(field))
            };
            named(&spec.watched_fields) || named(&spec.watched_schemas)
        }
        _ => false,
    }
}

fn schema_part(spec: &Spec, change: &SchemaChange) -> Option<(&'static str, Json)> {
    let in_table = |table: &str, key: &str, value: Json| {
        let mut entry = Map::new();
        entry.insert(key.to_owned(), value);
        Some(("changedTablesById", json!({ table: entry })))
    };
    let unwatched = |field: &str| {
        spec.watched_schemas
            .as_ref()
            .is_some_and(|f| !f.contains(field))
    };
    match change {
        SchemaChange::FieldCreated { field, .. }
        | SchemaChange::FieldChanged { field, .. }
        | SchemaChange::FieldDestroyed { field, .. }
            if unwatched(field) =>
        {
            None
        }
        SchemaChange::FieldCreated {
            table,
            field,
            definition,
        } if spec.table_fields => in_table(
            table,
            "createdFieldsById",
            json!({ field.as_str(): definition }),
        ),
        SchemaChange::FieldChanged {
            table,
            field,
            current,
            previous,
        } if spec.table_fields => {
            let mut entry = json!({"current": current});
            if spec.include_previous_fields {
                insert(&mut entry, "previous", previous.clone());
            }
            in_table(table, "changedFieldsById", json!({ field.as_str(): entry }))
        }
        SchemaChange::FieldDestroyed { table, field } if spec.table_fields => {
            in_table(table, "destroyedFieldIds", json!([field]))
        }
        SchemaChange::TableRenamed {
            table,
            current,
            previous,
        } if spec.table_metadata => in_table(
            table,
            "changedMetadata",
            json!({"current": current, "previous": previous}),
        ),
        SchemaChange::TableDestroyed { table } if spec.table_metadata => {
            Some(("destroyedTableIds", json!([table])))
        }
        _ => None,
    }
}
