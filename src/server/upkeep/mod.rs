//! The upkeep thread: unlinks what generations left behind, writes what could not be written, keeps settings and clock current.

pub(crate) mod ahead;
pub(crate) mod evicted;
pub(crate) mod info;
pub(crate) mod learning;
pub(crate) mod rebuild;
pub(crate) mod saved;
pub(crate) mod slots;

use crate::server::desk::{self};
use crate::server::state::cell;
use crate::server::state::rounds::THREAD;
use crate::server::state::soon;
use crate::server::store;
use crate::server::store::own_keys;
use crate::server::upkeep::learning::Learning;
use crate::server::valkey::ffi;
use crate::server::valkey::lock;
use crate::server::valkey::settings;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

/// Keys unlinked per hold of the lock.
const SLICE: usize = 32;
const BREATH: Duration = Duration::from_micros(500);
const TICK: Duration = Duration::from_millis(500);

pub(crate) fn start() -> Result<(), String> {
    THREAD.start("podium-upkeep", run)
}

/// Stops the thread; called with the server's lock held.
pub(crate) fn stop() -> Result<(), String> {
    THREAD.stop("upkeep is under way: try again")
}

fn run() {
    let mut swept = Instant::now();
    let mut hands = ahead::Hands::default();
    while THREAD.next(Instant::now() + TICK).is_some() {
        let _ = catch_unwind(AssertUnwindSafe(|| round(&mut swept)));
        let _ = catch_unwind(AssertUnwindSafe(|| hands.look()));
        THREAD.rest();
    }
}

/// Buckets of the keyspace looked through per hold of the lock.
const BUCKETS: usize = 64;

/// Notes the keys that came before their entity's spec did.
fn register() {
    let mut cursor: Option<crate::server::upkeep::rebuild::Cursor> = None;
    loop {
        let held = lock::lock();
        let more = cell::enter(|st| {
            let cursor = cursor.get_or_insert_with(crate::server::upkeep::rebuild::Cursor::new);
            let more =
                crate::server::upkeep::rebuild::register_some(held.ctx(), st, cursor, BUCKETS);
            if !more {
                slots::registered(st);
            }
            more
        });
        if more != Some(true) || THREAD.stopping() {
            // It is the server's: let go under the lock.
            drop(cursor.take());
            return;
        }
        drop(held);
        std::thread::sleep(BREATH);
    }
}

/// Learns what the stored answers used: of a data set, or of a slot, that another node looked after so far.
fn learn() {
    let mut learning: Option<Learning> = None;
    loop {
        let held = lock::lock();
        let more = cell::enter(|st| {
            let due = st.answers.lost || st.answers.to_learn || learning.is_some();
            if !due || st.replica || st.loading || !ffi::removable(held.ctx()) {
                return false;
            }
            let all = st.answers.lost;
            if learning.as_ref().is_some_and(|l| all && !l.is_of_all()) {
                learning = None;
            }
            let learning = learning.get_or_insert_with(|| {
                if all {
                    Learning::of_all()
                } else {
                    Learning::of_those_that_came(st)
                }
            });
            learning.some(held.ctx(), st, BUCKETS)
        });
        if more != Some(true) || THREAD.stopping() {
            // It is the server's: let go under the lock.
            drop(learning.take());
            // Broken off: begun anew.
            cell::enter(|st| st.answers.to_learn |= std::mem::take(&mut st.answers.learning));
            return;
        }
        drop(held);
        std::thread::sleep(BREATH);
    }
}

fn round(swept: &mut Instant) {
    desk::tick();
    crate::server::changes::written::reread();
    crate::server::fetching::schema::tick();
    // Registers that were given up are taken apart here, where nobody waits.
    let discarded = cell::with(|st, _| std::mem::take(&mut st.discarded));
    drop(discarded);
    crate::server::reads::sorted::tick();
    let mut more = true;
    while more {
        more = cell::with(|st, ctx| {
            crate::server::desk::deletes::rest();
            crate::server::valkey::acl::rest();
            crate::server::reads::count_now(st);
            crate::server::fetching::told::look_up_soon(st, ctx);
            if st.loading {
                return false;
            }
            st.replica = ffi::is_replica(ctx);
            slots::place_all(ctx, st);
            if own_keys::unsaved() && ffi::removable(ctx) {
                crate::server::upkeep::saved::save_all(ctx, st);
            }
            evicted::tick(ctx, st);
            if ffi::removable(ctx) {
                crate::server::desk::budget::save(ctx, st);
                soon::shelf().forget(|ix| st.get(ix).is_some());
            }
            store::clear_graves(st, ctx, SLICE) && ffi::removable(ctx)
        })
        .unwrap_or(false);
        if more {
            if THREAD.stopping() {
                return;
            }
            std::thread::sleep(BREATH);
        }
    }
    if slots::take_unregistered() {
        register();
    }
    learn();
    let interval = settings::SWEEP_INTERVAL.get();
    if interval > 0 && swept.elapsed() >= Duration::from_secs(interval as u64) {
        *swept = Instant::now();
        // On a thread of its own: with a large cache it takes minutes, and upkeep does not wait.
        if let Err(why) = desk::background("podium-sweep", crate::server::jobs::sweep::by_itself) {
            ffi::log(
                ffi::Level::Warning,
                &format!("the sweep was not begun: {why}"),
            );
        }
    }
}
