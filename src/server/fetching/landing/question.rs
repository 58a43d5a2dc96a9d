//! What an index question brought: its records, its set, or with a whole table every set of the entity.

use crate::server::desk::job::{Listing, Mode, Question};
use crate::server::desk::way::Learnt;
use crate::server::desk::{self, desk};
use crate::server::fetching::landing::ends::ahead;
use crate::server::fetching::landing::known::Known;
use crate::server::fetching::landing::put;
use crate::server::fetching::landing::sets::{head, set_ends, store_set, store_table};
use crate::server::fetching::landing::SLICE;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State, Trust};
use crate::server::state::lane::Lane;
use crate::server::state::outcome::{LandedQuestion, Ticket};
use crate::server::state::questions::UnderWay;
use crate::server::state::schemas;
use crate::server::state::waiting;
use crate::server::store::change;
use crate::server::store::form;
use crate::server::store::walk;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::ffi;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_core::entry::Encoded;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A question was answered to its last page.
pub(crate) fn question(q: &Question, sent: u64, asked_ms: u64, listing: Listing) {
    let lane = &q.lane;
    let learnt = listing.learnt();
    let calls = listing.calls();
    let Listing {
        records,
        mut damaged,
        nameless,
        mode,
        sent: number,
        under_way,
        ..
    } = listing;
    let table = matches!(mode, Mode::Table);
    learn(q, learnt);

    // The records first, then the sets that hold them.
    let all: Vec<(CompactString, Encoded)> = records.into_iter().collect();
    for chunk in all.chunks(SLICE) {
        let _ahead = ahead(lane, sent, chunk.iter().map(|(id, s)| (id, Some(s))));
        cell::in_slices(chunk, |st, ctx, (id, s)| {
            put(st, ctx, lane, id, s);
            ControlFlow::Continue(())
        });
    }
    let mut matching: HashMap<CompactString, Arc<[u8]>> = all
        .iter()
        .filter(|(id, s)| form::matches(lane, id, &s.bytes, &q.asks))
        .map(|(id, s)| (id.clone(), s.bytes.clone()))
        .collect();
    // What can be read of the others says which sets they are in; their own cells decide for them too.
    let readable = |(id, f): (&CompactString, &Fault)| {
        let cells = f.damage.as_ref()?.cells.clone()?;
        Some((id.clone(), cells))
    };
    let in_part: Vec<(CompactString, Encoded)> = damaged.iter().filter_map(readable).collect();
    let in_no_part: Vec<CompactString> = {
        let known = |id: &&CompactString| !in_part.iter().any(|(i, _)| i == *id);
        damaged.keys().filter(known).cloned().collect()
    };
    let returned: Vec<CompactString> = all
        .iter()
        .map(|(id, _)| id.clone())
        .chain(damaged.keys().cloned())
        .collect();
    for (id, cells) in &in_part {
        if !form::matches(lane, id, &cells.bytes, &q.asks) {
            damaged.remove(id);
        }
    }
    let (fresh_until, expire_at) =
        set_ends(lane, asked_ms, matching.is_empty() && damaged.is_empty());
    let head = head(asked_ms, fresh_until, sent);

    let known = Known::gather(q, returned.iter().cloned(), table, sent);
    // A set that may lack what does not say which record it is would not be complete.
    let mut stored = false;
    if nameless == 0 {
        let members = matching.keys().chain(damaged.keys()).cloned().collect();
        stored = store_set(q, &known, &q.suffix, members, head, expire_at);
        if table {
            let in_sets = all.iter().chain(&in_part);
            stored &= store_table(q, &known, returned, in_sets, head, sent);
            doubt_all(lane, &in_no_part);
        }
    }
    if !stored {
        add_told(q, &known, &mut matching);
    }
    let landed = Arc::new(LandedQuestion {
        records: Ok(matching),
        damaged,
        nameless: nameless > 0,
        spec: lane.spec.clone(),
        sent,
        asked_ms,
        fresh_until,
        stored,
        ticket: Ticket::new(calls),
        _relied: number,
    });
    arrive(q, landed, under_way);
}

/// Records of a table of which no cell could be read: each may belong to any set.
pub(crate) fn doubt_all(lane: &Lane, ids: &[CompactString]) {
    cell::in_slices(ids, |st, ctx, id| {
        if st.get(lane.ix).map(|e| e.generation) != Some(lane.generation) {
            return ControlFlow::Break(());
        }
        let seq = clock::next();
        change::doubt(st, ctx, lane.ix, id, seq, seq);
        ControlFlow::Continue(())
    });
}

/// What was told or seen of an entity later than `sent`.
pub(super) fn newer(ix: EntityIx, sent: u64) -> Vec<CompactString> {
    clock::order()
        .newer_than(ix, sent)
        .map(CompactString::new)
        .collect()
}

/// Where no set could be stored: records that clients told of before it was asked belong to the answer all the same, but for
/// those that it saw itself. (What was told since, each reader looks for.)
fn add_told(q: &Question, known: &Known, matching: &mut HashMap<CompactString, Arc<[u8]>>) {
    walk::each(q.lane.ix, known.told_of(&q.suffix), |c| {
        let belongs = || form::matches(&q.lane, c.id, c.entry.bytes(), &q.asks);
        if c.e.generation == q.lane.generation && !known.saw(c.id) && belongs() {
            matching.insert(c.id.clone(), c.entry.bytes().into());
        }
    });
}

/// A question failed for good.
pub(crate) fn question_failed(q: &Question, sent: u64, fault: Fault) {
    let (learnt, calls, number, under_way) = {
        let mut p = q.progress.lock();
        (p.learnt(), p.calls(), p.sent.take(), p.under_way.take())
    };
    learn(q, learnt);
    let landed = Arc::new(LandedQuestion {
        records: Err(fault),
        damaged: HashMap::default(),
        nameless: false,
        spec: q.lane.spec.clone(),
        sent,
        asked_ms: ffi::now_ms(),
        fresh_until: 0,
        stored: false,
        ticket: Ticket::new(calls),
        _relied: number,
    });
    arrive(q, landed, under_way);
}

fn arrive(q: &Question, landed: Arc<LandedQuestion>, under_way: Option<UnderWay>) {
    cell::with(|st, _| {
        drop(under_way);
        if landed.records.is_ok() {
            schemas::fetched(st, q.lane.ix);
        }
    });
    let passengers = {
        let mut d = desk();
        let flight = q.flight.load(std::sync::atomic::Ordering::Relaxed);
        d.calls.remove(&flight);
        d.flights.land(flight)
    };
    desk::close_now();
    waiting::arrived_question(q.lane.ix, &q.suffix, &landed, passengers);
}

/// What its pages showed of the columns that it asked.
fn learn(q: &Question, learnt: Learnt) {
    let (Some((field, _)), Some(learnt)) = (&q.asks, learnt) else {
        return;
    };
    cell::with(|st, _| note_trust(st, &q.lane, *field, learnt));
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
