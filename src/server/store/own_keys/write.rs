//! One write to a key of ours: where it may be made, and how.

use crate::server::store::own_keys::UNSAVED;
use crate::server::valkey::ffi::slot;
use crate::server::valkey::ffi::{self, Ctx, Key, KeyKind, RString};
use crate::server::valkey::lock::own_write;
use std::ffi::CStr;
use std::sync::atomic::Ordering;

/// What became of a write to one of our keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrote {
    Yes,
    /// It could not be written now; upkeep writes everything anew.
    Later,
    /// The key's slot is another node's, or on its way, and the key is not here: whoever has it decides.
    NotHere,
}

/// HSET, HDEL or UNLINK of one of our keys, which is the first argument.
pub(crate) fn write(ctx: Ctx, command: &CStr, args: &[&[u8]]) -> Wrote {
    write_key(ctx, command, args, false)
}

/// `ours`: no other node has the key, so that it may be made while its slot is moving.
pub(super) fn write_key(ctx: Ctx, command: &CStr, args: &[&[u8]], ours: bool) -> Wrote {
    if !ffi::removable(ctx) {
        UNSAVED.store(true, Ordering::Relaxed);
        return Wrote::Later;
    }
    // In a cluster by the rights of the node: a client that said ASKING may make keys that are about to come by themselves.
    let by = if slot::in_cluster() {
        slot::own_context()
    } else {
        ctx
    };
    let reply = own_write(|| ffi::call(by, command, true, args));
    if !reply.is_error() {
        return Wrote::Yes;
    }
    if reply.is_elsewhere() {
        let name = args.first().copied().unwrap_or(b"");
        if may_write(name, ours) {
            own_write(|| write_here(ctx, command, args));
            return Wrote::Yes;
        }
        return Wrote::NotHere;
    }
    UNSAVED.store(true, Ordering::Relaxed);
    Wrote::Later
}

/// While its slot is moving a key is changed where it is, and made by nobody but who decides.
fn may_write(name: &[u8], ours: bool) -> bool {
    match slot::ground(name) {
        slot::Ground::Home => true,
        slot::Ground::Leaving | slot::Ground::Arriving => {
            let key = Key::peek(slot::own_context(), RString::new(name).raw());
            ours || key.kind() != KeyKind::Empty
        }
        slot::Ground::Away | slot::Ground::Unknown => false,
    }
}

/// A command by the key API, which asks nobody whose slot it is.
fn write_here(ctx: Ctx, command: &CStr, args: &[&[u8]]) {
    let Some((name, rest)) = args.split_first() else {
        return;
    };
    {
        let key = Key::write(slot::own_context(), RString::new(name).raw());
        if !matches!(key.kind(), KeyKind::Empty | KeyKind::Hash) {
            return;
        }
        match command.to_bytes() {
            b"HSET" => {
                for pair in rest.chunks_exact(2) {
                    if let [field, value] = pair {
                        key.set_field(&RString::new(field), &RString::new(value));
                    }
                }
            }
            b"HDEL" => rest
                .iter()
                .for_each(|field| key.delete_field(&RString::new(field))),
            _ => drop(key.unlink()),
        }
    }
    ffi::replicate(ctx, command, args);
}

/// Sets a field of a hash as [`write`] does, unseen by MONITOR and SLOWLOG of this server.
pub(crate) fn write_unseen(ctx: Ctx, name: &[u8], field: &[u8], value: &[u8]) {
    if !ffi::removable(ctx) {
        UNSAVED.store(true, Ordering::Relaxed);
        return;
    }
    if !may_write(name, false) {
        return;
    }
    own_write(|| {
        let key = Key::write(ctx, RString::new(name).raw());
        if key.set_field(&RString::new(field), &RString::new(value)) {
            ffi::replicate(ctx, c"HSET", &[name, field, value]);
        } else {
            UNSAVED.store(true, Ordering::Relaxed);
        }
    });
}
