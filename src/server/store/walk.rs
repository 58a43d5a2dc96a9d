//! Going through an entity's cached records, in slices of the server's lock.

use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::history::How;
use crate::server::store::{copy, invalidate, Copy};
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::lock::{Held, Slice};
use compact_str::CompactString;
use podium_core::entry::Entry;
use podium_core::key;
use podium_core::register::START;
use std::ops::ControlFlow;

/// A cached record, while it is looked at.
pub(crate) struct Cached<'a> {
    pub(crate) st: &'a State,
    pub(crate) ctx: Ctx,
    pub(crate) e: &'a Entity,
    pub(crate) id: &'a CompactString,
    /// Its key.
    pub(crate) name: &'a [u8],
    pub(crate) entry: &'a Entry<'a>,
}

/// Ids per hold of the lock while they are listed.
const LISTED: usize = 2_000;

/// The ids of the records of an entity that are cached: of all that are so from beginning to end. On a thread that does not
/// hold the lock.
pub(crate) fn ids(ix: EntityIx) -> Vec<CompactString> {
    let (mut all, mut from) = (Vec::new(), Some(START));
    while let Some(at) = from {
        let part = cell::with(|st, _| st.get(ix).map(|e| e.records.part(at, LISTED)));
        let (ids, next) = part.flatten().unwrap_or_default();
        all.extend(ids);
        from = next;
    }
    all
}

/// Looks at those of `ids` that are cached. On a thread that does not hold the lock.
pub(crate) fn each(ix: EntityIx, ids: &[CompactString], mut look: impl FnMut(&Cached)) {
    cell::in_slices(ids, |st, ctx, id| {
        at(st, ctx, ix, id, &mut look);
        ControlFlow::Continue(())
    });
}

/// Puts those in doubt that `shows` says show something that changed; `then` hears of those of a slice, once they are
/// dropped. `hold`: how the lock is taken; `how`: by
/// whose word something changed. `None`: nothing may be removed now.
pub(crate) fn outdate(
    ix: EntityIx,
    ids: &[CompactString],
    (hold, how): (impl Fn() -> Held, How),
    mut shows: impl FnMut(&Cached) -> bool,
    mut then: impl FnMut(&mut State, Vec<CompactString>),
) -> Option<()> {
    let mut ids = ids.iter().peekable();
    while ids.peek().is_some() {
        let held = hold();
        let ctx = held.ctx();
        if !ffi::removable(ctx) {
            return None;
        }
        cell::enter(|st| {
            let slice = Slice::begin();
            let mut hit = Vec::new();
            for id in ids.by_ref() {
                let mut shown = false;
                at(st, ctx, ix, id, &mut |cached: &Cached| {
                    shown = shows(cached)
                });
                if shown {
                    st.by_word_of(how, |st| invalidate(st, ctx, ix, id, clock::next()));
                    hit.push(id.clone());
                }
                if slice.over() {
                    break;
                }
            }
            then(st, hit);
        })?;
    }
    Some(())
}

fn at(st: &State, ctx: Ctx, ix: EntityIx, id: &CompactString, look: &mut impl FnMut(&Cached)) {
    let Some(e) = st.get(ix) else { return };
    let Copy::Record(b) = copy(ctx, e, id, false) else {
        return;
    };
    let name = key::record(&e.name, id);
    if let Some(entry) = Entry::read(b, &name) {
        look(&Cached {
            st,
            ctx,
            e,
            id,
            name: &name,
            entry: &entry,
        });
    }
}
