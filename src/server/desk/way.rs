//! How an index question is put: a formula, through which column ids are asked for, and what the answer has to show of that.
//!
//! A formula sees a link as the names of its records. So ids are asked for through a lookup, and what that holds is judged by
//! the link's own cells. A field that is not declared to be a link may be one all the same, or hold ids as texts: if its lookup
//! is of no use, its own text is asked, and a record that has an id there has to be found by it.

use crate::server::state::entities::{Entity, Trust};
use compact_str::CompactString;
use podium_airtable::Record;
use podium_core::automation::same_name;
use podium_core::question::{self, ById, Column, Through};
use podium_core::spec::{Field, Spec};
use std::sync::Arc;

/// How a question is put.
#[derive(Default)]
pub(crate) struct Way {
    /// No formula asks this.
    none: bool,
    /// The value is asked for as a record's id.
    ids: Option<Ids>,
    column: Column,
}

/// Through what ids are asked for.
struct Ids {
    /// The field is a link by its schema.
    declared: bool,
    trust: Trust,
    /// The base's schema says that the lookup holds the ids.
    found: bool,
}

/// How far the evidence has come.
#[derive(Default)]
pub(crate) struct Evidence {
    /// The lookup was of no use: the field's own text is asked.
    own: bool,
    lookup_broken: bool,
    lookup_proven: bool,
    /// Formulas find ids in the own column's text.
    shown: Option<bool>,
    asking: Asking,
}

/// What the formula asks for.
#[derive(Default)]
enum Asking {
    /// The value.
    #[default]
    Value,
    /// All pages came without evidence: a few records with a cell are looked at.
    Filled,
    /// A record by an id in its cell, which a formula should find there.
    Shown(CompactString, String),
}

/// What is learned of a field's columns, as it is remembered.
pub(crate) type Learnt = Option<Trust>;

/// What comes after a page.
pub(crate) enum Next {
    /// The next page, or the answer stands.
    On,
    /// Something else is asked, the records so far are kept.
    Ask,
    /// The same question by the field's own text, from the start.
    Own,
    /// Without a formula, from the start.
    NoFormula,
}

/// Records with a cell that are looked at for evidence.
const PROBE: u32 = 10;

