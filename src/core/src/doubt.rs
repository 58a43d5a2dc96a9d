//! Records that may by now match any index value, because somebody said they changed and their cells have not been seen since.

use compact_str::CompactString;
use hashbrown::HashMap;

/// Beyond this many the entity's index sets are dropped instead.
pub const MOST: usize = 1000;

/// Numbers of the changes that raised a doubt: the first since its cells were last seen, and the latest.
#[derive(Clone, Copy, Debug)]
struct Reasons {
    first: u64,
    latest: u64,
}

/// The records in doubt of one entity.
#[derive(Default, Clone, Debug)]
pub struct Doubts {
    raised: HashMap<CompactString, Reasons>,
    newest: u64,
}

/// What raising a doubt came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Raised {
    Noted,
    /// Too many: drop every index set of the entity and [`Doubts::clear`].
    TooMany,
}

impl Doubts {
    pub fn raise(&mut self, id: &str, seq: u64) -> Raised {
        self.raise_since(id, seq, seq)
    }
    /// As [`raise`](Self::raise), for who asked from `first` on: what was told then is known no more.
    pub fn raise_since(&mut self, id: &str, first: u64, seq: u64) -> Raised {
        let reasons = self
            .raised
            .entry_ref(id)
            .or_insert(Reasons { first, latest: seq });
        reasons.first = reasons.first.min(first);
        reasons.latest = reasons.latest.max(seq);
        self.newest = self.newest.max(seq);
        if self.raised.len() > MOST {
            Raised::TooMany
        } else {
            Raised::Noted
        }
    }
    /// Its cells were seen by a fetch sent as `sent`, or told then. True if a doubt ended.
    pub fn end(&mut self, id: &str, sent: u64) -> bool {
        match self.raised.get(id) {
            Some(reasons) if reasons.latest <= sent => {
                self.raised.remove(id);
                true
            }
            _ => false,
        }
    }
    /// Could anything raised after `confirmed` and up to `asked` be here? Cheap: most answers need no more.
    pub fn any_since(&self, confirmed: u64) -> bool {
        !self.raised.is_empty() && self.newest > confirmed
    }
    /// The records whose doubt is newer than the set's confirmation and was there when the question was asked. (That it was
    /// raised once more since takes nothing from that.)
    pub fn between(&self, confirmed: u64, asked: u64) -> impl Iterator<Item = &str> {
        self.raised
            .iter()
            .filter(move |(_, r)| r.latest > confirmed && r.first <= asked)
            .map(|(id, _)| id.as_str())
    }
    pub fn holds(&self, id: &str) -> bool {
        self.raised.contains_key(id)
    }
    pub fn len(&self) -> usize {
        self.raised.len()
    }
    pub fn is_empty(&self) -> bool {
        self.raised.is_empty()
    }
    pub fn clear(&mut self) {
        self.raised.clear();
        self.newest = 0;
    }
    /// Each with the number of its latest reason.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.raised.iter().map(|(id, r)| (id.as_str(), r.latest))
    }
}

/// Calls to settle `doubts` records by id, against asking a question anew whose set holds `members`.
pub fn cheaper_to_refetch(doubts: usize, members: usize) -> bool {
    doubts.div_ceil(100) <= (members / 100 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_doubt_ends_only_by_a_later_look() {
        let mut d = Doubts::default();
        d.raise("recA", 50);
        assert!(!d.end("recA", 40), "that fetch was sent before the change");
        assert!(d.holds("recA"));
        assert!(d.end("recA", 60));
        assert!(d.is_empty());
    }

    #[test]
    fn only_doubt_between_confirmation_and_question_counts() {
        let mut d = Doubts::default();
        d.raise("recA", 10);
        d.raise("recB", 20);
        d.raise("recC", 30);
        let found: alloc::vec::Vec<_> = d.between(10, 25).collect();
        assert_eq!(found, ["recB"]);
        assert!(d.any_since(29) && !d.any_since(30));
    }

    #[test]
    fn a_doubt_that_is_raised_again_counts_for_who_asked_in_between() {
        let mut d = Doubts::default();
        d.raise("recA", 10);
        d.raise("recA", 30);
        assert_eq!(d.between(5, 20).count(), 1);
        assert_eq!(d.between(5, 9).count(), 0);
        assert!(!d.end("recA", 20) && d.end("recA", 30));
    }

    #[test]
    fn beyond_a_thousand_the_sets_go() {
        let mut d = Doubts::default();
        for i in 0..MOST {
            assert_eq!(d.raise(&format!("rec{i}"), i as u64), Raised::Noted);
        }
        assert_eq!(d.raise("recLast", 1), Raised::TooMany);
        assert_eq!(d.raise("recLast", 2), Raised::TooMany);
    }

    #[test]
    fn the_fewer_calls_win_and_a_tie_refetches() {
        assert!(cheaper_to_refetch(1, 0));
        assert!(cheaper_to_refetch(100, 5));
        assert!(!cheaper_to_refetch(101, 5));
        assert!(cheaper_to_refetch(150, 100));
    }
}
