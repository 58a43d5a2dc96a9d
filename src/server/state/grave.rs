//! What is left of a generation that is over: its keys, until they are removed in slices.

use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::rounds;
use crate::server::valkey::ffi;
use hashbrown::hash_set;
use podium_core::register::Remains;
use std::sync::Arc;

/// Keys of a generation that is over, to be unlinked in slices.
pub(crate) struct Grave {
    pub(crate) entity: Arc<str>,
    pub(crate) records: Remains,
    pub(crate) tombs: Remains,
    pub(crate) sets: hash_set::IntoIter<Box<[u8]>>,
}

impl Grave {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.tombs.is_empty() && self.sets.len() == 0
    }
}

impl State {
    /// A register is given up: a large one takes a while to be taken apart.
    pub(crate) fn discard(&mut self, register: Remains) {
        if register.len() > 1_000 {
            self.discarded.push(register);
            rounds::wake();
        }
    }
    /// The keys of generations that are over are gone, or somebody else's to remove.
    pub(crate) fn forget_graves(&mut self) {
        for grave in std::mem::take(&mut self.graves) {
            self.discard(grave.records);
            self.discard(grave.tombs);
        }
    }
    /// The keys known of an entity become a grave: constant time, whatever their number.
    pub(crate) fn bury(&mut self, e: &mut Entity) {
        let grave = Grave {
            entity: e.name.clone(),
            records: std::mem::take(&mut e.records).into_remains(),
            tombs: std::mem::take(&mut e.tombs).into_remains(),
            sets: e.lose_sets().into_iter(),
        };
        e.old_links.clear();
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
            self.graves.push_back(Grave {
                entity,
                records: Remains::default(),
                tombs: Remains::default(),
                sets,
            });
        }
        Some(())
    }
}
