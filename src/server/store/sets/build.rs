//! An index set is built: begun, filled, completed, and set right by what came meanwhile.

use crate::server::state::entities::{EntityIx, State};
use crate::server::store::change;
use crate::server::store::kept;
use crate::server::store::sets::{open_set, set_name, set_state};
use crate::server::store::ZSET_EVENT;
use crate::server::valkey::ffi::slot;
use crate::server::valkey::ffi::{self, notify, Ctx, Key, KeyKind, RString};
use crate::server::valkey::lock::own_write;
use compact_str::CompactString;
use podium_core::entry::{self, Sentinel};

/// A set for a value that was known to be empty, with its first member.
pub(super) fn bear_set(st: &mut State, ctx: Ctx, ix: EntityIx, suffix: &[u8], id: &str) {
    let Some(c) = st.get(ix).and_then(|e| e.complete) else {
        return;
    };
    let head = Sentinel {
        generation: 0,
        asked_ms: c.asked_ms,
        fresh_until: c.fresh_until,
        seq: c.seq,
        name: 0,
    };
    let whole = begin_set(st, ctx, ix, suffix).is_some_and(|build| {
        extend_set(st, ctx, ix, suffix, build, &[CompactString::new(id)])
            && finish_set(st, ctx, ix, suffix, build, 1, head, c.fresh_until)
    });
    if !whole {
        if let Some(e) = st.get_mut(ix) {
            e.complete = None;
        }
    }
}

/// Starts an index set anew: what stood under its name goes. The construction's number; `None`: it cannot be written now.
pub(crate) fn begin_set(st: &mut State, ctx: Ctx, ix: EntityIx, suffix: &[u8]) -> Option<u64> {
    if !ffi::writable(ctx) {
        return None;
    }
    let e = st.get_mut(ix)?;
    if set_state(ctx, e, suffix).2 {
        return None;
    }
    let name = set_name(e, suffix);
    if !slot::at_home(&name) {
        return None;
    }
    own_write(|| {
        let s = RString::new(&name);
        let k = Key::write(ctx, s.raw());
        if k.kind() != KeyKind::Empty {
            ffi::rm!(RedisModule_UnlinkKey(k.raw()));
            ffi::replicate(ctx, c"UNLINK", &[&name]);
        }
    });
    e.given_up.remove(suffix);
    e.sorted.lose(suffix);
    e.sets.insert(suffix.into());
    e.builds += 1;
    e.building.insert(suffix.into(), e.builds);
    Some(e.builds)
}

/// A set under construction is given up after this many ms.
const CONSTRUCTION_MS: u64 = 600_000;

/// Adds members to a set under construction. Without its sentinel it is no answer yet.
pub(crate) fn extend_set(
    st: &State,
    ctx: Ctx,
    ix: EntityIx,
    suffix: &[u8],
    build: u64,
    ids: &[CompactString],
) -> bool {
    let Some(e) = st.get(ix) else { return false };
    if !ffi::writable(ctx) || e.building.get(suffix) != Some(&build) {
        return false;
    }
    if ids.is_empty() {
        return true;
    }
    let name = set_name(e, suffix);
    if !slot::at_home(&name) {
        return false;
    }
    own_write(|| {
        let s = RString::new(&name);
        let k = Key::write(ctx, s.raw());
        let begins = k.kind() == KeyKind::Empty;
        let mut replicated: Vec<&[u8]> = Vec::with_capacity(1 + ids.len() * 2);
        replicated.push(&name);
        for id in ids {
            k.zadd(&RString::new(id.as_bytes()));
            replicated.push(b"0");
            replicated.push(id.as_bytes());
        }
        ffi::replicate(ctx, c"ZADD", &replicated);
        if begins {
            // Should its construction never end, it does.
            let until = ffi::now_ms() + CONSTRUCTION_MS;
            k.expire_at(until);
            ffi::replicate(ctx, c"PEXPIREAT", &[&name, until.to_string().as_bytes()]);
        }
    });
    true
}

/// Completes a set of `members`: from here on it answers.
#[allow(clippy::too_many_arguments)]
pub(crate) fn finish_set(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    suffix: &[u8],
    build: u64,
    members: usize,
    mut head: Sentinel,
    expire_at: u64,
) -> bool {
    let Some(e) = st.get_mut(ix) else {
        return false;
    };
    // Lost in between, or begun anew by another question: what this one wrote is not there.
    if !ffi::writable(ctx) || e.building.get(suffix) != Some(&build) {
        return false;
    }
    e.building.remove(suffix);
    let name = set_name(e, suffix);
    if !slot::at_home(&name) {
        return false;
    }
    let expire_at = kept(e, expire_at);
    head.name = entry::hash(&name);
    head.generation = e.sets_generation;
    let member = head.member();
    let seq = head.seq;
    let stored = own_write(|| {
        let s = RString::new(&name);
        {
            let k = Key::write(ctx, s.raw());
            // Given up meanwhile (a clock that jumped will do): what is left of it would pass for the whole.
            if k.len() != members {
                return false;
            }
            k.zadd(&RString::new(&member));
            k.expire_at(expire_at);
        }
        ffi::replicate(ctx, c"ZADD", &[&name, b"0", &member]);
        ffi::replicate(
            ctx,
            c"PEXPIREAT",
            &[&name, expire_at.to_string().as_bytes()],
        );
        notify(ctx, ZSET_EVENT, c"zadd", &s);
        true
    });
    if stored {
        change::set_stored(st, ctx, ix, suffix, seq);
    }
    stored
}

/// Takes one record out of a set, or puts it in, because something newer than the question is known of it.
pub(crate) fn amend_set(
    st: &State,
    ctx: Ctx,
    ix: EntityIx,
    suffix: &[u8],
    id: &str,
    belongs: bool,
) {
    let Some(e) = st.get(ix) else { return };
    let Some(s) = open_set(ctx, e, suffix, u64::MAX) else {
        return;
    };
    let member = RString::new(id.as_bytes());
    own_write(|| {
        if belongs {
            s.key.zadd(&member);
            ffi::replicate(ctx, c"ZADD", &[&s.name, b"0", id.as_bytes()]);
        } else if s.key.zrem(&member) {
            ffi::replicate(ctx, c"ZREM", &[&s.name, id.as_bytes()]);
        }
    });
}
