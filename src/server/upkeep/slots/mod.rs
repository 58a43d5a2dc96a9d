//! In a cluster: what becomes of a base while the keys of its slot move to another node, one by one.
//!
//! Whoever holds the specs decides. Until the first spec of a base goes, the node that has the slot answers for the base as
//! ever, but for keys that went already: what it learns of those outdates the entity as a whole, by its generation, which
//! goes with the spec. When the first spec goes the base is given away: from then on the old node answers nothing from
//! its copies and stores nothing, and what it still learns of a key that is not there it says in a key of its own (`mark`),
//! which goes the way of all keys. The new node answers once it has the spec, with TRYAGAIN before. It stores no more than
//! what clients tell of the very keys they were sent there with, until the slot is its own: any other key may be under way
//! to it, and a key that is at both ends stops the move.
//!
//! Index sets are not taken over: what the other node learned last of a record may have passed them by.
//!
//! With the entities go the resources of the same hash tag, and with those their answers (`resources`).

pub(crate) mod resources;

use crate::server::feed;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::standing::{Departed, Standing};
use crate::server::store;
use crate::server::store::change;
use crate::server::store::cluster::answers as kept;
use crate::server::store::cluster::{is_there, neighbours, MARK};
use crate::server::store::own_keys;
use crate::server::store::resources::RESOURCE;
use crate::server::valkey::ffi::slot::{self, Ground};
use crate::server::valkey::ffi::{self, rm, Ctx};
use podium_core::key;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keys that came before their entity's spec are to be looked for.
static UNREGISTERED: AtomicBool = AtomicBool::new(false);

/// Are there keys to be looked for? Says so once.
pub(crate) fn take_unregistered() -> bool {
    UNREGISTERED.swap(false, Ordering::Relaxed)
}

/// Keys of this entity are to be looked for.
fn unregistered(st: &mut State, ix: EntityIx) {
    if let Some(e) = st.get_mut(ix) {
        e.unregistered = true;
    }
    UNREGISTERED.store(true, Ordering::Relaxed);
    crate::server::state::rounds::wake();
}

/// The whole keyspace was looked through.
pub(crate) fn registered(st: &mut State) {
    // What came to be known meanwhile is looked for once more.
    if !UNREGISTERED.load(Ordering::Relaxed) {
        st.entities_mut().for_each(|e| e.unregistered = false);
        feed::wake();
    }
}

/// Looks where every entity's slot stands. Under the server's lock, now and then. What follows from it is written down with it:
/// while the server takes no writes nothing is taken note of.
pub(crate) fn place_all(ctx: Ctx, st: &mut State) {
    if st.replica || st.loading || !slot::in_cluster() || !ffi::removable(ctx) {
        return;
    }
    let mut known: Vec<(String, Ground)> = Vec::new();
    let mut home: Vec<String> = Vec::new();
    for name in st.sorted_names() {
        let tag = match key::tag(&name) {
            "" => &*name,
            tag => tag,
        };
        let ground = match known.iter().find(|(t, _)| t == tag) {
            Some((_, g)) => *g,
            None => {
                let g = slot::ground(&key::own("spec", &name));
                known.push((tag.to_string(), g));
                g
            }
        };
        if let Some(base) = place_one(ctx, st, &name, ground) {
            home.push(base);
        }
    }
    let resources: Vec<std::sync::Arc<str>> = st.resources.names().cloned().collect();
    for name in resources {
        let tag = key::tag(&name).to_string();
        let ground = match known.iter().find(|(t, _)| *t == tag) {
            Some((_, g)) => *g,
            None => {
                let g = slot::ground(&key::own(RESOURCE, &name));
                known.push((tag, g));
                g
            }
        };
        resources::place(ctx, st, &name, ground);
    }
    st.answers.departed = st.resources.iter().any(|r| r.departed.is_some());
    for (tag, _) in known.iter().filter(|(_, g)| *g == Ground::Home) {
        st.told_amid.remove(tag);
    }
    watch_no_more(st);
    home.sort();
    home.dedup();
    for base in home {
        feed::came(ctx, st, &base);
    }
}

