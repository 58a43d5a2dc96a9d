//! The desk where fetches are ordered, and the workers that carry them out.
//!
//! The desk stands behind one mutex that is held for moments only: the main thread orders, workers take calls as the
//! scheduler lets them go. A worker that needs the server's lock holds nothing else while it waits for it.

pub(crate) mod budget;
pub(crate) mod deletes;
pub(crate) mod job;
pub(crate) mod orders;
pub(crate) mod shed;
pub(crate) mod threads;
pub(crate) mod way;

pub(crate) use crate::server::desk::threads::{
    background, idle, reset, shutting_down, start, stop, stopping, tick,
};

use crate::server::desk::job::Job;
use crate::server::state::clock;
use crate::server::state::entities::EntityIx;
use crate::server::state::lane::Lane;
use crate::server::state::waiting::Passenger;
use crate::server::valkey::ffi;
use crate::server::valkey::settings;
use compact_str::CompactString;
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex, MutexGuard};
use podium_core::flight::{FlightId, Flights};
use podium_core::pace::{BaseKey, CallId, LaneKey, Limits, Scheduler};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

/// What a flight is for: in one generation of its entity, so that nobody who asks in the next one (another shape, say)
/// travels with those who asked before.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Thing {
    Record(EntityIx, CompactString, u64),
    /// `<field>:<value>`, or `*` for the whole table.
    Question(EntityIx, Arc<[u8]>, u64),
}

type Task = Box<dyn FnOnce() + Send>;

/// A question's call, as the scheduler knows it.
#[derive(Clone, Copy)]
pub(crate) struct QuestionCall {
    pub(crate) id: CallId,
    /// It failed and waits to be repeated.
    pub(crate) repeats: bool,
    /// When its page in the air was asked for, unix us; 0: none is.
    pub(crate) begun_us: u64,
}

/// Orders, flights, and the order of sends and changes.
pub(crate) struct Desk {
    pub(crate) sched: Scheduler<Arc<Job>>,
    pub(crate) flights: Flights<Thing, Passenger>,
    pub(crate) bases: HashMap<Arc<str>, BaseKey>,
    pub(crate) lanes: HashMap<LaneKey, Lane>,
    /// The call that each question's flight waits for.
    pub(crate) calls: HashMap<FlightId, QuestionCall>,
    /// Work that needs no call: scans in slices, wake-ups in portions.
    pub(crate) tasks: VecDeque<Task>,
    pub(crate) at_tasks: usize,
    pub(crate) busy: usize,
    pub(crate) stopping: bool,
    /// What the workers do.
    pub(crate) work: Option<fn()>,
    pub(crate) workers: Vec<JoinHandle<()>>,
    pub(crate) errands: Vec<JoinHandle<()>>,
    pub(crate) limits_at: u64,
}

pub(crate) struct Office {
    pub(crate) desk: Mutex<Desk>,
    pub(crate) bell: Condvar,
}

pub(crate) static OFFICE: once_cell::sync::Lazy<Office> = once_cell::sync::Lazy::new(|| Office {
    desk: Mutex::new(Desk {
        sched: Scheduler::new(Limits::default()),
        flights: Flights::default(),
        bases: HashMap::new(),
        lanes: HashMap::new(),
        calls: HashMap::new(),
        tasks: VecDeque::new(),
        at_tasks: 0,
        busy: 0,
        stopping: false,
        work: None,
        workers: Vec::new(),
        errands: Vec::new(),
        limits_at: u64::MAX,
    }),
    bell: Condvar::new(),
});

/// The desk. Held for moments; never while waiting for the server's lock.
pub(crate) fn desk() -> MutexGuard<'static, Desk> {
    OFFICE.desk.lock()
}

/// Is a pass of the event loop about to be closed?
static PASS: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn end_of_pass(_: *mut c_void) {
    PASS.store(false, Ordering::Relaxed);
    let _ = catch_unwind(|| {
        desk().sched.flush(clock::mono_ms());
        OFFICE.bell.notify_one();
    });
}

/// What was ordered in this pass of the event loop goes out together at its end. On the main thread.
pub(crate) fn close_pass() {
    if !PASS.swap(true, Ordering::Relaxed) {
        ffi::next_pass(end_of_pass);
    }
}

/// What was ordered goes out now. From a worker.
pub(crate) fn close_now() {
    desk().sched.flush(clock::mono_ms());
    OFFICE.bell.notify_one();
}

/// Something for a worker that needs no call.
pub(crate) fn spawn(task: Task) {
    desk().tasks.push_back(task);
    OFFICE.bell.notify_one();
}

pub(crate) fn limits() -> Limits {
    let rate = settings::RATE_LIMIT.get().max(1) as u64;
    Limits {
        rate_milli: rate * 1000,
        ceiling_per_s: (rate as u32).max(5),
        token_rate_per_s: if rate > 50 { rate as u32 } else { 50 },
        max_in_flight: settings::THREADS.get().max(1) as usize,
        monthly: Some(settings::MONTHLY_CALLS.get().max(0) as u64).filter(|m| *m > 0),
        ..Limits::default()
    }
}
