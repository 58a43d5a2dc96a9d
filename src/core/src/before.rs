//! Until when a record that is not cached any more was known: what is told of it as of an earlier time tells nothing.
//!
//! A copy or a tombstone says itself how old it is. Once it was dropped (it is in doubt, deleted, flushed, evicted), this does.

use alloc::collections::BTreeSet;
use compact_str::CompactString;
use hashbrown::HashMap;

/// Records remembered one by one; beyond it the oldest are taken together.
const MOST: usize = 10_000;

/// Times are unix ms.
#[derive(Default)]
pub struct Before {
    /// Of every record.
    all: u64,
    /// Of single ones, and whether somebody said that it changed then (else the server only took its copy away).
    of: HashMap<CompactString, (u64, bool)>,
    order: BTreeSet<(u64, CompactString)>,
}

impl Before {
    /// Everything of the entity was dropped, or its past is not known here.
    pub fn all(&mut self, ms: u64) {
        self.all = self.all.max(ms);
        self.of.clear();
        self.order.clear();
    }
    /// A record was said to have changed.
    pub fn told(&mut self, id: &str, ms: u64) {
        self.note(id, ms, true);
    }
    /// A record's copy expired or was evicted. With too many of them the oldest are forgotten.
    pub fn gone(&mut self, id: &str, ms: u64) {
        self.note(id, ms, false);
    }
    /// What is told of the record as of an earlier time is outdated.
    pub fn of(&self, id: &str) -> u64 {
        self.of.get(id).map_or(0, |(ms, _)| *ms).max(self.all)
    }
    fn note(&mut self, id: &str, ms: u64, told: bool) {
        if ms <= self.all {
            return;
        }
        let (was, told_before) = self.of.get(id).copied().unwrap_or_default();
        let id = CompactString::new(id);
        if was > 0 {
            self.order.remove(&(was, id.clone()));
        }
        let ms = ms.max(was);
        self.order.insert((ms, id.clone()));
        self.of.insert(id, (ms, told || told_before));
        if self.of.len() > MOST {
            if let Some((oldest, id)) = self.order.pop_first() {
                if self.of.remove(&id).is_some_and(|(_, told)| told) {
                    self.all = self.all.max(oldest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn the_latest_time_counts_of_one_and_of_all() {
        let mut b = Before::default();
        assert_eq!(b.of("recA"), 0);
        b.told("recA", 50);
        b.gone("recA", 40);
        assert_eq!((b.of("recA"), b.of("recB")), (50, 0));
        b.all(60);
        assert_eq!((b.of("recA"), b.of("recB")), (60, 60));
        b.told("recA", 55);
        assert_eq!(b.of("recA"), 60);
    }

    #[test]
    fn what_was_told_of_too_many_holds_for_all_and_what_was_evicted_does_not() {
        let mut b = Before::default();
        b.gone("recGone", 1);
        for n in 0..MOST as u64 {
            b.told(&format!("rec{n}"), 10 + n);
        }
        assert_eq!(b.of("recGone"), 0);
        b.told("recLast", 90_000);
        assert_eq!((b.of("recGone"), b.of("rec0"), b.of("rec1")), (10, 10, 11));
        assert_eq!(b.of.len(), b.order.len());
    }
}
