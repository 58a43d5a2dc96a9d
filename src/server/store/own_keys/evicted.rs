//! Which keys of ours the server evicted, and when each was written anew (`upkeep/evicted` does).

use crate::server::state::clock::mono_ms;
use crate::server::state::entities::State;
use crate::server::valkey::ffi::slot;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, MutexGuard};

/// A key is written anew at most so often, ms.
pub(crate) const PACE_MS: u64 = 1_000;
/// A replica whose primary evicted a spec knows the entity so long without its key, ms.
pub(crate) const GRACE_MS: u64 = 5_000;

#[derive(Default)]
pub(crate) struct Evicted {
    /// When each was written anew last, in the engine's ms.
    written: Option<HashMap<Vec<u8>, u64>>,
    /// Those that are not there.
    missing: Option<HashSet<Vec<u8>>>,
    /// On a replica: entities whose spec went without their primary saying that they are over, and since when.
    pub(crate) leaving: Option<HashMap<String, u64>>,
}

/// Under the server's lock, as all that it speaks of.
static EVICTED: Mutex<Evicted> = Mutex::new(Evicted {
    written: None,
    missing: None,
    leaving: None,
});

/// Held for moments.
pub(crate) fn evicted() -> MutexGuard<'static, Evicted> {
    EVICTED.lock()
}

impl Evicted {
    pub(crate) fn missing(&mut self) -> &mut HashSet<Vec<u8>> {
        self.missing.get_or_insert_default()
    }
    pub(crate) fn written(&mut self) -> &mut HashMap<Vec<u8>, u64> {
        self.written.get_or_insert_default()
    }
    pub(crate) fn may_write(&mut self, name: &[u8], now: u64) -> bool {
        let at = self.written().get(name);
        at.is_none_or(|at| now.saturating_sub(*at) >= PACE_MS)
    }
}

/// Is this key of ours missing because it was evicted? What is to be changed in it is written with all the rest.
pub(crate) fn is_missing(name: &[u8]) -> bool {
    let e = EVICTED.lock();
    e.missing.as_ref().is_some_and(|m| m.contains(name))
}

/// This key was written whole.
pub(crate) fn is_there(name: &[u8]) {
    EVICTED.lock().missing().remove(name);
}

/// Everything was written, or another data set is there.
pub(crate) fn all_there() {
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
pub(crate) fn spec_came(entity: &str) {
    if let Some(leaving) = &mut EVICTED.lock().leaving {
        leaving.remove(entity);
    }
}

/// This node has another role: what its primary's keys lacked is written by this one.
pub(crate) fn role_changed(st: &State) {
    let leaving = EVICTED.lock().leaving.take();
    if !st.replica && leaving.is_some_and(|l| !l.is_empty()) && !slot::in_cluster() {
        crate::server::store::own_keys::save_later();
    }
}
