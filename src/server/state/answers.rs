//! Computed answers in memory: what they used, who computes them, who waits.

use crate::server::state::entities::EntityIx;
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_core::computed::answers::Answers as Core;
use podium_core::computed::lease::Token;
use podium_core::computed::pending::Ticket;
use std::sync::Arc;

/// A client that waits for somebody else's computation.
pub(crate) struct Waiting {
    pub(crate) client: Arc<Blocked>,
    /// The server's number of its connection.
    pub(crate) id: u64,
    pub(crate) meta: bool,
}

/// A client that waits until all that it threw away was counted.
pub(crate) struct Counting {
    pub(crate) client: Option<Arc<Blocked>>,
    /// Counted so far: records, and the tickets that are finished.
    pub(crate) n: i64,
}

/// All of it.
pub(crate) struct Answers {
    pub(crate) core: Core<Waiting>,
    /// Random: the places in stored answers are this process's if they carry it.
    pub(crate) process: u64,
    /// Until when what a computation read FOR its token is fresh, unix ms.
    pub(crate) fresh_until: HashMap<Token, u64>,
    /// Who is told how many were dropped.
    pub(crate) counting: HashMap<Ticket, Counting>,
    /// Keys that came here without our doing, to be looked at.
    pub(crate) arrived: Vec<Box<[u8]>>,
    /// Records that a user took away and that answers used: in doubt, to be kept with the command's end.
    pub(crate) removed: Vec<(EntityIx, CompactString)>,
    /// Every stored answer is to be looked for: another role, or a data set that was loaded.
    pub(crate) lost: bool,
    /// Those of a slot that came here are to be learned; until then they are not served.
    pub(crate) to_learn: bool,
    /// Answers of a slot that is leaving went to another node while they are in the index here.
    pub(crate) departed: bool,
    /// Some of those were dropped: to be told with the next breath.
    pub(crate) to_say: Vec<Box<[u8]>>,
    /// They are being learned.
    pub(crate) learning: bool,
    /// Answers that are stored: how many, and the bytes of their values, by resource.
    sizes: HashMap<Arc<str>, (u64, u64)>,
    /// Bytes of the value at each place of the index.
    lengths: Vec<u32>,
}

impl Default for Answers {
    fn default() -> Self {
        Answers {
            core: Core::default(),
            process: ffi::random_u64(),
            fresh_until: HashMap::new(),
            counting: HashMap::new(),
            arrived: Vec::new(),
            removed: Vec::new(),
            lost: false,
            to_learn: false,
            departed: false,
            to_say: Vec::new(),
            learning: false,
            sizes: HashMap::new(),
            lengths: Vec::new(),
        }
    }
}

impl Answers {
    /// Is there nothing that a change could concern?
    #[inline]
    pub(crate) fn idle(&self) -> bool {
        self.core.index().is_empty() && !self.core.computing()
    }
    /// How many answers are stored, and the bytes of their values; of one resource or all.
    pub(crate) fn stored(&self, of: Option<&str>) -> (u64, u64) {
        let chosen = self
            .sizes
            .iter()
            .filter(|(name, _)| of.is_none_or(|of| ***name == *of));
        chosen.fold((0, 0), |(n, bytes), (_, size)| (n + size.0, bytes + size.1))
    }
    /// None is stored any more.
    pub(crate) fn none_stored(&mut self) {
        self.sizes.clear();
    }
    /// A value of so many bytes is stored.
    pub(crate) fn count_stored(&mut self, resource: &Arc<str>, slot: u32, bytes: usize) {
        let size = self.sizes.entry(resource.clone()).or_default();
        *size = (size.0 + 1, size.1 + bytes as u64);
        let slot = slot as usize;
        if self.lengths.len() <= slot {
            self.lengths.resize(slot + 1, 0);
        }
        if let Some(length) = self.lengths.get_mut(slot) {
            *length = u32::try_from(bytes).unwrap_or(u32::MAX);
        }
    }
    /// One of so many bytes is not stored any more. `bytes`: `None`, those at a place of the index.
    pub(crate) fn count_gone(&mut self, resource: &str, slot: u32, bytes: Option<usize>) {
        let known = self.lengths.get(slot as usize).copied().unwrap_or(0);
        let bytes = bytes.map_or(u64::from(known), |b| b as u64);
        if let Some(size) = self.sizes.get_mut(resource) {
            *size = (size.0.saturating_sub(1), size.1.saturating_sub(bytes));
        }
    }
}