impl Way {
    pub(crate) fn of(e: &Entity, field: u16, value: &[u8]) -> Way {
        let trust = e.trust.get(&field).copied().unwrap_or_default();
        let column = e.column(field);
        let by_id = e
            .spec
            .get(field)
            .zip(std::str::from_utf8(value).ok())
            .map_or(ById::No, |(f, v)| question::by_id(f, v));
        let declared = by_id == ById::Declared;
        let ids = (by_id != ById::No).then(|| Ids {
            declared,
            trust,
            found: e.found_proves(field),
        });
        // A link's own text is of no use.
        let only_lookup = declared || column == Column::Link;
        let none = ids.is_some()
            && match trust {
                Trust::Hidden => true,
                Trust::Broken | Trust::Shown => only_lookup,
                Trust::Unproven | Trust::Proven => false,
            };
        Way { none, ids, column }
    }
    /// Is there no formula that asks this?
    pub(crate) fn no_formula(&self) -> bool {
        self.none
    }
    fn only_lookup(&self) -> bool {
        self.column == Column::Link || self.ids.as_ref().is_none_or(|i| i.declared)
    }
    /// Is the field's own text asked for ids, and not a lookup?
    fn own(&self, field: &Field, evidence: &Evidence) -> bool {
        let Some(ids) = &self.ids else { return false };
        let without = matches!(self.column, Column::Plain | Column::Date)
            || matches!(ids.trust, Trust::Broken | Trust::Shown)
            || question::lookup(field).is_none();
        !self.only_lookup() && (evidence.own || without)
    }
    /// What is asked now, and of how many records at most.
    pub(crate) fn formula(
        &self,
        spec: &Spec,
        asks: &(u16, Arc<[u8]>),
        evidence: &Evidence,
    ) -> (Option<String>, Option<u32>) {
        let (at, value) = asks;
        let Some(field) = spec.get(*at) else {
            return (None, None);
        };
        match &evidence.asking {
            Asking::Value => {}
            Asking::Filled => return (Some(question::filled_formula(field)), Some(PROBE)),
            Asking::Shown(record, id) => {
                return (Some(question::shown_formula(field, record, id)), Some(1));
            }
        }
        let through = if self.own(field, evidence) {
            Through::Own
        } else {
            Through::Lookup
        };
        let formula = question::formula(spec, *at, value, through, self.column);
        (formula, None)
    }
    /// The base has no such field. Was it the lookup that is asked through? Then it is of no use.
    pub(crate) fn lacks(&self, field: &Field, names: &[String], evidence: &mut Evidence) -> Next {
        let lookup = question::lookup(field);
        let lookup = lookup.as_deref().unwrap_or(&field.airtable);
        let asked = !self.own(field, evidence)
            && (names.is_empty() || names.iter().any(|n| same_name(n, lookup)));
        // A lookup may be named for a field that is no link, too.
        let through = self.ids.is_some() || field.lookup.is_some() || names.is_empty();
        if !asked || !through {
            return Next::On;
        }
        self.without_lookup(evidence)
    }
    fn without_lookup(&self, evidence: &mut Evidence) -> Next {
        evidence.lookup_broken = true;
        if self.only_lookup() {
            return Next::NoFormula;
        }
        evidence.own = true;
        Next::Own
    }
    /// What a page shows of the columns that are asked. `found`: one of its records has the value.
    pub(crate) fn page(
        &self,
        spec: &Spec,
        asks: &(u16, Arc<[u8]>),
        records: &[Record],
        found: bool,
        evidence: &mut Evidence,
    ) -> Next {
        let (Some(_), Some(field)) = (&self.ids, spec.get(asks.0)) else {
            return Next::On;
        };
        if let Asking::Shown(record, _) = &evidence.asking {
            let shown = records.iter().any(|r| record == r.id);
            evidence.shown = Some(shown);
            evidence.asking = Asking::Filled;
            return if shown { Next::On } else { Next::NoFormula };
        }
        if self.own(field, evidence) {
            if evidence.is_probing() {
                let suspect = records.iter().find_map(|r| {
                    let id = question::id_in(field, &r.fields)?;
                    Some(Asking::Shown(CompactString::new(&r.id), id))
                });
                return match suspect {
                    Some(shown) => {
                        evidence.asking = shown;
                        Next::Ask
                    }
                    None => Next::On,
                };
            }
            if found {
                evidence.shown = Some(true);
            }
            return Next::On;
        }
        for r in records {
            match question::lookup_agrees(spec, asks.0, &r.fields) {
                Some(true) => evidence.lookup_proven = true,
                Some(false) => evidence.lookup_broken = true,
                None => {}
            }
        }
        if evidence.lookup_broken {
            return self.without_lookup(evidence);
        }
        Next::On
    }
    /// All pages came: does the answer stand?
    pub(crate) fn end(&self, field: &Field, evidence: &mut Evidence) -> Next {
        let Some(ids) = &self.ids else {
            return Next::On;
        };
        let stands = if self.own(field, evidence) {
            ids.trust == Trust::Shown || evidence.shown.is_some()
        } else {
            ids.found || ids.trust == Trust::Proven || evidence.lookup_proven
        };
        if stands || evidence.is_probing() {
            return Next::On;
        }
        evidence.asking = Asking::Filled;
        Next::Ask
    }
}

impl Evidence {
    /// The listing begins anew.
    pub(crate) fn start_over(&mut self) {
        self.asking = Asking::Value;
    }
    pub(crate) fn is_probing(&self) -> bool {
        !matches!(self.asking, Asking::Value)
    }
    pub(crate) fn learnt(&self) -> Learnt {
        match (self.shown, self.lookup_broken) {
            (Some(true), _) => Some(Trust::Shown),
            (Some(false), _) => Some(Trust::Hidden),
            (None, true) => Some(Trust::Broken),
            (None, false) => self.lookup_proven.then_some(Trust::Proven),
        }
    }
}
