//! The commands: their declarations ([`table`]), and one file per family.

pub(crate) mod answers;
pub(crate) mod args;
pub(crate) mod check;
pub(crate) mod discover;
pub(crate) mod explain;
mod quick;
pub(crate) mod read;
pub(crate) mod rights;
pub(crate) mod spec;
pub(crate) mod stats;
pub(crate) mod sweep;
pub(crate) mod sync;
pub(crate) mod table;
pub(crate) mod tell;
pub(crate) mod warm;
pub(crate) mod webhook;
pub(crate) mod whole;
pub(crate) mod write;

use crate::server::valkey::ffi::{rm, Argv, Ctx};
use std::ffi::c_int;
use std::ops::RangeBounds;

/// A handler that must not unwind into the server.
macro_rules! entry {
    ($name:ident, $inner:path) => {
        pub(crate) unsafe extern "C" fn $name(
            ctx: $crate::server::valkey::ffi::Ctx,
            argv: $crate::server::valkey::ffi::Argv,
            argc: ::std::ffi::c_int,
        ) -> ::std::ffi::c_int {
            match ::std::panic::catch_unwind(::std::panic::AssertUnwindSafe(|| unsafe {
                $inner(ctx, argv, argc)
            })) {
                Ok(r) => r,
                Err(_) => $crate::server::valkey::reply::error(ctx, "ERR internal error"),
            }
        }
    };
}
pub(crate) use entry;

/// Everything lives in database 0; false if an error was replied.
#[inline]
pub(crate) fn in_database_0(ctx: Ctx) -> bool {
    if rm!(RedisModule_GetSelectedDb(ctx)) == 0 {
        return true;
    }
    crate::server::valkey::reply::error(ctx, "ERR Podium lives in database 0: SELECT 0");
    false
}

/// The words of a command, its name included; `None`: an error was replied, as they are more or fewer than that, or the
/// client is not in database 0.
///
/// # Safety
/// `argv` holds `argc` strings, as the server passes them.
unsafe fn words<'a>(
    ctx: Ctx,
    argv: Argv,
    argc: c_int,
    how_many: impl RangeBounds<c_int>,
) -> Option<Vec<&'a [u8]>> {
    if !how_many.contains(&argc) {
        rm!(RedisModule_WrongArity(ctx));
        return None;
    }
    in_database_0(ctx).then(|| crate::server::valkey::ffi::args(argv, argc))
}

/// Tells the server where the keys of `numkeys key …` are. May run on an I/O thread: arguments only, nothing of ours.
pub(crate) unsafe fn numkeys_positions(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    if argc >= 2 {
        let n = crate::server::valkey::ffi::bytes(*argv.add(1));
        if let Some(n) = args::decimal(n) {
            if n <= (argc as u64).saturating_sub(2) {
                let flags = redis_module::raw::REDISMODULE_CMD_KEY_RO
                    | redis_module::raw::REDISMODULE_CMD_KEY_ACCESS;
                for i in 0..n as c_int {
                    rm!(RedisModule_KeyAtPosWithFlags(ctx, 2 + i, flags as c_int));
                }
            }
        }
    }
    crate::server::valkey::ffi::OK
}
