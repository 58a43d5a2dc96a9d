//! Does a value satisfy its schema? The keywords that models print; what we cannot read counts as satisfied.

use super::schema::Doc;
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::{Map, Number, Value};

const MAX_DEPTH: u32 = 64;
/// Entries of an `enum` that are compared in one step.
const ENUM_STEP: usize = 16;
/// Pairs of elements that are compared in one step.
const PAIRS_STEP: usize = 64;
/// What is not looked at, or not to the end: in a `not` it leaves open whether a schema is satisfied.
const UNSURE: [&str; 18] = [
    "format",
    "if",
    "contains",
    "minContains",
    "maxContains",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedItems",
    "unevaluatedProperties",
    "oneOf",
    "uniqueItems",
    "$dynamicRef",
    "$recursiveRef",
];

/// Does `value` satisfy `schema`, a part of `doc`?
pub(super) fn satisfies(doc: &Doc, schema: &Value, value: &Value) -> bool {
    counted(doc, schema, value).0
}

/// The same, and the steps that it took.
pub(super) fn counted(doc: &Doc, schema: &Value, value: &Value) -> (bool, u32) {
    let mut check = Check {
        doc,
        steps: doc.steps,
        certain: false,
        following: Vec::new(),
        since: 0,
    };
    let holds = check.holds(schema, value, 0);
    (holds, doc.steps.saturating_sub(check.steps))
}

struct Check<'a> {
    doc: &'a Doc,
    steps: u32,
    /// What we cannot read counts as not satisfied: so it is within a `not`.
    certain: bool,
    /// What references led to, and from where on they speak of the value at hand.
    following: Vec<*const Value>,
    since: usize,
}

