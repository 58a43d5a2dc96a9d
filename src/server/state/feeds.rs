//! The change feeds that are followed, and who waits for them: what the feed's thread works on.

use crate::server::state::waiting::Op;
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi;
use crate::server::valkey::reply::Body;
use hashbrown::HashSet;
use parking_lot::{Condvar, Mutex};
use podium_core::feed::{Asked, Feed, Schema};
use std::cell::Cell;
use std::sync::Arc;

/// The feed of one base, and who waits for it.
pub(crate) struct Follower {
    pub(crate) feed: Feed,
    /// Which following it is: an answer to an earlier one is not for this.
    pub(crate) incarnation: u64,
    pub(crate) schema: Arc<Schema>,
    /// Tables that specs name and the schema lacks.
    pub(crate) missing: HashSet<String>,
    /// The keys that hold its place in the data set: one, but for a moment when its entities got another tag.
    pub(crate) keys: Cell<Vec<Vec<u8>>>,
    /// Reads that wait until the feed was heard.
    pub(crate) readers: Vec<Arc<Op>>,
    /// Commands that wait for the poll they asked for.
    pub(crate) waiters: Vec<(Asked, Waiter)>,
    pub(crate) saved_polled: u64,
    pub(crate) kept_ms: u64,
    pub(crate) changes: u64,
    pub(crate) calls: u64,
}

impl Follower {
    pub(crate) fn new(feed: Feed) -> Follower {
        Follower {
            saved_polled: feed.polled,
            feed,
            incarnation: ffi::random_u64(),
            schema: Arc::default(),
            missing: HashSet::new(),
            keys: Cell::default(),
            readers: Vec::new(),
            waiters: Vec::new(),
            kept_ms: ffi::now_ms(),
            changes: 0,
            calls: 0,
        }
    }
}

/// Somebody who asked for a poll.
pub(crate) enum Waiter {
    /// PODIUM.SYNC NOW and START. The latter gives up what Airtable refuses.
    Client {
        op: Arc<Blocked>,
        starting: bool,
    },
    Thread(Arc<Heard>),
}

/// A thread that waits for a poll.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) over: Mutex<Option<bool>>,
    pub(crate) bell: Condvar,
}

impl Waiter {
    pub(crate) fn finish(self, result: Result<(), String>) {
        match self {
            Waiter::Client { op, .. } => op.finish(match result {
                Ok(()) => Body::Ok,
                Err(why) => Body::error(why),
            }),
            Waiter::Thread(h) => {
                *h.over.lock() = Some(result.is_ok());
                h.bell.notify_all();
            }
        }
    }
}
