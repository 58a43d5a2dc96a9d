//! From cells to what is stored and returned: fills, fits and prints a record as its model expects it.
//!
//! Reading order: [`shape`] here, `cell` (one cell under its schema), `told` (what clients and scripts send),
//! `project` (a view cut out of a stored record).

mod cell;
mod project;
#[cfg(test)]
mod tests;
mod told;

pub use project::{project, project_into};
pub use told::{cells_of_upsert, cells_to_write, fits, read_upsert};

use crate::question::texts;
use crate::spec::Fitted;
use crate::spec::{Alternative, Field, FieldIx, Rule, Spec};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde_json::{Map, Value};

/// Where cells come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A fetch: keyed by column name, empty cells left out.
    Airtable,
    /// A client's flat JSON, keyed by field or column name: what is required must be in it.
    Told,
    /// A client's Airtable-shaped record, keyed by column or field name, empty cells left out or null.
    ToldCells,
    /// The same from a script, which sees choices and linked records as objects.
    Script,
}

/// A record in the form in which it is stored.
#[derive(Clone, PartialEq, Debug)]
pub struct Shaped {
    /// Flat JSON of the whole record: `id` first, then what the default view shows in its order, then the rest in the order
    /// of the schema, or as the columns come.
    pub whole: Vec<u8>,
    /// Where each field of the spec lies in `whole`; empty for an open spec.
    pub spans: Vec<Span>,
    /// JSON of the default view, where there is one and it differs from `whole`.
    pub default_view: Option<Vec<u8>>,
    /// Are other views than the default one cut from it?
    pub cut: bool,
    /// For every indexed, sortable or link field, by field.
    pub values: Vec<FieldValues>,
    /// It holds attachments, or a lookup of some: urls that expire.
    pub attachments: bool,
    /// Required fields that are lacking and that nothing may fill, and cells that cannot satisfy their schema.
    pub violations: u32,
    /// A required field is lacking: a record that a client told so is not stored but invalidated.
    pub lacks_required: bool,
}

/// Where one field lies in a whole record's JSON: the bytes of `"name":value`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub start: u32,
    /// One past the last byte; equal to `start`: the field is left out.
    pub end: u32,
    /// The cell was lacking: the value is a fill.
    pub filled: bool,
}

/// The canonical texts of one field's value; for links, the ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldValues {
    pub field: FieldIx,
    /// Where in the whole record's JSON the value stands.
    pub at: u32,
    pub texts: Vec<Vec<u8>>,
}

/// Why a record was refused: what is wrong, and what is expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadRecord(pub String);

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl core::error::Error for BadRecord {}

/// Longest text by which a field can be asked for; a longer one is kept only to sort by.
const MAX_ASKED: usize = crate::key::MAX_VALUE;

/// One record in the form in which it is stored.
pub fn shape(spec: &Spec, id: &str, cells: &Map<String, Value>, source: Source) -> Shaped {
    let mut out = Writer::new(id, spec.fields().len());
    if spec.open() {
        out.open(spec, cells, source);
        return out.done(spec, id);
    }
    let alternative = spec.union().map(|_| alternative_of(spec, cells, source));
    if matches!(alternative, Some(None)) {
        out.violations += 1;
        // What is of no kind is not stored as told: it is looked up.
        out.lacks_required |= source != Source::Airtable;
    }
    for ix in spec.stored_order() {
        let Some(field) = spec.get(*ix) else { continue };
        // A record of an alternative that lacks the field has none.
        if let Some(terms) = Terms::of(*ix, field, alternative) {
            let cell = cell_of(field, cells, source);
            out.field(*ix, field, terms, cell, source);
        }
    }
    out.done(spec, id)
}

/// The alternative of a root union that a record is of.
fn alternative_of<'a>(
    spec: &'a Spec,
    cells: &Map<String, Value>,
    source: Source,
) -> Option<&'a Alternative> {
    let own: Vec<(FieldIx, bool)> = (0..)
        .zip(spec.fields())
        .filter_map(|(ix, f)| Some((ix, !cell::is_empty(cell_of(f, cells, source)?, source))))
        .collect();
    spec.union()?.of_record(&own, |ix, rule| {
        let Some(field) = spec.get(ix) else {
            return Fitted::Lacking;
        };
        cell::fit_under(field, rule, cell_of(field, cells, source), source)
    })
}

/// What a record's model says of one field.
struct Terms<'a> {
    rule: Option<&'a Rule>,
    required: bool,
    read_only: bool,
    has_default: bool,
    fill: Option<&'a Value>,
}

impl<'a> Terms<'a> {
    /// Where the root is a union, `alternative` is the one that the record is of, if it is of any. `None`: that one has no
    /// such field.
    fn of(
        ix: FieldIx,
        field: &'a Field,
        alternative: Option<Option<&'a Alternative>>,
    ) -> Option<Terms<'a>> {
        match alternative {
            None => Some(Terms {
                rule: field.rule.as_ref(),
                required: field.required,
                read_only: field.read_only,
                has_default: field.default.is_some(),
                fill: field.fill_value.as_ref(),
            }),
            Some(Some(alternative)) => alternative.member(ix).map(|m| Terms {
                rule: Some(&m.rule),
                required: m.required,
                read_only: m.read_only,
                has_default: m.has_default,
                fill: m.fill.as_ref(),
            }),
            Some(None) => Some(Terms {
                rule: field.rule.as_ref(),
                required: false,
                read_only: field.read_only,
                has_default: false,
                fill: None,
            }),
        }
    }
}

struct Writer {
    whole: Vec<u8>,
    spans: Vec<Span>,
    values: Vec<FieldValues>,
    attachments: bool,
    violations: u32,
    lacks_required: bool,
}

