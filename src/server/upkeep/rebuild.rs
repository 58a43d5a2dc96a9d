//! What is known in memory is learned anew from the keys of the data set.

use crate::server::desk::budget;
use crate::server::feed;
use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::store::change;
use crate::server::store::own_keys::{self, load_spec, SPEC, UNSAVED};
use crate::server::store::resources::{self, RESOURCE};
use crate::server::store::specs::put_in_force;
use crate::server::valkey::ffi::{self, rm, Ctx, Key, KeyKind, RString};
use podium_core::key::{self, Name};
use std::ffi::c_void;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// A place in a walk through the keyspace.
pub(crate) struct Cursor(*mut redis_module::raw::RedisModuleScanCursor);

impl Cursor {
    pub(crate) fn new() -> Cursor {
        Cursor(rm!(RedisModule_ScanCursorCreate()))
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        rm!(RedisModule_ScanCursorDestroy(self.0));
    }
}

/// Walks a bucket of the keyspace, in database 0; false: it was the last.
pub(crate) fn step(ctx: Ctx, cursor: &Cursor, each: &mut dyn FnMut(Ctx, &[u8])) -> bool {
    struct Walk<'a>(&'a mut dyn FnMut(Ctx, &[u8]));
    unsafe extern "C" fn visit(
        ctx: Ctx,
        name: ffi::RawString,
        _: *mut redis_module::raw::RedisModuleKey,
        data: *mut c_void,
    ) {
        let walk = &mut *(data as *mut Walk);
        (walk.0)(ctx, ffi::bytes(name));
    }
    let mut walk = Walk(each);
    let data = &mut walk as *mut Walk as *mut c_void;
    rm!(RedisModule_Scan(ctx, cursor.0, Some(visit), data)) != 0
}

/// Walks the keyspace once, in database 0.
fn scan(ctx: Ctx, mut each: impl FnMut(Ctx, &[u8])) {
    let cursor = Cursor::new();
    while step(ctx, &cursor, &mut each) {}
}

/// Learns from the keyspace which entities and keys are there: at MODULE LOAD into a running server, and when a data set has been loaded.
pub(crate) fn rebuild(ctx: Ctx, st: &mut State) {
    let mut feeds: Vec<Vec<u8>> = Vec::new();
    let mut kinds: Vec<String> = Vec::new();
    if rm!(RedisModule_DbSize(ctx)) > 0 {
        let mut specs: Vec<String> = Vec::new();
        scan(ctx, |_, name| {
            if let Some(e) = key::own_entity(name, SPEC) {
                specs.push(e.to_string());
            } else if let Some(r) = key::own_entity(name, RESOURCE) {
                kinds.push(r.to_string());
            } else if key::own_entity(name, feed::KEY).is_some() {
                feeds.push(name.to_vec());
            }
        });
        let gone: Vec<std::sync::Arc<str>> = st
            .sorted_names()
            .into_iter()
            .filter(|n| !specs.iter().any(|s| **s == **n))
            .collect();
        if st.replica {
            for name in gone {
                change::entity_removed(st, &name);
            }
        }
        for e in &specs {
            load_spec(ctx, st, e);
        }
    } else if st.replica {
        for name in st.sorted_names() {
            change::entity_removed(st, &name);
        }
    }
    load_resources(ctx, st, &kinds);
    change::forget_keys(st);
    crate::server::store::told::lose_all(st);
    own_keys::evicted::all_there();
    let mut newest = 0u64;
    scan(ctx, |ctx, name| register(ctx, st, name, &mut newest));
    clock::order().observe(newest, clock::now_us());
    let from_file = std::mem::take(&mut st.from_file);
    if !st.replica {
        for (name, spec) in from_file {
            // Unless the stored one is equal in effect, whose data then stay.
            put_in_force(st, &name, spec, None);
        }
        UNSAVED.store(true, Ordering::Relaxed);
    }
    budget::load(ctx, st);
    feed::load_all(ctx, st, &feeds);
    crate::server::upkeep::learning::load_answers(ctx, st);
}

/// The resources of the data set are in force; on a replica no others.
fn load_resources(ctx: Ctx, st: &mut State, names: &[String]) {
    let gone: Vec<Arc<str>> = st
        .resources
        .names()
        .filter(|n| st.replica && !names.iter().any(|name| **name == ***n))
        .cloned()
        .collect();
    for name in gone {
        change::resource(st, &name);
    }
    for name in names {
        resources::load(ctx, st, name);
    }
}

/// Notes keys that were there before their entity's spec: up to `steps` of the keyspace's buckets. False: there is no more.
pub(crate) fn register_some(ctx: Ctx, st: &mut State, cursor: &Cursor, steps: usize) -> bool {
    let mut newest = 0;
    let more = (0..steps).all(|_| {
        step(ctx, cursor, &mut |ctx, name| {
            register(ctx, st, name, &mut newest)
        })
    });
    clock::order().observe(newest, clock::now_us());
    more
}

/// Notes one key of the data set; those that no generation in force knows become graves.
fn register(ctx: Ctx, st: &mut State, name: &[u8], newest: &mut u64) {
    let (entity, what) = match key::parse(name) {
        Some(Name::Record { entity, id }) => (entity, What::Record(id)),
        Some(Name::Tomb { entity, id }) => (entity, What::Tomb(id)),
        Some(Name::All { entity }) => (entity, What::Set),
        Some(Name::Index { entity, .. }) => (entity, What::Set),
        _ => return,
    };
    let Some(e) = st.by_name_mut(entity) else {
        return;
    };
    match what {
        What::Record(id) => {
            e.records.insert(id);
        }
        What::Tomb(id) => {
            e.tombs.insert(id);
        }
        What::Set => {
            let s = RString::new(name);
            let k = Key::peek(ctx, s.raw());
            if k.kind() == KeyKind::Zset {
                let head = crate::server::store::sentinel(&k, name);
                if let Some(h) = head.filter(|h| clock::believes(h.seq)) {
                    *newest = (*newest).max(h.seq);
                }
                if let Some(suffix) = name.get(entity.len() + 1..) {
                    e.sets.insert(suffix.into());
                }
            }
        }
    }
}

enum What<'a> {
    Record(&'a str),
    Tomb(&'a str),
    Set,
}
