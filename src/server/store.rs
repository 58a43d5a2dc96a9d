//! Records, tombstones and index sets in the keyspace. Everything here runs under the server's lock.
//!
//! Fills write through the key API, with the server's own signal off, and replicate as absolute commands: whoever waited
//! for a fetch is told nothing of it, and every *later* change is signalled by hand, for the record's key and for each
//! index set that holds it.

use super::engine::desk;
use super::ffi::{self, notify, signal_modified, Ctx, Key, KeyKind, RString};
use super::gil::own_write;
use super::persist;
use super::state::{Entity, EntityIx, LinkCells, State};
use compact_str::CompactString;
use podium_core::doubt::Raised;
use podium_core::entry::{self, Entry, Header, Sentinel};
use podium_core::key;
use std::sync::Arc;

const STRING_EVENT: i32 = 1 << 3;
const ZSET_EVENT: i32 = 1 << 7;

/// What the keyspace holds for a record.
pub(crate) enum Copy {
    /// A record of the entity's generation, as stored bytes that live as long as nobody writes.
    Record(&'static [u8]),
    Tomb(Header),
    Absent,
    /// A value that is not ours.
    Foreign,
}

/// Reads a record's copy. `touch`: as GET would (LRU, hit and miss counted), or unseen.
///
/// The bytes of a copy belong to the keyspace: they are used up or copied before anything is written or the lock is left.
pub(crate) fn copy(ctx: Ctx, e: &Entity, id: &str, touch: bool) -> Copy {
    let name = key::record(&e.name, id);
    match record_bytes(ctx, &name, touch) {
        Found::Bytes(b) => match Entry::read(b, &name) {
            Some(entry) if entry.header.generation == e.generation => return Copy::Record(b),
            Some(_) => {}
            None => return Copy::Foreign,
        },
        Found::Other => return Copy::Foreign,
        Found::Nothing => {}
    }
    match tomb(ctx, e, id) {
        Some(h) => Copy::Tomb(h),
        None => Copy::Absent,
    }
}

enum Found {
    Bytes(&'static [u8]),
    Other,
    Nothing,
}

fn record_bytes(ctx: Ctx, name: &[u8], touch: bool) -> Found {
    let s = RString::new(name);
    let k = if touch { Key::read(ctx, s.raw()) } else { Key::peek(ctx, s.raw()) };
    match k.kind() {
        KeyKind::Empty => Found::Nothing,
        KeyKind::String => match k.body() {
            // SAFETY: the buffer belongs to the keyspace, not to the handle; see `copy` for how long it may be used.
            Some(b) => Found::Bytes(unsafe { std::slice::from_raw_parts(b.as_ptr(), b.len()) }),
            None => Found::Other,
        },
        _ => Found::Other,
    }
}

/// The tombstone of a record, if there is one of the entity's generation.
pub(crate) fn tomb(ctx: Ctx, e: &Entity, id: &str) -> Option<Header> {
    if !e.tombs.contains(id) {
        return None;
    }
    let name = key::tomb(&e.name, id);
    let s = RString::new(&name);
    let k = Key::peek(ctx, s.raw());
    if k.kind() != KeyKind::String {
        return None;
    }
    entry::read_tomb(k.body()?, &name).filter(|h| h.generation == e.generation)
}

/// What became of a fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    Yes,
    /// Something newer is known.
    Outdated,
    /// The server takes no writes now, or the key holds somebody else's value.
    Refused,
}

/// Who says what a record holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A fetch sent under the entry's number.
    Fetch,
    /// A client, a write or the feed: newer than everything before.
    Told,
}

/// What a change feed may vouch for is kept so long past its own end.
pub(crate) const KEPT_MS: u64 = 86_400_000;

/// When the key of a copy ends: later than the copy itself where the feed can renew it without a call.
fn kept(e: &Entity, expire_at: u64) -> u64 {
    if e.feed.from > 0 && e.feed.from < u64::MAX {
        expire_at.saturating_add(KEPT_MS)
    } else {
        expire_at
    }
}

/// Told records remembered per entity: each is looked at when a set is asked for cold.
const MOST_TOLD: usize = 2_000;

