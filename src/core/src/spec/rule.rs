//! What one property's schema means: the kind of its values, and what fills a lacking one.

use super::schema::{Branch, Doc};
use super::steps::Steps;
use super::validate;
use super::{Kind, SpecError};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// JSON types as bits.
type Types = u8;
pub(super) const NULL: Types = 1;
pub(super) const BOOLEAN: Types = 2;
const WHOLE: Types = 4;
const FRACTION: Types = 8;
pub(super) const TEXT: Types = 16;
pub(super) const ARRAY: Types = 32;
const OBJECT: Types = 64;
const ALL: Types = 127;

/// The schema of one property and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(super) doc: Arc<Doc>,
    pub(super) schema: Value,
    pub(super) types: Types,
    /// Some alternative names no type: it allows anything.
    pub(super) untyped: bool,
    /// Its texts are numbers.
    decimal: bool,
    pub(super) kind: Kind,
    pub(super) item: Kind,
}

impl Rule {
    /// # Errors
    /// What the schema at `place` stands for has no end within the steps left.
    pub(super) fn new(
        doc: Arc<Doc>,
        schema: Value,
        place: &str,
        steps: &mut Steps,
    ) -> Result<Rule, SpecError> {
        let (mut types, mut untyped, mut kind, mut item) = (0, false, None, None);
        for branch in doc.branches(&schema, place, steps)? {
            let Some(named) = types_of(&branch) else {
                (types, untyped, kind) = (ALL, true, Some(Kind::Any));
                continue;
            };
            types |= named;
            let of_element = match named & ARRAY {
                0 => (Kind::Any, false),
                _ => element(&doc, &branch, place, steps)?,
            };
            for (bits, leaf) in leaves(&branch, named, of_element.1) {
                kind = Some(kind.map_or(leaf, |k| united(k, leaf)));
                if bits == ARRAY {
                    let of = of_element.0;
                    item = Some(item.map_or(of, |i| united(i, of)));
                }
            }
        }
        let kind = kind.unwrap_or(Kind::Any);
        let item = if kind == Kind::Array {
            item.unwrap_or(Kind::Any)
        } else {
            Kind::Any
        };
        Ok(Rule {
            decimal: is_decimal(&schema),
            doc,
            schema,
            types,
            untyped,
            kind,
            item,
        })
    }
    /// Does the value satisfy the schema?
    pub(crate) fn allows(&self, value: &Value) -> bool {
        validate::satisfies(&self.doc, &self.schema, value)
    }
    /// Can no array satisfy it? A lookup's array of one is then taken out of it.
    pub(crate) fn is_scalar(&self) -> bool {
        !self.untyped && self.types & ARRAY == 0
    }
    /// Is a boolean, or null, all that it allows?
    pub(crate) fn is_boolean(&self) -> bool {
        !self.untyped && self.types & !NULL == BOOLEAN
    }
    /// Does it leave a single value, or a choice of some: the mark by which alternatives are told apart?
    pub(crate) fn is_choice(&self) -> bool {
        let chosen = |key: &str| {
            let own = self.schema.get(key).is_some();
            let reference = self.schema.get("$ref").and_then(Value::as_str);
            own || reference
                .and_then(|r| self.doc.target(r))
                .is_some_and(|t| t.get(key).is_some())
        };
        chosen("const") || chosen("enum")
    }
    /// May a value, or an element of one, be a number, written as a text too?
    pub(crate) fn allows_numbers(&self) -> bool {
        let elements = self.kind == Kind::Array
            && matches!(self.item, Kind::Integer | Kind::Number | Kind::Any);
        self.untyped || self.decimal || self.types & (WHOLE | FRACTION) != 0 || elements
    }
    /// May a value, or an element of one, be a text?
    pub(crate) fn allows_texts(&self) -> bool {
        let elements = self.kind == Kind::Array
            && matches!(
                self.item,
                Kind::Text | Kind::Date | Kind::DateTime | Kind::Any
            );
        self.untyped || self.types & TEXT != 0 || elements
    }
    /// The schema and its document, for the comparison of specs.
    pub(super) fn source(&self) -> (&Doc, &Value) {
        (&self.doc, &self.schema)
    }
}