/// What changes need not be remembered any more, once all that came was learned.
pub(crate) fn watch_no_more(st: &mut State) {
    let a = &st.answers;
    if !a.core.is_watching() || a.to_learn || a.learning {
        return;
    }
    let coming = |s: Standing| matches!(s, Standing::Arriving | Standing::New);
    if !st.resources.iter().any(|r| coming(r.standing))
        && !st.entities().any(|e| coming(e.standing))
    {
        st.answers.core.unwatch();
    }
}

/// The same before a command that tells what is on this node, if anything is on its way.
pub(crate) fn look(ctx: Ctx, st: &mut State) {
    let unsettled = |st: &State| {
        st.entities().any(|e| e.standing != Standing::Home)
            || st.resources.iter().any(|r| r.standing != Standing::Home)
    };
    if slot::in_cluster() && unsettled(st) {
        place_all(ctx, st);
    }
}

/// This node has another role now: where the slots stand has to be looked at.
pub(crate) fn look_again(st: &mut State) {
    if !slot::in_cluster() {
        return;
    }
    let standing = if st.replica {
        Standing::Home
    } else {
        Standing::New
    };
    for e in st.entities_mut() {
        e.standing = standing;
        e.departed = Departed::default();
        e.amid.clear();
    }
    for r in st.resources.iter_mut() {
        (r.standing, r.departed) = (standing, None);
    }
    st.answers.departed = false;
    st.told_amid.clear();
}

/// Returns the entity's base if it is at home from here on.
fn place_one(ctx: Ctx, st: &mut State, name: &str, ground: Ground) -> Option<String> {
    let e = st.by_name_mut(name)?;
    match (e.standing, ground) {
        (_, Ground::Unknown)
        | (Standing::Home, Ground::Home)
        | (Standing::Leaving | Standing::Given, Ground::Leaving)
        | (Standing::Arriving, Ground::Arriving) => {}
        (was, Ground::Home) => {
            e.standing = Standing::Home;
            e.departed = Departed::default();
            let amid = std::mem::take(&mut e.amid);
            let (ix, base) = (e.ix, e.base());
            for (id, header) in amid {
                if let Some(h) = header {
                    store::write_tomb(st, ctx, ix, &id, &h, h.dead_at, false);
                }
            }
            if is_there(&key::own(MARK, name)) {
                change::entity_outdated(st, ix);
                store::remove_key(ctx, &key::own(MARK, name));
            }
            if matches!(was, Standing::New | Standing::Arriving) {
                unregistered(st, ix);
            }
            own_keys::save_later();
            return Some(base);
        }
        (Standing::Home, Ground::Leaving) => e.standing = Standing::Leaving,
        // What went before is not known here.
        (Standing::New | Standing::Arriving, Ground::Leaving) => {
            for name in neighbours(st, name) {
                if let Some(e) = st.by_name_mut(&name) {
                    e.departed.any = true;
                }
            }
            give_away(st, name);
        }
        (Standing::New | Standing::Arriving, Ground::Away) => {
            if !is_there(&key::own("spec", name)) {
                forget(st, name);
            }
        }
        (_, Ground::Arriving) if is_there(&key::own("spec", name)) => {
            let ix = e.ix;
            e.standing = Standing::Arriving;
            // What was told meanwhile of keys that are still to come is not known any more.
            change::entity_outdated(st, ix);
            if let Some(e) = st.get(ix) {
                own_keys::save_generations(ctx, e);
            }
        }
        (_, Ground::Arriving | Ground::Away) => forget(st, name),
    }
    None
}

/// The entity's slot is another node's, and its keys went there.
fn forget(st: &mut State, name: &str) {
    if let Some(e) = change::entity_removed(st, name) {
        feed::left(st, &e.base());
    }
    // What is left of its keys is the other node's business.
    st.graves.retain(|g| *g.entity != *name);
}

/// A spec of this slot went: the other node decides from here on, over all that goes with it.
fn give_away(st: &mut State, name: &str) {
    for name in neighbours(st, name) {
        let Some(e) = st.by_name_mut(&name) else {
            continue;
        };
        if e.standing == Standing::Given {
            continue;
        }
        e.standing = Standing::Given;
        e.given = e.generation;
        let ix = e.ix;
        change::entity_given(st, ix);
        // Its copies are to go over, not to be cleared away.
        st.graves.retain(|g| g.entity != name);
    }
    resources::given(st, name);
    feed::wake();
}

