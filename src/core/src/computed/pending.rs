//! Changes and what is still to be done about them, in slices.

use super::index::{Check, Doubtful, Gone, Index, Place, State};
use super::nodes::{CUT, DOUBTFUL};
use super::thing::{Content, EntityIx, Thing, UNKNOWN};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::ops::Bound::{Excluded, Included, Unbounded};
use hashbrown::HashMap;

/// So many answers are marked at once; more in slices.
const AT_ONCE: usize = if cfg!(test) { 2 } else { 500 };
/// Dead postings that are not worth sweeping.
const GARBAGE: usize = if cfg!(test) { 8 } else { 1024 };
/// Things in doubt that are remembered; beyond it all answers of the entity are dropped instead.
const MOST_DOUBTFUL: usize = 50_000;
/// What dropping an answer costs, in looks: it is taken out of the names, and its memory is freed.
const DROP: usize = if cfg!(test) { 4 } else { 100 };

/// A change that is counted: see [`Index::take_finished`].
pub type Ticket = u64;

pub(super) enum Work {
    /// The answers that used a node as it was.
    Drop {
        node: u32,
        slots: Vec<u32>,
        cut: u64,
        ticket: Option<Ticket>,
    },
    /// Answers on a node that came into doubt: those before `left` are still to be marked.
    Mark { node: u32, left: usize },
    /// Answers and used answers whose names start so.
    Prefix {
        prefix: Arc<[u8]>,
        cut: u64,
        after: Option<Arc<[u8]>>,
        ticket: Option<Ticket>,
    },
    /// All answers, by slot from `at` on: those that used something of an entity, or (without one) all.
    Scan {
        at: u32,
        entity: Option<EntityIx>,
        cut: u64,
        ticket: Option<Ticket>,
    },
}

struct Sweep {
    node: u32,
    at: usize,
    /// Slots that are free when it is through.
    slots: Vec<u32>,
}

#[derive(Default)]
pub(super) struct Pending {
    work: VecDeque<Work>,
    /// Nodes with work: answers born before the number are dropped; and how many pieces of work there are.
    nodes: HashMap<u32, (u64, u32)>,
    prefixes: Vec<(Arc<[u8]>, u64, Option<Ticket>)>,
    sweep: Option<Sweep>,
    /// Slots of dropped answers that may stand in postings.
    retired: Vec<u32>,
    /// Answers dropped by a ticket, and how many pieces of its work are left.
    tickets: HashMap<Ticket, (u64, u32)>,
    last_ticket: Ticket,
    finished: Vec<(Ticket, u64)>,
}

impl Pending {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.work.is_empty()
    }
    pub(super) fn any_prefix(&self) -> bool {
        !self.prefixes.is_empty()
    }
    pub(super) fn prefix_cuts(&self, name: &[u8], birth: u64) -> bool {
        let mut all = self.prefixes.iter();
        all.any(|(prefix, cut, _)| birth < *cut && name.starts_with(prefix))
    }
    pub(super) fn node_cuts(&self, node: u32, birth: u64) -> bool {
        self.nodes.get(&node).is_some_and(|(cut, _)| birth < *cut)
    }
    fn push(&mut self, work: Work) {
        if let Some(t) = work
            .ticket()
            .and_then(|ticket| self.tickets.get_mut(&ticket))
        {
            t.1 += 1;
        }
        self.work.push_back(work);
    }
    fn count(&mut self, ticket: Option<Ticket>) {
        if let Some(t) = ticket.and_then(|ticket| self.tickets.get_mut(&ticket)) {
            t.0 += 1;
        }
    }
    fn close(&mut self, ticket: Option<Ticket>) {
        let Some(ticket) = ticket else { return };
        if let Some((dropped, left)) = self.tickets.get_mut(&ticket) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let dropped = *dropped;
                self.tickets.remove(&ticket);
                self.finished.push((ticket, dropped));
            }
        }
    }
}

impl Work {
    fn ticket(&self) -> Option<Ticket> {
        match self {
            Work::Drop { ticket, .. } | Work::Prefix { ticket, .. } | Work::Scan { ticket, .. } => {
                *ticket
            }
            Work::Mark { .. } => None,
        }
    }
}

/// What it means that a thing was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// It is as it was.
    None,
    /// Nothing was known of it, and nobody said that it changed.
    Learned,
    /// It is another than it was.
    Changed,
}

