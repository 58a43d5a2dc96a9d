//! What an index question brought: its records, its set, or with a whole table every set of the entity.

use super::sets::{head, set_ends, store_set, store_table, Known};
use super::*;
use crate::server::engine::{self, desk, Lane};
use crate::server::fault::Fault;
use crate::server::fetch::{self, Learnt, Listing, Question, Shaped};
use crate::server::ffi;
use crate::server::gil;
use crate::server::op::{LandedQuestion, Ticket};
use crate::server::serve;
use crate::server::state::{EntityIx, State, Trust};
use crate::server::store;
use compact_str::CompactString;
use hashbrown::HashMap;
use std::sync::Arc;

/// A question was answered to its last page.
pub(crate) fn question(q: &Question, sent: u64, asked_ms: u64, listing: Listing, table: bool) {
    let lane = &q.lane;
    let learnt = listing.learnt();
    let (records, calls) = listing.into_records();
    learn(q, learnt);

    // The records first, then the sets that hold them.
    let all: Vec<(CompactString, Shaped)> = records.into_iter().collect();
    for chunk in all.chunks(SLICE) {
        let held = gil::lock();
        gil::enter(|st| {
            for (id, s) in chunk {
                put(st, held.ctx(), lane, id, s);
            }
        });
    }
    let mut matching: HashMap<CompactString, Arc<[u8]>> = all
        .iter()
        .filter(|(id, s)| fetch::matches(lane, id, &s.bytes, &q.asks))
        .map(|(id, s)| (id.clone(), s.bytes.clone()))
        .collect();
    let (fresh_until, expire_at) = set_ends(lane, asked_ms, matching.is_empty());
    let head = head(asked_ms, fresh_until, sent);

    let known = Known::gather(q, all.iter().map(|(id, _)| id.clone()), table);
    let mut stored = store_set(
        q,
        &known,
        &q.suffix,
        matching.keys().cloned().collect(),
        head,
        expire_at,
    );
    if table {
        stored &= store_table(q, &known, &all, head, sent);
    }
    if !stored {
        told_meanwhile(q, sent, &mut matching);
    }
    let landed = Arc::new(LandedQuestion {
        records: Ok(matching),
        spec: lane.spec.clone(),
        sent,
        asked_ms,
        fresh_until,
        stored,
        ticket: Ticket::new(calls),
    });
    arrive(q, sent, &landed);
}

/// What was told or seen of an entity later than `sent`.
pub(super) fn newer(ix: EntityIx, sent: u64) -> Vec<CompactString> {
    desk()
        .tokens
        .newer_than(ix, sent)
        .map(CompactString::new)
        .collect()
}

/// Where no set could be stored: records that by now are known to match belong to the answer all the same.
fn told_meanwhile(q: &Question, sent: u64, matching: &mut HashMap<CompactString, Arc<[u8]>>) {
    let held = gil::lock();
    gil::enter(|st| {
        let Some(e) = st
            .get(q.lane.ix)
            .filter(|e| e.generation == q.lane.generation)
        else {
            return;
        };
        let newer = newer(q.lane.ix, sent);
        for id in newer
            .into_iter()
            .filter(|id| podium_core::spec::record_id_ok(id.as_bytes()))
        {
            if let store::Copy::Record(b) = store::copy(held.ctx(), e, &id, false) {
                if fetch::matches(&q.lane, &id, b, &q.asks) {
                    matching.insert(id, b.into());
                }
            }
        }
    });
}

/// A question failed for good.
pub(crate) fn question_failed(q: &Question, sent: u64, fault: Fault) {
    let (learnt, calls) = {
        let p = q.progress.lock();
        (p.learnt(), p.calls())
    };
    learn(q, learnt);
    let landed = Arc::new(LandedQuestion {
        records: Err(fault),
        spec: q.lane.spec.clone(),
        sent,
        asked_ms: ffi::now_ms(),
        fresh_until: 0,
        stored: false,
        ticket: Ticket::new(calls),
    });
    arrive(q, sent, &landed);
}

fn arrive(q: &Question, sent: u64, landed: &Arc<LandedQuestion>) {
    {
        let _held = gil::lock();
        gil::enter(|st| {
            if let Some(e) = st.get_mut(q.lane.ix) {
                e.questions = e.questions.saturating_sub(1);
            }
        });
    }
    let passengers = {
        let mut d = desk();
        d.tokens.landed(sent);
        let flight = q.flight.load(std::sync::atomic::Ordering::Relaxed);
        d.calls.remove(&flight);
        d.flights.land(flight)
    };
    engine::close_now();
    serve::arrived_question(q.lane.ix, &q.suffix, landed, passengers);
}

/// What its pages showed of the columns that it asked.
fn learn(q: &Question, learnt: Learnt) {
    let (Some((field, _)), Some(learnt)) = (&q.asks, learnt) else {
        return;
    };
    let _held = gil::lock();
    gil::enter(|st| note_trust(st, &q.lane, *field, learnt));
}

/// A lookup was seen to agree with its link cell, or not.
pub(crate) fn note_lookup(st: &mut State, lane: &Lane, field: u16, agrees: bool) {
    let seen = if agrees { Trust::Proven } else { Trust::Broken };
    note_trust(st, lane, field, seen);
}

/// One lie is enough; whether a column's own text does instead is seen only by asking.
fn note_trust(st: &mut State, lane: &Lane, field: u16, seen: Trust) {
    if let Some(e) = st
        .get_mut(lane.ix)
        .filter(|e| e.generation == lane.generation)
    {
        let slot = e.trust.entry(field).or_default();
        match (seen, *slot) {
            (Trust::Shown | Trust::Hidden, _)
            | (Trust::Broken, Trust::Unproven | Trust::Proven)
            | (Trust::Proven, Trust::Unproven) => *slot = seen,
            _ => {}
        }
    }
}
