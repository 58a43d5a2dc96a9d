//! A read that waits, and what has been brought for it so far.

use crate::server::state::entities::EntityIx;
use crate::server::state::outcome::{Brought, LandedQuestion, LandedRecord, Ticket};
use crate::server::state::query::Query;
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi::Ctx;
use crate::server::valkey::reply::Body;
use compact_str::CompactString;
use parking_lot::Mutex;
use std::sync::Arc;

/// Somebody who waits for a flight.
#[derive(Clone)]
pub(crate) struct Passenger {
    pub(crate) op: Arc<Op>,
    /// The flight was opened for them.
    pub(crate) led: bool,
    /// Calls that were made for the flight before the one that lands it.
    pub(crate) spent: Vec<Arc<Ticket>>,
}

impl Passenger {
    /// The calls made before that count for this reader.
    pub(crate) fn claim_spent(&self) -> u32 {
        self.spent.iter().map(|t| t.claim()).sum()
    }
}

#[derive(Default)]
struct Inner {
    brought: Brought,
    outstanding: u32,
    rounds: u32,
}

/// What reads do when something happens to them: this layer does not know how they are answered.
pub(crate) struct Hooks {
    /// These have everything they waited for. On a worker.
    pub(crate) settle: fn(Vec<Arc<Op>>),
    /// The deadline passed, or somebody unblocked the client. On the main thread.
    pub(crate) late: fn(Ctx, &Op) -> Body,
}

/// A read under way.
pub(crate) struct Op {
    pub(crate) query: Query,
    /// Its place in the order of sends and changes.
    pub(crate) asked: u64,
    /// Unix ms.
    pub(crate) asked_ms: u64,
    client: Arc<Blocked>,
    inner: Mutex<Inner>,
    hooks: &'static Hooks,
}

impl Op {
    /// A read nobody waits for (NOWAIT, a refresh).
    pub(crate) fn unattended(
        query: Query,
        asked: u64,
        asked_ms: u64,
        hooks: &'static Hooks,
    ) -> Arc<Op> {
        Op::of(Arc::default(), query, asked, asked_ms, hooks)
    }
    /// Keeps the client of this command waiting. `None`: it cannot be; the caller answers.
    pub(crate) fn block(
        ctx: Ctx,
        query: Query,
        asked: u64,
        asked_ms: u64,
        timeout_ms: i64,
        hooks: &'static Hooks,
    ) -> Option<Arc<Op>> {
        let client = Blocked::block(ctx, timeout_ms)?;
        let op = Op::of(client.clone(), query, asked, asked_ms, hooks);
        let held = op.clone();
        client.when_late(Box::new(move |ctx| (hooks.late)(ctx, &held)));
        Some(op)
    }
    /// A read for a client that waits already.
    pub(crate) fn of(
        client: Arc<Blocked>,
        query: Query,
        asked: u64,
        asked_ms: u64,
        hooks: &'static Hooks,
    ) -> Arc<Op> {
        Arc::new(Op {
            query,
            asked,
            asked_ms,
            client,
            inner: Mutex::new(Inner::default()),
            hooks,
        })
    }
    /// The client that waits for it.
    pub(crate) fn client(&self) -> &Arc<Blocked> {
        &self.client
    }
    /// As [`Blocked::track`].
    pub(crate) fn track(&self, keys: Vec<Arc<[u8]>>, signalled: bool) -> Vec<Arc<[u8]>> {
        self.client.track(keys, signalled)
    }
    pub(crate) fn attended(&self) -> bool {
        self.client.attended()
    }
    /// Is it answered already (by a timeout, say)?
    pub(crate) fn is_done(&self) -> bool {
        self.client.is_done()
    }
    /// As [`Blocked::finish`].
    pub(crate) fn finish(&self, body: Body) {
        self.client.finish(body);
    }
    /// One more thing to wait for.
    pub(crate) fn expect(&self, n: u32) {
        self.inner.lock().outstanding += n;
    }
    /// Something landed; true if nothing is outstanding any more.
    fn record(
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
    fn question(
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
    fn heard(&self) -> bool {
        let mut i = self.inner.lock();
        i.brought.heard = true;
        i.outstanding = i.outstanding.saturating_sub(1);
        i.outstanding == 0
    }
    /// The base's schema was read; true if nothing is outstanding any more.
    fn learned(&self) -> bool {
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
}

/// A record landed for those who waited for it.
pub(crate) fn arrived_record(
    ix: EntityIx,
    id: &CompactString,
    landed: &Arc<LandedRecord>,
    passengers: Vec<Passenger>,
) {
    settle(
        passengers
            .into_iter()
            .filter(|p| p.op.record(ix, id, landed, p))
            .map(|p| p.op)
            .collect(),
    );
}

/// An index question landed.
pub(crate) fn arrived_question(
    ix: EntityIx,
    suffix: &Arc<[u8]>,
    landed: &Arc<LandedQuestion>,
    passengers: Vec<Passenger>,
) {
    settle(
        passengers
            .into_iter()
            .filter(|p| p.op.question(ix, suffix, landed, p))
            .map(|p| p.op)
            .collect(),
    );
}

/// The change feed was heard for these reads, or takes too long.
pub(crate) fn heard(waiting: Vec<Arc<Op>>) {
    settle(waiting.into_iter().filter(|op| op.heard()).collect());
}

/// What a schema says was learned for these reads, or cannot be.
pub(crate) fn learned(waiting: Vec<Arc<Op>>) {
    settle(waiting.into_iter().filter(|op| op.learned()).collect());
}

fn settle(ready: Vec<Arc<Op>>) {
    if let Some(first) = ready.first() {
        (first.hooks.settle)(ready);
    }
}
