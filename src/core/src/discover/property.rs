//! One Airtable field as a property of a JSON Schema.

use super::Column;
use alloc::string::String;
use serde_json::{json, Map, Value};

/// Fields that Airtable fills by itself.
pub(super) fn is_computed(kind: &str) -> bool {
    matches!(
        kind,
        "formula"
            | "rollup"
            | "count"
            | "multipleLookupValues"
            | "autoNumber"
            | "createdTime"
            | "lastModifiedTime"
            | "createdBy"
            | "lastModifiedBy"
            | "button"
            | "aiText"
            | "externalSyncSource"
    )
}

/// The property of a field. Airtable leaves empty cells out: what is empty reads as null, false or an empty array.
pub(super) fn of(f: &Column) -> Value {
    let mut p = typed(f.kind, f.options);
    if let Some(o) = p.as_object_mut() {
        if is_computed(f.kind) {
            o.insert("readOnly".into(), true.into());
        } else if let Some(empty) = empty(o) {
            o.insert("default".into(), empty);
        }
        let asked = matches!(
            f.kind,
            "singleLineText" | "email" | "singleSelect" | "checkbox"
        );
        // A name with a colon does not fit into an index key.
        if asked && !f.name.contains(':') {
            o.insert("indexed".into(), true.into());
        }
        let sorted = matches!(
            f.kind,
            "number"
                | "currency"
                | "percent"
                | "rating"
                | "duration"
                | "date"
                | "dateTime"
                | "autoNumber"
                | "createdTime"
                | "lastModifiedTime"
                | "singleLineText"
                | "count"
        );
        if sorted {
            o.insert("sortable".into(), true.into());
        }
    }
    p
}

/// What an empty cell reads as.
fn empty(p: &Map<String, Value>) -> Option<Value> {
    match p.get("type")? {
        Value::String(t) if t == "array" => Some(json!([])),
        Value::String(t) if t == "boolean" => Some(json!(false)),
        Value::Array(_) => Some(Value::Null),
        _ => None,
    }
}

fn typed(kind: &str, options: Option<&Map<String, Value>>) -> Value {
    let option = |name: &str| options.and_then(|o| o.get(name));
    match kind {
        "singleLineText" | "multilineText" | "richText" | "email" | "url" | "phoneNumber"
        | "singleSelect" | "externalSyncSource" => {
            json!({"type": ["string", "null"]})
        }
        "number" | "currency" | "percent" | "duration" => json!({"type": ["number", "null"]}),
        "rating" | "autoNumber" | "count" => json!({"type": ["integer", "null"]}),
        "checkbox" => json!({"type": "boolean"}),
        "date" => json!({"type": ["string", "null"], "format": "date"}),
        "dateTime" => json!({"type": ["string", "null"], "format": "date-time"}),
        // A time, or a day where it is formatted as one.
        "createdTime" | "lastModifiedTime" => match option("result")
            .and_then(|r| r.get("type"))
            .and_then(Value::as_str)
        {
            Some("date") => json!({"type": ["string", "null"], "format": "date"}),
            _ => json!({"type": ["string", "null"], "format": "date-time"}),
        },
        "multipleSelects" => json!({"type": "array", "items": {"type": "string"}}),
        "multipleRecordLinks" => {
            let mut p = json!({"type": "array", "items": {"type": "string", "pattern": "^rec"}});
            if let (Some(true), Some(o)) = (
                option("prefersSingleRecordLink").and_then(Value::as_bool),
                p.as_object_mut(),
            ) {
                o.insert("maxItems".into(), 1.into());
            }
            p
        }
        "multipleAttachments" | "multipleCollaborators" => {
            json!({"type": "array", "items": {"type": "object"}})
        }
        "singleCollaborator" | "createdBy" | "lastModifiedBy" | "barcode" | "button" | "aiText" => {
            json!({"type": ["object", "null"]})
        }
        "multipleLookupValues" => json!({"type": "array"}),
        // Computed: what it comes to, where that is a plain value.
        "formula" | "rollup" => match option("result")
            .and_then(|r| r.get("type"))
            .and_then(Value::as_str)
        {
            Some(
                t @ ("singleLineText" | "multilineText" | "number" | "currency" | "percent"
                | "duration" | "date" | "dateTime" | "checkbox"),
            ) => match typed(t, None) {
                Value::Object(mut p) if t == "checkbox" => {
                    p.insert("type".into(), json!(["boolean", "null"]));
                    Value::Object(p)
                }
                p => p,
            },
            _ => json!({}),
        },
        _ => json!({}),
    }
}
