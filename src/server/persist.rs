//! What must outlive the process: specs, generations and doubt, in native keys `podium:…` that are saved, replicated and
//! migrated like any other. The truth is in memory; the keys are rewritten whenever somebody takes them away.

mod evicted;
mod write;

pub(crate) use evicted::{evicted, is_missing, role_changed, spec_left, tick};
use write::write_key;
pub(crate) use write::{write, write_unseen, Wrote};

use super::cluster::{self, Standing};
use super::engine::{believes, desk, now_us};
use super::ffi::{self, rm, slot, Ctx, Key, KeyKind, RString};
use super::state::{Entity, State};
use compact_str::CompactString;
use podium_core::key::{self, Name};
use podium_core::spec::Spec;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

pub(crate) const SPEC: &str = "spec";
const DOUBT: &str = "doubt";

/// Something could not be written when it should have been; upkeep tries again.
static UNSAVED: AtomicBool = AtomicBool::new(false);

/// Writes an entity's spec and generations.
pub(crate) fn save_spec(ctx: Ctx, e: &Entity) {
    let (name, json) = (key::own(SPEC, &e.name), e.spec.to_json());
    let (g, s) = (e.generation.to_string(), e.sets_generation.to_string());
    // While its slot is moving it is here or nowhere, unless it was given away.
    let decides = !matches!(e.standing, Standing::Given | Standing::New);
    write_key(
        ctx,
        c"HSET",
        &[
            &name,
            b"spec",
            json.as_bytes(),
            b"generation",
            g.as_bytes(),
            b"sets",
            s.as_bytes(),
        ],
        decides,
    );
    evicted::is_there(&name);
    super::schema::save(ctx, e, &name);
}

/// Writes an entity's generations; before any fill that carries them.
pub(crate) fn save_generations(ctx: Ctx, e: &Entity) {
    let name = key::own(SPEC, &e.name);
    if is_missing(&name) {
        // A part of it would be no spec.
        return save_spec(ctx, e);
    }
    let (g, s) = (e.generation.to_string(), e.sets_generation.to_string());
    write(
        ctx,
        c"HSET",
        &[&name, b"generation", g.as_bytes(), b"sets", s.as_bytes()],
    );
}

pub(crate) fn delete_spec(ctx: Ctx, entity: &str) {
    // Said before its key goes, so that a replica can tell it from a key that was evicted.
    let name = key::own(SPEC, entity);
    if is_missing(&name) {
        write(ctx, c"HSET", &[&name, b"generation", b"0"]);
    } else {
        write(ctx, c"HDEL", &[&name, b"spec"]);
    }
    // One by one: while the slot is moving they may not be at the same place.
    for what in [SPEC, DOUBT] {
        write(ctx, c"UNLINK", &[&key::own(what, entity)]);
    }
}

pub(crate) fn save_doubt(ctx: Ctx, e: &Entity, id: &str, seq: u64) -> Wrote {
    write(
        ctx,
        c"HSET",
        &[
            &key::own(DOUBT, &e.name),
            id.as_bytes(),
            seq.to_string().as_bytes(),
        ],
    )
}

pub(crate) fn forget_doubt(ctx: Ctx, e: &Entity, id: &str) {
    write(ctx, c"HDEL", &[&key::own(DOUBT, &e.name), id.as_bytes()]);
}

pub(crate) fn clear_doubts(ctx: Ctx, e: &Entity) {
    let name = key::own(DOUBT, &e.name);
    if Key::peek(ctx, RString::new(&name).raw()).kind() != KeyKind::Empty {
        write(ctx, c"UNLINK", &[&name]);
    }
}

/// Doubts written by one command.
const AT_ONCE: usize = 100;

