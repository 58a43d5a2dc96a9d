//! What an entity is: its table, fields, views and settings, read from a JSON Schema.
//!
//! Reading order: [`Spec`] and [`Field`] here, `parse` (the spec's members), `properties` and `field` (the model's),
//! `schema` (references and branches), `marks` (what a property says beside its type), `rule` (kind and fill of one
//! property), `union` (a root of several alternatives), `validate` and `pattern`, `describe`; `steps` bounds the work.

mod describe;
mod field;
mod fill;
mod marks;
mod normal;
mod parse;
mod pattern;
mod properties;
mod rule;
mod schema;
mod steps;
pub(crate) mod strict;
#[cfg(test)]
pub(crate) mod tests;
mod union;
mod validate;
mod views;

pub use normal::Normal;
pub(crate) use rule::Rule;
pub(crate) use union::{Alternative, Alternatives, Fitted};
pub(crate) use validate::is_date_time;

use crate::columns::Columns;
pub use crate::key::{entity_name_ok, record_id_ok};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use hashbrown::HashMap;
use serde_json::Value;

/// A field's place in [`Spec::fields`].
pub type FieldIx = u16;
/// A view's place in [`Spec::views`].
pub type ViewIx = u16;

/// An entity as its application defined it, with everything that follows from the definition.
#[derive(Clone, Debug)]
pub struct Spec {
    entity: String,
    table: String,
    base: Option<String>,
    open: bool,
    fields: Vec<Field>,
    by_name: HashMap<String, FieldIx>,
    /// Where the root of the schema is a union.
    union: Option<Alternatives>,
    columns: Columns,
    views: Vec<View>,
    default_view: Option<ViewIx>,
    stored_order: Vec<FieldIx>,
    ttl: Option<i64>,
    jitter: Option<f64>,
    tombstone_ttl: Option<i64>,
    given: Value,
}

/// One field of a record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Field {
    /// The name in the model, in replies and in index keys.
    pub name: String,
    /// The name or the `fld…` id of its column in Airtable.
    pub airtable: String,
    /// What its values are.
    pub kind: Kind,
    /// What the elements of an array are; [`Kind::Any`] for everything else.
    pub item: Kind,
    /// May be asked for by value.
    pub indexed: bool,
    /// May be sorted by.
    pub sortable: bool,
    /// What is done to a text before it is stored or asked for, in this order.
    pub normalize: Vec<Normal>,
    /// Computed by Airtable or by the model: never filled, never written.
    pub read_only: bool,
    /// The model cannot do without it.
    pub required: bool,
    /// The declared default, if it satisfies the field's own schema.
    pub default: Option<Value>,
    /// JSON text that fills a lacking cell of the whole record; `None`: the field is left out.
    pub fill: Option<String>,
    /// The Airtable field asked upstream in place of `airtable`: for links `<name>_id`, or what `index_to_airtable` says.
    pub lookup: Option<String>,
    /// The entity from which this field is computed.
    pub depends: Option<String>,
    /// `fill`, parsed.
    pub(crate) fill_value: Option<Value>,
    /// `"name":`, as it stands in a record's JSON.
    pub(crate) key: String,
    /// The schema that its values satisfy; an open spec's fields have none.
    pub(crate) rule: Option<Rule>,
}

impl Field {
    /// May its values, or their elements, be numbers, written as texts too? Of a field without a schema anything may.
    pub(crate) fn may_be_number(&self) -> bool {
        self.rule.as_ref().is_none_or(Rule::allows_numbers)
    }
    /// May its values, or their elements, be texts?
    pub(crate) fn may_be_text(&self) -> bool {
        self.rule.as_ref().is_none_or(Rule::allows_texts)
    }
    /// What its values are, or the elements of an array.
    pub(crate) fn holds(&self) -> Kind {
        if self.kind == Kind::Array {
            self.item
        } else {
            self.kind
        }
    }
}

/// What the values of a field are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    Date,
    DateTime,
    /// At most one id of a linked record, in an array.
    Link,
    /// Ids of linked records.
    Links,
    Array,
    Object,
    /// Anything: no schema, or one that allows several of the others.
    Any,
}

impl Kind {
    /// The name in `PODIUM.SPEC GET`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::Date => "date",
            Kind::DateTime => "datetime",
            Kind::Link => "single link",
            Kind::Links => "links",
            Kind::Array => "array",
            Kind::Object => "object",
            Kind::Any => "any",
        }
    }
    /// Does it hold ids of linked records?
    pub fn is_link(self) -> bool {
        matches!(self, Kind::Link | Kind::Links)
    }
}

/// A selection of a record's fields.
#[derive(Clone, Debug)]
pub struct View {
    name: String,
    columns: Vec<Column>,
    /// Given as a schema: what fills a lacking cell follows from that schema and not from the whole record's.
    own_schema: bool,
    /// Where the root of that schema is a union.
    union: Option<Alternatives>,
}

/// One field of a view.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// `None` in an open spec that does not name the field otherwise.
    pub(crate) field: Option<FieldIx>,
    pub(crate) key: String,
    /// What fills a lacking cell, where the view has a schema of its own.
    pub(crate) fill: Option<String>,
    pub(crate) rule: Option<Rule>,
}

impl View {
    /// The view's name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Names of its fields in the order of its JSON; `id`, which every view has, is not among them.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|c| c.name.as_str())
    }
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }
    pub(crate) fn own_schema(&self) -> bool {
        self.own_schema
    }
    pub(crate) fn union(&self) -> Option<&Alternatives> {
        self.union.as_ref()
    }
}