impl Check<'_> {
    fn holds(&mut self, schema: &Value, value: &Value, depth: u32) -> bool {
        let map = match schema {
            Value::Bool(allowed) => return *allowed,
            Value::Object(map) => map,
            _ => return !self.certain,
        };
        if depth > MAX_DEPTH || self.steps == 0 {
            return !self.certain;
        }
        let listed = map.get("enum").and_then(Value::as_array);
        let cost = 1 + listed.map_or(0, |all| all.len() / ENUM_STEP);
        self.steps = self
            .steps
            .saturating_sub(u32::try_from(cost).unwrap_or(u32::MAX));
        if value.is_null() && map.get("nullable") == Some(&Value::Bool(true)) {
            return true;
        }
        if self.certain && UNSURE.iter().any(|k| map.contains_key(*k)) {
            return false;
        }
        type_holds(map, value)
            && map.get("const").is_none_or(|c| same(c, value))
            && listed.is_none_or(|all| all.iter().any(|e| same(e, value)))
            && self.branches_hold(map, value, depth + 1)
            && match value {
                Value::String(s) => self.text_holds(map, s),
                Value::Number(n) => number_holds(map, n),
                Value::Array(a) => self.array_holds(map, a, depth + 1),
                Value::Object(o) => self.object_holds(map, o, depth + 1),
                Value::Null | Value::Bool(_) => true,
            }
    }

    fn branches_hold(&mut self, map: &Map<String, Value>, value: &Value, depth: u32) -> bool {
        let list = |key: &str| map.get(key).and_then(Value::as_array);
        if let Some(target) = map
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|r| self.doc.target(r))
        {
            if !self.reference_holds(target, value, depth) {
                return false;
            }
        }
        if list("allOf").is_some_and(|all| !all.iter().all(|s| self.holds(s, value, depth))) {
            return false;
        }
        // `oneOf` is read as `anyOf`: models print it for alternatives, and one too many is no harm here.
        for key in ["anyOf", "oneOf"] {
            if list(key).is_some_and(|any| !any.iter().any(|s| self.holds(s, value, depth))) {
                return false;
            }
        }
        let Some(not) = map.get("not").filter(|not| not.is_object()) else {
            return true;
        };
        self.certain = !self.certain;
        let denied = self.holds(not, value, depth);
        self.certain = !self.certain;
        !denied
    }

    /// A reference that comes back to itself, of the same value, says nothing new.
    fn reference_holds(&mut self, target: &Value, value: &Value, depth: u32) -> bool {
        let at = core::ptr::from_ref(target);
        let seen = self.following.get(self.since..);
        if seen.is_some_and(|seen| seen.contains(&at)) {
            return !self.certain;
        }
        self.following.push(at);
        let holds = self.holds(target, value, depth);
        self.following.pop();
        holds
    }

    /// An element or a member of the value.
    fn part_holds(&mut self, schema: &Value, part: &Value, depth: u32) -> bool {
        let since = core::mem::replace(&mut self.since, self.following.len());
        let holds = self.holds(schema, part, depth);
        self.since = since;
        holds
    }

    fn text_holds(&self, map: &Map<String, Value>, text: &str) -> bool {
        // JavaScript counts UTF-16 units, others characters: too short or too long is what all find so.
        let units = || text.chars().map(char::len_utf16).sum::<usize>() as u64;
        let chars = || text.chars().count() as u64;
        let certain = self.certain;
        map.get("minLength")
            .and_then(Value::as_u64)
            .is_none_or(|min| if certain { chars() } else { units() } >= min)
            && map
                .get("maxLength")
                .and_then(Value::as_u64)
                .is_none_or(|max| if certain { units() } else { chars() } <= max)
            && map
                .get("format")
                .and_then(Value::as_str)
                .is_none_or(|f| format_holds(f, text))
            && map.get("pattern").and_then(Value::as_str).is_none_or(|p| {
                let judged = self.doc.pattern(p).and_then(|p| p.judge(text));
                judged.unwrap_or(!certain)
            })
    }

    fn array_holds(&mut self, map: &Map<String, Value>, array: &[Value], depth: u32) -> bool {
        let len = array.len() as u64;
        let fits = map
            .get("minItems")
            .and_then(Value::as_u64)
            .is_none_or(|min| len >= min)
            && map
                .get("maxItems")
                .and_then(Value::as_u64)
                .is_none_or(|max| len <= max);
        if !fits {
            return false;
        }
        if map.get("uniqueItems") == Some(&Value::Bool(true)) {
            let pairs = array.len().saturating_mul(array.len());
            let cost = u32::try_from(pairs / PAIRS_STEP).unwrap_or(u32::MAX);
            self.steps = self.steps.saturating_sub(cost);
            if self.steps > 0 && repeats(array) {
                return false;
            }
        }
        // A tuple is `prefixItems` with the rest under `items`, or in the older form `items` with `additionalItems`.
        let (tuple, rest) = match (map.get("prefixItems"), map.get("items")) {
            (Some(Value::Array(tuple)), rest) => (tuple.as_slice(), rest),
            (_, Some(Value::Array(tuple))) => (tuple.as_slice(), map.get("additionalItems")),
            (_, rest) => (&[][..], rest),
        };
        array.iter().enumerate().all(|(i, v)| {
            tuple
                .get(i)
                .or(rest.filter(|_| i >= tuple.len()))
                .is_none_or(|schema| self.part_holds(schema, v, depth))
        })
    }

    fn object_holds(
        &mut self,
        map: &Map<String, Value>,
        object: &Map<String, Value>,
        depth: u32,
    ) -> bool {
        let required = map.get("required").and_then(Value::as_array);
        if required.is_some_and(|all| {
            all.iter()
                .filter_map(Value::as_str)
                .any(|k| !object.contains_key(k))
        }) {
            return false;
        }
        let properties = map.get("properties").and_then(Value::as_object);
        let others = map
            .get("additionalProperties")
            .filter(|_| !map.contains_key("patternProperties"));
        object.iter().all(|(key, v)| {
            properties
                .and_then(|p| p.get(key))
                .or(others)
                .is_none_or(|schema| self.part_holds(schema, v, depth))
        })
    }
}