/// Writes all of an entity's doubts.
fn save_doubts(ctx: Ctx, e: &Entity) {
    let name = key::own(DOUBT, &e.name);
    let all: Vec<(&str, String)> = e
        .doubts
        .iter()
        .map(|(id, seq)| (id, seq.to_string()))
        .collect();
    for part in all.chunks(AT_ONCE) {
        let pairs = part
            .iter()
            .flat_map(|(id, seq)| [id.as_bytes(), seq.as_bytes()]);
        let args: Vec<&[u8]> = std::iter::once(&name[..]).chain(pairs).collect();
        write(ctx, c"HSET", &args);
    }
}

/// Writes everything anew (after FLUSHALL, or when an earlier write was not allowed).
pub(crate) fn save_all(ctx: Ctx, st: &State) {
    if st.replica || st.loading {
        return;
    }
    UNSAVED.store(false, Ordering::Relaxed);
    super::budget::lost();
    evicted::all_there();
    for e in st.entities() {
        save_spec(ctx, e);
        clear_doubts(ctx, e);
        save_doubts(ctx, e);
    }
    super::sync::save_all(ctx, st);
}

/// Upkeep writes everything anew.
pub(crate) fn save_later() {
    UNSAVED.store(true, Ordering::Relaxed);
}

/// Is there something left to write?
pub(crate) fn unsaved() -> bool {
    UNSAVED.load(Ordering::Relaxed)
}

