//! A read's way: answered at once, or kept waiting while what it lacks is fetched, then answered.

pub(crate) mod ahead;
pub(crate) mod computed;
pub(crate) mod explain;
pub(crate) mod judge;
pub(crate) mod order;
pub(crate) mod settle;
pub(crate) mod slices;

pub(crate) use crate::server::reads::order::order_refresh;
pub(crate) use crate::server::reads::settle::count_now;

use crate::server::desk::{self, desk};
use crate::server::reads::computed::Leased;
use crate::server::reads::judge::{Judge, Progress, Start, Want};
use crate::server::reads::order::{order, WORKER};
use crate::server::reads::slices::{collect, in_slices};
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::outcome::{Brought, LandedQuestion, LandedRecord, Seen, Ticket};
use crate::server::state::query::{Ask, Options, Query, RecordKey};
use crate::server::state::waiting::{Hooks, Op};
use crate::server::store;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::blocked::{Answered, Blocked, BLOCKED};
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::lock;
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use crate::server::valkey::tracking;
use std::ffi::c_int;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Candidates looked at in one go on the main thread; more go in slices, with the client waiting.
const AT_ONCE: usize = 1000;
/// Candidates per hold of the server's lock.
const SLICE: usize = 250;
/// What happens to reads that wait.
static HOOKS: Hooks = Hooks {
    settle: settle::wake,
    late,
};

/// Rounds of fetching after which the data are taken to change faster than they can be read.
const ROUNDS: u32 = 8;

/// Serves a read from a command handler.
pub(crate) fn read(ctx: Ctx, query: Query) -> c_int {
    let given = match &query.ask {
        Ask::Index { given, .. } => given.clone(),
        Ask::Get(_) | Ask::Many(_) | Ask::Lease { .. } => Vec::new(),
    };
    let done = serve(ctx, query);
    // The client is registered under the names it gave when this returns: what was signalled so far is not for it.
    for (key, name) in given {
        tracking::read_as(ctx, &key, &name);
    }
    done
}

fn serve(ctx: Ctx, query: Query) -> c_int {
    let nothing = Brought::default();
    let now = ffi::now_ms();
    let verdict = cell::enter(|st| {
        let asked = clock::next();
        let mut refresh = Vec::new();
        let progress = match evaluate(ctx, st, &query, &nothing, asked, now, &mut refresh, true) {
            Evaluated::Progress(p) => p,
            Evaluated::TooLarge => return Verdict::Slice(asked),
            Evaluated::Wait => return wait(ctx, st, &query, now),
        };
        order_refresh(ctx, st, refresh);
        match progress {
            Progress::Done(b) => Verdict::Reply(b),
            Progress::Need(wants) => miss(ctx, st, &query, wants, asked, now),
        }
    });
    match verdict {
        Some(Verdict::Reply(b)) => b.send(ctx),
        Some(Verdict::Waiting) => ffi::OK,
        Some(Verdict::Slice(asked)) => in_slices(ctx, query, asked, now),
        None => reply::error(ctx, "ERR internal error: the cache is busy"),
    }
}

/// LEASE waits for who computes the answer.
fn wait(ctx: Ctx, st: &mut State, q: &Query, now: u64) -> Verdict {
    let Ask::Lease { key, client } = &q.ask else {
        return Verdict::Reply(Body::error("ERR internal error"));
    };
    let meta = q.options.meta;
    let Some(blocked) = Blocked::block(ctx, computed::patience(st, &key.name)) else {
        return Verdict::Reply(computed::nothing(&key.name, meta));
    };
    let name = key.name.clone();
    blocked.when_late(Box::new(move |ctx| computed::late(ctx, &name, meta)));
    computed::wait(st, &key.name, blocked, *client, meta, now);
    Verdict::Waiting
}

