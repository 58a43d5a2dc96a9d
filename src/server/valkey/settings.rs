//! The settings: `podium.<name>`, in valkey.conf, at MODULE LOADEX, by CONFIG GET and SET.
//!
//! Numbers and switches are atomics that any thread may read; texts stand behind a mutex. Secrets are never settings:
//! a setting names the file that holds one.

use crate::server::valkey::ffi::{bytes, rm, Ctx, RString, RawString, OK};
use parking_lot::{Mutex, RwLock};
use podium_core::freshness::Windows;
use podium_core::key;
use std::ffi::{c_char, c_int, c_void, CString};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// One numeric setting.
pub(crate) struct Number {
    pub(crate) name: &'static str,
    pub(crate) default: i64,
    min: i64,
    max: i64,
    memory: bool,
    value: AtomicI64,
}

impl Number {
    const fn new(name: &'static str, default: i64, min: i64, max: i64) -> Number {
        Number {
            name,
            default,
            min,
            max,
            memory: false,
            value: AtomicI64::new(default),
        }
    }
    const fn memory(name: &'static str, default: i64, min: i64, max: i64) -> Number {
        Number {
            name,
            default,
            min,
            max,
            memory: true,
            value: AtomicI64::new(default),
        }
    }
    #[inline]
    pub(crate) fn get(&self) -> i64 {
        self.value.load(Ordering::Relaxed)
    }
    pub(crate) fn seconds_as_ms(&self) -> u64 {
        (self.get().max(0) as u64).saturating_mul(1000)
    }
}

/// A century, in seconds: long enough for any lifetime, short enough to add to a clock.
const CENTURY: i64 = 3_155_760_000;

pub(crate) static ENABLED: Number = Number::new("enabled", 1, 0, 1);
pub(crate) static LOG_EVENTS: Number = Number::new("log-events", 0, 0, 1);
pub(crate) static TTL: Number = Number::new("ttl", 28_800, 1, CENTURY);
pub(crate) static JITTER_PERCENT: Number = Number::new("jitter-percent", 5, 0, 50);
pub(crate) static TOMBSTONE_TTL: Number = Number::new("tombstone-ttl", 21_600, 1, CENTURY);
pub(crate) static EMPTY_TTL: Number = Number::new("empty-ttl", 30, 1, CENTURY);
pub(crate) static ATTACHMENT_TTL: Number = Number::new("attachment-ttl", 5_400, 1, 7_000);
pub(crate) static STALE_WHILE_REVALIDATE: Number =
    Number::new("stale-while-revalidate", 0, 0, CENTURY);
pub(crate) static STALE_IF_ERROR: Number = Number::new("stale-if-error", 3_600, 0, CENTURY);
pub(crate) static RATE_LIMIT: Number = Number::new("rate-limit", 4, 1, 1_000);
pub(crate) static FETCH_TIMEOUT_MS: Number = Number::new("fetch-timeout-ms", 4_000, 1, 600_000);
pub(crate) static CONNECT_TIMEOUT_MS: Number = Number::new("connect-timeout-ms", 2_000, 1, 600_000);
pub(crate) static MAX_RESPONSE_BYTES: Number =
    Number::memory("max-response-bytes", 16_777_216, 1_024, 1 << 32);
pub(crate) static MAX_PENDING: Number = Number::new("max-pending", 10_000, 1, 10_000_000);
pub(crate) static MAX_ANSWER: Number = Number::new("max-answer", 10_000, 1, 10_000_000);
pub(crate) static THREADS: Number = Number::new("threads", 4, 1, 64);
pub(crate) static SWEEP_INTERVAL: Number = Number::new("sweep-interval", 86_400, 0, CENTURY);
pub(crate) static SYNC_INTERVAL: Number = Number::new("sync-interval", 30, 1, CENTURY);
pub(crate) static MONTHLY_CALLS: Number = Number::new("monthly-calls", 90_000, 0, i64::MAX);
pub(crate) static WARM_LIMIT: Number = Number::new("warm-limit", 2_000, 0, 10_000_000);

pub(crate) static SORTED_MEMBERS: Number = Number::new("sorted-members", 500_000, 0, 100_000_000);

