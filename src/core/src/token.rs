//! The order of sends and changes, and what may still be stored.
//!
//! Every fetch takes a number when it is *sent*, every change takes one when it is applied, from the same clock. A fill is
//! stored only if nothing newer is known of its record: whatever changed since it was sent wins. What changed is
//! remembered only while a fetch that was sent before it is still under way.

use crate::outside;
use alloc::collections::BTreeMap;
use compact_str::CompactString;
use hashbrown::HashMap;

/// Changes remembered at most; beyond it everything under way is outdated instead.
const MOST: usize = 100_000;

/// Whose change: the caller's number of the entity.
pub type EntityIx = u32;

/// The clock and what changed lately.
#[derive(Default)]
pub struct Tokens {
    last: u64,
    /// Everything sent before is outdated, for every entity.
    floor: u64,
    floors: HashMap<EntityIx, u64>,
    recent: HashMap<(EntityIx, CompactString), u64>,
    /// The latest number in `recent`.
    newest: u64,
    /// Numbers of the fetches under way, and how many share each.
    under_way: BTreeMap<u64, u32>,
}

impl Tokens {
    /// The next number: later than every earlier one, and near the wall clock (`now_us`), so that the order holds over a restart.
    pub fn next(&mut self, now_us: u64) -> u64 {
        self.last = self.last.saturating_add(1).max(now_us);
        self.last
    }
    /// Takes note of a number read from storage; false: it was never one of the order, and is not believed.
    pub fn observe(&mut self, seq: u64, now_us: u64) -> bool {
        let believed = self.believes(seq, now_us);
        if believed {
            self.raise(seq);
        }
        believed
    }
    /// Can a number read from storage be one of the order? See [`crate::outside`].
    pub fn believes(&self, seq: u64, now_us: u64) -> bool {
        seq <= self.last.max(outside::latest(now_us))
    }
    fn raise(&mut self, seq: u64) {
        self.last = self.last.max(seq);
    }
    /// A fetch is sent.
    pub fn sent(&mut self, now_us: u64) -> u64 {
        let seq = self.next(now_us);
        *self.under_way.entry(seq).or_insert(0) += 1;
        seq
    }
    /// A fetch has landed, one way or another.
    pub fn landed(&mut self, seq: u64) {
        if let Some(n) = self.under_way.get_mut(&seq) {
            *n -= 1;
            if *n == 0 {
                self.under_way.remove(&seq);
            }
        }
        match self.under_way.keys().next().copied() {
            None => {
                self.recent.clear();
                self.floors.clear();
                self.newest = 0;
            }
            Some(oldest) => {
                // Only worth a walk when it can shrink something real.
                if self.recent.len() > 64 {
                    self.recent.retain(|_, s| *s > oldest);
                }
            }
        }
    }
    /// Something newer is known of this record (or index value, by its `<field>:<value>`): `seq` is its number.
    pub fn note(&mut self, entity: EntityIx, what: &str, seq: u64) {
        self.raise(seq);
        // Only what was sent before can be outdated by it: a long listing's own fills are no news to anybody.
        if self
            .under_way
            .keys()
            .next()
            .is_none_or(|oldest| *oldest >= seq)
        {
            return;
        }
        self.newest = self.newest.max(seq);
        if self.recent.len() >= MOST {
            self.recent.clear();
            self.floor = self.last;
        }
        let slot = self
            .recent
            .entry((entity, CompactString::new(what)))
            .or_insert(0);
        *slot = (*slot).max(seq);
    }
    /// Everything of an entity changed.
    pub fn note_entity(&mut self, entity: EntityIx, seq: u64) {
        self.raise(seq);
        self.floors.insert(entity, seq);
    }
    /// Everything changed (FLUSHALL, another role).
    pub fn note_all(&mut self, seq: u64) {
        self.raise(seq);
        self.floor = self.floor.max(seq);
    }
    /// May what was sent as `sent` be stored for this record, and may somebody who asks now wait for it?
    pub fn current(&self, entity: EntityIx, what: &str, sent: u64) -> bool {
        self.entity_current(entity, sent)
            && self
                .recent
                .get(&(entity, CompactString::new(what)))
                .is_none_or(|s| *s <= sent)
    }
    /// Was the entity as a whole left alone since?
    pub fn entity_current(&self, entity: EntityIx, sent: u64) -> bool {
        sent > self.floor && self.floors.get(&entity).is_none_or(|s| *s < sent)
    }
    /// Records of an entity of which something newer than `sent` is known.
    pub fn newer_than(&self, entity: EntityIx, sent: u64) -> impl Iterator<Item = &str> {
        // Mostly there is nothing: then nothing is walked.
        let recent = (self.newest > sent).then_some(&self.recent);
        recent
            .into_iter()
            .flatten()
            .filter(move |((e, _), s)| *e == entity && **s > sent)
            .map(|((_, id), _)| id.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn what_changed_after_the_send_wins() {
        let mut t = Tokens::default();
        let sent = t.sent(100);
        assert!(t.current(1, "recA", sent));
        let seq = t.next(100);
        t.note(1, "recA", seq);
        assert!(!t.current(1, "recA", sent));
        assert!(t.current(1, "recB", sent) && t.current(2, "recA", sent));
        let later = t.sent(100);
        assert!(t.current(1, "recA", later));
    }

    #[test]
    fn a_fill_sent_later_but_landed_first_wins() {
        let mut t = Tokens::default();
        let (early, late) = (t.sent(1), t.sent(1));
        t.note(1, "recA", late);
        t.landed(late);
        assert!(!t.current(1, "recA", early));
        assert!(t.current(1, "recA", late), "its own number is no change");
    }

    #[test]
    fn a_number_that_never_was_one_ends_no_order() {
        let now = 1_800_000_000_000_000;
        let mut t = Tokens::default();
        for never in [u64::MAX, u64::MAX - 1, outside::latest(now) + 1] {
            assert!(!t.observe(never, now), "{never}");
        }
        let sent = t.sent(now);
        let seq = t.next(now);
        t.note(1, "recA", seq);
        assert!(!t.current(1, "recA", sent) && t.current(1, "recB", sent));
        let ahead = outside::latest(now);
        assert!(t.observe(ahead, now), "of a clock that ran ahead");
        assert!(t.next(now) > ahead);
        let own = t.next(now);
        assert!(t.observe(own, 5), "a clock that was put back");
    }

    #[test]
    fn entity_and_global_changes_outdate_what_is_under_way_only() {
        let mut t = Tokens::default();
        let sent = t.sent(1);
        let seq = t.next(1);
        t.note_entity(1, seq);
        assert!(!t.current(1, "recA", sent) && t.current(2, "recA", sent));
        let seq = t.next(1);
        t.note_all(seq);
        assert!(!t.current(2, "recA", sent));
        let later = t.sent(1);
        assert!(t.current(1, "recA", later) && t.current(2, "recA", later));
    }

    #[test]
    fn nothing_is_remembered_once_nothing_is_under_way() {
        let mut t = Tokens::default();
        let sent = t.sent(1);
        let seq = t.next(1);
        t.note(1, "recA", seq);
        t.landed(sent);
        assert_eq!(t.recent.len(), 0);
        let seq = t.next(1);
        t.note(1, "recB", seq);
        assert_eq!(t.recent.len(), 0);
    }

    #[test]
    fn a_long_listings_own_fills_are_not_remembered() {
        let mut t = Tokens::default();
        let sent = t.sent(1);
        for n in 0..MOST + 10 {
            t.note(1, &alloc::format!("rec{n}"), sent);
        }
        assert_eq!(t.recent.len(), 0);
        assert!(
            t.current(1, "rec1", sent),
            "more records than are remembered outdate nothing"
        );
    }

    proptest! {
        /// Against a model that forgets nothing: forgetting never lets an outdated fill through.
        #[test]
        fn forgetting_changes_no_verdict(steps in proptest::collection::vec((0u8..4, 0u8..3), 1..200)) {
            let mut t = Tokens::default();
            let mut under: Vec<u64> = Vec::new();
            let mut changes: Vec<(u8, u64)> = Vec::new();
            for (what, id) in steps {
                let name = ["a", "b", "c"][id as usize];
                match what {
                    0 => under.push(t.sent(0)),
                    1 => { let s = t.next(0); t.note(1, name, s); changes.push((id, s)); }
                    2 => if let Some(s) = under.pop() {
                        let expected = !changes.iter().any(|(c, at)| *c == id && *at > s);
                        prop_assert_eq!(t.current(1, name, s), expected);
                        t.landed(s);
                    },
                    _ => if !under.is_empty() {
                        let s = under.remove(0);
                        let expected = !changes.iter().any(|(c, at)| *c == id && *at > s);
                        prop_assert_eq!(t.current(1, name, s), expected);
                        t.landed(s);
                    },
                }
            }
        }
    }
}
