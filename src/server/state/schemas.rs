//! What is known of the schemas of bases, beside what entities keep of their tables.

use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::rounds;
use crate::server::state::waiting::Op;
use compact_str::CompactString;
use podium_core::known::when;
use podium_core::known::Problem;
use std::sync::Arc;

/// A link by which a record got into doubt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Through {
    pub(crate) ix: EntityIx,
    pub(crate) field: u16,
    /// The record that has it, or had it.
    pub(crate) from: CompactString,
}

/// What is known of one base's schema, beside what its entities keep of their tables.
#[derive(Default)]
pub(crate) struct OfBase {
    /// What is wrong with the specs of its entities, by the schema as it was read last.
    pub(crate) problems: Vec<Problem>,
    /// When it is to be read by itself, in the engine's ms; none: no spec was fetched yet.
    pub(crate) due: Option<u64>,
    pub(crate) asking: bool,
    pub(crate) failures: u32,
    /// The token may not read it, or Airtable knows no such base.
    pub(crate) refused: bool,
    /// Reads that wait for it, and until when.
    pub(crate) readers: Vec<(u64, Arc<Op>)>,
}

pub(crate) fn of_base<'a>(st: &'a mut State, base: &str) -> &'a mut OfBase {
    st.schemas.entry(base.into()).or_default()
}

/// A fetch of an entity's landed: if it was the first since its spec is in force, that is compared with the schema soon.
pub(crate) fn fetched(st: &mut State, ix: EntityIx) {
    let Some(e) = st.get_mut(ix) else { return };
    let base = e.base();
    // (Another base than before, where that is the setting's: all specs are new to it.)
    if std::mem::take(&mut e.unchecked) || !st.schemas.contains_key(&*base) {
        let at = clock::mono_ms() + when::BEHIND_MS;
        let b = of_base(st, &base);
        b.due = Some(b.due.map_or(at, |due| due.min(at)));
    }
}

/// A spec was replaced: what was wrong with the one before says nothing of it.
pub(crate) fn spec_changed(st: &mut State, entity: &str) {
    for b in st.schemas.values_mut() {
        b.problems.retain(|p| p.entity != entity);
    }
}

/// An entity is gone; with the last one of a base goes what is known of its schema.
pub(crate) fn entity_left(st: &mut State, e: &Entity) {
    spec_changed(st, &e.name);
    let base = e.base();
    if st.of_base(&base).is_empty() {
        if let Some(b) = st.schemas.remove(&*base) {
            st.released.extend(b.readers.into_iter().map(|(_, op)| op));
            rounds::wake();
        }
    }
}

/// What is wrong with one entity's spec, or with all, as far as schemas were read.
pub(crate) fn problems<'a>(
    st: &'a State,
    entity: Option<&'a str>,
) -> impl Iterator<Item = &'a Problem> {
    st.schemas
        .values()
        .flat_map(|b| &b.problems)
        .filter(move |p| entity.is_none_or(|e| p.entity == e))
}

/// Could the schema of a base be asked for, as far as anybody knows?
pub(crate) fn may_ask(st: &State, base: &str) -> bool {
    let b = st.schemas.get(base);
    !st.replica && !base.is_empty() && b.is_none_or(|b| !b.refused && b.failures == 0)
}
