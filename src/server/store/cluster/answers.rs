//! Computed answers while the keys of their slot move to another node, one by one.
//!
//! As with records, whoever holds the specs decides (`upkeep/slots`): until the first one goes the old node serves and fills, and
//! from then on neither does until the slot is the new one's. What an answer that went has used may still change where it was: the
//! old node keeps it in its index, and says in a key of its own (`podium:dropped:<resource>`, which goes the way of all keys) which
//! of those that went are none any more. The new one remembers what it is told meanwhile, learns the answers when the slot is its
//! own (`upkeep/rebuild`), and believes none before.

use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::state::standing::Standing;
use crate::server::store::answers;
use crate::server::store::cluster::is_there;
use crate::server::store::own_keys::hash_of;
use crate::server::store::resources;
use crate::server::valkey::ffi::slot::{self, Ground};
use crate::server::valkey::ffi::{self, Ctx, Key, RString};
use crate::server::valkey::lock::own_write;
use podium_core::computed::index::Check;
use podium_core::key;
use std::sync::Arc;

/// The key that tells the new node which answers the old one dropped after they had gone.
pub(crate) const DROPPED: &str = "dropped";
/// In it: all of them.
const ALL: &[u8] = b"*";
/// Answers named there; more count as all.
const MOST: usize = 1_000;

/// The names of the resources in the slot of an entity or resource.
pub(crate) fn neighbours(st: &State, name: &str) -> Vec<Arc<str>> {
    let tag = key::tag(name);
    let of_tag = |n: &&Arc<str>| !tag.is_empty() && key::tag(n) == tag;
    st.resources.names().filter(of_tag).cloned().collect()
}

/// May a computation of this key begin here? Not while its reads could be answered by two nodes.
pub(crate) fn may_compute(st: &State, name: &[u8]) -> bool {
    let settled = |s: Standing| s == Standing::Home;
    if st
        .resources
        .of_key(name)
        .is_some_and(|r| !settled(r.standing))
    {
        // Perhaps the slot is this node's by now: its answers are to be learned.
        crate::server::state::rounds::wake();
    }
    !slot::in_cluster()
        || (st
            .resources
            .of_key(name)
            .is_some_and(|r| r.standing != Standing::Given)
            && matches!(slot::ground(name), Ground::Home | Ground::Leaving))
}

/// May an answer be stored under this key? As above, and where its slot is leaving only in the place of one that is here.
pub(crate) fn may_fill(st: &State, name: &[u8]) -> bool {
    !slot::in_cluster()
        || (st
            .resources
            .of_key(name)
            .is_some_and(|r| r.standing != Standing::Given)
            && match slot::ground(name) {
                Ground::Home => true,
                Ground::Leaving => is_there(name),
                Ground::Arriving | Ground::Away | Ground::Unknown => false,
            })
}

/// The error for a client that waited for a computation which another node is to be asked for now.
pub(crate) fn gone_on(name: &[u8]) -> Option<String> {
    let (resource, _) = key::split(name)?;
    (!slot::stays(name)).then(|| super::try_again(resource))
}

/// From here on it is remembered what changes: answers come whose uses are learned later.
pub(crate) fn watch(st: &mut State) {
    st.answers.core.watch(clock::next());
}

/// An answer's key was taken away while its slot is not settled: to another node, most likely. True: what it used still matters.
pub(crate) fn went(st: &mut State, name: &[u8]) -> bool {
    if !slot::in_cluster() || st.replica || slot::stays(name) {
        return false;
    }
    let Some(r) = st.resources.of_key_mut(name) else {
        return false;
    };
    r.departed.get_or_insert(0);
    let resource = r.name.clone();
    st.answers.departed = true;
    let index = st.answers.core.index();
    match index
        .place(name)
        .filter(|at| index.peek(*at) != Check::Dropped)
    {
        Some(at) => st.answers.count_gone(&resource, at.slot, None),
        None => {
            // It was no answer any more, and its key was about to be deleted.
            st.answers.to_say.push(name.into());
            answers::behind::soon();
        }
    }
    // Who waits for it is to ask the other node.
    st.answers.core.end_leases_of(name);
    crate::server::state::rounds::answers_wake();
    true
}

