//! Keys of ours that the server evicted. They are written anew, but no more than once a second each: where nothing else is left
//! to evict, every key written is the next to go, and the server would do nothing else. Until then the truth is in memory; a
//! restart in that second finds no spec, and with it no copy that could be wrong.

use crate::server::desk::budget;
use crate::server::feed;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::store::change;
use crate::server::store::own_keys::{evicted as keys, save_doubts, save_spec, DOUBT, SPEC};
use crate::server::store::resources::{self, RESOURCE};
use crate::server::valkey::ffi::{self, rm, Ctx};
use podium_core::key;
use std::ffi::c_void;

/// A key of ours was evicted: it is written anew right behind that, in the same atomic unit, or by upkeep.
pub(crate) fn evicted(ctx: Ctx, name: &[u8]) {
    let at_once = {
        let mut e = keys::evicted();
        e.missing().insert(name.to_vec());
        e.may_write(name, clock::mono_ms())
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
                cell::enter(|st| {
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
    let now = clock::mono_ms();
    if st.replica || st.loading || !ffi::removable(ctx) {
        return;
    }
    {
        let mut e = keys::evicted();
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
    } else if let Some(resource) = key::own_entity(name, RESOURCE) {
        resources::save(ctx, st, resource);
    } else if name.starts_with(b"podium:budget") {
        budget::lost();
    } else {
        feed::save_key(ctx, st, name);
    }
}

/// The doubts of an entity cannot be kept now: neither are its sets.
fn drop_undoubted(ctx: Ctx, st: &mut State, name: &[u8]) {
    let Some(ix) = key::own_entity(name, DOUBT).and_then(|e| st.by_name(e).map(|e| e.ix)) else {
        return;
    };
    if keys::evicted().missing().remove(name) {
        change::sets(st, ctx, ix);
    }
}

/// From upkeep: what was evicted is written anew, and entities of a replica whose spec did not come back are over.
pub(crate) fn tick(ctx: Ctx, st: &mut State) {
    let now = clock::mono_ms();
    let (missing, over) = {
        let mut e = keys::evicted();
        e.written()
            .retain(|_, at| now.saturating_sub(*at) < keys::PACE_MS);
        let missing: Vec<Vec<u8>> = e.missing().iter().cloned().collect();
        let mut over = Vec::new();
        e.leaving.get_or_insert_default().retain(|entity, since| {
            let stays = now.saturating_sub(*since) < keys::GRACE_MS;
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
        change::entity_removed(st, &entity);
    }
}
