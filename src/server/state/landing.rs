//! Links of records that are about to be stored.

use compact_str::CompactString;
use hashbrown::HashSet;

/// A record that is about to be stored, and whose other ends were put in doubt before.
pub(crate) struct Landing {
    /// The number of the copy it was compared with, or 0 and how many links were remembered of one that was dropped.
    pub(crate) old: u64,
    pub(crate) remembered: usize,
    /// Its own.
    pub(crate) seq: u64,
    /// The links it will have.
    pub(crate) links: HashSet<CompactString>,
}

impl Landing {
    /// Is this what it will show of a link to `id`?
    pub(crate) fn shows(&self, id: &str, link: Link) -> bool {
        match link {
            Link::Gained => self.links.contains(id),
            Link::Lost => !self.links.contains(id),
            Link::Disputed => false,
        }
    }
}

/// What happened to a link, as its other end needs to know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    Gained,
    /// It may have been gained, and what the other end's copy shows proves nothing.
    Disputed,
    /// It says nothing of a record that is known to be gone.
    Lost,
}
