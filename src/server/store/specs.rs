//! A spec is put in force: by SPEC SET and DISCOVER, by the spec file, by the keys of a data set or of a primary.

use crate::server::state::entities::{EntityIx, State};
use crate::server::state::schemas;
use crate::server::store::change;
use crate::server::valkey::ffi;
use podium_core::feed::View;
use podium_core::spec::Spec;
use std::sync::Arc;

/// What putting a spec in force did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// A new entity.
    New(EntityIx),
    /// The entity had another spec, or other generations; everything of it, or its sets alone, is outdated.
    Changed(EntityIx),
    /// One equal in effect was in force.
    None(EntityIx),
}

/// The generations that are stored with a spec: of its records and of its index sets.
#[derive(Clone, Copy)]
pub(crate) struct Generations {
    pub(crate) records: u64,
    pub(crate) sets: u64,
}

/// Puts a spec in force, in memory. `stored`: the generations it was stored with; else, where it is not equal in effect to the
/// one in force, it gets new ones: nothing is served in the old shape, and what is under way is not stored in it.
pub(crate) fn put_in_force(
    st: &mut State,
    name: &str,
    spec: Spec,
    stored: Option<Generations>,
) -> Effect {
    let Some(e) = st.by_name(name) else {
        let g = stored.unwrap_or_else(|| Generations {
            records: ffi::random_u64(),
            sets: ffi::random_u64(),
        });
        return Effect::New(st.add(name, spec, g.records, g.sets));
    };
    let ix = e.ix;
    let same = e.spec.same_effect(&spec);
    let (records, sets) = match stored {
        Some(g) => (e.generation != g.records, e.sets_generation != g.sets),
        None => (!same, !same),
    };
    if !same {
        let base = e.base();
        if let Some(e) = st.get_mut(ix) {
            let before = std::mem::replace(&mut e.spec, Arc::new(spec));
            // What was found of another table says nothing of this one.
            e.respecified(&base, before.table());
            // Another table or base: the feed says so when it is next heard.
            e.feed = View::OFF;
        }
        schemas::spec_changed(st, name);
    }
    if records {
        change::entity_outdated(st, ix);
    } else if sets {
        change::sets_outdated(st, ix);
    }
    // What is kept of it to answer hits quickly is of the old shape.
    st.cool();
    if let (Some(g), Some(e)) = (stored, st.get_mut(ix)) {
        e.generation = g.records;
        e.sets_generation = g.sets;
    }
    if same && !records && !sets {
        Effect::None(ix)
    } else {
        Effect::Changed(ix)
    }
}
