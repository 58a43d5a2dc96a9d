//! From things to the answers that used them. In memory, beside the stored answers; rebuilt from what is stored with them.
//!
//! An answer has a slot here; its stored value names slot and generation ([`Place`]). A hit looks at the slot and at nothing it
//! used. A change finds the answers on a thing by the thing's postings: a few are marked at once, more are marked in slices
//! ([`Index::work`]); *while* such work is pending, a look at an answer examines all it used, so that from the change on
//! none is taken for valid that is not.
//!
//! Doubt goes the same way, but what is pushed is a mere mark "look closer": whether something it used is in doubt is
//! examined by who asks next, and if nothing is any more the mark goes. So settling a doubt has nobody to tell.
//!
//! Cost: for everything used one to two bytes in the answer and as many in the postings (three each from a million things, or
//! answers, on); some 48 for a thing, however many used it.

use super::nodes::{Nodes, CUT, DOUBTFUL};
use super::packed::Numbers;
use super::pending::Pending;
use super::thing::{Content, Dep, EntityIx, EntityUse, Kind, Thing, UNKNOWN};
use crate::slab::Slab;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use compact_str::CompactString;
use hashbrown::HashMap;

/// Where an answer is: kept in its stored value. Another generation: the slot is another answer's by now. (The generation is
/// the low half of the answer's number among all that were inserted: one slot sees it again after 2^32 of them.)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Place {
    pub slot: u32,
    pub generation: u32,
}

/// What an answer is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// Nothing it used has changed.
    Hit,
    /// Something it used is in doubt: see [`Index::doubts`].
    Suspended,
    /// It is no answer any more.
    Dropped,
}

/// An answer that was dropped: to be deleted from the keyspace, if what is stored under the key still has this place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone {
    pub key: Arc<[u8]>,
    pub place: Place,
}

/// Something in doubt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doubtful {
    pub thing: Thing,
    pub kind: Kind,
    pub entity: EntityIx,
    /// The name of its key.
    pub key: CompactString,
    /// Number of the latest reason in the order of sends and changes.
    pub seq: u64,
}

/// What must be looked at before a suspended answer is one again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Doubts {
    /// Things it used itself.
    pub things: Vec<Doubtful>,
    /// Entities an index of which it used, and that have records in doubt since.
    pub entities: Vec<EntityIx>,
}

/// An answer's dependency that is known to be otherwise: the answer is outdated already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outdated(pub Thing);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Live,
    /// Its slot may stand in postings still.
    Dead,
}

pub(super) struct Answer {
    pub(super) state: State,
    /// Something it used may be in doubt: look closer.
    pub(super) marked: bool,
    /// Its number among all that were ever inserted: a change concerns those before it.
    pub(super) birth: u64,
    pub(super) key: Arc<[u8]>,
    /// Places of nodes, ascending, packed.
    pub(super) deps: Box<[u8]>,
    pub(super) uses: Box<[EntityUse]>,
}

impl Answer {
    #[inline]
    pub(super) fn generation(&self) -> u32 {
        self.birth as u32
    }
    /// Is it what a stored value calls by this place?
    #[inline]
    fn is(&self, at: Place) -> bool {
        self.generation() == at.generation && self.state == State::Live
    }
    /// The nodes that it used.
    pub(super) fn nodes(&self) -> Numbers<'_> {
        Numbers::of(&self.deps)
    }
}

#[derive(Default, Clone, Copy)]
pub(super) struct EntityState {
    /// Answers born before are dropped if they used anything of it.
    pub(super) cut: u64,
    /// Number of the latest doubt about any of its records; 0: there is none.
    pub(super) doubted: u64,
}

/// What has a name: an answer, a thing that answers used, or both.
#[derive(Default, Clone, Copy)]
pub(super) struct Named {
    pub(super) slot: Option<u32>,
    pub(super) node: Option<u32>,
}

