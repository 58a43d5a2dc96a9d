//! Calls that cannot be merged with others, as data: index questions, and somebody's errands.

use crate::server::desk::way::Way;
use crate::server::state::clock::Sent;
use crate::server::state::lane::Lane;
use crate::server::state::questions::UnderWay;
use crate::server::upstream::fault::Fault;
use crate::server::upstream::figures::Cause;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use podium_airtable::{Client, Failure, Token};
use podium_core::entry::Encoded;
use podium_core::pace::Busy;
use std::sync::atomic::AtomicU64;
use std::sync::Arc;
use std::time::Duration;

/// A call that cannot be merged with others.
#[allow(clippy::large_enum_variant)] // Always behind an Arc: moved once, when it is made.
pub(crate) enum Job {
    Question(Question),
    Errand(Errand),
}

/// An index question, page by page.
pub(crate) struct Question {
    pub(crate) lane: Lane,
    pub(crate) suffix: Arc<[u8]>,
    /// Field and value; none: the whole table.
    pub(crate) asks: Option<(u16, Arc<[u8]>)>,
    /// By what formula it is put, where one asks it.
    pub(crate) way: Way,
    /// Where the linked record holds the ids, should the lookup be of no use.
    pub(crate) way_back: Option<WayBack>,
    pub(crate) flight: AtomicU64,
    pub(crate) progress: Mutex<Listing>,
}

/// How a question is put just now.
#[derive(Default)]
pub(crate) enum Mode {
    /// A formula asks for the value.
    #[default]
    Formula,
    /// The linked record's own cell says which records they are, and those are read by id: those that are still to be read;
    /// `None`: that record was not asked yet.
    WayBack(Option<Vec<CompactString>>),
    /// The whole table is read.
    Table,
}

impl Question {
    /// What has this value in that field.
    pub(crate) fn value(
        lane: Lane,
        suffix: Arc<[u8]>,
        asks: (u16, Arc<[u8]>),
        way: Way,
        way_back: Option<WayBack>,
        under_way: UnderWay,
    ) -> Question {
        let mut q = Question::whole(lane, suffix, Some(under_way));
        q.asks = Some(asks);
        q.way_back = way_back;
        q.progress.get_mut().mode = if way.no_formula() {
            q.without_formula()
        } else {
            Mode::Formula
        };
        q.way = way;
        q
    }
    /// The whole table. `under_way`: none where who asks counts it.
    pub(crate) fn whole(lane: Lane, suffix: Arc<[u8]>, under_way: Option<UnderWay>) -> Question {
        let progress = Mutex::new(Listing {
            mode: Mode::Table,
            under_way,
            ..Listing::default()
        });
        Question {
            lane,
            suffix,
            asks: None,
            way: Way::default(),
            way_back: None,
            flight: AtomicU64::new(0),
            progress,
        }
    }
    /// How it is put where no formula asks it.
    pub(crate) fn without_formula(&self) -> Mode {
        match self.way_back {
            Some(_) => Mode::WayBack(None),
            None => Mode::Table,
        }
    }
}

/// How far a question has come.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) mode: Mode,
    /// The number its first page was sent under; the answer is as old as that.
    pub(crate) sent: Option<Sent>,
    /// It counts as under way until it has landed.
    pub(crate) under_way: Option<UnderWay>,
    pub(crate) asked_ms: u64,
    pub(crate) offset: Option<String>,
    pub(crate) offsets: HashSet<String>,
    /// Calls made for it, failed ones included.
    pub(crate) calls: u32,
    /// Pages in a row that held nothing.
    pub(crate) empty: u32,
    pub(crate) restarts: u32,
    pub(crate) evidence: crate::server::desk::way::Evidence,
    pub(crate) records: HashMap<CompactString, Encoded>,
    /// Those that came and cannot be read.
    pub(crate) damaged: HashMap<CompactString, Fault>,
    /// What came and does not say which record it is.
    pub(crate) nameless: u64,
}

/// The linked table, and the id of its field that holds the way back. By id: a column that was renamed since would look
/// like an empty cell.
#[derive(Clone)]
pub(crate) struct WayBack {
    pub(crate) table: Arc<str>,
    pub(crate) field: Arc<str>,
}

/// Makes the call, within that time; how many records it brought.
type Run = dyn Fn(&Client, &Token, Duration) -> Result<usize, Failure> + Send + Sync;

/// A call on behalf of a thread that waits for it (a sweep, say).
pub(crate) struct Errand {
    pub(crate) base: Arc<str>,
    pub(crate) cause: Cause,
    pub(crate) write: bool,
    pub(crate) run: Box<Run>,
    /// Told once: the number it was sent under, to be kept until what it brought has landed, and how it ended.
    pub(crate) done: Box<dyn Fn(Sent, Result<(), Fault>) + Send + Sync>,
    pub(crate) what: &'static str,
    pub(crate) scope: &'static str,
}

impl Errand {
    /// Tells that the base is not called now.
    pub(crate) fn not_made(&self, busy: Busy) {
        (self.done)(Sent::now(), Err(Fault::busy(busy)));
    }
}
