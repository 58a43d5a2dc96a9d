//! The change feeds: one thread that follows the feeds of all bases, as [`podium_core::feed`] decides.
//!
//! Feeds live in the state, under the server's lock. The thread asks each what to do, hands the calls to the scheduler and
//! goes on; answers come back through its inbox. So a base that does not answer holds up no other.
//!
//! Reading order: the thread here, `call` (what it asks), `landing` and `apply` (what comes of the answers), `views` (what
//! reads see of it), `wait` (who waits for it), `saved` and `keep` (what outlives the process, and the ttl), `told` (STATUS and INFO).

pub(crate) mod apply;
pub(crate) mod call;
pub(crate) mod keep;
pub(crate) mod landing;
pub(crate) mod ping;
pub(crate) mod saved;
pub(crate) mod status;
pub(crate) mod views;
pub(crate) mod wait;

pub(crate) use crate::server::feed::ping::{genuine, names as ping_names};
pub(crate) use crate::server::feed::saved::{follow_key, load_all, save_all, save_key};
pub(crate) use crate::server::feed::status::{figures, status};
pub(crate) use crate::server::feed::views::is_table;
pub(crate) use crate::server::feed::wait::{await_poll, catch_up, poll, poll_behind};

use crate::server::state::cell;
use crate::server::state::clock::Sent;
use crate::server::state::entities::State;
use crate::server::state::feeds::{Follower, Waiter};
use crate::server::state::waiting;
use crate::server::state::waiting::Op;
use crate::server::store::cluster;
use crate::server::valkey::ffi;
use crate::server::valkey::settings;
use crate::server::valkey::thread::Thread;
use podium_core::feed::{Action, Asked, Feed, Landing, Outcome, Step, View};
use podium_core::key;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer for the thread.
pub(crate) struct Answered {
    base: Arc<str>,
    incarnation: u64,
    at: Landing,
    outcome: Outcome,
    schema: Option<serde_json::Value>,
    /// Kept until what it brought has been applied: so long it is remembered what was told later than that.
    sent: Sent,
}

static THREAD: Thread<Answered> = Thread::new();

/// What a feed's key is named: `podium:feed:<base>`.
pub(crate) const KEY: &str = "feed";

/// Looked at so often at least: clocks jump, settings change.
const TICK_MS: u64 = 5_000;

pub(crate) fn start() -> Result<(), String> {
    THREAD.start("podium-sync", run)
}

/// There is something to do.
pub(crate) fn wake() {
    THREAD.wake();
}

/// Stops the thread; called with the server's lock held.
pub(crate) fn stop() -> Result<(), String> {
    let waited_for = cell::enter(|st| {
        st.feeds
            .values()
            .any(|f| !f.readers.is_empty() || !f.waiters.is_empty())
    });
    let busy = "the change feed is being read: try again";
    if waited_for != Some(false) {
        return Err(busy.into());
    }
    THREAD.stop(busy)
}

fn run() {
    let mut next = Instant::now();
    while let Some(landed) = THREAD.next(next) {
        let wait = catch_unwind(AssertUnwindSafe(|| {
            for l in landed {
                landing::land(l);
            }
            round()
        }));
        next = Instant::now() + Duration::from_millis(wait.unwrap_or(TICK_MS).clamp(1, TICK_MS));
        THREAD.rest();
    }
}

fn interval() -> u64 {
    settings::SYNC_INTERVAL.seconds_as_ms().max(1)
}

/// A call that is due, of one base.
type Due = (Arc<str>, u64, u64, Action, Option<String>);

/// Asks every feed what to do, and does it. Returns after how many ms to ask again.
fn round() -> u64 {
    let now = ffi::now_ms();
    let mut calls: Vec<Due> = Vec::new();
    let mut ready: Vec<Arc<Op>> = Vec::new();
    let mut over: Vec<(Waiter, Result<(), String>)> = Vec::new();
    let mut litter: Vec<(Arc<str>, String)> = Vec::new();
    let mut wait = TICK_MS;
    cell::with(|st, ctx| {
        if st.replica || st.loading {
            for f in st.feeds.values_mut() {
                ready.append(&mut f.readers);
                over.extend(f.waiters.drain(..).map(|(_, w)| {
                    (
                        w,
                        Err("REPLICAMISS a replica follows no change feed: ask the primary".into()),
                    )
                }));
            }
            views::push(st);
            return;
        }
        let bases: Vec<Arc<str>> = st.feeds.keys().cloned().collect();
        for base in bases {
            if cluster::in_transit(st, &base) {
                // Whoever has its keys for good goes on from the place that is saved.
                if let Some(f) = st.feeds.get_mut(&base) {
                    ready.append(&mut f.readers);
                    let why = "TRYAGAIN the base is moving between two nodes of the cluster";
                    over.extend(f.waiters.drain(..).map(|(_, w)| (w, Err(why.to_string()))));
                }
                continue;
            }
            if st.entities().any(|e| e.unregistered && e.base() == *base) {
                // What it tells concerns keys that are still being looked for.
                continue;
            }
            let read = views::last_read(st, &base);
            views::look_for_new_tables(st, &base);
            let interval = interval();
            let Some(f) = st.feeds.get_mut(&base) else {
                continue;
            };
            match f.feed.next(now, read, interval) {
                Step::Rest => {}
                Step::Wait(at) => wait = wait.min(at.saturating_sub(now).max(1)),
                Step::Do(action) => {
                    f.calls += 1;
                    calls.push((
                        base.clone(),
                        f.incarnation,
                        f.feed.ticket(),
                        action,
                        f.feed.notify.clone(),
                    ));
                }
            }
            if f.feed.releases(now, interval) {
                ready.append(&mut f.readers);
            }
            let mut given_up = false;
            let mut still = Vec::new();
            for (asked, w) in std::mem::take(&mut f.waiters) {
                let starting = matches!(&w, Waiter::Client { starting: true, .. });
                match f.feed.came_of(asked) {
                    Some(Ok(())) => over.push((w, Ok(()))),
                    Some(Err(why)) if !starting || f.feed.refused => {
                        given_up |= starting && f.feed.from == 0;
                        over.push((w, Err(why.to_string())));
                    }
                    _ => still.push((asked, w)),
                }
            }
            f.waiters = still;
            if given_up {
                litter.extend(end(st, ctx, &base).map(|w| (base, w)));
            }
        }
        views::push(st);
    });
    for (base, incarnation, ticket, action, notify) in calls {
        call::make(base, incarnation, ticket, action, notify);
    }
    for (base, webhook) in litter {
        call::delete(base, webhook, || {});
    }
    if !ready.is_empty() {
        waiting::heard(ready);
    }
    for (w, result) in over {
        w.finish(result);
    }
    wait
}

