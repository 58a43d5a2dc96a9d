//! The properties of a model, whichever way its schema spells them.

use super::marks::{self, step, wrong};
use super::schema::{Branch, Doc};
use super::SpecError;
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashMap;
use serde_json::{json, Value};

/// A property of the model.
pub(super) struct Property {
    pub(super) name: String,
    pub(super) place: String,
    pub(super) required: bool,
    pub(super) schema: Value,
}

/// The properties of a document's root, whichever way it spells its object.
pub(super) fn properties(doc: &Doc) -> Result<Vec<Property>, SpecError> {
    // Dangling references are found here, before they are silently taken for "anything".
    marks::collect(doc, doc.root(), &doc.base)?;
    let branches: Vec<Branch> = doc
        .branches(doc.root(), &doc.base)
        .into_iter()
        .filter(|b| {
            !b.null
                && b.parts
                    .iter()
                    .all(|p| p.map.get("type").is_none_or(allows_object))
        })
        .collect();
    let has_properties = |b: &Branch| {
        b.parts
            .iter()
            .any(|p| p.map.get("properties").is_some_and(Value::is_object))
    };
    if !branches.iter().any(has_properties) {
        let what =
            "describes no object with properties; leave \"schema\" out to store every column";
        return Err(wrong(doc.base.clone(), what));
    }
    let mut out: Vec<Property> = Vec::new();
    let mut alternatives: HashMap<String, Vec<Value>> = HashMap::new();
    for branch in &branches {
        for (name, place, schema) in branch_properties(branch) {
            let known = alternatives.entry(name.clone()).or_default();
            if known.is_empty() {
                let required = branches.iter().all(|b| requires(b, &name));
                out.push(Property {
                    name,
                    place,
                    required,
                    schema: Value::Null,
                });
            }
            if !known.contains(&schema) {
                known.push(schema);
            }
        }
    }
    for p in &mut out {
        let mut all = alternatives.remove(&p.name).unwrap_or_default();
        p.schema = match (all.pop(), all.is_empty()) {
            (Some(only), true) => only,
            (Some(last), false) => {
                all.push(last);
                json!({ "anyOf": all })
            }
            (None, _) => Value::Bool(true),
        };
    }
    Ok(out)
}

fn allows_object(types: &Value) -> bool {
    match types {
        Value::String(t) => t == "object",
        Value::Array(any) => any.iter().any(|t| t == "object"),
        _ => true,
    }
}

fn requires(branch: &Branch, name: &str) -> bool {
    branch
        .parts
        .iter()
        .filter_map(|p| p.map.get("required").and_then(Value::as_array))
        .any(|all| all.iter().any(|r| r == name))
}

/// Name, place and schema of each property of one alternative.
fn branch_properties(branch: &Branch) -> Vec<(String, String, Value)> {
    let mut out: Vec<(String, String, Value)> = Vec::new();
    for part in &branch.parts {
        let Some(map) = part.map.get("properties").and_then(Value::as_object) else {
            continue;
        };
        for (name, schema) in map {
            match out.iter_mut().find(|(n, _, _)| n == name) {
                None => out.push((
                    name.clone(),
                    step(&step(&part.place, "properties"), name),
                    schema.clone(),
                )),
                Some((_, _, known)) if known != schema => {
                    *known = json!({ "allOf": [known.take(), schema] })
                }
                Some(_) => {}
            }
        }
    }
    out
}
