//! A client that waits, and what has been brought for it so far.

use crate::server::desk::{Passenger, Relied};
use crate::server::state::entities::EntityIx;
use crate::server::state::query::{Ask, Options, Query};
use crate::server::valkey::ffi::{rm, Ctx};
use crate::server::valkey::reply::Body;
use crate::server::valkey::tracking;
use compact_str::CompactString;
use hashbrown::HashMap;
use parking_lot::Mutex;
use podium_core::spec::Spec;
use redis_module::raw;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::Arc;

use crate::server::upstream::fault::Fault;

/// One call to Airtable, counted in the first reply that it was made for.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    claimed: AtomicBool,
    calls: u32,
}

impl Ticket {
    pub(crate) fn new(calls: u32) -> Arc<Ticket> {
        Arc::new(Ticket {
            claimed: AtomicBool::new(false),
            calls,
        })
    }
    pub(crate) fn claim(&self) -> u32 {
        if self.claimed.swap(true, Ordering::Relaxed) {
            0
        } else {
            self.calls
        }
    }
}

/// What a fetch says of one record.
#[derive(Clone)]
pub(crate) enum Seen {
    /// The encoded entry, and the spec that shaped it.
    Found(Arc<[u8]>, Arc<Spec>),
    /// It is not in Airtable; for how long that holds, unix ms.
    Gone(u64),
    Failed(Fault),
}

/// A record that landed.
pub(crate) struct LandedRecord {
    pub(crate) seen: Seen,
    /// The number it was sent under.
    pub(crate) sent: u64,
    pub(crate) asked_ms: u64,
    pub(crate) stored: bool,
    pub(crate) ticket: Arc<Ticket>,
}

/// An index question that landed.
pub(crate) struct LandedQuestion {
    /// The records that match, by their own cells.
    pub(crate) records: Result<HashMap<CompactString, Arc<[u8]>>, Fault>,
    /// Those that belong, or may, and cannot be read.
    pub(crate) damaged: HashMap<CompactString, Fault>,
    /// Something came that does not say which record it is.
    pub(crate) nameless: bool,
    pub(crate) spec: Arc<Spec>,
    pub(crate) sent: u64,
    pub(crate) asked_ms: u64,
    pub(crate) fresh_until: u64,
    pub(crate) stored: bool,
    pub(crate) ticket: Arc<Ticket>,
    /// Its number is given back with it.
    pub(crate) _relied: Relied,
}

/// Everything brought for one reader.
#[derive(Default)]
pub(crate) struct Brought {
    pub(crate) records: HashMap<(EntityIx, CompactString), Arc<LandedRecord>>,
    pub(crate) questions: HashMap<(EntityIx, Arc<[u8]>), Arc<LandedQuestion>>,
    /// Calls that count for this reply, by the record (or, for questions, the entity) they were made for.
    pub(crate) hits: HashMap<(EntityIx, CompactString), u32>,
    pub(crate) hits_total: u32,
    /// It waited for a fetch that somebody else had begun.
    pub(crate) collapsed: bool,
    pub(crate) led: bool,
    /// The change feed was heard for this reader, or could not be.
    pub(crate) heard: bool,
    /// The base's schema was read for this reader, or could not be.
    pub(crate) learned: bool,
}

#[derive(Default)]
struct Inner {
    brought: Brought,
    outstanding: u32,
    rounds: u32,
    /// Set once, when the reply is decided.
    reply: Option<Body>,
}

/// A read under way.
pub(crate) struct Op {
    pub(crate) query: Query,
    /// Its place in the order of sends and changes.
    pub(crate) asked: u64,
    /// Unix ms.
    pub(crate) asked_ms: u64,
    client: Mutex<Option<Client>>,
    inner: Mutex<Inner>,
    done: AtomicBool,
    /// It is counted among those that wait.
    counted: AtomicBool,
    /// What is replied when the deadline passes, where that is not a matter of what is cached.
    late: Mutex<Option<Late>>,
    /// The keys that a tracking client waits for.
    tracked: Mutex<Vec<Arc<[u8]>>>,
}

/// Makes the reply of a command whose deadline passed.
pub(crate) type Late = Box<dyn FnOnce() -> Body + Send>;

