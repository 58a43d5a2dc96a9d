//! What the server tells: keys that came and went, FLUSHALL, loading, another role.

use crate::server::state::cell::{self, Event};
use crate::server::state::entities::State;
use crate::server::state::sorted;
use crate::server::store::change;
use crate::server::store::cluster;
use crate::server::store::resources;
use crate::server::store::{own_keys, register};
use crate::server::upkeep::evicted;
use crate::server::upkeep::slots;
use crate::server::valkey::ffi::{self, bytes, rm, Ctx, RawString, OK};
use crate::server::valkey::lock;
use podium_core::key::{self};
use redis_module::raw;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};

const GENERIC: c_int = 1 << 2;
const STRING: c_int = 1 << 3;
const HASH: c_int = 1 << 6;
const ZSET: c_int = 1 << 7;
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
    cell::register_by(register::late);
    sorted::follow_by(follow_writes);
    keys && on(raw::REDISMODULE_EVENT_FLUSHDB, 1, Some(on_flush))
        && on(raw::REDISMODULE_EVENT_LOADING, 1, Some(on_loading))
        && on(
            raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
            1,
            Some(on_role),
        )
        && on(raw::REDISMODULE_EVENT_SWAPDB, 1, Some(on_swap))
        && on(raw::REDISMODULE_EVENT_SHUTDOWN, 1, Some(on_shutdown))
        && on(raw::REDISMODULE_EVENT_CLIENT_CHANGE, 1, Some(on_client))
}

/// Follows what is written under keys that are there already, and what becomes of their ends.
fn follow_writes(ctx: Ctx) -> bool {
    rm!(RedisModule_SubscribeToKeyspaceEvents(
        ctx,
        GENERIC | STRING | ZSET,
        Some(on_write)
    )) == OK
}

/// A value was written in place, or a key got another end: what sorted views were made of may be another.
unsafe extern "C" fn on_write(
    ctx: Ctx,
    class: c_int,
    event: *const c_char,
    name: RawString,
) -> c_int {
    if !sorted::any() || lock::is_own_write() {
        return OK;
    }
    let key = bytes(name);
    let elsewhere = || rm!(RedisModule_GetSelectedDb(ctx)) != 0;
    if key.starts_with(b"podium:") || !key.contains(&b':') || elsewhere() {
        return OK;
    }
    // Any other of this kind is the concern of `on_key`.
    if class == GENERIC && !matches!(CStr::from_ptr(event).to_bytes(), b"expire" | b"persist") {
        return OK;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if !cell::defer(Event::Touched, key) {
            cell::enter(|st| register::note(st, &Event::Touched, key));
        }
    }));
    OK
}

/// A connection is closed: the leases it holds go to the next.
unsafe extern "C" fn on_client(_: Ctx, _: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    let info = data as *const raw::RedisModuleClientInfo;
    if info.is_null() || sub != raw::REDISMODULE_SUBEVENT_CLIENT_CHANGE_DISCONNECTED {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        cell::enter(|st| {
            if st.answers.core.computing() || st.answers.core.leases().len().1 > 0 {
                st.answers.core.closed((*info).id);
                crate::server::state::rounds::answers_wake();
            }
        });
    }));
}

unsafe extern "C" fn on_key(
    ctx: Ctx,
    class: c_int,
    event: *const c_char,
    name: RawString,
) -> c_int {
    if lock::is_own_write() {
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
        if cell::defer(event, key) {
            return;
        }
        let lost_own = cell::enter(|st| {
            register::note(st, &event, key);
            if st.loading {
                return false;
            }
            if !key.starts_with(b"podium:") {
                if event == Event::New {
                    if let Some(late) = cluster::came_late(st, key) {
                        slots::remove_soon(ctx, late);
                    }
                }
                return false;
            }
            match event {
                Event::Written | Event::New => follow_own(ctx, st, key),
                Event::Touched => false,
                Event::Removed | Event::Gone => {
                    if st.replica {
                        follow_own(ctx, st, key);
                    }
                    let moved = event == Event::Removed && slots::own_key_left(st, key);
                    if class == EVICTED && !st.replica {
                        evicted::evicted(ctx, key);
                        return false;
                    }
                    !st.replica && !moved
                }
            }
        });
        if lost_own == Some(true) {
            crate::server::upkeep::saved::save_soon(ctx);
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
                own_keys::evicted::spec_left(&entity);
            }
        } else if !slots::has_come(st, &entity) {
            own_keys::load_spec(ctx, st, &entity);
            return slots::spec_came(st, &entity);
        }
    } else if let Some(entity) = slots::marked(name) {
        return slots::mark_came(st, entity);
    } else if let Some(resource) = key::own_entity(name, resources::RESOURCE) {
        let resource = resource.to_string();
        if slots::resources::has_come(st, &resource) {
            return false;
        }
        if resources::load(ctx, st, &resource) {
            return slots::resources::came(ctx, st, &resource);
        }
        if st.replica {
            change::resource(st, &resource);
        }
    } else if let Some(resource) = slots::resources::dropped_of(name) {
        let resource = resource.to_string();
        return slots::resources::heed_dropped(st, &resource, |name| slots::remove_soon(ctx, name));
    } else if let Some(entity) = key::own_entity(name, "doubt") {
        let entity = entity.to_string();
        own_keys::load_doubts(ctx, st, &entity);
    } else {
        crate::server::feed::follow_key(ctx, st, name);
    }
    false
}

