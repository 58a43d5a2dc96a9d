//! Resources: the named kinds of computed answers.

use crate::server::state::standing::Standing;
use crate::server::valkey::ffi;
use hashbrown::HashMap;
use podium_core::computed::resource::Resource as Spec;
use std::sync::Arc;

/// What was answered of a resource since it is in force.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Figures {
    pub(crate) hits: u64,
    pub(crate) stale_hits: u64,
    pub(crate) misses: u64,
    pub(crate) leases: u64,
    pub(crate) waits: u64,
    pub(crate) timeouts: u64,
    pub(crate) fills: u64,
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
}

/// A resource in force.
pub(crate) struct Resource {
    pub(crate) name: Arc<str>,
    pub(crate) spec: Spec,
    /// The spec as it was given.
    pub(crate) json: Box<[u8]>,
    /// Stored in every answer: a new one makes all older ones misses at once.
    pub(crate) generation: u64,
    /// Of the answers filled before this number, in the order of sends and changes, some were thrown away and are stored still: a
    /// process that finds them does not know which. 0: all that are stored hold.
    pub(crate) unsure_before: u64,
    pub(crate) figures: Figures,
    /// In a cluster: where its keys are.
    pub(crate) standing: Standing,
    /// Some of its answers went to another node, while changes of what they used are still told here: how many of those that were
    /// dropped since the other node was told of; `None`: none went.
    pub(crate) departed: Option<usize>,
}

/// What a plain hit needs to know of a resource, by its generation, and the hits that were not counted yet.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hot {
    generation: u64,
    /// XFetch's beta.
    pub(crate) early: f64,
    pub(crate) hits: u64,
}

/// Places for generations read lately; a power of two.
const HOT: usize = 16;

/// All of them.
#[derive(Default)]
pub(crate) struct Resources {
    by_name: HashMap<Arc<str>, Resource>,
    hot: [Hot; HOT],
}

impl Resources {
    /// The short way of a hit: the resource in force under this generation.
    #[inline]
    pub(crate) fn hot(&mut self, generation: u64) -> Option<&mut Hot> {
        let at = generation as usize & (HOT - 1);
        if self.hot.get(at).is_none_or(|h| h.generation != generation) {
            self.warm_up(generation, at)?;
        }
        self.hot.get_mut(at)
    }
    #[cold]
    fn warm_up(&mut self, generation: u64, at: usize) -> Option<()> {
        let r = self.by_name.values().find(|r| r.generation == generation)?;
        let fresh = Hot {
            generation,
            early: r.spec.early,
            hits: 0,
        };
        let before = std::mem::replace(self.hot.get_mut(at)?, fresh);
        self.count(before);
        Some(())
    }
    fn count(&mut self, h: Hot) {
        if h.hits > 0 {
            let mut all = self.by_name.values_mut();
            if let Some(r) = all.find(|r| r.generation == h.generation) {
                r.figures.hits += h.hits;
            }
        }
    }
    /// Counts the hits of plain reads, and forgets which generations are in force: before one ends, and before figures are read.
    pub(crate) fn cool(&mut self) {
        for h in std::mem::take(&mut self.hot) {
            self.count(h);
        }
    }
    pub(crate) fn get(&self, name: &str) -> Option<&Resource> {
        self.by_name.get(name)
    }
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Resource> {
        self.by_name.get_mut(name)
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.by_name.values()
    }
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Resource> {
        self.by_name.values_mut()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
    /// Puts one in force, in place of what had its name.
    pub(crate) fn put(&mut self, name: &str, spec: Spec, json: &[u8], generation: u64) {
        self.cool();
        let name: Arc<str> = name.into();
        let r = Resource {
            name: name.clone(),
            spec,
            json: json.into(),
            generation,
            unsure_before: 0,
            figures: Figures::default(),
            standing: Standing::Home,
            departed: None,
        };
        self.by_name.insert(name, r);
    }
    /// What was stored of it so far is answered no more.
    pub(crate) fn renew(&mut self, name: &str) {
        self.cool();
        if let Some(r) = self.by_name.get_mut(name) {
            r.generation = ffi::random_u64();
        }
    }
    pub(crate) fn remove(&mut self, name: &str) -> Option<Resource> {
        self.cool();
        self.by_name.remove(name)
    }
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }
    pub(crate) fn of_key_mut(&mut self, key: &[u8]) -> Option<&mut Resource> {
        let name = podium_core::key::split(key)?.0;
        self.by_name.get_mut(name)
    }
    /// The resource that a key belongs to: `<resource>:<anything>`.
    pub(crate) fn of_key<'a>(&'a self, key: &[u8]) -> Option<&'a Resource> {
        if self.by_name.is_empty() {
            return None;
        }
        let (name, rest) = podium_core::key::split(key)?;
        self.by_name.get(name).filter(|_| !rest.is_empty())
    }
}