impl Writer {
    fn new(id: &str, fields: usize) -> Writer {
        let absent = Span {
            start: 0,
            end: 0,
            filled: true,
        };
        Writer {
            whole: opening(id),
            spans: alloc::vec![absent; fields],
            values: Vec::new(),
            attachments: false,
            violations: 0,
            lacks_required: false,
        }
    }

    fn field(
        &mut self,
        ix: FieldIx,
        field: &Field,
        terms: Terms,
        cell: Option<&Value>,
        source: Source,
    ) {
        let fitted = match terms.rule {
            Some(rule) => cell::fit_under(field, rule, cell, source),
            None => Fitted::Lacking,
        };
        let start = self.whole.len() + 1;
        let at = start + field.key.len();
        let (value, filled) = match &fitted {
            Fitted::Holds(v) => (Some(v), false),
            Fitted::Misfit(v) => {
                self.violations += 1;
                (Some(v), false)
            }
            Fitted::Lacking => (terms.fill, true),
        };
        match value {
            Some(v) => {
                self.whole.push(b',');
                self.whole.extend_from_slice(field.key.as_bytes());
                push_json(&mut self.whole, v);
                self.attachments |= cell::holds_attachment(v);
                self.index(ix, field, at, v);
                if let Some(span) = self.spans.get_mut(usize::from(ix)) {
                    *span = Span {
                        start: offset(start),
                        end: offset(self.whole.len()),
                        filled,
                    };
                }
            }
            // The model computes its read-only fields itself: lacking ones are nobody's fault.
            None if terms.required && !terms.read_only => {
                self.violations += 1;
                self.lacks_required = true;
            }
            None => {}
        }
        let untold = source == Source::Told && cell.is_none() && !terms.has_default;
        self.lacks_required |= untold && terms.required && !terms.read_only;
    }

    fn open(&mut self, spec: &Spec, cells: &Map<String, Value>, source: Source) {
        // A column that is asked for by its id comes under its name as well.
        let twice = |name: &str| spec.columns().ids.contains(name) && spec.field(name).is_none();
        let view = spec.default_view().and_then(|v| spec.view_at(v));
        let shown: Vec<&str> = view.iter().flat_map(|v| v.fields()).collect();
        let mut ordered: Vec<(&String, &Value)> = cells.iter().collect();
        // What the view shows first, in its order; the rest as it comes.
        let place = |name: &str| shown.iter().position(|s| *s == name);
        ordered.sort_by_cached_key(|(name, _)| place(name).unwrap_or(usize::MAX));
        for (name, cell) in ordered.into_iter().filter(|(n, _)| *n != "id" && !twice(n)) {
            let known = spec.field(name).and_then(|ix| Some((ix, spec.get(ix)?)));
            let value = match cell::fit_open(known.map(|(_, f)| f), cell, source) {
                Fitted::Holds(v) | Fitted::Misfit(v) => v,
                Fitted::Lacking => continue,
            };
            self.whole.push(b',');
            push_json(&mut self.whole, &Value::String(name.clone()));
            self.whole.push(b':');
            let at = self.whole.len();
            push_json(&mut self.whole, &value);
            self.attachments |= cell::holds_attachment(&value);
            if let Some((ix, field)) = known {
                self.index(ix, field, at, &value);
            }
        }
        // Where a column lies is not known of a record without a schema.
        self.spans.clear();
    }

    fn index(&mut self, ix: FieldIx, field: &Field, at: usize, value: &Value) {
        if field.indexed || field.sortable || field.kind.is_link() || field.rule.is_none() {
            let mut texts = texts(field, value);
            texts.retain(|t| field.sortable || t.len() <= MAX_ASKED);
            if !texts.is_empty() {
                self.values.push(FieldValues {
                    field: ix,
                    at: offset(at),
                    texts,
                });
            }
        }
    }

    fn done(mut self, spec: &Spec, id: &str) -> Shaped {
        self.whole.push(b'}');
        self.values.sort_by_key(|v| v.field);
        let default_view = spec
            .default_view()
            .and_then(|view| project(spec, view, id, &self.whole, &self.spans).ok())
            .filter(|view| *view != self.whole);
        Shaped {
            whole: self.whole,
            spans: self.spans,
            default_view,
            cut: spec.views().len() > usize::from(spec.default_view().is_some()),
            values: self.values,
            attachments: self.attachments,
            violations: self.violations,
            lacks_required: self.lacks_required,
        }
    }
}

/// The field's cell, under the name that is the more likely one there.
fn cell_of<'a>(field: &Field, cells: &'a Map<String, Value>, source: Source) -> Option<&'a Value> {
    let (column, name) = (cells.get(&field.airtable), || cells.get(&field.name));
    match source {
        Source::Airtable => column,
        Source::Told => name().or(column),
        Source::ToldCells | Source::Script => column.or_else(name),
    }
}

/// How every record's JSON begins, up to its id.
const OPENING: &[u8] = b"{\"id\":\"";

/// `{"id":"rec…"`
fn opening(id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    open(&mut out, id);
    out
}

/// The same, behind what `out` holds. An id is made of letters and digits, which JSON takes as they are.
fn open(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(OPENING);
    out.extend_from_slice(id.as_bytes());
    out.push(b'"');
}

/// The id in a record's JSON, whatever the view.
pub fn id_in(json: &[u8]) -> Option<&[u8]> {
    let rest = json.strip_prefix(OPENING)?;
    rest.get(..rest.iter().position(|b| *b == b'"')?)
}

fn push_json(out: &mut Vec<u8>, value: &Value) {
    // Writing a value to memory cannot fail: its keys are strings and its numbers finite.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"null");
    }
}

/// Records are bounded by the response that brought them, far below 2 GiB.
pub(crate) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
