//! A client that is kept waiting: answered exactly once, whatever happens.

use crate::server::valkey::ffi::{rm, Argv, Ctx};
use crate::server::valkey::lock;
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::tracking;
use parking_lot::Mutex;
use redis_module::raw;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::Arc;

/// Makes the reply of a command whose deadline passed, or that was unblocked by somebody. On the main thread.
pub(crate) type Late = Box<dyn FnOnce(Ctx) -> Body + Send>;

struct Client(*mut raw::RedisModuleBlockedClient);
// SAFETY: RM_UnblockClient, the only call made with it off the main thread, may be made from any thread.
unsafe impl Send for Client {}

/// Clients kept waiting.
pub(crate) static BLOCKED: AtomicI64 = AtomicI64::new(0);
/// Clients woken whose replies the main thread has not written yet.
pub(crate) static WAKING: AtomicI64 = AtomicI64::new(0);

/// Somebody gave up waiting since it was last asked.
static LEFT: AtomicBool = AtomicBool::new(false);

/// Did a client's deadline pass, or did one go away, since this was last asked?
pub(crate) fn somebody_left() -> bool {
    LEFT.swap(false, Ordering::Relaxed)
}

/// A client that waits, or nobody (NOWAIT, a refresh).
#[derive(Default)]
pub(crate) struct Blocked {
    client: Mutex<Option<Client>>,
    /// Set once, when the reply is decided.
    reply: Mutex<Option<Body>>,
    done: AtomicBool,
    /// It is counted among those that wait.
    counted: AtomicBool,
    /// What is replied when the deadline passes.
    late: Mutex<Option<Late>>,
    /// The keys that a tracking client waits for.
    tracked: Mutex<Vec<Arc<[u8]>>>,
}

impl Blocked {
    /// Keeps the client of this command waiting. `None`: it cannot be; the caller answers.
    pub(crate) fn block(ctx: Ctx, timeout_ms: i64) -> Option<Arc<Blocked>> {
        let bc = rm!(RedisModule_BlockClient(
            ctx,
            Some(on_reply),
            Some(on_timeout),
            Some(on_free),
            timeout_ms
        ));
        if bc.is_null() {
            return None;
        }
        let client = Arc::new(Blocked::default());
        *client.client.lock() = Some(Client(bc));
        client.counted.store(true, Ordering::Relaxed);
        BLOCKED.fetch_add(1, Ordering::Relaxed);
        let held = Arc::into_raw(client.clone()) as *mut c_void;
        rm!(RedisModule_BlockClientSetPrivateData(bc, held));
        rm!(RedisModule_SetDisconnectCallback(bc, Some(on_disconnect)));
        Some(client)
    }
    /// Says what to reply when the deadline passes. Before the command returns.
    pub(crate) fn when_late(&self, late: Late) {
        *self.late.lock() = Some(late);
    }
    /// A tracking client waits for these keys until it is replied. Those to be signalled now are returned; see [`tracking::wait`].
    pub(crate) fn track(&self, keys: Vec<Arc<[u8]>>, signalled: bool) -> Vec<Arc<[u8]>> {
        let begun = tracking::wait(&keys, signalled);
        self.tracked.lock().extend(keys);
        begun
    }
    /// Is there a client?
    pub(crate) fn attended(&self) -> bool {
        self.client.lock().is_some()
    }
    /// The client waits no longer: it was answered, or it is gone, however long the work goes on that it waited for.
    fn leave(&self) {
        if self.counted.swap(false, Ordering::Relaxed) {
            BLOCKED.fetch_sub(1, Ordering::Relaxed);
        }
    }
    /// Is it answered already (by a timeout, say)?
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }
    /// As [`finish`](Self::finish), from a worker that does not hold the server's lock: it writes a long reply itself, beside
    /// the client, to whose replies the server then only adds it.
    pub(crate) fn finish_aside(&self, body: Body) {
        if !body.is_long() || self.is_done() {
            return self.finish(body);
        }
        let Some(Client(bc)) = self.client.lock().take() else {
            return self.finish(body);
        };
        // Made under the lock, for the client may go away.
        let aside = {
            let _held = lock::lock();
            rm!(RedisModule_GetThreadSafeContext(bc))
        };
        body.send(aside);
        {
            let _held = lock::lock();
            rm!(RedisModule_FreeThreadSafeContext(aside));
        }
        *self.client.lock() = Some(Client(bc));
        self.finish(Body::Written);
    }
    /// Decides the reply; the first one counts. The client is woken; a client that is gone is let go.
    pub(crate) fn finish(&self, body: Body) {
        {
            let mut reply = self.reply.lock();
            if reply.is_none() {
                *reply = Some(body.seal());
            }
        }
        self.done.store(true, Ordering::Release);
        if let Some(Client(bc)) = self.client.lock().take() {
            let held = self as *const Blocked as *mut c_void;
            WAKING.fetch_add(1, Ordering::Relaxed);
            rm!(RedisModule_UnblockClient(bc, held));
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Reached only if nobody waits any more: the client's own reference keeps one that waits alive.
        debug_assert!(self.client.lock().is_none());
    }
}

/// Answers a client whose answer was dropped (by a panic).
pub(crate) struct Answered(pub(crate) Arc<Blocked>);
impl Drop for Answered {
    fn drop(&mut self) {
        if !self.0.is_done() && std::thread::panicking() {
            self.0.finish(Body::error(
                "ERR internal error: the fetch was dropped; ask again",
            ));
        }
    }
}

unsafe extern "C" fn on_reply(ctx: Ctx, _: Argv, _: c_int) -> c_int {
    let p = rm!(RedisModule_GetBlockedClientPrivateData(ctx)) as *const Blocked;
    if p.is_null() {
        return reply::error(ctx, "ERR internal error: a reply was lost");
    }
    let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let reply = (*p).reply.lock().take();
        match reply {
            Some(b) => b.send(ctx),
            None => reply::error(ctx, "ERR internal error: a reply was lost"),
        }
    }));
    r.unwrap_or(0)
}

unsafe extern "C" fn on_timeout(ctx: Ctx, _: Argv, _: c_int) -> c_int {
    let p = rm!(RedisModule_GetBlockedClientPrivateData(ctx)) as *const Blocked;
    let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        if p.is_null() {
            return reply::error(ctx, "UPSTREAMTIMEOUT no answer in time");
        }
        (*p).done.store(true, Ordering::Release);
        (*p).leave();
        LEFT.store(true, Ordering::Relaxed);
        let late = (*p).late.lock().take();
        match late {
            Some(late) => late(ctx).send(ctx),
            None => reply::error(ctx, "UPSTREAMTIMEOUT no answer in time"),
        }
    }));
    r.unwrap_or(0)
}

/// The client went away: nobody reads the reply.
unsafe extern "C" fn on_disconnect(ctx: Ctx, _: *mut raw::RedisModuleBlockedClient) {
    let p = rm!(RedisModule_GetBlockedClientPrivateData(ctx)) as *const Blocked;
    if !p.is_null() {
        (*p).done.store(true, Ordering::Release);
        (*p).leave();
        LEFT.store(true, Ordering::Relaxed);
    }
}

unsafe extern "C" fn on_free(_: Ctx, data: *mut c_void) {
    WAKING.fetch_sub(1, Ordering::Relaxed);
    if !data.is_null() {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let op = Arc::from_raw(data as *const Blocked);
            op.leave();
            let tracked = std::mem::take(&mut *op.tracked.lock());
            tracking::replied(tracked);
        }));
    }
}