/// A client that waited for a computed answer is answered as if it asked now.
pub(crate) fn lease_anew(
    st: &State,
    name: &[u8],
    client: Arc<Blocked>,
    id: u64,
    meta: bool,
    now: u64,
) {
    let Some(key) = computed::key_of(st, name) else {
        return client.finish(Body::error(computed::no_resource(name)));
    };
    let options = Options {
        meta,
        ..Options::default()
    };
    let ask = Ask::Lease { key, client: id };
    let op = Op::of(client, Query { ask, options }, clock::next(), now, &HOOKS);
    desk::spawn(Box::new(move || resume(&op)));
}

enum Verdict {
    Reply(Body),
    Waiting,
    Slice(u64),
}

enum Evaluated {
    Progress(Progress),
    TooLarge,
    /// Somebody computes it.
    Wait,
}

/// Judges a read by what is cached and what was brought. `bounded`: on the main thread, where large answers go in slices.
#[allow(clippy::too_many_arguments)]
fn evaluate(
    ctx: Ctx,
    st: &mut State,
    q: &Query,
    brought: &Brought,
    asked: u64,
    now: u64,
    refresh: &mut Vec<Want>,
    bounded: bool,
) -> Evaluated {
    let mut judge = Judge::new(ctx, brought, &q.options, now);
    let progress = match &q.ask {
        Ask::Get(k) => match judge.record(st, k) {
            Some(b) => Progress::Done(b),
            None => {
                let mut wants = Vec::new();
                judge.wants(k, &mut wants);
                Progress::Need(wants)
            }
        },
        Ask::Many(keys) => {
            let mut bodies = Vec::with_capacity(keys.len());
            let mut wants = Vec::new();
            for k in keys {
                match judge.record(st, k) {
                    Some(b) => bodies.push(b),
                    None => judge.wants(k, &mut wants),
                }
            }
            if wants.is_empty() {
                Progress::Done(Body::List(bodies))
            } else {
                Progress::Need(wants)
            }
        }
        Ask::Lease { key, client } => {
            let may_wait = !bounded || ffi::may_wait(ctx);
            match judge.lease(st, &key.name, *client, may_wait, false) {
                Leased::Body(b) => Progress::Done(b),
                Leased::Need(wants) => Progress::Need(wants),
                Leased::Wait => return Evaluated::Wait,
            }
        }
        Ask::Index { ix, conditions, .. } => {
            let name = q.shown_name();
            if bounded && st.get(*ix).is_some_and(|e| any_large(ctx, e, conditions)) {
                return Evaluated::TooLarge;
            }
            match judge.start(st, *ix, conditions, asked, &name) {
                Start::Done(b) => Progress::Done(b),
                Start::Need(w) => Progress::Need(w),
                Start::Scan(mut scan) => {
                    if bounded && scan.size() > AT_ONCE {
                        return Evaluated::TooLarge;
                    }
                    judge.step(st, &mut scan, usize::MAX, !bounded);
                    judge.finish(st, *scan, &name)
                }
            }
        }
    };
    refresh.append(&mut judge.refresh);
    if let (Progress::Done(_), Some(token), Some(used)) =
        (&progress, q.options.for_token, judge.used.take())
    {
        computed::used::note(st, ctx, token, used, asked, now, !bounded);
    }
    Evaluated::Progress(progress)
}

/// Is one of the sets too large to be read in one go?
fn any_large(
    ctx: Ctx,
    e: &crate::server::state::entities::Entity,
    conditions: &[crate::server::state::query::Condition],
) -> bool {
    let large =
        |suffix: &[u8]| e.sets.contains(suffix) && store::set_state(ctx, e, suffix).1 > AT_ONCE;
    if conditions.is_empty() {
        large(b"*")
    } else {
        conditions.iter().any(|c| large(&c.suffix))
    }
}

