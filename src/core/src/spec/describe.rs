//! A spec told to others: the effective one, the one to persist, and whether two are equal in effect.

use super::schema::Doc;
use super::steps::values;
use super::{Alternatives, Field, InForce, Rule, Spec, View};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use hashbrown::HashMap;
use serde_json::{json, Map, Value};

/// Schema objects written out for one comparison of specs; what goes beyond counts as different.
const MAX_OBJECTS: u32 = 100_000;
/// How deep they nest, references followed.
const MAX_DEPTH: u32 = 200;
/// Keywords that say nothing about values, and the marks, which are compared as what they came to.
const NO_EFFECT: [&str; 16] = [
    "title",
    "description",
    "examples",
    "example",
    "$comment",
    "deprecated",
    "$schema",
    "$id",
    "$defs",
    "definitions",
    "default",
    "indexed",
    "sortable",
    "normalize",
    "airtable",
    "readOnly",
];

impl Spec {
    /// What the user gave, as JSON: parsing it gives a spec that is equal in effect.
    pub fn to_json(&self) -> String {
        self.given.to_string()
    }

    /// Would both store and return the same, for every record?
    pub fn same_effect(&self, other: &Spec) -> bool {
        self.entity == other.entity
            && self.table == other.table
            && self.base == other.base
            && self.open == other.open
            && self.ttl == other.ttl
            && self.jitter == other.jitter
            && self.tombstone_ttl == other.tombstone_ttl
            && self.default_view == other.default_view
            && {
                let rules = Rules::default();
                equal(&self.fields, &other.fields, |a, b| same_field(a, b, &rules))
                    && same_union(self.union(), other.union(), &rules)
                    && equal(&self.views, &other.views, |a, b| same_view(a, b, &rules))
            }
    }

    /// The effective spec, as `PODIUM.SPEC GET` shows it: every field, view and setting with the value in force.
    pub fn describe(&self, in_force: &InForce) -> Value {
        let fields: Map<String, Value> = self
            .fields
            .iter()
            .map(|f| (f.name.clone(), shown(f)))
            .collect();
        let views: Map<String, Value> = self
            .views
            .iter()
            .map(|v| {
                (
                    v.name.clone(),
                    core::iter::once("id")
                        .chain(v.fields())
                        .map(Value::from)
                        .collect(),
                )
            })
            .collect();
        let default_view = self
            .default_view
            .and_then(|v| self.view_at(v))
            .map_or("*", View::name);
        json!({
            "entity": self.entity,
            "table": self.table,
            "base": self.base.as_deref().unwrap_or(&in_force.base),
            "fields": fields,
            "views": views,
            "default_view": default_view,
            "open": self.open,
            "ttl": self.ttl.unwrap_or(in_force.ttl_s),
            "jitter": self.jitter.unwrap_or(in_force.jitter),
            "tombstone_ttl": self.tombstone_ttl.unwrap_or(in_force.tombstone_ttl_s),
        })
    }
}

fn shown(f: &Field) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, v: Value| out.insert(name.into(), v);
    put("kind", f.kind.as_str().into());
    put("airtable", f.airtable.as_str().into());
    put("indexed", f.indexed.into());
    put("sortable", f.sortable.into());
    put("required", f.required.into());
    put("readOnly", f.read_only.into());
    put(
        "normalize",
        f.normalize
            .iter()
            .map(|n| Value::from(n.as_str()))
            .collect(),
    );
    if let Some(default) = &f.default {
        put("default", default.clone());
    }
    if let Some(fill) = &f.fill_value {
        put("fill", fill.clone());
    }
    if let Some(lookup) = &f.lookup {
        put("lookup", lookup.as_str().into());
    }
    if let Some(entity) = &f.depends {
        put("depends", entity.as_str().into());
    }
    Value::Object(out)
}

fn equal<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same(x, y))
}

fn same_field(a: &Field, b: &Field, rules: &Rules) -> bool {
    a.name == b.name
        && a.airtable == b.airtable
        && a.kind == b.kind
        && a.item == b.item
        && a.indexed == b.indexed
        && a.sortable == b.sortable
        && a.normalize == b.normalize
        && a.read_only == b.read_only
        && a.required == b.required
        && a.default == b.default
        && a.fill == b.fill
        && a.lookup == b.lookup
        && a.depends == b.depends
        && rules.same(a.rule.as_ref(), b.rule.as_ref())
}

