//! A naive world: it keeps every answer that ever was, with what it used directly, and every change, and works out from scratch
//! which answers hold. Nothing in it is fast, flat or remembered for later.

use super::super::index::Check;
use super::super::lease::Token;
use super::super::thing::{Content, EntityIx, Thing, ABSENT, UNKNOWN};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use std::string::String;

pub(super) const RECORDS: u8 = 6;
/// Sets of an entity: a record is in the one that its content says.
pub(super) const SETS: u64 = 2;

/// Even records are of entity 0, odd ones of entity 1.
pub(super) fn entity_of(record: u8) -> EntityIx {
    EntityIx::from(record % 2)
}
pub(super) fn record(n: u8) -> Thing {
    1_000 + Thing::from(n)
}
pub(super) fn set(entity: EntityIx, n: u64) -> Thing {
    2_000 + Thing::from(entity) * 100 + n
}
pub(super) fn whole(entity: EntityIx) -> Thing {
    3_000 + Thing::from(entity)
}
pub(super) fn tag(n: u8) -> Thing {
    4_000 + Thing::from(n)
}
pub(super) fn own(key: &str) -> Thing {
    key.bytes().fold(5_000, |h, b| h * 31 + Thing::from(b))
}
/// The set that a record of this content is in.
pub(super) fn set_of(content: Content) -> Option<u64> {
    (content > ABSENT).then_some(content % SETS)
}

/// One use: of a thing as of a number, or of another answer.
#[derive(Clone, Debug)]
pub(super) enum Use {
    Thing(Thing),
    /// Any use of the entity; true: of an index of it.
    Entity(EntityIx, bool),
    Answer(usize),
    /// A computed key that was not there.
    Name(String),
}

#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) key: String,
    pub(super) content: Content,
    pub(super) uses: Vec<(Use, u64)>,
    pub(super) dead: bool,
}

/// What may change.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Thing(Thing),
    Entity(EntityIx),
    Prefix(String),
    All,
}

#[derive(Clone, Debug)]
pub(super) struct Computation {
    pub(super) token: Token,
    pub(super) key: String,
    pub(super) seq: u64,
    pub(super) uses: Vec<(Use, u64)>,
    pub(super) over: bool,
    /// Over or not: a tag of an answer that was under its key was thrown away.
    pub(super) unsure: bool,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) contents: [Content; RECORDS as usize],
    pub(super) all: Vec<Instance>,
    /// The last content of each key that is remembered.
    pub(super) values: BTreeMap<String, Content>,
    pub(super) log: Vec<(Change, u64)>,
    /// Those of the log that nobody told.
    pub(super) learned: Vec<usize>,
    /// Changes of records of which no copy was there.
    pub(super) blind: Vec<(EntityIx, u64)>,
    pub(super) doubts: Vec<(u8, u64)>,
    /// Doubts of records by themselves: gone with the entity's answers.
    pub(super) direct: Vec<u8>,
    pub(super) computations: Vec<Computation>,
}

impl World {
    pub(super) fn members(&self, entity: EntityIx, set: Option<u64>) -> Vec<u8> {
        (0..RECORDS)
            .filter(|r| {
                let of = set_of(self.contents[*r as usize]);
                entity_of(*r) == entity && of.is_some() && set.is_none_or(|s| of == Some(s))
            })
            .collect()
    }
    /// Is the use outdated by the change?
    fn hits(&self, (used, as_of): &(Use, u64), (change, seq): &(Change, u64)) -> bool {
        if let Use::Answer(at) = used {
            // All that it used, and its own name, as of when it was read.
            let instance = &self.all[*at];
            let name = (Use::Name(instance.key.clone()), *as_of);
            return self.hits(&name, &(change.clone(), *seq))
                || instance
                    .uses
                    .iter()
                    .any(|(u, _)| self.hits(&(u.clone(), *as_of), &(change.clone(), *seq)));
        }
        seq > as_of
            && match (used, change) {
                (Use::Thing(a), Change::Thing(b)) => a == b,
                (Use::Name(k), Change::Thing(b)) => own(k) == *b,
                (Use::Name(k), Change::Prefix(p)) => k.starts_with(p.as_str()),
                (Use::Entity(a, _), Change::Entity(b)) => a == b,
                (_, Change::All) => true,
                _ => false,
            }
    }
    /// Something changed: which answers under their keys now did that end?
    pub(super) fn change(&mut self, change: Change, seq: u64) -> Vec<usize> {
        let event = (change, seq);
        let mut ended = Vec::new();
        for at in 0..self.all.len() {
            let i = &self.all[at];
            let named = match &event.0 {
                Change::Prefix(p) => i.key.starts_with(p.as_str()),
                Change::All => true,
                _ => false,
            };
            let dead = named
                || i.uses.iter().any(|u| self.hits(u, &event))
                || i.uses
                    .iter()
                    .any(|(u, _)| matches!(u, Use::Answer(n) if self.all[*n].dead));
            if dead && !self.all[at].dead {
                self.all[at].dead = true;
                ended.push(at);
            }
        }
        self.log.push(event);
        ended
    }
    /// Did what the computation used, or names now, change after it did?
    pub(super) fn outdated(&self, c: &Computation, named: &[(Use, u64)]) -> bool {
        let told = |n: &usize| !self.learned.contains(n);
        let sets = |e: EntityIx| {
            let of = |u: &(Use, u64)| matches!(u.0, Use::Thing(t) if (set(e, 0)..set(e, SETS)).contains(&t));
            named.iter().any(of)
        };
        self.log.iter().enumerate().any(|(n, e)| {
            c.uses.iter().any(|u| self.hits(u, e))
                || told(&n) && named.iter().any(|u| self.hits(u, e))
        }) || self.blind.iter().any(|(e, seq)| *seq > c.seq && sets(*e))
    }
    /// A key holds other bytes now: what was made of the old ones is no more.
    pub(super) fn refilled(&mut self, key: &str, content: Content, seq: u64) {
        let last = self.values.insert(key.into(), content);
        if last.is_none_or(|last| last == content) {
            return;
        }
        self.change(Change::Thing(own(key)), seq);
    }
    pub(super) fn judge(&self, at: usize) -> Check {
        if self.all[at].dead {
            return Check::Dropped;
        }
        if self.in_doubt(at) {
            return Check::Suspended;
        }
        Check::Hit
    }
    fn in_doubt(&self, at: usize) -> bool {
        self.all[at].uses.iter().any(|(used, as_of)| match used {
            Use::Thing(t) => self.direct.iter().any(|r| record(*r) == *t),
            Use::Entity(e, true) => {
                let later = |(r, seq): &(u8, u64)| entity_of(*r) == *e && seq > as_of;
                self.doubts.iter().any(later)
            }
            Use::Answer(n) => self.in_doubt(*n),
            _ => false,
        })
    }
    pub(super) fn latest_doubt(&self, entity: EntityIx) -> u64 {
        let of = self.doubts.iter().filter(|(r, _)| entity_of(*r) == entity);
        of.map(|(_, seq)| *seq).max().unwrap_or(UNKNOWN)
    }
}
