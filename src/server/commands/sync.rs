//! PODIUM.SYNC: follows Airtable's own change feed.
//!
//! ```text
//! PODIUM.SYNC START  [<base>] [NOTIFY <url>]
//! PODIUM.SYNC STOP   [<base>]
//! PODIUM.SYNC STATUS [<base>]
//! PODIUM.SYNC NOW    [<base>]
//! PODIUM.SYNC PING   <raw-body> <mac-header>
//! ```
//!
//! Without a base it is that of `podium.base`, or else the only one that the entities have.

use crate::server::commands::{entry, words};
use crate::server::desk::desk;
use crate::server::feed;
use crate::server::state::cell;
use crate::server::state::entities::State;
use crate::server::state::feeds::Waiter;
use crate::server::store::cluster;
use crate::server::upkeep::slots;
use crate::server::upstream::fault::{hopeless, Fault};
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi::{self, Argv, Ctx};
use crate::server::valkey::log;
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use podium_core::key;
use std::ffi::c_int;
use std::sync::Arc;

entry!(start, start_inner);
entry!(stop, stop_inner);
entry!(status, status_inner);
entry!(now, now_inner);
entry!(ping, ping_inner);

/// Starting takes a few calls: it is waited for so many times as long as for a fetch.
const START_PATIENCE: i64 = 4;

/// The base that is meant.
fn base_of(st: &State, given: Option<&[u8]>) -> Result<String, String> {
    if let Some(b) = given {
        return std::str::from_utf8(b)
            .ok()
            .filter(|_| key::base_ok(b))
            .map(str::to_string)
            .ok_or_else(|| {
                format!(
                    "BADKEY '{}' is no base id: one looks like appXXXXXXXXXXXXXX",
                    key::shown(b)
                )
            });
    }
    let set = settings::BASE.get();
    if !set.is_empty() {
        return Ok(set);
    }
    let mut bases: Vec<String> = st
        .entities()
        .map(|e| e.base())
        .chain(st.feeds.keys().map(|b| b.to_string()))
        .filter(|b| !b.is_empty())
        .collect();
    bases.sort();
    bases.dedup();
    match &bases[..] {
        [one] => Ok(one.clone()),
        [] => Err(
            "BADSPEC no base is known: set podium.base, or name one: PODIUM.SYNC START app..."
                .into(),
        ),
        _ => Err(format!(
            "BADSPEC the entities are of several bases, name one of them: {}",
            bases.join(" ")
        )),
    }
}

/// In a cluster a base that is moving between two nodes has its feed at neither.
fn here(st: &mut State, ctx: Ctx, base: &str) -> Result<(), String> {
    slots::look(ctx, st);
    if cluster::in_transit(st, base) {
        return Err(format!(
            "TRYAGAIN the base {base} is moving between two nodes of the cluster: ask again"
        ));
    }
    Ok(())
}

/// `[<base>]` alone.
unsafe fn only_base<'a>(ctx: Ctx, argv: Argv, argc: c_int) -> Option<Option<&'a [u8]>> {
    words(ctx, argv, argc, 2..=3).map(|a| a.get(2).copied())
}

fn answered(ctx: Ctx, r: Option<Result<Body, String>>) -> c_int {
    crate::server::commands::tell::answer(ctx, r)
}

/// Why no poll can come in the near future.
fn in_vain(base: &str) -> Option<String> {
    let busy = desk().busy_for(base).filter(hopeless)?;
    Some(Fault::busy(busy).line)
}

/// Keeps the client waiting for a poll.
fn wait(ctx: Ctx, base: &str, timeout_ms: i64, starting: bool) -> c_int {
    // What was begun goes on by itself.
    if let Some(line) = in_vain(base) {
        return reply::error(ctx, &line);
    }
    let Some(op) = Blocked::block(ctx, timeout_ms) else {
        return reply::error(ctx, "ERR this client cannot be kept waiting here");
    };
    let of = base.to_string();
    op.when_late(Box::new(move |_| {
        if let Some(line) = in_vain(&of) {
            return Body::error(line);
        }
        let goes_on = if starting { "it goes on trying" } else { "the poll goes on" };
        Body::error(format!("UPSTREAMTIMEOUT the change feed of {of} was not heard in time: {goes_on}, see PODIUM.SYNC STATUS"))
    }));
    let waiting = cell::enter(|st| {
        feed::poll(
            st,
            base,
            Waiter::Client {
                op: op.clone(),
                starting,
            },
        )
        .is_ok()
    });
    if waiting != Some(true) {
        op.finish(Body::error("ERR the change feed ended meanwhile"));
    }
    ffi::OK
}

