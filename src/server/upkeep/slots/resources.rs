//! In a cluster: what becomes of a resource and its answers while the keys of its slot move to another node (`slots`,
//! `store/cluster/answers`).

use crate::server::state::entities::State;
use crate::server::state::standing::Standing;
use crate::server::store;
use crate::server::store::change;
use crate::server::store::cluster::answers::{self as kept, DROPPED};
use crate::server::store::cluster::is_there;
use crate::server::store::own_keys;
use crate::server::store::resources::{self, RESOURCE};
use crate::server::upkeep::slots::{give_away, remove_soon};
use crate::server::valkey::ffi::slot::{self, Ground};
use crate::server::valkey::ffi::Ctx;
use podium_core::key;

/// As `place_one` of an entity.
pub(super) fn place(ctx: Ctx, st: &mut State, name: &str, ground: Ground) {
    let Some(r) = st.resources.get_mut(name) else {
        return;
    };
    let has_spec = is_there(&key::own(RESOURCE, name));
    match (r.standing, ground) {
        (_, Ground::Unknown)
        | (Standing::Home, Ground::Home)
        | (Standing::Leaving | Standing::Given, Ground::Leaving)
        | (Standing::Arriving, Ground::Arriving) => {}
        (was, Ground::Home) => {
            (r.standing, r.departed) = (Standing::Home, None);
            if matches!(was, Standing::Leaving | Standing::Given) {
                // The move was given up, and of what went nobody knows what became of it.
                kept::renew(st, name);
            } else {
                heed_dropped(st, name, |name| {
                    store::remove_key(ctx, name);
                });
                st.answers.to_learn = true;
                crate::server::state::rounds::wake();
            }
            own_keys::save_later();
        }
        (Standing::Home, Ground::Leaving) => r.standing = Standing::Leaving,
        (Standing::New | Standing::Arriving, Ground::Leaving) => {
            // What went before is not known here.
            kept::say_all_dropped(st, ctx, name);
            give_away(st, name);
        }
        (Standing::New | Standing::Arriving, Ground::Away) if has_spec => {}
        (_, Ground::Arriving) if has_spec => {
            r.standing = Standing::Arriving;
            // What was told meanwhile is not known any more.
            kept::renew(st, name);
            kept::watch(st);
            resources::save(ctx, st, name);
        }
        (_, Ground::Arriving | Ground::Away) => change::resource(st, name),
    }
}

/// A resource's spec came to be without our doing. True if it is to be written anew.
pub(crate) fn came(ctx: Ctx, st: &mut State, name: &str) -> bool {
    if !slot::in_cluster() || st.replica {
        return false;
    }
    let ground = slot::ground(&key::own(RESOURCE, name));
    let Some(r) = st.resources.get_mut(name) else {
        return false;
    };
    match ground {
        Ground::Home => {
            r.standing = Standing::Home;
            return false;
        }
        Ground::Arriving => r.standing = Standing::Arriving,
        Ground::Leaving | Ground::Away | Ground::Unknown => {}
    }
    kept::watch(st);
    ground == Ground::Arriving && heed_dropped(st, name, |name| remove_soon(ctx, name))
}

/// A resource's key that comes is told of twice.
pub(crate) fn has_come(st: &State, name: &str) -> bool {
    st.resources
        .get(name)
        .is_some_and(|r| r.standing == Standing::Arriving)
}

/// The resource that such a mark is for.
pub(crate) fn dropped_of(name: &[u8]) -> Option<&str> {
    key::own_entity(name, DROPPED)
}

/// Answers that the other node dropped after they had gone are none here either. True: the resource is to be written anew.
pub(crate) fn heed_dropped(st: &mut State, resource: &str, remove: impl Fn(&[u8])) -> bool {
    let mark = key::own(DROPPED, resource);
    if st.replica || !is_there(&mark) || slot::ground(&mark) == Ground::Leaving {
        return false;
    }
    let (keys, all) = kept::dropped(slot::own_context(), resource);
    keys.iter().for_each(|name| remove(name));
    if st.resources.get(resource).is_none() {
        // Left for when it is known.
        return false;
    }
    if all {
        kept::renew(st, resource);
    }
    remove(&mark);
    all
}

/// They go with the entities and resources of this name's slot: the other node decides over their answers, too.
pub(super) fn given(st: &mut State, name: &str) {
    for name in kept::neighbours(st, name) {
        let Some(r) = st.resources.get_mut(&name) else {
            continue;
        };
        if r.standing == Standing::Given {
            continue;
        }
        r.standing = Standing::Given;
        // Under another generation none of them is answered. They stay in the index, by which is known what changes them.
        st.resources.renew(&name);
        let prefix = [name.as_bytes(), b":"].concat();
        st.answers.core.end_leases(&prefix);
        crate::server::state::rounds::answers_wake();
    }
}
