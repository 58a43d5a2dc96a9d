//! Computed answers in the keyspace, and what changes mean to them. Under the server's lock.
//!
//! The core knows what each answer used ([`podium_core::computed`]); here things get their names and contents, stored answers
//! are read, written and deleted, and the gate ([`super::change`]) passes on what changed.

pub(crate) mod behind;
pub(crate) mod learned;
pub(crate) mod told;

pub(crate) use crate::server::store::answers::learned::{came, learn, load, place};
pub(crate) use crate::server::store::answers::told::{
    compare, doubt, doubted, entity_doubt, left, record, removed, set, set_answered, set_changed,
};

use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::state::history::{About, How};
use crate::server::state::resources::Resource;
use crate::server::store::{self, cluster};
use crate::server::valkey::ffi::slot;
use crate::server::valkey::ffi::{self, notify, Ctx, Key, KeyKind, RString};
use crate::server::valkey::lock::own_write;
use crate::server::valkey::tracking;
use compact_str::CompactString;
use hashbrown::HashSet;
use podium_core::computed::cut::Cut;
use podium_core::computed::index::{Check, Place};
use podium_core::computed::pending::Ticket;
use podium_core::computed::stored::{self, Header, NamedUse, Stored, Used as StoredUse};
use podium_core::computed::thing::{digest, known, Content, EntityUse, Kind, Thing};
use podium_core::entry::{hash, Entry};
use podium_core::key;

/// Marks made in one go on the main thread; more are made by the answers' thread, in slices.
const AT_ONCE: usize = 2_000;
/// Keys deleted in one go.
pub(crate) const DELETED_AT_ONCE: usize = 50;

