//! What an index question brought: its records, its set, or with a whole table every set of the entity.

use super::*;
use crate::server::config;
use crate::server::engine::{self, desk, Lane};
use crate::server::fault::Fault;
use crate::server::fetch::{self, Listing, Question, Shaped};
use crate::server::ffi;
use crate::server::gil;
use crate::server::op::{LandedQuestion, Ticket};
use crate::server::serve;
use crate::server::state::{Complete, EntityIx, State, Trust};
use crate::server::store::{self};
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use podium_core::entry::{Entry, Sentinel};
use podium_core::key;
use std::sync::Arc;

/// A question was answered to its last page.
pub(crate) fn question(q: &Question, sent: u64, asked_ms: u64, listing: Listing, table: bool) {
    let lane = &q.lane;
    let (proven, broken) = listing.lookup();
    let (records, pages) = listing.into_records();
    learn_lookup(q, proven, broken);

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
    let head = Sentinel {
        generation: 0,
        asked_ms,
        fresh_until,
        seq: sent,
        name: 0,
    };

    let mut stored = store_set(
        q,
        &q.suffix,
        matching.keys().cloned().collect(),
        head,
        expire_at,
    );
    if table {
        stored &= store_table(q, &all, head, sent);
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
        ticket: Ticket::new(pages),
    });
    arrive(q, sent, &landed);
}

