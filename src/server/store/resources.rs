//! The specs of resources in the keyspace: `podium:resource:<name>`, saved, replicated and migrated like any other key.

use crate::server::state::entities::State;
use crate::server::state::standing::Standing;
use crate::server::store::answers;
use crate::server::store::change;
use crate::server::store::own_keys::{evicted, hash_of, write};
use crate::server::valkey::ffi::slot;
use crate::server::valkey::ffi::{self, Ctx};
use podium_core::computed::cut::Cut;
use podium_core::computed::resource::Resource as Spec;
use podium_core::key;

/// What the key of a resource's spec is named.
pub(crate) const RESOURCE: &str = "resource";

/// Writes a resource's key.
pub(crate) fn save(ctx: Ctx, st: &State, name: &str) {
    let Some(r) = st.resources.get(name) else {
        return;
    };
    let own = key::own(RESOURCE, name);
    let generation = r.generation.to_string();
    let fields: [&[u8]; 5] = [&own, b"spec", &r.json, b"generation", generation.as_bytes()];
    write(ctx, c"HSET", &fields);
    evicted::is_there(&own);
    if r.unsure_before > 0 {
        save_unsure(ctx, name, r.unsure_before);
    }
}

/// What [`crate::server::state::resources::Resource`] says of answers filled before a number is kept, until their keys are gone.
const UNSURE: &[u8] = b"unsure-before";

fn save_unsure(ctx: Ctx, name: &str, seq: u64) {
    let (own, seq) = (key::own(RESOURCE, name), seq.to_string());
    write(ctx, c"HSET", &[&own, UNSURE, seq.as_bytes()]);
}

/// Some answers were thrown away whose keys are there still: in the same atomic unit it is written down.
pub(crate) fn are_unsure(st: &mut State, ctx: Ctx, seq: u64) {
    for r in st.resources.iter_mut() {
        r.unsure_before = seq;
        save_unsure(ctx, &r.name, seq);
    }
}

/// Their keys are gone.
pub(crate) fn are_sure(st: &mut State, ctx: Ctx) {
    for r in st.resources.iter_mut().filter(|r| r.unsure_before > 0) {
        r.unsure_before = 0;
        write(ctx, c"HDEL", &[&key::own(RESOURCE, &r.name), UNSURE]);
    }
}

/// Takes it away.
pub(crate) fn delete(ctx: Ctx, name: &str) {
    write(ctx, c"UNLINK", &[&key::own(RESOURCE, name)]);
}

/// Takes over a resource's key as it stands: after loading, or on a replica when its primary wrote it. False: there is none.
pub(crate) fn load(ctx: Ctx, st: &mut State, name: &str) -> bool {
    let Some(fields) = hash_of(ctx, &key::own(RESOURCE, name)) else {
        return false;
    };
    let field = |wanted: &[u8]| {
        fields
            .iter()
            .find(|(k, _)| k == wanted)
            .map(|(_, v)| &v[..])
    };
    let generation = field(b"generation")
        .and_then(|v| std::str::from_utf8(v).ok())
        .and_then(|v| v.parse().ok());
    let (Some(json), Some(generation)) = (field(b"spec"), generation) else {
        return false;
    };
    match Spec::parse(json) {
        Ok(Some(spec)) => {
            let new = st.resources.get(name).is_none();
            put_in_force(st, name, spec, json, Some(generation));
            let unsure = field(UNSURE).and_then(|v| std::str::from_utf8(v).ok());
            let looks = slot::in_cluster() && !st.replica;
            if let Some(r) = st.resources.get_mut(name) {
                r.unsure_before = unsure.and_then(|v| v.parse().ok()).unwrap_or(0);
                if new && looks {
                    r.standing = Standing::New;
                }
            }
            true
        }
        Ok(None) => false,
        Err(why) => {
            let line = format!("the stored spec of resource {name} cannot be read: {why}");
            ffi::log(ffi::Level::Warning, &line);
            false
        }
    }
}

/// The answers stored of a resource so far are over; computations under way are not.
pub(crate) fn forget_answers(st: &mut State, name: &str) {
    let prefix = [name.as_bytes(), b":"].concat();
    answers::cut(st, &[Cut::Prefix(&prefix)]);
}

/// Puts a resource in force, in memory; true if it changed anything. `stored`: the generation it was stored with.
pub(crate) fn put_in_force(
    st: &mut State,
    name: &str,
    spec: Spec,
    json: &[u8],
    stored: Option<u64>,
) -> bool {
    let before = st.resources.get(name).map(|r| (r.standing, r.departed));
    let same = st
        .resources
        .get(name)
        .map(|r| r.spec == spec && stored.is_none_or(|generation| r.generation == generation));
    match same {
        Some(true) => return false,
        Some(false) => change::resource(st, name),
        None => {}
    }
    let generation = stored.unwrap_or_else(ffi::random_u64);
    st.resources.put(name, spec, json, generation);
    if let (Some((standing, departed)), Some(r)) = (before, st.resources.get_mut(name)) {
        (r.standing, r.departed) = (standing, departed);
    }
    true
}
