//! Records that may by now match any index value, because somebody said they changed and their cells have not been seen since.

use compact_str::CompactString;
use hashbrown::HashMap;

/// Beyond this many the entity's index sets are dropped instead.
pub const MOST: usize = 1000;

/// The records in doubt of one entity, with the number of the change that raised the doubt.
#[derive(Default, Clone, Debug)]
pub struct Doubts {
    raised: HashMap<CompactString, u64>,
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
        let slot = self.raised.entry(CompactString::new(id)).or_insert(0);
        *slot = (*slot).max(seq);
        self.newest = self.newest.max(seq);
        if self.raised.len() > MOST {
            Raised::TooMany
        } else {
            Raised::Noted
        }
    }
    /// Its cells were seen by a fetch sent as `sent`, or told then. True if a doubt ended.
    pub fn settle(&mut self, id: &str, sent: u64) -> bool {
        match self.raised.get(id) {
            Some(raised) if *raised <= sent => {
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
    /// The records whose doubt is newer than the set's confirmation and not newer than the question.
    pub fn between(&self, confirmed: u64, asked: u64) -> impl Iterator<Item = &str> {
        self.raised
            .iter()
            .filter(move |(_, s)| **s > confirmed && **s <= asked)
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
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.raised.iter().map(|(id, s)| (id.as_str(), *s))
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
        assert!(
            !d.settle("recA", 40),
            "that fetch was sent before the change"
        );
        assert!(d.holds("recA"));
        assert!(d.settle("recA", 60));
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
