//! An index question being answered, and how far that has come.
//!
//! Reading order: `start` (which records are candidates), `candidate` (which of them belong, and what is lacking), `finish`
//! (what it came to); `view` (none of that, where the set's members are kept in order).

pub(crate) mod candidate;
pub(crate) mod finish;
pub(crate) mod start;
pub(crate) mod view;

use crate::server::reads::judge::Want;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::query::Condition;
use crate::server::store::answers::content_of_set;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::reply::Body;
use compact_str::CompactString;
use podium_core::computed::thing::{Content, UNKNOWN};
use podium_core::key;
use std::sync::Arc;

/// An index question being answered: which records are candidates, which of them belong, what is lacking.
pub(crate) struct Scan {
    ix: EntityIx,
    conditions: Vec<Condition>,
    candidates: Vec<CompactString>,
    at: usize,
    /// There are as many as are asked for, and the others were not looked at.
    cut: bool,
    /// The number under which the set was confirmed.
    confirmed: u64,
    asked_ms: u64,
    fresh_until: u64,
    /// For a computation that uses the answer: the number under which it was begun, and the sets as they were then (those that
    /// were there).
    began: Option<u64>,
    sets: Vec<Part>,
    /// From a question of our own, not from the cache.
    own: bool,
    stored: bool,
    /// What the question returned stands for the set: the number it was sent under, and that of who relies on it.
    relied_on: Option<(u64, u64)>,
    stale: bool,
    lacking: Vec<Want>,
    found: Vec<Item>,
    oldest: u64,
    shortest: u64,
    failed: Option<Fault>,
    /// Something came that does not say which record it is.
    nameless: bool,
    foreign: Option<Vec<u8>>,
    stale_members: bool,
    /// Copies past their freshness stand in for members that Airtable failed to return.
    rescued: bool,
    /// It, or members of it, are read often and near their end.
    ending: Vec<Want>,
    /// What was found is sorted and cut already, from so many.
    cut_from: Option<usize>,
}

/// A set that a question is about.
struct Part {
    suffix: Arc<[u8]>,
    ids: Vec<CompactString>,
    content: Content,
}

struct Item {
    id: CompactString,
    /// The record; for IDS and COUNT nothing. An error in its place: it cannot be read, or it is not known whether it
    /// belongs.
    body: Body,
    sort: Option<Vec<u8>>,
    /// For a computation that uses the answer: what the record is like, and until when that is fresh unless the feed says when
    /// it changes.
    seen: Option<(Content, Option<u64>)>,
}

/// What starting a scan came to.
pub(crate) enum Start {
    Scan(Box<Scan>),
    Done(Body),
    Need(Vec<Want>),
}

impl Scan {
    /// Works out what its sets are like, for a computation that uses the answer: 20 ns a member, so not under the lock.
    pub(crate) fn look_at_sets(&mut self) {
        for part in self.sets.iter_mut().filter(|p| p.content == UNKNOWN) {
            part.content = content_of_set(&std::mem::take(&mut part.ids));
        }
    }
    /// Of a set in the cache that is fresh.
    fn new(
        ix: EntityIx,
        conditions: &[Condition],
        candidates: Vec<CompactString>,
        confirmed: u64,
        asked_ms: u64,
        fresh_until: u64,
    ) -> Scan {
        Scan {
            ix,
            conditions: conditions.to_vec(),
            candidates,
            at: 0,
            cut: false,
            confirmed,
            asked_ms,
            fresh_until,
            began: None,
            sets: Vec::new(),
            own: false,
            stored: true,
            relied_on: None,
            stale: false,
            lacking: Vec::new(),
            found: Vec::new(),
            oldest: asked_ms,
            shortest: fresh_until,
            failed: None,
            nameless: false,
            foreign: None,
            stale_members: false,
            rescued: false,
            ending: Vec::new(),
            cut_from: None,
        }
    }
    /// The keys of the sets it is made of.
    fn keys(&self, st: &State) -> Vec<Vec<u8>> {
        let Some(e) = st.get(self.ix) else {
            return Vec::new();
        };
        if self.conditions.is_empty() {
            return vec![key::all(&e.name)];
        }
        let of = |c: &Condition| key::set(&e.name, &c.suffix);
        self.conditions.iter().map(of).collect()
    }
    pub(crate) fn size(&self) -> usize {
        self.candidates.len()
    }
}
