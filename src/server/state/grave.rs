//! What is left of a generation that is over: its keys, until they are removed in slices.

use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::rounds;
use crate::server::valkey::ffi;
use compact_str::CompactString;
use hashbrown::{hash_set, HashSet};
use podium_core::told::ToldRecords;
use std::sync::Arc;

/// Keys of a generation that is over, to be unlinked in slices.
pub(crate) struct Grave {
    pub(crate) entity: Arc<str>,
    pub(crate) records: hash_set::IntoIter<CompactString>,
    pub(crate) tombs: hash_set::IntoIter<CompactString>,
    pub(crate) sets: hash_set::IntoIter<Box<[u8]>>,
}

impl Grave {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.len() == 0 && self.tombs.len() == 0 && self.sets.len() == 0
    }
}

impl State {
    /// A register is given up: a large one takes a while to be taken apart.
    pub(crate) fn discard(&mut self, told: ToldRecords) {
        if told.len() > 1_000 {
            self.discarded.push(told);
            rounds::wake();
        }
    }
    /// The keys known of an entity become a grave: constant time, whatever their number.
    pub(crate) fn bury(&mut self, e: &mut Entity) {
        let grave = Grave {
            entity: e.name.clone(),
            records: std::mem::take(&mut e.records).into_iter(),
            tombs: std::mem::take(&mut e.tombs).into_iter(),
            sets: e.lose_sets().into_iter(),
        };
        e.old_links.clear();
        self.discard(std::mem::take(&mut e.told));
        e.doubts.clear();
        e.strays.clear();
        e.before.all(ffi::now_ms());
        if !grave.is_empty() {
            self.graves.push_back(grave);
        }
    }
    /// A new generation: every stored record, tombstone and index set of the entity is a miss from here on.
    pub(crate) fn new_generation(&mut self, ix: EntityIx) -> Option<()> {
        self.cool();
        let mut e = self.entities.remove(&ix)?;
        self.bury(&mut e);
        e.generation = ffi::random_u64();
        e.sets_generation = ffi::random_u64();
        self.entities.insert(ix, e);
        Some(())
    }
    /// Only the index sets are dropped.
    pub(crate) fn new_sets_generation(&mut self, ix: EntityIx) -> Option<()> {
        let e = self.entities.get_mut(&ix)?;
        e.sets_generation = ffi::random_u64();
        e.doubts.clear();
        e.strays.clear();
        let sets = e.lose_sets().into_iter();
        if sets.len() > 0 {
            let entity = e.name.clone();
            let none = || HashSet::new().into_iter();
            self.graves.push_back(Grave {
                entity,
                records: none(),
                tombs: none(),
                sets,
            });
        }
        Some(())
    }
}
