//! What is known beside a question's answer: records that were told, or seen by later fetches, while it was under way.

use crate::server::desk::job::Question;
use crate::server::fetching::landing::question::newer;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::store;
use crate::server::store::change;
use crate::server::valkey::ffi;
use crate::server::valkey::lock;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use podium_core::entry::{hash, Entry, Header};
use podium_core::register::START;
use podium_core::{index, key};
use std::ops::ControlFlow;

/// What is known beside the answer while its sets are written.
pub(super) struct Known {
    /// The records that were returned, whether they match or not.
    pub(super) returned: HashSet<CompactString>,
    /// By set: the records that clients told belong to it. What they told stands until it is fetched: Airtable may list a
    /// fresh write only later.
    pub(super) told: HashMap<Vec<u8>, Vec<CompactString>>,
    /// Records of which something newer than the question was known, up to the number `until`: what belongs to which set of
    /// them is in `told`.
    pub(super) later: HashSet<CompactString>,
    pub(super) until: u64,
    /// How many sets the entity had lost before the first was written.
    pub(super) sets_lost: u64,
}

/// Told records looked at per hold of the lock.
const LOOK: usize = 250;
/// Records of the register gone through for told ones per hold of the lock.
const PLACES: usize = 10_000;

impl Known {
    /// Once the records that were `returned` are stored. `table`: of every set; else of the question's own.
    pub(super) fn gather(
        q: &Question,
        returned: impl Iterator<Item = CompactString>,
        table: bool,
        sent: u64,
    ) -> Known {
        let ix = q.lane.ix;
        let lost = cell::with(|st, _| st.get(ix).map_or(0, |e| e.sets_lost));
        let mut known = Known {
            returned: returned.collect(),
            told: HashMap::new(),
            later: HashSet::new(),
            until: sent,
            sets_lost: lost.unwrap_or(0),
        };
        crate::server::fetching::told::complete(ix);
        let set = (!table && *q.suffix != *b"*").then(|| hash(&q.suffix));
        let places = if set.is_some() { PLACES } else { LOOK };
        let mut from = Some(START);
        while let Some(at) = from {
            let (ids, next) =
                cell::with(|st, _| st.get(ix).map(|e| e.records.told_part(at, places, set)))
                    .flatten()
                    .unwrap_or_default();
            known.look_at(q, &ids, table, |held, e, id| {
                told_sets(held, e, id, |h| h.is_unlisted())
            });
            from = next;
        }
        known.look_at_newer(q, table, sent);
        known
    }
    fn look_at(
        &mut self,
        q: &Question,
        ids: &[CompactString],
        table: bool,
        sets: impl Fn(ffi::Ctx, &Entity, &str) -> Option<Vec<Vec<u8>>>,
    ) -> Vec<CompactString> {
        let mut unknown = Vec::new();
        cell::in_slices(ids, |st, ctx, id| {
            let Some(e) = st.get(q.lane.ix) else {
                return ControlFlow::Break(());
            };
            let Some(sets) = sets(ctx, e, id) else {
                unknown.push(id.clone());
                return ControlFlow::Continue(());
            };
            for suffix in sets {
                if table || suffix == *q.suffix {
                    self.told.entry(suffix).or_default().push(id.clone());
                }
            }
            ControlFlow::Continue(())
        });
        unknown
    }
    /// What was told, or seen by later fetches, while the question was under way. (What is newer still is looked at when
    /// each set is finished.)
    fn look_at_newer(&mut self, q: &Question, table: bool, sent: u64) {
        let ix = q.lane.ix;
        let (ids, until) = {
            let _held = lock::lock();
            (newer(ix, sent), clock::next())
        };
        let ids: Vec<CompactString> = ids
            .into_iter()
            .filter(|id| podium_core::spec::record_id_ok(id.as_bytes()))
            .collect();
        self.until = until;
        let unknown = self.look_at(q, &ids, table, |ctx, e, id| {
            // (A copy of before the question is not what was told: a DEL that found none left it, of a tombstone's record or
            // in another database.)
            match store::copy(ctx, e, id, false) {
                store::Copy::Record(_) => told_sets(ctx, e, id, |h| h.seq > sent),
                store::Copy::Tomb(h) => (h.seq > sent).then(Vec::new),
                store::Copy::Absent | store::Copy::Foreign => None,
            }
        });
        self.later.extend(ids);
        cell::in_slices(&unknown, |st, ctx, id| {
            self.later.remove(id);
            doubt_dropped(st, ctx, ix, self, id, sent);
            ControlFlow::Continue(())
        });
    }
    /// Did the question return it, matching or not?
    pub(super) fn saw(&self, id: &str) -> bool {
        self.returned.contains(id)
    }
    /// The records that clients told belong to a set.
    pub(super) fn told_of(&self, suffix: &[u8]) -> &[CompactString] {
        self.told.get(suffix).map_or(&[], Vec::as_slice)
    }
}

/// The sets that a record belongs to by its copy, if that is of a kind.
fn told_sets(
    ctx: ffi::Ctx,
    e: &Entity,
    id: &str,
    kind: impl Fn(&Header) -> bool,
) -> Option<Vec<Vec<u8>>> {
    let store::Copy::Record(b) = store::copy(ctx, e, id, false) else {
        return None;
    };
    let name = key::record(&e.name, id);
    let entry = Entry::read(b, &name).filter(|entry| kind(&entry.header))?;
    Some(index::all_sets(&e.spec, &entry))
}

/// A record was dropped while the question was under way, or its copy is of before that. Something was told of it that is known no more: it may match, for
/// all who asked since. Else, if it was returned, nothing better is known: as a member without a copy it is fetched when the
/// set is read.
pub(super) fn doubt_dropped(
    st: &mut State,
    ctx: ffi::Ctx,
    ix: EntityIx,
    known: &Known,
    id: &CompactString,
    sent: u64,
) {
    let (seq, told) = {
        change::record_lost(ix, id);
        (clock::next(), clock::order().first_told(ix, id, sent))
    };
    if let Some(first) = told {
        change::doubt(st, ctx, ix, id, first, seq);
    } else if !known.returned.contains(id) && st.get(ix).is_some_and(|e| !e.doubts.holds(id)) {
        change::doubt(st, ctx, ix, id, seq, seq);
    }
}
