//! Sorted views and the keyspace: the set that a view is of, and the look at one of its members.

use crate::server::state::clock;
use crate::server::state::entities::Entity;
use crate::server::state::sorted::{Sorted, BY_ID};
use crate::server::store::sets::{sentinel, set_name};
use crate::server::valkey::ffi::{self, Ctx, Key, KeyKind, RString};
use compact_str::CompactString;
use podium_core::entry::{Entry, Sentinel};
use podium_core::question::SortKey;
use podium_core::sorted::{Life, Seen};
use podium_core::{key, outside};

/// A complete index set that is open.
pub(crate) struct OpenSet {
    key: Key,
    pub(crate) head: Sentinel,
    /// How many it holds.
    pub(crate) len: usize,
}

/// Opens a set if it is complete. `touch`: as a read of it would.
pub(crate) fn open(ctx: Ctx, e: &Entity, suffix: &[u8], touch: bool) -> Option<OpenSet> {
    if !e.sets.contains(suffix) {
        return None;
    }
    let name = set_name(e, suffix);
    let string = RString::new(&name);
    let key = if touch {
        Key::read(ctx, string.raw())
    } else {
        Key::peek(ctx, string.raw())
    };
    if key.kind() != KeyKind::Zset {
        return None;
    }
    let head = sentinel(&key, &name)
        .filter(|h| h.generation == e.sets_generation)
        .filter(|h| clock::believes(outside::of_sentinel(h)))?;
    let len = key.len().saturating_sub(1);
    Some(OpenSet { key, head, len })
}

/// A record's value, as one that answers reads it, asked of the memory ahead of its use; `None`: there is none, or another's.
///
/// The bytes belong to the keyspace: see [`store::copy`](crate::server::store::copy).
pub(crate) fn value(ctx: Ctx, name: &[u8]) -> Option<&'static [u8]> {
    let string = RString::new(name);
    let key = Key::read(ctx, string.raw());
    let body = key.body()?;
    ffi::ahead(body);
    // SAFETY: the buffer belongs to the keyspace, not to the handle.
    Some(unsafe { std::slice::from_raw_parts(body.as_ptr(), body.len()) })
}

/// Looks at some of what is marked. How many were looked at.
pub(crate) fn settle(ctx: Ctx, e: &Entity, s: &mut Sorted, set: &OpenSet, most: usize) -> usize {
    let ids = s.view.marked(most);
    for id in &ids {
        let seen = look(ctx, e, s, set, id);
        s.view.settle(id, seen);
    }
    ids.len()
}

/// Looks at members of the set, one after the other, into the view.
pub(crate) fn take_in(ctx: Ctx, e: &Entity, s: &mut Sorted, set: &OpenSet, ids: &[CompactString]) {
    for id in ids {
        let seen = look(ctx, e, s, set, id);
        s.view.settle(id, seen);
    }
}

/// What the keyspace says of one id: what the general way would make of it.
fn look(ctx: Ctx, e: &Entity, s: &Sorted, set: &OpenSet, id: &str) -> Seen {
    if !set.key.zholds(&RString::new(id.as_bytes())) {
        return Seen::NoMember;
    }
    let name = key::record(&e.name, id);
    let string = RString::new(&name);
    let k = Key::peek(ctx, string.raw());
    if k.kind() != KeyKind::String {
        return Seen::Unsure;
    }
    let entry = k.body().and_then(|body| Entry::read(body, &name));
    let Some(entry) = entry.filter(|entry| entry.header.generation == e.generation) else {
        return Seen::Unsure;
    };
    let (h, key_until) = (entry.header, k.ends_at());
    if !s.wants(&entry) {
        // The set was confirmed after this copy was seen, and says otherwise: it is looked at again.
        return match h.seq < set.head.seq {
            true => Seen::Unsure,
            false => Seen::Outside(Life::outside(key_until)),
        };
    }
    let sorted = match (entry.texts(s.by).next(), e.spec.get(s.by)) {
        (_, None) if s.by == BY_ID => Some(None),
        (Some(text), Some(by)) => SortKey::of(by, text).map(Some),
        (None, Some(_)) => Some(None),
        (_, None) => None,
    };
    match (sorted, Life::of(&h, key_until)) {
        (Some(sorted), Some(life)) => Seen::In(sorted, life),
        _ => Seen::Unsure,
    }
}
