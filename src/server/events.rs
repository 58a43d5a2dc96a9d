//! What the server tells: keys that came and went, FLUSHALL, loading, another role.

use super::audience;
use super::cluster;
use super::engine::desk;
use super::ffi::{self, bytes, rm, Ctx, RawString, OK};
use super::gil;
use super::persist;
use super::state::{Entity, State};
use compact_str::CompactString;
use podium_core::key::{self, Name};
use redis_module::raw;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// A keyspace event that matters to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A key came to be.
    New,
    /// A user took it away: a change.
    Removed,
    /// The server took it away: no change, only no copy.
    Gone,
    /// A hash was written.
    Written,
}

const GENERIC: c_int = 1 << 2;
const HASH: c_int = 1 << 6;
const EXPIRED: c_int = 1 << 8;
const EVICTED: c_int = 1 << 9;
const NEW: c_int = 1 << 14;

/// Subscribes to everything we follow.
pub(crate) fn subscribe(ctx: Ctx) -> bool {
    let keys = rm!(RedisModule_SubscribeToKeyspaceEvents(
        ctx,
        GENERIC | HASH | EXPIRED | EVICTED | NEW,
        Some(on_key)
    )) == OK;
    let on = |id: u64, version: u64, f: raw::RedisModuleEventCallback| {
        let event = raw::RedisModuleEvent {
            id,
            dataver: version,
        };
        rm!(RedisModule_SubscribeToServerEvent(ctx, event, f)) == OK
    };
    keys && on(raw::REDISMODULE_EVENT_FLUSHDB, 1, Some(on_flush))
        && on(raw::REDISMODULE_EVENT_LOADING, 1, Some(on_loading))
        && on(
            raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
            1,
            Some(on_role),
        )
        && on(raw::REDISMODULE_EVENT_SWAPDB, 1, Some(on_swap))
        && on(raw::REDISMODULE_EVENT_SHUTDOWN, 1, Some(on_shutdown))
}

unsafe extern "C" fn on_key(
    ctx: Ctx,
    class: c_int,
    event: *const c_char,
    name: RawString,
) -> c_int {
    if gil::is_own_write() {
        return OK;
    }
    let key = bytes(name);
    // Nearly every key of the server is somebody else's: a colon in reach, or it is none of ours.
    if !key.contains(&b':') || rm!(RedisModule_GetSelectedDb(ctx)) != 0 {
        return OK;
    }
    let event = match class {
        NEW => Event::New,
        EXPIRED | EVICTED => Event::Gone,
        HASH => Event::Written,
        _ => match CStr::from_ptr(event).to_bytes() {
            b"del" | b"rename_from" | b"move_from" => Event::Removed,
            b"rename_to" | b"restore" | b"copy_to" | b"move_to" => Event::New,
            _ => return OK,
        },
    };
    if class == HASH && !key.starts_with(b"podium:") {
        return OK;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if gil::defer(event, key) {
            return;
        }
        let lost_own = gil::enter(|st| {
            apply(st, &event, key);
            if st.loading {
                return false;
            }
            if !key.starts_with(b"podium:") {
                if event == Event::New {
                    if let Some(late) = cluster::came_late(st, key) {
                        cluster::remove_soon(ctx, late);
                    }
                }
                return false;
            }
            match event {
                Event::Written | Event::New => follow_own(ctx, st, key),
                Event::Removed | Event::Gone => {
                    if st.replica {
                        follow_own(ctx, st, key);
                    }
                    let moved = event == Event::Removed && cluster::own_key_left(st, key);
                    if class == EVICTED && !st.replica {
                        persist::evicted(ctx, key);
                        return false;
                    }
                    !st.replica && !moved
                }
            }
        });
        if lost_own == Some(true) {
            persist::save_soon(ctx);
        }
    }));
    OK
}

