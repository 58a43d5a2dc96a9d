//! The state's cell: what may only be touched under the server's lock, by one piece of code at a time.
//!
//! While a piece of code is inside, keyspace events of our own making are ignored and others are kept aside until it
//! leaves, so that nobody ever meets the state half-changed.

use crate::server::state::entities::State;
use crate::server::valkey::ffi::Ctx;
use crate::server::valkey::lock;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::ops::ControlFlow;

/// A keyspace event that matters to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A key came to be.
    New,
    /// A user took it away: a change.
    Removed,
    /// The server took it away: no change, only no copy.
    Gone,
    /// A hash was written.
    Written,
    /// A value that was there already was written, or its key got another end.
    Touched,
}

/// Takes note of an event that was kept aside, once the state is free.
pub(crate) type Register = fn(&mut State, &Event, &[u8]);

/// Says who takes note of events that were kept aside. Once, while loading.
pub(crate) fn register_by(register: Register) {
    ROOM.register.set(register);
}

/// A keyspace event that arrived while somebody was inside the state.
struct Deferred {
    event: Event,
    key: Vec<u8>,
}

struct Room {
    state: UnsafeCell<State>,
    inside: Cell<bool>,
    deferred: RefCell<Vec<Deferred>>,
    register: Cell<Register>,
}
// SAFETY: every field is touched only by the thread that holds the server's lock.
unsafe impl Sync for Room {}

static ROOM: once_cell::sync::Lazy<Room> = once_cell::sync::Lazy::new(|| Room {
    state: UnsafeCell::new(State::default()),
    inside: Cell::new(false),
    deferred: RefCell::new(Vec::new()),
    register: Cell::new(|_, _, _| ()),
});

struct Leave;
impl Drop for Leave {
    fn drop(&mut self) {
        ROOM.inside.set(false);
    }
}

/// Runs `f` on the state. Only while the server's lock is held: in a callback of the server, or under its lock
/// ([`with`] takes it).
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
            (room.register.get())(state, &d.event, &d.key);
        }
    }
    Some(r)
}

/// Takes the server's lock and runs `f` on the state, with the module's context. From a thread that holds neither the lock
/// nor a mutex that the main thread takes too; `f` is a slice, well under a millisecond.
pub(crate) fn with<R>(f: impl FnOnce(&mut State, Ctx) -> R) -> Option<R> {
    let held = lock::lock();
    enter(|st| f(st, held.ctx()))
}

/// Runs `each` on one item after the other, in slices of the server's lock; as [`with`] otherwise. It stops when `each` says
/// so, or at a bug.
pub(crate) fn in_slices<T>(
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut State, Ctx, T) -> ControlFlow<()>,
) {
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        let slice = |st: &mut State, ctx: Ctx| {
            let slice = lock::Slice::begin();
            for item in items.by_ref() {
                each(st, ctx, item)?;
                if slice.over() {
                    break;
                }
            }
            ControlFlow::Continue(())
        };
        if with(slice) != Some(ControlFlow::Continue(())) {
            return;
        }
    }
}

/// Keeps an event for when the state is free; false if it is free now.
pub(crate) fn defer(event: Event, key: &[u8]) -> bool {
    if !ROOM.inside.get() {
        return false;
    }
    ROOM.deferred.borrow_mut().push(Deferred {
        event,
        key: key.to_vec(),
    });
    true
}
