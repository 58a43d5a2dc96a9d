//! The server's lock: commands, callbacks and events run on the main thread, which holds it; workers take it for moments.

use crate::server::valkey::ffi::{rm, Ctx};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

static DETACHED: AtomicPtr<redis_module::raw::RedisModuleCtx> = AtomicPtr::new(ptr::null_mut());

/// Remembers the module's own context; once, while loading.
pub(crate) fn init(ctx: Ctx) {
    let detached = rm!(RedisModule_GetDetachedThreadSafeContext(ctx));
    DETACHED.store(detached, Ordering::Release);
}

/// The module's own context: for the log, and for work under the lock.
pub(crate) fn detached() -> Ctx {
    DETACHED.load(Ordering::Acquire)
}

/// The server's lock, held by a worker. Never taken while holding a mutex that the main thread takes too.
pub(crate) struct Held {
    ctx: Ctx,
}

/// Takes the server's lock, in database 0.
pub(crate) fn lock() -> Held {
    let ctx = detached();
    rm!(RedisModule_ThreadSafeContextLock(ctx));
    rm!(RedisModule_SelectDb(ctx, 0));
    Held { ctx }
}

impl Held {
    pub(crate) fn ctx(&self) -> Ctx {
        self.ctx
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        rm!(RedisModule_ThreadSafeContextUnlock(self.ctx));
    }
}

/// How many writes of our own are under way, one inside the other.
struct OwnWrites(Cell<u32>);
// SAFETY: touched only by the thread that holds the server's lock.
unsafe impl Sync for OwnWrites {}
static OWN_WRITES: OwnWrites = OwnWrites(Cell::new(0));

/// Runs `f`, whose writes are ours: the events they raise tell us nothing.
pub(crate) fn own_write<R>(f: impl FnOnce() -> R) -> R {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            OWN_WRITES.0.set(OWN_WRITES.0.get().saturating_sub(1));
        }
    }
    OWN_WRITES.0.set(OWN_WRITES.0.get() + 1);
    let _done = Done;
    f()
}

/// Is the event that is being raised of our own making?
pub(crate) fn is_own_write() -> bool {
    OWN_WRITES.0.get() > 0
}
