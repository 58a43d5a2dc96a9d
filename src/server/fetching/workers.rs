//! The workers, who take calls and tasks from the desk: hired, told of changes, and sent home.

use crate::server::desk::{desk, limits, Desk, OFFICE};
use crate::server::fetching;
use crate::server::state::clock;
use crate::server::upstream::figures;
use crate::server::valkey::ffi;
use crate::server::valkey::settings;
use podium_core::flight::Flights;
use podium_core::pace::{Limits, Next, Scheduler, What};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

/// Forgets what was known when the module was loaded before, in the same process: entities are numbered anew.
pub(crate) fn reset() {
    let mut d = desk();
    d.sched = Scheduler::new(Limits::default());
    d.flights = Flights::default();
    d.lanes.clear();
    d.tasks.clear();
    d.limits_at = u64::MAX;
}

/// Opens the desk and starts the workers: the last step of loading.
pub(crate) fn start() -> Result<(), String> {
    let mut d = desk();
    d.stopping = false;
    d.sched.set_limits(limits());
    d.sched.set_clock(clock::mono_ms(), ffi::now_ms());
    crate::server::reads::ahead::start();
    hire(&mut d)
}

/// As many workers as the settings say, and one more: that many calls may be under way, and what needs no call does not
/// wait for them.
fn hire(d: &mut Desk) -> Result<(), String> {
    let n = settings::THREADS.get().max(1) as usize + 1;
    while d.workers.len() < n {
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
    crate::server::desk::shed::who_gave_up();
    let mut d = desk();
    if d.stopping {
        return;
    }
    for sent in std::mem::take(&mut *crate::server::desk::GIVEN_BACK.lock()) {
        d.tokens.landed(sent);
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
            let _busy = Busy2;
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
struct Busy2;

impl Drop for Busy2 {
    fn drop(&mut self) {
        let mut d = desk();
        d.busy = d.busy.saturating_sub(1);
    }
}

/// A task under way, as [`Busy2`].
struct AtTask;

impl Drop for AtTask {
    fn drop(&mut self) {
        let mut d = desk();
        d.at_tasks = d.at_tasks.saturating_sub(1);
    }
}

fn work() {
    let mut d = desk();
    // Tasks and calls take turns: neither waits until there are no more of the other.
    let mut tasks_turn = false;
    loop {
        if d.stopping {
            return;
        }
        // One worker is left to the calls, however many tasks there are.
        let room = d.at_tasks + 1 < d.workers.len().max(2);
        let task = if tasks_turn && room {
            d.tasks.pop_front()
        } else {
            None
        };
        if let Some(task) = task {
            tasks_turn = false;
            d.busy += 1;
            d.at_tasks += 1;
            // Who was woken for something else has taken this.
            OFFICE.bell.notify_one();
            drop(d);
            let busy = (AtTask, Busy2);
            let _ = catch_unwind(AssertUnwindSafe(task));
            drop(busy);
            d = desk();
            continue;
        }
        tasks_turn = true;
        d.heed_settings();
        let next = {
            let Desk {
                sched, soon, lanes, ..
            } = &mut *d;
            sched.next_with(clock::mono_ms(), |lane, room| {
                lanes
                    .get(&lane)
                    .map_or_else(Vec::new, |lane| soon.fill(lane, room))
            })
        };
        match next {
            Next::Call(call) => {
                d.busy += 1;
                let order = match call.what {
                    What::Batch { lane, ids } => match d.lanes.get(&lane).cloned() {
                        Some(lane) => {
                            let (sent, flights) = d.send_batch(&lane, &ids);
                            fetching::Order::Batch {
                                lane,
                                sent,
                                flights,
                            }
                        }
                        None => fetching::Order::Nothing,
                    },
                    What::Solo(job) => {
                        let (sent, flight) = job.board(&mut d);
                        fetching::Order::Job { job, sent, flight }
                    }
                };
                // Another worker may have something to do at once.
                OFFICE.bell.notify_one();
                drop(d);
                let busy = Busy2;
                figures::call_begins();
                fetching::carry_out(call.id, call.class, call.attempt, order);
                drop(busy);
                d = desk();
            }
            // No call is due.
            Next::Wait(_) if room && !d.tasks.is_empty() => {}
            Next::Wait(Some(at)) => {
                let ms = at.saturating_sub(clock::mono_ms()).clamp(1, 60_000);
                OFFICE.bell.wait_for(&mut d, Duration::from_millis(ms));
            }
            Next::Wait(None) => {
                OFFICE.bell.wait(&mut d);
            }
        }
    }
}
