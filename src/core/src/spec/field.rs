//! One field, from its property's schema and from what the spec's own members say of it.

use super::marks::{self, Marks};
use super::properties::Property;
use super::schema::Doc;
use super::steps::Steps;
use super::{Column, Field, FieldIx, Kind, Normal, Rule, SpecError};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::{HashMap, HashSet};
use serde_json::Value;

/// What a spec's own members say of fields, by field name.
pub(super) struct Said {
    /// All fields that the members name, in the order in which they do.
    pub(super) named: Vec<String>,
    pub(super) indexed: HashSet<String>,
    pub(super) sortable: HashSet<String>,
    pub(super) normalize: HashMap<String, Vec<Normal>>,
    pub(super) lookups: HashMap<String, String>,
    pub(super) depends: HashMap<String, String>,
}

impl Said {
    pub(super) fn field(
        &self,
        doc: &Arc<Doc>,
        p: &Property,
        steps: &mut Steps,
    ) -> Result<Field, SpecError> {
        let marks = marks::collect(doc, &p.schema, &p.place, steps)?;
        let rule = Rule::new(doc.clone(), p.schema.clone(), &p.place, steps)?;
        let name = &p.name;
        let asked_for = marks.indexed == Some(true) || self.indexed.contains(name);
        // A link whose name does not fit into a key was not asked to be indexed: it stays a plain field.
        let by_itself = rule.kind == Kind::Link
            && marks.indexed.is_none()
            && !name.contains(':')
            && !name.is_empty();
        let default = rule.valid_default(marks.default, &p.place, steps)?;
        let read_only = marks.read_only == Some(true);
        let mut fill = match read_only {
            true => None,
            false => rule.fill(default.as_ref(), p.required, &p.place, steps)?,
        };
        let normalize = self
            .normalize
            .get(name)
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
            depends: self.depends.get(name).cloned(),
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
            normalize: self.normalize.get(&name).cloned().unwrap_or_default(),
            read_only: false,
            required: false,
            default: None,
            fill: None,
            // Its cells may be links, and then it is asked for like one; a lookup of ids is its own.
            lookup: self.lookup(&name, !name.ends_with("_id")),
            depends: self.depends.get(&name).cloned(),
            fill_value: None,
            key: key(&name),
            rule: None,
            name,
        }
    }

    fn lookup(&self, name: &str, by_convention: bool) -> Option<String> {
        self.lookups
            .get(name)
            .cloned()
            .or_else(|| by_convention.then(|| format!("{name}_id")))
    }
}

/// One field of a view that has a schema of its own; `whole` is the same field of the whole record.
pub(super) fn view_column(
    doc: &Arc<Doc>,
    p: &Property,
    whole: Option<&Field>,
    field: Option<FieldIx>,
    steps: &mut Steps,
) -> Result<Column, SpecError> {
    let Marks {
        default, read_only, ..
    } = marks::collect(doc, &p.schema, &p.place, steps)?;
    let rule = Rule::new(doc.clone(), p.schema.clone(), &p.place, steps)?;
    let mut declared = rule.valid_default(default, &p.place, steps)?;
    // The richest model's own default says more of a required field than its type's empty value.
    if let (None, true, Some(whole)) = (&declared, p.required, whole) {
        declared = rule.valid_default(whole.default.as_ref(), &p.place, steps)?;
    }
    let mut fill = match read_only == Some(true) || whole.is_some_and(|f| f.read_only) {
        true => None,
        false => rule.fill(declared.as_ref(), p.required, &p.place, steps)?,
    };
    if let (Some(v), Some(whole)) = (&mut fill, whole.filter(|f| !f.kind.is_link())) {
        Normal::apply_to(&whole.normalize, v);
    }
    Ok(Column {
        field,
        key: key(&p.name),
        fill: fill.map(|v| v.to_string()),
        rule: Some(rule),
        name: p.name.clone(),
    })
}

/// `"name":`
pub(super) fn key(name: &str) -> String {
    let mut out = Value::String(name.to_owned()).to_string();
    out.push(':');
    out
}