/// Texts that are numbers: `decimal`, or by the pattern that Pydantic prints for what a Decimal is written as.
fn is_decimal(schema: &Value) -> bool {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let own = text("format") == Some("decimal")
        || text("pattern").is_some_and(|p| p.starts_with("^(?!^[-+.]*$)[+-]?0*\\d*"));
    own || ["anyOf", "oneOf"].iter().any(|key| {
        let any = schema.get(*key).and_then(Value::as_array);
        any.is_some_and(|any| any.iter().any(|s| s.is_object() && is_decimal(s)))
    })
}

/// The types that all parts of a branch allow; `None`: no part says anything about types.
fn types_of(branch: &Branch) -> Option<Types> {
    if branch.null {
        return Some(NULL);
    }
    let told: Vec<Types> = branch
        .parts
        .iter()
        .filter_map(|p| explicit(p.map))
        .collect();
    if told.is_empty() {
        return branch.parts.iter().find_map(|p| hinted(p.map));
    }
    Some(told.into_iter().fold(ALL, |all, t| all & t))
}

/// The types that `type`, `const` and `enum` leave.
fn explicit(map: &Map<String, Value>) -> Option<Types> {
    let named = match map.get("type") {
        Some(Value::String(t)) => type_bits(t),
        Some(Value::Array(any)) => any
            .iter()
            .filter_map(|t| type_bits(t.as_str()?))
            .fold(None, |all, t| Some(all.unwrap_or(0) | t)),
        _ => None,
    };
    let listed = match (map.get("const"), map.get("enum")) {
        (Some(v), _) => Some(bits_of(v)),
        (None, Some(Value::Array(all))) => Some(all.iter().fold(0, |bits, v| bits | bits_of(v))),
        _ => None,
    };
    match (named, listed) {
        (Some(n), Some(l)) => Some(n & l),
        (n, l) => n.or(l),
    }
}

/// Without a `type`: the one that the other keywords are about.
fn hinted(map: &Map<String, Value>) -> Option<Types> {
    let any = |keys: &[&str]| keys.iter().any(|k| map.contains_key(*k));
    if any(&["properties", "additionalProperties", "patternProperties"]) {
        Some(OBJECT)
    } else if any(&[
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "uniqueItems",
    ]) {
        Some(ARRAY)
    } else if any(&["pattern", "minLength", "maxLength", "format"]) {
        Some(TEXT)
    } else if any(&[
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    ]) {
        Some(WHOLE | FRACTION)
    } else {
        None
    }
}

fn type_bits(name: &str) -> Option<Types> {
    Some(match name {
        "null" => NULL,
        "boolean" => BOOLEAN,
        "integer" => WHOLE,
        "number" => WHOLE | FRACTION,
        "string" => TEXT,
        "array" => ARRAY,
        "object" => OBJECT,
        _ => return None,
    })
}

fn bits_of(value: &Value) -> Types {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => BOOLEAN,
        Value::Number(n) if n.is_f64() => FRACTION,
        Value::Number(_) => WHOLE,
        Value::String(_) => TEXT,
        Value::Array(_) => ARRAY,
        Value::Object(_) => OBJECT,
    }
}

/// The kinds that a branch stands for, each with its type.
fn leaves(branch: &Branch, types: Types, of_ids: bool) -> Vec<(Types, Kind)> {
    let mut out = Vec::new();
    if types & BOOLEAN != 0 {
        out.push((BOOLEAN, Kind::Boolean));
    }
    if types & FRACTION != 0 {
        out.push((FRACTION, Kind::Number));
    } else if types & WHOLE != 0 {
        out.push((WHOLE, Kind::Integer));
    }
    if types & TEXT != 0 {
        let format = |name: &str| {
            branch
                .parts
                .iter()
                .any(|p| p.map.get("format").and_then(Value::as_str) == Some(name))
        };
        let kind = match () {
            () if format("date") => Kind::Date,
            () if format("date-time") => Kind::DateTime,
            () => Kind::Text,
        };
        out.push((TEXT, kind));
    }
    if types & ARRAY != 0 {
        let kind = match of_ids {
            true if holds_one(branch) => Kind::Link,
            true => Kind::Links,
            false => Kind::Array,
        };
        out.push((ARRAY, kind));
    }
    if types & OBJECT != 0 {
        out.push((OBJECT, Kind::Object));
    }
    out
}

