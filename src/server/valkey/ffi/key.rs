//! An open key, and what is read from it and written to it.

use crate::server::valkey::ffi::{bytes, rm, Ctx, RString, RawString, OK};
use redis_module::raw;
use std::ffi::{c_int, c_void};
use std::ptr;

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
    /// Writes over some bytes of a string that is at least that long, in place. Not replicated: for what each process keeps
    /// for itself.
    pub(crate) fn patch(&self, at: std::ops::Range<usize>, bytes: &[u8]) -> bool {
        let mut len = 0usize;
        let p = rm!(RedisModule_StringDMA(self.0, &mut len, WRITE));
        if p.is_null() || at.end > len || at.len() != bytes.len() {
            return false;
        }
        // SAFETY: the server hands out its own buffer of `len` bytes for writing.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), p.cast::<u8>().add(at.start), bytes.len())
        };
        true
    }
    /// `at`: unix ms.
    pub(crate) fn expire_at(&self, at: u64) -> bool {
        rm!(RedisModule_SetAbsExpire(self.0, at as i64)) == OK
    }
    /// When the key ends, unix ms; `u64::MAX`: never.
    pub(crate) fn ends_at(&self) -> u64 {
        u64::try_from(rm!(RedisModule_GetAbsExpire(self.0))).unwrap_or(u64::MAX)
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
    /// Takes a field of a hash away.
    pub(crate) fn delete_field(&self, field: &RString) {
        // What the API takes for "delete" in place of a value.
        let delete = ptr::without_provenance_mut::<raw::RedisModuleString>(1);
        let end = ptr::null_mut::<raw::RedisModuleString>();
        rm!(RedisModule_HashSet(
            self.0,
            raw::REDISMODULE_HASH_NONE as c_int,
            field.raw(),
            delete,
            end
        ));
    }
    /// Takes the key away; true if there was one.
    pub(crate) fn unlink(&self) -> bool {
        self.kind() != KeyKind::Empty && rm!(RedisModule_UnlinkKey(self.0)) == OK
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

/// Names of one length, looked up one after the other through one string object that is written over in place.
///
/// Only while every lookup finds its key: what the server makes of a key that is not there (a DEL of one that expired) keeps
/// the object.
pub(crate) struct NameSlot {
    string: RString,
    len: usize,
}

impl NameSlot {
    pub(crate) fn new(name: &[u8]) -> NameSlot {
        NameSlot {
            string: RString::new(name),
            len: name.len(),
        }
    }
    /// Opens the key of another name; `None`: the name is of another length, or there is no such key. The slot is not used
    /// any more then.
    pub(crate) fn open(&mut self, ctx: Ctx, name: &[u8]) -> Option<Key> {
        let mut len = 0usize;
        let at = rm!(RedisModule_StringPtrLen(self.string.raw(), &mut len));
        if at.is_null() || len != self.len || name.len() != self.len {
            return None;
        }
        // SAFETY: the object is this slot's own and nobody else holds it: no lookup before this one failed.
        unsafe { ptr::copy_nonoverlapping(name.as_ptr(), at.cast_mut().cast(), len) };
        let key = Key::read(ctx, self.string.raw());
        (!key.0.is_null()).then_some(key)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if !self.0.is_null() {
            rm!(RedisModule_CloseKey(self.0));
        }
    }
}

/// Asks the memory for what will be copied while its head is still being looked at: a value larger than the processor's
/// caches would be waited for line by line.
#[inline(always)]
pub(crate) fn ahead(body: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        const LINE: usize = 64;
        /// As much as the first level of cache should be asked for at once.
        const MOST: usize = 2048;
        for line in body.chunks(LINE).take(MOST / LINE) {
            // SAFETY: a prefetch reads nothing and faults never.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = body;
}
