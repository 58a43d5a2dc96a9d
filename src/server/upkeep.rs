//! The upkeep thread: unlinks what generations left behind, writes what could not be written, keeps settings and clock current.

use super::cluster;
use super::config;
use super::engine::{self, desk};
use super::ffi;
use super::gil;
use super::persist;
use super::store;
use super::thread::Thread;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

static THREAD: Thread<()> = Thread::new();

/// Keys unlinked per hold of the lock.
const SLICE: usize = 32;
const BREATH: Duration = Duration::from_micros(500);
const TICK: Duration = Duration::from_millis(500);

pub(crate) fn start() -> Result<(), String> {
    THREAD.start("podium-upkeep", run)
}

/// There is something to do.
pub(crate) fn wake() {
    THREAD.wake();
}

/// Stops the thread; called with the server's lock held.
pub(crate) fn stop() -> Result<(), String> {
    THREAD.stop("upkeep is under way: try again")
}

fn run() {
    let mut swept = Instant::now();
    while THREAD.next(Instant::now() + TICK).is_some() {
        let _ = catch_unwind(AssertUnwindSafe(|| round(&mut swept)));
        THREAD.rest();
    }
}

/// Buckets of the keyspace looked through per hold of the lock.
const BUCKETS: usize = 64;

/// Notes the keys that came before their entity's spec did.
fn register() {
    let mut cursor: Option<persist::Cursor> = None;
    loop {
        let held = gil::lock();
        let more = gil::enter(|st| {
            let cursor = cursor.get_or_insert_with(persist::Cursor::new);
            let more = persist::register_some(held.ctx(), st, cursor, BUCKETS);
            if !more {
                cluster::registered(st);
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

fn round(swept: &mut Instant) {
    engine::tick();
    super::written::reread();
    super::schema::tick();
    let mut more = true;
    while more {
        more = {
            let held = gil::lock();
            let ctx = held.ctx();
            gil::enter(|st| {
                super::del::rest();
                super::serve::count_now(st);
                super::told::look_up_soon(st, ctx);
                if st.loading {
                    return false;
                }
                st.replica = ffi::is_replica(ctx);
                if ffi::removable(ctx) {
                    cluster::settle(ctx, st);
                }
                if persist::unsaved() && ffi::removable(ctx) {
                    persist::save_all(ctx, st);
                }
                persist::tick(ctx, st);
                if ffi::removable(ctx) {
                    super::budget::save(ctx, st);
                    desk().soon.forget(|ix| st.get(ix).is_some());
                }
                store::clear_graves(st, ctx, SLICE) && ffi::removable(ctx)
            })
            .unwrap_or(false)
        };
        if more {
            if THREAD.stopping() {
                return;
            }
            std::thread::sleep(BREATH);
        }
    }
    if cluster::take_unregistered() {
        register();
    }
    let interval = config::SWEEP_INTERVAL.get();
    if interval > 0 && swept.elapsed() >= Duration::from_secs(interval as u64) {
        *swept = Instant::now();
        // On a thread of its own: with a large cache it takes minutes, and upkeep does not wait.
        if let Err(why) = engine::background("podium-sweep", super::sweep::by_itself) {
            ffi::log(
                ffi::Level::Warning,
                &format!("the sweep was not begun: {why}"),
            );
        }
    }
}
