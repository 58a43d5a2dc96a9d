//! What was told of one entity while fetches are under way, and what of it is known still.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use compact_str::CompactString;
use core::ops::Bound::{Excluded, Included};
use hashbrown::{HashMap, HashSet};

/// Times at which something was told that are kept apart per record; the oldest of more are taken together.
const APART: usize = 16;

/// One record (or index value).
#[derive(Default)]
struct Known {
    /// The latest change: what was sent before is not stored.
    noted: u64,
    /// When something was told of it, ascending; from and to.
    told: Vec<(u64, u64)>,
    /// What was told last is in the cache.
    held: bool,
    /// In doubt: the first and the latest reason.
    doubt: Option<(u64, u64)>,
}

impl Known {
    fn tell(&mut self, seq: u64) {
        let at = self.told.partition_point(|(from, _)| *from <= seq);
        if at > 0 && self.told.get(at - 1).is_some_and(|(_, to)| *to >= seq) {
            return;
        }
        self.told.insert(at, (seq, seq));
        if self.told.len() > APART {
            let (from, _) = self.told.remove(0);
            if let Some(next) = self.told.first_mut() {
                next.0 = from;
            }
        }
    }
    /// Was something told of it after `sent` and up to `asked`?
    fn any(&self, sent: u64, asked: u64) -> bool {
        let after = self.told.iter().find(|(_, to)| *to > sent);
        after.is_some_and(|(from, _)| *from <= asked)
    }
    /// Is what was told after `sent` and up to `asked` known to who asked then?
    fn serves(&self, sent: u64, asked: u64) -> bool {
        let doubted = |(first, latest): (u64, u64)| first <= asked && latest > sent;
        self.held || self.doubt.is_some_and(doubted) || !self.any(sent, asked)
    }
    fn newest(&self) -> u64 {
        self.told.last().map_or(0, |(_, to)| *to).max(self.noted)
    }
}

/// What was told of an entity.
#[derive(Default)]
pub(super) struct Log {
    known: HashMap<CompactString, Known>,
    /// The numbers under which anything was told.
    told: BTreeSet<u64>,
    /// Records that something was told of and that are not in the cache.
    missing: HashSet<CompactString>,
    /// The latest change of all.
    newest: u64,
}

impl Log {
    fn of(&mut self, what: &str) -> &mut Known {
        self.known.entry_ref(what).or_default()
    }
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
    /// Forgets what no fetch under way was sent before.
    pub(super) fn forget(&mut self, oldest: u64) {
        self.known.retain(|_, k| k.newest() > oldest);
        self.told = self.told.split_off(&oldest);
        let known = &self.known;
        self.missing.retain(|id| known.contains_key(id));
    }
    pub(super) fn note(&mut self, what: &str, seq: u64) {
        self.newest = self.newest.max(seq);
        let k = self.of(what);
        k.noted = k.noted.max(seq);
    }
    pub(super) fn noted(&self, what: &str) -> u64 {
        self.known.get(what).map_or(0, |k| k.noted)
    }
    pub(super) fn told(&mut self, id: &str, seq: u64) {
        self.told.insert(seq);
        let k = self.of(id);
        k.tell(seq);
        k.held = true;
        // (Its cells may have been asked for before the doubt was raised.)
        k.doubt = k.doubt.filter(|(_, latest)| *latest > seq);
        self.missing.remove(id);
    }
    pub(super) fn doubted(&mut self, id: &str, first: u64, seq: u64) {
        self.told.insert(seq);
        let k = self.of(id);
        k.tell(seq);
        let (since, latest) = k.doubt.unwrap_or((first, seq));
        k.doubt = Some((since.min(first), latest.max(seq)));
        if !k.held {
            self.missing.insert(id.into());
        }
    }
    pub(super) fn lost(&mut self, id: &str) {
        let Some(k) = self.known.get_mut(id) else {
            return;
        };
        k.held = false;
        if !k.told.is_empty() {
            self.missing.insert(id.into());
        }
    }
    pub(super) fn any_told(&self, sent: u64, asked: u64) -> bool {
        let between = (Excluded(sent), Included(asked));
        sent < asked && self.told.range(between).next().is_some()
    }
    pub(super) fn all_known(&self, sent: u64, asked: u64) -> bool {
        let known = |id| self.known.get(id);
        self.missing
            .iter()
            .filter_map(known)
            .all(|k| k.serves(sent, asked))
    }
    pub(super) fn first_told(&self, id: &str, sent: u64) -> Option<u64> {
        let told = &self.known.get(id)?.told;
        let (from, to) = told.iter().find(|(_, to)| *to > sent)?;
        // Of times taken together it may have been any.
        Some(if *from > sent {
            *from
        } else {
            (sent + 1).min(*to)
        })
    }
    pub(super) fn told_between(&self, sent: u64, asked: u64) -> impl Iterator<Item = &str> {
        let told = self.known.iter().filter(move |(_, k)| k.any(sent, asked));
        told.map(|(id, _)| id.as_str())
    }
    pub(super) fn newer_than(&self, sent: u64) -> impl Iterator<Item = &str> {
        // Mostly there is nothing: then nothing is walked.
        let known = (self.newest > sent).then_some(&self.known);
        let newer = known
            .into_iter()
            .flatten()
            .filter(move |(_, k)| k.noted > sent);
        newer.map(|(id, _)| id.as_str())
    }
}
