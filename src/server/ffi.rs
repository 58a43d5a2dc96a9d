//! The server's module API, wrapped as thinly as it can be while keeping its rules: names and bodies are byte slices
//! (NULs and all), every handle frees itself, and nothing here decides anything.

use redis_module::raw;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::ptr;

pub(crate) type Ctx = *mut raw::RedisModuleCtx;
pub(crate) type Argv = *mut *mut raw::RedisModuleString;
pub(crate) type RawString = *mut raw::RedisModuleString;

pub(crate) const OK: c_int = 0;
pub(crate) const ERR: c_int = 1;

/// Calls a function of the module API.
///
/// SAFETY (for every use): the pointers are filled in by the server when the module loads, and [`api_is_complete`]
/// refused the load if one of those used were missing; the arguments are the server's own handles.
macro_rules! rm {
    ($name:ident ( $($arg:expr),* $(,)? )) => {{
        #[allow(unused_unsafe)]
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
    RedisModule_CallReplyInteger,
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
    RedisModule_GetAbsExpire,
    RedisModule_GetBlockedClientPrivateData,
    RedisModule_GetCommand,
    RedisModule_GetContextFlags,
    RedisModule_GetCurrentUserName,
    RedisModule_GetDetachedThreadSafeContext,
    RedisModule_GetModuleOptionsAll,
    RedisModule_GetModuleUserFromUserName,
    RedisModule_GetRandomBytes,
    RedisModule_GetSelectedDb,
    RedisModule_GetServerInfo,
    RedisModule_HashSet,
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

/// An open key. Values read from it die with it.
pub(crate) struct Key(*mut raw::RedisModuleKey);

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum KeyKind {
    Empty,
    String,
    Zset,
    Hash,
    Other,
}

const READ: c_int = raw::REDISMODULE_READ as c_int;
const WRITE: c_int = raw::REDISMODULE_WRITE as c_int;
/// Looks without being seen: no LRU touch, no hit or miss counted, no event.
const QUIET: c_int = (1 << 16) | (1 << 17) | (1 << 18);

impl Key {
    pub(crate) fn read(ctx: Ctx, name: RawString) -> Key {
        Key(rm!(RedisModule_OpenKey(ctx, name, READ)).cast())
    }
    pub(crate) fn peek(ctx: Ctx, name: RawString) -> Key {
        Key(rm!(RedisModule_OpenKey(ctx, name, READ | QUIET)).cast())
    }
    pub(crate) fn write(ctx: Ctx, name: RawString) -> Key {
        Key(rm!(RedisModule_OpenKey(ctx, name, READ | WRITE)).cast())
    }
    pub(crate) fn kind(&self) -> KeyKind {
        if self.0.is_null() {
            return KeyKind::Empty;
        }
        match rm!(RedisModule_KeyType(self.0)) as isize {
            0 => KeyKind::Empty,
            raw::REDISMODULE_KEYTYPE_STRING => KeyKind::String,
            raw::REDISMODULE_KEYTYPE_HASH => KeyKind::Hash,
            raw::REDISMODULE_KEYTYPE_ZSET => KeyKind::Zset,
            _ => KeyKind::Other,
        }
    }
    /// The body of a string key; valid until the key is changed or closed by a writer.
    pub(crate) fn body<'a>(&'a self) -> Option<&'a [u8]> {
        if self.0.is_null() {
            return None;
        }
        let mut len = 0usize;
        let p = rm!(RedisModule_StringDMA(self.0, &mut len, READ));
        if p.is_null() {
            return None;
        }
        // SAFETY: the server hands out its own buffer of `len` bytes, which stays put while the key is open.
        Some(unsafe { std::slice::from_raw_parts::<'a>(p.cast(), len) })
    }
    pub(crate) fn set_string(&self, body: &RString) -> bool {
        rm!(RedisModule_StringSet(self.0, body.raw())) == OK
    }
    /// `at`: unix ms.
    pub(crate) fn expire_at(&self, at: u64) -> bool {
        rm!(RedisModule_SetAbsExpire(self.0, at as i64)) == OK
    }
    pub(crate) fn len(&self) -> usize {
        if self.0.is_null() {
            return 0;
        }
        rm!(RedisModule_ValueLength(self.0))
    }
    /// Sets a field of a hash; raises no event and shows it to no MONITOR.
    pub(crate) fn set_field(&self, field: &RString, value: &RString) -> bool {
        // What was not there before counts as well.
        const COUNT_ALL: c_int = raw::REDISMODULE_HASH_COUNT_ALL as c_int;
        let end = ptr::null_mut::<raw::RedisModuleString>();
        rm!(RedisModule_HashSet(
            self.0,
            COUNT_ALL,
            field.raw(),
            value.raw(),
            end
        )) == 1
    }
    pub(crate) fn zadd(&self, member: &RString) -> bool {
        rm!(RedisModule_ZsetAdd(
            self.0,
            0.0,
            member.raw(),
            ptr::null_mut()
        )) == OK
    }
    pub(crate) fn zholds(&self, member: &RString) -> bool {
        let mut score = 0.0;
        rm!(RedisModule_ZsetScore(self.0, member.raw(), &mut score)) == OK
    }
    pub(crate) fn zrem(&self, member: &RString) -> bool {
        let mut gone = 0;
        rm!(RedisModule_ZsetRem(self.0, member.raw(), &mut gone)) == OK && gone == 1
    }
    /// Calls `each` with the members in order (bytewise, all scores being 0) until it returns false.
    pub(crate) fn members(&self, each: impl FnMut(&[u8]) -> bool) {
        if !self.0.is_null() && rm!(RedisModule_ZsetFirstInScoreRange(self.0, 0.0, 0.0, 0, 0)) == OK
        {
            self.walk(each);
        }
    }
    /// The same, from behind a member.
    pub(crate) fn members_after(&self, member: &[u8], each: impl FnMut(&[u8]) -> bool) {
        let (from, to) = (RString::new(&[b"(", member].concat()), RString::new(b"+"));
        if !self.0.is_null()
            && rm!(RedisModule_ZsetFirstInLexRange(
                self.0,
                from.raw(),
                to.raw()
            )) == OK
        {
            self.walk(each);
        }
    }
    fn walk(&self, mut each: impl FnMut(&[u8]) -> bool) {
        loop {
            let mut score = 0.0;
            let m = rm!(RedisModule_ZsetRangeCurrentElement(self.0, &mut score));
            if m.is_null() {
                break;
            }
            // SAFETY: `m` is ours until freed two lines below.
            let more = each(unsafe { bytes(m) });
            rm!(RedisModule_FreeString(ptr::null_mut(), m));
            if !more || rm!(RedisModule_ZsetRangeNext(self.0)) != 1 {
                break;
            }
        }
        rm!(RedisModule_ZsetRangeStop(self.0));
    }
}

impl Key {
    pub(crate) fn raw(&self) -> *mut raw::RedisModuleKey {
        self.0
    }
}

impl Key {
    /// Fields and values of a hash.
    pub(crate) fn fields(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        unsafe extern "C" fn visit(
            _: *mut raw::RedisModuleKey,
            field: RawString,
            value: RawString,
            data: *mut c_void,
        ) {
            let out = &mut *(data as *mut Vec<(Vec<u8>, Vec<u8>)>);
            if !value.is_null() {
                out.push((bytes(field).to_vec(), bytes(value).to_vec()));
            }
        }
        let mut out: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        if self.0.is_null() {
            return out;
        }
        let cursor = rm!(RedisModule_ScanCursorCreate());
        let data = &mut out as *mut Vec<(Vec<u8>, Vec<u8>)> as *mut c_void;
        while rm!(RedisModule_ScanKey(self.0, cursor, Some(visit), data)) != 0 {}
        rm!(RedisModule_ScanCursorDestroy(cursor));
        out
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if !self.0.is_null() {
            rm!(RedisModule_CloseKey(self.0));
        }
    }
}

/// A reply of a command we called.
pub(crate) struct Reply(*mut raw::RedisModuleCallReply);

impl Reply {
    pub(crate) fn integer(&self) -> Option<i64> {
        (!self.0.is_null()
            && rm!(RedisModule_CallReplyType(self.0)) as i64
                == raw::REDISMODULE_REPLY_INTEGER as i64)
            .then(|| rm!(RedisModule_CallReplyInteger(self.0)))
    }
    /// Refused because the key's slot belongs to another node.
    pub(crate) fn is_elsewhere(&self) -> bool {
        if self.0.is_null() || !self.is_error() {
            return false;
        }
        let mut len = 0usize;
        let p = rm!(RedisModule_CallReplyStringPtr(self.0, &mut len));
        if p.is_null() {
            return false;
        }
        // SAFETY: `len` bytes that live as long as the reply.
        let text = unsafe { std::slice::from_raw_parts(p.cast::<u8>(), len) };
        text.windows(9).any(|w| w == b"non local")
    }
    pub(crate) fn is_error(&self) -> bool {
        self.0.is_null()
            || rm!(RedisModule_CallReplyType(self.0)) as i64 == raw::REDISMODULE_REPLY_ERROR as i64
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.0.is_null() {
            rm!(RedisModule_FreeCallReply(self.0));
        }
    }
}

/// Calls a command with byte arguments. With `replicate` it goes to replicas and the AOF as well; the caller made sure
/// that writing is allowed ([`writable`]).
pub(crate) fn call(ctx: Ctx, command: &CStr, replicate: bool, args: &[&[u8]]) -> Reply {
    let strings: Vec<RString> = args.iter().map(|a| RString::new(a)).collect();
    let mut raws: Vec<RawString> = strings.iter().map(RString::raw).collect();
    let format: &CStr = if replicate { c"v!ES" } else { c"vE" };
    // SAFETY: format "v" takes a vector and its length; the strings outlive the call.
    Reply(unsafe {
        match raw::RedisModule_Call {
            Some(f) => f(
                ctx,
                command.as_ptr(),
                format.as_ptr(),
                raws.as_mut_ptr(),
                raws.len(),
            ),
            None => ptr::null_mut(),
        }
    })
}

/// Sends a command to replicas and the AOF without running it here.
pub(crate) fn replicate(ctx: Ctx, command: &CStr, args: &[&[u8]]) {
    let strings: Vec<RString> = args.iter().map(|a| RString::new(a)).collect();
    let mut raws: Vec<RawString> = strings.iter().map(RString::raw).collect();
    // SAFETY: as in `call`.
    unsafe {
        if let Some(f) = raw::RedisModule_Replicate {
            f(
                ctx,
                command.as_ptr(),
                c"v".as_ptr(),
                raws.as_mut_ptr(),
                raws.len(),
            );
        }
    }
}

pub(crate) fn flags(ctx: Ctx) -> u32 {
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

pub(crate) fn signal_modified(ctx: Ctx, name: &RString) {
    rm!(RedisModule_SignalModifiedKey(ctx, name.raw()));
}

pub(crate) fn notify(ctx: Ctx, class: c_int, event: &CStr, name: &RString) {
    rm!(RedisModule_NotifyKeyspaceEvent(
        ctx,
        class,
        event.as_ptr(),
        name.raw()
    ));
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
                super::gil::detached(),
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

pub(crate) fn random_u64() -> u64 {
    let mut b = [0u8; 8];
    if getrandom::fill(&mut b).is_err() {
        // The kernel's generator is not there: the server's own, seeded at its start, serves.
        rm!(RedisModule_GetRandomBytes(b.as_mut_ptr(), b.len()));
    }
    u64::from_le_bytes(b)
}