unsafe extern "C" fn on_flush(ctx: Ctx, _: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    let info = data as *const raw::RedisModuleFlushInfo;
    let db = if info.is_null() { -1 } else { (*info).dbnum };
    if sub != raw::REDISMODULE_SUBEVENT_FLUSHDB_END || (db != -1 && db != 0) {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let keep = cell::enter(|st| {
            change::everything(st);
            !st.replica && !st.loading && st.len() > 0
        });
        if keep == Some(true) && !ffi::is_loading(ctx) {
            crate::server::upkeep::saved::save_soon(ctx);
        }
    }));
}

unsafe extern "C" fn on_loading(ctx: Ctx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        cell::enter(|st| {
            change::everything_under_way();
            match sub {
                raw::REDISMODULE_SUBEVENT_LOADING_ENDED
                | raw::REDISMODULE_SUBEVENT_LOADING_FAILED => {
                    st.loading = false;
                    st.replica = ffi::is_replica(ctx);
                    let detached = lock::detached();
                    rm!(RedisModule_SelectDb(detached, 0));
                    crate::server::upkeep::rebuild::rebuild(detached, st);
                }
                _ => st.loading = true,
            }
        });
        crate::server::state::rounds::wake();
    }));
}

unsafe extern "C" fn on_role(_: Ctx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        cell::enter(|st| {
            st.replica = sub != 0;
            // What a primary writes is followed key by key, and what it thinks of is not known.
            st.entities_mut().for_each(|e| e.sorted.clear());
            slots::look_again(st);
            change::everything_under_way();
            // What the primary so far had spent is in the keys it replicated.
            let detached = lock::detached();
            rm!(RedisModule_SelectDb(detached, 0));
            crate::server::desk::budget::load(detached, st);
            if !st.replica {
                let detached = lock::detached();
                rm!(RedisModule_SelectDb(detached, 0));
                crate::server::store::observe_sets(detached, st);
                crate::server::store::told::lose_all(st);
            }
            let now = ffi::now_ms();
            for e in st.entities_mut() {
                e.before.all(now);
                // What this node did not see happen is not known here: complete tables are asked for anew.
                e.complete = None;
            }
            crate::server::feed::role_changed(st);
            // Who waits is told; what is stored is looked at anew by who decides from here on.
            crate::server::upkeep::learning::forget_answers(st);
            st.answers.lost = !st.replica;
            own_keys::evicted::role_changed(st);
        });
        crate::server::state::rounds::wake();
    }));
}

unsafe extern "C" fn on_swap(_: Ctx, _: raw::RedisModuleEvent, _: u64, data: *mut c_void) {
    let info = data as *const raw::RedisModuleSwapDbInfo;
    if info.is_null() || ((*info).dbnum_first != 0 && (*info).dbnum_second != 0) {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        cell::enter(|st| {
            change::everything_under_way();
            if st.replica {
                // The primary says what is in force from here on.
                return;
            }
            // The specs in force stay. What comes from the other database is older than what was told here meanwhile: as
            // after a flush, nothing of it is believed.
            for ix in st.entities().map(|e| e.ix).collect::<Vec<_>>() {
                change::entity_outdated(st, ix);
            }
            own_keys::save_later();
        });
        crate::server::state::rounds::wake();
    }));
}

unsafe extern "C" fn on_shutdown(_: Ctx, _: raw::RedisModuleEvent, _: u64, _: *mut c_void) {
    crate::server::desk::shutting_down();
}