struct Client(*mut raw::RedisModuleBlockedClient);
// SAFETY: RM_UnblockClient, the only call made with it off the main thread, may be made from any thread.
unsafe impl Send for Client {}

/// Clients kept waiting.
pub(crate) static BLOCKED: AtomicI64 = AtomicI64::new(0);
/// Clients woken whose replies the main thread has not written yet.
pub(crate) static WAKING: AtomicI64 = AtomicI64::new(0);

impl Op {
    /// A read nobody waits for (NOWAIT, a refresh).
    pub(crate) fn unattended(query: Query, asked: u64, asked_ms: u64) -> Arc<Op> {
        Arc::new(Op {
            query,
            asked,
            asked_ms,
            client: Mutex::new(None),
            inner: Mutex::new(Inner::default()),
            done: AtomicBool::new(false),
            counted: AtomicBool::new(false),
            late: Mutex::new(None),
            tracked: Mutex::default(),
        })
    }
    /// Keeps the client of this command waiting. `None`: it cannot be; the caller answers.
    pub(crate) fn block(
        ctx: Ctx,
        query: Query,
        asked: u64,
        asked_ms: u64,
        timeout_ms: i64,
    ) -> Option<Arc<Op>> {
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
        let op = Op::unattended(query, asked, asked_ms);
        *op.client.lock() = Some(Client(bc));
        op.counted.store(true, Ordering::Relaxed);
        BLOCKED.fetch_add(1, Ordering::Relaxed);
        let held = Arc::into_raw(op.clone()) as *mut c_void;
        rm!(RedisModule_BlockClientSetPrivateData(bc, held));
        rm!(RedisModule_SetDisconnectCallback(bc, Some(on_disconnect)));
        Some(op)
    }
    /// Keeps the client of a command that reads nothing from the cache waiting. `None`: it cannot be; the caller answers.
    pub(crate) fn keep(ctx: Ctx, timeout_ms: i64) -> Option<Arc<Op>> {
        let query = Query {
            ask: Ask::Many(Vec::new()),
            options: Options::default(),
        };
        Op::block(
            ctx,
            query,
            0,
            crate::server::valkey::ffi::now_ms(),
            timeout_ms,
        )
    }
    /// Says what to reply when the deadline passes. Before the command returns.
    pub(crate) fn when_late(&self, late: Late) {
        *self.late.lock() = Some(late);
    }
    pub(crate) fn take_late(&self) -> Option<Late> {
        self.late.lock().take()
    }
    /// A tracking client waits for these keys until it is replied. Those to be signalled now are returned; see [`tracking::wait`].
    pub(crate) fn track(&self, keys: Vec<Arc<[u8]>>, signalled: bool) -> Vec<Arc<[u8]>> {
        let begun = tracking::wait(&keys, signalled);
        self.tracked.lock().extend(keys);
        begun
    }
    pub(crate) fn attended(&self) -> bool {
        self.client.lock().is_some()
    }
    /// One more thing to wait for.
    pub(crate) fn expect(&self, n: u32) {
        self.inner.lock().outstanding += n;
    }
    /// Something landed; true if nothing is outstanding any more.
    pub(crate) fn record(
        &self,
        ix: EntityIx,
        id: &CompactString,
        landed: &Arc<LandedRecord>,
        p: &Passenger,
    ) -> bool {
        let mut i = self.inner.lock();
        if p.led {
            i.brought.led = true;
            let n = landed.ticket.claim() + p.claim_spent();
            *i.brought.hits.entry((ix, id.clone())).or_insert(0) += n;
            i.brought.hits_total += n;
        } else {
            i.brought.collapsed = true;
        }
        i.brought.records.insert((ix, id.clone()), landed.clone());
        i.outstanding = i.outstanding.saturating_sub(1);
        i.outstanding == 0
    }
    pub(crate) fn question(
        &self,
        ix: EntityIx,
        suffix: &Arc<[u8]>,
        landed: &Arc<LandedQuestion>,
        p: &Passenger,
    ) -> bool {
        let mut i = self.inner.lock();
        if p.led {
            i.brought.led = true;
            i.brought.hits_total += landed.ticket.claim();
        } else {
            i.brought.collapsed = true;
        }
        i.brought
            .questions
            .insert((ix, suffix.clone()), landed.clone());
        i.outstanding = i.outstanding.saturating_sub(1);
        i.outstanding == 0
    }
    /// The change feed was heard; true if nothing is outstanding any more.
    pub(crate) fn heard(&self) -> bool {
        let mut i = self.inner.lock();
        i.brought.heard = true;
        i.outstanding = i.outstanding.saturating_sub(1);
        i.outstanding == 0
    }
    /// The base's schema was read; true if nothing is outstanding any more.
    pub(crate) fn learned(&self) -> bool {
        let mut i = self.inner.lock();
        i.brought.learned = true;
        i.outstanding = i.outstanding.saturating_sub(1);
        i.outstanding == 0
    }
    /// Looks at what was brought.
    pub(crate) fn with_brought<R>(&self, f: impl FnOnce(&Brought) -> R) -> R {
        f(&self.inner.lock().brought)
    }
    /// Counts a round of asking; too many mean that the data change faster than they can be read.
    pub(crate) fn next_round(&self) -> u32 {
        let mut i = self.inner.lock();
        i.rounds += 1;
        i.rounds
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
    /// Decides the reply; the first one counts. The client is woken; a client that is gone is let go.
    pub(crate) fn finish(&self, body: Body) {
        {
            let mut i = self.inner.lock();
            if i.reply.is_none() {
                i.reply = Some(body.seal());
            }
        }
        self.done.store(true, Ordering::Release);
        self.unblock();
    }
    fn unblock(&self) {
        if let Some(Client(bc)) = self.client.lock().take() {
            let held = self as *const Op as *mut c_void;
            WAKING.fetch_add(1, Ordering::Relaxed);
            rm!(RedisModule_UnblockClient(bc, held));
        }
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        // Reached only if nobody waits any more: the client's own reference keeps an attended read alive.
        debug_assert!(self.client.lock().is_none());
    }
}

/// Ends reads that lost their last hope (a worker that panicked): each is answered.
pub(crate) struct Answered(pub(crate) Arc<Op>);
impl Drop for Answered {
    fn drop(&mut self) {
        if !self.0.is_done() && std::thread::panicking() {
            self.0.finish(Body::error(
                "ERR internal error: the fetch was dropped; ask again",
            ));
        }
    }
}

unsafe extern "C" fn on_reply(ctx: Ctx, _: crate::server::valkey::ffi::Argv, _: c_int) -> c_int {
    let p = rm!(RedisModule_GetBlockedClientPrivateData(ctx)) as *const Op;
    if p.is_null() {
        return crate::server::valkey::reply::error(ctx, "ERR internal error: a reply was lost");
    }
    let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let reply = (*p).inner.lock().reply.take();
        match reply {
            Some(b) => b.send(ctx),
            None => {
                crate::server::valkey::reply::error(ctx, "ERR internal error: a reply was lost")
            }
        }
    }));
    r.unwrap_or(0)
}

