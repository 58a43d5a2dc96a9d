//! The thread of computed answers: leases that run out, clients that wait, marks and deletions that were left over. In slices.

use crate::server::reads::computed::{self, meta_of, pair};
use crate::server::state::answers::Waiting;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::state::rounds::ANSWERS;
use crate::server::store::{answers, cluster, resources};
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::lock;
use crate::server::valkey::reply::{Body, InPlace};
use podium_core::computed::answer::{Detail, Source};
use podium_core::computed::index::Check;
use podium_core::computed::lease::{Got, Handed};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients answered, marks made and keys looked at per hold of the server's lock.
const HANDED: usize = 50;
const MARKS: usize = 5_000;
const LOADED: usize = 50;
/// Between two holds.
const BREATH: Duration = Duration::from_micros(100);
/// Looked at so often at least.
const TICK: Duration = Duration::from_millis(500);

pub(crate) fn start() -> Result<(), String> {
    ANSWERS.start("podium-answers", run)
}

pub(crate) fn stop() -> Result<(), String> {
    ANSWERS.stop("computed answers are being cleared away: try again")
}

fn run() {
    let mut next = Instant::now();
    while ANSWERS.next(next).is_some() {
        next = Instant::now() + catch_unwind(AssertUnwindSafe(round)).unwrap_or(TICK);
        ANSWERS.rest();
    }
}

/// Does what there is to do. After how long to look again.
fn round() -> Duration {
    loop {
        let mut replies: Vec<(Arc<Blocked>, Body)> = Vec::new();
        let (more, wait) = {
            let held = lock::lock();
            let ctx = held.ctx();
            cell::enter(|st| slice(st, ctx, &mut replies)).unwrap_or((false, TICK))
        };
        for (client, body) in replies {
            client.finish(body);
        }
        if !more || ANSWERS.stopping() {
            return wait;
        }
        std::thread::sleep(BREATH);
    }
}

/// One hold of the lock. Is there more, and else after how long?
fn slice(st: &mut State, ctx: Ctx, replies: &mut Vec<(Arc<Blocked>, Body)>) -> (bool, Duration) {
    let now = ffi::now_ms();
    if st.loading {
        return (false, TICK);
    }
    let arrived: Vec<Box<[u8]>> = {
        let n = st.answers.arrived.len().min(LOADED);
        st.answers.arrived.drain(..n).collect()
    };
    for name in &arrived {
        answers::came(st, ctx, name);
    }
    for key in st.answers.core.tick(now, HANDED * 20) {
        if let Some(r) = st.resources.of_key_mut(&key) {
            r.figures.timeouts += 1;
        }
    }
    let mut more = st.answers.core.work(MARKS);
    cluster::answers::say_all(st, ctx);
    more |= answers::delete_some(st, ctx, answers::DELETED_AT_ONCE);
    let settled = !st.answers.lost && !st.answers.core.is_watching();
    if settled && !answers::a_rest_is_stored(st) && ffi::removable(ctx) {
        resources::are_sure(st, ctx);
    }
    let handed = st
        .answers
        .core
        .hand_out(HANDED, now, clock::next(), computed::chance);
    more |= handed.len() == HANDED || !st.answers.arrived.is_empty();
    for h in handed {
        hand(st, ctx, h, now, replies);
    }
    for (ticket, n) in st.answers.core.take_finished() {
        if let Some(c) = st.answers.counting.remove(&ticket) {
            if let Some(client) = c.client {
                replies.push((client, Body::Int(c.n + n as i64)));
            }
        }
    }
    more |= st.answers.core.leases().has_answers();
    let computing = st.answers.core.computing();
    if !computing {
        st.answers.fresh_until.clear();
    }
    let next = st.answers.core.leases().next_end();
    let wait = next.map_or(TICK, |at| {
        Duration::from_millis(at.saturating_sub(now).clamp(1, 500))
    });
    (more, wait)
}

/// One who waited gets what there is.
fn hand(
    st: &mut State,
    ctx: Ctx,
    h: Handed<Waiting>,
    now: u64,
    replies: &mut Vec<(Arc<Blocked>, Body)>,
) {
    let Waiting { client, id, meta } = h.waiter;
    if client.is_done() {
        // It went away: the lease is for the next.
        if let Got::Lease(token) = h.got {
            st.answers.core.release(token, &h.key, now, false);
        }
        client.finish(Body::Null);
        return;
    }
    let found = match h.got {
        Got::Value | Got::Old => answers::look(st, ctx, &h.key, false),
        _ => None,
    };
    let there = |f: &(_, Check)| f.1 == Check::Hit;
    if matches!(h.got, Got::Value | Got::Old) && !found.as_ref().is_some_and(there) {
        // Something it used is in doubt, or changed, since it was filled: as if it were asked for now.
        return crate::server::reads::lease_anew(st, &h.key, client, id, meta, now);
    }
    let header = found.as_ref().map(|(a, _)| a.header);
    let (source, detail, token) = match h.got {
        Got::Lease(token) => {
            if let Some(r) = st.resources.of_key_mut(&h.key) {
                r.figures.leases += 1;
            }
            (Source::Miss, Detail::Lease, Some(token))
        }
        Got::Value => (Source::Hit, Detail::Waited, None),
        Got::Old => (Source::Stale, Detail::Released, None),
        Got::Nothing | Got::Ended => (Source::Miss, Detail::NoLease, None),
    };
    if let Some(again) = matches!(h.got, Got::Ended)
        .then(|| cluster::gone_on(&h.key))
        .flatten()
    {
        replies.push((client, Body::error(again)));
        return;
    }
    if matches!(h.got, Got::Ended) && st.resources.of_key(&h.key).is_none() {
        replies.push((client, Body::error(computed::no_resource(&h.key))));
        return;
    }
    let meta = meta.then(|| meta_of(&h.key, header.as_ref(), source, detail, now));
    let value = match found {
        Some((a, _)) => Body::InPlace(InPlace::new(a.value)),
        None => Body::Null,
    };
    replies.push((client, pair(value, token).with_meta(meta).seal()));
}
