//! Doing what is pending about changes, in slices.

use super::cut::AT_ONCE;
use super::index::Index;
use super::nodes::CUT;
use super::pending::{Ticket, Work};
use core::ops::Bound::{Excluded, Included, Unbounded};

/// What dropping an answer costs, in looks: it is taken out of the names, and its memory is freed.
const DROP: usize = if cfg!(test) { 4 } else { 100 };

impl Index {
    /// Is marking left to be done? Then [`work`](Self::work) is to be called soon.
    pub fn has_work(&self) -> bool {
        !self.pending.is_empty()
            || self.pending.sweep.is_some()
            || self.sweep_due()
            || self.answers.has_rest()
            || self.nodes.has_rest()
    }
    /// Is any of that the dropping of answers?
    pub fn drops(&self) -> bool {
        let drops = |work: &Work| !matches!(work, Work::Mark { .. });
        self.pending.work.iter().any(drops)
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
            // (A chunk of each: some 20 us.)
            self.answers.free_some();
            self.nodes.free_some();
        }
        self.has_work()
    }
    /// Does one piece of work as far as the budget reaches, and gives back what is left of it.
    fn piece(&mut self, work: Work, budget: &mut usize) -> Option<Work> {
        match work {
            Work::Drop {
                node,
                mut slots,
                mut open,
                cut,
                ticket,
            } => {
                while *budget > 0 {
                    if open.is_empty() {
                        open = slots.pop_piece().unwrap_or_default();
                    }
                    let Some(slot) = open.pop() else { break };
                    *budget = budget.saturating_sub(DROP);
                    // (A slot may be another answer's by now.)
                    if self.answers.get(slot).is_some_and(|a| a.birth < cut) {
                        self.drop_slot(slot, ticket);
                    }
                }
                if !open.is_empty() || !slots.is_empty() {
                    return Some(Work::Drop {
                        node,
                        slots,
                        open,
                        cut,
                        ticket,
                    });
                }
                self.node_done(node);
                self.pending.close(ticket);
            }
            Work::Mark { node, left } => {
                // From the end: what a sweep moves up meanwhile is before the piece it stood in, or was marked.
                let postings = self.nodes.get(node).map(|n| &n.postings);
                let mut left = left.min(postings.map_or(0, |p| p.pieces()));
                while let Some(at) = left.checked_sub(1).filter(|_| *budget > 0) {
                    for slot in postings.into_iter().flat_map(|p| p.piece(at)) {
                        *budget = budget.saturating_sub(1);
                        if let Some(answer) = self.answers.get_mut(slot) {
                            answer.marked = true;
                        }
                    }
                    left = at;
                }
                *budget = budget.saturating_sub(1);
                if left > 0 {
                    return Some(Work::Mark { node, left });
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
        let slots = match self.nodes.get(at) {
            Some(node) => node.postings.clone(),
            None => return,
        };
        if slots.len() > AT_ONCE {
            return self.drop_later(at, slots, cut, ticket, 0);
        }
        for slot in slots.iter() {
            if self.answers.get(slot).is_some_and(|a| a.birth < cut) {
                self.drop_slot(slot, ticket);
            }
        }
    }
    fn prefix_done(&mut self, prefix: &[u8], cut: u64) {
        let mut all = self.pending.prefixes.iter();
        if let Some(at) = all.position(|(p, c, _)| **p == *prefix && *c == cut) {
            self.pending.prefixes.remove(at);
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
}
