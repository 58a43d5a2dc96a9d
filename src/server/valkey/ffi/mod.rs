//! The server's module API, wrapped as thinly as it can be while keeping its rules: names and bodies are byte slices
//! (NULs and all), every handle frees itself, and nothing here decides anything.

pub(crate) mod call;
pub(crate) mod key;
pub(crate) mod pieces;
pub(crate) mod server;
pub(crate) mod slot;

pub(crate) use crate::server::valkey::ffi::call::{
    call, notify, replicate, replicate_all, signal_modified,
};
pub(crate) use crate::server::valkey::ffi::key::{ahead, Key, KeyKind, NameSlot};
pub(crate) use crate::server::valkey::ffi::server::{
    cached_now_ms, chance, is_cluster, is_loading, is_replica, log, may_wait, memory, next_pass,
    now_ms, random_u64, removable, tracks, writable, Level,
};

use crate::server::valkey::lock::Held;
use redis_module::raw;
use std::ffi::c_int;
use std::ptr;

pub(crate) type Ctx = *mut raw::RedisModuleCtx;
pub(crate) type Argv = *mut *mut raw::RedisModuleString;
pub(crate) type RawString = *mut raw::RedisModuleString;

pub(crate) const OK: c_int = 0;
pub(crate) const ERR: c_int = 1;

/// Calls a function of the module API.
///
/// SAFETY (for every use): the pointers are filled in by the server when the module loads, and [`missing_api`]
/// refused the load if one of those used were missing; the arguments are the server's own handles.
macro_rules! rm {
    ($name:ident ( $($arg:expr),* $(,)? )) => {{
        unsafe { ::redis_module::raw::$name.unwrap_unchecked()($($arg),*) }
    }};
}
pub(crate) use rm;

macro_rules! required {
    ($($name:ident),* $(,)?) => {
        /// The first function this module needs and the server lacks.
        pub(crate) fn missing_api() -> Option<&'static str> {
            // SAFETY: read once, on the main thread, while loading.
            unsafe { $( if (*(&raw const ::redis_module::raw::$name)).is_none() { return Some(stringify!($name)); } )* }
            None
        }
    };
}
required!(
    RedisModule_ACLCheckCommandPermissions,
    RedisModule_ACLCheckKeyPermissions,
    RedisModule_AddACLCategory,
    RedisModule_AddPostNotificationJob,
    RedisModule_AvoidReplicaTraffic,
    RedisModule_BlockClient,
    RedisModule_BlockClientSetPrivateData,
    RedisModule_CachedMicroseconds,
    RedisModule_Call,
    RedisModule_CallReplyArrayElement,
    RedisModule_CallReplyInteger,
    RedisModule_CallReplyLength,
    RedisModule_CallReplyProto,
    RedisModule_CallReplyStringPtr,
    RedisModule_CallReplyType,
    RedisModule_CloseKey,
    RedisModule_CommandFilterArgGet,
    RedisModule_CommandFilterArgsCount,
    RedisModule_CreateCommand,
    RedisModule_CreateString,
    RedisModule_CreateSubcommand,
    RedisModule_DbSize,
    RedisModule_EventLoopAddOneShot,
    RedisModule_FreeCallReply,
    RedisModule_FreeModuleUser,
    RedisModule_FreeServerInfo,
    RedisModule_FreeString,
    RedisModule_FreeThreadSafeContext,
    RedisModule_GetAbsExpire,
    RedisModule_GetBlockedClientPrivateData,
    RedisModule_GetClientId,
    RedisModule_GetClientInfoById,
    RedisModule_GetCommand,
    RedisModule_GetContextFlags,
    RedisModule_GetCurrentUserName,
    RedisModule_GetDetachedThreadSafeContext,
    RedisModule_GetModuleOptionsAll,
    RedisModule_GetModuleUserFromUserName,
    RedisModule_GetRandomBytes,
    RedisModule_GetSelectedDb,
    RedisModule_GetServerInfo,
    RedisModule_GetThreadSafeContext,
    RedisModule_HashSet,
    RedisModule_HoldString,
    RedisModule_InfoAddFieldCString,
    RedisModule_InfoAddFieldLongLong,
    RedisModule_InfoAddSection,
    RedisModule_IsKeysPositionRequest,
    RedisModule_KeyAtPosWithFlags,
    RedisModule_KeyType,
    RedisModule_LoadConfigs,
    RedisModule_Log,
    RedisModule_NotifyKeyspaceEvent,
    RedisModule_OpenKey,
    RedisModule_RedactClientCommandArgument,
    RedisModule_RegisterBoolConfig,
    RedisModule_RegisterCommandFilter,
    RedisModule_RegisterInfoFunc,
    RedisModule_RegisterNumericConfig,
    RedisModule_RegisterStringConfig,
    RedisModule_Replicate,
    RedisModule_ReplyWithArray,
    RedisModule_ReplyWithCallReply,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithLongLong,
    RedisModule_ReplyWithMap,
    RedisModule_ReplyWithNull,
    RedisModule_ReplyWithSimpleString,
    RedisModule_ReplyWithStringBuffer,
    RedisModule_Scan,
    RedisModule_ScanCursorCreate,
    RedisModule_ScanCursorDestroy,
    RedisModule_ScanKey,
    RedisModule_SelectDb,
    RedisModule_ServerInfoGetFieldUnsigned,
    RedisModule_SetAbsExpire,
    RedisModule_SetCommandACLCategories,
    RedisModule_SetCommandInfo,
    RedisModule_SetDisconnectCallback,
    RedisModule_SetModuleOptions,
    RedisModule_SignalModifiedKey,
    RedisModule_StringDMA,
    RedisModule_StringPtrLen,
    RedisModule_StringSet,
    RedisModule_SubscribeToKeyspaceEvents,
    RedisModule_SubscribeToServerEvent,
    RedisModule_ThreadSafeContextLock,
    RedisModule_ThreadSafeContextUnlock,
    RedisModule_UnblockClient,
    RedisModule_UnlinkKey,
    RedisModule_UnregisterCommandFilter,
    RedisModule_ValueLength,
    RedisModule_WrongArity,
    RedisModule_ZsetAdd,
    RedisModule_ZsetFirstInLexRange,
    RedisModule_ZsetFirstInScoreRange,
    RedisModule_ZsetRangeCurrentElement,
    RedisModule_ZsetRangeNext,
    RedisModule_ZsetRangeStop,
    RedisModule_ZsetRem,
    RedisModule_ZsetScore,
);

