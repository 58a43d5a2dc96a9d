//! An answer comes: what it used is noted with the things.

use super::index::{Answer, Check, Index, Outdated, Place, State};
use super::nodes::DOUBTFUL;
use super::packed;
use super::thing::{same, Dep, EntityUse, Kind, BRIEF_BITS, UNKNOWN};
use alloc::sync::Arc;
use alloc::vec::Vec;

impl Index {
    /// Stores what an answer used, in place of what was known of the key. `deps` holds, beside the things it used itself, those
    /// of the answers it used ([`super::uses`]). Some 0.1 us for each.
    ///
    /// # Errors
    /// One of them is known to be otherwise by now: the answer is outdated, and what was known of the key stays.
    pub fn insert(
        &mut self,
        key: &[u8],
        deps: &[Dep],
        uses: &[EntityUse],
    ) -> Result<Place, Outdated> {
        for dep in deps {
            let Some(at) = self.nodes.find(dep.thing) else {
                continue;
            };
            let now = self.nodes.get(at).map_or(UNKNOWN, |n| n.content);
            let other = dep.content != UNKNOWN && now != UNKNOWN && !same(dep.content, now);
            if other && self.is_held(at) {
                return Err(Outdated(dep.thing));
            }
        }
        let key: Arc<[u8]> = match self.names.get_key_value(key) {
            Some((name, named)) => {
                let (name, slot) = (name.clone(), named.slot);
                if let Some(slot) = slot {
                    self.retire(slot);
                }
                name
            }
            None => key.into(),
        };
        let mut places: Vec<u32> = deps.iter().map(|dep| self.node_of(dep)).collect();
        places.sort_unstable();
        places.dedup();
        let count = places.len();
        let birth = self.births;
        let answer = Answer {
            state: State::Live,
            // Something it used may have come into doubt since: the first look tells.
            marked: true,
            birth,
            key: key.clone(),
            deps: packed::pack(&places),
            uses: uses.into(),
        };
        self.births += 1;
        let slot = match self.answers.reuse() {
            Some(slot) => {
                if let Some(place) = self.answers.get_mut(slot) {
                    *place = answer;
                }
                slot
            }
            None => self.answers.push(answer),
        };
        for node in places {
            if let Some(node) = self.nodes.get_mut(node) {
                node.postings.push(slot);
            }
        }
        self.postings += count;
        self.live_deps += count;
        self.live += 1;
        self.names.entry(key).or_default().slot = Some(slot);
        Ok(Place {
            slot,
            generation: birth as u32,
        })
    }
    /// Does any answer rely on what is known of the node? What dropped ones used may have changed unnoticed. (Rarely asked.)
    pub(super) fn is_held(&self, at: u32) -> bool {
        let live = |a: &Answer| a.state == State::Live;
        let relies = |slot: u32| {
            self.answers.get(slot).is_some_and(live) && self.examine(slot) != Check::Dropped
        };
        self.nodes
            .get(at)
            .is_some_and(|n| n.postings.iter().any(relies))
    }
    fn node_of(&mut self, dep: &Dep) -> u32 {
        let at = self.nodes.intern(dep.thing, dep.kind);
        let doubtful = self.doubtful.contains_key(&dep.thing);
        if let Some(node) = self.nodes.get_mut(at) {
            // (What is loaded is brief, and says no more than what is known.)
            if dep.content != UNKNOWN
                && !(same(dep.content, node.content) && node.content >> BRIEF_BITS > 0)
            {
                node.content = dep.content;
            }
            if doubtful {
                node.flags |= DOUBTFUL;
            }
        }
        if let (Kind::Computed, Some(name)) = (dep.kind, &dep.name) {
            if !self.computed.contains_key(&at) {
                self.computed.insert(at, name.clone());
                self.names.entry(name.clone()).or_default().node = Some(at);
            }
        }
        at
    }
}
