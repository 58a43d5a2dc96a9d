//! What changed while somebody computes: an answer is not stored if anything it used changed since it was read.
//!
//! Things are remembered as they change, whether anybody has used them by then or not: the computation may read, or name, them
//! later. Nothing is remembered while nobody computes, and of what changed before the oldest lease was taken nothing is kept.

use super::thing::{Content, EntityIx, Thing, UNKNOWN};
use super::uses::{OneUse, Uses};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashMap;

/// Changes remembered at most; beyond it what was computed since before the oldest is not stored.
const MOST: usize = 100_000;
/// The same of prefixes.
const MOST_PREFIXES: usize = 1_000;

/// Things by the number under which something was last known of them; the oldest are forgotten.
struct Recent<V> {
    of: HashMap<Thing, (u64, V)>,
    order: VecDeque<(u64, Thing)>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Recent {
            of: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<V> Recent<V> {
    /// The number of what had to be forgotten for it.
    fn set(&mut self, thing: Thing, seq: u64, value: V) -> Option<u64> {
        self.of.insert(thing, (seq, value));
        self.order.push_back((seq, thing));
        (self.order.len() > MOST).then(|| self.pop().unwrap_or(0))
    }
    fn pop(&mut self) -> Option<u64> {
        let (seq, thing) = self.order.pop_front()?;
        if self
            .of
            .get(&thing)
            .is_some_and(|(latest, _)| *latest == seq)
        {
            self.of.remove(&thing);
        }
        Some(seq)
    }
    fn forget(&mut self, before: u64) {
        while self.order.front().is_some_and(|(seq, _)| *seq < before) {
            self.pop();
        }
    }
}

/// The changes since the oldest lease. Numbers are of the order of sends and changes, and come ascending.
#[derive(Default)]
pub struct Changes {
    changed: Recent<()>,
    /// Sets that a record belongs to which nothing was known of: other than what was read before, but no change that anybody told.
    learned: Recent<()>,
    /// When an uncached record changed: it may have left any set.
    blind: HashMap<EntityIx, u64>,
    contents: Recent<Content>,
    entities: HashMap<EntityIx, u64>,
    prefixes: Vec<(Arc<[u8]>, u64)>,
    /// Everything changed.
    all: u64,
    /// Changes up to here may be forgotten.
    forgot: u64,
}

impl Changes {
    /// A thing changed.
    pub fn thing(&mut self, thing: Thing, seq: u64) {
        if let Some(forgot) = self.changed.set(thing, seq, ()) {
            self.forgot = self.forgot.max(forgot);
        }
    }
    /// A thing turned out to be other than it was read.
    pub fn learned(&mut self, thing: Thing, seq: u64) {
        if let Some(forgot) = self.learned.set(thing, seq, ()) {
            self.forgot = self.forgot.max(forgot);
        }
    }
    /// A record changed of which no copy says what sets it was in.
    pub fn blind(&mut self, entity: EntityIx, seq: u64) {
        self.blind.insert(entity, seq);
    }
    /// A thing was seen to be so: what is seen of it next is compared with this.
    pub fn seen(&mut self, thing: Thing, content: Content, seq: u64) {
        // (What is forgotten of contents only makes something the same look changed.)
        self.contents.set(thing, seq, content);
    }
    /// A read that began under this number answered so; what was seen later is known better.
    pub fn read(&mut self, thing: Thing, content: Content, as_of: u64) {
        if self
            .contents
            .of
            .get(&thing)
            .is_none_or(|(seq, _)| *seq <= as_of)
        {
            self.contents.set(thing, as_of, content);
        }
    }
    /// What a thing was last seen to be while somebody computes.
    pub fn content(&self, thing: Thing) -> Content {
        self.contents.of.get(&thing).map_or(UNKNOWN, |(_, c)| *c)
    }
    /// As of when a read answered a thing so, which began under `as_of`: where that is what is known of the thing now, the read has
    /// seen all of its changes. (What it brought itself is later than its beginning.)
    pub fn read_as_of(&self, thing: Thing, content: Content, as_of: u64) -> u64 {
        if content == UNKNOWN || self.content(thing) != content {
            return as_of;
        }
        let of = |r: &Recent<()>| r.of.get(&thing).map_or(0, |(seq, ())| *seq);
        as_of.max(of(&self.changed)).max(of(&self.learned))
    }
    /// Everything of an entity changed.
    pub fn entity(&mut self, entity: EntityIx, seq: u64) {
        self.entities.insert(entity, seq);
    }
    /// Computed answers whose keys start so were thrown away.
    pub fn prefix(&mut self, prefix: &[u8], seq: u64) {
        if self.prefixes.len() >= MOST_PREFIXES {
            self.forgot = self.forgot.max(seq);
            self.prefixes.clear();
        }
        self.prefixes.push((prefix.into(), seq));
    }
    /// Everything changed.
    pub fn everything(&mut self, seq: u64) {
        self.all = self.all.max(seq);
    }
    /// The oldest lease has this number now; `None`: nobody computes any more.
    pub fn forget(&mut self, oldest: Option<u64>) {
        let Some(oldest) = oldest else {
            if !self.is_empty() {
                *self = Changes {
                    all: self.all,
                    forgot: self.forgot,
                    ..Changes::default()
                };
            }
            return;
        };
        self.changed.forget(oldest);
        self.learned.forget(oldest);
        self.contents.forget(oldest);
        if !self.prefixes.is_empty() {
            self.prefixes.retain(|(_, seq)| *seq >= oldest);
        }
    }
    fn is_empty(&self) -> bool {
        self.changed.order.is_empty()
            && self.learned.order.is_empty()
            && self.contents.order.is_empty()
            && self.blind.is_empty()
            && self.entities.is_empty()
            && self.prefixes.is_empty()
    }
    /// Did anything change that a computation used, after it did? `taken`: the number of its lease.
    pub fn outdate(&self, uses: &Uses, taken: u64) -> bool {
        let oldest = uses.as_of().unwrap_or(taken);
        if taken <= self.all || oldest <= self.forgot {
            return true;
        }
        let after = |seq: Option<&u64>, as_of: u64| seq.is_some_and(|seq| *seq > as_of);
        let of = |r: &Recent<()>, thing: Thing| r.of.get(&thing).map_or(0, |(seq, ())| *seq);
        let entity = |(e, as_of)| after(self.entities.get(&e), as_of);
        let thing = |used: OneUse| {
            let as_of = used.as_of;
            let cut = |(prefix, seq): &(Arc<[u8]>, u64)| {
                let starts = |name: &Arc<[u8]>| name.starts_with(prefix);
                *seq > as_of && used.dep.name.as_ref().is_some_and(starts)
            };
            of(&self.changed, used.dep.thing) > as_of
                || used
                    .read_as_of
                    .is_some_and(|read| of(&self.learned, used.dep.thing) > read)
                || self.prefixes.iter().any(cut)
        };
        let blind = |(e, as_of)| after(self.blind.get(&e), as_of);
        uses.entities().any(entity) || uses.things().any(thing) || uses.named_sets().any(blind)
    }
    /// Things remembered.
    pub fn remembered(&self) -> usize {
        self.changed.order.len() + self.learned.order.len() + self.contents.order.len()
    }
}
