//! PODIUM.WARM: loads whole tables, and makes every index value of them complete.
//!
//! ```text
//! PODIUM.WARM <entity>:*|* [ASYNC]
//! ```

use super::{entry, in_database_0};
use crate::server::ffi::{self, args, rm, Argv, Ctx};
use crate::server::op::{Answered, Op};
use crate::server::query::{self, Ask, Options, Query};
use crate::server::reply::Body;
use crate::server::warm::{self, Done, Report};
use crate::server::{config, engine, gil, reply};
use podium_core::key::{self, Name};
use std::ffi::c_int;

entry!(warm, warm_inner);

unsafe fn warm_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    if argc < 2 {
        return rm!(RedisModule_WrongArity(ctx));
    }
    if !in_database_0(ctx) {
        return 0;
    }
    let a = args(argv, argc);
    let behind = match a.get(2..) {
        None | Some([]) => false,
        Some([word]) if word.eq_ignore_ascii_case(b"ASYNC") => true,
        Some([word, ..]) => {
            return reply::error(
                ctx,
                &format!(
                    "ERR syntax error: {} is no option of this command, or one too many",
                    key::shown(word)
                ),
            )
        }
    };
    let name = a.get(1).copied().unwrap_or(b"");
    let found = gil::enter(|st| match (name, key::parse(name)) {
        // Entities without a base hold what they are told; there is nothing to load for them.
        (b"*", _) => Ok((
            st.entities()
                .filter(|e| !e.base().is_empty())
                .map(|e| e.ix)
                .collect::<Vec<_>>(),
            true,
        )),
        (_, Some(Name::All { entity })) => {
            let e = query::entity(st, entity)?;
            if e.base().is_empty() {
                return Err(format!("BADSPEC entity {entity} belongs to no base: set podium.base, or \"base\": \"app...\" in its spec"));
            }
            Ok((vec![e.ix], false))
        }
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
        return reply::error(ctx, "REPLICAMISS a replica does not warm itself: ask the primary, what it loads comes here too");
    }
    if !config::enabled() {
        return reply::error(ctx, "ERR podium.enabled is no: nothing would be stored");
    }
    if !behind && !ffi::may_wait(ctx) {
        return reply::error(ctx, "WOULDBLOCK warming goes upstream and this command may not wait here: give ASYNC, or run it outside");
    }
    if behind {
        return match engine::background("podium-warm", move || drop(warm::run(&entities))) {
            Ok(()) => Body::Ok.send(ctx),
            Err(why) => reply::error(ctx, &format!("ERR {why}")),
        };
    }
    // No deadline: it takes as long as the budget lets it.
    let query = Query {
        ask: Ask::Many(Vec::new()),
        options: Options::default(),
    };
    let Some(op) = Op::block(ctx, query, 0, ffi::now_ms(), 0) else {
        return reply::error(ctx, "ERR this client cannot be kept waiting here");
    };
    op.when_late(Box::new(|| {
        Body::error("ERR the wait was ended; the warming goes on, see podium_warm_… in INFO podium")
    }));
    let waiting = op.clone();
    let started = engine::background("podium-warm", move || {
        let _answered = Answered(waiting.clone());
        waiting.finish(shape(warm::run(&entities), all));
    });
    if let Err(why) = started {
        op.finish(Body::error(format!("ERR {why}")));
    }
    ffi::OK
}

fn shape(reports: Vec<Report>, all: bool) -> Body {
    let one = |r: Report| match r.result {
        Ok(d) => map(d),
        Err(f) => Body::error(f.line),
    };
    if all {
        return Body::Map(
            reports
                .into_iter()
                .map(|r| (r.entity.to_string(), one(r)))
                .collect(),
        );
    }
    match reports.into_iter().next() {
        Some(r) => one(r),
        None => Body::error("NOENTITY the entity was removed meanwhile"),
    }
}

fn map(d: Done) -> Body {
    let mut m = vec![
        ("records".to_string(), Body::Int(d.records as i64)),
        ("upstream-calls".to_string(), Body::Int(d.calls as i64)),
        ("duration-ms".to_string(), Body::Int(d.ms as i64)),
    ];
    if let Some(why) = d.stopped {
        m.push(("stopped".to_string(), Body::Bytes(why.into_bytes())));
    }
    Body::Map(m)
}
