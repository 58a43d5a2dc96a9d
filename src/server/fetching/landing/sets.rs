//! The index sets that an answer completes: its own, or with a whole table every one of the entity.

use crate::server::desk::job::Question;
use crate::server::fetching::landing::known::{doubt_dropped, Known};
use crate::server::fetching::landing::question::newer;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{Complete, Entity, EntityIx, State};
use crate::server::state::lane;
use crate::server::state::lane::Lane;
use crate::server::state::schemas;
use crate::server::store;
use crate::server::valkey::ffi;
use crate::server::valkey::settings;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use podium_core::entry::Encoded;
use podium_core::entry::{Entry, Sentinel};
use podium_core::{index, key};

/// End of freshness and expiry of an index set's key.
pub(super) fn set_ends(lane: &Lane, asked_ms: u64, empty: bool) -> (u64, u64) {
    if empty {
        let until = asked_ms.saturating_add(settings::EMPTY_TTL.seconds_as_ms());
        return (until, until);
    }
    let windows = settings::windows(lane::ttl_s(&lane.spec), lane.spec.jitter());
    let ends = podium_core::freshness::ends(&windows, asked_ms, false, ffi::chance());
    (ends.fresh_until, ends.expire_at)
}

/// What a set says of itself; its generation and name are put in when it is written.
pub(super) fn head(asked_ms: u64, fresh_until: u64, sent: u64) -> Sentinel {
    Sentinel {
        generation: 0,
        asked_ms,
        fresh_until,
        seq: sent,
        name: 0,
    }
}

/// Members written per hold of the lock, and read.
const MEMBERS: usize = 100;
const LISTED: usize = 1_000;

/// Is the entity as the question found it, and the question's own key left alone?
fn current(st: &State, q: &Question, suffix: &[u8], sent: u64) -> bool {
    let what = String::from_utf8_lossy(suffix);
    settings::enabled()
        && st
            .get(q.lane.ix)
            .is_some_and(|e| e.generation == q.lane.generation)
        && clock::order().current(q.lane.ix, &what, sent)
}

