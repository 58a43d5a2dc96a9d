//! What clients and scripts tell of a record, and what they want written.

use super::cell;
use super::{alternative_of, cell_of, BadRecord, Source};
use crate::spec::Fitted;
use crate::spec::Spec;
use alloc::format;
use alloc::string::String;
use serde_json::{Map, Value};

/// `PODIUM.UPSERT`'s argument as cells, for [`super::shape`] with the source that comes with them.
///
/// Airtable-shaped is a record whose `fields` is an object and that has nothing beside it but `id` and `createdTime`;
/// everything else is flat.
///
/// # Errors
/// It is no JSON object, or its `id` is another one.
pub fn read_upsert(id: &str, json: &[u8]) -> Result<(Map<String, Value>, Source), BadRecord> {
    let mut record = object(json)?;
    match record.get("id") {
        None => {}
        Some(Value::String(own)) if own == id => {}
        Some(own) => {
            return Err(BadRecord(format!(
                "the id in the record is {}, the key says {id:?}",
                brief(own)
            )))
        }
    }
    let shaped = record.get("fields").is_some_and(Value::is_object)
        && record
            .keys()
            .all(|k| matches!(k.as_str(), "fields" | "id" | "createdTime"));
    if shaped {
        if let Some(Value::Object(cells)) = record.shift_remove("fields") {
            return Ok((cells, Source::ToldCells));
        }
    }
    record.shift_remove("id");
    Ok((record, Source::Told))
}

/// `PODIUM.UPSERT`'s argument as cells; [`read_upsert`] says in addition in which shape it came.
///
/// # Errors
/// It is no JSON object, or its `id` is another one.
pub fn cells_of_upsert(id: &str, json: &[u8]) -> Result<Map<String, Value>, BadRecord> {
    read_upsert(id, json).map(|(cells, _)| cells)
}

/// Do all the cells of a script's record fit the schema? An open spec takes any.
pub fn fits(spec: &Spec, cells: &Map<String, Value>) -> bool {
    let holds = spec.fields().iter().filter(|f| f.rule.is_some()).all(|f| {
        let cell = cell_of(f, cells, Source::Script);
        !matches!(cell::fit(f, cell, Source::Script), Fitted::Misfit(_))
    });
    holds && (spec.union().is_none() || alternative_of(spec, cells, Source::Script).is_some())
}

/// The argument of CREATE or UPDATE as Airtable cells by column name: without `id` and what is computed or read-only;
/// null clears a cell, a single link's bare id becomes an array.
///
/// # Errors
/// It is no JSON object, or names a field that the schema lacks.
pub fn cells_to_write(spec: &Spec, json: &[u8]) -> Result<Map<String, Value>, BadRecord> {
    let mut out = Map::new();
    for (name, value) in object(json)? {
        if name == "id" {
            continue;
        }
        let field = spec.field(&name).and_then(|ix| spec.get(ix));
        let Some(field) = field.or_else(|| spec.fields().iter().find(|f| f.airtable == name))
        else {
            if spec.open() {
                out.insert(name, value);
                continue;
            }
            return Err(BadRecord(format!(
                "the entity {:?} has no field {name:?}",
                spec.entity()
            )));
        };
        if field.read_only || field.depends.is_some() {
            continue;
        }
        let value = if field.kind.is_link() && !value.is_null() {
            cell::plain(field.kind, &value, Source::Told)
        } else {
            value
        };
        out.insert(field.airtable.clone(), value);
    }
    Ok(out)
}

fn object(json: &[u8]) -> Result<Map<String, Value>, BadRecord> {
    match podium_json::read(json) {
        Ok(Value::Object(o)) => Ok(o),
        Ok(other) => Err(BadRecord(format!(
            "expected a JSON object, not {}",
            brief(&other)
        ))),
        Err(e) => Err(BadRecord(format!("expected a JSON object: {e}"))),
    }
}

/// A value's JSON, short enough for a message.
fn brief(value: &Value) -> String {
    let text = format!("{value}");
    match text.char_indices().nth(40) {
        None => text,
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or("")),
    }
}
