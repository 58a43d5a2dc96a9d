//! Records that clients told: after a data set was loaded, or another server's taken over, they are looked up in the keyspace,
//! in slices, before a set is asked for.

use crate::server::desk;
use crate::server::state::cell;
use crate::server::state::entities::{EntityIx, State};
use crate::server::store::told::{note_copy, LOST};
use crate::server::valkey::ffi::{self, rm, Ctx};
use crate::server::valkey::lock;
use parking_lot::Mutex;
use podium_core::key::{self, Name};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

/// Places of the keyspace looked at per hold of the lock.
const STEPS: usize = 200;

/// One at a time, whoever asks. Not held by who holds the server's lock.
static TURN: Mutex<()> = Mutex::new(());

static BEGUN: AtomicBool = AtomicBool::new(false);

/// Begins to look up what was told, should that be needed, on a thread of its own. Now and then, under the server's lock.
pub(crate) fn look_up_soon(st: &mut State, ctx: Ctx) {
    let all: Vec<EntityIx> = st.entities().map(|e| e.ix).collect();
    for ix in all {
        look_at_arrived(st, ctx, ix);
    }
    let needed = !st.replica && !st.loading && st.entities().any(|e| !e.records.told_is_complete());
    if needed && !BEGUN.swap(true, Ordering::Relaxed) {
        let begun = desk::background("podium-told", || {
            look_up();
            BEGUN.store(false, Ordering::Relaxed);
        });
        if begun.is_err() {
            BEGUN.store(false, Ordering::Relaxed);
        }
    }
}

/// Every told record of the entity is in the register when this returns. Not on the main thread, and without its lock.
pub(crate) fn complete(ix: EntityIx) {
    let known = cell::with(|st, _| st.get(ix).is_none_or(|e| e.records.told_is_complete()));
    if known == Some(false) {
        look_up();
    }
    loop {
        if cell::with(|st, ctx| look_at_arrived(st, ctx, ix)) != Some(true) {
            return;
        }
    }
}

/// Looks at some of what others put there; true if there may be more.
fn look_at_arrived(st: &mut State, ctx: Ctx, ix: EntityIx) -> bool {
    let arrived = st.get_mut(ix).map(|e| e.records.take_arrived(STEPS));
    let arrived = arrived.unwrap_or_default();
    arrived.iter().for_each(|id| note_copy(st, ctx, ix, id));
    !arrived.is_empty()
}

fn look_up() {
    let _turn = TURN.lock();
    while !desk::stopping() {
        let lost = LOST.load(Ordering::Relaxed);
        let cursor = Cursor(rm!(RedisModule_ScanCursorCreate()));
        loop {
            let held = lock::lock();
            if LOST.load(Ordering::Relaxed) != lost {
                // What was found so far is lost again.
                break;
            }
            let over = cell::enter(|st| {
                if st.entities().all(|e| e.records.told_is_complete()) {
                    return true;
                }
                let slice = lock::Slice::begin();
                let more = (0..STEPS).all(|_| slice.over() || step(st, held.ctx(), &cursor));
                if !more {
                    st.entities_mut().for_each(|e| e.records.found_all_told());
                }
                !more
            });
            if over != Some(false) {
                return;
            }
            drop(held);
            if desk::stopping() {
                return;
            }
        }
    }
}

struct Cursor(*mut redis_module::raw::RedisModuleScanCursor);

impl Drop for Cursor {
    fn drop(&mut self) {
        rm!(RedisModule_ScanCursorDestroy(self.0));
    }
}

/// One step through the keyspace; false at its end.
fn step(st: &mut State, ctx: Ctx, cursor: &Cursor) -> bool {
    unsafe extern "C" fn visit(
        _: Ctx,
        name: ffi::RawString,
        _: *mut redis_module::raw::RedisModuleKey,
        names: *mut c_void,
    ) {
        (*(names as *mut Vec<Vec<u8>>)).push(ffi::bytes(name).to_vec());
    }
    let mut names: Vec<Vec<u8>> = Vec::new();
    let more = rm!(RedisModule_Scan(
        ctx,
        cursor.0,
        Some(visit),
        &mut names as *mut Vec<Vec<u8>> as *mut c_void
    ));
    for name in names {
        if let Some(Name::Record { entity, id }) = key::parse(&name) {
            let open = st.by_name(entity).filter(|e| !e.records.told_is_complete());
            if let Some(ix) = open.map(|e| e.ix) {
                note_copy(st, ctx, ix, id);
            }
        }
    }
    more != 0
}
