//! A user's DEL of a key that is not there yet.
//!
//! DEL of a key that exists raises an event. Of one that is only being fetched it raises none, and yet means the same: what
//! comes back from before must not be stored. So while fetches are under way, and a little longer, DEL and UNLINK are looked
//! at. In a transaction they take effect when EXEC runs them, which is seen too; what was queued before anybody looked is
//! not known, and may have been any key.

use crate::server::desk::desk;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::store::change;
use crate::server::valkey::ffi::{self, bytes, rm};
use crate::server::valkey::lock;
use podium_core::key::{self, Name};
use podium_core::transaction::{Deletes, Takes, Transactions};
use redis_module::raw;
use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

/// Looked at so long, ms, after the last fetch has landed: traffic that misses now and then is seen through, and with it
/// where its transactions begin.
const LINGER_MS: u64 = 30_000;

struct Watch {
    filter: Cell<*mut raw::RedisModuleCommandFilter>,
    /// When a fetch was last under way, unix ms.
    needed_ms: Cell<u64>,
    transactions: RefCell<Transactions>,
}
// SAFETY: touched under the server's lock only.
unsafe impl Send for Watch {}
unsafe impl Sync for Watch {}

static WATCH: once_cell::sync::Lazy<Watch> = once_cell::sync::Lazy::new(|| Watch {
    filter: Cell::new(ptr::null_mut()),
    needed_ms: Cell::new(0),
    transactions: RefCell::new(Transactions::default()),
});

/// Our own calls are no user's.
const NOSELF: i32 = 1;

/// Fetches are about to be under way. Under the server's lock.
pub(crate) fn watch() {
    if WATCH.filter.get().is_null() {
        WATCH.needed_ms.set(ffi::now_ms());
        WATCH.filter.set(rm!(RedisModule_RegisterCommandFilter(
            lock::detached(),
            Some(look),
            NOSELF
        )));
    }
}

/// Stops looking when nothing is under way any more. Under the server's lock.
pub(crate) fn rest() {
    let filter = WATCH.filter.get();
    if filter.is_null() {
        return;
    }
    let now = ffi::now_ms();
    let idle = {
        let d = desk();
        d.flights.is_empty() && !clock::order().any_under_way()
    };
    if !idle || now < WATCH.needed_ms.get() {
        WATCH.needed_ms.set(now);
    } else if now - WATCH.needed_ms.get() > LINGER_MS {
        rm!(RedisModule_UnregisterCommandFilter(
            lock::detached(),
            filter
        ));
        forget();
    }
}

/// Nothing is looked at any more: the server drops the filter with the module that registered it.
pub(crate) fn forget() {
    WATCH.filter.set(ptr::null_mut());
    WATCH.transactions.borrow_mut().forget();
}

enum Word {
    Deletes,
    Begins,
    Discards,
    Executes,
}

fn word(w: &[u8]) -> Option<Word> {
    let is = |name: &[u8]| w.eq_ignore_ascii_case(name);
    match w.len() {
        3 if is(b"del") => Some(Word::Deletes),
        4 if is(b"exec") => Some(Word::Executes),
        5 if is(b"multi") => Some(Word::Begins),
        5 if is(b"reset") => Some(Word::Discards),
        6 if is(b"unlink") || is(b"getdel") => Some(Word::Deletes),
        7 if is(b"discard") => Some(Word::Discards),
        _ => None,
    }
}

unsafe extern "C" fn look(f: *mut raw::RedisModuleCommandFilterCtx) {
    let Some(word) = word(bytes(rm!(RedisModule_CommandFilterArgGet(f, 0)))) else {
        return;
    };
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let client = rm!(RedisModule_CommandFilterGetClientId(f));
        let Ok(mut transactions) = WATCH.transactions.try_borrow_mut() else {
            return;
        };
        match word {
            Word::Begins => transactions.begin(client),
            Word::Discards => transactions.discard(client),
            Word::Deletes => {
                let n = rm!(RedisModule_CommandFilterArgsCount(f));
                let names = || {
                    (1..n)
                        .map(|i| bytes(rm!(RedisModule_CommandFilterArgGet(f, i))))
                        .filter(|name| key::parse(name).is_some())
                };
                if transactions.delete(client, names()) == Takes::Now {
                    cell::enter(|st| names().for_each(|name| deleted(st, name)));
                }
            }
            Word::Executes => match transactions.execute(client) {
                Deletes::These(names) => {
                    cell::enter(|st| names.iter().for_each(|name| deleted(st, name)));
                }
                Deletes::Anything => change::everything_under_way(),
            },
        }
    }));
}

/// What was sent before is not stored under this name.
fn deleted(st: &State, name: &[u8]) {
    let (entity, what) = match key::parse(name) {
        Some(Name::Record { entity, id }) => (entity, id.to_string()),
        Some(Name::All { entity } | Name::Index { entity, .. }) => (
            entity,
            String::from_utf8_lossy(name.get(entity.len() + 1..).unwrap_or(b"")).into_owned(),
        ),
        _ => return,
    };
    if let Some(ix) = st.by_name(entity).map(|e| e.ix) {
        change::under_way(ix, &what, clock::next());
    }
}