/// Stores a record, `bytes` being its encoded entry: moves it between index sets, ends its doubt, puts linked records in doubt.
pub(crate) fn put(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, bytes: &[u8], expire_at: u64, by: By) -> Stored {
    let Some(e) = st.get(ix) else { return Stored::Outdated };
    let name = key::record(&e.name, id);
    let Some(fresh) = Entry::read(bytes, &name) else { return Stored::Refused };
    let seq = fresh.header.seq;
    if fresh.header.generation != e.generation {
        return Stored::Outdated;
    }
    if by == By::Fetch && !desk().tokens.current(ix, id, seq) {
        return Stored::Outdated;
    }
    if !ffi::writable(ctx) {
        return Stored::Refused;
    }
    let mut was_gone = false;
    let had = match copy(ctx, e, id, false) {
        Copy::Foreign => return Stored::Refused,
        Copy::Record(b) => Some(b.to_vec()),
        Copy::Tomb(h) if by == By::Fetch && h.seq > seq => return Stored::Outdated,
        Copy::Tomb(_) => {
            was_gone = true;
            None
        }
        Copy::Absent => None,
    };
    let old = had.as_deref().and_then(|b| Entry::read(b, &name));
    if by == By::Fetch && old.as_ref().is_some_and(|o| o.header.seq > seq) {
        // Numbers of a former primary whose clock ran ahead: the next fetch comes after them.
        desk().tokens.observe(old.map_or(0, |o| o.header.seq));
        return Stored::Outdated;
    }
    if ffi::is_cluster(ctx) && own_write(|| ffi::call(ctx, c"EXISTS", false, &[&name]).is_error()) {
        // Its slot left this node while it was fetched.
        return Stored::Refused;
    }

    let entity_name = e.name.clone();
    let expire_at = if podium_core::feed::can_renew(&fresh.header) { kept(e, expire_at) } else { expire_at };
    own_write(|| {
        let s = RString::new(&name);
        {
            let k = Key::write(ctx, s.raw());
            k.set_string(&RString::new(bytes));
            k.expire_at(expire_at);
        }
        ffi::replicate(ctx, c"SET", &[&name, bytes, b"PXAT", expire_at.to_string().as_bytes()]);
        notify(ctx, STRING_EVENT, c"set", &s);
        let changed = old.as_ref().is_none_or(|o| !o.same_content(&fresh));
        if (old.is_some() || was_gone || by == By::Told) && changed {
            signal_modified(ctx, &s);
        }
    });
    if let Some(e) = st.get_mut(ix) {
        e.records.insert(CompactString::new(id));
        if by == By::Told && e.told.len() < MOST_TOLD {
            e.told.insert(CompactString::new(id));
        } else {
            e.told.remove(id);
        }
    }
    bury_tomb(st, ctx, ix, id);
    let before_links = old.as_ref().map(|o| link_cells(st, ix, o));
    reindex(st, ctx, ix, id, old.as_ref(), Some(&fresh), seq);
    settle(st, ctx, ix, id, seq);
    {
        let mut d = desk();
        d.tokens.note(ix, id, seq);
        d.soon.note(ix, fresh.header.generation, id, fresh.header.fresh_until);
    }

    let before = before_links.or_else(|| st.get_mut(ix).and_then(|e| e.old_links.remove(id)));
    if let Some(e) = st.get_mut(ix) {
        e.old_links.remove(id);
    }
    if let Some(before) = before {
        let after = link_cells(st, ix, &fresh);
        relink(st, ctx, ix, id, &before, &after);
    } else {
        learn_targets(st, ix, &fresh);
    }
    let _ = entity_name;
    Stored::Yes
}