/// What to drop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut<'a> {
    /// Whatever used this thing (a tag, say).
    Thing(Thing),
    /// A computed answer by its key, and what was made of it.
    Key { key: &'a [u8], thing: Thing },
    /// Computed answers by the start of their keys (`<resource>:` for all of a resource), and what was made of them.
    Prefix(&'a [u8]),
    /// Whatever used anything of an entity.
    Entity(EntityIx),
    /// Everything.
    All,
}

impl Index {
    /// Is marking left to be done? Then [`work`](Self::work) is to be called soon.
    pub fn has_work(&self) -> bool {
        !self.pending.is_empty() || self.pending.sweep.is_some() || self.sweep_due()
    }
    /// A thing was seen to be as it is. `before`: what was known of it elsewhere ([`UNKNOWN`]: nothing), where no answer on it
    /// says so. `told`: somebody said that it changed, so if nothing is known of it, it did. What changed drops what used it.
    pub fn seen(&mut self, thing: Thing, content: Content, before: Content, told: bool) -> News {
        let news = |was: Content| match was {
            _ if was == content => News::None,
            UNKNOWN if !told => News::Learned,
            _ => News::Changed,
        };
        let Some(at) = self.nodes.find(thing) else {
            return news(before);
        };
        let was = self.nodes.get(at).map_or(UNKNOWN, |n| n.content);
        let held = was != UNKNOWN && was != content && self.is_held(at);
        let found = news(if held || was == content { was } else { before });
        if let Some(node) = self.nodes.get_mut(at) {
            node.content = content;
        }
        if found == News::Changed {
            self.cut_node(at, None);
        }
        found
    }
    /// A thing changed, into what is not known.
    pub fn changed(&mut self, thing: Thing) {
        self.cut_thing(thing, None);
    }
    fn cut_thing(&mut self, thing: Thing, ticket: Option<Ticket>) {
        if let Some(at) = self.nodes.find(thing) {
            if let Some(node) = self.nodes.get_mut(at) {
                node.content = UNKNOWN;
            }
            self.cut_node(at, ticket);
        }
    }
    /// Drops what is asked for, and counts it: the answer's ticket is finished by [`work`](Self::work), at once where little is
    /// to be done ([`take_finished`](Self::take_finished)). From now on none of it is taken for valid. No answer is counted twice.
    pub fn cut<'a>(&mut self, cuts: impl IntoIterator<Item = Cut<'a>>) -> Ticket {
        self.pending.last_ticket += 1;
        let ticket = self.pending.last_ticket;
        self.pending.tickets.insert(ticket, (0, 1));
        let counted = Some(ticket);
        for cut in cuts {
            match cut {
                Cut::Thing(thing) => self.cut_thing(thing, counted),
                Cut::Key { key, thing } => {
                    // (What an earlier change has dropped is marked, and counted, by that.)
                    let slot = self.names.get(key).and_then(|n| n.slot);
                    if let Some(slot) = slot.filter(|s| self.examine(*s) != Check::Dropped) {
                        self.drop_slot(slot, counted);
                    }
                    self.cut_thing(thing, counted);
                }
                Cut::Prefix(prefix) => self.cut_prefix(prefix, counted),
                Cut::Entity(entity) => self.cut_entity(entity, counted),
                Cut::All => {
                    self.all_cut = self.births;
                    self.scan(None, counted);
                }
            }
        }
        self.pending.close(counted);
        ticket
    }
    /// Tickets of which everything was dropped, with how many answers that were.
    pub fn take_finished(&mut self) -> Vec<(Ticket, u64)> {
        mem::take(&mut self.pending.finished)
    }
    fn cut_prefix(&mut self, prefix: &[u8], ticket: Option<Ticket>) {
        let prefix: Arc<[u8]> = prefix.into();
        let known = (prefix.clone(), self.births, ticket);
        self.pending.prefixes.push(known);
        self.pending.push(Work::Prefix {
            prefix,
            cut: self.births,
            after: None,
            ticket,
        });
    }
    /// Everything that used anything of an entity is dropped (a changed spec, too many doubts).
    fn cut_entity(&mut self, entity: EntityIx, ticket: Option<Ticket>) {
        self.entities.entry(entity).or_default().cut = self.births;
        let doubtful = self.doubtful.values().filter(|d| d.entity == entity);
        let settled: Vec<Thing> = doubtful.map(|d| d.thing).collect();
        for thing in settled {
            self.end_doubt(thing);
        }
        self.scan(Some(entity), ticket);
    }
    fn scan(&mut self, entity: Option<EntityIx>, ticket: Option<Ticket>) {
        if self.live > 0 {
            self.pending.push(Work::Scan {
                at: 0,
                entity,
                cut: self.births,
                ticket,
            });
        }
    }
    fn cut_node(&mut self, at: u32, ticket: Option<Ticket>) {
        self.prefixes_first(at);
        let Some(node) = self.nodes.get_mut(at) else {
            return;
        };
        let list = mem::take(&mut node.postings);
        self.postings -= list.len();
        if list.len() == 0 {
            return self.free_if_unused(at);
        }
        // One change after the other: what an earlier one drops is counted there.
        if list.len() <= AT_ONCE && self.pending.is_empty() {
            for slot in list.as_slice() {
                self.drop_slot(*slot, ticket);
            }
            self.free_if_unused(at);
            return;
        }
        self.drop_later(at, list.into_vec(), self.births, ticket);
    }
    /// Answers on a node that are born before `cut` are dropped in slices, and taken for dropped from now on.
    fn drop_later(&mut self, node: u32, slots: Vec<u32>, cut: u64, ticket: Option<Ticket>) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.flags |= CUT;
        }
        let (known, pieces) = self.pending.nodes.entry(node).or_insert((0, 0));
        (*known, *pieces) = (cut.max(*known), *pieces + 1);
        self.pending.push(Work::Drop {
            node,
            slots,
            cut,
            ticket,
        });
    }
    /// Answers on a node are found by the prefixes of its name in good time; before they leave it, at once.
    fn prefixes_first(&mut self, at: u32) {
        let Some(name) = self.computed.get(&at) else {
            return;
        };
        let all = self.pending.prefixes.iter();
        let cuts: Vec<_> = all
            .filter(|(prefix, ..)| name.starts_with(prefix))
            .map(|(_, cut, ticket)| (*cut, *ticket))
            .collect();
        for (cut, ticket) in cuts {
            let node = self.nodes.get(at);
            let slots = node.map_or(Vec::new(), |n| n.postings.as_slice().into());
            self.drop_later(at, slots, cut, ticket);
        }
    }
    fn drop_slot(&mut self, slot: u32, ticket: Option<Ticket>) {
        let Some(answer) = self.answers.get(slot) else {
            return;
        };
        if answer.state != State::Live {
            return;
        }
        let generation = answer.generation;
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
        answer.generation = answer.generation.wrapping_add(1);
        let deps = mem::take(&mut answer.deps).len();
        answer.uses = [].into();
        let key = mem::replace(&mut answer.key, [].into());
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
    fn free_if_unused(&mut self, at: u32) {
        let unused = self
            .nodes
            .get(at)
            .is_some_and(|n| n.postings.len() == 0 && n.flags & CUT == 0);
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
    fn mark_node(&mut self, at: u32) {
        let Some(node) = self.nodes.get_mut(at) else {
            return;
        };
        node.flags |= DOUBTFUL;
        let slots = node.postings.as_slice();
        if slots.len() > AT_ONCE {
            let left = slots.len();
            self.pending.push(Work::Mark { node: at, left });
            return;
        }
        for slot in slots {
            if let Some(answer) = self.answers.get_mut(*slot) {
                answer.marked = true;
            }
        }
    }
    /// A thing was seen by what was sent (or told) under `as_of`: is it in doubt still?
    pub fn settle(&mut self, thing: Thing, as_of: u64) {
        if self.doubtful.get(&thing).is_some_and(|d| d.seq <= as_of) {
            self.end_doubt(thing);
        }
    }
    fn end_doubt(&mut self, thing: Thing) {
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
    /// Does what is pending, up to about `budget` looks (a look: some 10 ns). True: there is more.
    pub fn work(&mut self, mut budget: usize) -> bool {
        while budget > 0 {
            let Some(work) = self.pending.work.pop_front() else {
                break;
            };
            if let Some(rest) = self.piece(work, &mut budget) {
                self.pending.work.push_front(rest);
            }
        }
        if budget > 0 {
            self.sweep(budget);
        }
        self.has_work()
    }
    /// Does one piece of work as far as the budget reaches, and gives back what is left of it.
    fn piece(&mut self, work: Work, budget: &mut usize) -> Option<Work> {
        match work {
            Work::Drop {
                node,
                mut slots,
                cut,
                ticket,
            } => {
                while *budget > 0 {
                    let Some(slot) = slots.pop() else { break };
                    *budget = budget.saturating_sub(DROP);
                    // (A slot may be another answer's by now.)
                    if self.answers.get(slot).is_some_and(|a| a.birth < cut) {
                        self.drop_slot(slot, ticket);
                    }
                }
                if !slots.is_empty() {
                    return Some(Work::Drop {
                        node,
                        slots,
                        cut,
                        ticket,
                    });
                }
                self.node_done(node);
                self.pending.close(ticket);
            }
            Work::Mark { node, left } => {
                // From the end: what a sweep moves meanwhile comes from there and was marked.
                let slots = self
                    .nodes
                    .get(node)
                    .map_or(&[][..], |n| n.postings.as_slice());
                let left = left.min(slots.len());
                let next = left.saturating_sub(*budget);
                for slot in slots.get(next..left).unwrap_or(&[]) {
                    if let Some(answer) = self.answers.get_mut(*slot) {
                        answer.marked = true;
                    }
                }
                *budget = budget.saturating_sub((left - next).max(1));
                if next > 0 {
                    return Some(Work::Mark { node, left: next });
                }
            }
            Work::Prefix {
                prefix,
                cut,
                mut after,
                ticket,
            } => {
                while *budget > 0 {
                    *budget = budget.saturating_sub(DROP);
                    let from = match &after {
                        Some(name) => Excluded(name.clone()),
                        None => Included(prefix.clone()),
                    };
                    let next = self.names.range((from, Unbounded)).next();
                    let next = next.filter(|(name, _)| name.starts_with(&prefix));
                    let Some((name, named)) = next.map(|(name, named)| (name.clone(), *named))
                    else {
                        self.prefix_done(&prefix, cut);
                        self.pending.close(ticket);
                        return None;
                    };
                    self.cut_named(named.slot, named.node, cut, ticket);
                    after = Some(name);
                }
                return Some(Work::Prefix {
                    prefix,
                    cut,
                    after,
                    ticket,
                });
            }
            Work::Scan {
                mut at,
                entity,
                cut,
                ticket,
            } => {
                while *budget > 0 && at < self.answers.len() {
                    *budget -= 1;
                    let concerned = self.answers.get(at).is_some_and(|a| {
                        let uses = |e| a.uses.iter().any(|used| used.entity == e);
                        a.birth < cut && entity.is_none_or(uses)
                    });
                    if concerned {
                        *budget = budget.saturating_sub(DROP);
                        self.drop_slot(at, ticket);
                    }
                    at += 1;
                }
                if at < self.answers.len() {
                    return Some(Work::Scan {
                        at,
                        entity,
                        cut,
                        ticket,
                    });
                }
                self.pending.close(ticket);
            }
        }
        None
    }
    fn cut_named(
        &mut self,
        slot: Option<u32>,
        node: Option<u32>,
        cut: u64,
        ticket: Option<Ticket>,
    ) {
        if let Some(slot) = slot {
            if self.answers.get(slot).is_some_and(|a| a.birth < cut) {
                self.drop_slot(slot, ticket);
            }
        }
        // What was made of it: of the answers on it those that are older than the change.
        let Some(at) = node else { return };
        let slots: Vec<u32> = match self.nodes.get(at) {
            Some(node) => node.postings.as_slice().into(),
            None => return,
        };
        if slots.len() > AT_ONCE {
            return self.drop_later(at, slots, cut, ticket);
        }
        for slot in slots {
            if self.answers.get(slot).is_some_and(|a| a.birth < cut) {
                self.drop_slot(slot, ticket);
            }
        }
    }
    fn prefix_done(&mut self, prefix: &[u8], cut: u64) {
        let mut all = self.pending.prefixes.iter();
        if let Some(at) = all.position(|(p, c, _)| **p == *prefix && *c == cut) {
            self.pending.prefixes.swap_remove(at);
        }
    }
    fn node_done(&mut self, at: u32) {
        let Some((_, left)) = self.pending.nodes.get_mut(&at) else {
            return;
        };
        *left -= 1;
        if *left == 0 {
            self.pending.nodes.remove(&at);
            if let Some(node) = self.nodes.get_mut(at) {
                node.flags &= !CUT;
            }
            self.free_if_unused(at);
        }
    }
    fn sweep_due(&self) -> bool {
        self.postings > self.live_deps.saturating_mul(2) + GARBAGE
    }
    /// Takes dead slots out of the postings once they are the greater part, and so makes the slots free.
    fn sweep(&mut self, mut budget: usize) {
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
                while let Some(slot) = node.postings.as_slice().get(sweep.at).copied() {
                    if budget == 0 {
                        through = false;
                        break;
                    }
                    budget -= 1;
                    let live = self
                        .answers
                        .get(slot)
                        .is_some_and(|a| a.state == State::Live);
                    if live {
                        sweep.at += 1;
                    } else {
                        node.postings.swap_remove(sweep.at);
                        self.postings -= 1;
                    }
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
        if sweep.node < self.nodes.places() {
            self.pending.sweep = Some(sweep);
            return;
        }
        for slot in sweep.slots {
            self.answers.give_back(slot);
        }
    }
    /// Things that answers used, slots taken, and postings: what memory goes by.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.nodes.in_use(), self.answers.in_use(), self.postings)
    }
}
