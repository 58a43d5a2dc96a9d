//! How the feeds are doing: PODIUM.SYNC STATUS and INFO.

use crate::server::feed::interval;
use crate::server::state::entities::State;
use crate::server::valkey::ffi;
use crate::server::valkey::reply::Body;
use podium_core::feed::Feed;
use std::sync::Arc;

/// The state and lag for INFO: of the base that is worst off.
pub(crate) fn figures(st: &State) -> (&'static str, u64) {
    let rank = |s: &str| {
        ["following", "starting", "behind"]
            .iter()
            .position(|w| *w == s)
            .unwrap_or(0)
    };
    let state = st
        .feeds
        .values()
        .map(|f| f.feed.state())
        .max_by_key(|s| rank(s))
        .unwrap_or("off");
    let state = if st.replica && state != "off" {
        "replica"
    } else {
        state
    };
    (
        state,
        st.feeds.values().map(|f| lag(&f.feed)).max().unwrap_or(0),
    )
}

fn lag(feed: &Feed) -> u64 {
    if feed.polled == 0 {
        0
    } else {
        ffi::now_ms().saturating_sub(feed.polled)
    }
}

/// PODIUM.SYNC STATUS of one base.
pub(crate) fn status(st: &State, base: &str) -> Vec<(String, Body)> {
    let text = |s: &str| Body::Bytes(s.as_bytes().to_vec());
    let followed: Vec<Body> = {
        let mut all: Vec<&Arc<str>> = st.feeds.keys().collect();
        all.sort();
        all.into_iter().map(|b| text(b)).collect()
    };
    let f = st.feeds.get(base);
    let feed = f.map(|f| &f.feed);
    let hook = feed.and_then(|f| f.hook.as_ref());
    let int = |n: Option<u64>| Body::Int(n.unwrap_or(0).min(i64::MAX as u64) as i64);
    let interval = interval();
    let state = match feed {
        Some(_) if st.replica => "replica",
        Some(f) => f.state(),
        None => "off",
    };
    vec![
        ("base".into(), text(base)),
        ("state".into(), text(state)),
        ("lag-ms".into(), int(feed.map(lag))),
        ("webhook".into(), text(hook.map_or("", |h| &h.id))),
        ("cursor".into(), int(hook.map(|h| h.cursor))),
        ("last-poll".into(), int(feed.map(|f| f.polled))),
        (
            "interval-ms".into(),
            int(Some(
                feed.map_or(interval, |f| f.interval_in_force(interval)),
            )),
        ),
        ("vouches-since".into(), int(feed.map(|f| f.from / 1000))),
        ("payloads".into(), int(feed.map(|f| f.payloads))),
        ("changes".into(), int(f.map(|f| f.changes))),
        ("gaps".into(), int(feed.map(|f| f.gaps))),
        ("calls".into(), int(f.map(|f| f.calls))),
        (
            "notify".into(),
            text(feed.and_then(|f| f.notify.as_deref()).unwrap_or("")),
        ),
        (
            "error".into(),
            text(feed.and_then(|f| f.last_error.as_deref()).unwrap_or("")),
        ),
        ("followed".into(), Body::List(followed)),
    ]
}
