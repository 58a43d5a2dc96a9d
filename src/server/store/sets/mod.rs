//! Index sets in the keyspace: complete or absent, moved along as records change.

pub(crate) mod build;

use crate::server::state::clock;
use crate::server::store::sets::build::bear_set;
pub(crate) use crate::server::store::sets::build::{amend_set, begin_set, extend_set, finish_set};

use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::history::{About, How};
use crate::server::store::{answers, copy, remove_key, By, Copy, ZSET_EVENT};
use crate::server::valkey::ffi::{self, notify, Ctx, Key, KeyKind, RString};
use crate::server::valkey::lock::own_write;
use crate::server::valkey::tracking;
use compact_str::CompactString;
use hashbrown::HashSet;
use podium_core::entry::{Entry, Sentinel};
use podium_core::{index, key, outside};

/// `<field>:<value>` of every index set that a record with these cells belongs to, and `*`.
pub(crate) fn set_suffixes(st: &State, ix: EntityIx, entry: &Entry) -> Vec<Vec<u8>> {
    let Some(e) = st.get(ix) else {
        return Vec::new();
    };
    index::all_sets(&e.spec, entry)
}

pub(crate) fn set_name(e: &Entity, suffix: &[u8]) -> Vec<u8> {
    key::set(&e.name, suffix)
}

/// Tells who read an index set that it, or a member of it, changed; whether or not its key is still there.
pub(crate) fn signal_set(ctx: Ctx, e: &Entity, suffix: &[u8]) {
    tracking::signal(ctx, &set_name(e, suffix));
}

/// The same of what a fetch brought: who waits for it is told nothing.
pub(crate) fn signal_landed(ctx: Ctx, e: &Entity, suffix: &[u8]) {
    let name = set_name(e, suffix);
    if tracking::set_landed(&name) {
        tracking::signal(ctx, &name);
    }
}

pub(crate) fn signal_by(ctx: Ctx, e: &Entity, suffix: &[u8], by: By) {
    match by {
        By::Fetch => signal_landed(ctx, e, suffix),
        By::Told => signal_set(ctx, e, suffix),
    }
}

