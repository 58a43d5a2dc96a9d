//! What is known in memory is learned anew from the keys of the data set.

use crate::server::desk::budget;
use crate::server::feed;
use crate::server::reads::computed;
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::store::answers;
use crate::server::store::change;
use crate::server::store::own_keys::{self, load_spec, SPEC, UNSAVED};
use crate::server::store::resources::{self, RESOURCE};
use crate::server::store::specs::put_in_force;
use crate::server::valkey::ffi::{self, rm, Ctx, Key, KeyKind, RString};
use crate::server::valkey::reply::Body;
use compact_str::CompactString;
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
fn step(ctx: Ctx, cursor: &Cursor, each: &mut dyn FnMut(Ctx, &[u8])) -> bool {
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
    load_answers(ctx, st);
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

/// Nothing is known of computed answers any more: who waits is told that there is none, and leases are over.
pub(crate) fn forget_answers(st: &mut State) {
    let mut old = std::mem::take(&mut st.answers);
    old.core.end(b"", clock::next());
    loop {
        let handed = old.core.hand_out(1_000, ffi::now_ms(), 0, ffi::random_u64);
        if handed.is_empty() {
            break;
        }
        for h in handed {
            let meta = h.waiter.meta;
            h.waiter.client.finish(computed::nothing(&h.key, meta));
        }
    }
    for (_, c) in old.counting.drain() {
        if let Some(client) = c.client {
            client.finish(Body::Int(c.n));
        }
    }
}

/// A walk through the keyspace that learns what the stored answers used, and then compares what is cached of that with what it
/// was. On a replica none is made: the primary throws away.
pub(crate) struct Learning {
    cursor: Cursor,
    comparing: bool,
}

impl Learning {
    pub(crate) fn new() -> Learning {
        Learning {
            cursor: Cursor::new(),
            comparing: false,
        }
    }
    /// Looks at up to `steps` of the keyspace's buckets. False: it is through, and the answers may be served.
    pub(crate) fn some(&mut self, ctx: Ctx, st: &mut State, steps: usize) -> bool {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let comparing = self.comparing;
        let more = (0..steps).all(|_| {
            step(ctx, &self.cursor, &mut |_, name| {
                let concerns = match key::split(name) {
                    Some(("tomb", _)) => comparing,
                    Some((e, _)) if comparing => st.by_name(e).is_some(),
                    Some((r, _)) => st.resources.get(r).is_some(),
                    None => false,
                };
                if concerns {
                    names.push(name.to_vec());
                }
            })
        });
        for name in &names {
            if comparing {
                compare(ctx, st, name);
            } else {
                answers::load(st, ctx, name);
            }
        }
        if more {
            return true;
        }
        if !comparing && !st.answers.idle() {
            *self = Learning {
                cursor: Cursor::new(),
                comparing: true,
            };
            return true;
        }
        // What came into doubt before is so still.
        let doubts: Vec<(EntityIx, CompactString, u64)> = st
            .entities()
            .flat_map(|e| e.doubts.iter().map(|(id, seq)| (e.ix, id.into(), seq)))
            .collect();
        for (ix, id, seq) in doubts {
            answers::doubted(st, ix, &id, seq);
        }
        // What its stored answers used is in their bytes by entity: a record or an index of it may be among that.
        st.entities_mut().for_each(|e| e.answers_use_it = true);
        st.answers.lost = false;
        crate::server::state::rounds::answers_wake();
        false
    }
}

/// Compares what a key holds with what loaded answers used of it.
fn compare(ctx: Ctx, st: &mut State, name: &[u8]) {
    let (entity, id, suffix) = match key::parse(name) {
        Some(Name::Record { entity, id } | Name::Tomb { entity, id }) => (entity, Some(id), 0),
        Some(Name::All { entity } | Name::Index { entity, .. }) => (entity, None, entity.len() + 1),
        _ => return,
    };
    let Some(ix) = st.by_name(entity).map(|e| e.ix) else {
        return;
    };
    match id {
        Some(id) => answers::compare(st, ctx, ix, id),
        None => change::set_stored(st, ctx, ix, name.get(suffix..).unwrap_or(&[]), 0),
    }
}

/// The answers of a data set that was loaded, all at once.
pub(crate) fn load_answers(ctx: Ctx, st: &mut State) {
    forget_answers(st);
    if st.replica || st.resources.is_empty() {
        return;
    }
    let mut learning = Learning::new();
    while learning.some(ctx, st, 1_000) {}
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