unsafe extern "C" fn on_timeout(ctx: Ctx, _: crate::server::valkey::ffi::Argv, _: c_int) -> c_int {
    let p = rm!(RedisModule_GetBlockedClientPrivateData(ctx)) as *const Op;
    let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        if p.is_null() {
            return crate::server::valkey::reply::error(ctx, "UPSTREAMTIMEOUT no answer in time");
        }
        (*p).done.store(true, Ordering::Release);
        (*p).leave();
        crate::server::desk::shed::gave_up();
        crate::server::reads::late(ctx, &*p).send(ctx)
    }));
    r.unwrap_or(0)
}

/// The client went away: nobody reads the reply.
unsafe extern "C" fn on_disconnect(ctx: Ctx, _: *mut raw::RedisModuleBlockedClient) {
    let p = rm!(RedisModule_GetBlockedClientPrivateData(ctx)) as *const Op;
    if !p.is_null() {
        (*p).done.store(true, Ordering::Release);
        (*p).leave();
        crate::server::desk::shed::gave_up();
    }
}

unsafe extern "C" fn on_free(_: Ctx, data: *mut c_void) {
    WAKING.fetch_sub(1, Ordering::Relaxed);
    if !data.is_null() {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let op = Arc::from_raw(data as *const Op);
            op.leave();
            let tracked = std::mem::take(&mut *op.tracked.lock());
            tracking::replied(tracked);
        }));
    }
}