/// Replaces a record by a tombstone; returns whether a copy was there.
pub(crate) fn entomb(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, header: Header, expire_at: u64, by: By) -> (Stored, bool) {
    let Some(e) = st.get(ix) else { return (Stored::Outdated, false) };
    if header.generation != e.generation || (by == By::Fetch && !desk().tokens.current(ix, id, header.seq)) {
        return (Stored::Outdated, false);
    }
    let name = key::record(&e.name, id);
    let had = match copy(ctx, e, id, false) {
        Copy::Record(b) => Some(b.to_vec()),
        Copy::Foreign => return (Stored::Refused, false),
        _ => None,
    };
    let old = had.as_deref().and_then(|b| Entry::read(b, &name));
    if by == By::Fetch && old.as_ref().is_some_and(|o| o.header.seq > header.seq) {
        return (Stored::Outdated, false);
    }
    if !ffi::removable(ctx) {
        return (Stored::Refused, false);
    }
    if old.is_some() {
        remove_key(ctx, &name);
    }
    if let Some(e) = st.get_mut(ix) {
        e.records.remove(id);
    }
    let before = old.as_ref().map(|o| link_cells(st, ix, o));
    reindex(st, ctx, ix, id, old.as_ref(), None, header.seq);
    if old.is_none() {
        if let Some(e) = st.get(ix) {
            for suffix in holders(ctx, e, id) {
                if let Some(s) = open_set(ctx, e, &suffix, header.seq) {
                    own_write(|| {
                        if s.key.zrem(&RString::new(id.as_bytes())) {
                            ffi::replicate(ctx, c"ZREM", &[&s.name, id.as_bytes()]);
                        }
                    });
                }
                signal_set(ctx, e, &suffix);
            }
        }
    }
    settle(st, ctx, ix, id, header.seq);
    desk().tokens.note(ix, id, header.seq);
    let before = before.or_else(|| st.get_mut(ix).and_then(|e| e.old_links.remove(id)));
    if let Some(before) = before {
        relink(st, ctx, ix, id, &before, &Vec::new());
    }
    if ffi::writable(ctx) {
        write_tomb(st, ctx, ix, id, &header, expire_at);
    }
    (Stored::Yes, old.is_some())
}

fn write_tomb(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, header: &Header, expire_at: u64) {
    let Some(e) = st.get_mut(ix) else { return };
    let name = key::tomb(&e.name, id);
    let body = entry::encode_tomb(&name, header);
    own_write(|| {
        let s = RString::new(&name);
        {
            let k = Key::write(ctx, s.raw());
            if !matches!(k.kind(), KeyKind::Empty | KeyKind::String) {
                return;
            }
            k.set_string(&RString::new(&body));
            k.expire_at(expire_at);
        }
        ffi::replicate(ctx, c"SET", &[&name, &body, b"PXAT", expire_at.to_string().as_bytes()]);
    });
    e.tombs.insert(CompactString::new(id));
}

/// Takes a tombstone away; true if there was one.
pub(crate) fn bury_tomb(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str) -> bool {
    let Some(e) = st.get_mut(ix) else { return false };
    if !e.tombs.remove(id) {
        return false;
    }
    remove_key(ctx, &key::tomb(&e.name, id));
    true
}

/// UNLINK, replicated; signals who tracks the key.
pub(crate) fn remove_key(ctx: Ctx, name: &[u8]) -> bool {
    own_write(|| ffi::call(ctx, c"UNLINK", true, &[name]).integer() == Some(1))
}

/// Drops a record because somebody said it changed: it is in doubt until its cells are seen again. True if a copy was there.
pub(crate) fn invalidate(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, seq: u64) -> bool {
    let Some(e) = st.get(ix) else { return false };
    let name = key::record(&e.name, id);
    let had = match copy(ctx, e, id, false) {
        Copy::Record(b) => Some(b.to_vec()),
        _ => None,
    };
    if let Some(old) = had.as_deref().and_then(|b| Entry::read(b, &name)) {
        remove_key(ctx, &name);
        let cells = link_cells(st, ix, &old);
        let sets = set_suffixes(st, ix, &old);
        if let Some(e) = st.get_mut(ix) {
            e.remember_links(id, cells);
            e.records.remove(id);
            for suffix in &sets {
                signal_set(ctx, e, suffix);
            }
        }
    }
    if had.is_none() {
        if let Some(e) = st.get(ix) {
            for suffix in holders(ctx, e, id) {
                signal_set(ctx, e, &suffix);
            }
        }
    }
    bury_tomb(st, ctx, ix, id);
    desk().tokens.note(ix, id, seq);
    doubt(st, ctx, ix, id, seq);
    had.is_some()
}

