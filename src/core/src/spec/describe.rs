//! A spec told to others: the effective one, the one to persist, and whether two are equal in effect.

use super::schema::Doc;
use super::{Field, InForce, Rule, Spec, View};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::{json, Map, Value};

/// Schema objects written out for one comparison; what goes beyond is compared as it was given.
const MAX_OBJECTS: u32 = 5_000;
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
            && equal(&self.fields, &other.fields, same_field)
            && equal(&self.views, &other.views, same_view)
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

fn same_field(a: &Field, b: &Field) -> bool {
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
        && same_rule(&a.rule, &b.rule)
}

fn same_view(a: &View, b: &View) -> bool {
    a.name == b.name
        && a.own_schema == b.own_schema
        && equal(&a.columns, &b.columns, |x, y| {
            x.name == y.name && x.fill == y.fill && same_rule(&x.rule, &y.rule)
        })
}

fn same_rule(a: &Option<Rule>, b: &Option<Rule>) -> bool {
    let written = |r: &Rule| {
        let (doc, schema) = r.source();
        Written {
            doc,
            left: MAX_OBJECTS,
            following: Vec::new(),
        }
        .schema(schema)
    };
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            a.source().1 == b.source().1 && a.source().0.root() == b.source().0.root()
                || written(a) == written(b)
        }
        _ => false,
    }
}

/// Writes a schema out with its references replaced by what they point to, so that where a definition stands and what
/// it is called makes no difference.
struct Written<'a> {
    doc: &'a Doc,
    left: u32,
    following: Vec<&'a str>,
}

impl<'a> Written<'a> {
    fn schema(&mut self, schema: &'a Value) -> Value {
        let map = match schema {
            Value::Object(map) if self.left > 0 => map,
            _ => return schema.clone(),
        };
        self.left -= 1;
        let mut out = BTreeMap::new();
        for (key, v) in map {
            let v = match (key.as_str(), v) {
                (key, _) if NO_EFFECT.contains(&key) => continue,
                ("$ref", Value::String(name)) => self.reference(name),
                ("properties" | "patternProperties", Value::Object(named)) => named
                    .iter()
                    .map(|(name, s)| (name.clone(), self.schema(s)))
                    .collect(),
                ("const" | "enum" | "required", v) => v.clone(),
                (_, Value::Array(all)) => all.iter().map(|s| self.schema(s)).collect(),
                (_, v) => self.schema(v),
            };
            out.insert(key.clone(), v);
        }
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
        let Some((_, target)) = doc.resolve(name) else {
            return Value::String(name.to_string());
        };
        self.following.push(name);
        let out = self.schema(target);
        self.following.pop();
        out
    }
}
