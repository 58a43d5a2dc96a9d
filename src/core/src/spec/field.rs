//! One field, from its property's schema and from what the spec's own members say of it.

use super::marks::{self, Marks};
use super::properties::Property;
use super::schema::Doc;
use super::{Column, Field, FieldIx, Kind, Normal, Rule, SpecError};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde_json::Value;

/// What a spec's own members say of fields, by field name.
pub(super) struct Said {
    pub(super) indexed: Vec<String>,
    pub(super) sortable: Vec<String>,
    pub(super) normalize: Vec<(String, Vec<Normal>)>,
    pub(super) lookups: Vec<(String, String)>,
    pub(super) depends: Vec<(String, String)>,
}

fn of<'a, T>(all: &'a [(String, T)], name: &str) -> Option<&'a T> {
    all.iter().find(|(n, _)| n == name).map(|(_, v)| v)
}

impl Said {
    /// All fields that the members name, in the order in which they do.
    pub(super) fn named(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let keyed = self.normalize.iter().map(|(n, _)| n);
        let keyed = keyed
            .chain(self.lookups.iter().map(|(n, _)| n))
            .chain(self.depends.iter().map(|(n, _)| n));
        for name in self.indexed.iter().chain(&self.sortable).chain(keyed) {
            if name != "id" && !out.contains(name) {
                out.push(name.clone());
            }
        }
        out
    }

    pub(super) fn field(&self, doc: &Arc<Doc>, p: &Property) -> Result<Field, SpecError> {
        let marks = marks::collect(doc, &p.schema, &p.place)?;
        let rule = Rule::new(doc.clone(), p.schema.clone());
        let name = &p.name;
        let asked_for = marks.indexed == Some(true) || self.indexed.contains(name);
        // A link whose name does not fit into a key was not asked to be indexed: it stays a plain field.
        let by_itself = rule.kind == Kind::Link
            && marks.indexed.is_none()
            && !name.contains(':')
            && !name.is_empty();
        let default = rule.valid_default(marks.default);
        let read_only = marks.read_only == Some(true);
        let mut fill = match (&default, p.required) {
            _ if read_only => None,
            (Some(v), _) => Some(v.clone()),
            (None, true) => rule.empty(),
            (None, false) => None,
        };
        let normalize = of(&self.normalize, name)
            .cloned()
            .or(marks.normalize)
            .unwrap_or_default();
        if let Some(v) = fill.as_mut().filter(|_| !rule.kind.is_link()) {
            Normal::apply_to(&normalize, v);
        }
        Ok(Field {
            airtable: marks.airtable.unwrap_or_else(|| name.clone()),
            kind: rule.kind,
            item: rule.item,
            indexed: asked_for || by_itself,
            sortable: marks.sortable == Some(true) || self.sortable.contains(name),
            normalize,
            read_only,
            required: p.required,
            fill: fill.as_ref().map(Value::to_string),
            lookup: self.lookup(name, rule.kind.is_link()),
            depends: of(&self.depends, name).cloned(),
            default,
            fill_value: fill,
            key: key(name),
            name: name.clone(),
            rule: Some(rule),
        })
    }

    pub(super) fn open_field(&self, name: String) -> Field {
        Field {
            airtable: name.clone(),
            kind: Kind::Any,
            item: Kind::Any,
            indexed: self.indexed.contains(&name),
            sortable: self.sortable.contains(&name),
            normalize: of(&self.normalize, &name).cloned().unwrap_or_default(),
            read_only: false,
            required: false,
            default: None,
            fill: None,
            // Its cells may be links, and then it is asked for like one; a lookup of ids is its own.
            lookup: self.lookup(&name, !name.ends_with("_id")),
            depends: of(&self.depends, &name).cloned(),
            fill_value: None,
            key: key(&name),
            rule: None,
            name,
        }
    }

    fn lookup(&self, name: &str, by_convention: bool) -> Option<String> {
        of(&self.lookups, name)
            .cloned()
            .or_else(|| by_convention.then(|| format!("{name}_id")))
    }
}

/// One field of a view that has a schema of its own; `whole` is the same field of the whole record.
pub(super) fn view_column(
    doc: &Arc<Doc>,
    p: Property,
    whole: Option<&Field>,
    field: impl Fn(&str) -> Option<FieldIx>,
) -> Result<Column, SpecError> {
    let Marks {
        default, read_only, ..
    } = marks::collect(doc, &p.schema, &p.place)?;
    let rule = Rule::new(doc.clone(), p.schema.clone());
    let declared = rule.valid_default(default);
    // The richest model's own default says more of a required field than its type's empty value.
    let inherited = || whole.and_then(|f| rule.valid_default(f.default.as_ref()));
    let mut fill = match declared {
        _ if read_only == Some(true) || whole.is_some_and(|f| f.read_only) => None,
        Some(v) => Some(v),
        None if p.required => inherited().or_else(|| rule.empty()),
        None => None,
    };
    if let (Some(v), Some(whole)) = (&mut fill, whole.filter(|f| !f.kind.is_link())) {
        Normal::apply_to(&whole.normalize, v);
    }
    Ok(Column {
        field: field(&p.name),
        key: key(&p.name),
        fill: fill.map(|v| v.to_string()),
        rule: Some(rule),
        name: p.name,
    })
}

/// `"name":`
pub(super) fn key(name: &str) -> String {
    let mut out = Value::String(name.to_owned()).to_string();
    out.push(':');
    out
}
