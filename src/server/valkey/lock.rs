//! The server's lock, and what may only be touched under it.
//!
//! Commands, callbacks and events run on the main thread, which holds the lock; workers take it for moments. State that
//! belongs to the lock lives in one cell. While a piece of code is inside that cell, keyspace events of our own making are
//! ignored and others are kept aside until it leaves, so that nobody ever meets the state half-changed.

use crate::server::state::entities::State;
use crate::server::valkey::ffi::{rm, Ctx};
use std::cell::{Cell, RefCell, UnsafeCell};
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

/// A keyspace event that arrived while somebody was inside the state.
pub(crate) struct Deferred {
    pub(crate) event: crate::server::events::Event,
    pub(crate) key: Vec<u8>,
}

struct Room {
    state: UnsafeCell<State>,
    inside: Cell<bool>,
    own_writes: Cell<u32>,
    deferred: RefCell<Vec<Deferred>>,
}
// SAFETY: every field is touched only by the thread that holds the server's lock.
unsafe impl Sync for Room {}

static ROOM: once_cell::sync::Lazy<Room> = once_cell::sync::Lazy::new(|| Room {
    state: UnsafeCell::new(State::default()),
    inside: Cell::new(false),
    own_writes: Cell::new(0),
    deferred: RefCell::new(Vec::new()),
});

struct Leave;
impl Drop for Leave {
    fn drop(&mut self) {
        ROOM.inside.set(false);
    }
}

/// Runs `f` on the state. Only while the server's lock is held: in a callback of the server, or under [`lock`].
/// A call from inside (a bug) is refused by returning `None`.
#[inline]
pub(crate) fn enter<R>(f: impl FnOnce(&mut State) -> R) -> Option<R> {
    let room = &*ROOM;
    if room.inside.replace(true) {
        return None;
    }
    let _leave = Leave;
    // SAFETY: the lock is held and `inside` was false: nobody else has a reference.
    let state = unsafe { &mut *room.state.get() };
    let r = f(state);
    if !room.deferred.borrow().is_empty() {
        for d in room.deferred.take() {
            // What expired while it was being written anew is there again.
            if d.event == crate::server::events::Event::New
                || !crate::server::events::is_there(&d.key)
            {
                crate::server::events::apply(state, &d.event, &d.key);
            }
        }
    }
    Some(r)
}

/// Runs `f`, whose writes are ours: the events they raise tell us nothing.
pub(crate) fn own_write<R>(f: impl FnOnce() -> R) -> R {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            ROOM.own_writes.set(ROOM.own_writes.get().saturating_sub(1));
        }
    }
    ROOM.own_writes.set(ROOM.own_writes.get() + 1);
    let _done = Done;
    f()
}

/// Is the event that is being raised of our own making?
pub(crate) fn is_own_write() -> bool {
    ROOM.own_writes.get() > 0
}

/// Keeps an event for when the state is free; false if it is free now.
pub(crate) fn defer(event: crate::server::events::Event, key: &[u8]) -> bool {
    if !ROOM.inside.get() {
        return false;
    }
    ROOM.deferred.borrow_mut().push(Deferred {
        event,
        key: key.to_vec(),
    });
    true
}
