//! PODIUM.SWEEP: finds what was deleted in Airtable behind the cache's back.
//!
//! ```text
//! PODIUM.SWEEP <entity>:*|* [FULL] [DRYRUN] [ASYNC]
//! ```

use super::{entry, in_database_0};
use crate::server::ffi::{self, args, rm, Argv, Ctx};
use crate::server::op::Op;
use crate::server::query::{self, Ask, Options, Query};
use crate::server::reply::Body;
use crate::server::sweep::{self, Report};
use crate::server::{gil, reply};
use podium_core::key::{self, Name};
use std::ffi::c_int;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;

entry!(sweep, sweep_inner);

unsafe fn sweep_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    if argc < 2 {
        return rm!(RedisModule_WrongArity(ctx));
    }
    if !in_database_0(ctx) {
        return 0;
    }
    let a = args(argv, argc);
    let (mut full, mut dry, mut behind) = (false, false, false);
    for word in a.get(2..).unwrap_or(&[]) {
        let flag = match &word.to_ascii_uppercase()[..] {
            b"FULL" => &mut full,
            b"DRYRUN" => &mut dry,
            b"ASYNC" => &mut behind,
            _ => {
                return reply::error(
                    ctx,
                    &format!(
                        "ERR syntax error: {} is no option of this command",
                        key::shown(word)
                    ),
                )
            }
        };
        if std::mem::replace(flag, true) {
            return reply::error(
                ctx,
                &format!("ERR syntax error: {} is given twice", key::shown(word)),
            );
        }
    }
    let name = a.get(1).copied().unwrap_or(b"");
    let found = gil::enter(|st| match (name, key::parse(name)) {
        (b"*", _) => Ok((st.entities().map(|e| e.ix).collect::<Vec<_>>(), true)),
        (_, Some(Name::All { entity })) => Ok((vec![query::entity(st, entity)?.ix], false)),
        _ => Err(format!(
            "BADKEY '{}' names no entity: give <entity>:* or *",
            key::shown(name)
        )),
    });
    let (entities, all) = match found {
        Some(Ok(f)) => f,
        Some(Err(why)) => return reply::error(ctx, &why),
        None => return reply::error(ctx, "ERR internal error: the cache is busy"),
    };
    if ffi::is_replica(ctx) {
        return reply::error(ctx, "REPLICAMISS a replica does not sweep: ask the primary");
    }
    if !behind && !ffi::may_wait(ctx) {
        return reply::error(ctx, "WOULDBLOCK a sweep goes upstream and this command may not wait here: give ASYNC, or run it outside");
    }
    let cancelled = Arc::new(AtomicBool::new(false));
    if behind {
        let started = start(move || {
            if let Err(f) = sweep::run(&entities, full, dry, &cancelled) {
                ffi::log(
                    ffi::Level::Warning,
                    &format!("the sweep stopped: {}", f.line),
                );
            }
        });
        return match started {
            Ok(()) => Body::Ok.send(ctx),
            Err(why) => reply::error(ctx, &format!("ERR {why}")),
        };
    }
    // No deadline: a sweep takes as long as the budget lets it; CLIENT UNBLOCK or a closed connection ends the wait.
    let query = Query {
        ask: Ask::Many(Vec::new()),
        options: Options::default(),
    };
    let Some(op) = Op::block(ctx, query, 0, ffi::now_ms(), 0) else {
        return reply::error(ctx, "ERR this client cannot be kept waiting here");
    };
    let waiting = op.clone();
    let started = start(move || {
        let _answered = crate::server::op::Answered(waiting.clone());
        let body = match sweep::run(&entities, full, dry, &cancelled) {
            Ok(reports) => shape(reports, all),
            Err(f) => Body::error(f.line),
        };
        waiting.finish(body);
    });
    if let Err(why) = started {
        op.finish(Body::error(format!("ERR {why}")));
    }
    ffi::OK
}

fn start(f: impl FnOnce() + Send + 'static) -> Result<(), String> {
    crate::server::engine::background("podium-sweep", f)
}

fn shape(reports: Vec<Report>, all: bool) -> Body {
    let one = |r: &Report| {
        Body::Map(vec![
            ("cached".into(), Body::Int(r.tally.cached as i64)),
            ("checked".into(), Body::Int(r.tally.checked as i64)),
            ("removed".into(), Body::Int(r.tally.removed as i64)),
            ("upstream-calls".into(), Body::Int(r.calls as i64)),
            ("duration-ms".into(), Body::Int(r.ms as i64)),
        ])
    };
    if all {
        Body::Map(
            reports
                .iter()
                .map(|r| (r.entity.to_string(), one(r)))
                .collect(),
        )
    } else {
        reports.first().map_or(Body::Map(Vec::new()), one)
    }
}