/// Sets looked through for a record whose copy, which would name them, is gone; with more of them the cost is not worth it.
const FEW_SETS: usize = 256;

/// The index sets that hold a record whose copy is gone: who read them is told of its change too.
fn holders(ctx: Ctx, e: &Entity, id: &str) -> Vec<Box<[u8]>> {
    if e.sets.len() > FEW_SETS {
        return Vec::new();
    }
    let member = RString::new(id.as_bytes());
    let holds = |suffix: &[u8]| {
        let s = RString::new(&set_name(e, suffix));
        let k = Key::peek(ctx, s.raw());
        k.kind() == KeyKind::Zset && k.zholds(&member)
    };
    e.sets.iter().filter(|suffix| holds(suffix)).cloned().collect()
}

/// Puts a record in doubt for every index of its entity, durably.
pub(crate) fn doubt(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, seq: u64) {
    let Some(e) = st.get_mut(ix) else { return };
    if !e.has_sets() {
        return;
    }
    match e.doubts.raise(id, seq) {
        Raised::Noted => persist::save_doubt(ctx, e, id, seq),
        Raised::TooMany => drop_sets(st, ctx, ix),
    }
}

/// Drops every index set of an entity, in constant time.
pub(crate) fn drop_sets(st: &mut State, ctx: Ctx, ix: EntityIx) {
    // A question under way was asked before the doubts that are forgotten here: what it brings makes no set.
    let seq = desk().next_seq();
    desk().tokens.note_entity(ix, seq);
    st.renew_sets(ix);
    if let Some(e) = st.get(ix) {
        persist::clear_doubts(ctx, e);
        persist::save_generations(ctx, e);
    }
    super::upkeep::wake();
}

/// Drops everything of an entity, in constant time on this thread; how many records were cached.
pub(crate) fn drop_all(st: &mut State, ctx: Ctx, ix: EntityIx) -> usize {
    let n = st.get(ix).map_or(0, |e| e.records.len());
    let seq = desk().next_seq();
    desk().tokens.note_entity(ix, seq);
    let own = st.get(ix).map(|e| key::all(&e.name));
    st.renew(ix);
    if let Some(e) = st.get(ix) {
        persist::clear_doubts(ctx, e);
        persist::save_generations(ctx, e);
    }
    if let Some(name) = own {
        signal_modified(ctx, &RString::new(&name));
    }
    super::upkeep::wake();
    n
}

fn settle(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, seq: u64) {
    if let Some(e) = st.get_mut(ix) {
        if e.doubts.settle(id, seq) {
            persist::forget_doubt(ctx, e, id);
        }
    }
}

/// The record ids among a field's texts: without a schema any field might be a link.
pub(crate) fn ids_in(entry: &Entry, field: u16) -> Vec<CompactString> {
    entry
        .texts(field)
        .filter(|t| podium_core::spec::record_id_ok(t))
        .filter_map(|t| std::str::from_utf8(t).ok())
        .map(CompactString::new)
        .collect()
}

/// The ids in a record's link cells, by field.
pub(crate) fn link_cells(st: &State, ix: EntityIx, entry: &Entry) -> LinkCells {
    let Some(e) = st.get(ix) else { return Vec::new() };
    e.spec
        .link_fields()
        .map(|f| {
            (f, ids_in(entry, f))
        })
        .collect()
}

/// `<field>:<value>` of every index set that a record with these cells belongs to, and `*`.
fn set_suffixes(st: &State, ix: EntityIx, entry: &Entry) -> Vec<Vec<u8>> {
    let Some(e) = st.get(ix) else { return Vec::new() };
    let mut out = vec![b"*".to_vec()];
    for (f, field) in e.spec.fields().iter().enumerate().filter(|(_, field)| field.indexed) {
        for text in entry.texts(f as u16) {
            let mut suffix = Vec::with_capacity(field.name.len() + 1 + text.len());
            suffix.extend_from_slice(field.name.as_bytes());
            suffix.push(b':');
            suffix.extend_from_slice(text);
            out.push(suffix);
        }
    }
    out
}

