//! The sorted views of an entity's index sets: which there are, what each was made of, and which of them a change concerns.

use crate::server::state::entities::Entity;
use crate::server::state::rounds;
use crate::server::valkey::ffi::Ctx;
use crate::server::valkey::settings;
use parking_lot::Mutex;
use podium_core::entry::{Entry, Sentinel};
use podium_core::index;
use podium_core::sorted::View;
use podium_core::spec::{FieldIx, Spec};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

/// Views of one entity, and of all of them, at most.
pub(crate) const MOST_OF_ENTITY: usize = 64;
pub(crate) const MOST: usize = 1_000;

/// In place of a field: in the order of ids, as an index is answered without SORT.
pub(crate) const BY_ID: FieldIx = FieldIx::MAX;

/// A sorted view of one index set by one field.
pub(crate) struct Sorted {
    /// `<field>:<value>` or `*`.
    pub(crate) suffix: Box<[u8]>,
    /// A field, or [`BY_ID`].
    pub(crate) by: FieldIx,
    /// What the set is about; `None`: all records.
    about: Option<(FieldIx, Box<[u8]>)>,
    /// What it was made of: other ones, and it is of no use.
    generation: u64,
    sets_generation: u64,
    spec: Arc<Spec>,
    pub(crate) head: Sentinel,
    /// Which of all views it is.
    pub(crate) number: usize,
    pub(crate) view: View,
    /// Its members were all looked at.
    pub(crate) ready: bool,
    /// What changed is being looked at behind.
    pub(crate) settling: bool,
    /// When it was last asked for, unix ms.
    pub(crate) asked_ms: u64,
    /// When its members were last looked through for those that end next, unix ms.
    pub(crate) ends_ms: u64,
    /// Which member is touched next, so that none looks forgotten.
    pub(crate) turn: usize,
}

static NUMBERS: AtomicUsize = AtomicUsize::new(0);
/// How many views there are, those that are being taken apart among them.
static THERE: AtomicUsize = AtomicUsize::new(0);

/// Is there any view? If not, nobody needs to know what is written under keys that are there already.
pub(crate) fn any() -> bool {
    THERE.load(Ordering::Relaxed) > 0
}

impl Drop for Sorted {
    fn drop(&mut self) {
        THERE.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sorted {
    /// A view of a complete set, with no member yet.
    pub(crate) fn new(
        e: &Entity,
        suffix: &[u8],
        by: FieldIx,
        head: Sentinel,
        members: usize,
        now: u64,
    ) -> Sorted {
        THERE.fetch_add(1, Ordering::Relaxed);
        Sorted {
            suffix: suffix.into(),
            by,
            about: index::about(&e.spec, suffix).map(|(f, value)| (f, value.into())),
            generation: e.generation,
            sets_generation: e.sets_generation,
            spec: e.spec.clone(),
            head,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            view: View::with_capacity(members),
            ready: false,
            settling: false,
            asked_ms: now,
            ends_ms: 0,
            turn: 0,
        }
    }
    /// Is it of what the entity holds now?
    pub(crate) fn is_of(&self, e: &Entity) -> bool {
        self.generation == e.generation
            && self.sets_generation == e.sets_generation
            && Arc::ptr_eq(&self.spec, &e.spec)
    }
    /// Does a record with these cells belong to its set?
    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        self.about
            .as_ref()
            .is_none_or(|(field, value)| entry.has(*field, value))
    }
}

/// The sorted views of one entity.
#[derive(Default)]
// A view is taken out and put back for each answer.
#[allow(clippy::vec_box)]
pub(crate) struct Views {
    list: Vec<Box<Sorted>>,
    /// When a view was last asked for in passing, unix ms.
    pub(crate) wished_ms: u64,
}

impl Views {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sorted> {
        self.list.iter().map(|s| &**s)
    }
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    fn at(&self, suffix: &[u8], by: FieldIx) -> Option<usize> {
        self.iter().position(|s| s.by == by && *s.suffix == *suffix)
    }
    pub(crate) fn holds(&self, suffix: &[u8], by: FieldIx) -> bool {
        self.at(suffix, by).is_some()
    }
    /// Takes a view out, to look at the keyspace for it; it comes [back](Self::put).
    pub(crate) fn take(&mut self, suffix: &[u8], by: FieldIx) -> Option<Box<Sorted>> {
        Some(self.list.swap_remove(self.at(suffix, by)?))
    }
    /// The same by its number.
    pub(crate) fn take_number(&mut self, number: usize) -> Option<Box<Sorted>> {
        let at = self.list.iter().position(|s| s.number == number)?;
        Some(self.list.swap_remove(at))
    }
    pub(crate) fn put(&mut self, sorted: Box<Sorted>) {
        self.list.push(sorted);
    }