/// Rewrites the keys right behind the event that took them away, in the same atomic unit.
pub(crate) fn save_soon(ctx: Ctx) {
    unsafe extern "C" fn job(ctx: Ctx, _: *mut c_void) {
        let _ = std::panic::catch_unwind(|| {
            super::gil::enter(|st| {
                save_all(ctx, st);
                cluster::clear_marks(ctx, st);
            })
        });
    }
    if rm!(RedisModule_AddPostNotificationJob(
        ctx,
        Some(job),
        std::ptr::null_mut(),
        None
    )) != ffi::OK
    {
        UNSAVED.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn hash_of(ctx: Ctx, name: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    // By the key API: a command would be refused while a cluster is not up yet, which is when this is read.
    let s = RString::new(name);
    let k = Key::peek(ctx, s.raw());
    (k.kind() == KeyKind::Hash).then(|| k.fields())
}

fn number(fields: &[(Vec<u8>, Vec<u8>)], name: &[u8]) -> Option<u64> {
    let (_, v) = fields.iter().find(|(k, _)| k == name)?;
    std::str::from_utf8(v).ok()?.parse().ok()
}

/// Takes over an entity's keys as they stand: after loading, or on a replica when its primary wrote them.
pub(crate) fn load_spec(ctx: Ctx, st: &mut State, entity: &str) {
    let Some(fields) = hash_of(ctx, &key::own(SPEC, entity)) else {
        return;
    };
    let Some((_, json)) = fields.iter().find(|(k, _)| k == b"spec") else {
        if st.replica {
            // Its primary takes it away.
            st.remove(entity);
        }
        return;
    };
    evicted::spec_came(entity);
    let (Some(generation), Some(sets)) = (number(&fields, b"generation"), number(&fields, b"sets"))
    else {
        return;
    };
    match st.by_name_mut(entity) {
        Some(e) => {
            let (ix, renewed) = (e.ix, e.generation != generation);
            let sets_renewed = e.sets_generation != sets;
            if renewed || sets_renewed {
                let seq = desk().next_seq();
                desk().tokens.note_entity(ix, seq);
            }
            let Ok(spec) = Spec::parse(entity, json) else {
                return;
            };
            if let Some(e) = st.get_mut(ix) {
                if !e.spec.same_effect(&spec) {
                    let base = e.base();
                    let before = std::mem::replace(&mut e.spec, Arc::new(spec));
                    e.respecified(&base, before.table());
                }
            }
            if renewed {
                st.renew(ix);
            } else if sets_renewed {
                st.renew_sets(ix);
            }
            st.cool();
            if let Some(e) = st.get_mut(ix) {
                e.generation = generation;
                e.sets_generation = sets;
            }
        }
        None => match Spec::parse(entity, json) {
            Ok(spec) => {
                let ix = st.add(entity, spec, generation, sets);
                let looks = slot::in_cluster() && !st.replica;
                if let Some(e) = st.get_mut(ix).filter(|_| looks) {
                    e.standing = Standing::New;
                }
            }
            Err(why) => ffi::log(
                ffi::Level::Warning,
                &format!("the stored spec of entity {entity} cannot be read: {why}"),
            ),
        },
    }
    if let Some(e) = st.by_name_mut(entity) {
        super::schema::load(e, &fields);
    }
    load_doubts(ctx, st, entity);
}

pub(crate) fn load_doubts(ctx: Ctx, st: &mut State, entity: &str) {
    let fields = hash_of(ctx, &key::own(DOUBT, entity)).unwrap_or_default();
    let number = |seq: &[u8]| {
        std::str::from_utf8(seq)
            .ok()
            .map(|s| s.parse().unwrap_or(u64::MAX))
    };
    let Some(e) = st.by_name_mut(entity) else {
        return;
    };
    e.doubts.clear();
    e.strays.clear();
    for (id, seq) in &fields {
        let (Ok(id), Some(seq)) = (std::str::from_utf8(id), number(seq)) else {
            continue;
        };
        // Whatever its number says, the record is in doubt: one that is not believed is so from now on.
        let believed = desk().tokens.observe(seq, now_us());
        let seq = if believed { seq } else { desk().next_seq() };
        e.doubts.raise(id, seq);
    }
}

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
    if rm!(RedisModule_DbSize(ctx)) > 0 {
        let mut specs: Vec<String> = Vec::new();
        scan(ctx, |_, name| {
            if let Some(e) = key::own_entity(name, SPEC) {
                specs.push(e.to_string());
            } else if key::own_entity(name, super::sync::KEY).is_some() {
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
                st.remove(&name);
            }
        }
        for e in &specs {
            load_spec(ctx, st, e);
        }
    } else if st.replica {
        for name in st.sorted_names() {
            st.remove(&name);
        }
    }
    st.graves.clear();
    let now = ffi::now_ms();
    for e in st.entities_mut() {
        // What was dropped before is remembered by nobody.
        e.before.all(now);
        e.records.clear();
        e.tombs.clear();
        e.lose_sets();
        e.old_links.clear();
    }
    super::told::lose_all(st);
    evicted::all_there();
    let mut newest = 0u64;
    scan(ctx, |ctx, name| register(ctx, st, name, &mut newest));
    desk().tokens.observe(newest, now_us());
    let from_file = std::mem::take(&mut st.from_file);
    if !st.replica {
        for (name, spec) in from_file {
            adopt(st, &name, spec);
        }
        UNSAVED.store(true, Ordering::Relaxed);
    }
    super::budget::load(ctx, st);
    super::sync::load_all(ctx, st, &feeds);
}

/// A spec from the spec file: in force unless the stored one is equal in effect, whose data then stay.
fn adopt(st: &mut State, name: &str, spec: Spec) {
    match st.by_name(name).map(|e| (e.ix, e.spec.same_effect(&spec))) {
        Some((_, true)) => {}
        Some((ix, false)) => {
            st.renew(ix);
            if let Some(e) = st.get_mut(ix) {
                let base = e.base();
                let before = std::mem::replace(&mut e.spec, Arc::new(spec));
                e.respecified(&base, before.table());
            }
        }
        None => {
            st.add(name, spec, ffi::random_u64(), ffi::random_u64());
        }
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
    desk().tokens.observe(newest, now_us());
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
            e.records.insert(CompactString::new(id));
        }
        What::Tomb(id) => {
            e.tombs.insert(CompactString::new(id));
        }
        What::Set => {
            let s = RString::new(name);
            let k = Key::peek(ctx, s.raw());
            if k.kind() == KeyKind::Zset {
                let head = super::store::sentinel(&k, name);
                if let Some(h) = head.filter(|h| believes(h.seq)) {
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
