//! Which records of an entity are cached: their ids, some 14 bytes each, and which of them clients told and no fetch has
//! brought since. Airtable may list those only later, so a set that is asked for holds them as well; which they are is in
//! their stored headers, and here they are found by the sets they belong to.

mod id;
mod table;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use compact_str::CompactString;
use id::{Kept, Odd, Usual, MARK};
use table::{ids, Table};

/// In a record's mark: a client told it. The other bits say to which sets it may belong.
const TOLD: u16 = 1 << (MARK - 1);

/// The bit of a set, by the hash of its name. Some sets share it.
fn bit_of(set: u64) -> u16 {
    1 << (set % u64::from(MARK - 1))
}

/// Ids of records (or of tombstones).
#[derive(Default)]
pub struct Register {
    usual: Table<Usual>,
    odd: Table<Odd>,
    told: usize,
    /// Records that others put there, not looked at yet.
    arrived: Vec<CompactString>,
    /// Not every told record is known to be one.
    incomplete: bool,
}

/// How far a walk through a register has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Usual(u64),
    Odd(u64),
}

/// Where a walk begins.
pub const START: Place = Place::Usual(0);

impl Register {
    /// A record is there; true if it was not.
    pub fn insert(&mut self, id: &str) -> bool {
        self.entry(id, |_| ())
    }
    /// Changes a record's mark, having put it in if it was not there (true).
    fn entry(&mut self, id: &str, with: impl FnOnce(&mut dyn Marked)) -> bool {
        match Usual::of(id) {
            Some(usual) => entry(&mut self.usual, usual, with),
            None => entry(&mut self.odd, Odd::of(id), with),
        }
    }
    fn mark(&self, id: &str) -> Option<u16> {
        match Usual::of(id) {
            Some(usual) => self.usual.get(&usual).map(Kept::mark),
            None if self.odd.len() == 0 => None,
            None => self.odd.get(&Odd::of(id)).map(Kept::mark),
        }
    }
    /// It is there no more; true if it was.
    pub fn remove(&mut self, id: &str) -> bool {
        let mark = match Usual::of(id) {
            Some(usual) => self.usual.remove(&usual).map(|e| e.mark()),
            None => self.odd.remove(&Odd::of(id)).map(|e| e.mark()),
        };
        self.told -= usize::from(mark.is_some_and(|m| m != 0));
        mark.is_some()
    }
    pub fn contains(&self, id: &str) -> bool {
        self.mark(id).is_some()
    }
    pub fn len(&self) -> usize {
        self.usual.len() + self.odd.len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = CompactString> + '_ {
        ids(self.usual.iter()).chain(ids(self.odd.iter()))
    }
    /// Some from a place on, about `n`, and where to go on. Others may come and go meanwhile: what is there all the time is
    /// met once.
    pub fn part(&self, from: Place, n: usize) -> (Vec<CompactString>, Option<Place>) {
        self.part_of(from, n, |_| true)
    }
    fn part_of(
        &self,
        from: Place,
        n: usize,
        which: impl Fn(u16) -> bool,
    ) -> (Vec<CompactString>, Option<Place>) {
        let mut out = Vec::new();
        let next = match from {
            Place::Usual(at) => {
                let next = self.usual.part(at, n, |e| {
                    if which(e.mark()) {
                        out.push(e.id());
                    }
                });
                let odd = (self.odd.len() > 0).then_some(Place::Odd(0));
                next.map(Place::Usual).or(odd)
            }
            Place::Odd(at) => {
                let next = self.odd.part(at, n, |e| {
                    if which(e.mark()) {
                        out.push(e.id());
                    }
                });
                next.map(Place::Odd)
            }
        };
        (out, next)
    }
    /// What is left of it, to be taken apart one by one.
    pub fn into_remains(self) -> Remains {
        Remains(self)
    }

    /// A client told a record that belongs to these sets, by the hashes of their names.
    pub fn tell(&mut self, id: &str, sets: impl Iterator<Item = u64>) {
        let mark = sets.fold(TOLD, |mark, set| mark | bit_of(set));
        let mut was = 0;
        self.entry(id, |e| was = e.replace(mark));
        self.told += usize::from(was == 0);
    }
    /// It was fetched.
    pub fn untell(&mut self, id: &str) {
        if self.mark(id).is_some_and(|m| m != 0) {
            self.entry(id, |e| {
                e.replace(0);
            });
            self.told -= 1;
        }
    }
    /// How many are told.
    pub fn told(&self) -> usize {
        self.told
    }
    /// Of about `n` records from a place on those that were told and may belong to a set (to any, without one). Sets share
    /// what is kept of them here: whoever asks looks at the record.
    pub fn told_part(
        &self,
        from: Place,
        n: usize,
        set: Option<u64>,
    ) -> (Vec<CompactString>, Option<Place>) {
        if self.told == 0 {
            return (Vec::new(), None);
        }
        let bits = set.map_or(TOLD, bit_of);
        self.part_of(from, n, |mark| mark & bits != 0)
    }
    /// What is cached came from elsewhere (a data set that was loaded, another primary): which of it was told is to be looked
    /// up. Those that are known to be are so still.
    pub fn lose_told(&mut self) {
        self.arrived = Vec::new();
        self.incomplete = true;
    }
    /// A record was put there by others (restored, say): it is to be looked at.
    pub fn arrived(&mut self, id: &str) {
        if !self.incomplete {
            self.arrived.push(CompactString::new(id));
        }
    }
    /// Up to `n` of those, to be looked at now.
    pub fn take_arrived(&mut self, n: usize) -> Vec<CompactString> {
        let at = self.arrived.len().saturating_sub(n);
        let some = self.arrived.split_off(at);
        if at == 0 {
            self.arrived = Vec::new();
        }
        some
    }
    /// What is cached was looked through: every told record is known to be one, but for what arrived since.
    pub fn told_is_complete(&self) -> bool {
        !self.incomplete
    }
    pub fn found_all_told(&mut self) {
        self.incomplete = false;
    }
}

trait Marked {
    /// Sets the mark; what it was.
    fn replace(&mut self, mark: u16) -> u16;
}

impl<T: Kept> Marked for T {
    fn replace(&mut self, mark: u16) -> u16 {
        let was = self.mark();
        self.set_mark(mark);
        was
    }
}

fn entry<T: Kept>(table: &mut Table<T>, like: T, with: impl FnOnce(&mut dyn Marked)) -> bool {
    if let Some(there) = table.get_mut(&like) {
        with(there);
        return false;
    }
    let mut new = like;
    with(&mut new);
    table.add(new);
    true
}

/// Ids of a register that is given up.
#[derive(Default)]
pub struct Remains(Register);

impl Remains {
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Iterator for Remains {
    type Item = CompactString;
    fn next(&mut self) -> Option<CompactString> {
        let usual = self.0.usual.pop().map(|e| e.id());
        usual.or_else(|| self.0.odd.pop().map(|e| e.id()))
    }
}