    /// What is stored under a record's key, or its tombstone's, may be another than it was.
    pub(crate) fn changed(&mut self, id: &str, new: Option<&Entry>) {
        for s in &mut self.list {
            if s.view.holds(id) || new.is_some_and(|new| s.wants(new)) {
                s.view.mark(id);
            }
        }
        self.drop_worn();
    }
    /// A record joined a set.
    pub(crate) fn joined(&mut self, suffix: &[u8], id: &str) {
        let of_set = self.list.iter_mut().filter(|s| *s.suffix == *suffix);
        of_set.for_each(|s| s.view.mark(id));
        self.drop_worn();
    }
    fn drop_worn(&mut self) {
        if self.list.iter().any(|s| s.view.is_worn()) {
            self.drop_those(|s| s.view.is_worn());
        }
    }
    /// A set is there no more, or another one.
    pub(crate) fn lose(&mut self, suffix: &[u8]) {
        if !self.list.is_empty() {
            self.drop_those(|s| *s.suffix == *suffix);
        }
    }
    pub(crate) fn clear(&mut self) {
        std::mem::take(&mut self.list).into_iter().for_each(discard);
    }
    /// Drops those of which `which` says so.
    pub(crate) fn drop_those(&mut self, which: impl Fn(&Sorted) -> bool) {
        let (gone, kept) = std::mem::take(&mut self.list)
            .into_iter()
            .partition(|s| which(s));
        self.list = kept;
        let gone: Vec<Box<Sorted>> = gone;
        gone.into_iter().for_each(discard);
    }
    pub(crate) fn members(&self) -> usize {
        self.iter().map(|s| s.view.len()).sum()
    }
    pub(crate) fn bytes(&self) -> usize {
        self.iter().map(|s| s.view.bytes()).sum()
    }
}

#[allow(clippy::vec_box)]
static DISCARDED: Mutex<Vec<Box<Sorted>>> = Mutex::new(Vec::new());

/// A view is given up: a large one takes a while to be taken apart, which the upkeep thread does.
pub(crate) fn discard(sorted: Box<Sorted>) {
    if sorted.view.len() > 1_000 {
        DISCARDED.lock().push(sorted);
        rounds::wake();
    }
}

/// Takes apart what was given up. On a thread that holds no lock.
pub(crate) fn take_apart() {
    let all = std::mem::take(&mut *DISCARDED.lock());
    drop(all);
}

/// Members of all views, at most; 0: there are none.
pub(crate) fn most_members() -> usize {
    usize::try_from(settings::SORTED_MEMBERS.get()).unwrap_or(0)
}

/// Follows what is written under keys that are there already. False: the server does not tell of it.
pub(crate) type Follow = fn(Ctx) -> bool;
static FOLLOW: Mutex<Option<Follow>> = Mutex::new(None);
static FOLLOWS: AtomicBool = AtomicBool::new(false);

/// Says how. While loading.
pub(crate) fn follow_by(follow: Follow) {
    *FOLLOW.lock() = Some(follow);
    FOLLOWS.store(false, Ordering::Relaxed);
}

/// Begins to follow, with the first view: servers without one do not pay for it. Under the server's lock.
pub(crate) fn follow(ctx: Ctx) -> bool {
    if !FOLLOWS.load(Ordering::Relaxed) {
        let how = *FOLLOW.lock();
        FOLLOWS.store(how.is_some_and(|follow| follow(ctx)), Ordering::Relaxed);
    }
    FOLLOWS.load(Ordering::Relaxed)
}
