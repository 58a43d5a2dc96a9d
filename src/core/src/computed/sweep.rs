//! How answers end: their slots stand in the postings of what they used until those are swept.

use super::index::{Gone, Index, Place, State};
use super::nodes::{CUT, DOUBTFUL};
use super::packed;
use super::pending::{Sweep, Ticket};
use core::mem;

/// Dead postings that are not worth sweeping.
const GARBAGE: usize = if cfg!(test) { 8 } else { 1024 };

impl Index {
    pub(super) fn drop_slot(&mut self, slot: u32, ticket: Option<Ticket>) {
        let Some(answer) = self.answers.get(slot) else {
            return;
        };
        if answer.state != State::Live {
            return;
        }
        let generation = answer.generation();
        let key = answer.key.clone();
        self.out.push_back(Gone {
            key,
            place: Place { slot, generation },
        });
        self.pending.count(ticket);
        self.retire(slot);
    }
    /// The answer is none any more; its slot is another's once it stands in no postings.
    pub(super) fn retire(&mut self, slot: u32) {
        let Some(answer) = self.answers.get_mut(slot) else {
            return;
        };
        if answer.state != State::Live {
            return;
        }
        answer.state = State::Dead;
        let deps = packed::count(&mem::take(&mut answer.deps));
        answer.uses = [].into();
        let key = mem::replace(&mut answer.key, self.no_key.clone());
        self.live -= 1;
        self.live_deps -= deps;
        if deps == 0 {
            self.answers.give_back(slot);
        } else {
            self.pending.retired.push(slot);
        }
        if let Some(named) = self.names.get_mut(&key) {
            if named.slot == Some(slot) {
                named.slot = None;
            }
            if named.slot.is_none() && named.node.is_none() {
                self.names.remove(&key);
            }
        }
    }
    pub(super) fn free_if_unused(&mut self, at: u32) {
        let unused = self
            .nodes
            .get(at)
            .is_some_and(|n| n.postings.is_empty() && n.flags & CUT == 0);
        if !unused {
            return;
        }
        self.unused_doubts |= self.nodes.flags(at) & DOUBTFUL != 0;
        if let Some(name) = self.computed.remove(&at) {
            if let Some(named) = self.names.get_mut(&name) {
                named.node = None;
                if named.slot.is_none() {
                    self.names.remove(&name);
                }
            }
        }
        self.nodes.free(at);
    }
    pub(super) fn sweep_due(&self) -> bool {
        self.postings > self.live_deps.saturating_mul(2) + GARBAGE
            || self.pending.retired.len() > self.live + GARBAGE
    }
    /// Takes dead slots out of the postings once they are the greater part there, or the slots of dead answers that of all. So
    /// they become free.
    pub(super) fn sweep(&mut self, mut budget: usize) {
        if self.pending.sweep.is_none() && self.sweep_due() {
            self.pending.sweep = Some(Sweep {
                node: 0,
                at: 0,
                slots: mem::take(&mut self.pending.retired),
            });
        }
        let Some(mut sweep) = self.pending.sweep.take() else {
            return;
        };
        while budget > 0 && sweep.node < self.nodes.places() {
            budget -= 1;
            let mut through = true;
            if let Some(node) = self.nodes.get_mut(sweep.node) {
                let answers = &self.answers;
                while sweep.at < node.postings.pieces() {
                    if budget == 0 {
                        through = false;
                        break;
                    }
                    let live = |slot: &u32| {
                        budget = budget.saturating_sub(1);
                        let answer = answers.get(*slot);
                        answer.is_some_and(|a| a.state == State::Live)
                    };
                    let (gone, next) = node.postings.retain(sweep.at, live);
                    self.postings -= gone;
                    sweep.at = next;
                }
                if through {
                    node.postings.shrink();
                }
            }
            if through {
                if self.nodes.is_live(sweep.node) {
                    self.free_if_unused(sweep.node);
                }
                (sweep.node, sweep.at) = (sweep.node + 1, 0);
            }
        }
        while budget > 0 && sweep.node >= self.nodes.places() {
            budget -= 1;
            let Some(slot) = sweep.slots.pop() else {
                return;
            };
            self.answers.give_back(slot);
        }
        self.pending.sweep = Some(sweep);
    }
    /// Things that answers used, slots taken, and postings: what memory goes by.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.nodes.in_use(), self.answers.in_use(), self.postings)
    }
}
