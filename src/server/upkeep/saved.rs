//! What is kept in our own keys is written anew when it was lost or could not be written, and left to the node that owns it.

use crate::server::desk::budget;
use crate::server::feed;
use crate::server::state::entities::State;
use crate::server::store::own_keys::{clear_doubts, evicted, save_doubts, save_spec, UNSAVED};
use crate::server::store::resources;
use crate::server::upkeep::slots;
use crate::server::valkey::ffi::{self, rm, Ctx};
use std::ffi::c_void;
use std::sync::atomic::Ordering;

/// Writes everything anew (after FLUSHALL, or when an earlier write was not allowed).
pub(crate) fn save_all(ctx: Ctx, st: &State) {
    if st.replica || st.loading {
        return;
    }
    UNSAVED.store(false, Ordering::Relaxed);
    budget::lost();
    evicted::all_there();
    for e in st.entities() {
        save_spec(ctx, e);
        clear_doubts(ctx, e);
        save_doubts(ctx, e);
    }
    for name in st.resources.names() {
        resources::save(ctx, st, name);
    }
    feed::save_all(ctx, st);
}

/// Rewrites the keys right behind the event that took them away, in the same atomic unit.
pub(crate) fn save_soon(ctx: Ctx) {
    unsafe extern "C" fn job(ctx: Ctx, _: *mut c_void) {
        let _ = std::panic::catch_unwind(|| {
            crate::server::state::cell::enter(|st| {
                save_all(ctx, st);
                slots::clear_marks(ctx, st);
            })
        });
    }
    if rm!(RedisModule_AddPostNotificationJob(
        ctx,
        Some(job),
        std::ptr::null_mut(),
        None
    )) != ffi::OK
    {
        UNSAVED.store(true, Ordering::Relaxed);
    }
}