fn same_union(a: Option<&Alternatives>, b: Option<&Alternatives>, rules: &Rules) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            a.iter().count() == b.iter().count()
                && a.iter()
                    .zip(b.iter())
                    .all(|(x, y)| x.same(y, |r, s| rules.same(Some(r), Some(s))))
        }
        _ => false,
    }
}

fn same_view(a: &View, b: &View, rules: &Rules) -> bool {
    a.name == b.name
        && a.own_schema == b.own_schema
        && same_union(a.union(), b.union(), rules)
        && equal(&a.columns, &b.columns, |x, y| {
            x.name == y.name && x.fill == y.fill && rules.same(x.rule.as_ref(), y.rule.as_ref())
        })
}

/// Compares rules within the steps that one comparison of specs may take.
struct Rules {
    left: Cell<u32>,
    /// Documents already compared.
    documents: RefCell<HashMap<(usize, usize), bool>>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            left: Cell::new(MAX_OBJECTS),
            documents: RefCell::default(),
        }
    }
}

impl Rules {
    fn same(&self, a: Option<&Rule>, b: Option<&Rule>) -> bool {
        let (a, b) = match (a, b) {
            (None, None) => return true,
            (Some(a), Some(b)) => (a.source(), b.source()),
            _ => return false,
        };
        if a.1 == b.1 && self.same_document(a.0, b.0) {
            return true;
        }
        let written = |(doc, schema)| {
            let mut w = Written {
                doc,
                left: self.left.get(),
                depth: 0,
                following: Vec::new(),
            };
            let out = w.schema(schema);
            self.left.set(w.left);
            out
        };
        let same = written(a) == written(b);
        // What was not written out to its end may differ there.
        same && self.left.get() > 0
    }

    fn same_document(&self, a: &Doc, b: &Doc) -> bool {
        let pair = (
            core::ptr::from_ref(a) as usize,
            core::ptr::from_ref(b) as usize,
        );
        let mut known = self.documents.borrow_mut();
        *known.entry(pair).or_insert_with(|| a.root() == b.root())
    }
}

/// Writes a schema out with its references replaced by what they point to, so that where a definition stands and what
/// it is called makes no difference.
struct Written<'a> {
    doc: &'a Doc,
    left: u32,
    depth: u32,
    following: Vec<&'a str>,
}

impl<'a> Written<'a> {
    fn schema(&mut self, schema: &'a Value) -> Value {
        let map = match schema {
            Value::Object(map) if self.left > 0 && self.depth < MAX_DEPTH => map,
            Value::Object(_) => {
                self.left = 0;
                return Value::Null;
            }
            other => return other.clone(),
        };
        self.left -= 1;
        self.depth += 1;
        let mut out = BTreeMap::new();
        for (key, v) in map {
            let v = match (key.as_str(), v) {
                (key, _) if NO_EFFECT.contains(&key) => continue,
                ("$ref", Value::String(name)) => self.reference(name),
                ("properties" | "patternProperties", Value::Object(named)) => named
                    .iter()
                    .map(|(name, s)| (name.clone(), self.schema(s)))
                    .collect(),
                ("const" | "enum" | "required", v) => {
                    let n = u32::try_from(values(v)).unwrap_or(u32::MAX);
                    self.left = self.left.saturating_sub(n);
                    v.clone()
                }
                (_, Value::Array(all)) => all.iter().map(|s| self.schema(s)).collect(),
                (_, v) => self.schema(v),
            };
            out.insert(key.clone(), v);
        }
        self.depth -= 1;
        // A mere reference is what it points to.
        if out.len() == 1 {
            if let Some(target) = out.remove("$ref") {
                return target;
            }
        }
        out.into_iter().collect()
    }
    fn reference(&mut self, name: &'a str) -> Value {
        // A recursive schema is told by how many references back it points.
        if let Some(back) = self.following.iter().rev().position(|n| *n == name) {
            return Value::String(format!("{back} back"));
        }
        let doc = self.doc;
        let Some(target) = doc.target(name) else {
            return Value::String(name.to_string());
        };
        self.following.push(name);
        let out = self.schema(target);
        self.following.pop();
        out
    }
}
