//! What a computation used so far: by reads FOR its token, and by what it names when it is filled.

use super::thing::{Dep, EntityIx, EntityUse, Kind, Thing, UNKNOWN};
use alloc::vec::Vec;
use hashbrown::HashMap;

/// Things used at most; beyond it the computation counts as having used the whole of their entities. (An index set counts with
/// its members.)
pub const MOST: usize = 10_000;

/// One use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Used {
    pub dep: Dep,
    /// Whose record or set it is; a computed answer and a tag are nobody's.
    pub entity: Option<EntityIx>,
}

/// One thing used, and as of when.
#[derive(Clone, Copy, Debug)]
pub struct OneUse<'a> {
    pub dep: &'a Dep,
    /// The earliest number: changes told later outdate it.
    pub as_of: u64,
    /// The earliest read of it; `None`: it was only named when the answer was filled, and is used as it was known then.
    pub read_as_of: Option<u64>,
}

struct One {
    dep: Dep,
    as_of: u64,
    read_as_of: Option<u64>,
}

struct OfEntity {
    /// As of when a set of it was first used by name only.
    named_set: Option<u64>,
    /// As of when something of it was first used.
    first: u64,
    /// As of when an index of it was first used.
    index: Option<u64>,
    /// It counts as used whole.
    whole: bool,
}

/// The uses of one computation. Numbers are of the order of sends and changes: a use "as of" one has seen what came before.
#[derive(Default)]
pub struct Uses {
    deps: HashMap<Thing, One>,
    entities: HashMap<EntityIx, OfEntity>,
    as_of: Option<u64>,
    collapsed: bool,
}

