//! Right behind a change, in the same atomic unit: what it threw away must not come back with the next process.
//!
//! A few keys are deleted at once, with the command that threw the answers away. Where there are more, it is written down that not
//! all stored answers hold, until the thread has deleted them: a process that starts in between believes none that is older.

use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::store::answers::{a_rest_is_stored, delete_some};
use crate::server::store::{change, cluster, resources};
use crate::server::valkey::ffi::{self, rm, Ctx};
use crate::server::valkey::lock;
use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keys deleted with the command.
const AT_ONCE: usize = 20;

/// It is to be done when the command, or the hold of the lock, is over.
static DUE: AtomicBool = AtomicBool::new(false);

/// Has it done.
pub(crate) fn soon() {
    if DUE.swap(true, Ordering::Relaxed) {
        return;
    }
    let added = rm!(RedisModule_AddPostNotificationJob(
        lock::detached(),
        Some(job),
        ptr::null_mut(),
        None
    ));
    if added != ffi::OK {
        DUE.store(false, Ordering::Relaxed);
    }
}

unsafe extern "C" fn job(ctx: Ctx, _: *mut c_void) {
    DUE.store(false, Ordering::Relaxed);
    let _ = catch_unwind(AssertUnwindSafe(|| {
        rm!(RedisModule_SelectDb(ctx, 0));
        cell::enter(|st| act(st, ctx));
    }));
}

fn act(st: &mut State, ctx: Ctx) {
    if st.replica || st.loading {
        return;
    }
    for (ix, id) in std::mem::take(&mut st.answers.removed) {
        let seq = clock::next();
        change::doubt(st, ctx, ix, &id, seq, seq);
    }
    cluster::answers::say_all(st, ctx);
    delete_some(st, ctx, AT_ONCE);
    if a_rest_is_stored(st) {
        resources::are_unsure(st, ctx, clock::next());
    }
}
