//! In a cluster: what is told and answered while the keys of a slot move to another node, one by one (`upkeep/slots` has the rules).

pub(crate) mod answers;
pub(crate) mod told;

pub(crate) use crate::server::store::cluster::answers::{gone_on, may_compute, may_fill};
pub(crate) use crate::server::store::cluster::told::{
    came_late, drop_given, is_split, may_be_unseen, out_of_reach, outdated, send_on, told,
    told_amid, told_of_absent, went,
};

use crate::server::state::entities::State;
use crate::server::state::standing::Standing;
use crate::server::valkey::ffi::slot::{self, Ground};
use crate::server::valkey::ffi::{Key, KeyKind, RString};
use podium_core::key;
use std::sync::Arc;

/// The key that tells the new node what the old one could not: that an entity is outdated.
pub(crate) const MARK: &str = "outdated";

pub(crate) fn is_there(name: &[u8]) -> bool {
    let name = RString::new(name);
    Key::peek(slot::own_context(), name.raw()).kind() != KeyKind::Empty
}

/// The names of the entities in the slot of this one.
pub(crate) fn neighbours(st: &State, name: &str) -> Vec<Arc<str>> {
    let tag = key::tag(name);
    st.sorted_names()
        .into_iter()
        .filter(|n| **n == *name || (!tag.is_empty() && key::tag(n) == tag))
        .collect()
}

/// Is any entity of this base on its way?
pub(crate) fn in_transit(st: &State, base: &str) -> bool {
    slot::in_cluster()
        && st
            .entities()
            .any(|e| !matches!(e.standing, Standing::Home | Standing::Leaving) && e.base() == base)
}

/// The error for a command that has to wait until the slot of this entity has settled; `None`: it has.
pub(crate) fn unsettled(entity: &str) -> Option<String> {
    matches!(
        slot::ground(&key::own("spec", entity)),
        Ground::Leaving | Ground::Arriving
    )
    .then(|| try_again(entity))
}

fn try_again(entity: &str) -> String {
    format!(
        "TRYAGAIN the keys of {} are moving between two nodes of the cluster: ask again",
        key::shown(entity.as_bytes())
    )
}

/// The same as [`unsettled`] for the entity or resource of a key.
pub(crate) fn unsettled_key(name: &[u8]) -> Option<String> {
    if !slot::in_cluster() {
        return None;
    }
    unsettled(key::split(name)?.0)
}

/// The same for a tag of computed answers: until something is known here of what it can be on.
pub(crate) fn unsettled_tag(st: &State, name: &[u8]) -> Option<String> {
    let known = |n: &Arc<str>| podium_core::slot::together(n.as_bytes(), name);
    let here = st.resources.names().any(known) || st.entities().any(|e| known(&e.name));
    (slot::in_cluster() && !here && slot::ground(name) == Ground::Arriving)
        .then(|| try_again(&String::from_utf8_lossy(name)))
}

/// The error for a key that another hash tag than the computation's stands in: who changes it there tells nobody here.
pub(crate) fn apart(own: &[u8], used: &[u8], what: &str) -> Option<String> {
    (slot::in_cluster() && !podium_core::slot::together(own, used)).then(|| across(used, what))
}

/// As [`apart`], for a tag: where nobody could say it to.
pub(crate) fn tag_apart(own: &[u8], tag: &[u8]) -> Option<String> {
    let key = [b"tag:", tag].concat();
    let hash_tag = key::split(own).map_or("", |(r, _)| key::tag(r));
    (slot::in_cluster() && !podium_core::slot::together(own, &key)).then(|| {
        format!(
            "BADTAG '{}' has another hash tag than the computed answer, so that no INVALIDATE of it would reach the answer: {hash_tag}{}",
            key::shown(tag),
            key::shown(tag)
        )
    })
}

/// As [`apart`], for a read FOR a token.
pub(crate) fn not_for(token: u64, used: &[u8]) -> Option<String> {
    (token != 0 && slot::in_cluster() && !podium_core::slot::is_token_for(used, token))
        .then(|| across(used, "FOR"))
}

fn across(used: &[u8], what: &str) -> String {
    format!(
        "CROSSSLOT '{}' ({what}) has another hash tag than the computed answer: in a cluster an answer uses what carries its own, \
         and changes elsewhere would not reach it",
        key::shown(used)
    )
}

/// The error for a read that waited while its entity went: who asks again is sent on, or finds it here if it is back.
pub(crate) fn entity_left(st: &State, entity: &str) -> String {
    let back = st.by_name(entity).is_some();
    if slot::in_cluster() && (back || slot::ground(&key::own("spec", entity)) == Ground::Away) {
        return try_again(entity);
    }
    no_entity(entity)
}

/// The error for an entity that is not known here.
pub(crate) fn no_entity(entity: &str) -> String {
    // Its spec may be with the other node.
    if let Some(again) = crate::server::store::cluster::unsettled(entity) {
        return again;
    }
    format!(
        "NOENTITY there is no entity '{entity}': define it with PODIUM.SPEC SET {entity} '{{\"base\":\"app...\",\"schema\":{{...}}}}', \
         or define all tables of a base with PODIUM.SPEC DISCOVER app..."
    )
}
