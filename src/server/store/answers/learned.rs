//! Stored answers that another process wrote: what they used is learned from what is stored with them.

use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::state::standing::Standing;
use crate::server::store;
use crate::server::store::answers::{read, thing};
use crate::server::valkey::ffi::slot::{self, Ground};
use crate::server::valkey::ffi::{Ctx, Key, RString};
use crate::server::valkey::lock::own_write;
use podium_core::computed::index::{Check, Place};
use podium_core::computed::stored::{self, Header, NamedUse};
use podium_core::computed::thing::{Dep, EntityUse, Kind};

fn remove(ctx: Ctx, name: &[u8]) {
    store::remove_key(ctx, name);
}

/// What a stored answer says of itself.
struct Found {
    header: Header,
    deps: Vec<Dep>,
    uses: Vec<EntityUse>,
    /// Of its value.
    bytes: usize,
}

/// A stored answer of the resource's generation that the index does not know under its place. Err: that is no answer (any more).
fn unknown(st: &State, ctx: Ctx, name: &[u8]) -> Result<Option<Found>, ()> {
    let of_key = st.resources.of_key(name);
    let Some((generation, unsure)) = of_key.map(|r| (r.generation, r.unsure_before)) else {
        return Ok(None);
    };
    let place = st.answers.core.index().place(name);
    let found = read(ctx, name, |s| {
        let known = s
            .place(st.answers.process)
            .is_some_and(|at| Some(at) == place);
        if known {
            return Ok(None);
        }
        // (Or the process that threw some away ended, or gave the slot away, before their keys were gone.)
        if s.header.generation != generation || s.header.seq < unsure {
            return Err(());
        }
        s.used()
            .map(|u| Some((s.header, u, s.value.len())))
            .ok_or(())
    });
    // (A value that is not ours is left alone.)
    let Some((header, used, bytes)) = found.unwrap_or(Ok(None))? else {
        return Ok(None);
    };
    let entity = |u: &NamedUse| {
        Some(EntityUse {
            entity: st.by_name(&u.entity)?.ix,
            index_as_of: u.index_as_of,
        })
    };
    // Of an entity that is not known any more nobody will say what changes.
    let uses: Option<Vec<EntityUse>> = used.entities.iter().map(entity).collect();
    Ok(Some(Found {
        header,
        deps: used.deps,
        uses: uses.ok_or(())?,
        bytes,
    }))
}

/// The same, where the place is all that is missing: it is written into the answer, which is served from here on.
fn put_in_place(st: &mut State, ctx: Ctx, name: &[u8], place: Place, bytes: usize) {
    if let Some(r) = st.resources.of_key(name).map(|r| r.name.clone()) {
        st.answers.count_stored(&r, place.slot, bytes);
    }
    let (s, process) = (RString::new(name), st.answers.process);
    own_write(|| {
        Key::write(ctx, s.raw()).patch(stored::PLACE, &stored::place_bytes(process, place))
    });
}

/// Takes over a stored answer of a data set that was loaded: the index learns what it used. What is none any more is removed.
pub(crate) fn load(st: &mut State, ctx: Ctx, name: &[u8]) {
    let found = match unknown(st, ctx, name) {
        Ok(None) => return,
        Ok(Some(found)) => found,
        Err(()) => return remove(ctx, name),
    };
    clock::order().observe(found.header.seq, clock::now_us());
    match st.answers.core.load(name, &found.deps, &found.uses) {
        Ok(place) => put_in_place(st, ctx, name, place, found.bytes),
        Err(_) => remove(ctx, name),
    }
}

/// The same of one whose slot came here. It is not served before it has its [`place`]: what it used is compared before.
pub(crate) fn learn(st: &mut State, ctx: Ctx, name: &[u8]) {
    let found = match unknown(st, ctx, name) {
        Ok(None) => return,
        Ok(Some(found)) => found,
        Err(()) => return remove(ctx, name),
    };
    clock::order().observe(found.header.seq, clock::now_us());
    let own = Dep {
        thing: thing(Kind::Computed, name),
        kind: Kind::Computed,
        content: found.header.content,
        name: Some(name.into()),
    };
    let core = &mut st.answers.core;
    if !matches!(core.load_since(own, found.deps, &found.uses), Some(Ok(_))) {
        store::remove_key(ctx, name);
    }
}

/// One that was learned, and whose uses were compared, is served from here on; what is none any more is removed.
pub(crate) fn place(st: &mut State, ctx: Ctx, name: &[u8]) {
    let found = match unknown(st, ctx, name) {
        Ok(None) => return,
        Ok(Some(found)) => found,
        Err(()) => return remove(ctx, name),
    };
    let index = st.answers.core.index();
    let place = index
        .place(name)
        .filter(|at| index.peek(*at) != Check::Dropped);
    match place.filter(|_| parts_are_there(st, ctx, &found.deps)) {
        Some(place) => put_in_place(st, ctx, name, place, found.bytes),
        None => remove(ctx, name),
    }
}

/// Are the answers that an answer was made of what they were? Of one that is not here nobody knows.
fn parts_are_there(st: &State, ctx: Ctx, deps: &[Dep]) -> bool {
    use podium_core::computed::thing::{same, ABSENT};
    deps.iter().filter(|d| d.kind == Kind::Computed).all(|d| {
        let Some(name) = &d.name else { return false };
        let generation = st.resources.of_key(name).map(|r| r.generation);
        let now = read(ctx, name, |s| {
            (Some(s.header.generation) == generation).then_some(s.header.content)
        });
        same(d.content, now.flatten().unwrap_or(ABSENT))
    })
}

/// A computed key came here without our doing, some time ago. Where its slot is on its way it is learned when all of it is here;
/// else it was restored from a dump, and what changed since that was made nobody knows.
pub(crate) fn came(st: &mut State, ctx: Ctx, name: &[u8]) {
    let Some(r) = st.resources.of_key(name) else {
        return;
    };
    let settled = r.standing == Standing::Home && !st.answers.learning && !st.answers.to_learn;
    if settled && slot::ground(name) == Ground::Home && !matches!(unknown(st, ctx, name), Ok(None))
    {
        store::remove_key(ctx, name);
    }
}
