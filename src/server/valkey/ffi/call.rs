//! Commands that we call, what goes to replicas, and who is told of a change.

use crate::server::valkey::ffi::{rm, Ctx, RString, RawString};
use redis_module::raw;
use std::ffi::{c_int, CStr};
use std::ptr;

/// A reply of a command we called.
pub(crate) struct Reply(*mut raw::RedisModuleCallReply);

impl Reply {
    pub(crate) fn integer(&self) -> Option<i64> {
        (!self.0.is_null()
            && rm!(RedisModule_CallReplyType(self.0)) as i64
                == raw::REDISMODULE_REPLY_INTEGER as i64)
            .then(|| rm!(RedisModule_CallReplyInteger(self.0)))
    }
    /// The bytes of a string or an error.
    pub(crate) fn text(&self) -> &[u8] {
        if self.0.is_null() {
            return &[];
        }
        let mut len = 0usize;
        let p = rm!(RedisModule_CallReplyStringPtr(self.0, &mut len));
        if p.is_null() {
            return &[];
        }
        // SAFETY: `len` bytes that live as long as the reply.
        unsafe { std::slice::from_raw_parts(p.cast::<u8>(), len) }
    }
    /// Refused because of the key's slot: it is another node's, or on its way from or to one.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.is_error() && self.text().windows(9).any(|w| w == b"non local")
    }
    /// The texts of an array; what is no text is left out.
    pub(crate) fn texts(&self) -> Vec<String> {
        if self.is_error() {
            return Vec::new();
        }
        let n = rm!(RedisModule_CallReplyLength(self.0));
        let texts = (0..n).filter_map(|i| {
            let mut len = 0usize;
            let item = rm!(RedisModule_CallReplyArrayElement(self.0, i));
            if item.is_null() {
                return None;
            }
            let p = rm!(RedisModule_CallReplyStringPtr(item, &mut len));
            // SAFETY: `len` bytes that live as long as the reply.
            (!p.is_null()).then(|| unsafe { std::slice::from_raw_parts(p.cast::<u8>(), len) })
        });
        texts
            .map(|t| String::from_utf8_lossy(t).into_owned())
            .collect()
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
/// that writing is allowed ([`crate::server::valkey::ffi::writable`]).
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
    let all: Vec<&RString> = strings.iter().collect();
    replicate_all(ctx, command, &all);
}

/// The same with strings that are there already: their bytes are not copied.
pub(crate) fn replicate_all(ctx: Ctx, command: &CStr, args: &[&RString]) {
    let mut raws: Vec<RawString> = args.iter().map(|s| s.raw()).collect();
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
