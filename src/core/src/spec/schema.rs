//! A JSON Schema document: its references, and a schema taken apart into the alternatives it allows.

use super::pattern::Pattern;
use super::steps::Steps;
use super::SpecError;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use hashbrown::HashMap;
use serde_json::{Map, Value};

/// Deeper nesting of references and branches than any tool prints; beyond it a schema allows anything.
const MAX_DEPTH: usize = 32;
/// More alternatives than any model has; beyond it the rest is not looked at.
const MAX_BRANCHES: usize = 256;
/// Steps that checks of one record may take together, and one check of them: a recursive schema with many branches must
/// not hold anybody up.
const RECORD_STEPS: u32 = 1_000_000;
const MOST_STEPS: u32 = 20_000;
const LEAST_STEPS: u32 = 100;
/// Patterns that are compiled; what goes beyond counts as one that cannot be judged.
const MAX_PATTERNS: usize = 1_000;
/// Bytes of a reference that are read in one step.
pub(super) const REFERENCE_STEP: usize = 64;

/// A schema with everything its references may point to.
#[derive(Clone, Debug)]
pub(crate) struct Doc {
    root: Value,
    /// Where the document stands in what the user gave, for messages.
    pub(super) base: String,
    patterns: HashMap<String, Option<Pattern>>,
    /// Where the definitions stand that carry a name: `#name`.
    anchors: HashMap<String, String>,
    /// Steps that a check of one value may take.
    pub(super) steps: u32,
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
    pub(super) place: Arc<str>,
    pub(super) map: &'a Map<String, Value>,
}

impl Doc {
    pub(super) fn new(root: Value, base: &str) -> Doc {
        let mut patterns = HashMap::new();
        collect_patterns(&root, &mut patterns);
        Doc {
            anchors: anchors(&root),
            steps: MOST_STEPS,
            root,
            base: base.to_owned(),
            patterns,
        }
    }
    /// A record is checked in so many parts: together they take no longer than one of a plain model may.
    pub(super) fn share(&mut self, checks: usize) {
        let each = RECORD_STEPS / u32::try_from(checks.max(1)).unwrap_or(u32::MAX);
        self.steps = each.clamp(LEAST_STEPS, MOST_STEPS);
    }
    pub(super) fn root(&self) -> &Value {
        &self.root
    }
    /// The compiled pattern; `None` if it is not one that we can judge.
    pub(super) fn pattern(&self, pattern: &str) -> Option<&Pattern> {
        self.patterns.get(pattern)?.as_ref()
    }
    /// What a `$ref` points to, and its place.
    pub(super) fn resolve(&self, reference: &str) -> Option<(String, &Value)> {
        let (pointer, target) = self.find(reference)?;
        Some((format!("{}{pointer}", self.base), target))
    }
    /// What a `$ref` points to.
    pub(super) fn target(&self, reference: &str) -> Option<&Value> {
        self.find(reference).map(|(_, target)| target)
    }
    fn find(&self, reference: &str) -> Option<(String, &Value)> {
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
        let pointer = match pointer.is_empty() || pointer.starts_with('/') {
            true => pointer,
            false => self.anchors.get(&pointer)?.clone(),
        };
        match self.root.pointer(&pointer) {
            Some(target) => Some((pointer, target)),
            None => self.definition(&pointer),
        }
    }
    /// A pointer to where the definitions are meant to be moved: schemars 0.8 with its OpenAPI settings and Pydantic's
    /// `ref_template` print `#/components/schemas/X` and leave X under `definitions` or `$defs`.
    fn definition(&self, pointer: &str) -> Option<(String, &Value)> {
        let (_, last) = pointer.rsplit_once('/')?;
        ["$defs", "definitions"].into_iter().find_map(|defs| {
            let at = format!("/{defs}/{last}");
            let target = self.root.pointer(&at)?;
            Some((at, target))
        })
    }
    /// The alternatives that `schema` allows: references followed, `allOf` merged in, `anyOf` and `oneOf` told apart.
    ///
    /// # Errors
    /// There is no end to it within the steps left.
    pub(super) fn branches<'a>(
        &'a self,
        schema: &'a Value,
        place: &str,
        steps: &mut Steps,
    ) -> Result<Vec<Branch<'a>>, SpecError> {
        Expansion {
            doc: self,
            steps,
            following: Vec::new(),
        }
        .alternatives(schema, place)
    }
}

