//! The order of sends and changes: what may still be stored, and who may rely on what was sent.
//!
//! Every fetch takes a number when it is *sent*, every change takes one when it is applied, from the same clock. A fill is
//! stored only if nothing newer is known of its record: whatever changed since it was sent wins. And who asks an index
//! question may rely on one that was sent before, as long as everything that was told in between is known still: then the
//! answer can be amended by it. What changed is remembered only while a fetch that was sent before it is still under way.

mod known;
#[cfg(test)]
mod tests;

use crate::outside;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use hashbrown::HashMap;
use known::{Log, Part};

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
    /// What was told of whoever asked before this number is not remembered any more.
    forgot: u64,
    logs: HashMap<EntityIx, Log>,
    /// What is remembered no more and was much: taken apart bit by bit.
    over: Vec<Part>,
    /// Numbers of the fetches under way, and how many share each.
    under_way: BTreeMap<u64, u32>,
}

impl Tokens {
    /// The next number: later than every earlier one, and near the wall clock (`now_us`), so that the order holds over a restart.
    pub fn next(&mut self, now_us: u64) -> u64 {
        self.over.pop();
        self.last = self.last.saturating_add(1).max(now_us);
        self.last
    }
    fn forget_all(&mut self) {
        let logs = self.logs.drain().map(|(_, log)| log);
        let parts = logs.flat_map(Log::into_parts);
        self.over.extend(parts);
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
    /// Was anything sent that has not landed?
    pub fn any_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }
    /// A fetch has landed, one way or another, and nobody relies on it any more.
    pub fn landed(&mut self, seq: u64) {
        if let Some(n) = self.under_way.get_mut(&seq) {
            *n -= 1;
            if *n == 0 {
                self.under_way.remove(&seq);
            }
        }
        match self.under_way.keys().next().copied() {
            None => {
                self.forget_all();
                self.floors.clear();
            }
            Some(oldest) => self.logs.retain(|_, log| {
                // Only worth a walk when it can shrink something real.
                if log.len() > 64 {
                    log.forget(oldest);
                }
                !log.is_empty()
            }),
        }
    }
    /// Where to write down a change numbered `seq`: nowhere, if nothing that is under way was sent before it. (A long
    /// listing's own fills are no news to anybody.)
    fn log(&mut self, entity: EntityIx, seq: u64) -> Option<&mut Log> {
        self.raise(seq);
        let oldest = self.under_way.keys().next().copied();
        if oldest.is_none_or(|oldest| oldest >= seq) {
            return None;
        }
        if self.logs.values().map(Log::len).sum::<usize>() >= MOST {
            self.forget_all();
            self.floor = self.last;
            self.forgot = self.last;
        }
        Some(self.logs.entry(entity).or_default())
    }
    /// Something newer is known of this record (or index value, by its `<field>:<value>`): what was sent before `seq` is not
    /// stored for it any more.
    pub fn note(&mut self, entity: EntityIx, what: &str, seq: u64) {
        if let Some(log) = self.log(entity, seq) {
            log.note(what, seq);
        }
    }
    /// As [`note`](Self::note), of a record whose cells are now in the cache, or a tombstone in their place.
    pub fn told(&mut self, entity: EntityIx, id: &str, seq: u64) {
        if let Some(log) = self.log(entity, seq) {
            log.note(id, seq);
            log.told(id, seq);
        }
    }
    /// A record is in doubt, for a reason numbered `seq` and for all who ask from `first` on ([`crate::doubt`]): they have it
    /// looked at again.
    pub fn doubted(&mut self, entity: EntityIx, id: &str, first: u64, seq: u64) {
        if let Some(log) = self.log(entity, seq) {
            log.doubted(id, first, seq);
        }
    }
    /// What the cache held of a record is not there any more: it was deleted, expired, evicted or dropped.
    pub fn lost(&mut self, entity: EntityIx, id: &str) {
        if let Some(log) = self.logs.get_mut(&entity) {
            log.lost(id);
        }
    }
    /// Everything of an entity changed, and nothing that was known of it is any more.
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
                .logs
                .get(&entity)
                .is_none_or(|log| log.noted(what) <= sent)
    }
    /// Was the entity as a whole left alone since?
    pub fn entity_current(&self, entity: EntityIx, sent: u64) -> bool {
        sent > self.floor && self.floors.get(&entity).is_none_or(|s| *s < sent)
    }
    /// May who asked under number `asked` rely on an index question that was sent as `sent`? If it was sent before, all that
    /// was told of the entity in between must be known still: in the cache, or as a doubt that counts for who asked.
    pub fn relies(&self, entity: EntityIx, sent: u64, asked: u64) -> bool {
        if sent >= asked {
            return true;
        }
        if sent < self.forgot {
            return false;
        }
        self.logs.get(&entity).is_none_or(|log| {
            !log.any_told(sent, asked)
                || (self.entity_current(entity, sent) && log.all_known(sent, asked))
        })
    }
    /// When something was first told of a record after `sent`.
    pub fn first_told(&self, entity: EntityIx, id: &str, sent: u64) -> Option<u64> {
        self.logs.get(&entity)?.first_told(id, sent)
    }
    /// Records of which something was told after `sent` and up to `asked`.
    pub fn told_between(
        &self,
        entity: EntityIx,
        sent: u64,
        asked: u64,
    ) -> impl Iterator<Item = &str> {
        let log = self.logs.get(&entity);
        log.filter(|log| log.any_told(sent, asked))
            .into_iter()
            .flat_map(move |log| log.told_between(sent, asked))
    }
    /// Records of an entity of which something newer than `sent` is known.
    pub fn newer_than(&self, entity: EntityIx, sent: u64) -> impl Iterator<Item = &str> {
        let log = self.logs.get(&entity);
        log.into_iter().flat_map(move |log| log.newer_than(sent))
    }
    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.logs.values().map(Log::len).sum()
    }
}