fn set_name(e: &Entity, suffix: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(e.name.len() + 1 + suffix.len());
    name.extend_from_slice(e.name.as_bytes());
    name.push(b':');
    name.extend_from_slice(suffix);
    name
}

/// Tells who read an index set that it, or a member of it, changed; whether or not its key is still there.
fn signal_set(ctx: Ctx, e: &Entity, suffix: &[u8]) {
    signal_modified(ctx, &RString::new(&set_name(e, suffix)));
}

/// Moves a record between the index sets that exist. `seq`: the number under which its new cells were seen.
fn reindex(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, old: Option<&Entry>, new: Option<&Entry>, seq: u64) {
    let before = old.map(|o| set_suffixes(st, ix, o)).unwrap_or_default();
    let after = new.map(|n| set_suffixes(st, ix, n)).unwrap_or_default();
    let same = matches!((old, new), (Some(o), Some(n)) if o.same_content(n));
    let Some(e) = st.get(ix) else { return };
    let member = RString::new(id.as_bytes());
    let mut newborn: Vec<Vec<u8>> = Vec::new();
    for suffix in &before {
        if after.contains(suffix) {
            if !same {
                signal_set(ctx, e, suffix);
            }
            continue;
        }
        if let Some(s) = open_set(ctx, e, suffix, seq) {
            own_write(|| {
                if s.key.zrem(&member) {
                    ffi::replicate(ctx, c"ZREM", &[&s.name, id.as_bytes()]);
                    notify(ctx, ZSET_EVENT, c"zrem", &s.string);
                }
            });
        }
        signal_set(ctx, e, suffix);
    }
    for suffix in &after {
        // It may be a member already; a question in between, though, may have left it out.
        if e.complete.is_some_and(|c| c.seq <= seq) && !e.sets.contains(&suffix[..]) {
            // Every value was known, and this one was empty: now it has one member.
            newborn.push(suffix.clone());
            signal_set(ctx, e, suffix);
            continue;
        }
        let Some(s) = open_set(ctx, e, suffix, seq) else {
            if !before.contains(suffix) && old.is_some() {
                signal_set(ctx, e, suffix);
            }
            continue;
        };
        let was = s.key.len();
        own_write(|| {
            s.key.zadd(&member);
            if s.key.len() > was {
                ffi::replicate(ctx, c"ZADD", &[&s.name, b"0", id.as_bytes()]);
                notify(ctx, ZSET_EVENT, c"zadd", &s.string);
            }
        });
        if s.key.len() > was {
            signal_set(ctx, e, suffix);
        }
    }
    for suffix in newborn {
        bear_set(st, ctx, ix, &suffix, id);
    }
}

/// A set for a value that was known to be empty, with its first member.
fn bear_set(st: &mut State, ctx: Ctx, ix: EntityIx, suffix: &[u8], id: &str) {
    let Some(c) = st.get(ix).and_then(|e| e.complete) else { return };
    let head = Sentinel { generation: 0, asked_ms: c.asked_ms, fresh_until: c.fresh_until, seq: c.seq, name: 0 };
    let whole = begin_set(st, ctx, ix, suffix)
        && extend_set(st, ctx, ix, suffix, &[CompactString::new(id)])
        && finish_set(st, ctx, ix, suffix, 1, head, c.fresh_until);
    if !whole {
        if let Some(e) = st.get_mut(ix) {
            e.complete = None;
        }
    }
}

/// A record that was told while the whole table was being read joins the sets of its values, new ones included.
pub(crate) fn index_newcomer(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str) {
    let Some(e) = st.get(ix) else { return };
    let Copy::Record(b) = copy(ctx, e, id, false) else { return };
    let (name, bytes) = (key::record(&e.name, id), b.to_vec());
    if let Some(entry) = Entry::read(&bytes, &name) {
        reindex(st, ctx, ix, id, None, Some(&entry), entry.header.seq);
    }
}

struct OpenSet {
    key: Key,
    name: Vec<u8>,
    string: RString,
}

