//! Who waits for a feed to be heard: reads, commands, and threads.

use crate::server::feed::wake;
use crate::server::state::cell;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::feeds::{Heard, Waiter};
use crate::server::state::waiting::{self, Op};
use crate::server::valkey::ffi;
use crate::server::valkey::lock;
use crate::server::valkey::settings;
use podium_core::feed::View;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A read waits until the feed was heard.
pub(crate) fn await_poll(st: &mut State, ix: EntityIx, op: &Arc<Op>) {
    let base = st.get(ix).map(crate::server::state::entities::Entity::base);
    match base.and_then(|b| st.feeds.get_mut(&*b)) {
        Some(f) => {
            f.feed.wanted(ffi::now_ms());
            f.readers.push(op.clone());
            wake();
        }
        None => {
            // The feed ended meanwhile.
            if let Some(e) = st.get_mut(ix) {
                e.feed = View::OFF;
            }
            st.cool();
            let op = op.clone();
            crate::server::desk::spawn(Box::new(move || waiting::heard(vec![op])));
        }
    }
}

/// Waits for a poll that goes out after now.
pub(crate) fn poll(st: &mut State, base: &str, waiter: Waiter) -> Result<(), Waiter> {
    let Some(f) = st.feeds.get_mut(base) else {
        return Err(waiter);
    };
    let asked = f.feed.poll_now();
    f.waiters.push((asked, waiter));
    wake();
    Ok(())
}

/// Polls soon; nobody waits for it.
pub(crate) fn poll_behind(st: &mut State, base: &str) {
    if let Some(f) = st.feeds.get_mut(base) {
        f.feed.poll_now();
        wake();
    }
}

/// On a thread that may wait: everything that Airtable can list by now is applied. False: it could not be heard in time.
pub(crate) fn catch_up(base: &str) -> bool {
    let heard = Arc::new(Heard::default());
    {
        let _held = lock::lock();
        let asked = cell::enter(|st| {
            st.feeds
                .get(base)
                .is_some_and(|f| f.feed.state() == "following")
                && poll(st, base, Waiter::Thread(heard.clone())).is_ok()
        });
        if asked != Some(true) {
            return false;
        }
    }
    let limit =
        Instant::now() + Duration::from_millis(settings::FETCH_TIMEOUT_MS.get().max(1) as u64);
    let mut over = heard.over.lock();
    while over.is_none() && !heard.bell.wait_until(&mut over, limit).timed_out() {}
    *over == Some(true)
}
