//! A JSON Schema document: its references, and a schema taken apart into the alternatives it allows.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use hashbrown::HashMap;
use regex_lite::{Regex, RegexBuilder};
use serde_json::{Map, Value};

/// Deeper nesting of references and branches than any tool prints; beyond it a schema allows anything.
const MAX_DEPTH: usize = 32;
/// More alternatives than any model has; beyond it the rest is not looked at.
const MAX_BRANCHES: usize = 64;
/// Bytes of a compiled pattern: keeps a hostile one from costing memory and time.
const PATTERN_SIZE: usize = 1 << 18;

/// A schema with everything its references may point to.
#[derive(Clone, Debug)]
pub(crate) struct Doc {
    root: Value,
    /// Where the document stands in what the user gave, for messages.
    pub(super) base: String,
    patterns: HashMap<String, Option<Regex>>,
}

/// One of the alternatives that a schema allows: all its parts hold at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// The alternative that `nullable` adds.
    pub(super) null: bool,
}

/// A schema object and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Part<'a> {
    pub(super) place: String,
    pub(super) map: &'a Map<String, Value>,
}

impl Doc {
    pub(super) fn new(root: Value, base: &str) -> Doc {
        let mut patterns = HashMap::new();
        collect_patterns(&root, &mut patterns);
        Doc {
            root,
            base: base.to_owned(),
            patterns,
        }
    }
    pub(super) fn root(&self) -> &Value {
        &self.root
    }
    /// The compiled pattern; `None` if it is not one that we can read.
    pub(super) fn pattern(&self, pattern: &str) -> Option<&Regex> {
        self.patterns.get(pattern)?.as_ref()
    }
    /// What a `$ref` points to, and its place.
    pub(super) fn resolve(&self, reference: &str) -> Option<(String, &Value)> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let own = |key: &str| {
            self.root
                .get(key)
                .and_then(Value::as_str)
                .map(|id| id.trim_end_matches('#'))
        };
        if !document.is_empty() && own("$id") != Some(document) && own("id") != Some(document) {
            return None;
        }
        let pointer = percent_decoded(fragment)?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return self.anchor(&pointer);
        }
        match self.root.pointer(&pointer) {
            Some(target) => Some((format!("{}{pointer}", self.base), target)),
            None => self.definition(&pointer),
        }
    }
    /// A pointer to where the definitions are meant to be moved: schemars 0.8 with its OpenAPI settings and Pydantic's
    /// `ref_template` print `#/components/schemas/X` and leave X under `definitions` or `$defs`.
    fn definition(&self, pointer: &str) -> Option<(String, &Value)> {
        let (_, last) = pointer.rsplit_once('/')?;
        ["$defs", "definitions"].into_iter().find_map(|defs| {
            let at = format!("/{defs}/{last}");
            Some((format!("{}{at}", self.base), self.root.pointer(&at)?))
        })
    }
    /// `#name`: the definition that carries the name as its `$anchor` or `$id`.
    fn anchor(&self, name: &str) -> Option<(String, &Value)> {
        let hash = format!("#{name}");
        ["$defs", "definitions"].into_iter().find_map(|defs| {
            self.root
                .get(defs)?
                .as_object()?
                .iter()
                .find_map(|(key, v)| {
                    let named = v.get("$anchor").and_then(Value::as_str) == Some(name)
                        || v.get("$id").and_then(Value::as_str) == Some(&hash);
                    named.then(|| (format!("{}/{defs}/{}", self.base, escaped(key)), v))
                })
        })
    }
    /// The alternatives that `schema` allows: references followed, `allOf` merged in, `anyOf` and `oneOf` told apart.
    pub(super) fn branches<'a>(&'a self, schema: &'a Value, place: &str) -> Vec<Branch<'a>> {
        self.alternatives(schema, place, 0)
    }
    fn alternatives<'a>(&'a self, schema: &'a Value, place: &str, depth: usize) -> Vec<Branch<'a>> {
        let map = match schema {
            Value::Object(map) if depth < MAX_DEPTH => map,
            Value::Bool(false) => return Vec::new(),
            _ => return vec![Branch::default()],
        };
        let mut out = vec![Branch {
            parts: vec![Part {
                place: place.to_owned(),
                map,
            }],
            null: false,
        }];
        if let Some((at, target)) = map
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|r| self.resolve(r))
        {
            out = both(&out, &self.alternatives(target, &at, depth + 1));
        }
        if let Some(Value::Array(all)) = map.get("allOf") {
            for (i, one) in all.iter().enumerate() {
                out = both(
                    &out,
                    &self.alternatives(one, &format!("{place}/allOf/{i}"), depth + 1),
                );
            }
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(any)) = map.get(key) {
                let mut either = Vec::new();
                for (i, one) in any.iter().enumerate() {
                    either.extend(self.alternatives(one, &format!("{place}/{key}/{i}"), depth + 1));
                    either.truncate(MAX_BRANCHES);
                }
                out = both(&out, &either);
            }
        }
        if map.get("nullable") == Some(&Value::Bool(true)) {
            out.push(Branch {
                parts: Vec::new(),
                null: true,
            });
        }
        out
    }
}

/// Every alternative of the one together with every alternative of the other.
fn both<'a>(a: &[Branch<'a>], b: &[Branch<'a>]) -> Vec<Branch<'a>> {
    let mut out = Vec::new();
    for x in a {
        for y in b {
            if out.len() == MAX_BRANCHES {
                return out;
            }
            let mut parts = x.parts.clone();
            parts.extend(y.parts.iter().cloned());
            out.push(Branch {
                parts,
                null: x.null || y.null,
            });
        }
    }
    out
}

fn collect_patterns(value: &Value, into: &mut HashMap<String, Option<Regex>>) {
    match value {
        Value::Object(map) => {
            for (key, v) in map {
                match v {
                    Value::String(p) if key == "pattern" => {
                        if !into.contains_key(p) {
                            into.insert(
                                p.clone(),
                                RegexBuilder::new(p).size_limit(PATTERN_SIZE).build().ok(),
                            );
                        }
                    }
                    _ => collect_patterns(v, into),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|v| collect_patterns(v, into)),
        _ => {}
    }
}

/// One step of a JSON pointer.
pub(super) fn escaped(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (b, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).ok()?);
                at += 3;
            }
            _ => {
                out.push(*b);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}