/// Something was dropped: what of it went to another node is told there before anybody is answered. (The slot may go with the next
/// command.)
pub(crate) fn at_once(st: &mut State) {
    if st.replica || st.loading {
        return;
    }
    if st.answers.departed {
        let (gone, more) = st.answers.core.index().first_gone(MOST);
        let names: Vec<Box<[u8]>> = gone.map(|g| g.key[..].into()).collect();
        st.answers.to_say.extend(names);
        if more || st.answers.core.has_work() {
            // Which ones turns out later, and may be too late.
            st.answers.to_say.push(ALL.into());
        }
    }
    if !st.answers.to_say.is_empty() {
        answers::behind::soon();
    }
}

/// Tells the other node what was dropped of that which went there.
pub(crate) fn say_all(st: &mut State, ctx: Ctx) {
    if st.answers.to_say.is_empty() || !ffi::removable(ctx) {
        return;
    }
    let mut leaving: Option<(Arc<str>, bool)> = None;
    for name in std::mem::take(&mut st.answers.to_say) {
        if *name == *ALL {
            let departed = st.resources.iter().filter(|r| r.departed.is_some());
            let names: Vec<Arc<str>> = departed.map(|r| r.name.clone()).collect();
            names.iter().for_each(|r| say_all_dropped(st, ctx, r));
        } else {
            say_dropped(st, ctx, &name, &mut leaving);
        }
    }
}

/// An answer was dropped: if it is not here because it went to another node, that is told.
/// `leaving`: is the slot of the resource that was asked for last?
fn say_dropped(st: &mut State, ctx: Ctx, name: &[u8], leaving: &mut Option<(Arc<str>, bool)>) {
    let Some(r) = st.resources.of_key_mut(name) else {
        return;
    };
    let Some(said) = r.departed.filter(|said| *said <= MOST) else {
        return;
    };
    if is_there(name) {
        return;
    }
    let resource = r.name.clone();
    if leaving.as_ref().is_none_or(|(of, _)| *of != resource) {
        let is = slot::ground(name) == Ground::Leaving;
        *leaving = Some((resource.clone(), is));
    }
    if leaving.as_ref().is_some_and(|(_, is)| !is) {
        return;
    }
    r.departed = Some(said + 1);
    say(ctx, &resource, if said < MOST { name } else { ALL });
}

/// Nothing is known any more of the answers of a resource that went.
pub(crate) fn say_all_dropped(st: &mut State, ctx: Ctx, resource: &str) {
    if slot::ground(&key::own(DROPPED, resource)) != Ground::Leaving {
        return;
    }
    if let Some(r) = st.resources.get_mut(resource) {
        r.departed = Some(MOST + 1);
        say(ctx, resource, ALL);
    }
}

fn say(ctx: Ctx, resource: &str, field: &[u8]) {
    let mark = key::own(DROPPED, resource);
    if !ffi::removable(ctx) {
        return;
    }
    own_write(|| {
        let key = Key::write(slot::own_context(), RString::new(&mark).raw());
        if key.set_field(&RString::new(field), &RString::new(b"1")) {
            ffi::replicate(ctx, c"HSET", &[&mark, field, b"1"]);
        }
    });
}

/// What the other node says was dropped after it had gone: keys to be removed, and whether all are.
pub(crate) fn dropped(ctx: Ctx, resource: &str) -> (Vec<Vec<u8>>, bool) {
    let fields = hash_of(ctx, &key::own(DROPPED, resource)).unwrap_or_default();
    let all = fields.iter().any(|(field, _)| field == ALL);
    let of = |name: &Vec<u8>| key::split(name).is_some_and(|(r, _)| r == resource);
    let keys = fields.into_iter().map(|(field, _)| field).filter(of);
    (keys.collect(), all)
}

/// Nothing is believed that was stored of a resource so far. Whoever calls this writes it down.
pub(crate) fn renew(st: &mut State, resource: &str) {
    st.resources.renew(resource);
    resources::forget_answers(st, resource);
}