/// The bytes of a server string; they live while the string does.
///
/// # Safety
/// `s` is a live server string that is not changed while the slice is used.
pub(crate) unsafe fn bytes<'a>(s: *const raw::RedisModuleString) -> &'a [u8] {
    let mut len = 0usize;
    let p = rm!(RedisModule_StringPtrLen(s, &mut len));
    if p.is_null() {
        return &[];
    }
    std::slice::from_raw_parts(p.cast(), len)
}

/// A command's arguments, the command's own name included.
///
/// # Safety
/// `argv` holds `argc` strings, as the server passes them.
pub(crate) unsafe fn args<'a>(argv: Argv, argc: c_int) -> Vec<&'a [u8]> {
    (0..argc.max(0) as usize)
        .map(|i| bytes(*argv.add(i)))
        .collect()
}

/// A server string of ours. Never leaves the thread that holds the server's lock: its reference count is not atomic.
pub(crate) struct RString(RawString);

impl RString {
    pub(crate) fn new(b: &[u8]) -> RString {
        RString(rm!(RedisModule_CreateString(
            ptr::null_mut(),
            b.as_ptr().cast(),
            b.len()
        )))
    }
    pub(crate) fn raw(&self) -> RawString {
        self.0
    }
}

impl Drop for RString {
    fn drop(&mut self) {
        rm!(RedisModule_FreeString(ptr::null_mut(), self.0));
    }
}

/// An argument of a command that outlives it. Its bytes may be read anywhere; it is let go under the server's lock, and never
/// if whoever has it panics.
pub(crate) struct Kept(RawString);
// SAFETY: what it points to is not changed by anybody while it is held; its reference count is touched under the lock only.
unsafe impl Send for Kept {}

impl Kept {
    /// On the main thread.
    pub(crate) fn new(s: RawString) -> Kept {
        Kept(rm!(RedisModule_HoldString(ptr::null_mut(), s)))
    }
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: it is held.
        unsafe { bytes(self.0) }
    }
    pub(crate) fn let_go(self, _: &Held) {
        rm!(RedisModule_FreeString(ptr::null_mut(), self.0));
    }
}
