//! A user's DEL of a key that is not there yet.
//!
//! DEL of a key that exists raises an event. Of one that is only being fetched it raises none, and yet means the same: what
//! comes back from before must not be stored. So while fetches are under way, and only then, DEL and UNLINK are looked at.

use super::engine::desk;
use super::ffi::{bytes, rm};
use super::gil;
use podium_core::key::{self, Name};
use redis_module::raw;
use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

struct Slot(Cell<*mut raw::RedisModuleCommandFilter>);
// SAFETY: touched under the server's lock only.
unsafe impl Sync for Slot {}
static FILTER: Slot = Slot(Cell::new(ptr::null_mut()));

/// Our own calls are no user's.
const NOSELF: i32 = 1;

/// Fetches are about to be under way. Under the server's lock.
pub(crate) fn watch() {
    if FILTER.0.get().is_null() {
        FILTER.0.set(rm!(RedisModule_RegisterCommandFilter(
            gil::detached(),
            Some(look),
            NOSELF
        )));
    }
}

/// Stops looking when nothing is under way. Under the server's lock.
pub(crate) fn rest() {
    let filter = FILTER.0.get();
    if !filter.is_null() && desk().flights.is_empty() {
        rm!(RedisModule_UnregisterCommandFilter(gil::detached(), filter));
        FILTER.0.set(ptr::null_mut());
    }
}

/// The server dropped the filter with the module that registered it.
pub(crate) fn forget() {
    FILTER.0.set(ptr::null_mut());
}

unsafe extern "C" fn look(f: *mut raw::RedisModuleCommandFilterCtx) {
    let n = rm!(RedisModule_CommandFilterArgsCount(f));
    if n < 2 {
        return;
    }
    let word = bytes(rm!(RedisModule_CommandFilterArgGet(f, 0)));
    let deletes = match word.len() {
        3 => word.eq_ignore_ascii_case(b"del"),
        6 => word.eq_ignore_ascii_case(b"unlink") || word.eq_ignore_ascii_case(b"getdel"),
        _ => false,
    };
    if !deletes {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        gil::enter(|st| {
            for i in 1..n {
                let name = bytes(rm!(RedisModule_CommandFilterArgGet(f, i)));
                let (entity, what) = match key::parse(name) {
                    Some(Name::Record { entity, id }) => (entity, id.to_string()),
                    Some(Name::All { entity } | Name::Index { entity, .. }) => (
                        entity,
                        String::from_utf8_lossy(name.get(entity.len() + 1..).unwrap_or(b""))
                            .into_owned(),
                    ),
                    _ => continue,
                };
                let Some(ix) = st.by_name(entity).map(|e| e.ix) else {
                    continue;
                };
                let mut d = desk();
                let seq = d.next_seq();
                d.tokens.note(ix, &what, seq);
            }
        });
    }));
}
