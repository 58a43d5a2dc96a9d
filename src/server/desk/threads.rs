//! The threads that take from the desk: hired, told of changes, and sent home.

use crate::server::desk::{desk, limits, shed, Desk, OFFICE};
use crate::server::state::clock;
use crate::server::valkey::{ffi, settings};
use podium_core::flight::Flights;
use podium_core::pace::{Limits, Scheduler};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Forgets what was known when the module was loaded before, in the same process: entities are numbered anew.
pub(crate) fn reset() {
    let mut d = desk();
    d.sched = Scheduler::new(Limits::default());
    d.flights = Flights::default();
    d.lanes.clear();
    d.tasks.clear();
    d.limits_at = u64::MAX;
}

/// Opens the desk and starts the workers, who `work`: the last step of loading.
pub(crate) fn start(work: fn()) -> Result<(), String> {
    let mut d = desk();
    d.stopping = false;
    d.sched.set_limits(limits());
    d.sched.set_clock(clock::mono_ms(), ffi::now_ms());
    d.work = Some(work);
    hire(&mut d)
}

/// As many workers as the settings say, and one more: that many calls may be under way, and what needs no call does not
/// wait for them.
fn hire(d: &mut Desk) -> Result<(), String> {
    let n = settings::THREADS.get().max(1) as usize + 1;
    while d.workers.len() < n {
        let Some(work) = d.work else { return Ok(()) };
        let number = d.workers.len();
        let handle = std::thread::Builder::new()
            .name(format!("podium-fetch-{number}"))
            .spawn(work)
            .map_err(|e| format!("a worker thread could not be started: {e}"))?;
        d.workers.push(handle);
    }
    Ok(())
}

/// Now and then: settings that changed, the wall clock, more workers, who gave up waiting.
pub(crate) fn tick() {
    shed::who_gave_up();
    let mut d = desk();
    if d.stopping {
        return;
    }
    d.heed_settings();
    if let Err(why) = hire(&mut d) {
        ffi::log(ffi::Level::Warning, &why);
    }
    d.sched.set_clock(clock::mono_ms(), ffi::now_ms());
    d.forget_idle_lanes();
    drop(d);
    OFFICE.bell.notify_one();
}

/// Runs something long on a thread of its own; it counts as busy until it ends.
pub(crate) fn background(name: &str, f: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let mut d = desk();
    if d.stopping {
        return Err("the module is being unloaded".into());
    }
    d.errands.retain(|t| !t.is_finished());
    let handle = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            let _busy = AtWork;
            let _ = catch_unwind(AssertUnwindSafe(f));
        })
        .map_err(|e| format!("a thread could not be started: {e}"))?;
    d.busy += 1;
    d.errands.push(handle);
    Ok(())
}

/// Are the workers told to stop?
pub(crate) fn stopping() -> bool {
    desk().stopping
}

/// Is nothing under way that would still need the module's code?
pub(crate) fn idle() -> Result<(), String> {
    let d = desk();
    let n = d.busy + d.sched.in_flight() + d.tasks.len();
    if n == 0 && d.flights.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{} fetches are under way: try again when they have landed",
            n.max(d.flights.len())
        ))
    }
}

/// Stops the workers. Only when [`idle`] and with the server's lock held: none of them can be waiting for it.
pub(crate) fn stop() {
    let workers = {
        let mut d = desk();
        d.stopping = true;
        let mut all = std::mem::take(&mut d.workers);
        all.append(&mut d.errands);
        all
    };
    OFFICE.bell.notify_all();
    for w in workers {
        let _ = w.join();
    }
}

/// The process ends: no new calls go out, and nobody waits for those under way.
pub(crate) fn shutting_down() {
    if let Some(mut d) = OFFICE.desk.try_lock() {
        d.stopping = true;
    }
    OFFICE.bell.notify_all();
}

/// A worker's busy mark: taken while the desk is held, given back by dropping, panics included.
pub(crate) struct AtWork;

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut d = desk();
        d.busy = d.busy.saturating_sub(1);
    }
}

/// A task under way, as [`AtWork`].
pub(crate) struct AtTask;

impl Drop for AtTask {
    fn drop(&mut self) {
        let mut d = desk();
        d.at_tasks = d.at_tasks.saturating_sub(1);
    }
}
