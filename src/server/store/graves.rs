//! Keys of generations that are over, unlinked slice by slice.

use crate::server::state::entities::State;
use crate::server::store::remove_key;
use crate::server::valkey::ffi::{self, Ctx, Key, KeyKind, RString};
use crate::server::valkey::tracking;
use podium_core::entry::{self, Entry, Sentinel};
use podium_core::key;
use std::sync::Arc;

/// Unlinks a slice of the keys of generations that are over; true if there is more.
pub(crate) fn clear_graves(st: &mut State, ctx: Ctx, slice: usize) -> bool {
    if st.replica {
        // The primary unlinks its own, and that comes by replication.
        st.forget_graves();
        return false;
    }
    if !ffi::removable(ctx) {
        return !st.graves.is_empty();
    }
    let mut left = slice;
    while left > 0 {
        let Some(grave) = st.graves.front_mut() else {
            return false;
        };
        let entity = grave.entity.clone();
        let name = if let Some(id) = grave.records.next() {
            key::record(&entity, &id)
        } else if let Some(id) = grave.tombs.next() {
            key::tomb(&entity, &id)
        } else if let Some(suffix) = grave.sets.next() {
            key::set(&entity, &suffix)
        } else {
            st.graves.pop_front();
            continue;
        };
        left -= 1;
        if is_dead(st, ctx, &entity, &name) {
            remove_key(ctx, &name);
            tracking::signal_names(ctx, &name);
        }
    }
    !st.graves.is_empty()
}

/// Does a key hold something of ours that belongs to no generation in force?
fn is_dead(st: &State, ctx: Ctx, entity: &Arc<str>, name: &[u8]) -> bool {
    let (generation, sets) = st
        .by_name(entity)
        .map_or((0, 0), |e| (e.generation, e.sets_generation));
    let s = RString::new(name);
    let k = Key::peek(ctx, s.raw());
    match k.kind() {
        KeyKind::String => match k.body() {
            Some(b) => Entry::read(b, name)
                .map(|e| e.header.generation)
                .or_else(|| entry::read_tomb(b, name).map(|h| h.generation))
                .map_or_else(|| entry::is_former(b), |g| g != generation),
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
                None => {
                    st.by_name(entity).is_none_or(|e| {
                        !name
                            .get(entity.len() + 1..)
                            .is_some_and(|suffix| e.sets.contains(suffix))
                    }) && first.is_some_and(|m| podium_core::spec::record_id_ok(&m))
                }
            }
        }
        _ => false,
    }
}
