//! The upkeep thread: unlinks what generations left behind, writes what could not be written, keeps settings and clock current.

use super::config;
use super::engine::{self, desk};
use super::ffi;
use super::gil;
use super::persist;
use super::store;
use parking_lot::{Condvar, Mutex};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

struct Room {
    woken: bool,
    stopping: bool,
    /// It is doing something for which it may want the server's lock.
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

static ROOM: Mutex<Room> = Mutex::new(Room {
    woken: false,
    stopping: false,
    busy: false,
    thread: None,
});
static BELL: Condvar = Condvar::new();

/// Keys unlinked per hold of the lock.
const SLICE: usize = 32;
const BREATH: Duration = Duration::from_micros(500);
const TICK: Duration = Duration::from_millis(500);

pub(crate) fn start() -> Result<(), String> {
    let handle = std::thread::Builder::new()
        .name("podium-upkeep".into())
        .spawn(run)
        .map_err(|e| e.to_string())?;
    let mut r = ROOM.lock();
    r.stopping = false;
    r.thread = Some(handle);
    Ok(())
}

/// There is something to do.
pub(crate) fn wake() {
    ROOM.lock().woken = true;
    BELL.notify_one();
}

/// Stops the thread; called with the server's lock held, so only if it cannot be waiting for that.
pub(crate) fn stop() -> Result<(), String> {
    let thread = {
        let mut r = ROOM.lock();
        if r.busy {
            return Err("upkeep is under way: try again".into());
        }
        r.stopping = true;
        r.thread.take()
    };
    BELL.notify_one();
    if let Some(t) = thread {
        let _ = t.join();
    }
    Ok(())
}

fn run() {
    let mut swept = Instant::now();
    loop {
        {
            let mut r = ROOM.lock();
            if !r.woken && !r.stopping {
                BELL.wait_for(&mut r, TICK);
            }
            if r.stopping {
                return;
            }
            r.woken = false;
            r.busy = true;
        }
        let _ = catch_unwind(AssertUnwindSafe(|| round(&mut swept)));
        ROOM.lock().busy = false;
    }
}

fn round(swept: &mut Instant) {
    engine::tick();
    super::written::reread();
    let mut more = true;
    while more {
        more = {
            let held = gil::lock();
            let ctx = held.ctx();
            gil::enter(|st| {
                super::del::rest();
                super::serve::count_now(st);
                if st.loading {
                    return false;
                }
                st.replica = ffi::is_replica(ctx);
                if persist::unsaved() {
                    persist::leave_foreign(ctx, st);
                }
                if persist::unsaved() && ffi::removable(ctx) {
                    persist::save_all(ctx, st);
                }
                if ffi::removable(ctx) {
                    super::budget::save(ctx, st);
                    desk().soon.forget(|ix| st.get(ix).is_some());
                }
                store::clear_graves(st, ctx, SLICE) && ffi::removable(ctx)
            })
            .unwrap_or(false)
        };
        if more {
            if ROOM.lock().stopping {
                return;
            }
            std::thread::sleep(BREATH);
        }
    }
    let interval = config::SWEEP_INTERVAL.get();
    if interval > 0 && swept.elapsed() >= Duration::from_secs(interval as u64) {
        *swept = Instant::now();
        super::sweep::by_itself();
    }
}
