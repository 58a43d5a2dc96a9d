//! Large answers, collected slice by slice while the client waits.

use crate::server::desk;
use crate::server::reads::as_worker;
use crate::server::reads::computed::used;
use crate::server::reads::evaluate;
use crate::server::reads::judge::{self, Judge, Progress, Start, Want};
use crate::server::reads::miss::full;
use crate::server::reads::order;
use crate::server::reads::order::order_refresh;
use crate::server::reads::resume;
use crate::server::reads::wishes;
use crate::server::reads::Evaluated;
use crate::server::reads::HOOKS;
use crate::server::reads::ROUNDS;
use crate::server::reads::SLICE;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::EntityIx;
use crate::server::state::outcome::Brought;
use crate::server::state::query::Query;
use crate::server::state::waiting::Op;
use crate::server::store;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use compact_str::CompactString;
use std::ffi::c_int;
use std::sync::Arc;

/// A large answer: a worker collects it, slice by slice.
pub(super) fn in_slices(ctx: Ctx, q: Query, asked: u64, now: u64) -> c_int {
    if !ffi::may_wait(ctx) {
        // It may not wait, so it is answered in one go.
        let b = cell::enter(|st| {
            match evaluate(
                ctx,
                st,
                &q,
                &Brought::default(),
                asked,
                now,
                &mut Vec::new(),
                false,
            ) {
                Evaluated::Progress(Progress::Done(b)) => b,
                _ => Body::error(reply::would_block(&q.shown_name(), false)),
            }
        });
        return b
            .unwrap_or_else(|| Body::error("ERR internal error"))
            .send(ctx);
    }
    if let Some(full) = full() {
        return reply::error(ctx, &full.line);
    }
    match Op::block(ctx, q, asked, now, settings::FETCH_TIMEOUT_MS.get(), &HOOKS) {
        Some(op) => {
            if ffi::tracks(ctx) {
                // Whether anything is to be fetched for it is not known yet, so nobody is told now.
                op.track(order::keys_of(&op.query, &[]), false);
            }
            desk::spawn(Box::new(move || as_worker(|| resume(&op))));
            ffi::OK
        }
        None => reply::error(ctx, "ERR this client cannot be kept waiting here"),
    }
}

/// Ids per hold of the server's lock.
const IDS: usize = 2_000;

/// Reads the ids of large sets in slices, before anything is decided under one hold of the lock.
fn preread(ix: EntityIx, conditions: &[crate::server::state::query::Condition]) -> judge::Preread {
    let mut out = judge::Preread::default();
    let suffixes: Vec<Arc<[u8]>> = if conditions.is_empty() {
        vec![Arc::from(&b"*"[..])]
    } else {
        conditions.iter().map(|c| c.suffix.clone()).collect()
    };
    for suffix in suffixes {
        let mut ids: Vec<CompactString> = Vec::new();
        let mut head = None;
        loop {
            let part = cell::with(|st, ctx| {
                let e = st.get(ix)?;
                if head.is_none() && store::set_state(ctx, e, &suffix).1 <= IDS {
                    return None;
                }
                store::read_part(ctx, e, &suffix, ids.last(), IDS)
            });
            let Some(Some((now, part))) = part else { break };
            if head.is_some_and(|h| h != now) {
                // Asked anew in between: the decision reads it whole.
                break;
            }
            head = Some(now);
            let last = part.len() < IDS;
            ids.extend(part);
            if last {
                out.insert(suffix, (now, ids));
                break;
            }
        }
    }
    out
}

/// Collects an index answer, slice by slice; `None`: more was ordered.
pub(super) fn collect(
    op: &Arc<Op>,
    ix: EntityIx,
    conditions: &[crate::server::state::query::Condition],
) -> Option<Body> {
    let name = op.query.shown_name();
    let options = &op.query.options;
    let began = options.for_token.map(|_| clock::next());
    let preread = preread(ix, conditions);
    let started = {
        cell::with(|st, ctx| {
            let now = ffi::now_ms();
            op.with_brought(|brought| {
                let mut judge = Judge::new(ctx, brought, options, now);
                judge.preread = Some(&preread);
                if let (Some(used), Some(began)) = (&mut judge.used, began) {
                    used.began = began;
                }
                let s = judge.start(st, ix, conditions, op.asked, &name);
                (s, judge.refresh)
            })
        })
    };
    let (start, mut refresh) = started?;
    let mut scan = match start {
        Start::Done(b) => return Some(b),
        Start::Need(w) => return ask_on(op, w),
        Start::Scan(s) => s,
    };
    loop {
        let all = cell::with(|st, ctx| {
            let now = ffi::now_ms();
            op.with_brought(|brought| {
                let judge = Judge::new(ctx, brought, options, now);
                judge.step(st, &mut scan, SLICE, true)
            })
        })?;
        if all {
            break;
        }
    }
    scan.look_at_sets();
    let progress = cell::with(|st, ctx| {
        let now = ffi::now_ms();
        let p = op.with_brought(|brought| {
            let mut judge = Judge::new(ctx, brought, options, now);
            let p = judge.finish(st, *scan, &name);
            refresh.append(&mut judge.refresh);
            wishes(ctx, st, &mut judge);
            if let (Progress::Done(_), Some(token), Some(used)) =
                (&p, options.for_token, judge.used.take())
            {
                used::note(st, ctx, token, used, op.asked, now, true);
            }
            p
        });
        order_refresh(ctx, st, refresh);
        p
    })?;
    match progress {
        Progress::Done(b) => Some(b),
        Progress::Need(w) => ask_on(op, w),
    }
}

fn ask_on(op: &Arc<Op>, wants: Vec<Want>) -> Option<Body> {
    if op.next_round() > ROUNDS {
        return Some(Body::error(
            "UPSTREAMBUSY the data change faster than they can be read: try again in 1 s",
        ));
    }
    cell::with(|st, ctx| order(ctx, st, op, &wants, false));
    None
}
