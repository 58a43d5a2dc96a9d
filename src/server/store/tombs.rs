//! Tombstones: what is kept of a record that is known to be gone.

use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::standing::Standing;
use crate::server::store::change::{self, Change};
use crate::server::store::{cluster, copy, later, remove_key, remove_untold, By, Copy, Stored};
use crate::server::valkey::ffi::slot::{self, Ground};
use crate::server::valkey::ffi::{self, Ctx, Key, KeyKind, RString};
use crate::server::valkey::lock::own_write;
use podium_core::entry::{self, Entry, Header};
use podium_core::key;

/// The tombstone of a record, if there is one of the entity's generation.
pub(crate) fn tomb(ctx: Ctx, e: &Entity, id: &str) -> Option<Header> {
    if let Some(Some(h)) = e.amid.get(id) {
        return Some(*h).filter(|h| h.generation == e.generation && h.dead_at > ffi::now_ms());
    }
    if !e.tombs.contains(id) && !e.unregistered {
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

/// Replaces a record by a tombstone; returns whether a copy was there.
pub(crate) fn put_tomb(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    id: &str,
    header: Header,
    expire_at: u64,
    by: By,
) -> (Stored, bool) {
    let Some(e) = st.get(ix) else {
        return (Stored::Outdated, false);
    };
    if header.generation != e.generation
        || (by == By::Fetch && !clock::order().current(ix, id, header.seq))
    {
        return (Stored::Outdated, false);
    }
    let name = key::record(&e.name, id);
    let had = match copy(ctx, e, id, false) {
        Copy::Record(b) => Some(b.to_vec()),
        Copy::Foreign => return (Stored::Refused, false),
        _ => None,
    };
    let old = had.as_deref().and_then(|b| Entry::read(b, &name));
    if by == By::Fetch && old.as_ref().is_some_and(|o| later(&o.header, header.seq)) {
        return (Stored::Outdated, false);
    }
    if !ffi::removable(ctx) {
        return (Stored::Refused, false);
    }
    if old.is_some() {
        remove_untold(ctx, &name);
    }
    if let Some(e) = st.get_mut(ix) {
        e.records.remove(id);
    }
    let change = Change {
        ix,
        id,
        old: old.as_ref(),
        new: None,
        was_gone: false,
        seq: header.seq,
        by,
    };
    change::record(st, ctx, &change);
    cluster::told(st, ix);
    let had = old.is_some() || cluster::drop_given(st, ctx, ix, id);
    if !had && by == By::Told {
        cluster::told_of_absent(st, ctx, ix, id);
    }
    if !write_tomb(st, ctx, ix, id, &header, expire_at, had) {
        change::end_not_kept(st, ix, id, &header);
    }
    (Stored::Yes, had)
}

/// Stores a tombstone. `had`: in place of a copy. While its slot is moving there may be one at the other end already, unless
/// there was a copy here. False: it is not known from here on, the server takes no writes, or its key holds somebody else's value.
pub(crate) fn write_tomb(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    id: &str,
    header: &Header,
    expire_at: u64,
    had: bool,
) -> bool {
    let Some(e) = st.get_mut(ix) else {
        return false;
    };
    if header.generation != e.generation || !ffi::writable(ctx) {
        return false;
    }
    let name = key::tomb(&e.name, id);
    let mut header = *header;
    match slot::ground(&name) {
        Ground::Home => {}
        Ground::Leaving if had && e.standing == Standing::Given => header.generation = e.given,
        Ground::Leaving if had => {}
        Ground::Arriving => {
            cluster::told_amid(st, ctx, ix, id, Some(header));
            return true;
        }
        _ => return false,
    }
    let body = entry::encode_tomb(&name, &header);
    let written = own_write(|| {
        let s = RString::new(&name);
        {
            let k = Key::write(ctx, s.raw());
            if !matches!(k.kind(), KeyKind::Empty | KeyKind::String) {
                return false;
            }
            k.set_string(&RString::new(&body));
            k.expire_at(expire_at);
        }
        ffi::replicate(
            ctx,
            c"SET",
            &[&name, &body, b"PXAT", expire_at.to_string().as_bytes()],
        );
        true
    });
    if written {
        e.tombs.insert(id);
    }
    written
}

/// Takes a tombstone away; true if there was one.
pub(crate) fn remove_tomb(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str) -> bool {
    let Some(e) = st.get_mut(ix) else {
        return false;
    };
    if let Some(told) = e.amid.get_mut(id) {
        *told = None;
    }
    if !e.tombs.remove(id) {
        return false;
    }
    remove_key(ctx, &key::tomb(&e.name, id));
    true
}
