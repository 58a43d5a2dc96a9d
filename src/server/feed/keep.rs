//! Keys that the feed vouches for do not end by their own expiry: they are kept on, in slices.

use crate::server::state::cell;
use crate::server::state::entities::{EntityIx, State};
use crate::server::store::{self, kept_ms, walk};
use crate::server::valkey::ffi::{self, rm, Ctx, Key, KeyKind, RString};
use crate::server::valkey::lock::own_write;
use podium_core::key;
use std::ops::ControlFlow;

/// Keys are looked through so often.
pub(super) fn every_ms() -> u64 {
    kept_ms() / 4
}

/// Puts off the end of what the feed of this base vouches for and would end before the next look but one.
pub(super) fn extend(base: &str) {
    let mut all: Vec<(EntityIx, Vec<Box<[u8]>>)> = Vec::new();
    cell::with(|st, _| {
        for ix in st.of_base(base) {
            if let Some(e) = st.get(ix) {
                all.push((ix, e.sets.iter().cloned().collect()));
            }
        }
    });
    for (ix, sets) in all {
        walk::each(ix, &walk::ids(ix), |c| {
            if c.e.feed.renews(&c.entry.header, ffi::now_ms()) {
                put_off(c.ctx, c.name);
            }
        });
        cell::in_slices(&sets, |st, ctx, suffix| {
            set(st, ctx, ix, suffix);
            ControlFlow::Continue(())
        });
    }
}

fn set(st: &State, ctx: Ctx, ix: EntityIx, suffix: &[u8]) {
    let Some(e) = st.get(ix) else { return };
    let name = key::set(&e.name, suffix);
    let vouched = {
        let s = RString::new(&name);
        let k = Key::peek(ctx, s.raw());
        k.kind() == KeyKind::Zset
            && store::sentinel(&k, &name).is_some_and(|h| {
                h.generation == e.sets_generation && e.feed.vouches(h.seq, ffi::now_ms())
            })
    };
    if vouched {
        put_off(ctx, &name);
    }
}

fn put_off(ctx: Ctx, name: &[u8]) {
    if !ffi::writable(ctx) {
        return;
    }
    let now = ffi::now_ms();
    own_write(|| {
        let s = RString::new(name);
        let k = Key::write(ctx, s.raw());
        let ends = rm!(RedisModule_GetAbsExpire(k.raw()));
        if ends < 0 || ends as u64 > now.saturating_add(2 * every_ms()) {
            return;
        }
        let at = now.saturating_add(kept_ms());
        k.expire_at(at);
        ffi::replicate(ctx, c"PEXPIREAT", &[name, at.to_string().as_bytes()]);
    });
}
