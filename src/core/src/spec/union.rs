//! A model whose root is a union: which of its alternatives a record is of, and what that one says of its fields.

use super::properties::{Alternative as Described, Model, Property};
use super::schema::Doc;
use super::steps::Steps;
use super::{marks, FieldIx, Rule, SpecError};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde_json::Value;

/// What became of a cell.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Fitted {
    /// It satisfies the field's schema.
    Holds(Value),
    /// It cannot satisfy it, and is kept as it is.
    Misfit(Value),
    /// Empty, or a computed field's error where a plain value is expected.
    Lacking,
}

/// The alternatives, in the order of the schema.
#[derive(Clone, Debug)]
pub(crate) struct Alternatives(Vec<Alternative>);

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Alternative {
    /// By place, ascending.
    members: Vec<(FieldIx, Member)>,
    /// It allows no other properties than its own.
    closed: bool,
}

/// What an alternative says of one field.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) rule: Arc<Rule>,
    pub(crate) required: bool,
    pub(crate) read_only: bool,
    /// A default is declared for it.
    pub(crate) has_default: bool,
    /// What fills a lacking cell.
    pub(crate) fill: Option<Value>,
    /// `fill` as JSON.
    pub(crate) fill_json: Option<String>,
    /// It leaves few values, and others than other alternatives do.
    decides: bool,
}

/// What the fields of an alternative share, as its reader knows it.
pub(super) struct Told<'a> {
    /// The place of a property among the fields or columns.
    pub(super) place: &'a dyn Fn(&str) -> Option<FieldIx>,
    /// Brings a fill into the form in which cells are stored.
    pub(super) normalize: &'a dyn Fn(&str, &mut Value),
    /// The default that the richest model declares, for a property that has none of its own.
    pub(super) inherited: &'a dyn Fn(&str) -> Option<&'a Value>,
    /// Never filled, whatever this schema says.
    pub(super) read_only: &'a dyn Fn(&str) -> bool,
}