impl Uses {
    /// Something was used as of a number: the one under which its read began (`read`), or that of the lease, if it is only named.
    /// Of several reads of one thing the first counts: what it was then was used.
    pub fn add(&mut self, used: Used, as_of: u64, read: bool) {
        self.note(as_of);
        if let Some(entity) = used.entity {
            let index = matches!(used.dep.kind, Kind::Set | Kind::Whole);
            let named_set = !read && used.dep.kind == Kind::Set;
            let e = self.of(entity, index.then_some(as_of), as_of);
            if named_set {
                e.named_set = least(e.named_set, Some(as_of));
            }
        }
        self.put(used.dep, as_of, read.then_some(as_of));
    }
    /// The same of a read that began under `as_of` and has seen all changes of the thing up to `seen`.
    pub fn add_read(&mut self, used: Used, as_of: u64, seen: u64) {
        self.note(as_of);
        if let Some(entity) = used.entity {
            let index = matches!(used.dep.kind, Kind::Set | Kind::Whole);
            self.of(entity, index.then_some(as_of), as_of);
        }
        self.put(used.dep, seen, Some(seen));
    }
    /// A computed answer was used, and with it all that it used ([`super::index::Index::export`]).
    pub fn add_answer(
        &mut self,
        own: Dep,
        deps: Vec<Dep>,
        uses: &[EntityUse],
        as_of: u64,
        read: bool,
    ) {
        self.note(as_of);
        for used in uses {
            // What it was computed from may be older than this read.
            self.of(used.entity, used.index_as_of, as_of);
        }
        for dep in deps.into_iter().chain([own]) {
            self.put(dep, as_of, read.then_some(as_of));
        }
    }
    fn note(&mut self, as_of: u64) {
        self.as_of = Some(self.as_of.map_or(as_of, |a| a.min(as_of)));
    }
    fn of(&mut self, entity: EntityIx, index: Option<u64>, as_of: u64) -> &mut OfEntity {
        let e = self.entities.entry(entity).or_insert(OfEntity {
            named_set: None,
            first: as_of,
            index: None,
            whole: false,
        });
        e.first = e.first.min(as_of);
        e.index = least(e.index, index);
        e.whole |= self.collapsed;
        e
    }
    fn put(&mut self, dep: Dep, as_of: u64, read_as_of: Option<u64>) {
        if self.collapsed && matches!(dep.kind, Kind::Record | Kind::Set) {
            return;
        }
        let thing = dep.thing;
        let one = self.deps.entry(thing).or_insert_with(|| One {
            dep: dep.clone(),
            as_of,
            read_as_of,
        });
        // What was read says more than what was named, an earlier read more than a later.
        let earlier = match (read_as_of, one.read_as_of) {
            (Some(new), Some(known)) => new < known,
            (new, known) => new.is_some() && known.is_none(),
        };
        if earlier || one.dep.content == UNKNOWN {
            one.dep = dep;
        }
        one.as_of = one.as_of.min(as_of);
        one.read_as_of = least(one.read_as_of, read_as_of);
        if self.deps.len() > MOST && !self.collapsed {
            self.collapsed = true;
            self.deps
                .retain(|_, one| !matches!(one.dep.kind, Kind::Record | Kind::Set));
            for e in self.entities.values_mut() {
                e.whole = true;
            }
        }
    }
    /// Is the computation's own answer: no change of it outdates itself.
    pub fn without(&mut self, own: Thing) {
        self.deps.remove(&own);
    }
    /// The earliest of its reads; `None`: it used nothing.
    pub fn as_of(&self) -> Option<u64> {
        self.as_of
    }
    /// All things used, each with its number.
    pub fn things(&self) -> impl Iterator<Item = OneUse<'_>> {
        self.deps.values().map(|one| OneUse {
            dep: &one.dep,
            as_of: one.as_of,
            read_as_of: one.read_as_of,
        })
    }
    /// Entities of which a set was used by name only, with the number: a record that left it is in no list of what was used.
    pub fn named_sets(&self) -> impl Iterator<Item = (EntityIx, u64)> + '_ {
        let named = |(e, of): (&EntityIx, &OfEntity)| of.named_set.map(|as_of| (*e, as_of));
        self.entities.iter().filter_map(named)
    }
    /// All entities used, each with the number as of which it first was.
    pub fn entities(&self) -> impl Iterator<Item = (EntityIx, u64)> + '_ {
        self.entities.iter().map(|(e, of)| (*e, of.first))
    }
    /// More than [`MOST`] were used: adds, for every entity used, the thing that stands for the whole of it.
    pub fn close(&mut self, whole: impl Fn(EntityIx) -> Thing) {
        let all: Vec<(EntityIx, u64)> = self
            .entities
            .iter_mut()
            .filter(|(_, e)| e.whole)
            .map(|(ix, e)| {
                e.index = Some(e.index.map_or(e.first, |i| i.min(e.first)));
                (*ix, e.first)
            })
            .collect();
        for (entity, first) in all {
            let dep = Dep {
                thing: whole(entity),
                kind: Kind::Whole,
                content: UNKNOWN,
                name: None,
            };
            self.put(dep, first, Some(first));
        }
    }
    /// The dependencies, as the index takes them.
    pub fn into_parts(self) -> (Vec<Dep>, Vec<EntityUse>) {
        let uses = self.entities.iter().map(|(entity, e)| EntityUse {
            entity: *entity,
            index_as_of: e.index,
        });
        let uses = uses.collect();
        (self.deps.into_values().map(|one| one.dep).collect(), uses)
    }
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(thing: Thing, kind: Kind, entity: EntityIx) -> Used {
        Used {
            dep: Dep {
                thing,
                kind,
                content: 7,
                name: None,
            },
            entity: Some(entity),
        }
    }

    #[test]
    fn of_two_reads_the_first_counts() {
        let mut uses = Uses::default();
        uses.add(used(5, Kind::Record, 1), 20, true);
        uses.add(used(5, Kind::Record, 1), 10, true);
        uses.add(used(6, Kind::Set, 1), 15, true);
        assert_eq!(uses.as_of(), Some(10));
        let mut things: Vec<_> = uses.things().map(|u| (u.dep.thing, u.as_of)).collect();
        things.sort_unstable();
        assert_eq!(things, [(5, 10), (6, 15)]);
        let (_, entities) = uses.into_parts();
        assert_eq!(entities.first().and_then(|e| e.index_as_of), Some(15));
    }

    #[test]
    fn too_many_count_as_whole_entities() {
        let mut uses = Uses::default();
        for n in 0..=MOST as u64 {
            uses.add(used(100 + n, Kind::Record, (n % 2) as u32), 50, true);
        }
        uses.add(used(5, Kind::Record, 2), 30, true);
        uses.close(|e| Thing::from(e) + 1);
        let mut things: Vec<_> = uses.things().map(|u| (u.dep.thing, u.as_of)).collect();
        things.sort_unstable();
        assert_eq!(things, [(1, 50), (2, 50), (3, 30)]);
        let (_, entities) = uses.into_parts();
        assert!(entities.iter().all(|e| e.index_as_of.is_some()));
    }
}
