//! The things that answers used, each with the answers that used it.

use super::postings::Postings;
use super::thing::{Content, Kind, Thing, UNKNOWN};
use crate::slab::Slab;
use alloc::vec::Vec;
use hashbrown::HashTable;

/// It is in doubt.
pub(super) const DOUBTFUL: u8 = 1;
/// It changed, and not all answers on it were marked yet.
pub(super) const CUT: u8 = 2;

/// Tables that one big one is split into: a table that grows is copied, so none may be big.
const SHARDS: usize = 256;

pub(super) struct Node {
    pub(super) thing: Thing,
    pub(super) content: Content,
    pub(super) postings: Postings,
    pub(super) kind: Kind,
    pub(super) flags: u8,
}

/// All of them.
pub(super) struct Nodes {
    all: Slab<Node>,
    shards: Vec<HashTable<u32>>,
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes {
            all: Slab::default(),
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
        }
    }
}

fn shard(thing: Thing) -> usize {
    // (The table itself uses the highest bits and the lowest.)
    (thing >> 40) as usize % SHARDS
}

impl Nodes {
    pub(super) fn find(&self, thing: Thing) -> Option<u32> {
        let all = &self.all;
        let is = |at: &u32| all.get(*at).is_some_and(|n| n.thing == thing);
        self.shards.get(shard(thing))?.find(thing, is).copied()
    }
    /// The node of a thing; a new one if there is none.
    pub(super) fn intern(&mut self, thing: Thing, kind: Kind) -> u32 {
        if let Some(at) = self.find(thing) {
            return at;
        }
        let node = Node {
            thing,
            content: UNKNOWN,
            postings: Postings::None,
            kind,
            flags: 0,
        };
        let at = match self.all.reuse() {
            Some(at) => {
                if let Some(place) = self.all.get_mut(at) {
                    *place = node;
                }
                at
            }
            None => self.all.push(node),
        };
        let all = &self.all;
        let hash = |at: &u32| all.get(*at).map_or(0, |n| n.thing);
        if let Some(table) = self.shards.get_mut(shard(thing)) {
            table.insert_unique(thing, at, hash);
        }
        at
    }
    /// Nobody uses it any more.
    pub(super) fn free(&mut self, at: u32) {
        let Some(thing) = self.all.get(at).map(|n| n.thing) else {
            return;
        };
        let Some(table) = self.shards.get_mut(shard(thing)) else {
            return;
        };
        if let Ok(found) = table.find_entry(thing, |n| *n == at) {
            found.remove();
            self.all.give_back(at);
        }
    }
    /// Is the place a node's, and not given back?
    pub(super) fn is_live(&self, at: u32) -> bool {
        self.get(at).is_some_and(|n| self.find(n.thing) == Some(at))
    }
    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&Node> {
        self.all.get(at)
    }
    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Node> {
        self.all.get_mut(at)
    }
    pub(super) fn flags(&self, at: u32) -> u8 {
        self.all.get(at).map_or(0, |n| n.flags)
    }
    /// As [`Slab::free_some`].
    pub(super) fn free_some(&mut self) -> bool {
        self.all.free_some()
    }
    pub(super) fn has_rest(&self) -> bool {
        self.all.has_rest()
    }
    pub(super) fn places(&self) -> u32 {
        self.all.len()
    }
    pub(super) fn in_use(&self) -> usize {
        self.all.in_use()
    }
}
