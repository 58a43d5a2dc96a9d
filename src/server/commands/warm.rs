//! PODIUM.WARM: loads whole tables, and makes every index value of them complete.
//!
//! ```text
//! PODIUM.WARM <entity>:*|* [ASYNC]
//! ```

use crate::server::commands::whole;
use crate::server::commands::{entry, words};
use crate::server::jobs::warm::{self, Done, Report};
use crate::server::valkey::ffi::{self, Argv, Ctx};
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use std::ffi::c_int;

entry!(warm, warm_inner);

const THREAD: &str = "podium-warm";

unsafe fn warm_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..) else {
        return 0;
    };
    let [behind] = match whole::flags(a.get(2..).unwrap_or(&[]), ["ASYNC"]) {
        Ok(f) => f,
        Err(why) => return reply::error(ctx, &why),
    };
    let name = a.get(1).copied().unwrap_or(b"");
    let found = whole::entities(name, |e| {
        // Entities without a base hold what they are told; there is nothing to load for them.
        if e.base().is_empty() {
            return Err(format!("BADSPEC entity {} belongs to no base: set podium.base, or \"base\": \"app...\" in its spec", e.name));
        }
        Ok(())
    });
    let (entities, all) = match found {
        Ok(f) => f,
        Err(why) => return reply::error(ctx, &why),
    };
    if ffi::is_replica(ctx) {
        return reply::error(ctx, "REPLICAMISS a replica does not warm itself: ask the primary, what it loads comes here too");
    }
    if !settings::enabled() {
        return reply::error(ctx, "ERR podium.enabled is no: nothing would be stored");
    }
    if !behind && !ffi::may_wait(ctx) {
        return reply::error(ctx, "WOULDBLOCK warming goes upstream and this command may not wait here: give ASYNC, or run it outside");
    }
    if behind {
        return whole::behind(ctx, THREAD, move || drop(warm::run(&entities)));
    }
    let late = |_: Ctx| {
        Body::error("ERR the wait was ended; the warming goes on, see podium_warm_… in INFO podium")
    };
    whole::answer_from(ctx, THREAD, Box::new(late), move || {
        shape(warm::run(&entities), all)
    })
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
