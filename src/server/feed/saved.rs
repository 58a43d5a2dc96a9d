//! A feed's place, in a native hash `podium:feed:<base>`: it survives restarts, and a promoted replica goes on from it.

use crate::server::feed::views;
use crate::server::feed::{key_of, KEY};
use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::state::feeds::Follower;
use crate::server::store::own_keys;
use crate::server::valkey::ffi::slot;
use crate::server::valkey::ffi::{self, Ctx, Key, KeyKind, RString};
use hashbrown::HashMap;
use podium_core::feed::{Feed, Hook, MacSecret};
use podium_core::{key, outside};
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
    own_keys::write(ctx, c"HSET", &args);
    save_secret(ctx, &name, hook.and_then(|h| h.secret.as_ref()));
    let mut keys = f.keys.take();
    keys.retain(|former| {
        if *former != name {
            own_keys::write(ctx, c"UNLINK", &[former]);
        }
        // What could not be taken away now is to be taken away later.
        *former != name && Key::peek(ctx, RString::new(former).raw()).kind() != KeyKind::Empty
    });
    keys.push(name);
    f.keys.set(keys);
}

/// Writes the webhook's secret if it is another than the one that is saved.
fn save_secret(ctx: Ctx, name: &[u8], secret: Option<&MacSecret>) {
    let secret = secret.map_or("", |s| s.reveal()).as_bytes();
    let saved = own_keys::hash_of(ctx, name)
        .and_then(|fields| fields.into_iter().find(|(field, _)| field == SECRET));
    if saved.is_none_or(|(_, saved)| saved != secret) {
        own_keys::write_unseen(ctx, name, SECRET, secret);
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

/// Writes one feed's place anew, whose key is gone.
pub(crate) fn save_key(ctx: Ctx, st: &State, name: &[u8]) {
    let followed = base_of(name).filter(|base| {
        let f = st.feeds.get(*base);
        f.is_some_and(|f| f.feed.hook.is_some()) && key_of(st, base) == name
    });
    if let Some(base) = followed {
        save(ctx, st, base);
    }
}

/// Takes away every key that holds the place of a base's feed. `keys`: those that are known.
pub(super) fn delete(ctx: Ctx, st: &State, base: &str, mut keys: Vec<Vec<u8>>) {
    let name = key_of(st, base);
    if !keys.contains(&name) {
        keys.push(name);
    }
    // One by one: after another tag they may be of several slots.
    for name in keys {
        own_keys::write(ctx, c"UNLINK", &[&name]);
    }
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
    if !st.replica && !slot::at_home(name) {
        // It is read when its slot is this node's: until then the other one follows.
        return;
    }
    match read(ctx, name) {
        Some(feed) if st.replica || !st.feeds.contains_key(&*base) => {
            let mut keys = keys_of(st, &base);
            keys.retain(|k| k != name);
            keys.push(name.to_vec());
            put(st, &base, feed, keys);
        }
        None if st.replica => {
            let mut keys = keys_of(st, &base);
            keys.retain(|k| k != name);
            match st.feeds.get(&*base).filter(|_| !keys.is_empty()) {
                // Only its key got another name.
                Some(f) => f.keys.set(keys),
                None => drop(st.feeds.remove(&*base)),
            }
        }
        _ => return,
    }
    views::push(st);
    crate::server::feed::wake();
}

/// Takes over the feeds whose keys are in the data set.
pub(crate) fn load_all(ctx: Ctx, st: &mut State, names: &[Vec<u8>]) {
    let mut found: HashMap<String, (Feed, Vec<Vec<u8>>)> = HashMap::new();
    for name in names {
        let Some(base) = base_of(name) else { continue };
        let Some(feed) = read(ctx, name) else {
            continue;
        };
        match found.get_mut(base) {
            Some((known, keys)) => {
                if place(&feed) > place(known) {
                    *known = feed;
                }
                keys.push(name.clone());
            }
            None => {
                found.insert(base.to_string(), (feed, vec![name.clone()]));
            }
        }
    }
    if st.replica {
        st.feeds.retain(|base, _| found.contains_key(&**base));
    }
    for (base, (feed, keys)) in found {
        put(st, &base, feed, keys);
    }
    views::push(st);
    crate::server::feed::wake();
}

/// How far a feed is: a later webhook or gap first, then its payloads.
fn place(feed: &Feed) -> (u64, u64) {
    (feed.from, feed.hook.as_ref().map_or(0, |h| h.cursor))
}

/// The keys that are known to hold the place of a base's feed.
fn keys_of(st: &State, base: &str) -> Vec<Vec<u8>> {
    st.feeds.get(base).map_or_else(Vec::new, |f| {
        let keys = f.keys.take();
        f.keys.set(keys.clone());
        keys
    })
}

fn put(st: &mut State, base: &str, feed: Feed, keys: Vec<Vec<u8>>) {
    match st.feeds.get_mut(base) {
        Some(f) => {
            f.keys.set(keys);
            f.saved_polled = feed.polled;
            f.incarnation = ffi::random_u64();
            f.feed = feed;
        }
        None => {
            let f = Follower::new(feed);
            f.keys.set(keys);
            st.feeds.insert(Arc::from(base), f);
        }
    }
}

fn read(ctx: Ctx, name: &[u8]) -> Option<Feed> {
    let fields = own_keys::hash_of(ctx, name)?;
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
    let mut from = if hook.is_some() { number(b"since")? } else { 0 };
    if !clock::order().observe(from, clock::now_us()) {
        // Without a gap since when nobody knows: nothing older than this is vouched for.
        from = clock::next();
    }
    let polled = number(b"polled").and_then(|ms| outside::stored_ms(ms, ffi::now_ms()));
    Some(Feed::restored(
        hook,
        from,
        polled.unwrap_or(0),
        text(b"notify"),
    ))
}
