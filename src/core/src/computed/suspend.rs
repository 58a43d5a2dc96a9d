//! Doubt: answers that used what is in doubt are looked at more closely.

use super::cut::AT_ONCE;
use super::index::{Doubtful, Index};
use super::nodes::DOUBTFUL;
use super::pending::Work;
use super::thing::{EntityIx, Thing};
use core::mem;

/// Things in doubt that are remembered; beyond it all answers of the entity are dropped instead.
const MOST_DOUBTFUL: usize = 50_000;

impl Index {
    /// A thing came into doubt. `keep`: though no answer used it (somebody computes one that may have). Too many things
    /// in doubt of one entity, and what used anything of it is dropped: true.
    pub fn doubt(&mut self, doubt: Doubtful, keep: bool) -> bool {
        let at = self.nodes.find(doubt.thing);
        if at.is_none() && !keep {
            return false;
        }
        let entity = doubt.entity;
        let known = self.doubtful.entry(doubt.thing).or_insert(doubt.clone());
        known.seq = known.seq.max(doubt.seq);
        match at {
            Some(at) => self.mark_node(at),
            None => self.unused_doubts = true,
        }
        let too_many = self.doubtful.len() > MOST_DOUBTFUL;
        if too_many {
            self.cut_entity(entity, None);
        }
        too_many
    }
    pub(super) fn mark_node(&mut self, at: u32) {
        let Some(node) = self.nodes.get_mut(at) else {
            return;
        };
        node.flags |= DOUBTFUL;
        if node.postings.len() > AT_ONCE {
            let left = node.postings.pieces();
            self.pending.push(Work::Mark { node: at, left });
            return;
        }
        for slot in node.postings.iter() {
            if let Some(answer) = self.answers.get_mut(slot) {
                answer.marked = true;
            }
        }
    }
    /// Did it come into doubt after that number, and is so still?
    pub fn doubted_since(&self, thing: Thing, seq: u64) -> bool {
        self.doubtful.get(&thing).is_some_and(|d| d.seq > seq)
    }
    /// A thing was seen by what was sent (or told) under `as_of`: is it in doubt still?
    pub fn settle(&mut self, thing: Thing, as_of: u64) {
        if self.doubtful.get(&thing).is_some_and(|d| d.seq <= as_of) {
            self.end_doubt(thing);
        }
    }
    pub(super) fn end_doubt(&mut self, thing: Thing) {
        self.doubtful.remove(&thing);
        let node = self.nodes.find(thing).and_then(|n| self.nodes.get_mut(n));
        if let Some(node) = node {
            node.flags &= !DOUBTFUL;
        }
    }
    /// Nobody computes any more: doubts about what no answer used are forgotten.
    pub fn forget_unused_doubts(&mut self) {
        if !mem::take(&mut self.unused_doubts) {
            return;
        }
        let nodes = &self.nodes;
        self.doubtful
            .retain(|thing, _| nodes.find(*thing).is_some());
    }
    /// Number of the latest doubt about any record of the entity; 0: none is in doubt any more. Answers that used an index of it
    /// and are older are suspended meanwhile.
    pub fn entity_doubt(&mut self, entity: EntityIx, latest: u64) {
        let e = self.entities.entry(entity).or_default();
        self.entities_in_doubt -= usize::from(e.doubted > 0);
        self.entities_in_doubt += usize::from(latest > 0);
        e.doubted = latest;
    }
}
