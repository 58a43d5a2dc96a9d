//! The server's lock: commands, callbacks and events run on the main thread, which holds it; workers take it for moments.

use crate::server::valkey::ffi::{rm, Ctx};
use parking_lot::{Mutex, MutexGuard};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

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

/// How long a slice may take: what is done in slices looks at the clock after each step.
const SLICE: Duration = Duration::from_micros(300);
/// A thread that held the lock so long, all holds in quick succession taken together, lets the others in first.
const BURST: Duration = Duration::from_micros(200);
/// Who is woken by the lock needs so long to take it.
const BREATH: Duration = Duration::from_micros(100);

/// A piece of work under the server's lock that is large on the whole: done step by step until this is over.
pub(crate) struct Slice(Instant);

impl Slice {
    pub(crate) fn begin() -> Slice {
        Slice(Instant::now())
    }
    pub(crate) fn over(&self) -> bool {
        self.0.elapsed() >= SLICE
    }
}

/// One worker at a time asks for the server's lock, so that the main thread waits for one slice at most: the lock itself is
/// not fair. A leaf on the way in: who waits for it holds nothing.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// When this thread last left the lock, and how long it held it since it last let the others in.
    static LEFT: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// Who waits for the lock is woken when it is left, and would find it taken again.
fn let_others_in() -> Duration {
    let Some((left, held)) = LEFT.get() else {
        return Duration::ZERO;
    };
    if left.elapsed() >= BREATH {
        return Duration::ZERO;
    }
    if held < BURST {
        return held;
    }
    std::thread::sleep(BREATH);
    Duration::ZERO
}

/// The server's lock, held by a worker. Never taken while holding a mutex that the main thread takes too.
pub(crate) struct Held {
    ctx: Ctx,
    since: Instant,
    /// For how long this thread held it just before.
    before: Duration,
    /// Given back after the lock.
    _turn: MutexGuard<'static, ()>,
}

/// Takes the server's lock, in database 0.
pub(crate) fn lock() -> Held {
    let before = let_others_in();
    let turn = TURN.lock();
    let ctx = detached();
    rm!(RedisModule_ThreadSafeContextLock(ctx));
    rm!(RedisModule_SelectDb(ctx, 0));
    Held {
        ctx,
        since: Instant::now(),
        before,
        _turn: turn,
    }
}

impl Held {
    pub(crate) fn ctx(&self) -> Ctx {
        self.ctx
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let now = Instant::now();
        rm!(RedisModule_ThreadSafeContextUnlock(self.ctx));
        LEFT.set(Some((now, self.before + now.duration_since(self.since))));
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
