//! Members in order, counted: a place is found by its number, and a member by its value, in the depth of a tree. Every branch
//! knows how long its members serve.

use super::life::{Life, Lives};
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Members of a leaf, and branches of a fork, at most.
const LEAF: usize = 64;
const FORK: usize = 32;

/// What the tree is told of its members, which it knows by their numbers.
pub(super) trait Members {
    fn order(&self, a: u32, b: u32) -> Ordering;
    fn life(&self, member: u32) -> Option<&Life>;
}

enum Node {
    Leaf(Vec<u32>),
    Fork(Vec<Branch>),
}

struct Branch {
    /// Its least member.
    first: u32,
    count: usize,
    lives: Lives,
    node: Node,
}

/// Members in order.
pub(super) struct Tree {
    root: Branch,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree {
            root: Branch::leaf(Vec::new(), Lives::NONE),
        }
    }
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.root.count
    }
    pub(super) fn lives(&self) -> Lives {
        self.root.lives
    }
    /// Adds a member that is not in it.
    pub(super) fn insert(&mut self, m: &impl Members, member: u32) {
        if let Some(right) = self.root.insert(m, member) {
            let empty = Branch::leaf(Vec::new(), Lives::NONE);
            let left = core::mem::replace(&mut self.root, empty);
            self.root = Branch::fork(alloc::vec![left, right]);
        }
    }
    /// Takes a member out. False: it is not where its value says.
    pub(super) fn remove(&mut self, m: &impl Members, member: u32) -> bool {
        let was = self.root.remove(m, member);
        while let Node::Fork(branches) = &mut self.root.node {
            match (branches.len(), branches.pop()) {
                (1, Some(only)) => self.root = only,
                (0, _) => self.root = Branch::leaf(Vec::new(), Lives::NONE),
                (_, Some(last)) => {
                    branches.push(last);
                    break;
                }
                (_, None) => break,
            }
        }
        was
    }
    /// How many members come before the first for which `before` says no.
    pub(super) fn rank(&self, before: impl Fn(u32) -> bool) -> usize {
        let (mut at, mut rank) = (&self.root, 0);
        loop {
            match &at.node {
                Node::Leaf(members) => return rank + members.partition_point(|x| before(*x)),
                Node::Fork(branches) => {
                    let n = branches.partition_point(|b| before(b.first));
                    let n = n.saturating_sub(1);
                    rank += branches.iter().take(n).map(|b| b.count).sum::<usize>();
                    match branches.get(n) {
                        Some(b) => at = b,
                        None => return rank,
                    }
                }
            }
        }
    }
    /// Members from the one in the `from`th place on, until `each` says no.
    pub(super) fn forth(&self, from: usize, mut each: impl FnMut(u32) -> bool) {
        self.root.forth(from, &mut each);
    }
    /// Members from the one in the `from`th place backwards, until `each` says no.
    pub(super) fn back(&self, from: usize, mut each: impl FnMut(u32) -> bool) {
        let skip = self.len().saturating_sub(from.saturating_add(1));
        self.root.back(skip, &mut each);
    }
    /// Members whose freshness ends before `end`, in their order, until `each` says no.
    pub(super) fn ending(
        &self,
        m: &impl Members,
        end: u64,
        each: &mut impl FnMut(u32, &Life) -> bool,
    ) {
        self.root.ending(m, end, each);
    }
}

fn lives_of(m: &impl Members, members: &[u32]) -> Lives {
    let lives = members.iter().filter_map(|x| m.life(*x)).map(Lives::of);
    lives.fold(Lives::NONE, Lives::and)
}