fn type_holds(map: &Map<String, Value>, value: &Value) -> bool {
    match map.get("type") {
        Some(Value::String(t)) => is_type(t, value),
        Some(Value::Array(any)) => any
            .iter()
            .any(|t| t.as_str().is_none_or(|t| is_type(t, value))),
        _ => true,
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_number().is_some_and(is_whole),
        _ => true,
    }
}

fn is_whole(n: &Number) -> bool {
    n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|f| f % 1.0 == 0.0)
}

/// Equal as JSON values: 1 and 1.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

/// Beyond a thousand elements not looked for: no cell has so many, and the comparison is quadratic.
fn repeats(array: &[Value]) -> bool {
    array.len() <= 1_000
        && array.iter().enumerate().any(|(i, v)| {
            array
                .get(i + 1..)
                .is_some_and(|rest| rest.iter().any(|w| same(v, w)))
        })
}

fn number_holds(map: &Map<String, Value>, n: &Number) -> bool {
    let Some(x) = n.as_f64() else { return true };
    let bound = |key: &str| map.get(key).and_then(Value::as_f64);
    // In the drafts up to 4 the exclusive bounds are flags that sharpen the plain ones.
    let flag = |key: &str| map.get(key) == Some(&Value::Bool(true));
    bound("minimum").is_none_or(|min| {
        if flag("exclusiveMinimum") {
            x > min
        } else {
            x >= min
        }
    }) && bound("maximum").is_none_or(|max| {
        if flag("exclusiveMaximum") {
            x < max
        } else {
            x <= max
        }
    }) && bound("exclusiveMinimum").is_none_or(|min| x > min)
        && bound("exclusiveMaximum").is_none_or(|max| x < max)
        && bound("multipleOf").is_none_or(|m| m <= 0.0 || near_whole(x / m))
}

/// 0.3 is a multiple of 0.1, whatever their quotient is in binary.
fn near_whole(q: f64) -> bool {
    let rest = (q % 1.0).abs();
    let slack = 1e-9 * q.abs().max(1.0);
    rest <= slack || 1.0 - rest <= slack
}

/// Lenient: it must tell an empty text and plain nonsense from a value, no more.
fn format_holds(format: &str, text: &str) -> bool {
    match format {
        "date" => is_date(text),
        "date-time" => is_date_time(text),
        "email" | "idn-email" => text.rsplit_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !text.contains(char::is_whitespace)
        }),
        "uri" | "url" | "iri" => text.split_once(':').is_some_and(|(scheme, rest)| {
            !rest.is_empty()
                && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        }),
        // With or without its dashes, in braces or as a URN.
        "uuid" => {
            let digits = text.strip_prefix("urn:uuid:").unwrap_or(text);
            let digits = digits.chars().filter(|c| !matches!(c, '-' | '{' | '}'));
            digits.clone().count() == 32 && digits.clone().all(|c| c.is_ascii_hexdigit())
        }
        "time" | "duration" | "ipv4" | "ipv6" | "hostname" | "idn-hostname" | "regex"
        | "json-string" => !text.is_empty(),
        _ => true,
    }
}

/// `2026-03-04`
pub(crate) fn is_date(text: &str) -> bool {
    let digits = |from: usize, to: usize| {
        text.get(from..to)
            .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|t| t.parse::<u32>().ok())
    };
    let dash = |at: usize| text.as_bytes().get(at) == Some(&b'-');
    text.len() == 10
        && dash(4)
        && dash(7)
        && digits(0, 4).is_some()
        && digits(5, 7).is_some_and(|m| (1..=12).contains(&m))
        && digits(8, 10).is_some_and(|d| (1..=31).contains(&d))
}

/// `2026-03-04T05:06:07.000Z` and its spellings; a bare date is the start of its day.
pub(crate) fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't', ' ']) else {
        return is_date(text);
    };
    let digit = |at: usize| time.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let colon = |at: usize| time.as_bytes().get(at) == Some(&b':');
    is_date(date)
        && digit(0)
        && digit(1)
        && colon(2)
        && digit(3)
        && digit(4)
        && time
            .bytes()
            .all(|b| b.is_ascii_digit() || b":.+-Zz".contains(&b))
}
