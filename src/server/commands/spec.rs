//! PODIUM.SPEC SET | GET | LIST | DEL: what the entities are.
//!
//! ```text
//! PODIUM.SPEC SET <entity> <spec-json>
//! PODIUM.SPEC GET <entity>
//! PODIUM.SPEC LIST
//! PODIUM.SPEC DEL <entity>
//! ```

use crate::server::changes::define;
use crate::server::commands::tell::answer;
use crate::server::commands::{entry, words};
use crate::server::state::cell;
use crate::server::state::entities::State;
use crate::server::state::rounds;
use crate::server::store::change;
use crate::server::store::cluster;
use crate::server::store::own_keys;
use crate::server::store::resources;
use crate::server::upkeep::slots;
use crate::server::valkey::ffi::{self, Argv, Ctx};
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use podium_core::computed::resource::{self, Resource};
use podium_core::key;
use podium_core::spec::{self, InForce, Spec};
use serde_json::{json, Value};
use std::ffi::c_int;

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
        let bad = |why| format!("BADSPEC {name}: {why}");
        if let Some(r) = Resource::parse(json).map_err(bad)? {
            return Ok((name, Given::Resource(r)));
        }
        Spec::parse(name, json)
            .map(|s| (name, Given::Entity(Box::new(s))))
            .map_err(bad)
    });
    let (name, spec) = match parsed {
        Ok(p) => p,
        Err(why) => return reply::error(ctx, &why),
    };
    let r = cell::enter(|st| {
        here(st, name)?;
        match spec {
            Given::Entity(_) if st.resources.get(name).is_some() => Err(taken(name, "a resource")),
            Given::Resource(_) if st.by_name(name).is_some() => Err(taken(name, "an entity")),
            Given::Entity(spec) => {
                define::define(st, ctx, name, *spec);
                Ok(Body::Ok)
            }
            Given::Resource(spec) => {
                if resources::put_in_force(st, name, spec, json, None) {
                    resources::save(ctx, st, name);
                }
                Ok(Body::Ok)
            }
        }
    });
    answer(ctx, r)
}

/// What a spec defines.
enum Given {
    Entity(Box<Spec>),
    Resource(Resource),
}

fn taken(name: &str, what: &str) -> String {
    format!("BADSPEC {name} is {what}: one name is an entity or a resource. PODIUM.SPEC DEL {name} first, or take another name")
}

/// In a cluster an entity that is not known here may be on its way.
fn here(st: &State, name: &str) -> Result<(), String> {
    match st.by_name(name) {
        Some(_) => Ok(()),
        None => cluster::unsettled(name).map_or(Ok(()), Err),
    }
}

unsafe fn get_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 3..=3) else {
        return 0;
    };
    let name = a.get(2).copied().unwrap_or(b"");
    let r = cell::enter(|st| {
        let e = std::str::from_utf8(name).ok().and_then(|n| st.by_name(n));
        if let Some(e) = e {
            return Ok(Body::Bytes(effective(&e.spec).to_string().into_bytes()));
        }
        let r = std::str::from_utf8(name)
            .ok()
            .and_then(|n| st.resources.get(n));
        if let Some(r) = r {
            let in_force = resource::Settings {
                ttl_s: settings::TTL.get().max(0) as u64,
                jitter: settings::JITTER_PERCENT.get() as f64 / 100.0,
                stale_if_error_s: settings::STALE_IF_ERROR.get().max(0) as u64,
            };
            return Ok(Body::Bytes(
                r.spec.describe(&in_force).to_string().into_bytes(),
            ));
        }
        here(st, &String::from_utf8_lossy(name))?;
        Ok(Body::Null)
    });
    answer(ctx, r)
}

/// The spec with every setting's value in force.
fn effective(spec: &Spec) -> Value {
    let in_force = InForce {
        base: settings::BASE.get(),
        ttl_s: settings::TTL.get(),
        jitter: settings::JITTER_PERCENT.get() as f64 / 100.0,
        tombstone_ttl_s: settings::TOMBSTONE_TTL.get(),
    };
    let mut v = spec.describe(&in_force);
    if let Some(o) = v.as_object_mut() {
        for n in [
            &settings::EMPTY_TTL,
            &settings::ATTACHMENT_TTL,
            &settings::STALE_WHILE_REVALIDATE,
            &settings::STALE_IF_ERROR,
            &settings::WARM_LIMIT,
            &settings::MAX_ANSWER,
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
    let r = cell::enter(|st| {
        slots::look(ctx, st);
        let mut names = st.sorted_names();
        names.extend(st.resources.names().cloned());
        names.sort();
        Ok(Body::List(
            names
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
    let r = cell::enter(|st| {
        if let Some(name) = std::str::from_utf8(name)
            .ok()
            .filter(|n| st.resources.get(n).is_some())
        {
            change::resource(st, name);
            resources::delete(ctx, name);
            return Ok(Body::Int(1));
        }
        let Some(name) = std::str::from_utf8(name)
            .ok()
            .filter(|n| st.by_name(n).is_some())
        else {
            here(st, &String::from_utf8_lossy(name))?;
            return Ok(Body::Int(0));
        };
        change::entity_removed(st, name);
        own_keys::delete_spec(ctx, name);
        rounds::wake();
        Ok(Body::Int(1))
    });
    answer(ctx, r)
}