/// Something is lacking: refuse, fetch behind, or wait.
fn miss(ctx: Ctx, st: &mut State, q: &Query, wants: Vec<Want>, asked: u64, now: u64) -> Verdict {
    let name = lacking_name(q, &wants);
    if ffi::is_replica(ctx) {
        return Verdict::Reply(Body::error(reply::replica_miss(&name)));
    }
    if let Some(f) = no_base(st, &wants) {
        return Verdict::Reply(Body::error(f));
    }
    let waits = ffi::may_wait(ctx);
    if !waits || q.options.no_wait {
        if let Some(full) = overfull(&desk(), wants.len()) {
            return Verdict::Reply(Body::error(full.line));
        }
        let op = Op::unattended(q.clone(), asked, now, &HOOKS);
        order(ctx, st, &op, &wants, false);
        return Verdict::Reply(Body::error(reply::would_block(&name, true)));
    }
    let timeout = settings::FETCH_TIMEOUT_MS.get();
    if let Some(fault) = refuse(st, &wants, timeout) {
        return Verdict::Reply(failed_at_once(ctx, st, q, wants, fault, asked, now));
    }
    match Op::block(ctx, q.clone(), asked, now, timeout, &HOOKS) {
        Some(op) => {
            order(ctx, st, &op, &wants, true);
            Verdict::Waiting
        }
        None => Verdict::Reply(Body::error(reply::would_block(&name, false))),
    }
}

/// The name to quote where a read may not wait: of several records the first that lacks.
fn lacking_name(q: &Query, wants: &[Want]) -> Vec<u8> {
    let lacks = |k: &RecordKey| match wants.first() {
        Some(Want::Record(ix, id)) => k.ix == *ix && k.id == *id,
        Some(w) => k.ix == ix_of(w),
        None => true,
    };
    let first = match &q.ask {
        Ask::Many(keys) => keys.iter().find(|k| lacks(k)),
        Ask::Get(_) | Ask::Lease { .. } | Ask::Index { .. } => None,
    };
    first.map_or_else(|| q.shown_name(), |k| k.name.to_vec())
}

fn ix_of(w: &Want) -> EntityIx {
    match w {
        Want::Record(ix, _) | Want::Question(ix, _) | Want::Feed(ix) | Want::Schema(ix) => *ix,
    }
}

fn no_base(st: &State, wants: &[Want]) -> Option<String> {
    let e = wants
        .iter()
        .filter_map(|w| st.get(ix_of(w)))
        .find(|e| e.base().is_empty())?;
    Some(format!(
        "BADSPEC entity {} belongs to no base: set podium.base, or \"base\": \"app...\" in its spec, to fetch from Airtable",
        e.name
    ))
}

/// However few clients wait, what they wait for is bounded too: one command may name a thousand records.
fn overfull(d: &desk::Desk, more: usize) -> Option<Fault> {
    let pending = d.sched.pending();
    (pending + more > d.sched.limits().max_queued)
        .then(|| Fault::outage(format!("UPSTREAMBUSY {pending} records and questions are queued already: try again in about 1 s")))
}

/// As many clients wait as may.
fn full() -> Option<Fault> {
    let most = settings::MAX_PENDING.get();
    (BLOCKED.load(Ordering::Relaxed) >= most).then(|| Fault::queue_full(most))
}

/// Is there no hope that the fetch comes back before the deadline?
fn refuse(st: &State, wants: &[Want], timeout_ms: i64) -> Option<Fault> {
    if let Some(full) = full() {
        return Some(full);
    }
    let mut d = desk();
    if let Some(full) = overfull(&d, wants.len()) {
        return Some(full);
    }
    let mut seen: Vec<String> = Vec::new();
    for e in wants.iter().filter_map(|w| st.get(ix_of(w))) {
        let base = e.base();
        if seen.contains(&base) {
            continue;
        }
        if let Some(b) = d
            .busy_for(&base)
            .filter(|b| b.ms_left >= timeout_ms.max(0) as u64)
        {
            return Some(Fault::busy(b));
        }
        seen.push(base);
    }
    None
}

/// Answers as if the fetch had failed already: a stale copy where there is one.
fn failed_at_once(
    ctx: Ctx,
    st: &mut State,
    q: &Query,
    wants: Vec<Want>,
    fault: Fault,
    asked: u64,
    now: u64,
) -> Body {
    let brought = all_failed(st, wants, fault.clone());
    match evaluate(ctx, st, q, &brought, asked, now, &mut Vec::new(), false) {
        Evaluated::Progress(Progress::Done(b)) => b,
        _ => Body::error(fault.line),
    }
}