pub(crate) static NUMBERS: [&Number; 19] = [
    &TTL,
    &JITTER_PERCENT,
    &TOMBSTONE_TTL,
    &EMPTY_TTL,
    &ATTACHMENT_TTL,
    &STALE_WHILE_REVALIDATE,
    &STALE_IF_ERROR,
    &RATE_LIMIT,
    &FETCH_TIMEOUT_MS,
    &CONNECT_TIMEOUT_MS,
    &MAX_RESPONSE_BYTES,
    &MAX_PENDING,
    &MAX_ANSWER,
    &THREADS,
    &SWEEP_INTERVAL,
    &SYNC_INTERVAL,
    &MONTHLY_CALLS,
    &WARM_LIMIT,
    &SORTED_MEMBERS,
];
static SWITCHES: [&Number; 2] = [&ENABLED, &LOG_EVENTS];

/// One text setting.
pub(crate) struct Text {
    pub(crate) name: &'static str,
    default: &'static str,
    check: fn(&str) -> Result<(), String>,
    value: RwLock<Option<String>>,
    /// What CONFIG GET hands out: the server keeps no copy, so the string must live here.
    shown: Mutex<Shown>,
}

struct Shown(Option<RString>);
// SAFETY: made and read by the main thread only, under the server's lock; the mutex is for the compiler.
unsafe impl Send for Shown {}

impl Text {
    const fn new(
        name: &'static str,
        default: &'static str,
        check: fn(&str) -> Result<(), String>,
    ) -> Text {
        Text {
            name,
            default,
            check,
            value: RwLock::new(None),
            shown: Mutex::new(Shown(None)),
        }
    }
    pub(crate) fn get(&self) -> String {
        self.value
            .read()
            .clone()
            .unwrap_or_else(|| self.default.to_string())
    }
}

pub(crate) static AIRTABLE_URL: Text =
    Text::new("airtable-url", "https://api.airtable.com", check_url);
pub(crate) static BASE: Text = Text::new("base", "", check_base);
pub(crate) static TOKEN_FILE: Text = Text::new("token-file", "", check_path);
pub(crate) static SPEC_FILE: Text = Text::new("spec-file", "", check_path);
pub(crate) static WEBHOOK_SECRET_FILE: Text = Text::new("webhook-secret-file", "", check_path);

static TEXTS: [&Text; 5] = [
    &AIRTABLE_URL,
    &BASE,
    &TOKEN_FILE,
    &SPEC_FILE,
    &WEBHOOK_SECRET_FILE,
];

/// Raised by every change, so that workers know when to build their client anew.
pub(crate) static CHANGES: AtomicU64 = AtomicU64::new(0);

/// What the client for Airtable is made of.
pub(crate) fn client() -> podium_airtable::Config {
    podium_airtable::Config {
        url: AIRTABLE_URL.get(),
        connect_timeout: Duration::from_millis(CONNECT_TIMEOUT_MS.get().max(1) as u64),
        max_response_bytes: MAX_RESPONSE_BYTES.get().max(1) as u64,
        user_agent: concat!("podium/", env!("CARGO_PKG_VERSION")).to_string(),
    }
}

fn check_url(s: &str) -> Result<(), String> {
    // Would a client for this URL be possible?
    podium_airtable::Client::new(podium_airtable::Config {
        url: s.to_string(),
        ..client()
    })
    .map(drop)
}
fn check_base(s: &str) -> Result<(), String> {
    if s.is_empty() || key::base_ok(s.as_bytes()) {
        Ok(())
    } else {
        Err("a base id looks like appXXXXXXXXXXXXXX".into())
    }
}
fn check_path(s: &str) -> Result<(), String> {
    if s.bytes().any(|b| b < 0x20) {
        Err("a path holds no control characters".into())
    } else {
        Ok(())
    }
}

/// The lifetimes in force for a spec that may override some of them.
pub(crate) fn windows(ttl_s: Option<u64>, jitter: Option<f64>) -> Windows {
    Windows {
        ttl_ms: ttl_s.map_or_else(|| TTL.seconds_as_ms(), |s| s.saturating_mul(1000)),
        jitter: jitter.unwrap_or(JITTER_PERCENT.get() as f64 / 100.0),
        while_revalidate_ms: STALE_WHILE_REVALIDATE.seconds_as_ms(),
        if_error_ms: STALE_IF_ERROR.seconds_as_ms(),
        attachment_ms: ATTACHMENT_TTL.seconds_as_ms(),
    }
}

