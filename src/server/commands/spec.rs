//! PODIUM.SPEC SET | GET | LIST | DEL: what the entities are.
//!
//! ```text
//! PODIUM.SPEC SET <entity> <spec-json>
//! PODIUM.SPEC GET <entity>
//! PODIUM.SPEC LIST
//! PODIUM.SPEC DEL <entity>
//! ```

use super::tell::answer;
use super::{entry, words};
use crate::server::engine::desk;
use crate::server::ffi::{self, Argv, Ctx};
use crate::server::reply::Body;
use crate::server::state::State;
use crate::server::{cluster, config, gil, persist, reply, schema, store, upkeep};
use podium_core::key;
use podium_core::spec::{self, InForce, Spec};
use serde_json::{json, Value};
use std::ffi::c_int;
use std::sync::Arc;

entry!(set, set_inner);
entry!(get, get_inner);
entry!(list, list_inner);
entry!(del, del_inner);

/// Largest spec, in bytes.
const LARGEST: usize = 4 << 20;

fn name_of(ctx: Ctx, raw: &[u8]) -> Result<&str, String> {
    let good = spec::entity_name_ok(raw);
    let name = std::str::from_utf8(raw).ok().filter(|_| good).ok_or_else(|| {
        format!(
            "BADSPEC '{}' is no entity's name: letters, digits, _ . -, optionally with a {{tag}} in front; tomb, tag and podium are taken",
            key::shown(raw)
        )
    })?;
    if ffi::is_cluster(ctx) && key::tag(name).is_empty() {
        return Err(format!("BADSPEC in a cluster an entity's name needs a hash tag, the same for all entities of a base: {{shop}}{name}"));
    }
    Ok(name)
}

unsafe fn set_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 4..=4) else {
        return 0;
    };
    let (name, json) = (
        a.get(2).copied().unwrap_or(b""),
        a.get(3).copied().unwrap_or(b""),
    );
    let parsed = name_of(ctx, name).and_then(|name| {
        if json.len() > LARGEST {
            return Err(format!(
                "BADSPEC a spec of {} bytes: at most {LARGEST}",
                json.len()
            ));
        }
        Spec::parse(name, json)
            .map(|s| (name, s))
            .map_err(|why| format!("BADSPEC {name}: {why}"))
    });
    let (name, spec) = match parsed {
        Ok(p) => p,
        Err(why) => return reply::error(ctx, &why),
    };
    let r = gil::enter(|st| {
        here(st, name)?;
        define(st, ctx, name, spec);
        Ok(Body::Ok)
    });
    answer(ctx, r)
}

/// In a cluster an entity that is not known here may be on its way.
fn here(st: &State, name: &str) -> Result<(), String> {
    match st.by_name(name) {
        Some(_) => Ok(()),
        None => cluster::unsettled(name).map_or(Ok(()), Err),
    }
}

/// Puts a spec in force. One that is equal in effect changes nothing.
pub(crate) fn define(st: &mut State, ctx: Ctx, name: &str, spec: Spec) {
    match st.by_name(name).map(|e| (e.ix, e.spec.same_effect(&spec))) {
        Some((_, true)) => return,
        Some((ix, false)) => {
            let base = st.get(ix).map(|e| e.base()).unwrap_or_default();
            // A new generation: nothing is served in the old shape, and what is under way is not stored in it.
            if let Some(e) = st.get_mut(ix) {
                let before = std::mem::replace(&mut e.spec, Arc::new(spec));
                // What was found of another table says nothing of this one.
                e.respecified(&base, before.table());
                // Another table or base: the feed says so when it is next heard.
                e.feed = podium_core::feed::View::OFF;
            }
            schema::spec_changed(st, name);
            store::drop_all(st, ctx, ix);
        }
        None => {
            st.add(name, spec, ffi::random_u64(), ffi::random_u64());
        }
    }
    if let Some(e) = st.by_name(name) {
        persist::save_spec(ctx, e);
    }
}

unsafe fn get_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 3..=3) else {
        return 0;
    };
    let name = a.get(2).copied().unwrap_or(b"");
    let r = gil::enter(|st| {
        let e = std::str::from_utf8(name).ok().and_then(|n| st.by_name(n));
        if let Some(e) = e {
            return Ok(Body::Bytes(effective(&e.spec).to_string().into_bytes()));
        }
        here(st, &String::from_utf8_lossy(name))?;
        Ok(Body::Null)
    });
    answer(ctx, r)
}

/// The spec with every setting's value in force.
fn effective(spec: &Spec) -> Value {
    let in_force = InForce {
        base: config::BASE.get(),
        ttl_s: config::TTL.get(),
        jitter: config::JITTER_PERCENT.get() as f64 / 100.0,
        tombstone_ttl_s: config::TOMBSTONE_TTL.get(),
    };
    let mut v = spec.describe(&in_force);
    if let Some(o) = v.as_object_mut() {
        for n in [
            &config::EMPTY_TTL,
            &config::ATTACHMENT_TTL,
            &config::STALE_WHILE_REVALIDATE,
            &config::STALE_IF_ERROR,
            &config::WARM_LIMIT,
            &config::MAX_ANSWER,
        ] {
            o.entry(n.name.replace('-', "_"))
                .or_insert_with(|| json!(n.get()));
        }
    }
    v
}

unsafe fn list_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    if words(ctx, argv, argc, 2..=2).is_none() {
        return 0;
    }
    let r = gil::enter(|st| {
        cluster::look(ctx, st);
        Ok(Body::List(
            st.sorted_names()
                .iter()
                .map(|n| Body::Bytes(n.as_bytes().to_vec()))
                .collect(),
        ))
    });
    answer(ctx, r)
}

unsafe fn del_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 3..=3) else {
        return 0;
    };
    let name = a.get(2).copied().unwrap_or(b"");
    let r = gil::enter(|st| {
        let Some(name) = std::str::from_utf8(name)
            .ok()
            .filter(|n| st.by_name(n).is_some())
        else {
            here(st, &String::from_utf8_lossy(name))?;
            return Ok(Body::Int(0));
        };
        if let Some(e) = st.remove(name) {
            let seq = desk().next_seq();
            desk().tokens.note_entity(e.ix, seq);
        }
        persist::delete_spec(ctx, name);
        upkeep::wake();
        Ok(Body::Int(1))
    });
    answer(ctx, r)
}
