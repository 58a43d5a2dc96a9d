//! Whose the slot of a key is, in a cluster.
//!
//! The server checks the keys of commands against it, ours included; the key API it does not check. Everything here is asked
//! with the rights of the node: a client may have said ASKING.

use crate::server::valkey::ffi::call::Reply;
use crate::server::valkey::ffi::{call, rm, Ctx};
use crate::server::valkey::lock::{self, own_write};
pub(crate) use podium_core::slot::Ground;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static CLUSTER: AtomicBool = AtomicBool::new(false);
static SECRET: AtomicU64 = AtomicU64::new(0);

/// Once, while loading.
pub(crate) fn init(ctx: Ctx) {
    CLUSTER.store(
        crate::server::valkey::ffi::is_cluster(ctx),
        Ordering::Relaxed,
    );
    SECRET.store(crate::server::valkey::ffi::random_u64(), Ordering::Relaxed);
}

pub(crate) fn in_cluster() -> bool {
    CLUSTER.load(Ordering::Relaxed)
}

/// The module's own context, in database 0.
pub(crate) fn own_context() -> Ctx {
    let ctx = lock::detached();
    rm!(RedisModule_SelectDb(ctx, 0));
    ctx
}

/// A key that is not there is looked up only by the node whose slot it is, and not while that is moving.
fn look(ctx: Ctx, probe: &[u8]) -> Reply {
    own_write(|| call(ctx, c"EXISTS", false, &[probe]))
}

/// Is the slot of a key this node's, and not moving? As [`at_home`], but a cluster that is down counts for that too.
pub(crate) fn stays(name: &[u8]) -> bool {
    let probe = podium_core::slot::probe(name, SECRET.load(Ordering::Relaxed));
    !in_cluster() || !look(own_context(), &probe).is_elsewhere()
}

/// Where the slot of a key stands. Under the server's lock; costs one lookup where it is settled.
pub(crate) fn ground(name: &[u8]) -> Ground {
    if !in_cluster() {
        return Ground::Home;
    }
    let ctx = own_context();
    let probe = podium_core::slot::probe(name, SECRET.load(Ordering::Relaxed));
    let looked = look(ctx, &probe);
    if !looked.is_error() {
        return Ground::Home;
    }
    if !looked.is_elsewhere() {
        return Ground::Unknown;
    }
    let slot = call(ctx, c"CLUSTER", false, &[b"KEYSLOT", &probe]).integer();
    let nodes = call(ctx, c"CLUSTER", false, &[b"NODES"]);
    match (slot.map(u16::try_from), std::str::from_utf8(nodes.text())) {
        (Some(Ok(slot)), Ok(nodes)) => match podium_core::slot::ground(nodes, slot) {
            // It was refused: what is being changed just now is not settled yet.
            Ground::Home => Ground::Unknown,
            other => other,
        },
        _ => Ground::Unknown,
    }
}

/// May a key be made that is not there? Not while its slot is moving: the other node may have it, or be about to.
pub(crate) fn at_home(name: &[u8]) -> bool {
    ground(name) == Ground::Home
}
