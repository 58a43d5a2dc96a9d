//! Records, tombstones and index sets in the keyspace. Everything here runs under the server's lock.
//!
//! Fills write through the key API, with the server's own signal off, and replicate as absolute commands: whoever waited
//! for a fetch is told nothing of it, and every *later* change is signalled by hand, for the record's key and for each
//! index set that holds it.

pub(crate) mod answers;
pub(crate) mod change;
pub(crate) mod cluster;
pub(crate) mod form;
pub(crate) mod graves;
pub(crate) mod kept;
pub(crate) mod links;
pub(crate) mod own_keys;
pub(crate) mod register;
pub(crate) mod resources;
pub(crate) mod sets;
pub(crate) mod sorted;
pub(crate) mod specs;
pub(crate) mod targets;
pub(crate) mod told;
pub(crate) mod tombs;
pub(crate) mod walk;

pub(crate) use crate::server::store::graves::clear_graves;
pub(crate) use crate::server::store::links::{
    changed_links, doubt_gained, doubt_other_end, holds_link_to, ids_in, link_cells, links_before,
    links_in, relink,
};
pub(crate) use crate::server::store::sets::{
    amend_set, begin_set, drop_set, extend_set, finish_set, holders, index_newcomer, leave_set,
    observe_sets, read_part, read_set, reindex, sentinel, set_state, set_suffixes, signal_by,
    signal_landed, signal_set, Set,
};

pub(crate) use crate::server::store::tombs::{put_tomb, remove_tomb, tomb, write_tomb};

use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::standing::Standing;
use crate::server::store::change::Change;
use crate::server::valkey::ffi::slot;
use crate::server::valkey::ffi::{self, notify, signal_modified, Ctx, Key, KeyKind, RString};
use crate::server::valkey::lock::own_write;
use crate::server::valkey::tracking;
use podium_core::entry::{self, Entry, Header};
use podium_core::key;

const GENERIC_EVENT: i32 = 1 << 2;
pub(crate) const STRING_EVENT: i32 = 1 << 3;
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
            None if entry::is_former(b) => {}
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
    let k = if touch {
        Key::read(ctx, s.raw())
    } else {
        Key::peek(ctx, s.raw())
    };
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

/// Is a copy later than what was seen under `seq`?
fn later(h: &Header, seq: u64) -> bool {
    h.seq > seq && clock::believes(h.seq)
}

/// What became of a fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    Yes,
    /// Something newer is known.
    Outdated,
    /// The server takes no writes now, the key's slot is on its way to another node, or it holds somebody else's value.
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

/// What a change feed may vouch for is kept so long past its own end: a few lifetimes, a day at most.
pub(crate) fn kept_ms() -> u64 {
    crate::server::valkey::settings::TTL
        .seconds_as_ms()
        .saturating_mul(3)
        .clamp(10_000, 86_400_000)
}

/// When the key of a copy ends: later than the copy itself where the feed can renew it without a call.
fn kept(e: &Entity, expire_at: u64) -> u64 {
    if e.feed.from > 0 && e.feed.from < u64::MAX {
        expire_at.saturating_add(kept_ms())
    } else {
        expire_at
    }
}

/// Stores a record, `bytes` being its encoded entry: moves it between index sets, ends its doubt, puts linked records in doubt.
pub(crate) fn put(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    id: &str,
    bytes: &[u8],
    expire_at: u64,
    by: By,
) -> Stored {
    let Some(e) = st.get(ix) else {
        return Stored::Outdated;
    };
    let name = key::record(&e.name, id);
    let Some(fresh) = Entry::read(bytes, &name) else {
        return Stored::Refused;
    };
    let seq = fresh.header.seq;
    if fresh.header.generation != e.generation {
        return Stored::Outdated;
    }
    if by == By::Fetch && !clock::order().current(ix, id, seq) {
        return Stored::Outdated;
    }
    if !ffi::writable(ctx) {
        return Stored::Refused;
    }
    let mut was_gone = false;
    let had = match copy(ctx, e, id, false) {
        Copy::Foreign => return Stored::Refused,
        Copy::Record(b) => Some(b.to_vec()),
        Copy::Tomb(h) if by == By::Fetch && later(&h, seq) => return Stored::Outdated,
        Copy::Tomb(_) => {
            was_gone = true;
            None
        }
        Copy::Absent => None,
    };
    let old = had.as_deref().and_then(|b| Entry::read(b, &name));
    if let Some(o) = old.as_ref().filter(|_| by == By::Fetch) {
        if later(&o.header, seq) {
            // Numbers of a former primary whose clock ran ahead: the next fetch comes after them.
            clock::order().observe(o.header.seq, clock::now_us());
            return Stored::Outdated;
        }
    }
    if !may_put(ctx, e, &name) {
        return Stored::Refused;
    }

    let expire_at = if podium_core::feed::can_renew(&fresh.header) {
        kept(e, expire_at)
    } else {
        expire_at
    };
    own_write(|| {
        let (s, body) = (RString::new(&name), RString::new(bytes));
        {
            let k = Key::write(ctx, s.raw());
            k.set_string(&body);
            k.expire_at(expire_at);
        }
        let (at, end) = (
            RString::new(b"PXAT"),
            RString::new(expire_at.to_string().as_bytes()),
        );
        ffi::replicate_all(ctx, c"SET", &[&s, &body, &at, &end]);
        notify(ctx, STRING_EVENT, c"set", &s);
    });
    if by == By::Told {
        cluster::told(st, ix);
    }
    if let Some(e) = st.get_mut(ix) {
        e.records.insert(id);
    }
    remove_tomb(st, ctx, ix, id);
    if had.is_none() && by == By::Told {
        cluster::told_amid(st, ctx, ix, id, None);
    }
    let change = Change {
        ix,
        id,
        old: old.as_ref(),
        new: Some(&fresh),
        was_gone,
        seq,
        by,
    };
    change::record(st, ctx, &change);
    Stored::Yes
}

