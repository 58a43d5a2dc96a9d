//! One cell under its field's schema: what it holds, whether it is lacking, and its canonical texts.

use super::Source;
use crate::spec::Fitted;
use crate::spec::{Field, Kind, Normal, Rule};
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// A cell of a field that has a schema.
pub(super) fn fit(field: &Field, cell: Option<&Value>, source: Source) -> Fitted {
    match &field.rule {
        Some(rule) => fit_under(field, rule, cell, source),
        None => Fitted::Lacking,
    }
}

/// A cell under a rule of its field.
pub(super) fn fit_under(
    field: &Field,
    rule: &Rule,
    cell: Option<&Value>,
    source: Source,
) -> Fitted {
    let Some(cell) = cell else {
        return Fitted::Lacking;
    };
    let normal = |mut value: Value| {
        normalize(&field.normalize, field.kind, &mut value);
        value
    };
    if source != Source::Airtable && is_meant(field, rule, cell, source) {
        return Fitted::Holds(normal(cell.clone()));
    }
    if is_empty(cell, source) {
        return Fitted::Lacking;
    }
    fit_rule(rule, normal(plain(field.kind, cell, source)))
}

/// Does what was told satisfy the schema as it stands? Then it is what the model wants, whatever shape scripts give to
/// cells. A link's object, or a choice as scripts see it, stays one only where the schema does not take it as a fetch
/// brings it.
fn is_meant(field: &Field, rule: &Rule, cell: &Value, source: Source) -> bool {
    let empty = source != Source::Told && is_empty(cell, source);
    if empty || !rule.allows(cell) {
        return false;
    }
    if source != Source::Script && !field.kind.is_link() {
        return true;
    }
    // A person or a group is an object to a fetch as well.
    let kind = match field.kind.is_link() {
        true => field.kind,
        false => Kind::Any,
    };
    let plain = plain(kind, cell, source);
    plain == *cell || !rule.allows(&plain)
}

/// A cell of an open spec, where nothing is known but the normalisation of those the spec names.
pub(super) fn fit_open(field: Option<&Field>, cell: &Value, source: Source) -> Fitted {
    if is_empty(cell, source) {
        return Fitted::Lacking;
    }
    let mut value = plain(Kind::Any, cell, source);
    if let Some(f) = field {
        normalize(&f.normalize, Kind::Any, &mut value);
    }
    Fitted::Holds(value)
}

/// Brings a value under a schema: as it is, or as Airtable's ways with computed cells explain it.
pub(super) fn fit_rule(rule: &Rule, value: Value) -> Fitted {
    if rule.allows(&value) {
        return Fitted::Holds(value);
    }
    let scalar = rule.is_scalar();
    match value {
        Value::Object(o) if is_error(&o) => Fitted::Lacking,
        // A lookup is an array even of one value.
        Value::Array(mut a) if scalar && a.len() <= 1 => match a.pop() {
            None | Some(Value::Null) => Fitted::Lacking,
            Some(Value::Array(inner)) => {
                Fitted::Misfit(Value::Array(alloc::vec![Value::Array(inner)]))
            }
            Some(one) => match fit_rule(rule, one) {
                Fitted::Misfit(one) => Fitted::Misfit(Value::Array(alloc::vec![one])),
                fitted => fitted,
            },
        },
        // The linked records that had nothing, or an error, to look up.
        Value::Array(a) if a.iter().any(says_nothing) => {
            let rest: Vec<Value> = a.into_iter().filter(|v| !says_nothing(v)).collect();
            if rest.is_empty() {
                Fitted::Lacking
            } else {
                fit_rule(rule, Value::Array(rest))
            }
        }
        // A formula's truth is 1 or 0.
        Value::Number(n)
            if rule.is_boolean() && (n.as_f64() == Some(0.0) || n.as_f64() == Some(1.0)) =>
        {
            Fitted::Holds(Value::Bool(n.as_f64() == Some(1.0)))
        }
        value => Fitted::Misfit(value),
    }
}