/// A schema being taken apart.
struct Expansion<'a, 's> {
    doc: &'a Doc,
    steps: &'s mut Steps,
    /// The objects on the way here: one that comes again says nothing new.
    following: Vec<*const Map<String, Value>>,
}

impl<'a> Expansion<'a, '_> {
    fn alternatives(
        &mut self,
        schema: &'a Value,
        place: &str,
    ) -> Result<Vec<Branch<'a>>, SpecError> {
        let map = match schema {
            Value::Object(map) if self.following.len() < MAX_DEPTH => map,
            Value::Bool(false) => return Ok(Vec::new()),
            _ => return Ok(vec![Branch::default()]),
        };
        if self.following.contains(&core::ptr::from_ref(map)) {
            return Ok(vec![Branch::default()]);
        }
        self.steps.take(1, place)?;
        self.following.push(map);
        let out = self.of_object(map, place);
        self.following.pop();
        out
    }

    fn of_object(
        &mut self,
        map: &'a Map<String, Value>,
        place: &str,
    ) -> Result<Vec<Branch<'a>>, SpecError> {
        let mut out = vec![Branch {
            parts: vec![Part {
                place: place.into(),
                map,
            }],
            null: false,
        }];
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            self.steps.take(reference.len() / REFERENCE_STEP, place)?;
            if let Some((at, target)) = self.doc.resolve(reference) {
                let referred = self.alternatives(target, &at)?;
                out = self.both(out, &referred, place)?;
            }
        }
        if let Some(Value::Array(all)) = map.get("allOf") {
            for (i, one) in all.iter().enumerate() {
                let more = self.alternatives(one, &format!("{place}/allOf/{i}"))?;
                out = self.both(out, &more, place)?;
            }
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(any)) = map.get(key) {
                let mut either = Vec::new();
                for (i, one) in any.iter().enumerate() {
                    either.extend(self.alternatives(one, &format!("{place}/{key}/{i}"))?);
                    either.truncate(MAX_BRANCHES);
                }
                out = self.both(out, &either, place)?;
            }
        }
        if map.get("nullable") == Some(&Value::Bool(true)) {
            out.push(Branch {
                parts: Vec::new(),
                null: true,
            });
        }
        Ok(out)
    }

    /// Every alternative of the one together with every alternative of the other.
    fn both(
        &mut self,
        mut a: Vec<Branch<'a>>,
        b: &[Branch<'a>],
        place: &str,
    ) -> Result<Vec<Branch<'a>>, SpecError> {
        if let [only] = b {
            self.steps.take(only.parts.len() * a.len(), place)?;
            for x in &mut a {
                x.parts.extend(only.parts.iter().cloned());
                x.null |= only.null;
            }
            return Ok(a);
        }
        let mut out = Vec::new();
        for x in &a {
            for y in b.iter().take(MAX_BRANCHES - out.len()) {
                self.steps.take(x.parts.len() + y.parts.len(), place)?;
                let mut parts = x.parts.clone();
                parts.extend(y.parts.iter().cloned());
                out.push(Branch {
                    parts,
                    null: x.null || y.null,
                });
            }
        }
        Ok(out)
    }
}

/// The names that definitions carry as their `$anchor` or `$id`, and where they stand.
fn anchors(root: &Value) -> HashMap<String, String> {
    let mut out = HashMap::new();
    for defs in ["$defs", "definitions"] {
        let Some(all) = root.get(defs).and_then(Value::as_object) else {
            continue;
        };
        for (key, v) in all {
            let id = v.get("$id").and_then(Value::as_str);
            let named = v.get("$anchor").and_then(Value::as_str);
            for name in [named, id.and_then(|id| id.strip_prefix('#'))] {
                let at = || format!("/{defs}/{}", escaped(key));
                if let Some(name) = name {
                    out.entry(name.to_owned()).or_insert_with(at);
                }
            }
        }
    }
    out
}

fn collect_patterns(value: &Value, into: &mut HashMap<String, Option<Pattern>>) {
    match value {
        Value::Object(map) => {
            for (key, v) in map {
                match v {
                    Value::String(p) if key == "pattern" => {
                        if into.len() < MAX_PATTERNS && !into.contains_key(p) {
                            into.insert(p.clone(), Pattern::new(p));
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