impl Alternatives {
    /// `None`: the root is no union.
    pub(super) fn new(
        doc: &Arc<Doc>,
        model: &Model,
        told: &Told,
        steps: &mut Steps,
    ) -> Result<Option<Alternatives>, SpecError> {
        if model.alternatives.is_empty() {
            return Ok(None);
        }
        let mut rules: Vec<Vec<Arc<Rule>>> = Vec::with_capacity(model.properties.len());
        for p in &model.properties {
            let rule = |v: &Value, steps: &mut Steps| {
                Rule::new(doc.clone(), v.clone(), &p.place, steps).map(Arc::new)
            };
            let of: Result<_, _> = p.variants.iter().map(|v| rule(v, steps)).collect();
            rules.push(of?);
        }
        let one = |described: &Described, steps: &mut Steps| {
            let mut members = Vec::with_capacity(described.members.len());
            for m in &described.members {
                let (Some(p), Some(rule)) = (
                    model.properties.get(m.property),
                    rules.get(m.property).and_then(|r| r.get(m.variant)),
                ) else {
                    continue;
                };
                let (Some(at), Some(schema)) = ((told.place)(&p.name), p.variants.get(m.variant))
                else {
                    continue;
                };
                let member = member(doc, p, schema, rule, m.required, told, steps)?;
                members.push((at, member));
            }
            members.sort_by_key(|(at, _)| *at);
            Ok(Alternative {
                members,
                closed: described.closed,
            })
        };
        let all: Result<_, SpecError> = model.alternatives.iter().map(|d| one(d, steps)).collect();
        Ok(Some(Alternatives(all?)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Alternative> {
        self.0.iter()
    }

    /// The first alternative that a record's own cells satisfy.
    ///
    /// `own` are the places of its cells, with whether there is anything in it, and `fit` brings one under a rule. As Airtable leaves empty
    /// cells out, an alternative may also be completed: if it has a place for every cell that the others name, or if what
    /// tells it from the others is among the cells.
    pub(crate) fn of_record(
        &self,
        own: &[(FieldIx, bool)],
        fit: impl Fn(FieldIx, &Rule) -> Fitted,
    ) -> Option<&Alternative> {
        let mut completed = None;
        let mut decided = None;
        for a in &self.0 {
            let Some(found) = a.compare(own, &fit) else {
                continue;
            };
            let strange = a.closed && found.others;
            if !found.lacks && !strange {
                return Some(a);
            }
            if found.complete && !found.others && completed.is_none() {
                completed = Some(a);
            }
            if found.complete && found.decides && decided.is_none() {
                decided = Some(a);
            }
        }
        completed.or(decided)
    }
}

/// A record's cells beside an alternative that none of them contradicts.
struct Compared {
    /// A required field has no cell.
    lacks: bool,
    /// Those that have none can all be filled.
    complete: bool,
    /// There are cells that only other alternatives name.
    others: bool,
    /// What tells it from the others is among the cells.
    decides: bool,
}

impl Alternative {
    /// What it says of the field at a place; `None`: it has no such field.
    pub(crate) fn member(&self, at: FieldIx) -> Option<&Member> {
        let found = self.members.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        self.members.get(found).map(|(_, m)| m)
    }

    fn compare(
        &self,
        own: &[(FieldIx, bool)],
        fit: &impl Fn(FieldIx, &Rule) -> Fitted,
    ) -> Option<Compared> {
        let mut out = Compared {
            lacks: false,
            complete: true,
            others: false,
            decides: false,
        };
        let mut there: Vec<FieldIx> = Vec::with_capacity(own.len());
        for (at, filled) in own {
            let Some(member) = self.member(*at) else {
                out.others |= *filled;
                continue;
            };
            match fit(*at, &member.rule) {
                Fitted::Holds(_) => {
                    out.decides |= member.decides;
                    there.push(*at);
                }
                Fitted::Misfit(_) => return None,
                Fitted::Lacking => {}
            }
        }
        let required = self.members.iter();
        for (at, m) in required.filter(|(_, m)| m.required && !m.read_only) {
            if there.binary_search(at).is_err() {
                out.lacks = true;
                out.complete &= m.fill.is_some();
            }
        }
        Some(out)
    }

    /// Would both read the same into every record?
    pub(super) fn same(
        &self,
        other: &Alternative,
        same_rule: impl Fn(&Rule, &Rule) -> bool,
    ) -> bool {
        let same_member = |a: &Member, b: &Member| {
            a.required == b.required
                && a.read_only == b.read_only
                && a.has_default == b.has_default
                && a.fill == b.fill
                && same_rule(&a.rule, &b.rule)
        };
        let pairs = || self.members.iter().zip(&other.members);
        self.closed == other.closed
            && self.members.len() == other.members.len()
            && pairs().all(|((i, a), (j, b))| i == j && same_member(a, b))
    }

    /// What fills the field at a place.
    pub(crate) fn fill(&self, at: FieldIx) -> Option<&Value> {
        self.member(at)?.fill.as_ref()
    }
}

fn member(
    doc: &Arc<Doc>,
    p: &Property,
    schema: &Value,
    rule: &Arc<Rule>,
    required: bool,
    told: &Told,
    steps: &mut Steps,
) -> Result<Member, SpecError> {
    let marks = marks::collect(doc, schema, &p.place, steps)?;
    let read_only = marks.read_only == Some(true) || (told.read_only)(&p.name);
    let mut default = rule.valid_default(marks.default, &p.place, steps)?;
    if default.is_none() && required {
        default = rule.valid_default((told.inherited)(&p.name), &p.place, steps)?;
    }
    let mut fill = match read_only {
        true => None,
        false => rule.fill(default.as_ref(), required, &p.place, steps)?,
    };
    if let Some(v) = &mut fill {
        (told.normalize)(&p.name, v);
    }
    Ok(Member {
        rule: rule.clone(),
        required,
        read_only,
        has_default: default.is_some(),
        fill_json: fill.as_ref().map(ToString::to_string),
        fill,
        decides: p.variants.len() > 1 && rule.is_choice(),
    })
}