/// The kind that covers both.
fn united(a: Kind, b: Kind) -> Kind {
    use Kind::{Any, Array, Date, DateTime, Integer, Link, Links, Number};
    match (a, b) {
        _ if a == b => a,
        (Integer, Number) | (Number, Integer) => Number,
        (Date, DateTime) | (DateTime, Date) => DateTime,
        (Link, Links) | (Links, Link) => Links,
        (Array, Link | Links) | (Link | Links, Array) => Array,
        _ => Any,
    }
}

/// The schemas of an array's elements, of all its positions.
fn elements<'a>(branch: &Branch<'a>) -> Vec<(bool, Vec<&'a Value>)> {
    branch
        .parts
        .iter()
        .filter_map(|p| match (p.map.get("prefixItems"), p.map.get("items")) {
            (Some(Value::Array(tuple)), _) | (None, Some(Value::Array(tuple))) => {
                Some((true, tuple.iter().collect()))
            }
            (_, Some(one @ Value::Object(_))) => Some((false, alloc::vec![one])),
            _ => None,
        })
        .collect()
}

/// The kind of an array's elements, and whether they are ids of linked records.
fn element(
    doc: &Doc,
    branch: &Branch,
    place: &str,
    steps: &mut Steps,
) -> Result<(Kind, bool), SpecError> {
    let mut kind = None;
    let mut links = false;
    for (_, schemas) in elements(branch) {
        let mut all = !schemas.is_empty();
        for schema in schemas {
            let mut one = false;
            for b in doc.branches(schema, place, steps)? {
                let types = types_of(&b).unwrap_or(ALL);
                if types == NULL {
                    continue;
                }
                let of = match types {
                    TEXT => leaves_of_text(&b),
                    BOOLEAN => Kind::Boolean,
                    WHOLE => Kind::Integer,
                    FRACTION => Kind::Number,
                    t if t == WHOLE | FRACTION => Kind::Number,
                    ARRAY => Kind::Array,
                    OBJECT => Kind::Object,
                    _ => Kind::Any,
                };
                kind = Some(kind.map_or(of, |k| united(k, of)));
                one = types & !NULL == TEXT && names_record(&b);
                if !one {
                    all = false;
                }
            }
            all &= one;
        }
        links |= all;
    }
    Ok((kind.unwrap_or(Kind::Any), links))
}

fn leaves_of_text(branch: &Branch) -> Kind {
    let format = branch
        .parts
        .iter()
        .find_map(|p| p.map.get("format").and_then(Value::as_str));
    match format {
        Some("date") => Kind::Date,
        Some("date-time") => Kind::DateTime,
        _ => Kind::Text,
    }
}

/// A pattern that starts `^rec`, also in a group.
fn names_record(branch: &Branch) -> bool {
    branch
        .parts
        .iter()
        .filter_map(|p| p.map.get("pattern").and_then(Value::as_str))
        .any(|p| {
            p.strip_prefix('^').is_some_and(|p| {
                let inner = p
                    .strip_prefix("(?:")
                    .or_else(|| p.strip_prefix('('))
                    .unwrap_or(p);
                inner.starts_with("rec")
            })
        })
}

/// At most one element: `maxItems`, or a tuple of one.
fn holds_one(branch: &Branch) -> bool {
    branch.parts.iter().any(|p| {
        p.map
            .get("maxItems")
            .and_then(Value::as_f64)
            .is_some_and(|max| max <= 1.0)
    }) || elements(branch)
        .iter()
        .any(|(tuple, schemas)| *tuple && schemas.len() == 1)
}
