//! What is still to be done about changes. ([`super::work`] does it.)

use super::postings::Postings;
use super::thing::EntityIx;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashMap;

/// A change that is counted: see [`Index::take_finished`].
pub type Ticket = u64;

pub(super) enum Work {
    /// The answers that used a node as it was.
    Drop {
        node: u32,
        slots: Postings,
        /// Those of the piece that is being done.
        open: Vec<u32>,
        cut: u64,
        ticket: Option<Ticket>,
    },
    /// Answers on a node that came into doubt: the pieces of its postings before `left` are still to be marked.
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

/// Where sweeping dead slots out of the postings is.
pub(super) struct Sweep {
    pub(super) node: u32,
    /// The piece of its postings.
    pub(super) at: usize,
    /// Slots that are free when it is through.
    pub(super) slots: Vec<u32>,
}

#[derive(Default)]
pub(super) struct Pending {
    pub(super) work: VecDeque<Work>,
    /// Nodes with work: answers born before the number are dropped; and how many pieces of work there are.
    pub(super) nodes: HashMap<u32, (u64, u32)>,
    pub(super) prefixes: Vec<(Arc<[u8]>, u64, Option<Ticket>)>,
    pub(super) sweep: Option<Sweep>,
    /// Slots of dropped answers that may stand in postings.
    pub(super) retired: Vec<u32>,
    /// Answers dropped by a ticket, and how many pieces of its work are left.
    pub(super) tickets: HashMap<Ticket, (u64, u32)>,
    pub(super) last_ticket: Ticket,
    pub(super) finished: Vec<(Ticket, u64)>,
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
    pub(super) fn push(&mut self, work: Work) {
        self.insert(self.work.len(), work);
    }
    /// One change after the other: what belongs to an earlier one is done, and counted, before a later one.
    pub(super) fn insert(&mut self, at: usize, work: Work) {
        let ticket = work.ticket();
        if let Some(t) = ticket.and_then(|ticket| self.tickets.get_mut(&ticket)) {
            t.1 += 1;
        }
        self.work.insert(at.min(self.work.len()), work);
    }
    /// The place right behind the work on a prefix; in front of all, if that is what is being done.
    pub(super) fn behind_prefix(&self, prefix: &[u8], cut: u64) -> usize {
        let is = |w: &Work| matches!(w, Work::Prefix { prefix: p, cut: c, .. } if **p == *prefix && *c == cut);
        self.work.iter().position(is).map_or(0, |at| at + 1)
    }
    pub(super) fn count(&mut self, ticket: Option<Ticket>) {
        if let Some(t) = ticket.and_then(|ticket| self.tickets.get_mut(&ticket)) {
            t.0 += 1;
        }
    }
    pub(super) fn close(&mut self, ticket: Option<Ticket>) {
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