/// Airtable leaves empty cells out, and elsewhere writes null for them.
pub(super) fn is_empty(cell: &Value, source: Source) -> bool {
    match cell {
        Value::Null => true,
        Value::String(s) => s.is_empty() && source != Source::Told,
        Value::Array(a) => a.is_empty() && source != Source::Told,
        _ => false,
    }
}

/// `{"error": …}`, `{"specialValue": …}`: a computed field that came to nothing.
fn is_error(o: &Map<String, Value>) -> bool {
    o.len() <= 2 && (o.contains_key("error") || o.contains_key("specialValue"))
}

fn says_nothing(v: &Value) -> bool {
    v.is_null() || v.as_object().is_some_and(is_error)
}

/// A cell in the shape that a read of Airtable gives it.
pub(super) fn plain(kind: Kind, cell: &Value, source: Source) -> Value {
    match cell {
        _ if kind.is_link() => Value::Array(match cell {
            Value::Array(all) => all.iter().map(|v| id_of(v).unwrap_or(v).clone()).collect(),
            one => alloc::vec![id_of(one).unwrap_or(one).clone()],
        }),
        _ if source == Source::Airtable => cell.clone(),
        Value::Array(all) => all
            .iter()
            .map(|v| name_of(kind, v).unwrap_or(v).clone())
            .collect(),
        one => name_of(kind, one).unwrap_or(one).clone(),
    }
}

/// `{"id":"rec…","name":…}` → the id.
fn id_of(v: &Value) -> Option<&Value> {
    v.as_object()?.get("id").filter(|id| id.is_string())
}

/// What scripts and payloads write for a choice, `{id,name,color}`, and for a linked record, `{id,name}`.
fn name_of(kind: Kind, v: &Value) -> Option<&Value> {
    let o = v.as_object()?;
    let id = o.get("id")?.as_str()?;
    let name = o.get("name").filter(|n| n.is_string());
    let only = |keys: &[&str]| o.keys().all(|k| keys.contains(&k.as_str()));
    if kind == Kind::Object {
        None
    } else if crate::key::record_id_ok(id.as_bytes()) && only(&["id", "name"]) {
        o.get("id")
    } else if id.starts_with("sel") || (kind != Kind::Any && only(&["id", "name", "color"])) {
        name
    } else {
        None
    }
}

/// Ids are what they are.
fn normalize(normals: &[Normal], kind: Kind, value: &mut Value) {
    if !kind.is_link() {
        Normal::apply_to(normals, value);
    }
}

/// Where Airtable serves attachments from, under URLs that expire.
const ATTACHMENT_HOSTS: [&str; 2] = ["airtableusercontent.com", "dl.airtable.com"];

/// An attachments cell, a lookup of one, or a text with the URL of an attachment in it, at any depth.
pub(super) fn holds_attachment(value: &Value) -> bool {
    match value {
        Value::Array(all) => all.iter().any(holds_attachment),
        Value::Object(o) => {
            let is_one = o.get("url").is_some_and(Value::is_string)
                && o.get("id")
                    .and_then(Value::as_str)
                    .is_some_and(|id| id.starts_with("att"));
            is_one
                || o.iter()
                    .any(|(key, v)| names_attachment(key) || holds_attachment(v))
        }
        Value::String(text) => names_attachment(text),
        _ => false,
    }
}

/// Every host has a dot, and few texts have many: the search goes from dot to dot. Case means nothing in a host.
fn names_attachment(text: &str) -> bool {
    let bytes = text.as_bytes();
    let dots = bytes.iter().enumerate().filter(|(_, b)| **b == b'.');
    dots.into_iter().any(|(at, _)| {
        ATTACHMENT_HOSTS.iter().any(|host| {
            let before = host.find('.').unwrap_or(0);
            let begins = at.checked_sub(before);
            let found = begins.and_then(|from| bytes.get(from..from + host.len()));
            found.is_some_and(|f| f.eq_ignore_ascii_case(host.as_bytes()))
        })
    })
}