/// The settings' values, used where a spec is silent.
#[derive(Clone, PartialEq, Debug)]
pub struct InForce {
    /// Setting `podium.base`.
    pub base: String,
    /// Freshness of a record, s.
    pub ttl_s: i64,
    /// Its random share, as a fraction: 0.05 is ± 5 %.
    pub jitter: f64,
    /// Life of a tombstone, s.
    pub tombstone_ttl_s: i64,
}

/// Why a spec was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpecError {
    /// JSON pointer into what was given; empty: the whole.
    pub place: String,
    /// What is wrong there, and what to do.
    pub what: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.what)
        } else {
            write!(f, "at {}: {}", self.place, self.what)
        }
    }
}
impl core::error::Error for SpecError {}

impl Spec {
    /// Reads what `PODIUM.SPEC SET` was given: a spec, or a bare JSON Schema.
    ///
    /// # Errors
    /// Names the place by JSON pointer and says what to do.
    pub fn parse(entity: &str, json: &[u8]) -> Result<Spec, SpecError> {
        parse::parse(entity, json)
    }
    /// The entity's name, its `{tag}` included.
    pub fn entity(&self) -> &str {
        &self.entity
    }
    /// The Airtable table: its name or its `tbl…` id.
    pub fn table(&self) -> &str {
        &self.table
    }
    /// The Airtable base; `None`: the setting's.
    pub fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }
    /// Without a schema: every column is stored, and `fields` holds only those that the spec names.
    pub fn open(&self) -> bool {
        self.open
    }
    /// Freshness in s, where the spec says so.
    pub fn ttl(&self) -> Option<i64> {
        self.ttl
    }
    /// Random share of the freshness as a fraction, where the spec says so.
    pub fn jitter(&self) -> Option<f64> {
        self.jitter
    }
    /// Life of a tombstone in s, where the spec says so.
    pub fn tombstone_ttl(&self) -> Option<i64> {
        self.tombstone_ttl
    }
    /// The fields in the order of the schema; `id` is not among them.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
    /// A field by its name in the model.
    pub fn field(&self, name: &str) -> Option<FieldIx> {
        self.by_name.get(name).copied()
    }
    /// A field by its place.
    pub fn get(&self, field: FieldIx) -> Option<&Field> {
        self.fields.get(usize::from(field))
    }
    /// The views, sorted as given.
    pub fn views(&self) -> &[View] {
        &self.views
    }
    /// A view by its name.
    pub fn view(&self, name: &str) -> Option<ViewIx> {
        self.views
            .iter()
            .position(|v| v.name == name)
            .and_then(|i| ViewIx::try_from(i).ok())
    }
    /// What a read without VIEW returns; `None`: the whole record.
    pub fn default_view(&self) -> Option<ViewIx> {
        self.default_view
    }
    /// The fields in the order in which a record's JSON has them: what the default view shows first, in its order.
    pub(crate) fn stored_order(&self) -> &[FieldIx] {
        &self.stored_order
    }
    /// Is the field among the view's?
    pub fn view_holds(&self, view: ViewIx, field: FieldIx) -> bool {
        self.views
            .get(usize::from(view))
            .is_some_and(|v| v.columns.iter().any(|c| c.field == Some(field)))
    }
    /// Fields that hold ids of linked records.
    ///
    /// An open spec knows no kinds, so all fields it names are given: a text of theirs is a link if it is a record id
    /// ([`record_id_ok`]), and nothing otherwise.
    pub fn link_fields(&self) -> impl Iterator<Item = FieldIx> + '_ {
        (0..)
            .zip(&self.fields)
            .filter(|(_, f)| f.kind.is_link() || self.open)
            .map(|(i, _)| i)
    }
    /// Is a field declared to be computed from this entity, by its name with or without a tag?
    pub fn depends_on(&self, entity: &str) -> bool {
        self.fields.iter().any(|f| {
            f.depends
                .as_deref()
                .is_some_and(|d| d == entity || d == crate::key::untagged(entity))
        })
    }
    /// The columns that it names.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }
    /// The alternatives of a model whose root is a union.
    pub(crate) fn union(&self) -> Option<&Alternatives> {
        self.union.as_ref()
    }
    /// What may fill a lacking cell of the field, in whichever alternative.
    pub fn fills(&self, field: FieldIx) -> impl Iterator<Item = &Value> {
        let own = self.get(field).and_then(|f| f.fill_value.as_ref());
        let others = self.union.iter().flat_map(Alternatives::iter);
        own.into_iter()
            .chain(others.filter_map(move |a| a.fill(field)))
    }
    pub fn view_at(&self, view: ViewIx) -> Option<&View> {
        self.views.get(usize::from(view))
    }
}

/// The fields in the order in which a record is stored: what the default view shows first, in its order.
fn stored_order(default: Option<ViewIx>, views: &[View], fields: usize) -> Vec<FieldIx> {
    let view = default.and_then(|v| views.get(usize::from(v)));
    let shown = view.iter().flat_map(|v| v.columns());
    let mut stands = alloc::vec![false; fields];
    let mut out = Vec::with_capacity(fields);
    for ix in shown.filter_map(|c| c.field).chain((0..).take(fields)) {
        match stands.get_mut(usize::from(ix)) {
            Some(there) if !*there => *there = true,
            _ => continue,
        }
        out.push(ix);
    }
    out
}