/// Follows a base from now on; `Ok(true)`: it is followed already.
pub(crate) fn begin(st: &mut State, base: &str, notify: Option<String>) -> bool {
    if let Some(f) = st.feeds.get(base) {
        if f.feed.state() == "following" && (notify.is_none() || notify == f.feed.notify) {
            return true;
        }
    }
    if st
        .feeds
        .get(base)
        .is_none_or(|f| notify.is_some() && notify != f.feed.notify)
    {
        let mut next = Follower::new(Feed::new(notify));
        if let Some(old) = st.feeds.remove(base) {
            next.keys = old.keys;
            // Another address for the pings is another webhook: who waits goes on waiting, for that.
            next.readers = old.readers;
            next.waiters
                .extend(old.waiters.into_iter().map(|(_, w)| (Asked::default(), w)));
            if let Some(h) = old.feed.hook.filter(|h| h.secret.is_some()) {
                call::delete(base.into(), h.id, || {});
            }
        }
        st.feeds.insert(base.into(), next);
    }
    wake();
    false
}

/// Follows a base no longer; the webhook, if it is to be deleted in Airtable.
pub(crate) fn end(st: &mut State, ctx: ffi::Ctx, base: &str) -> Option<String> {
    let f = st.feeds.remove(base)?;
    saved::delete(ctx, st, base, f.keys.take());
    for e in st.entities_mut().filter(|e| e.base() == base) {
        e.feed = View::OFF;
    }
    st.cool();
    let (readers, waiters) = (f.readers, f.waiters);
    if !readers.is_empty() || !waiters.is_empty() {
        crate::server::desk::spawn(Box::new(move || {
            waiting::heard(readers);
            for (_, w) in waiters {
                w.finish(Err("ERR the change feed was stopped meanwhile".into()));
            }
        }));
    }
    // A webhook that was found, not made, may serve somebody else too.
    f.feed.hook.filter(|h| h.secret.is_some()).map(|h| h.id)
}

/// Deletes a webhook of ours, then calls `done`, whether or not Airtable agreed.
pub(crate) fn delete(base: Arc<str>, webhook: String, done: impl Fn() + Send + Sync + 'static) {
    call::delete(base, webhook, done);
}

/// In a cluster: the base's entities went to another node, and its feed with them.
pub(crate) fn left(st: &mut State, base: &str) {
    if st.entities().any(|e| e.base() == base) {
        return;
    }
    if let Some(f) = st.feeds.remove(base) {
        crate::server::desk::spawn(Box::new(move || {
            waiting::heard(f.readers);
            for (_, w) in f.waiters {
                w.finish(Err("ERR the base went to another node".into()));
            }
        }));
    }
}

/// In a cluster: the base's entities are at home here from now on. Its feed goes on from where it was left.
pub(crate) fn came(ctx: ffi::Ctx, st: &mut State, base: &str) {
    let name = key_of(st, base);
    load_all(ctx, st, &[name]);
    if let Some(f) = st.feeds.get_mut(base) {
        f.feed.look_again();
    }
    crate::server::desk::budget::load(ctx, st);
}

/// The node has another role now.
pub(crate) fn role_changed(st: &mut State) {
    if !st.replica {
        for f in st.feeds.values_mut() {
            f.feed.look_again();
        }
    }
    views::push(st);
    wake();
}

/// Keys of a base's feed carry the tag of its entities, so that they share their slot.
fn key_of(st: &State, base: &str) -> Vec<u8> {
    let tag = st
        .entities()
        .filter(|e| e.base() == base)
        .map(|e| key::tag(&e.name).to_string())
        .max()
        .unwrap_or_default();
    key::own(KEY, &format!("{tag}{base}"))
}
