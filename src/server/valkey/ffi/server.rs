//! The server itself: its state and memory, its clock and chance, its log and its event loop.

use crate::server::valkey::ffi::{rm, Ctx, OK};
use redis_module::raw;
use std::ffi::{c_char, c_void, CStr};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

fn flags(ctx: Ctx) -> u32 {
    rm!(RedisModule_GetContextFlags(ctx)) as u32
}

pub(crate) fn is_replica(ctx: Ctx) -> bool {
    flags(ctx) & raw::REDISMODULE_CTX_FLAGS_SLAVE != 0
}

pub(crate) fn is_cluster(ctx: Ctx) -> bool {
    flags(ctx) & raw::REDISMODULE_CTX_FLAGS_CLUSTER != 0
}

pub(crate) fn is_loading(ctx: Ctx) -> bool {
    flags(ctx) & (raw::REDISMODULE_CTX_FLAGS_LOADING | raw::REDISMODULE_CTX_FLAGS_ASYNC_LOADING)
        != 0
}

/// May the client of this command be kept waiting?
pub(crate) fn may_wait(ctx: Ctx) -> bool {
    flags(ctx)
        & (raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING
            | raw::REDISMODULE_CTX_FLAGS_MULTI
            | raw::REDISMODULE_CTX_FLAGS_LUA)
        == 0
}

/// Does the client of this command ask to be told of changes (CLIENT TRACKING)? Costs a few system calls: for misses.
pub(crate) fn tracks(ctx: Ctx) -> bool {
    let mut info = raw::RedisModuleClientInfo {
        version: u64::from(raw::REDISMODULE_CLIENTINFO_VERSION),
        flags: 0,
        id: 0,
        addr: [0; 46],
        port: 0,
        db: 0,
    };
    let id = rm!(RedisModule_GetClientId(ctx));
    let at = (&raw mut info).cast::<c_void>();
    rm!(RedisModule_GetClientInfoById(at, id)) == OK
        && info.flags & u64::from(raw::REDISMODULE_CLIENTINFO_FLAG_TRACKING) != 0
}

/// May keys be written now, and replicated? Under the same lock hold as the write. Writing while writes are paused
/// ends the server; a replica would diverge; out of memory without an eviction policy would grow past the limit.
pub(crate) fn writable(ctx: Ctx) -> bool {
    if rm!(RedisModule_AvoidReplicaTraffic()) != 0 {
        return false;
    }
    let f = flags(ctx);
    if f & raw::REDISMODULE_CTX_FLAGS_SLAVE != 0 {
        return false;
    }
    !(f & raw::REDISMODULE_CTX_FLAGS_OOM != 0 && f & raw::REDISMODULE_CTX_FLAGS_EVICT == 0)
}

/// May anything be removed now? Unlike [`writable`], being out of memory is no hindrance.
pub(crate) fn removable(ctx: Ctx) -> bool {
    rm!(RedisModule_AvoidReplicaTraffic()) == 0 && !is_replica(ctx)
}

/// Bytes used of those that count against maxmemory, and maxmemory (0: none).
pub(crate) fn memory(ctx: Ctx) -> (u64, u64) {
    let info = rm!(RedisModule_GetServerInfo(ctx, c"memory".as_ptr()));
    if info.is_null() {
        return (0, 0);
    }
    let field = |name: &CStr| {
        rm!(RedisModule_ServerInfoGetFieldUnsigned(
            info,
            name.as_ptr(),
            ptr::null_mut()
        ))
    };
    let counted = field(c"used_memory").saturating_sub(field(c"mem_not_counted_for_evict"));
    let most = field(c"maxmemory");
    rm!(RedisModule_FreeServerInfo(ctx, info));
    (counted, most)
}

/// The server's clock at the start of this pass of its loop, unix ms: what a hit needs, without a system call.
pub(crate) fn cached_now_ms() -> u64 {
    (rm!(RedisModule_CachedMicroseconds()) as u64) / 1000
}

/// Unix ms, exact.
pub(crate) fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|d| d.as_millis() as u64)
        .unwrap_or(0)
}

#[derive(Copy, Clone)]
pub(crate) enum Level {
    Notice,
    Warning,
}

/// One line in the server's log. The text is data, never a format.
pub(crate) fn log(level: Level, text: &str) {
    let clean: Vec<u8> = text
        .bytes()
        .filter(|b| *b != 0)
        .take(900)
        .chain(std::iter::once(0))
        .collect();
    let level = match level {
        Level::Notice => c"notice",
        Level::Warning => c"warning",
    };
    // SAFETY: both strings end in NUL and outlive the call; the format takes exactly one string.
    unsafe {
        if let Some(f) = raw::RedisModule_Log {
            f(
                crate::server::valkey::lock::detached(),
                level.as_ptr(),
                c"%s".as_ptr(),
                clean.as_ptr().cast::<c_char>(),
            );
        }
    }
}

pub(crate) type OneShot = unsafe extern "C" fn(*mut c_void);

/// Runs `f` on the main thread in the next pass of the event loop.
pub(crate) fn next_pass(f: OneShot) {
    rm!(RedisModule_EventLoopAddOneShot(Some(f), ptr::null_mut()));
}

/// Where the sequence of [`chance`] stands; 0: it was not begun.
static CHANCE: AtomicU64 = AtomicU64::new(0);

/// 64 bits that are random enough to spread ends and refreshes (SplitMix64), without a system call. Begun anew by each process,
/// so that two servers do not draw the same numbers.
pub(crate) fn chance() -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    if CHANCE.load(Ordering::Relaxed) == 0 {
        CHANCE.store(random_u64() | 1, Ordering::Relaxed);
    }
    let mut z = CHANCE.fetch_add(STEP, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 bits that nobody can guess.
pub(crate) fn random_u64() -> u64 {
    let mut b = [0u8; 8];
    if getrandom::fill(&mut b).is_err() {
        // The kernel's generator is not there: the server's own, seeded at its start, serves.
        rm!(RedisModule_GetRandomBytes(b.as_mut_ptr(), b.len()));
    }
    u64::from_le_bytes(b)
}
