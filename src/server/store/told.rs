//! Records that clients told, in the register of their entity. Which they are is in their stored headers.

use crate::server::state::entities::{EntityIx, State};
use crate::server::store;
use crate::server::valkey::ffi::Ctx;
use podium_core::entry::Entry;
use podium_core::{index, key};
use std::sync::atomic::{AtomicU64, Ordering};

/// How often everything was lost.
pub(crate) static LOST: AtomicU64 = AtomicU64::new(0);
/// Notes a record that is cached now: told, or not.
pub(crate) fn note(st: &mut State, ix: EntityIx, id: &str, entry: &Entry) {
    let Some(e) = st.get_mut(ix) else { return };
    match entry.header.is_unlisted() {
        // (Every record is in the set of all: nothing is found by that.)
        true => e.records.tell(id, index::hashes(&e.spec, entry)),
        false => e.records.untell(id),
    }
}

/// The same of a record that was put there by others.
pub(crate) fn note_copy(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str) {
    let Some(e) = st.get(ix) else { return };
    let store::Copy::Record(b) = store::copy(ctx, e, id, false) else {
        return;
    };
    let name = key::record(&e.name, id);
    if let Some(entry) = Entry::read(b, &name) {
        note(st, ix, id, &entry);
    }
}

/// What is cached came from elsewhere. Under the server's lock.
pub(crate) fn lose_all(st: &mut State) {
    LOST.fetch_add(1, Ordering::Relaxed);
    st.entities_mut().for_each(|e| e.records.lose_told());
}
