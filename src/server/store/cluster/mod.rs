//! In a cluster: what is told and answered while the keys of a slot move to another node, one by one (`upkeep/slots` has the rules).

pub(crate) mod told;

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
    .then(|| {
        format!(
            "TRYAGAIN the keys of {} are moving between two nodes of the cluster: ask again",
            key::shown(entity.as_bytes())
        )
    })
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