fn all_failed(st: &State, wants: Vec<Want>, fault: Fault) -> Brought {
    let mut brought = Brought::default();
    for w in wants {
        match w {
            Want::Record(ix, id) => {
                let landed = LandedRecord {
                    seen: Seen::Failed(fault.clone()),
                    sent: 0,
                    asked_ms: 0,
                    stored: false,
                    ticket: Ticket::new(0),
                };
                brought.records.insert((ix, id), Arc::new(landed));
            }
            Want::Question(ix, suffix) => {
                let Some(e) = st.get(ix) else { continue };
                let landed = LandedQuestion {
                    records: Err(fault.clone()),
                    damaged: Default::default(),
                    nameless: false,
                    spec: e.spec.clone(),
                    sent: 0,
                    asked_ms: 0,
                    fresh_until: 0,
                    stored: false,
                    ticket: Ticket::new(0),
                    _relied: None,
                };
                brought.questions.insert((ix, suffix), Arc::new(landed));
            }
            Want::Feed(_) => brought.heard = true,
            Want::Schema(_) => brought.learned = true,
        }
    }
    brought
}

fn as_worker(f: impl FnOnce()) {
    WORKER.with(|w| w.set(true));
    f();
}

/// A read has everything it asked for, or a large answer is to be collected: decide its reply, or ask on.
fn resume(op: &Arc<Op>) {
    let _answered = Answered(op.client().clone());
    if op.is_done() {
        op.finish(Body::Null);
        return;
    }
    let round = op.next_round();
    let body = if let Ask::Index { ix, conditions, .. } = &op.query.ask {
        match collect(op, *ix, conditions) {
            Some(b) => b,
            None => return,
        }
    } else {
        let held = lock::lock();
        let ctx = held.ctx();
        let now = ffi::now_ms();
        let progress = cell::enter(|st| {
            op.with_brought(|b| {
                match evaluate(ctx, st, &op.query, b, op.asked, now, &mut Vec::new(), false) {
                    Evaluated::Progress(Progress::Done(b)) => Ok(b.seal()),
                    Evaluated::Progress(Progress::Need(w)) => Err(w),
                    Evaluated::TooLarge => Ok(Body::error("ERR internal error")),
                    Evaluated::Wait => {
                        if let Ask::Lease { key, client } = &op.query.ask {
                            let blocked = op.client().clone();
                            let meta = op.query.options.meta;
                            computed::wait(st, &key.name, blocked, *client, meta, now);
                        }
                        Err(Vec::new())
                    }
                }
            })
        });
        match progress {
            Some(Ok(b)) => b,
            // It waits for who computes it.
            Some(Err(wants)) if wants.is_empty() => return,
            Some(Err(wants)) => {
                if round < ROUNDS {
                    cell::enter(|st| order(ctx, st, op, &wants, false));
                    return;
                }
                Body::error(
                    "UPSTREAMBUSY the data change faster than they can be read: try again in 1 s",
                )
            }
            None => Body::error("ERR internal error: the cache is busy"),
        }
    };
    op.finish(body);
}

/// The deadline passed, or somebody unblocked the client: a stale copy if there is one, else the reason.
fn late(ctx: Ctx, op: &Op) -> Body {
    let fault = Fault::timeout(settings::FETCH_TIMEOUT_MS.get());
    let now = ffi::now_ms();
    let body = cell::enter(|st| {
        let nothing = Brought::default();
        let wants = match evaluate(
            ctx,
            st,
            &op.query,
            &nothing,
            op.asked,
            now,
            &mut Vec::new(),
            false,
        ) {
            Evaluated::Progress(Progress::Need(w)) => w,
            Evaluated::Progress(Progress::Done(b)) => return b,
            Evaluated::TooLarge => return Body::error(fault.line.clone()),
            Evaluated::Wait => {
                return computed::nothing(&op.query.shown_name(), op.query.options.meta)
            }
        };
        failed_at_once(ctx, st, &op.query, wants, fault.clone(), op.asked, now)
    });
    body.unwrap_or_else(|| Body::error(fault.line))
}
