//! Computed answers in memory: what they used, who computes them, who waits.

use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi;
use hashbrown::HashMap;
use podium_core::computed::answers::Answers as Core;
use podium_core::computed::lease::Token;
use podium_core::computed::pending::Ticket;
use std::sync::Arc;

/// A client that waits for somebody else's computation.
pub(crate) struct Waiting {
    pub(crate) client: Arc<Blocked>,
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
    /// Every stored answer is to be looked for: another role, or a data set that was loaded.
    pub(crate) lost: bool,
    /// Answers that are stored: how many, and the bytes of their values, by resource.
    pub(crate) sizes: HashMap<Arc<str>, (u64, u64)>,
}

impl Default for Answers {
    fn default() -> Self {
        Answers {
            core: Core::default(),
            process: ffi::random_u64(),
            fresh_until: HashMap::new(),
            counting: HashMap::new(),
            arrived: Vec::new(),
            lost: false,
            sizes: HashMap::new(),
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
}
