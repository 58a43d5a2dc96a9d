//! PODIUM.CREATE, PODIUM.UPDATE, PODIUM.DELETE: written to Airtable first, then to the cache.
//!
//! ```text
//! PODIUM.CREATE <entity>:* <fields-json> [<fields-json> …] [TYPECAST] [META]
//! PODIUM.UPDATE <entity>:<id> <fields-json> [TYPECAST] [META]
//! PODIUM.DELETE <entity>:<id> [<entity>:<id> …]
//! ```

use crate::server::commands::args;
use crate::server::commands::{entry, words};
use crate::server::desk::desk;
use crate::server::state::cell;
use crate::server::state::entities::Entity;
use crate::server::state::lane::Lane;
use crate::server::upstream::fault::Fault;
use crate::server::upstream::figures::Cause;
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::blocked::BLOCKED;
use crate::server::valkey::ffi::{self, Argv, Ctx};
use crate::server::valkey::reply;
use crate::server::valkey::settings;
use crate::server::writes::{self, Request};
use compact_str::CompactString;
use podium_core::key::{self, Name};
use podium_core::record;
use std::ffi::c_int;
use std::sync::atomic::Ordering;
use std::time::Duration;

entry!(create, create_inner);
entry!(update, update_inner);
entry!(delete, delete_inner);

/// Most records of one command.
const MOST: usize = 1000;
/// The client waits so much longer than its calls may take, so that a definite answer comes first.
const GRACE_MS: i64 = 100;

/// The words behind the arguments.
#[derive(Default)]
struct Words {
    typecast: bool,
    meta: bool,
}

/// Takes the options off the end; an argument that is neither one nor JSON is named.
fn options<'a, 'b>(rest: &'b [&'a [u8]]) -> Result<(&'b [&'a [u8]], Words), String> {
    let mut w = Words::default();
    let mut left = rest;
    while let Some((last, before)) = left.split_last().filter(|(_, before)| !before.is_empty()) {
        let flag = match &last.to_ascii_uppercase()[..] {
            b"TYPECAST" => &mut w.typecast,
            b"META" => &mut w.meta,
            _ => break,
        };
        if std::mem::replace(flag, true) {
            return Err(args::syntax(last, "is given twice"));
        }
        left = before;
    }
    for word in left.iter().skip(1) {
        if word.first().is_some_and(u8::is_ascii_alphabetic) {
            return Err(args::syntax(word, "is no option of this command"));
        }
    }
    Ok((left, w))
}

unsafe fn create_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 3..) else {
        return 0;
    };
    let name = a.get(1).copied().unwrap_or(b"");
    let request = cell::enter(|st| {
        let Some(Name::All { entity }) = key::parse(name) else {
            return Err(format!(
                "BADKEY '{}' names no entity to create a record of: give <entity>:*",
                key::shown(name)
            ));
        };
        let e = args::entity(st, entity)?;
        let (given, w) = options(a.get(2..).unwrap_or(&[]))?;
        if given.len() > MOST {
            return Err(format!(
                "ERR at most {MOST} records in one command, not {}",
                given.len()
            ));
        }
        let cells = |json: &&[u8]| {
            record::cells_to_write(&e.spec, json)
                .map_err(|why| format!("BADRECORD {}: {why}", key::shown(name)))
        };
        let records = given.iter().map(cells).collect::<Result<Vec<_>, _>>()?;
        let lane = lane(e)?;
        Ok((
            Request::Create {
                lane,
                records,
                typecast: w.typecast,
            },
            w.meta,
        ))
    });
    run(ctx, name, request)
}

unsafe fn update_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 3..) else {
        return 0;
    };
    let name = a.get(1).copied().unwrap_or(b"");
    let request = cell::enter(|st| {
        let k = args::record_key(st, name)?;
        let e = st.get(k.ix).ok_or("ERR internal error")?;
        let (given, w) = options(a.get(2..).unwrap_or(&[]))?;
        let [json] = given else {
            return Err("ERR syntax error: PODIUM.UPDATE takes one object of fields".to_string());
        };
        let cells = record::cells_to_write(&e.spec, json)
            .map_err(|why| format!("BADRECORD {}: {why}", key::shown(name)))?;
        Ok((
            Request::Update {
                lane: lane(e)?,
                id: k.id,
                cells,
                typecast: w.typecast,
            },
            w.meta,
        ))
    });
    run(ctx, name, request)
}

unsafe fn delete_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..) else {
        return 0;
    };
    let name = a.get(1).copied().unwrap_or(b"");
    let request = cell::enter(|st| {
        let names = a.get(1..).unwrap_or(&[]);
        if names.len() > MOST {
            return Err(format!(
                "ERR at most {MOST} records in one command, not {}",
                names.len()
            ));
        }
        let mut tables: Vec<(Lane, Vec<CompactString>)> = Vec::new();
        for name in names {
            let k = args::record_key(st, name)?;
            let at = match tables.iter().position(|(l, _)| l.ix == k.ix) {
                Some(at) => at,
                None => {
                    tables.push((lane(st.get(k.ix).ok_or("ERR internal error")?)?, Vec::new()));
                    tables.len() - 1
                }
            };
            if let Some((_, ids)) = tables.get_mut(at).filter(|(_, ids)| !ids.contains(&k.id)) {
                ids.push(k.id);
            }
        }
        Ok((Request::Delete(tables), false))
    });
    run(ctx, name, request)
}

fn lane(e: &Entity) -> Result<Lane, String> {
    if e.base().is_empty() {
        return Err(format!(
            "BADSPEC entity {} belongs to no base: set podium.base, or \"base\": \"app...\" in its spec, to write to Airtable",
            e.name
        ));
    }
    Ok(Lane::of(e, Cause::Write))
}

fn run(ctx: Ctx, name: &[u8], request: Option<Result<(Request, bool), String>>) -> c_int {
    let (request, meta) = match request {
        Some(Ok(o)) => o,
        Some(Err(why)) => return reply::error(ctx, &why),
        None => return reply::error(ctx, "ERR internal error: the cache is busy"),
    };
    if !ffi::may_wait(ctx) {
        return reply::error(ctx, "WOULDBLOCK a write goes to Airtable and this command may not wait here: nothing was written");
    }
    if let Some(f) = refuse(&request) {
        return reply::error(ctx, &format!("{}; nothing was written", f.line));
    }
    // The time of one call, queueing included, for each call that the command takes.
    let ms = settings::FETCH_TIMEOUT_MS
        .get()
        .max(1)
        .saturating_mul(writes::calls_of(&request) as i64);
    let Some(op) = Blocked::block(ctx, ms.saturating_add(GRACE_MS)) else {
        return reply::error(ctx, "ERR this client cannot be kept waiting here");
    };
    writes::begin(&op, request, name, meta, Duration::from_millis(ms as u64));
    ffi::OK
}

/// Is there no hope that the write is made before the deadline?
fn refuse(request: &Request) -> Option<Fault> {
    let most = settings::MAX_PENDING.get();
    if BLOCKED.load(Ordering::Relaxed) >= most {
        return Some(Fault::queue_full(most));
    }
    let timeout = settings::FETCH_TIMEOUT_MS.get().max(0) as u64;
    let bases: Vec<&str> = match request {
        Request::Create { lane, .. } | Request::Update { lane, .. } => vec![&lane.base],
        Request::Delete(tables) => tables.iter().map(|(l, _)| &*l.base).collect(),
    };
    let mut d = desk();
    bases
        .into_iter()
        .find_map(|b| d.busy_for(b).filter(|b| b.ms_left >= timeout))
        .map(Fault::busy)
}