/// Names that are looked for: a few are gone through faster than they are hashed.
enum Names<'a> {
    Few(&'a [Vec<u8>]),
    Many(HashSet<&'a [u8]>),
}

impl<'a> Names<'a> {
    const FEW: usize = 16;
    fn of(names: &'a [Vec<u8>]) -> Names<'a> {
        match names.len() {
            0..=Self::FEW => Names::Few(names),
            _ => Names::Many(names.iter().map(Vec::as_slice).collect()),
        }
    }
    fn hold(&self, name: &[u8]) -> bool {
        match self {
            Names::Few(few) => few.iter().any(|n| n == name),
            Names::Many(many) => many.contains(name),
        }
    }
}

/// Moves a record between the index sets that exist. `seq`: the number under which its new cells were seen.
#[allow(clippy::too_many_arguments)]
pub(crate) fn reindex(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    id: &str,
    old: Option<&Entry>,
    new: Option<&Entry>,
    seq: u64,
    by: By,
) {
    let same = matches!((old, new), (Some(o), Some(n)) if o.same_content(n));
    let after = new.map(|n| set_suffixes(st, ix, n)).unwrap_or_default();
    let before = match old {
        Some(_) if same => after.clone(),
        old => old.map(|o| set_suffixes(st, ix, o)).unwrap_or_default(),
    };
    let (was_in, is_in) = (Names::of(&before), Names::of(&after));
    let Some(e) = st.get(ix) else { return };
    let member = RString::new(id.as_bytes());
    let mut newborn: Vec<Vec<u8>> = Vec::new();
    let mut changed: Vec<Vec<u8>> = Vec::new();
    let mut joined: Vec<Vec<u8>> = Vec::new();
    for suffix in &before {
        if is_in.hold(suffix) {
            if !same {
                signal_by(ctx, e, suffix, by);
            }
            continue;
        }
        leave_set(ctx, e, suffix, id, seq);
        signal_by(ctx, e, suffix, by);
        changed.push(set_name(e, suffix));
    }
    for suffix in &after {
        // It may be a member already; a question in between, though, may have left it out.
        let unknown = &suffix[..] != b"*" && !e.sets.contains(&suffix[..]);
        if unknown && e.complete.is_some_and(|c| c.seq <= seq) {
            // Every value was known, and this one was empty: now it has one member.
            newborn.push(suffix.clone());
            signal_by(ctx, e, suffix, by);
            continue;
        }
        let Some(s) = open_set(ctx, e, suffix, seq) else {
            if !was_in.hold(suffix) && old.is_some() {
                signal_by(ctx, e, suffix, by);
            }
            continue;
        };
        let was = s.key.len();
        own_write(|| {
            s.key.zadd(&member);
            if s.key.len() > was {
                e.moves.set(e.moves.get() + 1);
                ffi::replicate(ctx, c"ZADD", &[&s.name, b"0", id.as_bytes()]);
                notify(ctx, ZSET_EVENT, c"zadd", &s.string);
            }
        });
        // A member whose copy said otherwise was left out of answers. One without a copy that is told anew was perhaps another.
        let joins = !was_in.hold(suffix) && (old.is_some() || by == By::Told);
        if s.key.len() > was || joins {
            signal_by(ctx, e, suffix, by);
            changed.push(set_name(e, suffix));
        }
        if s.key.len() > was {
            joined.push(suffix.clone());
        }
    }
    if let Some(e) = st.get_mut(ix) {
        joined.iter().for_each(|suffix| e.sorted.joined(suffix, id));
    }
    // Whatever is known of the record elsewhere: the set is another now.
    for suffix in joined.iter().chain(&newborn) {
        answers::set_changed(st, ix, suffix);
    }
    note_changed(st, &changed, by, seq);
    for suffix in newborn {
        bear_set(st, ctx, ix, &suffix, id);
    }
}

/// For who asks why: sets that gained or lost a member.
fn note_changed(st: &mut State, names: &[Vec<u8>], by: By, seq: u64) {
    let how = match by {
        By::Fetch => How::Fetch,
        By::Told => st.teller,
    };
    for name in names {
        st.history.note(About::Change, name, how, seq);
    }
}

/// Takes a record out of a set that exists.
pub(crate) fn leave_set(ctx: Ctx, e: &Entity, suffix: &[u8], id: &str, seq: u64) {
    let Some(s) = open_set(ctx, e, suffix, seq) else {
        return;
    };
    own_write(|| {
        if s.key.zrem(&RString::new(id.as_bytes())) {
            e.moves.set(e.moves.get() + 1);
            ffi::replicate(ctx, c"ZREM", &[&s.name, id.as_bytes()]);
            notify(ctx, ZSET_EVENT, c"zrem", &s.string);
        }
    });
}

/// A record that was told while the whole table was being read joins the sets of its values, new ones included.
pub(crate) fn index_newcomer(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str) {
    let Some(e) = st.get(ix) else { return };
    let Copy::Record(b) = copy(ctx, e, id, false) else {
        return;
    };
    let (name, bytes) = (key::record(&e.name, id), b.to_vec());
    if let Some(entry) = Entry::read(&bytes, &name) {
        reindex(
            st,
            ctx,
            ix,
            id,
            None,
            Some(&entry),
            entry.header.seq,
            By::Fetch,
        );
    }
}

pub(crate) struct OpenSet {
    pub(super) key: Key,
    pub(super) name: Vec<u8>,
    string: RString,
}

/// An existing index set that what was seen under `seq` may still change.
pub(crate) fn open_set(ctx: Ctx, e: &Entity, suffix: &[u8], seq: u64) -> Option<OpenSet> {
    if !e.sets.contains(suffix) || !ffi::writable(ctx) {
        return None;
    }
    let name = set_name(e, suffix);
    let string = RString::new(&name);
    let key = Key::write(ctx, string.raw());
    if key.kind() != KeyKind::Zset {
        return None;
    }
    match sentinel(&key, &name) {
        // Confirmed by a later question: what was seen before says nothing about it.
        Some(s) if s.generation != e.sets_generation || s.seq > seq => None,
        _ => Some(OpenSet { key, name, string }),
    }
}

/// The sentinel of an open set, if it is complete.
pub(crate) fn sentinel(key: &Key, name: &[u8]) -> Option<Sentinel> {
    let mut found = None;
    key.members(|m| {
        found = Sentinel::read(m, name);
        false
    });
    found
}

/// An index set as it stands.
pub(crate) enum Set {
    Complete {
        sentinel: Sentinel,
        ids: Vec<CompactString>,
    },
    Absent,
    Foreign,
}

/// Reads a set whole: the sentinel and the ids in order. `suffix`: `<field>:<value>` or `*`.
pub(crate) fn read_set(ctx: Ctx, e: &Entity, suffix: &[u8]) -> Set {
    let name = set_name(e, suffix);
    let s = RString::new(&name);
    let k = Key::read(ctx, s.raw());
    match k.kind() {
        KeyKind::Empty => return Set::Absent,
        KeyKind::Zset => {}
        _ => return Set::Foreign,
    }
    let mut ids = Vec::with_capacity(k.len().saturating_sub(1));
    let mut head = None;
    let mut first = true;
    k.members(|m| {
        if std::mem::take(&mut first) {
            head = Sentinel::read(m, &name);
            if head
                .as_ref()
                .is_none_or(|h| h.generation != e.sets_generation)
            {
                return false;
            }
        } else if let Ok(id) = std::str::from_utf8(m) {
            ids.push(CompactString::new(id));
        }
        true
    });
    match head {
        // Only what is in the register follows what is told.
        Some(sentinel)
            if sentinel.generation == e.sets_generation
                && e.sets.contains(suffix)
                && clock::believes(outside::of_sentinel(&sentinel)) =>
        {
            Set::Complete { sentinel, ids }
        }
        Some(_) => Set::Absent,
        None if e.sets.contains(suffix) || e.given_up.contains(suffix) => Set::Absent,
        None => Set::Foreign,
    }
}

/// An index set's state, without its members: their number with it.
pub(crate) fn set_state(ctx: Ctx, e: &Entity, suffix: &[u8]) -> (Option<Sentinel>, usize, bool) {
    let name = set_name(e, suffix);
    let s = RString::new(&name);
    let k = Key::peek(ctx, s.raw());
    match k.kind() {
        KeyKind::Empty => (None, 0, false),
        KeyKind::Zset => {
            let head = sentinel(&k, &name);
            let known = e.sets.contains(suffix);
            let foreign = head.is_none() && !known && !e.given_up.contains(suffix);
            let head = head.filter(|h| known && h.generation == e.sets_generation);
            let head = head.filter(|h| clock::believes(outside::of_sentinel(h)));
            (head, k.len().saturating_sub(1), foreign)
        }
        _ => (None, 0, true),
    }
}

/// Part of a large set: up to `n` ids behind `after`. `None`: the set is not complete (any more).
pub(crate) fn read_part(
    ctx: Ctx,
    e: &Entity,
    suffix: &[u8],
    after: Option<&CompactString>,
    n: usize,
) -> Option<(Sentinel, Vec<CompactString>)> {
    let (head, _, _) = set_state(ctx, e, suffix);
    let head = head?;
    let s = RString::new(&set_name(e, suffix));
    let k = Key::peek(ctx, s.raw());
    let mut ids = Vec::with_capacity(n);
    let mut each = |m: &[u8]| {
        if podium_core::spec::record_id_ok(m) {
            if let Ok(id) = std::str::from_utf8(m) {
                ids.push(CompactString::new(id));
            }
        }
        ids.len() < n
    };
    match after {
        None => k.members(&mut each),
        Some(id) => k.members_after(id.as_bytes(), &mut each),
    }
    Some((head, ids))
}

/// Drops one index set; true if there was one.
pub(crate) fn drop_set(st: &mut State, ctx: Ctx, ix: EntityIx, suffix: &[u8]) -> bool {
    let Some(e) = st.get_mut(ix) else {
        return false;
    };
    e.complete = None;
    e.lose_set(suffix);
    let name = set_name(e, suffix);
    let s = RString::new(&name);
    if Key::peek(ctx, s.raw()).kind() == KeyKind::Zset {
        remove_key(ctx, &name)
    } else {
        false
    }
}

/// Sets looked through for a record whose copy, which would name them, is gone; with more of them the cost is not worth it.
const FEW_SETS: usize = 256;

/// The index sets that hold a record whose copy is gone: who read them is told of its change too.
pub(crate) fn holders(ctx: Ctx, e: &Entity, id: &str) -> Vec<Box<[u8]>> {
    if e.sets.len() > FEW_SETS {
        return Vec::new();
    }
    let member = RString::new(id.as_bytes());
    let holds = |suffix: &[u8]| {
        let s = RString::new(&set_name(e, suffix));
        let k = Key::peek(ctx, s.raw());
        k.kind() == KeyKind::Zset && k.zholds(&member)
    };
    e.sets
        .iter()
        .filter(|suffix| holds(suffix))
        .cloned()
        .collect()
}

/// Takes note of the numbers under which sets were confirmed: after a promotion they are another server's.
pub(crate) fn observe_sets(ctx: Ctx, st: &State) {
    let mut newest = 0;
    for e in st.entities() {
        for suffix in &e.sets {
            let name = set_name(e, suffix);
            let s = RString::new(&name);
            let k = Key::peek(ctx, s.raw());
            if k.kind() == KeyKind::Zset {
                let head = sentinel(&k, &name).filter(|h| clock::believes(h.seq));
                newest = newest.max(head.map_or(0, |h| h.seq));
            }
        }
        newest = newest.max(e.doubts.iter().map(|(_, seq)| seq).max().unwrap_or(0));
    }
    clock::order().observe(newest, clock::now_us());
}
