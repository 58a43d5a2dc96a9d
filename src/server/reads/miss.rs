//! What a read lacks is not in the cache: refuse, fetch behind, or wait.

use crate::server::desk::{self, desk};
use crate::server::reads::judge::{Progress, Want};
use crate::server::reads::order::order;
use crate::server::reads::{evaluate, Evaluated, Verdict, HOOKS};
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::outcome::{Brought, LandedQuestion, LandedRecord, Seen, Ticket};
use crate::server::state::query::{Ask, Query, RecordKey};
use crate::server::state::waiting::Op;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::blocked::BLOCKED;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Something is lacking: refuse, fetch behind, or wait.
pub(super) fn miss(
    ctx: Ctx,
    st: &mut State,
    q: &Query,
    wants: Vec<Want>,
    asked: u64,
    now: u64,
) -> Verdict {
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
pub(super) fn lacking_name(q: &Query, wants: &[Want]) -> Vec<u8> {
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

pub(super) fn ix_of(w: &Want) -> EntityIx {
    match w {
        Want::Record(ix, _) | Want::Question(ix, _) | Want::Feed(ix) | Want::Schema(ix) => *ix,
    }
}

pub(super) fn no_base(st: &State, wants: &[Want]) -> Option<String> {
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
pub(super) fn overfull(d: &desk::Desk, more: usize) -> Option<Fault> {
    let pending = d.sched.pending();
    (pending + more > d.sched.limits().max_queued)
        .then(|| Fault::outage(format!("UPSTREAMBUSY {pending} records and questions are queued already: try again in about 1 s")))
}

/// As many clients wait as may.
pub(super) fn full() -> Option<Fault> {
    let most = settings::MAX_PENDING.get();
    (BLOCKED.load(Ordering::Relaxed) >= most).then(|| Fault::queue_full(most))
}

/// Is there no hope that the fetch comes back before the deadline?
pub(super) fn refuse(st: &State, wants: &[Want], timeout_ms: i64) -> Option<Fault> {
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
pub(super) fn failed_at_once(
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

pub(super) fn all_failed(st: &State, wants: Vec<Want>, fault: Fault) -> Brought {
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
