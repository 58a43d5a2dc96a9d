//! Records that clients told and no fetch has brought since: Airtable may list them only later, so a set that is asked for
//! holds them as well. Which they are is in their stored headers; here they are found by the sets they belong to.

use alloc::boxed::Box;
use alloc::vec::Vec;
use compact_str::CompactString;
use core::hash::BuildHasher;
use hashbrown::{DefaultHashBuilder, HashTable};

struct Told {
    id: CompactString,
    /// Hashes of the sets' names that it belongs to.
    sets: Box<[u64]>,
}

/// The told records of an entity: some 60 bytes each, and 8 for every set one is in. They keep their places, so that they
/// can be gone through in parts while others come and go.
pub struct ToldRecords {
    places: Vec<Option<Told>>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Records that others put there, not looked at yet.
    arrived: Vec<CompactString>,
    complete: bool,
}

impl Default for ToldRecords {
    fn default() -> Self {
        ToldRecords {
            places: Vec::new(),
            free: Vec::new(),
            by_id: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            arrived: Vec::new(),
            complete: true,
        }
    }
}

impl ToldRecords {
    fn find(&self, id: &str) -> Option<u32> {
        let at = |at: &u32| self.at(*at).is_some_and(|t| t.id == id);
        self.by_id.find(self.hasher.hash_one(id), at).copied()
    }
    fn at(&self, place: u32) -> Option<&Told> {
        self.places.get(place as usize)?.as_ref()
    }
    /// A record was told that belongs to these sets.
    pub fn insert(&mut self, id: &str, sets: impl Iterator<Item = u64>) {
        let told = Told {
            id: CompactString::new(id),
            sets: sets.collect(),
        };
        if let Some(place) = self.find(id) {
            if let Some(slot) = self.places.get_mut(place as usize) {
                *slot = Some(told);
            }
            return;
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push(None);
                (self.places.len() - 1) as u32
            }
        };
        if let Some(slot) = self.places.get_mut(place as usize) {
            *slot = Some(told);
        }
        let (places, hasher) = (&self.places, &self.hasher);
        let hash = |place: &u32| {
            let told = places.get(*place as usize).and_then(Option::as_ref);
            hasher.hash_one(told.map_or("", |t| t.id.as_str()))
        };
        self.by_id.insert_unique(hasher.hash_one(id), place, hash);
    }
    /// It was fetched, or is cached no more.
    pub fn remove(&mut self, id: &str) {
        let places = &self.places;
        let is = |place: &u32| {
            let told = places.get(*place as usize).and_then(Option::as_ref);
            told.is_some_and(|t| t.id == id)
        };
        if let Ok(found) = self.by_id.find_entry(self.hasher.hash_one(id), is) {
            let (place, _) = found.remove();
            if let Some(slot) = self.places.get_mut(place as usize) {
                *slot = None;
            }
            self.free.push(place);
        }
    }
    pub fn holds(&self, id: &str) -> bool {
        self.find(id).is_some()
    }
    pub fn len(&self) -> usize {
        self.by_id.len()
    }
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
    /// Nothing of the entity is cached any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
    /// What is cached came from elsewhere (a data set that was loaded, another primary): which of it was told is to be looked up.
    pub fn lose(&mut self) {
        self.clear();
        self.complete = false;
    }
    /// A record was put there by others (restored, say): it is to be looked at.
    pub fn arrived(&mut self, id: &str) {
        if self.complete {
            self.arrived.push(CompactString::new(id));
        }
    }
    /// Up to `n` of those, to be looked at now.
    pub fn take_arrived(&mut self, n: usize) -> Vec<CompactString> {
        let at = self.arrived.len().saturating_sub(n);
        self.arrived.split_off(at)
    }
    /// What is cached was looked through: every told record is here, but for what arrived since.
    pub fn is_complete(&self) -> bool {
        self.complete
    }
    pub fn found_all(&mut self) {
        self.complete = true;
    }
    /// Up to `n` places from `from` on: the records that belong to a set (to any, without one), and where to go on. A name's
    /// hash may be another's as well: whoever asks looks at the record.
    pub fn part(
        &self,
        from: usize,
        n: usize,
        set: Option<u64>,
    ) -> (Vec<CompactString>, Option<usize>) {
        let end = from.saturating_add(n).min(self.places.len());
        let part = self.places.get(from..end).unwrap_or(&[]);
        let belongs = |t: &&Told| set.is_none_or(|s| t.sets.contains(&s));
        let ids = part.iter().flatten().filter(belongs);
        let ids = ids.map(|t| t.id.clone()).collect();
        (ids, (end < self.places.len()).then_some(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::format;
    use alloc::string::String;
    use proptest::prelude::*;

    fn all(t: &ToldRecords, n: usize, set: Option<u64>) -> Vec<String> {
        let (mut out, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            let (ids, next) = t.part(at, n, set);
            out.extend(ids.into_iter().map(String::from));
            from = next;
        }
        out.sort();
        out
    }

    #[test]
    fn no_number_is_too_many() {
        let mut t = ToldRecords::default();
        for n in 0..50_000u64 {
            t.insert(&format!("rec{n}"), [n % 2].into_iter());
        }
        assert_eq!(t.len(), 50_000);
        assert_eq!(all(&t, 1000, Some(1)).len(), 25_000);
    }

    #[test]
    fn what_arrives_is_looked_at_once() {
        let mut t = ToldRecords::default();
        t.arrived("recA");
        t.arrived("recB");
        assert_eq!(t.take_arrived(1).len() + t.take_arrived(5).len(), 2);
        assert!(t.take_arrived(5).is_empty());
        t.lose();
        t.arrived("recC");
        assert!(t.take_arrived(5).is_empty(), "all is looked through");
    }

    #[test]
    fn what_stays_is_met_though_others_come_and_go_meanwhile() {
        let mut t = ToldRecords::default();
        for n in 0..10 {
            t.insert(&format!("rec{n}"), core::iter::empty());
        }
        let (first, next) = t.part(0, 5, None);
        t.remove("rec0");
        t.remove("rec9");
        t.insert("recX", core::iter::empty());
        let (second, end) = t.part(next.unwrap_or(0), 50, None);
        assert_eq!(end, None);
        for n in 1..9 {
            let id = format!("rec{n}");
            assert!(first.iter().chain(&second).any(|i| *i == id));
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_ids(steps in proptest::collection::vec((0u8..3, 0u8..20, 0u64..3), 1..200), n in 1usize..9) {
            let mut t = ToldRecords::default();
            let mut model: BTreeMap<String, u64> = BTreeMap::new();
            for (what, id, set) in steps {
                let id = format!("rec{id:02}");
                if what == 0 {
                    t.remove(&id);
                    model.remove(&id);
                } else {
                    t.insert(&id, [set].into_iter());
                    model.insert(id, set);
                }
            }
            prop_assert_eq!(t.len(), model.len());
            prop_assert_eq!(all(&t, n, None), model.keys().cloned().collect::<Vec<_>>());
            let ones: Vec<String> = model.iter().filter(|(_, s)| **s == 1).map(|(id, _)| id.clone()).collect();
            prop_assert_eq!(all(&t, n, Some(1)), ones);
        }
    }
}