/// What was told or seen of an entity later than `sent`.
fn newer(ix: EntityIx, sent: u64) -> Vec<CompactString> {
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
    let (proven, broken, pages) = {
        let p = q.progress.lock();
        let (a, b) = p.lookup();
        (a, b, p.pages())
    };
    learn_lookup(q, proven, broken);
    let landed = Arc::new(LandedQuestion {
        records: Err(fault),
        spec: q.lane.spec.clone(),
        sent,
        asked_ms: ffi::now_ms(),
        fresh_until: 0,
        stored: false,
        ticket: Ticket::new(pages.max(1)),
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

fn learn_lookup(q: &Question, proven: bool, broken: bool) {
    let Some((field, _)) = &q.asks else { return };
    if !proven && !broken {
        return;
    }
    let _held = gil::lock();
    gil::enter(|st| {
        note_lookup(st, &q.lane, *field, !broken);
    });
}

/// A lookup was seen to agree with its link cell, or not: one lie is enough.
pub(crate) fn note_lookup(st: &mut State, lane: &Lane, field: u16, agrees: bool) {
    if let Some(e) = st
        .get_mut(lane.ix)
        .filter(|e| e.generation == lane.generation)
    {
        let slot = e.trust.entry(field).or_default();
        if !agrees {
            *slot = Trust::Broken;
        } else if *slot == Trust::Unproven {
            *slot = Trust::Proven;
        }
    }
}

/// End of freshness and expiry of an index set's key.
fn set_ends(lane: &Lane, asked_ms: u64, empty: bool) -> (u64, u64) {
    if empty {
        let until = asked_ms.saturating_add(config::EMPTY_TTL.seconds_as_ms());
        return (until, until);
    }
    let windows = config::windows(fetch::ttl_s(&lane.spec), lane.spec.jitter());
    let ends = podium_core::freshness::ends(&windows, asked_ms, false, ffi::random_u64());
    (ends.fresh_until, ends.expire_at)
}

/// Members written per hold of the lock.
const MEMBERS: usize = 500;

/// Is the entity as the question found it, and the question's own key left alone?
fn current(st: &State, q: &Question, suffix: &[u8], sent: u64) -> bool {
    let what = String::from_utf8_lossy(suffix);
    config::enabled()
        && st
            .get(q.lane.ix)
            .is_some_and(|e| e.generation == q.lane.generation)
        && desk().tokens.current(q.lane.ix, &what, sent)
}

/// Writes one set; true if it is complete in the cache now.
fn store_set(
    q: &Question,
    suffix: &[u8],
    mut ids: Vec<CompactString>,
    head: Sentinel,
    expire_at: u64,
) -> bool {
    ids.sort_unstable();
    ids.dedup();
    let ix = q.lane.ix;
    let sent = head.seq;
    let mut begun = false;
    let mut at = 0;
    let mut before: Option<Vec<CompactString>> = None;
    loop {
        let held = gil::lock();
        let ctx = held.ctx();
        let step = gil::enter(|st| {
            if !current(st, q, suffix, sent) {
                return Some(false);
            }
            if !begun {
                begun = true;
                if let Some(e) = st.get(ix) {
                    match store::read_set(ctx, e, suffix) {
                        // A later question answered first.
                        store::Set::Complete { sentinel, .. } if sentinel.seq > sent => {
                            return Some(true)
                        }
                        store::Set::Complete { ids, .. } => before = Some(ids),
                        _ => {}
                    }
                }
                if !store::begin_set(st, ctx, ix, suffix) {
                    return Some(false);
                }
            }
            let end = (at + MEMBERS).min(ids.len());
            if let Some(part) = ids.get(at..end) {
                if !store::extend_set(st, ctx, ix, suffix, part) {
                    return Some(false);
                }
            }
            at = end;
            if at < ids.len() {
                return None;
            }
            let ok = store::finish_set(st, ctx, ix, suffix, ids.len(), head, expire_at);
            // What is known better by now than when the question was sent. An empty set is there only once it is finished;
            // nobody reads it in between.
            amend(st, ctx, q, suffix, sent);
            if let (true, Some(before)) = (ok, &before) {
                if *before != ids {
                    if let Some(e) = st.get(ix) {
                        store::signal_fetch(ctx, &[e.name.as_bytes(), b":", suffix].concat());
                    }
                }
            }
            Some(ok)
        });
        match step {
            Some(Some(done)) => return done,
            Some(None) => {}
            None => return false,
        }
    }
}

/// Corrects a set by what was told, or seen by later fetches, while its question was under way.
fn amend(st: &mut State, ctx: ffi::Ctx, q: &Question, suffix: &[u8], sent: u64) {
    let ix = q.lane.ix;
    let newer = newer(ix, sent);
    for id in newer {
        if !podium_core::spec::record_id_ok(id.as_bytes()) {
            continue;
        }
        let Some(e) = st.get(ix) else { return };
        let belongs = match store::copy(ctx, e, &id, false) {
            store::Copy::Record(b) => {
                let name = key::record(&e.name, &id);
                Entry::read(b, &name).is_some_and(|entry| belongs_to(e, &entry, suffix))
            }
            store::Copy::Tomb(_) => false,
            // Dropped, and nothing better is known than what the question returned: a member without a copy is fetched when
            // the set is read, and doubt is looked after then.
            store::Copy::Absent | store::Copy::Foreign => continue,
        };
        store::amend_set(st, ctx, ix, suffix, &id, belongs);
    }
    // What clients told stands until it is fetched: Airtable may list a fresh write only later.
    let Some(e) = st.get(ix) else { return };
    let told: Vec<CompactString> = e
        .told
        .iter()
        .filter(|id| match store::copy(ctx, e, id, false) {
            store::Copy::Record(b) => Entry::read(b, &key::record(&e.name, id))
                .is_some_and(|entry| entry.header.told_at > 0 && belongs_to(e, &entry, suffix)),
            _ => false,
        })
        .cloned()
        .collect();
    for id in told {
        store::amend_set(st, ctx, ix, suffix, &id, true);
    }
}

fn belongs_to(e: &crate::server::state::Entity, entry: &Entry, suffix: &[u8]) -> bool {
    if suffix == b"*" {
        return true;
    }
    let Some(at) = suffix.iter().position(|b| *b == b':') else {
        return false;
    };
    let (Some(field), Some(value)) = (suffix.get(..at), suffix.get(at + 1..)) else {
        return false;
    };
    std::str::from_utf8(field)
        .ok()
        .and_then(|f| e.spec.field(f))
        .is_some_and(|f| entry.has(f, value))
}

/// The whole table was read: every index value is complete, the unknown ones empty.
fn store_table(q: &Question, all: &[(CompactString, Shaped)], head: Sentinel, sent: u64) -> bool {
    let lane = &q.lane;
    let mut sets: HashMap<Vec<u8>, Vec<CompactString>> = HashMap::new();
    for (id, s) in all {
        let name = key::record(&lane.entity, id);
        let Some(entry) = Entry::read(&s.bytes, &name) else {
            continue;
        };
        for (f, field) in lane
            .spec
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, f)| f.indexed)
        {
            for text in entry.texts(f as u16) {
                let suffix = [field.name.as_bytes(), b":", text].concat();
                sets.entry(suffix).or_default().push(id.clone());
            }
        }
    }
    let ids: Vec<CompactString> = all.iter().map(|(id, _)| id.clone()).collect();
    store_sets(q, ids, sets, head, sent)
}

/// The whole table was read and its records stored: the set of all, and that of every value. True if they are complete.
pub(crate) fn whole_table(
    q: &Question,
    ids: Vec<CompactString>,
    sets: HashMap<Vec<u8>, Vec<CompactString>>,
    sent: u64,
    asked_ms: u64,
) -> bool {
    let (fresh_until, expire_at) = set_ends(&q.lane, asked_ms, ids.is_empty());
    let head = Sentinel {
        generation: 0,
        asked_ms,
        fresh_until,
        seq: sent,
        name: 0,
    };
    store_set(q, &q.suffix, ids.clone(), head, expire_at) && store_sets(q, ids, sets, head, sent)
}

/// `ids`: all of the table; `sets`: by value.
fn store_sets(
    q: &Question,
    ids: Vec<CompactString>,
    sets: HashMap<Vec<u8>, Vec<CompactString>>,
    head: Sentinel,
    sent: u64,
) -> bool {
    let lane = &q.lane;
    let mut stored = true;
    if q.asks.is_some() {
        let (fresh_until, expire_at) = set_ends(lane, head.asked_ms, ids.is_empty());
        stored &= store_set(
            q,
            b"*",
            ids,
            Sentinel {
                fresh_until,
                ..head
            },
            expire_at,
        );
    }
    let asked_for: HashSet<&[u8]> = std::iter::once(&q.suffix[..]).collect();
    for (suffix, ids) in sets {
        if asked_for.contains(&suffix[..]) {
            continue;
        }
        let (fresh_until, expire_at) = set_ends(lane, head.asked_ms, false);
        stored &= store_set(
            q,
            &suffix,
            ids,
            Sentinel {
                fresh_until,
                ..head
            },
            expire_at,
        );
    }
    if !stored {
        return false;
    }
    let held = gil::lock();
    let ctx = held.ctx();
    gil::enter(|st| {
        if !current(st, q, b"*", sent) {
            return false;
        }
        // Unknown values are empty from here on; what was told meanwhile may have brought some.
        let newer = newer(lane.ix, sent);
        let until = if q.asks.is_some() {
            set_ends(lane, head.asked_ms, true).0
        } else {
            head.fresh_until
        };
        if let Some(e) = st.get_mut(lane.ix) {
            e.complete = Some(Complete {
                seq: sent,
                asked_ms: head.asked_ms,
                fresh_until: until,
            });
        }
        let told = st
            .get(lane.ix)
            .map(|e| e.told.iter().cloned().collect::<Vec<_>>())
            .unwrap_or_default();
        for id in newer.into_iter().chain(told) {
            store::index_newcomer(st, ctx, lane.ix, &id);
        }
        true
    })
    .unwrap_or(false)
}
