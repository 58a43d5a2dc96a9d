//! Keys of ours that the server evicted. They are written anew, but no more than once a second each: where nothing else is left
//! to evict, every key written is the next to go, and the server would do nothing else. Until then the truth is in memory; a
//! restart in that second finds no spec, and with it no copy that could be wrong.

use super::{save_doubts, save_spec, DOUBT, SPEC};
use crate::server::engine::mono_ms;
use crate::server::ffi::{self, rm, slot, Ctx};
use crate::server::gil;
use crate::server::state::State;
use crate::server::store;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use podium_core::key;
use std::ffi::c_void;

/// A key is written anew at most so often, ms.
const PACE_MS: u64 = 1_000;
/// A replica whose primary evicted a spec knows the entity so long without its key, ms.
const GRACE_MS: u64 = 5_000;

#[derive(Default)]
struct Evicted {
    /// When each was written anew last, in the engine's ms.
    written: Option<HashMap<Vec<u8>, u64>>,
    /// Those that are not there.
    missing: Option<HashSet<Vec<u8>>>,
    /// On a replica: entities whose spec went without their primary saying that they are over, and since when.
    leaving: Option<HashMap<String, u64>>,
}

/// Under the server's lock, as all that it speaks of.
static EVICTED: Mutex<Evicted> = Mutex::new(Evicted {
    written: None,
    missing: None,
    leaving: None,
});

impl Evicted {
    fn missing(&mut self) -> &mut HashSet<Vec<u8>> {
        self.missing.get_or_insert_default()
    }
    fn written(&mut self) -> &mut HashMap<Vec<u8>, u64> {
        self.written.get_or_insert_default()
    }
    fn may_write(&mut self, name: &[u8], now: u64) -> bool {
        let at = self.written().get(name);
        at.is_none_or(|at| now.saturating_sub(*at) >= PACE_MS)
    }
}

/// A key of ours was evicted: it is written anew right behind that, in the same atomic unit, or by upkeep.
pub(crate) fn evicted(ctx: Ctx, name: &[u8]) {
    let at_once = {
        let mut e = EVICTED.lock();
        e.missing().insert(name.to_vec());
        e.may_write(name, mono_ms())
    };
    // What is in doubt is known durably, or the sets that it is about are dropped.
    if at_once || key::own_entity(name, DOUBT).is_some() {
        restore_soon(ctx, name);
    }
}

fn restore_soon(ctx: Ctx, name: &[u8]) {
    unsafe extern "C" fn job(ctx: Ctx, data: *mut c_void) {
        let _ = std::panic::catch_unwind(|| {
            if let Some(name) = (data as *const Vec<u8>).as_ref() {
                gil::enter(|st| {
                    restore(ctx, st, name);
                    drop_undoubted(ctx, st, name);
                });
            }
        });
    }
    unsafe extern "C" fn free(data: *mut c_void) {
        drop(Box::from_raw(data as *mut Vec<u8>));
    }
    let data = Box::into_raw(Box::new(name.to_vec()));
    let added = rm!(RedisModule_AddPostNotificationJob(
        ctx,
        Some(job),
        data.cast(),
        Some(free)
    ));
    if added != ffi::OK {
        // SAFETY: the server did not take it.
        drop(unsafe { Box::from_raw(data) });
    }
}

/// Writes a key that is missing, if its time has come.
fn restore(ctx: Ctx, st: &State, name: &[u8]) {
    let now = mono_ms();
    if st.replica || st.loading || !ffi::removable(ctx) {
        return;
    }
    {
        let mut e = EVICTED.lock();
        if !e.may_write(name, now) || !e.missing().remove(name) {
            return;
        }
        e.written().insert(name.to_vec(), now);
    }
    let entity = |what| key::own_entity(name, what).and_then(|e| st.by_name(e));
    if let Some(e) = entity(SPEC) {
        save_spec(ctx, e);
    } else if let Some(e) = entity(DOUBT) {
        save_doubts(ctx, e);
    } else if name.starts_with(b"podium:budget") {
        crate::server::budget::lost();
    } else {
        crate::server::sync::save_key(ctx, st, name);
    }
}

/// The doubts of an entity cannot be kept now: neither are its sets.
fn drop_undoubted(ctx: Ctx, st: &mut State, name: &[u8]) {
    let Some(ix) = key::own_entity(name, DOUBT).and_then(|e| st.by_name(e).map(|e| e.ix)) else {
        return;
    };
    if EVICTED.lock().missing().remove(name) {
        store::drop_sets(st, ctx, ix);
    }
}

/// Is this key of ours missing because it was evicted? What is to be changed in it is written with all the rest.
pub(crate) fn is_missing(name: &[u8]) -> bool {
    let e = EVICTED.lock();
    e.missing.as_ref().is_some_and(|m| m.contains(name))
}

/// From upkeep: what was evicted is written anew, and entities of a replica whose spec did not come back are over.
pub(crate) fn tick(ctx: Ctx, st: &mut State) {
    let now = mono_ms();
    let (missing, over) = {
        let mut e = EVICTED.lock();
        e.written()
            .retain(|_, at| now.saturating_sub(*at) < PACE_MS);
        let missing: Vec<Vec<u8>> = e.missing().iter().cloned().collect();
        let mut over = Vec::new();
        e.leaving.get_or_insert_default().retain(|entity, since| {
            let stays = now.saturating_sub(*since) < GRACE_MS;
            if !stays {
                over.push(entity.clone());
            }
            stays
        });
        (missing, over)
    };
    for name in missing {
        restore(ctx, st, &name);
    }
    for entity in if st.replica { over } else { Vec::new() } {
        st.remove(&entity);
    }
}

/// This key was written whole.
pub(super) fn is_there(name: &[u8]) {
    EVICTED.lock().missing().remove(name);
}

/// Everything was written, or another data set is there.
pub(super) fn all_there() {
    let mut e = EVICTED.lock();
    e.missing().clear();
    e.leaving = None;
}

/// On a replica: an entity's spec is gone, and nobody said that the entity is.
pub(crate) fn spec_left(entity: &str) {
    let mut e = EVICTED.lock();
    let leaving = e.leaving.get_or_insert_default();
    leaving.entry(entity.to_string()).or_insert(mono_ms());
}

/// Its spec is there (again).
pub(super) fn spec_came(entity: &str) {
    if let Some(leaving) = &mut EVICTED.lock().leaving {
        leaving.remove(entity);
    }
}

/// This node has another role: what its primary's keys lacked is written by this one.
pub(crate) fn role_changed(st: &State) {
    let leaving = EVICTED.lock().leaving.take();
    if !st.replica && leaving.is_some_and(|l| !l.is_empty()) && !slot::in_cluster() {
        super::save_later();
    }
}
