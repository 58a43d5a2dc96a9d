//! What a property says beside its type, wherever in its branches it stands.

use super::schema::{escaped, Doc, REFERENCE_STEP};
use super::steps::Steps;
use super::{Normal, SpecError};
use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashSet;
use serde_json::{Map, Value};

/// Schema objects of one property that are looked at: more than any model nests.
const MAX_OBJECTS: usize = 2_000;

/// The marks of a property; of several the outermost counts.
#[derive(Default, Debug)]
pub(super) struct Marks<'a> {
    pub(super) indexed: Option<bool>,
    pub(super) sortable: Option<bool>,
    pub(super) normalize: Option<Vec<Normal>>,
    pub(super) airtable: Option<String>,
    pub(super) read_only: Option<bool>,
    pub(super) default: Option<&'a Value>,
}

/// Collects them from `schema`, through references, branches and the elements of arrays.
pub(super) fn collect<'a>(
    doc: &'a Doc,
    schema: &'a Value,
    place: &str,
    steps: &mut Steps,
) -> Result<Marks<'a>, SpecError> {
    let mut out = Marks::default();
    let mut followed = HashSet::new();
    let mut waiting = VecDeque::from([(place.to_owned(), schema, false)]);
    let mut looked_at = 0;
    while let Some((place, schema, in_items)) = waiting.pop_front() {
        let Value::Object(map) = schema else { continue };
        steps.take(1, &place)?;
        looked_at += 1;
        if looked_at > MAX_OBJECTS {
            break;
        }
        out.read(map, &place, in_items)?;
        if let Some(reference) = map.get("$ref") {
            let at = format!("{place}/$ref");
            let Some(name) = reference.as_str() else {
                return Err(wrong(
                    at,
                    "must be a JSON pointer such as \"#/$defs/Event\"",
                ));
            };
            steps.take(name.len() / REFERENCE_STEP, &place)?;
            let Some((target_place, target)) = doc.resolve(name) else {
                return Err(wrong(
                    at,
                    &format!("{name:?} points to nothing in this schema"),
                ));
            };
            if followed.insert((name, in_items)) {
                waiting.push_back((target_place, target, in_items));
            }
        }
        for key in ["allOf", "anyOf", "oneOf", "prefixItems", "items"] {
            let in_items = in_items || key.ends_with("tems");
            match map.get(key) {
                Some(Value::Array(all)) => {
                    steps.take(all.len(), &place)?;
                    waiting.extend(
                        all.iter()
                            .enumerate()
                            .map(|(i, s)| (format!("{place}/{key}/{i}"), s, in_items)),
                    );
                }
                Some(one @ Value::Object(_)) => {
                    waiting.push_back((format!("{place}/{key}"), one, in_items))
                }
                _ => {}
            }
        }
    }
    Ok(out)
}

impl<'a> Marks<'a> {
    fn read(
        &mut self,
        map: &'a Map<String, Value>,
        place: &str,
        in_items: bool,
    ) -> Result<(), SpecError> {
        let flag = |key: &str| match map.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(_) => Err(wrong(format!("{place}/{key}"), "must be true or false")),
        };
        self.indexed = self.indexed.or(flag("indexed")?);
        self.sortable = self.sortable.or(flag("sortable")?);
        if let (None, Some(names)) = (&self.normalize, map.get("normalize")) {
            self.normalize = Some(normals(names, &format!("{place}/normalize"))?);
        }
        if let (None, Some(column)) = (&self.airtable, map.get("airtable")) {
            match column.as_str() {
                Some(c) if !c.is_empty() => self.airtable = Some(c.to_owned()),
                _ => {
                    return Err(wrong(
                        format!("{place}/airtable"),
                        "must be the name or the fld… id of a column in Airtable",
                    ))
                }
            }
        }
        // Those two speak of the property itself, in its elements they would speak of the elements.
        if !in_items {
            self.read_only = self
                .read_only
                .or(map.get("readOnly").and_then(Value::as_bool));
            self.default = self.default.or(map.get("default"));
        }
        Ok(())
    }
}

/// `["trim", "lower"]`
pub(super) fn normals(value: &Value, place: &str) -> Result<Vec<Normal>, SpecError> {
    let expected = "must be a list of \"trim\", \"lower\", \"upper\"";
    let Value::Array(names) = value else {
        return Err(wrong(place.to_owned(), expected));
    };
    names
        .iter()
        .enumerate()
        .map(|(i, n)| {
            n.as_str()
                .and_then(Normal::named)
                .ok_or_else(|| wrong(format!("{place}/{i}"), expected))
        })
        .collect()
}

pub(super) fn wrong(place: String, what: &str) -> SpecError {
    SpecError {
        place,
        what: what.to_owned(),
    }
}

/// `base` and one step further.
pub(super) fn step(base: &str, name: &str) -> String {
    format!("{base}/{}", escaped(name))
}
