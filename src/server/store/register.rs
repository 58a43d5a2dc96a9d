//! The register of keys: which records, tombstones and index sets are there, kept up to date by what the server tells.

use crate::server::state::cell::Event;
use crate::server::state::entities::State;
use crate::server::state::rounds;
use crate::server::store::change;
use crate::server::store::cluster;
use crate::server::valkey::ffi::{self, rm};
use crate::server::valkey::lock;
use podium_core::key::{self, Name};

/// An event that was kept aside while the state was in use.
pub(crate) fn late(st: &mut State, event: &Event, name: &[u8]) {
    // What expired while it was being written anew is there again.
    if matches!(event, Event::New | Event::Touched) || !is_there(name) {
        note(st, event, name);
    }
}

/// Does the key exist in database 0? Under the server's lock.
fn is_there(name: &[u8]) -> bool {
    let ctx = lock::detached();
    rm!(RedisModule_SelectDb(ctx, 0));
    ffi::Key::peek(ctx, ffi::RString::new(name).raw()).kind() != ffi::KeyKind::Empty
}

/// Is an index set of our making stored under this name?
fn is_our_set(name: &[u8]) -> bool {
    let ctx = lock::detached();
    rm!(RedisModule_SelectDb(ctx, 0));
    let key = ffi::Key::peek(ctx, ffi::RString::new(name).raw());
    key.kind() == ffi::KeyKind::Zset && crate::server::store::sentinel(&key, name).is_some()
}

/// Brings the register of keys up to date.
pub(crate) fn note(st: &mut State, event: &Event, name: &[u8]) {
    if st.loading {
        return;
    }
    if st.resources.of_key(name).is_some() {
        return note_answer(st, event, name);
    }
    let (entity, id, tomb) = match key::parse(name) {
        Some(Name::Record { entity, id }) => (entity, id, false),
        Some(Name::Tomb { entity, id }) => (entity, id, true),
        Some(Name::All { entity }) | Some(Name::Index { entity, .. }) => {
            let Some(suffix) = name.get(entity.len() + 1..) else {
                return;
            };
            // On a replica a set comes piece by piece; elsewhere what another puts there is ours only if it says so.
            let ours = *event != Event::New || st.replica || is_our_set(name);
            let Some(e) = st.by_name_mut(entity) else {
                return;
            };
            e.sorted.lose(suffix);
            match event {
                // Put in the place of ours, as RENAME does: what was stored is gone.
                Event::New if !ours && !e.sets.contains(suffix) => {
                    e.given_up.remove(suffix);
                }
                Event::New if !ours => change::set_removed(e, suffix, name, true),
                Event::New => {
                    e.sets.insert(suffix.into());
                }
                Event::Removed | Event::Gone => {
                    change::set_removed(e, suffix, name, *event == Event::Removed);
                }
                Event::Written | Event::Touched => {}
            }
            return;
        }
        _ => return,
    };
    let replica = st.replica;
    let Some(e) = st.by_name_mut(entity) else {
        return;
    };
    let ix = e.ix;
    change::copy_changed(st, ix, id, None);
    let Some(e) = st.get_mut(ix) else {
        return;
    };
    let keys = if tomb { &mut e.tombs } else { &mut e.records };
    match event {
        Event::New => {
            keys.insert(id);
            if !tomb && !replica {
                // Restored, or moved here from another node. (Its value may not be touched before its command is over.)
                keys.arrived(id);
            }
        }
        Event::Removed => {
            keys.remove(id);
            cluster::went(e, id);
            change::record_removed(st, ix, id);
        }
        Event::Gone => {
            keys.remove(id);
            change::record_evicted(e, id);
        }
        Event::Written | Event::Touched => {}
    }
}

/// The same of a computed answer's key.
fn note_answer(st: &mut State, event: &Event, name: &[u8]) {
    match event {
        // Restored, or moved here from another node: looked at when its command is over.
        Event::New if !st.replica => {
            st.answers.arrived.push(name.into());
            rounds::answers_wake();
        }
        Event::New | Event::Written | Event::Touched => {}
        Event::Removed if cluster::answers::went(st, name) => {}
        Event::Removed => change::answer_left(st, name, true),
        Event::Gone => change::answer_left(st, name, false),
    }
}
