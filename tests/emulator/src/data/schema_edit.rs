//! Changes of the schema, as a user makes them in the web client.

use super::commit::{commit, Circumstances, Operation};
use super::model::{Base, Kind};
use super::seed::text;
use super::seed_fields::{new_field, resolve_computed};
use crate::ids::Id;
use crate::webhooks::{report_schema, SchemaChange};
use serde_json::{json, Value as Json};

/// Applies one edit: `{"base", "table", …}` with one of `"rename_table": name`, `"rename_field": {"field", "name"}`,
/// `"add_field": {seed field}`, `"delete_field": field`, `"delete_table": true`.
///
/// # Errors
/// A sentence naming what is not there or cannot go.
pub(crate) fn apply(base: &mut Base, edit: &Json, at: Circumstances<'_>) -> Result<(), String> {
    let name = text(edit, "table").ok_or("\"table\" is missing")?;
    let table = base
        .table_named(name)
        .ok_or_else(|| format!("no table {name}"))?
        .id
        .clone();
    let change = if let Some(name) = text(edit, "rename_table") {
        rename_table(base, &table, name)?
    } else if let Some(rename) = edit.get("rename_field") {
        let (field, name) = (
            text(rename, "field").unwrap_or_default(),
            text(rename, "name").unwrap_or_default(),
        );
        rename_field(base, &table, field, name)?
    } else if let Some(seed) = edit.get("add_field") {
        add_field(base, &table, seed)?
    } else if let Some(field) = text(edit, "delete_field") {
        delete_field(base, &table, field)?
    } else if edit.get("delete_table").and_then(Json::as_bool) == Some(true) {
        delete_table(base, &table, at)
    } else {
        return Err("no edit that is known".to_owned());
    };
    base.transaction += 1;
    report_schema(base, &change, at);
    Ok(())
}

fn rename_table(base: &mut Base, table: &Id, name: &str) -> Result<SchemaChange, String> {
    if base.table_named(name).is_some() {
        return Err(format!("table {name} is there already"));
    }
    let entry = base.table_mut(table).ok_or("no table")?;
    let shown = |name: &str, description: &Option<String>| json!({"name": name, "description": description});
    let previous = shown(&entry.name, &entry.description);
    name.clone_into(&mut entry.name);
    Ok(SchemaChange::TableRenamed {
        table: table.to_string(),
        current: shown(name, &entry.description),
        previous,
    })
}

fn rename_field(
    base: &mut Base,
    table: &Id,
    field: &str,
    name: &str,
) -> Result<SchemaChange, String> {
    let entry = base.table_mut(table).ok_or("no table")?;
    if name.is_empty() || entry.field_named(name).is_some() {
        return Err(format!("field {name:?} cannot be a new name"));
    }
    let id = entry
        .field_named(field)
        .ok_or_else(|| format!("no field {field}"))?
        .id
        .clone();
    let field = entry.fields.get_mut(&id).ok_or("no field")?;
    let previous = json!({"name": field.name});
    name.clone_into(&mut field.name);
    Ok(SchemaChange::FieldChanged {
        table: table.to_string(),
        field: id.to_string(),
        current: json!({ "name": name }),
        previous,
    })
}

fn add_field(base: &mut Base, table: &Id, seed: &Json) -> Result<SchemaChange, String> {
    if text(seed, "type") == Some("multipleRecordLinks") {
        return Err("link fields come with the seed".to_owned());
    }
    let base_id = base.id.clone();
    let entry = base.table_mut(table).ok_or("no table")?;
    let table_name = entry.name.clone();
    let field = new_field(seed, &base_id, &table_name)?;
    if entry.field_named(&field.name).is_some() || entry.fields.contains_key(&field.id) {
        return Err(format!("field {:?} is there already", field.name));
    }
    let id = field.id.clone();
    entry.fields.insert(id.clone(), field);
    if let Err(error) = resolve_computed(base, &table_name, seed) {
        base.table_mut(table)
            .and_then(|t| t.fields.shift_remove(&id));
        return Err(error);
    }
    let added = base
        .table(table)
        .and_then(|t| t.fields.get(&id))
        .ok_or("no field")?;
    let definition = json!({"name": added.name, "type": added.type_name});
    Ok(SchemaChange::FieldCreated {
        table: table.to_string(),
        field: id.to_string(),
        definition,
    })
}

fn delete_field(base: &mut Base, table: &Id, field: &str) -> Result<SchemaChange, String> {
    let entry = base.table_mut(table).ok_or("no table")?;
    let id = entry
        .field_named(field)
        .ok_or_else(|| format!("no field {field}"))?
        .id
        .clone();
    if id == entry.primary {
        return Err(format!("field {field} is the primary field"));
    }
    let removed = entry.fields.shift_remove(&id);
    for record in entry.records.values_mut() {
        record.cells.remove(&id);
    }
    // The other end of a link goes with it.
    if let Some(Kind::Link {
        table: target,
        inverse: Some(inverse),
    }) = removed.map(|f| f.kind)
    {
        if let Some(target) = base.table_mut(&target) {
            target.fields.shift_remove(&inverse);
            for record in target.records.values_mut() {
                record.cells.remove(&inverse);
            }
        }
    }
    Ok(SchemaChange::FieldDestroyed {
        table: table.to_string(),
        field: id.to_string(),
    })
}

fn delete_table(base: &mut Base, table: &Id, at: Circumstances<'_>) -> SchemaChange {
    // Deleting the records first empties the link cells of other tables; the links themselves go after.
    let records: Vec<Id> = base
        .table(table)
        .map(|t| t.records.keys().cloned().collect())
        .unwrap_or_default();
    let webhooks = std::mem::take(&mut base.webhooks);
    let delete = |record: Id| Operation::Delete {
        table: table.clone(),
        record,
    };
    commit(base, records.into_iter().map(delete).collect(), at);
    base.webhooks = webhooks;
    base.tables.retain(|t| t.id != *table);
    for other in &mut base.tables {
        other.fields.retain(
            |_, field| !matches!(&field.kind, Kind::Link { table: target, .. } if target == table),
        );
    }
    SchemaChange::TableDestroyed {
        table: table.to_string(),
    }
}