#[inline]
pub(crate) fn enabled() -> bool {
    ENABLED.get() != 0
}

/// Are events logged one by one?
#[inline]
pub(crate) fn logging() -> bool {
    LOG_EVENTS.get() != 0
}

unsafe extern "C" fn get_number(_: *const c_char, data: *mut c_void) -> i64 {
    (*(data as *const Number)).get()
}
unsafe extern "C" fn set_number(
    _: *const c_char,
    v: i64,
    data: *mut c_void,
    _: *mut RawString,
) -> c_int {
    (*(data as *const Number)).value.store(v, Ordering::Relaxed);
    CHANGES.fetch_add(1, Ordering::Relaxed);
    OK
}
unsafe extern "C" fn get_switch(_: *const c_char, data: *mut c_void) -> c_int {
    (*(data as *const Number)).get() as c_int
}
unsafe extern "C" fn set_switch(
    _: *const c_char,
    v: c_int,
    data: *mut c_void,
    _: *mut RawString,
) -> c_int {
    (*(data as *const Number))
        .value
        .store(i64::from(v != 0), Ordering::Relaxed);
    CHANGES.fetch_add(1, Ordering::Relaxed);
    OK
}
unsafe extern "C" fn get_text(_: *const c_char, data: *mut c_void) -> RawString {
    let t = &*(data as *const Text);
    let fresh = RString::new(t.get().as_bytes());
    let raw = fresh.raw();
    t.shown.lock().0 = Some(fresh);
    raw
}
unsafe extern "C" fn set_text(
    _: *const c_char,
    v: RawString,
    data: *mut c_void,
    err: *mut RawString,
) -> c_int {
    let t = &*(data as *const Text);
    let refuse = |why: &str| {
        if !err.is_null() {
            *err = rm!(RedisModule_CreateString(
                std::ptr::null_mut(),
                why.as_ptr().cast(),
                why.len()
            ));
        }
        crate::server::valkey::ffi::ERR
    };
    let Ok(text) = std::str::from_utf8(bytes(v)) else {
        return refuse("not UTF-8");
    };
    if let Err(why) = (t.check)(text) {
        return refuse(&why);
    }
    *t.value.write() = Some(text.to_string());
    CHANGES.fetch_add(1, Ordering::Relaxed);
    OK
}

/// Registers every setting and reads their values. Err: the name that could not be registered.
pub(crate) fn register(ctx: Ctx) -> Result<(), String> {
    let c = |s: &str| CString::new(s).map_err(|_| s.to_string());
    for n in NUMBERS {
        let name = c(n.name)?;
        let flags = if n.memory { 1 << 7 } else { 0 };
        let data = n as *const Number as *mut c_void;
        if rm!(RedisModule_RegisterNumericConfig(
            ctx,
            name.as_ptr(),
            n.default,
            flags,
            n.min,
            n.max,
            Some(get_number),
            Some(set_number),
            None,
            data,
        )) != OK
        {
            return Err(n.name.into());
        }
    }
    for n in SWITCHES {
        let name = c(n.name)?;
        let data = n as *const Number as *mut c_void;
        if rm!(RedisModule_RegisterBoolConfig(
            ctx,
            name.as_ptr(),
            n.default as c_int,
            0,
            Some(get_switch),
            Some(set_switch),
            None,
            data,
        )) != OK
        {
            return Err(n.name.into());
        }
    }
    for t in TEXTS {
        let (name, default) = (c(t.name)?, c(t.default)?);
        let data = t as *const Text as *mut c_void;
        // A spec file is read once, at the start: changing its name later would do nothing.
        let flags = if t.name == "spec-file" { 1 } else { 0 };
        if rm!(RedisModule_RegisterStringConfig(
            ctx,
            name.as_ptr(),
            default.as_ptr(),
            flags,
            Some(get_text),
            Some(set_text),
            None,
            data,
        )) != OK
        {
            return Err(t.name.into());
        }
    }
    if rm!(RedisModule_LoadConfigs(ctx)) != OK {
        return Err("a value (see the line above)".into());
    }
    Ok(())
}

/// Frees what the settings lent to the server, before the module goes.
pub(crate) fn forget() {
    for t in TEXTS {
        t.shown.lock().0 = None;
    }
}
