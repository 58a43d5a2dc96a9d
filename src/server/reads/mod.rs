//! A read's way: answered at once, or kept waiting while what it lacks is fetched, then answered.

pub(crate) mod ahead;
pub(crate) mod computed;
pub(crate) mod explain;
pub(crate) mod judge;
pub(crate) mod miss;
pub(crate) mod order;
pub(crate) mod settle;
pub(crate) mod slices;
pub(crate) mod sorted;

pub(crate) use crate::server::reads::order::order_refresh;
pub(crate) use crate::server::reads::settle::count_now;

use crate::server::desk::{self};
use crate::server::reads::computed::Leased;
use crate::server::reads::judge::{Judge, Progress, Start, Want};
use crate::server::reads::miss::{failed_at_once, miss};
use crate::server::reads::order::{order, WORKER};
use crate::server::reads::slices::{collect, in_slices};
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::state::outcome::Brought;
use crate::server::state::query::{Ask, Options, Query};
use crate::server::state::waiting::{Hooks, Op};
use crate::server::store;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::blocked::{Answered, Blocked};
use crate::server::valkey::ffi::{self, Ctx, RString};
use crate::server::valkey::lock;
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use crate::server::valkey::tracking;
use std::ffi::c_int;
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
    if ffi::tracks(ctx) {
        let name: Arc<[u8]> = key.name.clone();
        for name in blocked.track(vec![name], true) {
            ffi::signal_modified(ctx, &RString::new(&name));
        }
    }
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
            let seen = bounded
                .then(|| judge.by_view(st, *ix, conditions, asked, &name))
                .flatten();
            if let Some(answer) = seen {
                refresh.append(&mut judge.refresh);
                return Evaluated::Progress(answer);
            }
            wishes(ctx, st, &mut judge);
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
    wishes(ctx, st, &mut judge);
    if let (Progress::Done(_), Some(token), Some(used)) =
        (&progress, q.options.for_token, judge.used.take())
    {
        computed::used::note(st, ctx, token, used, asked, now, !bounded);
    }
    Evaluated::Progress(progress)
}

/// What a sorted answer leaves to be done behind it.
fn wishes(ctx: Ctx, st: &mut State, judge: &mut Judge) {
    if let Some(wish) = judge.wish.take() {
        sorted::wish(ctx, st, wish);
    }
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
            Some(b) => return op.client().finish_aside(b),
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
