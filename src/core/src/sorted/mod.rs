//! A sorted view of an index set: its members in the order of one field, kept up as they change, so that a question for some
//! of them sorts nothing and looks at no other.
//!
//! A view is made of looks at the members' copies, and is worth what they are worth: whatever may have changed of a member
//! since is [marked](View::mark), and looked at again before the view answers. Reading order: `life` (how long copies serve,
//! and many of them), `tree` (members in order), [`View`] here.

mod life;
#[cfg(test)]
mod tests;
mod tree;

pub use life::{Life, Lives};

use crate::question::SortKey;
use crate::slab::Slab;
use alloc::vec::Vec;
use compact_str::CompactString;
use core::cmp::Ordering;
use core::hash::BuildHasher;
use core::mem::size_of;
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use tree::{Members, Tree};

/// What a look at one id came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// It is a member, and so sorted; `None`: it has no value.
    In(Option<SortKey>, Life),
    /// The set holds it, and by what is known of it it belongs to no answer.
    Outside(Life),
    /// The set does not hold it.
    NoMember,
    /// Its copy is not there, or says nothing: it cannot be sorted in.
    Unsure,
}

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Valued(SortKey),
    Blank,
    Outside,
}

struct Member {
    id: CompactString,
    place: Place,
    life: Life,
}

/// The members by their numbers.
#[derive(Default)]
struct Book(Slab<Member>);

impl Book {
    fn key(&self, member: u32) -> Option<&SortKey> {
        match &self.0.get(member)?.place {
            Place::Valued(key) => Some(key),
            _ => None,
        }
    }
}

impl Members for Book {
    fn order(&self, a: u32, b: u32) -> Ordering {
        let (a, b) = (self.0.get(a), self.0.get(b));
        match (a, b) {
            (Some(a), Some(b)) => match (&a.place, &b.place) {
                (Place::Valued(x), Place::Valued(y)) => x.cmp(y),
                _ => Ordering::Equal,
            }
            .then_with(|| a.id.cmp(&b.id)),
            _ => a.is_some().cmp(&b.is_some()),
        }
    }
    fn life(&self, member: u32) -> Option<&Life> {
        Some(&self.0.get(member)?.life)
    }
}

/// More marks than these and than a quarter of the members: looking at all of them anew is less.
const MARKS: usize = 4096;
/// Members that one step backwards takes beyond those that are asked for: ties are seldom more.
const TIES: usize = 16;

/// The members of one index set in the order of one field.
#[derive(Default)]
pub struct View {
    book: Book,
    by_id: HashTable<u32>,
    hasher: DefaultHashBuilder,
    valued: Tree,
    blank: Tree,
    outside: Tree,
    marks: HashSet<CompactString>,
    /// Bytes of values too long to be kept in place.
    long: usize,
}

impl View {
    /// A view of about so many members.
    pub fn with_capacity(members: usize) -> View {
        View {
            by_id: HashTable::with_capacity(members),
            ..View::default()
        }
    }
    fn find(&self, id: &str) -> Option<u32> {
        let is = |at: &u32| self.book.0.get(*at).is_some_and(|m| m.id == id);
        self.by_id.find(self.hasher.hash_one(id), is).copied()
    }
    /// Is it known to be in the set?
    pub fn holds(&self, id: &str) -> bool {
        self.find(id).is_some()
    }
    /// What is known of it may be so no longer.
    pub fn mark(&mut self, id: &str) {
        if !self.marks.contains(id) {
            self.marks.insert(CompactString::new(id));
        }
    }
    /// Those that are to be looked at, `most` of them.
    pub fn marked(&self, most: usize) -> Vec<CompactString> {
        self.marks.iter().take(most).cloned().collect()
    }
    /// How many are to be looked at.
    pub fn marks(&self) -> usize {
        self.marks.len()
    }
    /// Is it less to build it anew than to look at all that is marked?
    pub fn is_worn(&self) -> bool {
        self.marks.len() > MARKS.max(self.len() / 4)
    }
    /// Members of the set, those that belong to no answer among them.
    pub fn len(&self) -> usize {
        self.total() + self.outside.len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Members that an answer holds.
    pub fn total(&self) -> usize {
        self.valued.len() + self.blank.len()
    }
    /// How long those that an answer holds serve, and the keys of all.
    pub fn lives(&self) -> Lives {
        let answered = self.valued.lives().and(self.blank.lives());
        answered.and(self.outside.lives())
    }
    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let each = size_of::<Member>() + 2 * size_of::<u32>();
        self.book.0.len() as usize * each
            + self.by_id.capacity() * (size_of::<u32>() + 1)
            + self.marks.capacity() * (size_of::<CompactString>() + 1)
            + self.long
    }