/// One of our own keys was written by somebody else: the primary of this replica, or a slot migration. True if what is in
/// force is to be written anew.
fn follow_own(ctx: Ctx, st: &mut State, name: &[u8]) -> bool {
    if let Some(entity) = key::own_entity(name, "spec") {
        let entity = entity.to_string();
        let s = ffi::RString::new(name);
        if ffi::Key::peek(ctx, s.raw()).kind() == ffi::KeyKind::Empty {
            if st.replica && st.by_name(&entity).is_some() {
                persist::spec_left(&entity);
            }
        } else if !cluster::has_come(st, &entity) {
            persist::load_spec(ctx, st, &entity);
            return cluster::spec_came(st, &entity);
        }
    } else if let Some(entity) = cluster::marked(name) {
        return cluster::mark_came(st, entity);
    } else if let Some(entity) = key::own_entity(name, "doubt") {
        let entity = entity.to_string();
        persist::load_doubts(ctx, st, &entity);
    } else {
        super::sync::follow_key(ctx, st, name);
    }
    false
}

/// Does the key exist in database 0? Under the server's lock.
pub(crate) fn is_there(name: &[u8]) -> bool {
    let ctx = gil::detached();
    rm!(RedisModule_SelectDb(ctx, 0));
    ffi::Key::peek(ctx, ffi::RString::new(name).raw()).kind() != ffi::KeyKind::Empty
}

/// Is an index set of our making stored under this name?
fn is_our_set(name: &[u8]) -> bool {
    let ctx = gil::detached();
    rm!(RedisModule_SelectDb(ctx, 0));
    let key = ffi::Key::peek(ctx, ffi::RString::new(name).raw());
    key.kind() == ffi::KeyKind::Zset && super::store::sentinel(&key, name).is_some()
}

/// An index set is there no more. `by_user`: taken away on purpose, so that a question under way does not bring it back.
fn lost(e: &mut Entity, suffix: &[u8], name: &[u8], by_user: bool) {
    e.lose_set(suffix);
    audience::signal_names(gil::detached(), name);
    if by_user {
        let ix = e.ix;
        let seq = desk().next_seq();
        desk()
            .tokens
            .note(ix, &String::from_utf8_lossy(suffix), seq);
    }
}

/// Brings the register of keys up to date.
pub(crate) fn apply(st: &mut State, event: &Event, name: &[u8]) {
    if st.loading {
        return;
    }
    let (entity, id, tomb) = match key::parse(name) {
        Some(Name::Record { entity, id }) => (entity, id, false),
        Some(Name::Tomb { entity, id }) => (entity, id, true),
        Some(Name::All { entity }) | Some(Name::Index { entity, .. }) => {
            let Some(suffix) = name.get(entity.len() + 1..) else {
                return;
            };
            // On a replica a set comes piece by piece; elsewhere what another puts there is ours only if it says so.
            let ours = *event != Event::New || st.replica || is_our_set(name);
            let Some(e) = st.by_name_mut(entity) else {
                return;
            };
            match event {
                // Put in the place of ours, as RENAME does: what was stored is gone.
                Event::New if !ours && !e.sets.contains(suffix) => {}
                Event::New if !ours => lost(e, suffix, name, true),
                Event::New => {
                    e.sets.insert(suffix.into());
                }
                Event::Removed | Event::Gone => lost(e, suffix, name, *event == Event::Removed),
                Event::Written => {}
            }
            return;
        }
        _ => return,
    };
    let replica = st.replica;
    let Some(e) = st.by_name_mut(entity) else {
        return;
    };
    let ix = e.ix;
    if !tomb && matches!(event, Event::Removed | Event::Gone) {
        e.told.remove(id);
    }
    let keys = if tomb { &mut e.tombs } else { &mut e.records };
    match event {
        Event::New => {
            keys.insert(CompactString::new(id));
            if !tomb && !replica {
                // Restored, or moved here from another node. (Its value may not be touched before its command is over.)
                e.told.arrived(id);
            }
        }
        Event::Removed => {
            keys.remove(id);
            cluster::went(e, id);
            e.before.told(id, ffi::now_ms());
            let mut d = desk();
            let seq = d.next_seq();
            d.tokens.note(ix, id, seq);
            d.tokens.lost(ix, id);
        }
        Event::Gone => {
            keys.remove(id);
            e.before.gone(id, ffi::now_ms());
            desk().tokens.lost(ix, id);
        }
        Event::Written => {}
    }
}