/// A key of ours was taken away by somebody else. True if it went to another node: it is not to be written anew.
pub(crate) fn own_key_left(st: &mut State, name: &[u8]) -> bool {
    if !slot::in_cluster() || st.replica {
        return false;
    }
    match slot::ground(name) {
        Ground::Leaving => {
            if let Some(entity) =
                key::own_entity(name, "spec").or_else(|| key::own_entity(name, RESOURCE))
            {
                let entity = entity.to_string();
                give_away(st, &entity);
            }
            true
        }
        Ground::Away => {
            // Before it can come back.
            if let Some(entity) = key::own_entity(name, "spec") {
                let entity = entity.to_string();
                forget(st, &entity);
            } else if let Some(resource) = key::own_entity(name, RESOURCE) {
                let resource = resource.to_string();
                change::resource(st, &resource);
            }
            true
        }
        Ground::Home | Ground::Arriving | Ground::Unknown => false,
    }
}

/// A key that comes is told of twice: what was made of it at first stands.
pub(crate) fn has_come(st: &State, name: &str) -> bool {
    st.by_name(name)
        .is_some_and(|e| e.standing == Standing::Arriving)
}

/// An entity's spec came to be without our doing. True if something of it is to be written anew.
pub(crate) fn spec_came(st: &mut State, name: &str) -> bool {
    if !slot::in_cluster() || st.replica {
        return false;
    }
    let ground = slot::ground(&key::own("spec", name));
    let told = st.told_amid.contains(key::tag(name)) || is_there(&key::own(MARK, name));
    let Some(e) = st.by_name_mut(name) else {
        return false;
    };
    let ix = e.ix;
    match ground {
        Ground::Home => {}
        Ground::Arriving => {
            e.standing = Standing::Arriving;
            unregistered(st, ix);
            if told {
                change::entity_outdated(st, ix);
            } else {
                change::sets_taken_over(st, ix);
            }
            kept::watch(st);
            return true;
        }
        Ground::Leaving | Ground::Away | Ground::Unknown => {
            // Looked for once the slot is this node's.
            e.unregistered = true;
            if e.standing == Standing::Home {
                e.standing = Standing::New;
            }
            kept::watch(st);
        }
    }
    false
}

/// The other node says that an entity is outdated. True: the generation is to be written.
pub(crate) fn mark_came(st: &mut State, entity: &str) -> bool {
    let ix = st.by_name(entity).map(|e| e.ix);
    match ix {
        Some(ix) if !st.replica => {
            change::entity_outdated(st, ix);
            true
        }
        _ => false,
    }
}

/// Takes marks away that were heeded. What goes to another node is left for it.
pub(crate) fn clear_marks(ctx: Ctx, st: &State) {
    if !slot::in_cluster() {
        return;
    }
    for e in st
        .entities()
        .filter(|e| matches!(e.standing, Standing::Home | Standing::Arriving))
    {
        let mark = key::own(MARK, &e.name);
        if is_there(&mark) && slot::ground(&mark) != Ground::Leaving {
            store::remove_key(ctx, &mark);
        }
    }
}

/// The entity that a mark is for.
pub(crate) fn marked(name: &[u8]) -> Option<&str> {
    key::own_entity(name, MARK)
}

/// Takes a key away right behind the event that told of it.
pub(crate) fn remove_soon(ctx: Ctx, name: &[u8]) {
    unsafe extern "C" fn job(ctx: Ctx, data: *mut c_void) {
        let name = (data as *const Vec<u8>).as_ref();
        let _ = std::panic::catch_unwind(|| {
            if let Some(name) = name {
                store::remove_key(ctx, name);
            }
        });
    }
    unsafe extern "C" fn free(data: *mut c_void) {
        drop(Box::from_raw(data as *mut Vec<u8>));
    }
    let name = Box::into_raw(Box::new(name.to_vec()));
    let data = name.cast::<c_void>();
    if rm!(RedisModule_AddPostNotificationJob(
        ctx,
        Some(job),
        data,
        Some(free)
    )) != ffi::OK
    {
        // SAFETY: the server did not take it.
        drop(unsafe { Box::from_raw(name) });
    }
}