    /// One id was looked at.
    pub fn settle(&mut self, id: &str, seen: Seen) {
        let (place, life) = match seen {
            Seen::In(Some(key), life) => (Place::Valued(key), life),
            Seen::In(None, life) => (Place::Blank, life),
            Seen::Outside(life) => (Place::Outside, life),
            Seen::NoMember => {
                self.marks.remove(id);
                self.take_out(id);
                return;
            }
            Seen::Unsure => return self.mark(id),
        };
        self.marks.remove(id);
        let known = self.find(id).and_then(|at| self.book.0.get(at));
        if known.is_some_and(|m| m.place == place && m.life == life) {
            return;
        }
        self.take_out(id);
        self.long += allocated(&place);
        let id = CompactString::new(id);
        let hash = self.hasher.hash_one(id.as_str());
        let member = Member { id, place, life };
        let at = match self.book.0.reuse() {
            Some(at) => {
                if let Some(free) = self.book.0.get_mut(at) {
                    *free = member;
                }
                at
            }
            None => self.book.0.push(member),
        };
        let (book, hasher) = (&self.book, &self.hasher);
        let rehash = |x: &u32| hasher.hash_one(book.0.get(*x).map_or("", |m| m.id.as_str()));
        self.by_id.insert_unique(hash, at, rehash);
        if let Some((tree, book)) = self.tree_of(at) {
            tree.insert(book, at);
        }
    }
    fn tree_of(&mut self, member: u32) -> Option<(&mut Tree, &Book)> {
        let tree = match self.book.0.get(member)?.place {
            Place::Valued(_) => &mut self.valued,
            Place::Blank => &mut self.blank,
            Place::Outside => &mut self.outside,
        };
        Some((tree, &self.book))
    }
    fn take_out(&mut self, id: &str) {
        let Some(at) = self.find(id) else { return };
        if let Some((tree, book)) = self.tree_of(at) {
            tree.remove(book, at);
        }
        let hash = self.hasher.hash_one(id);
        if let Ok(entry) = self.by_id.find_entry(hash, |x| *x == at) {
            entry.remove();
        }
        if let Some(m) = self.book.0.get_mut(at) {
            self.long -= allocated(&m.place).min(self.long);
            m.id = CompactString::default();
            m.place = Place::Blank;
        }
        self.book.0.give_back(at);
    }

    /// The members in the places from `offset` on, `count` of them at most, as SORT has them: by value, ties by id either way,
    /// those without a value last.
    pub fn window(&self, descending: bool, offset: usize, count: usize) -> Vec<(&str, &Life)> {
        let n = self.valued.len();
        let mut out: Vec<u32> = Vec::with_capacity(count.min(self.total()));
        if descending {
            self.falling(offset, count, &mut out);
        } else {
            take(&self.valued, offset, count, &mut out);
        }
        let left = count - out.len();
        take(&self.blank, offset.saturating_sub(n), left, &mut out);
        let members = out.iter().filter_map(|at| self.book.0.get(*at));
        members.map(|m| (m.id.as_str(), &m.life)).collect()
    }

    /// The same of those that have a value, the largest first.
    fn falling(&self, mut offset: usize, count: usize, out: &mut Vec<u32>) {
        let n = self.valued.len();
        let key = |at: u32| self.book.key(at);
        while out.len() < count && offset < n {
            let at = n - 1 - offset;
            let wanted = count - out.len();
            let mut behind: Vec<u32> = Vec::with_capacity(wanted.min(n) + TIES);
            self.valued.back(at, |x| {
                behind.push(x);
                behind.len() < wanted.saturating_add(TIES)
            });
            let Some(first) = behind.first().copied() else {
                return;
            };
            let mut next = None;
            self.valued.forth(at + 1, |x| {
                next = Some(x);
                false
            });
            let begun = next.is_some_and(|x| key(x) == key(first));
            let whole = behind.len() > at;
            // Runs of one value, each from its end: those that are known to be whole are turned round.
            let mut runs = behind.chunk_by(|a, b| key(*a) == key(*b)).peekable();
            let mut turned = 0;
            while let Some(run) = runs.next() {
                let is_whole = whole || runs.peek().is_some();
                if out.len() >= count || !is_whole || (turned == 0 && begun) {
                    break;
                }
                let room = count - out.len();
                out.extend(run.iter().rev().take(room));
                turned += run.len();
            }
            offset += turned;
            if turned == 0 {
                // More ties than were looked at, or the places begin in the middle of them.
                let low = self.valued.rank(|x| key(x) < key(first));
                let high = self.valued.rank(|x| key(x) <= key(first));
                let within = offset.saturating_sub(n - high);
                let many = (high - low).saturating_sub(within);
                take(&self.valued, low + within, many.min(wanted), out);
                offset += many.max(1);
            }
        }
    }

    /// Members that an answer holds and whose freshness ends before `end` (unix ms), until `each` says no.
    pub fn ending(&self, end: u64, mut each: impl FnMut(&str, &Life) -> bool) {
        let mut more = true;
        let mut one = |at: u32, life: &Life| {
            more = self.book.0.get(at).is_none_or(|m| each(&m.id, life));
            more
        };
        self.valued.ending(&self.book, end, &mut one);
        if more {
            self.blank.ending(&self.book, end, &mut |at, life| {
                self.book.0.get(at).is_none_or(|m| each(&m.id, life))
            });
        }
    }
    /// One of its members; with another number perhaps another.
    pub fn any(&self, number: usize) -> Option<&str> {
        let at = number.checked_rem(self.book.0.len() as usize)?;
        let member = self.book.0.get(u32::try_from(at).ok()?)?;
        Some(member.id.as_str()).filter(|id| !id.is_empty())
    }
}

fn allocated(place: &Place) -> usize {
    match place {
        Place::Valued(key) => key.allocated(),
        _ => 0,
    }
}

fn take(tree: &Tree, from: usize, count: usize, out: &mut Vec<u32>) {
    let end = out.len().saturating_add(count);
    if count > 0 {
        tree.forth(from, |x| {
            out.push(x);
            out.len() < end
        });
    }
}