/// A thing by its kind and the name of its key (a tag: the tag).
pub(crate) fn thing(kind: Kind, name: &[u8]) -> Thing {
    let of_name = hash(name);
    stored::thing((of_name ^ (kind as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What a record is like.
pub(crate) fn content(entry: &Entry) -> Content {
    known(hash(entry.cells()))
}

/// What a set is like.
pub(crate) fn content_of_set(ids: &[CompactString]) -> Content {
    digest(ids.iter().map(|id| hash(id.as_bytes())))
}

/// All of an entity, of a resource, or everything, is thrown away.
pub(crate) fn cut(st: &mut State, cuts: &[Cut]) -> Ticket {
    let ticket = st.answers.core.cut(cuts, clock::next());
    stir(st);
    ticket
}

/// After a change: some marks are made at once, the rest by the thread.
pub(crate) fn stir(st: &mut State) {
    if st.answers.core.has_work() {
        st.answers.core.work(AT_ONCE);
    }
    if slot::in_cluster() {
        cluster::answers::at_once(st);
    }
    if has_rest(st) {
        crate::server::state::rounds::answers_wake();
    }
    if !st.loading && !st.replica && (a_rest_is_stored(st) || !st.answers.removed.is_empty()) {
        behind::soon();
    }
}

/// Are answers that were thrown away stored still?
pub(crate) fn a_rest_is_stored(st: &State) -> bool {
    st.answers.core.drops() || st.answers.core.index().has_gone()
}

/// Is there something left for the thread?
pub(crate) fn has_rest(st: &State) -> bool {
    let a = &st.answers;
    a.core.has_work() || a.core.index().has_gone() || a.core.leases().has_answers()
}

/// Deletes some keys of answers that were dropped, at most `n`; true: there may be more.
pub(crate) fn delete_some(st: &mut State, ctx: Ctx, n: usize) -> bool {
    if st.replica || st.loading || !ffi::removable(ctx) {
        return false;
    }
    let gone = st.answers.core.take_gone(n);
    let more = gone.len() == n;
    for g in gone {
        let process = st.answers.process;
        let its = |s: Stored| (s.place(process) == Some(g.place)).then_some(s.value.len());
        let Some(bytes) = read(ctx, &g.key, its).flatten() else {
            continue;
        };
        if st.resources.of_key(&g.key).is_none() && !slot::stays(&g.key) {
            // What is left of a slot that is another node's is its business.
            continue;
        }
        if let Some(r) = st.resources.of_key_mut(&g.key) {
            r.figures.dropped += 1;
        }
        let name = key::split(&g.key).map_or("", |(r, _)| r);
        st.answers.count_gone(name, g.place.slot, Some(bytes));
        let seq = clock::next();
        st.history.note(About::Change, &g.key, How::Dropped, seq);
        store::remove_key(ctx, &g.key);
    }
    more
}

/// Looks at a stored answer; `None`: there is none under this key.
pub(crate) fn read<R>(ctx: Ctx, name: &[u8], f: impl FnOnce(Stored) -> R) -> Option<R> {
    let s = RString::new(name);
    let k = Key::peek(ctx, s.raw());
    if k.kind() != KeyKind::String {
        return None;
    }
    Stored::read(k.body()?, name).map(f)
}

/// What is stored under a computed key, and what it is worth. The bytes belong to the keyspace.
pub(crate) fn look(
    st: &mut State,
    ctx: Ctx,
    name: &[u8],
    touch: bool,
) -> Option<(Stored<'static>, Check)> {
    let generation = st.resources.of_key(name)?.generation;
    let s = RString::new(name);
    let k = if touch {
        Key::read(ctx, s.raw())
    } else {
        Key::peek(ctx, s.raw())
    };
    if k.kind() != KeyKind::String {
        return None;
    }
    let body = k.body()?;
    // SAFETY: the buffer belongs to the keyspace, which nothing changes before the reply is written or copied.
    let body = unsafe { std::slice::from_raw_parts(body.as_ptr(), body.len()) };
    let answer = Stored::read(body, name).filter(|a| a.header.generation == generation)?;
    let check = worth(st, &answer);
    Some((answer, check))
}

/// What a stored answer is worth by what it used.
fn worth(st: &mut State, answer: &Stored) -> Check {
    if st.replica {
        // What the primary throws away it deletes here; what it has in doubt it settles when it is asked.
        return if is_doubted(st, answer) {
            Check::Dropped
        } else {
            Check::Hit
        };
    }
    match answer.place(st.answers.process) {
        Some(at) if !st.answers.lost => st.answers.core.check(at),
        _ => Check::Dropped,
    }
}

/// Is something in doubt that a stored answer used? (By what is stored with it: where there is no index of it.)
fn is_doubted(st: &State, answer: &Stored) -> bool {
    if st.entities().all(|e| e.doubts.is_empty()) {
        return false;
    }
    let Some(used) = answer.used() else {
        return true;
    };
    let mut doubted: HashSet<Thing> = HashSet::new();
    for u in &used.entities {
        let Some(e) = st.by_name(&u.entity) else {
            return true;
        };
        for (id, seq) in e.doubts.iter() {
            if u.index_as_of.is_some_and(|as_of| seq > as_of) {
                return true;
            }
            doubted.insert(thing(Kind::Record, &key::record(&e.name, id)));
        }
    }
    used.deps.iter().any(|d| doubted.contains(&d.thing))
}

/// Is there somebody else's value under the key?
pub(crate) fn is_foreign(ctx: Ctx, name: &[u8]) -> bool {
    let s = RString::new(name);
    let k = Key::peek(ctx, s.raw());
    match k.kind() {
        KeyKind::Empty => false,
        KeyKind::String => k.body().is_none_or(|b| Stored::read(b, name).is_none()),
        _ => true,
    }
}

/// The entities of uses by name, as they are stored.
fn named(st: &State, uses: &[EntityUse]) -> Vec<NamedUse> {
    let of = |u: &EntityUse| {
        Some(NamedUse {
            entity: st.get(u.entity)?.name.clone(),
            index_as_of: u.index_as_of,
        })
    };
    uses.iter().filter_map(of).collect()
}

/// Writes an answer that the index knows at this place. False: the server takes no writes, or its index lost it.
pub(crate) fn write(
    st: &mut State,
    ctx: Ctx,
    name: &[u8],
    mut header: Header,
    place: Place,
    value: &[u8],
    expire_at: u64,
) -> bool {
    if !ffi::writable(ctx) {
        st.answers.core.remove(place);
        return false;
    }
    let Some((deps, uses)) = st.answers.core.index().export(place) else {
        return false;
    };
    header.process = st.answers.process;
    (header.slot, header.slot_generation) = (place.slot, place.generation);
    let used = StoredUse {
        deps,
        entities: named(st, &uses),
    };
    let bytes = stored::encode(name, &header, value, &used);
    if let Some(r) = st.resources.of_key(name).map(|r| r.name.clone()) {
        let before = read(ctx, name, |s| {
            s.place(header.process).map(|at| (at.slot, s.value.len()))
        });
        if let Some((slot, bytes)) = before.flatten() {
            st.answers.count_gone(&r, slot, Some(bytes));
        }
        st.answers.count_stored(&r, place.slot, value.len());
    }
    let s = RString::new(name);
    own_write(|| {
        {
            let k = Key::write(ctx, s.raw());
            k.set_string(&RString::new(&bytes));
            k.expire_at(expire_at);
        }
        let until = expire_at.to_string();
        ffi::replicate(ctx, c"SET", &[name, &bytes, b"PXAT", until.as_bytes()]);
        notify(ctx, store::STRING_EVENT, c"set", &s);
        // (Who waits for it is answered with this, and told of the next change.)
        if tracking::record_landed(name, true) {
            ffi::signal_modified(ctx, &s);
        }
    });
    let seq = header.seq;
    st.history.note(About::Change, name, How::Fill, seq);
    true
}

/// A resource's answers are thrown away, and who waits for one is told: its spec changed or was deleted.
pub(crate) fn end(st: &mut State, resource: &Resource) {
    let prefix = [resource.name.as_bytes(), b":"].concat();
    st.answers.core.end(&prefix, clock::next());
    stir(st);
}
