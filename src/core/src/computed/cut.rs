//! What a change drops.

use super::index::{Check, Index};
use super::nodes::CUT;
use super::pending::{Ticket, Work};
use super::postings::Postings;
use super::thing::{same, Content, EntityIx, Thing, UNKNOWN};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

/// So many answers are marked at once; more in slices.
pub(super) const AT_ONCE: usize = if cfg!(test) { 2 } else { 500 };

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
    /// A thing was seen to be as it is. `before`: what was known of it elsewhere ([`UNKNOWN`]: nothing), where no answer on it
    /// says so. `told`: somebody said that it changed, so if nothing is known of it, it did. What changed drops what used it.
    pub fn seen(&mut self, thing: Thing, content: Content, before: Content, told: bool) -> News {
        let news = |was: Content| match was {
            _ if same(was, content) => News::None,
            UNKNOWN if !told => News::Learned,
            _ => News::Changed,
        };
        let Some(at) = self.nodes.find(thing) else {
            return news(before);
        };
        let was = self.nodes.get(at).map_or(UNKNOWN, |n| n.content);
        let held = was != UNKNOWN && self.is_held(at);
        // (What nobody relies on may have changed unnoticed.)
        let found = news(if held { was } else { before });
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
    pub(super) fn cut_entity(&mut self, entity: EntityIx, ticket: Option<Ticket>) {
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
        if list.is_empty() {
            return self.free_if_unused(at);
        }
        // One change after the other: what an earlier one drops is counted there.
        if list.len() <= AT_ONCE && self.pending.is_empty() {
            for slot in list.iter() {
                self.drop_slot(slot, ticket);
            }
            self.free_if_unused(at);
            return;
        }
        let last = self.pending.work.len();
        self.drop_later(at, list, self.births, ticket, last);
    }
    /// Answers on a node that are born before `cut` are dropped in slices, and taken for dropped from now on.
    pub(super) fn drop_later(
        &mut self,
        node: u32,
        slots: Postings,
        cut: u64,
        ticket: Option<Ticket>,
        place: usize,
    ) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.flags |= CUT;
        }
        let (known, pieces) = self.pending.nodes.entry(node).or_insert((0, 0));
        (*known, *pieces) = (cut.max(*known), *pieces + 1);
        let work = Work::Drop {
            node,
            slots,
            open: Vec::new(),
            cut,
            ticket,
        };
        self.pending.insert(place, work);
    }
    /// Answers on a node are found by the prefixes of its name in good time; before they leave it, at once.
    fn prefixes_first(&mut self, at: u32) {
        let Some(name) = self.computed.get(&at) else {
            return;
        };
        let all = self.pending.prefixes.iter();
        let cuts: Vec<_> = all
            .filter(|(prefix, ..)| name.starts_with(prefix))
            .map(|(prefix, cut, ticket)| {
                let behind = self.pending.behind_prefix(prefix, *cut);
                (*cut, *ticket, behind)
            })
            .collect();
        // (From the last on: none moves another's place.)
        for (cut, ticket, behind) in cuts.into_iter().rev() {
            let node = self.nodes.get(at);
            let slots = node.map_or(Postings::None, |n| n.postings.clone());
            self.drop_later(at, slots, cut, ticket, behind);
        }
    }
}
