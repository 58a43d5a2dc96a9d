//! PODIUM.SPEC CHECK: specs beside their base's schema.
//!
//! ```text
//! PODIUM.SPEC CHECK [<entity>]
//! ```

use crate::server::commands::args;
use crate::server::commands::{entry, words};
use crate::server::desk::desk;
use crate::server::fetching::schema;
use crate::server::state::cell;
use crate::server::store::cluster;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::blocked::Answered;
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi::{self, Argv, Ctx};
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use parking_lot::Mutex;
use podium_core::key;
use podium_core::known::Problem;
use podium_core::pace::Class;
use std::ffi::c_int;
use std::sync::Arc;

entry!(run, check_inner);

/// The entities to be checked, by base.
struct Asked {
    /// One entity; none: all.
    only: Option<String>,
    bases: Vec<(Arc<str>, Vec<String>)>,
    /// What is known to be wrong without asking.
    at_once: Vec<Problem>,
}

fn asked(given: Option<&[u8]>) -> Result<Asked, String> {
    cell::enter(|st| {
        let only = match given {
            None => None,
            Some(raw) => {
                let name = std::str::from_utf8(raw).unwrap_or("");
                args::entity(st, name).map_err(|_| cluster::no_entity(&key::shown(raw)))?;
                Some(name.to_string())
            }
        };
        let mut bases: Vec<(Arc<str>, Vec<String>)> = Vec::new();
        let mut at_once = Vec::new();
        for name in st.sorted_names() {
            let Some(e) = st.by_name(&name) else { continue };
            if only.as_deref().is_some_and(|o| o != &*name) {
                continue;
            }
            let base = e.base();
            if base.is_empty() {
                at_once.push(Problem {
                    entity: name.to_string(),
                    field: String::new(),
                    problem: "it belongs to no base".into(),
                    todo: "set podium.base, or \"base\": \"app...\" in the spec".into(),
                });
                continue;
            }
            match bases.iter_mut().find(|(b, _)| **b == *base) {
                Some((_, names)) => names.push(name.to_string()),
                None => bases.push((base.into(), vec![name.to_string()])),
            }
        }
        Ok(Asked {
            only,
            bases,
            at_once,
        })
    })
    .unwrap_or_else(|| Err("ERR internal error: the cache is busy".into()))
}

unsafe fn check_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..=3) else {
        return 0;
    };
    let asked = match asked(a.get(2).copied()) {
        Ok(a) => a,
        Err(why) => return reply::error(ctx, &why),
    };
    if asked.bases.is_empty() {
        return rows(asked.at_once).send(ctx);
    }
    if ffi::is_replica(ctx) {
        return reply::error(
            ctx,
            "REPLICAMISS a replica asks Airtable for no schema: ask the primary",
        );
    }
    if !ffi::may_wait(ctx) {
        return reply::error(
            ctx,
            "WOULDBLOCK the base's schema is asked of Airtable and this command may not wait here: nothing was checked",
        );
    }
    let timeout = settings::FETCH_TIMEOUT_MS.get();
    for (base, _) in &asked.bases {
        let busy = desk().busy_for(base);
        if let Some(busy) = busy.filter(|b| b.ms_left >= timeout.max(0) as u64) {
            return reply::error(ctx, &Fault::busy(busy).line);
        }
    }
    let Some(op) = Blocked::block(ctx, timeout) else {
        return reply::error(ctx, "ERR this client cannot be kept waiting here");
    };
    op.when_late(Box::new(move |_| Body::error(Fault::timeout(timeout).line)));
    order(&op, asked);
    ffi::OK
}

/// What came so far of the bases that were asked for.
struct Round {
    left: usize,
    rows: Vec<Problem>,
    /// Bases of which nothing could be learned, with their entities.
    failed: Vec<(Vec<String>, String)>,
}

/// One call for each base; the last one that comes back answers.
fn order(op: &Arc<Blocked>, asked: Asked) {
    let round = Arc::new(Mutex::new(Round {
        left: asked.bases.len(),
        rows: asked.at_once,
        failed: Vec::new(),
    }));
    let bases = asked.bases.len();
    let only = Arc::new(asked.only);
    for (base, names) in asked.bases {
        let (op, round, only) = (op.clone(), round.clone(), only.clone());
        schema::ask(base, Class::Read, move |result| {
            let _answered = Answered(op.clone());
            let mut r = round.lock();
            match result {
                Ok(problems) => {
                    let wanted =
                        |p: &Problem| only.as_ref().as_ref().is_none_or(|o| *o == p.entity);
                    r.rows.extend(problems.into_iter().filter(wanted));
                }
                Err((_, line)) => r.failed.push((names.clone(), line)),
            }
            r.left = r.left.saturating_sub(1);
            if r.left == 0 {
                op.finish(answer(&mut r, bases));
            }
        });
    }
}

fn answer(r: &mut Round, bases: usize) -> Body {
    let failed = std::mem::take(&mut r.failed);
    if failed.len() == bases {
        if let Some((_, line)) = failed.into_iter().next() {
            return Body::error(line);
        }
        return Body::List(Vec::new());
    }
    // Those of the other bases are told all the same.
    for (names, line) in failed {
        r.rows.extend(names.into_iter().map(|entity| {
            Problem {
            entity,
            field: String::new(),
            problem: format!("its base's schema could not be read: {line}"),
            todo: "see that the token has the scope schema.bases:read and the base, and check again"
                .into(),
        }
        }));
    }
    r.rows.sort();
    rows(std::mem::take(&mut r.rows))
}

fn rows(problems: Vec<Problem>) -> Body {
    let text = |t: String| Body::Bytes(t.into_bytes());
    let row = |p: Problem| {
        Body::Map(vec![
            ("entity".into(), text(p.entity)),
            ("field".into(), text(p.field)),
            ("problem".into(), text(p.problem)),
            ("do".into(), text(p.todo)),
        ])
    };
    Body::List(problems.into_iter().map(row).collect())
}
