//! PODIUM.SWEEP: finds what was deleted in Airtable behind the cache's back.
//!
//! ```text
//! PODIUM.SWEEP <entity>:*|* [FULL] [DRYRUN] [ASYNC]
//! ```

use crate::server::commands::whole;
use crate::server::commands::{entry, words};
use crate::server::jobs::sweep::{self, Report};
use crate::server::valkey::ffi::{self, Argv, Ctx};
use crate::server::valkey::reply::{self, Body};
use std::ffi::c_int;

entry!(sweep, sweep_inner);

const THREAD: &str = "podium-sweep";

unsafe fn sweep_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..) else {
        return 0;
    };
    let [full, dry, behind] =
        match whole::flags(a.get(2..).unwrap_or(&[]), ["FULL", "DRYRUN", "ASYNC"]) {
            Ok(f) => f,
            Err(why) => return reply::error(ctx, &why),
        };
    let name = a.get(1).copied().unwrap_or(b"");
    let (entities, all) = match whole::entities(name, |_| Ok(())) {
        Ok(f) => f,
        Err(why) => return reply::error(ctx, &why),
    };
    if ffi::is_replica(ctx) {
        return reply::error(ctx, "REPLICAMISS a replica does not sweep: ask the primary");
    }
    if !behind && !ffi::may_wait(ctx) {
        return reply::error(ctx, "WOULDBLOCK a sweep goes upstream and this command may not wait here: give ASYNC, or run it outside");
    }
    if behind {
        return whole::behind(ctx, THREAD, move || {
            if let Err(f) = sweep::run(&entities, full, dry) {
                ffi::log(
                    ffi::Level::Warning,
                    &format!("the sweep stopped: {}", f.line),
                );
            }
        });
    }
    let late = |_: Ctx| {
        Body::error("ERR the wait was ended; the sweep goes on, see podium_sweep_last_removed in INFO podium")
    };
    whole::answer_from(ctx, THREAD, Box::new(late), move || {
        match sweep::run(&entities, full, dry) {
            Ok(reports) => shape(reports, all),
            Err(f) => Body::error(f.line),
        }
    })
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
