//! A feed's place, in a native hash `podium:feed:<base>`: it survives restarts, and a promoted replica goes on from it.

use super::{key_of, views, Follower, KEY};
use crate::server::ffi::{self, Ctx};
use crate::server::persist;
use crate::server::state::State;
use podium_core::feed::{Feed, Hook, MacSecret};
use podium_core::key;
use std::sync::Arc;

/// The field that holds the webhook's MAC secret.
const SECRET: &[u8] = b"secret";

/// Writes where the feed of a base is; after what it said was applied.
pub(super) fn save(ctx: Ctx, st: &State, base: &str) {
    let Some(f) = st.feeds.get(base) else { return };
    let hook = f.feed.hook.as_ref();
    let cursor = hook.map_or(0, |h| h.cursor).to_string();
    let (from, polled) = (f.feed.from.to_string(), f.feed.polled.to_string());
    let fields: [&[u8]; 10] = [
        b"webhook",
        hook.map_or("", |h| &h.id).as_bytes(),
        b"cursor",
        cursor.as_bytes(),
        b"since",
        from.as_bytes(),
        b"polled",
        polled.as_bytes(),
        b"notify",
        f.feed.notify.as_deref().unwrap_or("").as_bytes(),
    ];
    let name = key_of(st, base);
    let mut args: Vec<&[u8]> = vec![&name];
    args.extend(fields);
    persist::write(ctx, c"HSET", &args);
    save_secret(ctx, &name, hook.and_then(|h| h.secret.as_ref()));
}

/// Writes the webhook's secret if it is another than the one that is saved.
fn save_secret(ctx: Ctx, name: &[u8], secret: Option<&MacSecret>) {
    let secret = secret.map_or("", |s| s.reveal()).as_bytes();
    let saved = persist::hash_of(ctx, name)
        .and_then(|fields| fields.into_iter().find(|(field, _)| field == SECRET));
    if saved.is_none_or(|(_, saved)| saved != secret) {
        persist::write_unseen(ctx, name, SECRET, secret);
    }
}

/// Writes every feed's place anew.
pub(crate) fn save_all(ctx: Ctx, st: &State) {
    for (base, f) in &st.feeds {
        if f.feed.hook.is_some() {
            save(ctx, st, base);
        }
    }
}

pub(super) fn delete(ctx: Ctx, st: &State, base: &str) {
    persist::write(ctx, c"UNLINK", &[&key_of(st, base)]);
}

/// The base that a key of ours belongs to.
fn base_of(name: &[u8]) -> Option<&str> {
    key::own_entity(name, KEY).map(key::untagged)
}

/// A feed's key was written or taken away by somebody else: this replica's primary, or a slot migration.
pub(crate) fn follow_key(ctx: Ctx, st: &mut State, name: &[u8]) {
    let Some(base) = base_of(name).map(str::to_string) else {
        return;
    };
    match read(ctx, name) {
        Some(feed) if st.replica || !st.feeds.contains_key(&*base) => {
            put(st, &base, feed);
        }
        None if st.replica => {
            st.feeds.remove(&*base);
        }
        _ => return,
    }
    views::push(st);
    super::wake();
}

/// Takes over the feeds whose keys are in the data set.
pub(crate) fn load_all(ctx: Ctx, st: &mut State, names: &[Vec<u8>]) {
    let found: Vec<(String, Feed)> = names
        .iter()
        .filter_map(|n| Some((base_of(n)?.to_string(), read(ctx, n)?)))
        .collect();
    if st.replica {
        st.feeds
            .retain(|base, _| found.iter().any(|(b, _)| **b == **base));
    }
    for (base, feed) in found {
        put(st, &base, feed);
    }
    views::push(st);
    super::wake();
}

fn put(st: &mut State, base: &str, feed: Feed) {
    match st.feeds.get_mut(base) {
        Some(f) => {
            f.saved_polled = feed.polled;
            f.incarnation = ffi::random_u64();
            f.feed = feed;
        }
        None => {
            st.feeds.insert(Arc::from(base), Follower::new(feed));
        }
    }
}

fn read(ctx: Ctx, name: &[u8]) -> Option<Feed> {
    let fields = persist::hash_of(ctx, name)?;
    let text = |key: &[u8]| {
        let (_, v) = fields.iter().find(|(k, _)| k == key)?;
        std::str::from_utf8(v)
            .ok()
            .filter(|t| !t.is_empty())
            .map(str::to_string)
    };
    let number = |key: &[u8]| text(key).and_then(|t| t.parse::<u64>().ok());
    let hook = text(b"webhook").map(|id| Hook {
        id,
        secret: text(SECRET).map(MacSecret::new),
        cursor: number(b"cursor").unwrap_or(1).max(1),
    });
    let from = if hook.is_some() { number(b"since")? } else { 0 };
    crate::server::engine::desk().tokens.observe(from);
    Some(Feed::restored(
        hook,
        from,
        number(b"polled").unwrap_or(0),
        text(b"notify"),
    ))
}