unsafe extern "C" fn on_flush(ctx: Ctx, _: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    let info = data as *const raw::RedisModuleFlushInfo;
    let db = if info.is_null() { -1 } else { (*info).dbnum };
    if sub != raw::REDISMODULE_SUBEVENT_FLUSHDB_END || (db != -1 && db != 0) {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let keep = gil::enter(|st| {
            outdate_everything();
            audience::all_told();
            st.graves.clear();
            let now = ffi::now_ms();
            for e in st.entities_mut() {
                e.records.clear();
                e.tombs.clear();
                e.lose_sets();
                e.doubts.clear();
                e.strays.clear();
                e.before.all(now);
                e.old_links.clear();
                super::told::discard(std::mem::take(&mut e.told));
            }
            !st.replica && !st.loading && st.len() > 0
        });
        if keep == Some(true) && !ffi::is_loading(ctx) {
            persist::save_soon(ctx);
        }
    }));
}

/// Nothing that is under way is stored.
pub(crate) fn outdate_everything() {
    let mut d = desk();
    let seq = d.next_seq();
    d.tokens.note_all(seq);
}

unsafe extern "C" fn on_loading(ctx: Ctx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        gil::enter(|st| {
            outdate_everything();
            match sub {
                raw::REDISMODULE_SUBEVENT_LOADING_ENDED
                | raw::REDISMODULE_SUBEVENT_LOADING_FAILED => {
                    st.loading = false;
                    st.replica = ffi::is_replica(ctx);
                    let detached = gil::detached();
                    rm!(RedisModule_SelectDb(detached, 0));
                    persist::rebuild(detached, st);
                }
                _ => st.loading = true,
            }
        });
        super::upkeep::wake();
    }));
}

unsafe extern "C" fn on_role(_: Ctx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        gil::enter(|st| {
            st.replica = sub != 0;
            cluster::look_again(st);
            outdate_everything();
            // What the primary so far had spent is in the keys it replicated.
            let detached = gil::detached();
            rm!(RedisModule_SelectDb(detached, 0));
            super::budget::load(detached, st);
            if !st.replica {
                let detached = gil::detached();
                rm!(RedisModule_SelectDb(detached, 0));
                super::store::observe_sets(detached, st);
                super::told::lose_all(st);
            }
            let now = ffi::now_ms();
            for e in st.entities_mut() {
                e.before.all(now);
                // What this node did not see happen is not known here: complete tables are asked for anew.
                e.complete = None;
            }
            super::sync::role_changed(st);
            persist::role_changed(st);
        });
        super::upkeep::wake();
    }));
}

unsafe extern "C" fn on_swap(_: Ctx, _: raw::RedisModuleEvent, _: u64, data: *mut c_void) {
    let info = data as *const raw::RedisModuleSwapDbInfo;
    if info.is_null() || ((*info).dbnum_first != 0 && (*info).dbnum_second != 0) {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        gil::enter(|st| {
            outdate_everything();
            if st.replica {
                // The primary says what is in force from here on.
                return;
            }
            // The specs in force stay. What comes from the other database is older than what was told here meanwhile: as
            // after a flush, nothing of it is believed.
            for ix in st.entities().map(|e| e.ix).collect::<Vec<_>>() {
                st.renew(ix);
            }
            persist::save_later();
        });
        super::upkeep::wake();
    }));
}

unsafe extern "C" fn on_shutdown(_: Ctx, _: raw::RedisModuleEvent, _: u64, _: *mut c_void) {
    super::engine::shutting_down();
}
