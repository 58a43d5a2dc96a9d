//! The properties of a model, whichever way its schema spells them.

use super::marks::{self, step, wrong};
use super::schema::{Branch, Doc};
use super::steps::Steps;
use super::SpecError;
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::{HashMap, HashSet};
use serde_json::{json, Value};

/// A model's properties, and which of them each of its alternatives has.
pub(super) struct Model {
    pub(super) properties: Vec<Property>,
    /// Where the root is a union; else there are none.
    pub(super) alternatives: Vec<Alternative>,
}

impl Model {
    /// How many checks of cells a record may take.
    pub(super) fn checks(&self) -> usize {
        let of_all: usize = self.alternatives.iter().map(|a| a.members.len()).sum();
        self.properties.len() + of_all
    }
}

/// A property of the model.
pub(super) struct Property {
    pub(super) name: String,
    pub(super) place: String,
    /// In every alternative.
    pub(super) required: bool,
    /// What any of the alternatives allows.
    pub(super) schema: Value,
    /// The different schemas that it has in the alternatives.
    pub(super) variants: Vec<Value>,
}

/// One alternative of a root that is a union.
#[derive(PartialEq, Eq)]
pub(super) struct Alternative {
    pub(super) members: Vec<Member>,
    /// It allows no other properties than its own.
    pub(super) closed: bool,
}

/// A property as one alternative has it.
#[derive(PartialEq, Eq)]
pub(super) struct Member {
    /// Its place in [`Model::properties`].
    pub(super) property: usize,
    /// Its place in [`Property::variants`].
    pub(super) variant: usize,
    pub(super) required: bool,
}

/// The properties of a document's root, whichever way it spells its object.
pub(super) fn properties(doc: &Doc, steps: &mut Steps) -> Result<Model, SpecError> {
    // Dangling references are found here, before they are silently taken for "anything".
    marks::collect(doc, doc.root(), &doc.base, steps)?;
    let mut branches: Vec<Branch> = doc.branches(doc.root(), &doc.base, steps)?;
    branches.retain(|b| {
        !b.null
            && b.parts
                .iter()
                .all(|p| p.map.get("type").is_none_or(allows_object))
    });
    if !branches.iter().any(has_properties) {
        let what =
            "describes no object with properties; leave \"schema\" out to store every column";
        return Err(wrong(doc.base.clone(), what));
    }
    let objects = branches.len();
    branches.retain(has_properties);
    let mut out: Vec<Property> = Vec::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut alternatives: Vec<Alternative> = Vec::new();
    for branch in &branches {
        let required = required_of(branch);
        let mut members = Vec::new();
        for (name, place, schema) in branch_properties(branch, &doc.base, steps)? {
            let property = *by_name.entry(name.clone()).or_insert(out.len());
            if property == out.len() {
                out.push(Property {
                    name: name.clone(),
                    place,
                    required: false,
                    schema: Value::Null,
                    variants: Vec::new(),
                });
            }
            let Some(known) = out.get_mut(property) else {
                continue;
            };
            steps.take(known.variants.len(), &known.place)?;
            let variant = known.variants.iter().position(|v| *v == schema);
            let variant = variant.unwrap_or_else(|| {
                known.variants.push(schema);
                known.variants.len() - 1
            });
            let required = required.contains(name.as_str());
            members.push(Member {
                property,
                variant,
                required,
            });
        }
        let alternative = Alternative {
            members,
            closed: is_closed(branch),
        };
        if !alternatives.contains(&alternative) {
            alternatives.push(alternative);
        }
    }
    let mut required_in: Vec<usize> = out.iter().map(|_| 0).collect();
    for m in alternatives.iter().flat_map(|a| &a.members) {
        if let Some(n) = required_in.get_mut(m.property).filter(|_| m.required) {
            *n += 1;
        }
    }
    for (p, n) in out.iter_mut().zip(required_in) {
        // An alternative without any properties requires none either.
        p.required = n == alternatives.len() && branches.len() == objects;
        p.schema = match (p.variants.as_slice(), alternatives.len()) {
            ([_], 1) => p.variants.pop().unwrap_or_default(),
            ([only], _) => only.clone(),
            (all, _) => json!({ "anyOf": all }),
        };
    }
    if alternatives.len() == 1 {
        alternatives.clear();
    }
    Ok(Model {
        properties: out,
        alternatives,
    })
}

fn has_properties(branch: &Branch) -> bool {
    branch
        .parts
        .iter()
        .any(|p| p.map.get("properties").is_some_and(Value::is_object))
}

fn allows_object(types: &Value) -> bool {
    match types {
        Value::String(t) => t == "object",
        Value::Array(any) => any.iter().any(|t| t == "object"),
        _ => true,
    }
}

fn required_of<'a>(branch: &Branch<'a>) -> HashSet<&'a str> {
    branch
        .parts
        .iter()
        .filter_map(|p| p.map.get("required").and_then(Value::as_array))
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn is_closed(branch: &Branch) -> bool {
    let denied = |key: &str| {
        branch
            .parts
            .iter()
            .any(|p| p.map.get(key) == Some(&Value::Bool(false)))
    };
    denied("additionalProperties") || denied("unevaluatedProperties")
}

/// Name, place and schema of each property of one alternative.
fn branch_properties(
    branch: &Branch,
    base: &str,
    steps: &mut Steps,
) -> Result<Vec<(String, String, Value)>, SpecError> {
    let mut out: Vec<(String, String, Vec<&Value>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for part in &branch.parts {
        let Some(map) = part.map.get("properties").and_then(Value::as_object) else {
            continue;
        };
        steps.take(map.len(), base)?;
        for (name, schema) in map {
            match places.get(name.as_str()).and_then(|at| out.get_mut(*at)) {
                None => {
                    places.insert(name, out.len());
                    let place = step(&step(&part.place, "properties"), name);
                    out.push((name.clone(), place, alloc::vec![schema]));
                }
                Some((_, place, known)) => {
                    steps.take(known.len(), place)?;
                    if !known.contains(&schema) {
                        known.push(schema);
                    }
                }
            }
        }
    }
    let together = |all: Vec<&Value>| match all.as_slice() {
        [only] => (*only).clone(),
        all => json!({ "allOf": all }),
    };
    Ok(out
        .into_iter()
        .map(|(name, place, all)| (name, place, together(all)))
        .collect())
}