unsafe fn start_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..=5) else {
        return 0;
    };
    let (given, notify) = match a.get(2..).unwrap_or(&[]) {
        [] => (None, None),
        [base] => (Some(*base), None),
        [word, url] if word.eq_ignore_ascii_case(b"NOTIFY") => (None, Some(*url)),
        [base, word, url] if word.eq_ignore_ascii_case(b"NOTIFY") => (Some(*base), Some(*url)),
        _ => {
            return reply::error(
                ctx,
                "ERR syntax error: PODIUM.SYNC START [<base>] [NOTIFY <url>]",
            )
        }
    };
    let notify = match notify.map(|u| {
        std::str::from_utf8(u)
            .ok()
            .filter(|u| u.starts_with("http") && !u.bytes().any(|b| b <= b' '))
    }) {
        None => None,
        Some(Some(u)) => Some(u.to_string()),
        Some(None) => {
            return reply::error(ctx, "ERR NOTIFY takes the URL that Airtable is to post to")
        }
    };
    let waits = ffi::may_wait(ctx);
    let in_cluster = ffi::is_cluster(ctx);
    let r = cell::enter(|st| {
        let base = base_of(st, given)?;
        here(st, ctx, &base)?;
        if in_cluster && !st.entities().any(|e| e.base() == base) {
            return Err(format!("NOENTITY in a cluster the feed lives with its entities: define one of the base {base} first"));
        }
        if st
            .feeds
            .get(&*base)
            .is_some_and(|f| f.feed.state() == "following" && notify.is_none())
        {
            return Ok((base, true));
        }
        if !waits {
            return Err(
                "WOULDBLOCK starting a feed goes upstream and this command may not wait here"
                    .into(),
            );
        }
        let done = feed::begin(st, &base, notify);
        Ok((base, done))
    });
    match r {
        Some(Ok((_, true))) => Body::Ok.send(ctx),
        Some(Ok((base, false))) => wait(
            ctx,
            &base,
            settings::FETCH_TIMEOUT_MS
                .get()
                .saturating_mul(START_PATIENCE),
            true,
        ),
        other => answered(ctx, other.map(|r| r.map(|_| Body::Ok))),
    }
}

unsafe fn stop_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(given) = only_base(ctx, argv, argc) else {
        return 0;
    };
    let r = cell::enter(|st| {
        let base = base_of(st, given)?;
        here(st, ctx, &base)?;
        let webhook = feed::end(st, ctx, &base);
        Ok::<_, String>((base, webhook))
    });
    let (base, webhook): (Arc<str>, String) = match r {
        Some(Ok((base, Some(w)))) => (base.into(), w),
        other => return answered(ctx, other.map(|r| r.map(|_| Body::Ok))),
    };
    log::event("sync", base.as_bytes(), &[("detail", "stopped".into())]);
    let op = ffi::may_wait(ctx).then(|| Blocked::block(ctx, settings::FETCH_TIMEOUT_MS.get()));
    match op.flatten() {
        Some(op) => {
            op.when_late(Box::new(|_| Body::Ok));
            feed::delete(base, webhook, move || op.finish(Body::Ok));
            ffi::OK
        }
        None => {
            feed::delete(base, webhook, || {});
            Body::Ok.send(ctx)
        }
    }
}

unsafe fn status_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(given) = only_base(ctx, argv, argc) else {
        return 0;
    };
    let r = cell::enter(|st| {
        slots::look(ctx, st);
        let base = base_of(st, given)?;
        Ok(Body::Map(feed::status(st, &base)))
    });
    answered(ctx, r)
}

unsafe fn now_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(given) = only_base(ctx, argv, argc) else {
        return 0;
    };
    let waits = ffi::may_wait(ctx);
    let r = cell::enter(|st| {
        let base = base_of(st, given)?;
        here(st, ctx, &base)?;
        if !st.feeds.contains_key(&*base) {
            return Err(format!(
                "ERR the change feed of {base} is off: PODIUM.SYNC START {base}"
            ));
        }
        if !waits {
            return Err(
                "WOULDBLOCK a poll goes upstream and this command may not wait here".into(),
            );
        }
        Ok(base)
    });
    match r {
        Some(Ok(base)) => wait(ctx, &base, settings::FETCH_TIMEOUT_MS.get(), false),
        other => answered(ctx, other.map(|r| r.map(|_| Body::Ok))),
    }
}

unsafe fn ping_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 4..=4) else {
        return 0;
    };
    let (body, header) = (
        a.get(2).copied().unwrap_or(b""),
        a.get(3).copied().unwrap_or(b""),
    );
    let r = cell::enter(|st| {
        let denied = "DENIED this is no notification of a webhook that is followed here: its MAC does not fit";
        let (base, webhook) = feed::ping_names(body).ok_or(denied)?;
        let hook = st
            .feeds
            .get(&*base)
            .and_then(|f| f.feed.hook.as_ref())
            .filter(|h| h.id == webhook);
        let secret = hook.and_then(|h| h.secret.as_ref()).ok_or(denied)?;
        if !feed::genuine(secret.reveal(), body, header) {
            return Err(denied.to_string());
        }
        feed::poll_behind(st, &base);
        Ok(Body::Ok)
    });
    answered(ctx, r)
}
