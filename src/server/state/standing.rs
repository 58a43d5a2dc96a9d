//! In a cluster: where an entity's keys are.

use compact_str::CompactString;
use hashbrown::HashSet;

/// What this node is to an entity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Standing {
    /// Its slot is this node's, as far as is known.
    #[default]
    Home,
    /// Its keys are here; whose the slot is has to be looked at: loaded, or brought by an atomic migration that is under way.
    New,
    /// Its keys are going to another node; this one decides.
    Leaving,
    /// The other node decides.
    Given,
    /// Its keys are coming from another node; this one decides.
    Arriving,
}

/// Ids whose keys went to another node while this one decides; more than are remembered: any may have.
#[derive(Default)]
pub(crate) struct Departed {
    ids: HashSet<CompactString>,
    pub(crate) any: bool,
}

impl Departed {
    pub(crate) fn add(&mut self, id: &str) {
        if self.ids.len() < MOST_DEPARTED {
            self.ids.insert(CompactString::new(id));
        } else {
            self.any = true;
        }
    }
    pub(crate) fn may_hold(&self, id: &str) -> bool {
        self.any || self.ids.contains(id)
    }
}

/// Ids remembered of keys that went.
const MOST_DEPARTED: usize = 100_000;