/// Writes one set; true if it is complete in the cache now.
pub(super) fn store_set(
    q: &Question,
    known: &Known,
    suffix: &[u8],
    mut ids: Vec<CompactString>,
    head: Sentinel,
    expire_at: u64,
) -> bool {
    // (Should one be told otherwise, or fetched, before the set is finished, that is newer than the question.)
    ids.retain(|id| !known.later.contains(id));
    ids.extend_from_slice(known.told_of(suffix));
    ids.sort_unstable();
    ids.dedup();
    let ix = q.lane.ix;
    let sent = head.seq;
    let mut build = None;
    let mut at = 0;
    let standing = Standing::read(ix, suffix);
    let same = standing.ids == ids;
    let mut tell = false;
    loop {
        let step = cell::with(|st, ctx| {
            if !current(st, q, suffix, sent) {
                return Some(false);
            }
            let number = if let Some(number) = build {
                number
            } else {
                if let Some(e) = st.get(ix) {
                    let (there, members, _) = store::set_state(ctx, e, suffix);
                    if there.is_some_and(|there| there.seq > sent) {
                        // A later question answered first.
                        return Some(true);
                    }
                    // Another set than there was, or nobody can say.
                    let is_it = |there| same && members == ids.len() && standing.is(e, &there);
                    tell = there.is_some_and(|there| !is_it(there));
                }
                let Some(number) = store::begin_set(st, ctx, ix, suffix) else {
                    return Some(false);
                };
                *build.insert(number)
            };
            let end = (at + MEMBERS).min(ids.len());
            if let Some(part) = ids.get(at..end) {
                if !store::extend_set(st, ctx, ix, suffix, number, part) {
                    return Some(false);
                }
            }
            at = end;
            if at < ids.len() {
                return None;
            }
            let ok = store::finish_set(st, ctx, ix, suffix, number, ids.len(), head, expire_at);
            // What is known better by now than when the answer was put together. An empty set is there only once it is finished;
            // nobody reads it in between.
            amend(st, ctx, q.lane.ix, known, suffix, sent);
            if let Some(e) = st.get(ix).filter(|_| ok && tell) {
                store::signal_landed(ctx, e, suffix);
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

/// A set as it stood before it was written anew, read in slices.
#[derive(Default)]
struct Standing {
    head: Option<Sentinel>,
    ids: Vec<CompactString>,
    moves: u64,
}

impl Standing {
    fn read(ix: EntityIx, suffix: &[u8]) -> Standing {
        let mut standing = Standing::default();
        loop {
            let part = cell::with(|st, ctx| {
                let e = st.get(ix)?;
                if standing.head.is_none() {
                    standing.moves = e.moves.get();
                }
                store::read_part(ctx, e, suffix, standing.ids.last(), LISTED)
            });
            let Some((head, part)) = part.flatten() else {
                return standing;
            };
            let last = part.len() < LISTED;
            standing.head = Some(head);
            standing.ids.extend(part);
            if last {
                return standing;
            }
        }
    }
    /// Is it the set that is there, and did nothing move meanwhile?
    fn is(&self, e: &Entity, there: &Sentinel) -> bool {
        self.head.as_ref() == Some(there) && self.moves == e.moves.get()
    }
}

/// Corrects a set by what was told, or seen by later fetches, while its question was under way.
fn amend(st: &mut State, ctx: ffi::Ctx, ix: EntityIx, known: &Known, suffix: &[u8], sent: u64) {
    for id in newer(ix, known.until) {
        if !podium_core::spec::record_id_ok(id.as_bytes()) {
            continue;
        }
        let Some(e) = st.get(ix) else { return };
        match store::copy(ctx, e, &id, false) {
            store::Copy::Record(b) => {
                let name = key::record(&e.name, &id);
                match Entry::read(b, &name) {
                    Some(entry) if entry.header.seq > sent => {
                        let belongs = index::belongs(&e.spec, &entry, suffix);
                        store::amend_set(st, ctx, ix, suffix, &id, belongs);
                    }
                    // The question's own.
                    Some(entry) if entry.header.seq == sent => {}
                    _ => doubt_dropped(st, ctx, ix, known, &id, sent),
                }
            }
            store::Copy::Tomb(h) if h.seq > sent => {
                store::amend_set(st, ctx, ix, suffix, &id, false);
            }
            store::Copy::Tomb(_) | store::Copy::Absent | store::Copy::Foreign => {
                doubt_dropped(st, ctx, ix, known, &id, sent);
            }
        }
    }
}

/// The whole table was read: every index value is complete, the unknown ones empty. `ids`: all of it; `in_sets`: those of
/// which cells are known.
pub(super) fn store_table<'a>(
    q: &Question,
    known: &Known,
    ids: Vec<CompactString>,
    in_sets: impl Iterator<Item = &'a (CompactString, Encoded)>,
    head: Sentinel,
    sent: u64,
) -> bool {
    let lane = &q.lane;
    let mut sets: HashMap<Vec<u8>, Vec<CompactString>> = HashMap::new();
    for (id, s) in in_sets {
        let name = key::record(&lane.entity, id);
        let Some(entry) = Entry::read(&s.bytes, &name) else {
            continue;
        };
        for suffix in index::sets(&lane.spec, &entry) {
            sets.entry(suffix).or_default().push(id.clone());
        }
    }
    store_sets(q, known, ids, sets, head, sent)
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
    let head = head(asked_ms, fresh_until, sent);
    cell::with(|st, _| schemas::fetched(st, q.lane.ix));
    let known = Known::gather(q, ids.iter().cloned(), true, sent);
    store_set(q, &known, &q.suffix, ids.clone(), head, expire_at)
        && store_sets(q, &known, ids, sets, head, sent)
}

/// `ids`: all of the table; `sets`: by value.
fn store_sets(
    q: &Question,
    known: &Known,
    ids: Vec<CompactString>,
    mut sets: HashMap<Vec<u8>, Vec<CompactString>>,
    head: Sentinel,
    sent: u64,
) -> bool {
    let lane = &q.lane;
    let mut stored = true;
    if q.asks.is_some() {
        let (fresh_until, expire_at) = set_ends(lane, head.asked_ms, ids.is_empty());
        stored &= store_set(
            q,
            known,
            b"*",
            ids,
            Sentinel {
                fresh_until,
                ..head
            },
            expire_at,
        );
    }
    // A value that only what was told has.
    for suffix in known.told.keys().filter(|suffix| *suffix != b"*") {
        sets.entry(suffix.clone()).or_default();
    }
    let asked_for: HashSet<&[u8]> = std::iter::once(&q.suffix[..]).collect();
    for (suffix, ids) in sets {
        if asked_for.contains(&suffix[..]) {
            continue;
        }
        let (fresh_until, expire_at) = set_ends(lane, head.asked_ms, false);
        stored &= store_set(
            q,
            known,
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
    cell::with(|st, ctx| {
        if !current(st, q, b"*", sent) {
            return false;
        }
        // Unknown values are empty from here on; what was told meanwhile may have brought some. (What was told before is in
        // the sets that were written.)
        let newer = newer(lane.ix, known.until);
        let until = if q.asks.is_some() {
            set_ends(lane, head.asked_ms, true).0
        } else {
            head.fresh_until
        };
        if let Some(e) = st.get_mut(lane.ix) {
            if e.sets_lost != known.sets_lost {
                // One of those just written, perhaps: its value is not an empty one.
                return false;
            }
            e.complete = Some(Complete {
                seq: sent,
                asked_ms: head.asked_ms,
                fresh_until: until,
            });
        }
        for id in newer {
            store::index_newcomer(st, ctx, lane.ix, &id);
        }
        true
    })
    .unwrap_or(false)
}
