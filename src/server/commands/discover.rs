//! PODIUM.SPEC DISCOVER: an entity for each table of a base, from Airtable's metadata API.
//!
//! ```text
//! PODIUM.SPEC DISCOVER [<base>] [<prefix>]
//! ```

use crate::server::commands::{entry, words};
use crate::server::desk::desk;
use crate::server::desk::job::Errand;
use crate::server::fetching::schema::take_in;
use crate::server::state::cell;
use crate::server::store::cluster;
use crate::server::store::own_keys;
use crate::server::upstream::fault::Fault;
use crate::server::upstream::figures::Cause;
use crate::server::valkey::blocked::Answered;
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi::{self, Argv, Ctx, Level};
use crate::server::valkey::lock;
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use parking_lot::Mutex;
use podium_core::discover::{self, Existing, Found, Planned};
use podium_core::key;
use podium_core::pace::Class;
use podium_core::spec::Spec;
use serde_json::Value;
use std::ffi::c_int;
use std::sync::Arc;

entry!(run, discover_inner);

/// With one argument, what looks like a base's id is one.
const SHORTEST_BASE: usize = 10;

fn looks_like_base(text: &str) -> bool {
    text.len() >= SHORTEST_BASE && key::base_ok(text.as_bytes())
}

/// Base and prefix as given, with what stands in for the one left out.
fn asked(ctx: Ctx, given: &[&[u8]]) -> Result<(String, String), String> {
    let mut words = Vec::with_capacity(2);
    for w in given {
        words.push(std::str::from_utf8(w).map_err(|_| {
            format!(
                "ERR syntax error: {} is neither a base nor a prefix",
                key::shown(w)
            )
        })?);
    }
    let (base, prefix) = match words.as_slice() {
        [] => (settings::BASE.get(), ""),
        [one] if looks_like_base(one) => ((*one).to_string(), ""),
        [one] => (settings::BASE.get(), *one),
        [base, prefix] if key::base_ok(base.as_bytes()) => ((*base).to_string(), *prefix),
        [base, _] => {
            return Err(format!(
                "ERR syntax error: {} is no base's id: it looks like appXXXXXXXXXXXXXX",
                key::shown(base.as_bytes())
            ))
        }
        _ => return Err("ERR syntax error: give PODIUM.SPEC DISCOVER [<base>] [<prefix>]".into()),
    };
    if base.is_empty() {
        return Err(
            "BADSPEC no base is named: give PODIUM.SPEC DISCOVER app..., or set podium.base".into(),
        );
    }
    if !discover::prefix_ok(prefix) {
        return Err(format!(
            "BADSPEC '{}' cannot stand in front of an entity's name: letters, digits, _ . -, optionally after a {{tag}}",
            key::shown(prefix.as_bytes())
        ));
    }
    if ffi::is_cluster(ctx) && key::tag(&format!("{prefix}x")).is_empty() {
        return Err("BADSPEC in a cluster an entity's name needs a hash tag: give PODIUM.SPEC DISCOVER <base> {<tag>}".into());
    }
    Ok((base, prefix.to_string()))
}

unsafe fn discover_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..=4) else {
        return 0;
    };
    let (base, prefix) = match asked(ctx, a.get(2..).unwrap_or(&[])) {
        Ok(b) => b,
        Err(why) => return reply::error(ctx, &why),
    };
    if !ffi::may_wait(ctx) {
        return reply::error(ctx, "WOULDBLOCK the base's schema is asked of Airtable and this command may not wait here: nothing was defined");
    }
    let timeout = settings::FETCH_TIMEOUT_MS.get();
    if let Some(busy) = desk()
        .busy_for(&base)
        .filter(|b| b.ms_left >= timeout.max(0) as u64)
    {
        return reply::error(ctx, &Fault::busy(busy).line);
    }
    let Some(op) = Blocked::block(ctx, timeout) else {
        return reply::error(ctx, "ERR this client cannot be kept waiting here");
    };
    op.when_late(Box::new(move |_| Body::error(Fault::timeout(timeout).line)));
    ask(&op, base.into(), prefix);
    ffi::OK
}

/// Orders the call; what it brings is put in force by the worker that made it.
fn ask(op: &Arc<Blocked>, base: Arc<str>, prefix: String) {
    let schema: Arc<Mutex<Value>> = Arc::default();
    let (asked, brought) = (base.clone(), schema.clone());
    let (op, of) = (op.clone(), base.clone());
    let errand = Errand {
        base,
        cause: Cause::Meta,
        write: false,
        run: Box::new(move |client, token, deadline| {
            let ask = podium_airtable::Ask {
                base: &asked,
                table: "",
                token,
                deadline,
            };
            *brought.lock() = client.tables(&ask)?;
            Ok(0)
        }),
        done: Box::new(move |sent, result| {
            drop(sent);
            let _answered = Answered(op.clone());
            let body = match result {
                Ok(()) => {
                    let schema = schema.lock();
                    let names = define_all(&schema, &of, &prefix);
                    take_in(&of, &schema);
                    names
                }
                Err(f) => Body::error(f.line),
            };
            op.finish(body);
        }),
        what: "the question for the base's schema",
        scope: "schema.bases:read",
    };
    errand.order(Class::Read);
}

/// Puts an entity for each table in force; their names. The server's lock is taken for one at a time.
fn define_all(schema: &Value, base: &str, prefix: &str) -> Body {
    crate::server::fetching::columns::learn(base, schema);
    let existing = cell::with(|st, _| {
        let known = st.entities().map(|e| Existing {
            name: e.name.to_string(),
            base: e.base(),
            table: e.spec.table().to_string(),
            found: e.found.as_deref().cloned(),
        });
        known.collect::<Vec<_>>()
    });
    let planned = discover::plan(schema, base, prefix, &existing.unwrap_or_default());
    let mut names = Vec::with_capacity(planned.len());
    for p in planned {
        let name = p.name.clone();
        match define(p) {
            Ok(()) => names.push(name),
            Err(why) => ffi::log(
                Level::Warning,
                &format!("the entity {name} was left as it is: {why}"),
            ),
        }
    }
    names.sort();
    Body::List(
        names
            .into_iter()
            .map(|n| Body::Bytes(n.into_bytes()))
            .collect(),
    )
}

fn define(p: Planned) -> Result<(), String> {
    let held = lock::lock();
    let ctx = held.ctx();
    let done = cell::enter(|st| {
        if st.resources.get(&p.name).is_some() {
            return Err(format!(
                "BADSPEC {} is a resource: take another prefix, or PODIUM.SPEC DEL it first",
                p.name
            ));
        }
        if let (None, Some(again)) = (st.by_name(&p.name), cluster::unsettled(&p.name)) {
            return Err(again);
        }
        if !p.users_own {
            let given: Option<Value> = st
                .by_name(&p.name)
                .and_then(|e| serde_json::from_str(&e.spec.to_json()).ok());
            let before = st
                .by_name(&p.name)
                .and_then(|e| e.found.as_ref())
                .map(|f: &Arc<Found>| f.made.clone())
                .unwrap_or_default();
            let json = match &given {
                Some(given) => discover::merged(&before, given, &p.found.made),
                None => p.found.made.clone(),
            };
            let spec =
                Spec::parse(&p.name, json.to_string().as_bytes()).map_err(|why| why.to_string())?;
            crate::server::changes::define::define(st, ctx, &p.name, spec);
        }
        if let Some(e) = st.by_name_mut(&p.name) {
            e.found = Some(Arc::new(p.found));
            own_keys::save_spec(ctx, e);
        }
        Ok(())
    });
    done.unwrap_or_else(|| Err("the cache is busy".into()))
}
