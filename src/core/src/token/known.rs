//! What was told of one entity while fetches are under way, and what of it is known still.

use crate::entry;
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

/// Parts of a large log: none of its steps takes long then, be it growing, forgetting or being taken apart.
const PARTS: usize = 128;
/// Records of a log that is kept in one part.
const SMALL: usize = 512;

/// What was told of some of an entity's records.
#[derive(Default)]
pub(super) struct Part {
    known: HashMap<CompactString, Known>,
    /// The numbers under which anything was told.
    told: BTreeSet<u64>,
    /// Records that something was told of and that are not in the cache.
    missing: HashSet<CompactString>,
    /// The latest change of all.
    newest: u64,
}

impl Part {
    fn forget(&mut self, oldest: u64) {
        self.known.retain(|_, k| k.newest() > oldest);
        self.told = self.told.split_off(&oldest);
        let known = &self.known;
        self.missing.retain(|id| known.contains_key(id));
    }
}

/// What was told of an entity.
#[derive(Default)]
pub(super) struct Log {
    /// None, one, or [`PARTS`].
    parts: Vec<Part>,
    len: usize,
    /// The part that is looked through next for what can be forgotten.
    turn: usize,
}

impl Log {
    fn place(&self, what: &str) -> usize {
        let h = entry::hash(what.as_bytes());
        (h ^ (h >> 32)) as usize % self.parts.len().max(1)
    }
    fn part(&self, what: &str) -> Option<&Part> {
        self.parts.get(self.place(what))
    }
    fn part_mut(&mut self, what: &str) -> Option<&mut Part> {
        let at = self.place(what);
        self.parts.get_mut(at)
    }
    /// There is room for one more.
    fn make_room(&mut self) {
        if self.parts.is_empty() {
            self.parts.push(Part::default());
        } else if self.parts.len() == 1 && self.len >= SMALL {
            self.split();
        }
    }
    fn split(&mut self) {
        let Some(small) = self.parts.pop() else {
            return;
        };
        self.parts.resize_with(PARTS, Part::default);
        for (id, k) in small.known {
            if let Some(part) = self.part_mut(&id) {
                part.known.insert(id, k);
            }
        }
        for id in small.missing {
            if let Some(part) = self.part_mut(&id) {
                part.missing.insert(id);
            }
        }
        for part in &mut self.parts {
            part.newest = small.newest;
        }
        // Of which records they are nobody asks.
        if let Some(part) = self.parts.first_mut() {
            part.told = small.told;
        }
    }
    /// Runs `f` on the part that a record is kept in and on what is known of it, which is made if there is nothing.
    fn of(&mut self, what: &str, f: impl FnOnce(&mut Part, &mut Known)) {
        self.make_room();
        let Some(part) = self.part_mut(what) else {
            return;
        };
        let (mut k, new) = match part.known.get_mut(what) {
            Some(k) => (core::mem::take(k), false),
            None => (Known::default(), true),
        };
        f(part, &mut k);
        *part.known.entry_ref(what).or_default() = k;
        self.len += usize::from(new);
    }
    fn known(&self, what: &str) -> Option<&Known> {
        self.part(what)?.known.get(what)
    }
    pub(super) fn len(&self) -> usize {
        self.len
    }
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Its parts, to be taken apart one by one.
    pub(super) fn into_parts(self) -> Vec<Part> {
        self.parts
    }
    /// Forgets what no fetch under way was sent before: of one part at a time.
    pub(super) fn forget(&mut self, oldest: u64) {
        self.turn = (self.turn + 1) % self.parts.len().max(1);
        if let Some(part) = self.parts.get_mut(self.turn) {
            self.len -= part.known.len();
            part.forget(oldest);
            self.len += part.known.len();
        }
    }
    pub(super) fn note(&mut self, what: &str, seq: u64) {
        self.of(what, |part, k| {
            part.newest = part.newest.max(seq);
            k.noted = k.noted.max(seq);
        });
    }
    pub(super) fn noted(&self, what: &str) -> u64 {
        self.known(what).map_or(0, |k| k.noted)
    }
    pub(super) fn told(&mut self, id: &str, seq: u64) {
        self.of(id, |part, k| {
            part.told.insert(seq);
            k.tell(seq);
            k.held = true;
            // (Its cells may have been asked for before the doubt was raised.)
            k.doubt = k.doubt.filter(|(_, latest)| *latest > seq);
            part.missing.remove(id);
        });
    }
    pub(super) fn doubted(&mut self, id: &str, first: u64, seq: u64) {
        self.of(id, |part, k| {
            part.told.insert(seq);
            k.tell(seq);
            let (since, latest) = k.doubt.unwrap_or((first, seq));
            k.doubt = Some((since.min(first), latest.max(seq)));
            if !k.held {
                part.missing.insert(id.into());
            }
        });
    }
    pub(super) fn lost(&mut self, id: &str) {
        let Some(part) = self.part_mut(id) else {
            return;
        };
        let Some(k) = part.known.get_mut(id) else {
            return;
        };
        k.held = false;
        if !k.told.is_empty() {
            part.missing.insert(id.into());
        }
    }
    pub(super) fn any_told(&self, sent: u64, asked: u64) -> bool {
        let told = |part: &Part| {
            let between = (Excluded(sent), Included(asked));
            part.told.range(between).next().is_some()
        };
        sent < asked && self.parts.iter().any(told)
    }
    pub(super) fn all_known(&self, sent: u64, asked: u64) -> bool {
        let served = |part: &Part| {
            let mut missing = part.missing.iter().filter_map(|id| part.known.get(id));
            missing.all(|k| k.serves(sent, asked))
        };
        self.parts.iter().all(served)
    }
    pub(super) fn first_told(&self, id: &str, sent: u64) -> Option<u64> {
        let told = &self.known(id)?.told;
        let (from, to) = told.iter().find(|(_, to)| *to > sent)?;
        // Of times taken together it may have been any.
        Some(if *from > sent {
            *from
        } else {
            (sent + 1).min(*to)
        })
    }
    pub(super) fn told_between(&self, sent: u64, asked: u64) -> impl Iterator<Item = &str> {
        let known = self.parts.iter().flat_map(|part| &part.known);
        let told = known.filter(move |(_, k)| k.any(sent, asked));
        told.map(|(id, _)| id.as_str())
    }
    pub(super) fn newer_than(&self, sent: u64) -> impl Iterator<Item = &str> {
        // Mostly there is nothing: then nothing is walked.
        let parts = self.parts.iter().filter(move |part| part.newest > sent);
        let known = parts.flat_map(|part| &part.known);
        let newer = known.filter(move |(_, k)| k.noted > sent);
        newer.map(|(id, _)| id.as_str())
    }
}