/// May a record be stored under its key? In a cluster the server knows: its slot may have left this node while it was fetched,
/// or its keys may be on their way, which only who was sent here with it may add to.
fn may_put(ctx: Ctx, e: &Entity, name: &[u8]) -> bool {
    !slot::in_cluster()
        || (e.standing != Standing::Given
            && own_write(|| !ffi::call(ctx, c"EXISTS", false, &[name]).is_error()))
}

/// UNLINK, replicated; signals who tracks the key. True if there was one.
pub(crate) fn remove_key(ctx: Ctx, name: &[u8]) -> bool {
    if !ffi::removable(ctx) {
        // Writing while writes are paused ends the server; whoever must remove waits until they are not.
        return false;
    }
    let reply = own_write(|| ffi::call(ctx, c"UNLINK", true, &[name]));
    if !reply.is_error() {
        return reply.integer() == Some(1);
    }
    // Its slot is on its way from or to another node, or the cluster is down. What is here is to go all the same: no client's
    // rights are asked.
    let gone = remove_untold(ctx, name);
    if gone {
        signal_modified(ctx, &RString::new(name));
    }
    gone
}

/// The same, with nobody told: the gate does, or what began the fetch did.
fn remove_untold(ctx: Ctx, name: &[u8]) -> bool {
    own_write(|| {
        let s = RString::new(name);
        let gone = Key::write(ctx, s.raw()).unlink();
        if gone {
            ffi::replicate(ctx, c"UNLINK", &[name]);
            notify(ctx, GENERIC_EVENT, c"del", &s);
        }
        gone
    })
}

/// Drops a record because somebody said it changed: it is in doubt until its cells are seen again. True if a copy was there.
pub(crate) fn invalidate(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, seq: u64) -> bool {
    let Some(e) = st.get(ix) else { return false };
    let name = key::record(&e.name, id);
    let mut known_ms = 0;
    let had = match copy(ctx, e, id, false) {
        Copy::Record(b) => {
            known_ms = Entry::read(b, &name).map_or(0, |old| old.header.as_of());
            Some(b.to_vec())
        }
        Copy::Tomb(h) => {
            known_ms = h.as_of();
            None
        }
        _ => None,
    };
    let now = ffi::now_ms();
    let known_ms = st.telling_ms.unwrap_or(now).max(known_ms).min(now);
    let mut sets = had.is_some().then(Vec::new);
    if let Some(old) = had.as_deref().and_then(|b| Entry::read(b, &name)) {
        remove_key(ctx, &name);
        let cells = link_cells(st, ix, &old);
        sets = Some(set_suffixes(st, ix, &old));
        if let Some(e) = st.get_mut(ix) {
            e.remember_links(id, cells);
            e.records.remove(id);
        }
    }
    change::record_outdated(st, ctx, ix, id, sets.as_deref(), known_ms, seq);
    remove_tomb(st, ctx, ix, id);
    cluster::told(st, ix);
    let had = had.is_some() || cluster::drop_given(st, ctx, ix, id);
    if !had {
        cluster::told_of_absent(st, ctx, ix, id);
    }
    change::doubt(st, ctx, ix, id, seq, seq);
    had
}

/// Signals a key before a fetch for it begins: who read "not there" (or an older answer) is told now, and who waits is not.
pub(crate) fn signal_fetch(ctx: Ctx, name: &[u8]) {
    tracking::signal(ctx, name);
}
