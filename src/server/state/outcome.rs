//! What a fetch came to, as those who wait for it get to see it.

use crate::server::state::clock::Sent;
use crate::server::state::entities::EntityIx;
use crate::server::upstream::fault::Fault;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_core::spec::Spec;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// One call to Airtable, counted in the first reply that it was made for.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    claimed: AtomicBool,
    calls: u32,
}

impl Ticket {
    pub(crate) fn new(calls: u32) -> Arc<Ticket> {
        Arc::new(Ticket {
            claimed: AtomicBool::new(false),
            calls,
        })
    }
    pub(crate) fn claim(&self) -> u32 {
        if self.claimed.swap(true, Ordering::Relaxed) {
            0
        } else {
            self.calls
        }
    }
}

/// What a fetch says of one record.
#[derive(Clone)]
pub(crate) enum Seen {
    /// The encoded entry, and the spec that shaped it.
    Found(Arc<[u8]>, Arc<Spec>),
    /// It is not in Airtable; for how long that holds, unix ms.
    Gone(u64),
    Failed(Fault),
}

/// A record that landed.
pub(crate) struct LandedRecord {
    pub(crate) seen: Seen,
    /// The number it was sent under.
    pub(crate) sent: u64,
    pub(crate) asked_ms: u64,
    pub(crate) stored: bool,
    pub(crate) ticket: Arc<Ticket>,
}

/// An index question that landed.
pub(crate) struct LandedQuestion {
    /// The records that match, by their own cells.
    pub(crate) records: Result<HashMap<CompactString, Arc<[u8]>>, Fault>,
    /// Those that belong, or may, and cannot be read.
    pub(crate) damaged: HashMap<CompactString, Fault>,
    /// Something came that does not say which record it is.
    pub(crate) nameless: bool,
    pub(crate) spec: Arc<Spec>,
    pub(crate) sent: u64,
    pub(crate) asked_ms: u64,
    pub(crate) fresh_until: u64,
    pub(crate) stored: bool,
    pub(crate) ticket: Arc<Ticket>,
    /// Its number is given back with it.
    pub(crate) _relied: Option<Sent>,
}

/// Everything brought for one reader.
#[derive(Default)]
pub(crate) struct Brought {
    pub(crate) records: HashMap<(EntityIx, CompactString), Arc<LandedRecord>>,
    pub(crate) questions: HashMap<(EntityIx, Arc<[u8]>), Arc<LandedQuestion>>,
    /// Calls that count for this reply, by the record (or, for questions, the entity) they were made for.
    pub(crate) hits: HashMap<(EntityIx, CompactString), u32>,
    pub(crate) hits_total: u32,
    /// It waited for a fetch that somebody else had begun.
    pub(crate) collapsed: bool,
    pub(crate) led: bool,
    /// The change feed was heard for this reader, or could not be.
    pub(crate) heard: bool,
    /// The base's schema was read for this reader, or could not be.
    pub(crate) learned: bool,
}