/// The index.
#[derive(Default)]
pub struct Index {
    pub(super) nodes: Nodes,
    pub(super) answers: Slab<Answer>,
    pub(super) names: BTreeMap<Arc<[u8]>, Named>,
    /// Names of the computed answers that others used.
    pub(super) computed: HashMap<u32, Arc<[u8]>>,
    pub(super) entities: HashMap<EntityIx, EntityState>,
    pub(super) entities_in_doubt: usize,
    pub(super) doubtful: HashMap<Thing, Doubtful>,
    /// Some of them may be of things that no answer used.
    pub(super) unused_doubts: bool,
    /// Answers inserted so far.
    pub(super) births: u64,
    /// Answers born before are dropped.
    pub(super) all_cut: u64,
    pub(super) live: usize,
    /// Dependencies of the live ones.
    pub(super) live_deps: usize,
    /// Postings in all nodes.
    pub(super) postings: usize,
    pub(super) pending: Pending,
    pub(super) out: VecDeque<Gone>,
    /// The key of the dead.
    pub(super) no_key: Arc<[u8]>,
}

impl Index {
    /// What an answer is worth now. O(1) while no work is pending and nothing that it used was in doubt since the last look.
    #[inline]
    pub fn check(&mut self, at: Place) -> Check {
        let Some(answer) = self.answers.get(at.slot) else {
            return Check::Dropped;
        };
        if !answer.is(at) {
            return Check::Dropped;
        }
        if !answer.marked && self.entities_in_doubt == 0 && self.pending.is_empty() {
            return Check::Hit;
        }
        self.look(at.slot)
    }
    /// The same without remembering what was found: for who may change nothing.
    pub fn peek(&self, at: Place) -> Check {
        match self.answers.get(at.slot) {
            Some(a) if a.is(at) => self.examine(at.slot),
            _ => Check::Dropped,
        }
    }
    #[cold]
    fn look(&mut self, slot: u32) -> Check {
        let Some(answer) = self.answers.get(slot) else {
            return Check::Dropped;
        };
        let found = if answer.marked || !self.pending.is_empty() {
            self.examine(slot)
        } else {
            self.by_entities(answer)
        };
        // (While marks are still being set, one that is taken off here may be set again: that costs a second look.)
        if found == Check::Hit {
            if let Some(answer) = self.answers.get_mut(slot) {
                answer.marked = false;
            }
        }
        found
    }
    fn by_entities(&self, answer: &Answer) -> Check {
        let mut found = Check::Hit;
        for used in &answer.uses {
            let Some(e) = self.entities.get(&used.entity) else {
                continue;
            };
            if e.cut > answer.birth {
                return Check::Dropped;
            }
            if used.index_as_of.is_some_and(|as_of| e.doubted > as_of) {
                found = Check::Suspended;
            }
        }
        found
    }
    /// Looks at everything that a live answer used.
    pub(super) fn examine(&self, slot: u32) -> Check {
        let Some(answer) = self.answers.get(slot) else {
            return Check::Dropped;
        };
        if self.all_cut > answer.birth || self.pending.prefix_cuts(&answer.key, answer.birth) {
            return Check::Dropped;
        }
        let mut found = self.by_entities(answer);
        if found == Check::Dropped {
            return found;
        }
        for node in answer.nodes() {
            let flags = self.nodes.flags(node);
            if flags & CUT != 0 && self.pending.node_cuts(node, answer.birth) {
                return Check::Dropped;
            }
            if flags & DOUBTFUL != 0 {
                found = Check::Suspended;
            }
            if self.pending.any_prefix() {
                let name = self.computed.get(&node);
                if name.is_some_and(|name| self.pending.prefix_cuts(name, answer.birth)) {
                    return Check::Dropped;
                }
            }
        }
        found
    }
    /// The key is not there any more (expired, evicted, deleted, overwritten): no change to those who used it. Another place than
    /// the key's own is nobody's, and nothing happens.
    pub fn remove(&mut self, at: Place) {
        if self.answers.get(at.slot).is_some_and(|a| a.is(at)) {
            self.retire(at.slot);
        }
    }
    /// Where a key's answer is; `None`: there is none.
    pub fn place(&self, key: &[u8]) -> Option<Place> {
        let slot = self.names.get(key)?.slot?;
        let generation = self.answers.get(slot)?.generation();
        Some(Place { slot, generation })
    }
    /// What an answer used, to be saved with it, or taken over by an answer that uses it. `None`: it is dropped.
    pub fn export(&self, at: Place) -> Option<(Vec<Dep>, Vec<EntityUse>)> {
        if self.peek(at) == Check::Dropped {
            return None;
        }
        let answer = self.answers.get(at.slot)?;
        let dep = |place: u32| {
            let node = self.nodes.get(place)?;
            Some(Dep {
                thing: node.thing,
                kind: node.kind,
                content: node.content,
                name: self.computed.get(&place).cloned(),
            })
        };
        Some((
            answer.nodes().filter_map(dep).collect(),
            answer.uses.to_vec(),
        ))
    }
    /// What must be looked at before a suspended answer is one again: records and sets by name, and entities all of whose
    /// records in doubt are to be seen.
    pub fn doubts(&self, at: Place) -> Doubts {
        let mut out = Doubts::default();
        let Some(answer) = self.answers.get(at.slot) else {
            return out;
        };
        if !answer.is(at) {
            return out;
        }
        for place in answer.nodes() {
            let node = self.nodes.get(place).filter(|n| n.flags & DOUBTFUL != 0);
            out.things
                .extend(node.and_then(|n| self.doubtful.get(&n.thing)).cloned());
        }
        for used in &answer.uses {
            let doubted = self.entities.get(&used.entity).map_or(0, |e| e.doubted);
            if used.index_as_of.is_some_and(|as_of| doubted > as_of) {
                out.entities.push(used.entity);
            }
        }
        out
    }
    /// What is known of a thing, as far as an answer used it.
    pub fn content(&self, thing: Thing) -> Content {
        let node = self.nodes.find(thing).and_then(|n| self.nodes.get(n));
        node.map_or(UNKNOWN, |n| n.content)
    }
    /// Did any answer use it? (So that what concerns nobody is not worked out.)
    pub fn is_used(&self, thing: Thing) -> bool {
        self.nodes.find(thing).is_some()
    }
    /// Keys of answers that used a thing, at most `most`, and how many there are at all.
    pub fn used_by(&self, thing: Thing, most: usize) -> (Vec<Arc<[u8]>>, usize) {
        let node = self.nodes.find(thing).and_then(|n| self.nodes.get(n));
        let Some(node) = node else {
            return (Vec::new(), 0);
        };
        let live = node
            .postings
            .iter()
            .filter_map(|s| self.answers.get(s))
            .filter(|a| a.state == State::Live);
        let keys = live.clone().take(most).map(|a| a.key.clone()).collect();
        (keys, live.count())
    }
    /// Did the key's answer use a thing itself?
    pub fn uses(&self, key: &[u8], thing: Thing) -> bool {
        let slot = self.names.get(key).and_then(|n| n.slot);
        let answer = slot.and_then(|slot| self.answers.get(slot));
        let node = self.nodes.find(thing);
        node.zip(answer)
            .is_some_and(|(node, a)| a.nodes().any(|n| n == node))
    }
    /// Live answers.
    pub fn len(&self) -> usize {
        self.live
    }
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }
    /// Are there dropped answers whose keys are still to be deleted?
    pub fn has_gone(&self) -> bool {
        !self.out.is_empty()
    }
    /// The first of them, and whether there are more.
    pub fn first_gone(&self, n: usize) -> (impl Iterator<Item = &Gone>, bool) {
        (self.out.iter().take(n), self.out.len() > n)
    }
    /// Up to `n` of the dropped answers whose keys are still to be deleted.
    pub fn take_gone(&mut self, n: usize) -> Vec<Gone> {
        let n = n.min(self.out.len());
        let some = self.out.drain(..n).collect();
        if self.out.is_empty() {
            // (There may have been many.)
            self.out = VecDeque::new();
        }
        some
    }
}