impl Branch {
    fn leaf(members: Vec<u32>, lives: Lives) -> Branch {
        Branch {
            first: members.first().copied().unwrap_or(0),
            count: members.len(),
            lives,
            node: Node::Leaf(members),
        }
    }
    fn fork(branches: Vec<Branch>) -> Branch {
        let mut own = Branch {
            first: 0,
            count: 0,
            lives: Lives::NONE,
            node: Node::Fork(branches),
        };
        own.sum_up();
        own
    }
    /// Of a fork: from its branches.
    fn sum_up(&mut self) {
        if let Node::Fork(branches) = &self.node {
            self.first = branches.first().map_or(0, |b| b.first);
            self.count = branches.iter().map(|b| b.count).sum();
            self.lives = branches
                .iter()
                .map(|b| b.lives)
                .fold(Lives::NONE, Lives::and);
        }
    }
    /// What does not fit goes to a branch on its right.
    fn insert(&mut self, m: &impl Members, member: u32) -> Option<Branch> {
        match &mut self.node {
            Node::Leaf(members) => {
                let at = members.partition_point(|x| m.order(*x, member) == Ordering::Less);
                members.insert(at, member);
                let mut right = None;
                if members.len() > LEAF {
                    // In order, as a view is begun: full leaves are left behind.
                    let keep = if at == LEAF { LEAF } else { LEAF / 2 };
                    let rest = members.split_off(keep);
                    let lives = lives_of(m, &rest);
                    right = Some(Branch::leaf(rest, lives));
                    self.lives = lives_of(m, members);
                } else if let Some(life) = m.life(member) {
                    self.lives = self.lives.and(Lives::of(life));
                }
                self.first = members.first().copied().unwrap_or(0);
                self.count = members.len();
                right
            }
            Node::Fork(branches) => {
                let at = place(branches, m, member);
                let more = branches.get_mut(at).and_then(|b| b.insert(m, member));
                let Some(more) = more else {
                    self.first = branches.first().map_or(0, |b| b.first);
                    self.count += 1;
                    if let Some(life) = m.life(member) {
                        self.lives = self.lives.and(Lives::of(life));
                    }
                    return None;
                };
                branches.insert(at + 1, more);
                let mut right = None;
                if branches.len() > FORK {
                    let keep = if at + 2 > FORK { FORK } else { FORK / 2 };
                    right = Some(Branch::fork(branches.split_off(keep)));
                }
                self.sum_up();
                right
            }
        }
    }
    fn remove(&mut self, m: &impl Members, member: u32) -> bool {
        match &mut self.node {
            Node::Leaf(members) => {
                let Ok(at) = members.binary_search_by(|x| m.order(*x, member)) else {
                    return false;
                };
                members.remove(at);
                if m.life(member).is_none_or(|l| self.lives.leans_on(l)) {
                    self.lives = lives_of(m, members);
                }
                self.first = members.first().copied().unwrap_or(0);
                self.count = members.len();
                true
            }
            Node::Fork(branches) => {
                let at = place(branches, m, member);
                let was = branches.get_mut(at).is_some_and(|b| b.remove(m, member));
                if was {
                    tidy(branches, at);
                    self.first = branches.first().map_or(0, |b| b.first);
                    self.count -= 1;
                    if m.life(member).is_none_or(|l| self.lives.leans_on(l)) {
                        self.sum_up();
                    }
                }
                was
            }
        }
    }
    fn forth(&self, mut skip: usize, each: &mut impl FnMut(u32) -> bool) -> bool {
        match &self.node {
            Node::Leaf(members) => members.iter().skip(skip).all(|x| each(*x)),
            Node::Fork(branches) => branches.iter().all(|b| {
                let skipped = skip.min(b.count);
                skip -= skipped;
                skipped == b.count || b.forth(skipped, each)
            }),
        }
    }
    fn back(&self, mut skip: usize, each: &mut impl FnMut(u32) -> bool) -> bool {
        match &self.node {
            Node::Leaf(members) => members.iter().rev().skip(skip).all(|x| each(*x)),
            Node::Fork(branches) => branches.iter().rev().all(|b| {
                let skipped = skip.min(b.count);
                skip -= skipped;
                skipped == b.count || b.back(skipped, each)
            }),
        }
    }
    fn ending(
        &self,
        m: &impl Members,
        end: u64,
        each: &mut impl FnMut(u32, &Life) -> bool,
    ) -> bool {
        if self.lives.first_end() >= end {
            return true;
        }
        match &self.node {
            Node::Leaf(members) => members
                .iter()
                .filter_map(|x| Some((*x, m.life(*x)?)))
                .filter(|(_, l)| l.fresh_until < end)
                .all(|(x, l)| each(x, l)),
            Node::Fork(branches) => branches.iter().all(|b| b.ending(m, end, each)),
        }
    }
}

/// The branch that a member is in, or would be.
fn place(branches: &[Branch], m: &impl Members, member: u32) -> usize {
    branches
        .partition_point(|b| m.order(b.first, member) != Ordering::Greater)
        .saturating_sub(1)
}

/// A branch lost a member: an empty one goes, and two that fit into one become one.
fn tidy(branches: &mut Vec<Branch>, at: usize) {
    if branches.get(at).is_some_and(|b| b.count == 0) {
        branches.remove(at);
        return;
    }
    for left in [at, at.wrapping_sub(1)] {
        let fits = match (branches.get(left), branches.get(left.wrapping_add(1))) {
            (Some(a), Some(b)) => match (&a.node, &b.node) {
                (Node::Leaf(x), Node::Leaf(y)) => x.len() + y.len() <= LEAF * 3 / 4,
                (Node::Fork(x), Node::Fork(y)) => x.len() + y.len() <= FORK * 3 / 4,
                _ => false,
            },
            _ => false,
        };
        if fits {
            let right = branches.remove(left + 1);
            if let Some(b) = branches.get_mut(left) {
                match (&mut b.node, right.node) {
                    (Node::Leaf(x), Node::Leaf(y)) => x.extend(y),
                    (Node::Fork(x), Node::Fork(y)) => x.extend(y),
                    _ => {}
                }
                b.count += right.count;
                b.lives = b.lives.and(right.lives);
            }
            return;
        }
    }
}