/// An existing index set that what was seen under `seq` may still change.
fn open_set(ctx: Ctx, e: &Entity, suffix: &[u8], seq: u64) -> Option<OpenSet> {
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
    Complete { sentinel: Sentinel, ids: Vec<CompactString> },
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
            if head.as_ref().is_none_or(|h| h.generation != e.sets_generation) {
                return false;
            }
        } else if let Ok(id) = std::str::from_utf8(m) {
            ids.push(CompactString::new(id));
        }
        true
    });
    match head {
        // Only what is in the register follows what is told.
        Some(sentinel) if sentinel.generation == e.sets_generation && e.sets.contains(suffix) => Set::Complete { sentinel, ids },
        Some(_) => Set::Absent,
        None if e.sets.contains(suffix) => Set::Absent,
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
            let foreign = head.is_none() && !known;
            let head = head.filter(|h| known && h.generation == e.sets_generation);
            (head, k.len().saturating_sub(1), foreign)
        }
        _ => (None, 0, true),
    }
}

/// Part of a large set: up to `n` ids behind `after`. `None`: the set is not complete (any more).
pub(crate) fn read_part(ctx: Ctx, e: &Entity, suffix: &[u8], after: Option<&CompactString>, n: usize) -> Option<(Sentinel, Vec<CompactString>)> {
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

/// Starts an index set anew: what stood under its name goes. False: it cannot be written now.
pub(crate) fn begin_set(st: &mut State, ctx: Ctx, ix: EntityIx, suffix: &[u8]) -> bool {
    if !ffi::writable(ctx) {
        return false;
    }
    let Some(e) = st.get_mut(ix) else { return false };
    if set_state(ctx, e, suffix).2 {
        return false;
    }
    let name = set_name(e, suffix);
    own_write(|| {
        let s = RString::new(&name);
        let k = Key::write(ctx, s.raw());
        if k.kind() != KeyKind::Empty {
            super::ffi::rm!(RedisModule_UnlinkKey(k.raw()));
            ffi::replicate(ctx, c"UNLINK", &[&name]);
        }
    });
    e.sets.insert(suffix.into());
    true
}

/// A set under construction is given up after this many ms.
const CONSTRUCTION_MS: u64 = 600_000;

/// Adds members to a set under construction. Without its sentinel it is no answer yet.
pub(crate) fn extend_set(st: &State, ctx: Ctx, ix: EntityIx, suffix: &[u8], ids: &[CompactString]) -> bool {
    let Some(e) = st.get(ix) else { return false };
    if !ffi::writable(ctx) || !e.sets.contains(suffix) || ids.is_empty() {
        return ids.is_empty();
    }
    let name = set_name(e, suffix);
    own_write(|| {
        let s = RString::new(&name);
        let k = Key::write(ctx, s.raw());
        let begins = k.kind() == KeyKind::Empty;
        let mut replicated: Vec<&[u8]> = Vec::with_capacity(1 + ids.len() * 2);
        replicated.push(&name);
        for id in ids {
            k.zadd(&RString::new(id.as_bytes()));
            replicated.push(b"0");
            replicated.push(id.as_bytes());
        }
        ffi::replicate(ctx, c"ZADD", &replicated);
        if begins {
            // Should its construction never end, it does.
            let until = ffi::now_ms() + CONSTRUCTION_MS;
            k.expire_at(until);
            ffi::replicate(ctx, c"PEXPIREAT", &[&name, until.to_string().as_bytes()]);
        }
    });
    true
}

/// Completes a set of `members`: from here on it answers.
pub(crate) fn finish_set(st: &State, ctx: Ctx, ix: EntityIx, suffix: &[u8], members: usize, mut head: Sentinel, expire_at: u64) -> bool {
    let Some(e) = st.get(ix) else { return false };
    if !ffi::writable(ctx) || !e.sets.contains(suffix) {
        return false;
    }
    let name = set_name(e, suffix);
    let expire_at = kept(e, expire_at);
    head.name = entry::hash(&name);
    head.generation = e.sets_generation;
    let member = head.member();
    own_write(|| {
        let s = RString::new(&name);
        {
            let k = Key::write(ctx, s.raw());
            // Given up meanwhile (a clock that jumped will do): what is left of it would pass for the whole.
            if k.len() != members {
                return false;
            }
            k.zadd(&RString::new(&member));
            k.expire_at(expire_at);
        }
        ffi::replicate(ctx, c"ZADD", &[&name, b"0", &member]);
        ffi::replicate(ctx, c"PEXPIREAT", &[&name, expire_at.to_string().as_bytes()]);
        notify(ctx, ZSET_EVENT, c"zadd", &s);
        true
    })
}

/// Takes one record out of a set, or puts it in, because something newer than the question is known of it.
pub(crate) fn amend_set(st: &State, ctx: Ctx, ix: EntityIx, suffix: &[u8], id: &str, belongs: bool) {
    let Some(e) = st.get(ix) else { return };
    let Some(s) = open_set(ctx, e, suffix, u64::MAX) else { return };
    let member = RString::new(id.as_bytes());
    own_write(|| {
        if belongs {
            s.key.zadd(&member);
            ffi::replicate(ctx, c"ZADD", &[&s.name, b"0", id.as_bytes()]);
        } else if s.key.zrem(&member) {
            ffi::replicate(ctx, c"ZREM", &[&s.name, id.as_bytes()]);
        }
    });
}

/// Drops one index set; true if there was one.
pub(crate) fn drop_set(st: &mut State, ctx: Ctx, ix: EntityIx, suffix: &[u8]) -> bool {
    let Some(e) = st.get_mut(ix) else { return false };
    e.complete = None;
    e.sets.remove(suffix);
    let name = set_name(e, suffix);
    let s = RString::new(&name);
    if Key::peek(ctx, s.raw()).kind() == KeyKind::Zset {
        remove_key(ctx, &name)
    } else {
        false
    }
}

/// Signals a key before a fetch for it begins: who read "not there" (or an older answer) is told now, and who waits is not.
pub(crate) fn signal_fetch(ctx: Ctx, name: &[u8]) {
    signal_modified(ctx, &RString::new(name));
}

/// Link cells changed: what was gained and lost is in doubt at its own end too.
fn relink(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, before: &LinkCells, after: &LinkCells) {
    let none: Vec<CompactString> = Vec::new();
    let mut fields: Vec<u16> = before.iter().chain(after).map(|(f, _)| *f).collect();
    fields.sort_unstable();
    fields.dedup();
    for f in fields {
        let of = |cells: &LinkCells| cells.iter().find(|(g, _)| *g == f).map_or(none.clone(), |(_, ids)| ids.clone());
        let (was, is) = (of(before), of(after));
        for other in was.iter().filter(|o| !is.contains(o)) {
            doubt_other_end(st, ctx, ix, f, id, other, false);
        }
        for other in is.iter().filter(|o| !was.contains(o)) {
            doubt_other_end(st, ctx, ix, f, id, other, true);
        }
    }
}

/// The record at the other end of a link that `id` gained or lost is in doubt.
pub(crate) fn doubt_other_end(st: &mut State, ctx: Ctx, ix: EntityIx, field: u16, id: &str, other: &str, gained: bool) {
    let Some(base) = st.get(ix).map(Entity::base) else { return };
    let learnt = st.get(ix).and_then(|e| e.link_targets.get(&field).copied());
    let known = learnt.or_else(|| st.link_found(ix, field).map(|(t, _)| t));
    let holder = known.or_else(|| st.of_base(&base).into_iter().find(|t| st.get(*t).is_some_and(|e| e.records.contains(other))));
    if let (Some(t), Some(e)) = (holder, st.get_mut(ix)) {
        e.link_targets.insert(field, t);
    }
    let targets = match holder {
        Some(t) => vec![t],
        // Nobody holds it: whichever entity it is of, its index sets may hold it.
        None => st.of_base(&base).into_iter().filter(|t| st.get(*t).is_some_and(Entity::has_sets)).collect(),
    };
    for t in targets {
        if t == ix && other == id {
            // A link to itself: its cells are the ones just seen.
            continue;
        }
        if gained && holds_link_to(st, ctx, t, other, id) {
            // Its copy shows this end already: it was read after the change.
            continue;
        }
        let seq = desk().next_seq();
        invalidate(st, ctx, t, other, seq);
    }
}

fn holds_link_to(st: &State, ctx: Ctx, ix: EntityIx, id: &str, to: &str) -> bool {
    let Some(e) = st.get(ix) else { return false };
    let Copy::Record(b) = copy(ctx, e, id, false) else { return false };
    let name = key::record(&e.name, id);
    Entry::read(b, &name).is_some_and(|en| e.spec.link_fields().any(|f| en.has(f, to.as_bytes())))
}

/// Which entity a link field leads to shows itself as soon as one of its ids is cached somewhere.
fn learn_targets(st: &mut State, ix: EntityIx, entry: &Entry) {
    let Some(e) = st.get(ix) else { return };
    let unknown: Vec<(u16, CompactString)> = e
        .spec
        .link_fields()
        .filter(|f| !e.link_targets.contains_key(f))
        .filter_map(|f| {
            Some((f, ids_in(entry, f).into_iter().next()?))
        })
        .collect();
    if unknown.is_empty() {
        return;
    }
    let base = e.base();
    for (f, id) in unknown {
        let t = st.of_base(&base).into_iter().find(|t| st.get(*t).is_some_and(|e| e.records.contains(&id)));
        if let (Some(t), Some(e)) = (t, st.get_mut(ix)) {
            e.link_targets.insert(f, t);
        }
    }
}

/// Unlinks a slice of the keys of generations that are over; true if there is more.
pub(crate) fn clear_graves(st: &mut State, ctx: Ctx, slice: usize) -> bool {
    if st.replica {
        // The primary unlinks its own, and that comes by replication.
        st.graves.clear();
        return false;
    }
    if !ffi::removable(ctx) {
        return !st.graves.is_empty();
    }
    let mut left = slice;
    while left > 0 {
        let Some(grave) = st.graves.front_mut() else { return false };
        let entity = grave.entity.clone();
        let name = if let Some(id) = grave.records.next() {
            key::record(&entity, &id)
        } else if let Some(id) = grave.tombs.next() {
            key::tomb(&entity, &id)
        } else if let Some(suffix) = grave.sets.next() {
            [entity.as_bytes(), b":", &suffix[..]].concat()
        } else {
            st.graves.pop_front();
            continue;
        };
        left -= 1;
        if is_dead(st, ctx, &entity, &name) {
            remove_key(ctx, &name);
        }
    }
    !st.graves.is_empty()
}

/// Does a key hold something of ours that belongs to no generation in force?
fn is_dead(st: &State, ctx: Ctx, entity: &Arc<str>, name: &[u8]) -> bool {
    let (generation, sets) = st.by_name(entity).map_or((0, 0), |e| (e.generation, e.sets_generation));
    let s = RString::new(name);
    let k = Key::peek(ctx, s.raw());
    match k.kind() {
        KeyKind::String => match k.body() {
            Some(b) => Entry::read(b, name)
                .map(|e| e.header.generation)
                .or_else(|| entry::read_tomb(b, name).map(|h| h.generation))
                .is_some_and(|g| g != generation),
            None => false,
        },
        KeyKind::Zset => {
            let mut first: Option<Vec<u8>> = None;
            k.members(|m| {
                first = Some(m.to_vec());
                false
            });
            match first.as_deref().and_then(|m| Sentinel::read(m, name)) {
                Some(h) => h.generation != sets,
                // Under construction when its generation ended: members only.
                None => st.by_name(entity).is_none_or(|e| {
                    !name.get(entity.len() + 1..).is_some_and(|suffix| e.sets.contains(suffix))
                }) && first.is_some_and(|m| podium_core::spec::record_id_ok(&m)),
            }
        }
        _ => false,
    }
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
                newest = newest.max(sentinel(&k, &name).map_or(0, |h| h.seq));
            }
        }
        newest = newest.max(e.doubts.iter().map(|(_, seq)| seq).max().unwrap_or(0));
    }
    desk().tokens.observe(newest);
}
