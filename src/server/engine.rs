//! The desk where fetches are ordered, and the workers that carry them out.
//!
//! The desk stands behind one mutex that is held for moments only: the main thread orders, workers take calls as the
//! scheduler lets them go. A worker that needs the server's lock holds nothing else while it waits for it.

use super::config;
use super::fetch::{self, Job};
use super::ffi;
use super::figures::{self, Cause};
use super::op::Op;
use super::state::{Entity, EntityIx};
use compact_str::CompactString;
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex, MutexGuard};
use podium_core::flight::{FlightId, Flights, Joined};
use podium_core::pace::{
    BaseKey, Breaker, Busy, CallId, Class, LaneKey, Limits, Next, Scheduler, What,
};
use podium_core::spec::Spec;
use podium_core::token::Tokens;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a flight is for: in one generation of its entity, so that nobody who asks in the next one (another shape, say)
/// travels with those who asked before.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Thing {
    Record(EntityIx, CompactString, LaneKey),
    /// `<field>:<value>`, or `*` for the whole table.
    Question(EntityIx, Arc<[u8]>, LaneKey),
}

/// Somebody who waits for a flight.
#[derive(Clone)]
pub(crate) struct Passenger {
    pub(crate) op: Arc<Op>,
    /// The flight was opened for them.
    pub(crate) led: bool,
}

/// What batches of one lane (an entity's generation) need to know.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) ix: EntityIx,
    pub(crate) entity: Arc<str>,
    pub(crate) spec: Arc<Spec>,
    pub(crate) generation: LaneKey,
    pub(crate) base: Arc<str>,
    pub(crate) table: Arc<str>,
    pub(crate) cause: Cause,
}

impl Lane {
    pub(crate) fn of(e: &Entity, cause: Cause) -> Lane {
        Lane {
            ix: e.ix,
            entity: e.name.clone(),
            spec: e.spec.clone(),
            generation: e.generation,
            base: e.base().into(),
            table: e.spec.table().into(),
            cause,
        }
    }
}

type Task = Box<dyn FnOnce() + Send>;

/// A question's call, as the scheduler knows it.
#[derive(Clone, Copy)]
pub(crate) struct QuestionCall {
    pub(crate) id: CallId,
    /// It failed and waits to be repeated.
    pub(crate) repeats: bool,
}

/// Orders, flights, and the order of sends and changes.
pub(crate) struct Desk {
    pub(crate) sched: Scheduler<Arc<Job>>,
    pub(crate) flights: Flights<Thing, Passenger>,
    pub(crate) tokens: Tokens,
    pub(crate) bases: HashMap<Arc<str>, BaseKey>,
    pub(crate) lanes: HashMap<LaneKey, Lane>,
    /// The call that each question's flight waits for.
    pub(crate) calls: HashMap<FlightId, QuestionCall>,
    /// What is next to go stale, by entity.
    pub(crate) soon: super::refresh::Shelf,
    /// Work that needs no call: scans in slices, wake-ups in portions.
    tasks: VecDeque<Task>,
    busy: usize,
    stopping: bool,
    workers: Vec<JoinHandle<()>>,
    errands: Vec<JoinHandle<()>>,
    limits_at: u64,
}

struct Office {
    desk: Mutex<Desk>,
    bell: Condvar,
    opened: Instant,
}

static OFFICE: once_cell::sync::Lazy<Office> = once_cell::sync::Lazy::new(|| Office {
    desk: Mutex::new(Desk {
        sched: Scheduler::new(Limits::default()),
        flights: Flights::default(),
        tokens: Tokens::default(),
        bases: HashMap::new(),
        lanes: HashMap::new(),
        calls: HashMap::new(),
        soon: super::refresh::Shelf::default(),
        tasks: VecDeque::new(),
        busy: 0,
        stopping: false,
        workers: Vec::new(),
        errands: Vec::new(),
        limits_at: u64::MAX,
    }),
    bell: Condvar::new(),
    opened: Instant::now(),
});

/// The desk. Held for moments; never while waiting for the server's lock.
pub(crate) fn desk() -> MutexGuard<'static, Desk> {
    OFFICE.desk.lock()
}

/// Monotonic ms since the module was loaded: the scheduler's time.
pub(crate) fn mono_ms() -> u64 {
    // The scheduler takes 0 for "before everything": start a little later.
    OFFICE.opened.elapsed().as_millis() as u64 + 1_000_000
}

pub(crate) fn now_us() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|d| d.as_micros() as u64)
        .unwrap_or(0)
}

/// Is a pass of the event loop about to be closed?
static PASS: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn end_of_pass(_: *mut c_void) {
    PASS.store(false, Ordering::Relaxed);
    let _ = catch_unwind(|| {
        desk().sched.flush(mono_ms());
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
    desk().sched.flush(mono_ms());
    OFFICE.bell.notify_one();
}

/// Something for a worker that needs no call.
pub(crate) fn spawn(task: Task) {
    desk().tasks.push_back(task);
    OFFICE.bell.notify_one();
}

impl Desk {
    /// The next number in the order of sends and changes.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.tokens.next(now_us())
    }
    pub(crate) fn base(&mut self, base: &str) -> BaseKey {
        if let Some(b) = self.bases.get(base) {
            return *b;
        }
        let b = self.bases.len() as BaseKey;
        self.bases.insert(base.into(), b);
        b
    }
    /// Why a read of this base cannot go upstream now.
    pub(crate) fn busy_for(&mut self, base: &str) -> Option<Busy> {
        self.heed_settings();
        let b = self.base(base);
        self.sched.busy_for(b, mono_ms())
    }
    /// The state of the base that is worst off.
    pub(crate) fn worst_breaker(&self) -> Breaker {
        let states: Vec<Breaker> = self
            .bases
            .values()
            .map(|b| self.sched.breaker(*b, mono_ms()))
            .collect();
        if states.contains(&Breaker::Open) {
            Breaker::Open
        } else if states.contains(&Breaker::HalfOpen) {
            Breaker::HalfOpen
        } else {
            Breaker::Closed
        }
    }
    /// Orders one record for a reader (or for nobody). `fresh_start`: only a fetch that begins from now on will do.
    pub(crate) fn want_record(
        &mut self,
        e: &Entity,
        id: &CompactString,
        class: Class,
        op: Option<&Arc<Op>>,
        fresh_start: bool,
    ) -> Joined {
        let thing = Thing::Record(e.ix, id.clone(), e.generation);
        let tokens = &self.tokens;
        let joined = self.flights.join(&thing, None, |sent| {
            !fresh_start && tokens.current(e.ix, id, sent)
        });
        self.board(joined, op);
        if let Joined::Lead(flight) = joined {
            let lane = e.generation;
            self.lanes
                .entry(lane)
                .or_insert_with(|| Lane::of(e, Cause::Get));
            let base = self.base(&e.base());
            let queued = self.sched.want(base, lane, id.clone(), class, mono_ms());
            if !queued && op.is_none() && self.sched.pending() >= self.sched.limits().max_queued {
                // Too much waits already for what nobody waits for: no flight that never leaves.
                self.flights.land(flight);
            }
        } else if class == Class::Read {
            // Somebody waits now for what was to be a refresh.
            let base = self.base(&e.base());
            if self.flights.boarding(&thing) {
                self.sched
                    .want(base, e.generation, id.clone(), class, mono_ms());
            }
        }
        joined
    }
    /// Orders an index question.
    pub(crate) fn want_question(
        &mut self,
        e: &Entity,
        suffix: &Arc<[u8]>,
        class: Class,
        op: Option<&Arc<Op>>,
        fresh_start: bool,
        job: impl FnOnce() -> Job,
    ) -> Joined {
        let thing = Thing::Question(e.ix, suffix.clone(), e.generation);
        let what = String::from_utf8_lossy(suffix).into_owned();
        let tokens = &self.tokens;
        let joined = self.flights.join(&thing, None, |sent| {
            !fresh_start && tokens.current(e.ix, &what, sent)
        });
        self.board(joined, op);
        if let Joined::Lead(flight) = joined {
            self.lanes
                .entry(e.generation)
                .or_insert_with(|| Lane::of(e, Cause::Get));
            let base = self.base(&e.base());
            let id = self.sched.submit(base, class, Arc::new(job()), mono_ms());
            self.calls
                .insert(flight, QuestionCall { id, repeats: false });
        }
        joined
    }
    fn board(&mut self, joined: Joined, op: Option<&Arc<Op>>) {
        let Some(op) = op else { return };
        let (id, led) = match joined {
            Joined::Lead(id) => (id, true),
            Joined::Follow(id) => (id, false),
        };
        self.flights.add(
            id,
            Passenger {
                op: op.clone(),
                led,
            },
        );
    }
    /// A batch goes out: its number, and the flights that are on it.
    fn send_batch(
        &mut self,
        lane: &Lane,
        ids: &[CompactString],
    ) -> (u64, Vec<(CompactString, Option<FlightId>)>) {
        let sent = self.tokens.sent(now_us());
        let flights = ids
            .iter()
            .map(|id| {
                (
                    id.clone(),
                    self.flights
                        .send(&Thing::Record(lane.ix, id.clone(), lane.generation), sent),
                )
            })
            .collect();
        (sent, flights)
    }
    /// A changed setting is in force for the next call.
    fn heed_settings(&mut self) {
        let changes = config::CHANGES.load(Ordering::Relaxed);
        if self.limits_at != changes {
            self.limits_at = changes;
            self.sched.set_limits(limits());
        }
    }
    /// What is ordered and not answered yet: records and questions until they have landed, calls of other kinds until they are done.
    pub(crate) fn pending(&self) -> usize {
        let calls = self.sched.pending() + self.sched.in_flight();
        self.flights.len().max(calls)
    }
    fn forget_idle_lanes(&mut self) {
        if self.lanes.len() > 256 && self.sched.pending() == 0 && self.sched.in_flight() == 0 {
            self.lanes.clear();
        }
    }
}

fn limits() -> Limits {
    let rate = config::RATE_LIMIT.get().max(1) as u64;
    Limits {
        rate_milli: rate * 1000,
        ceiling_per_s: (rate as u32).max(5),
        token_rate_per_s: if rate > 50 { rate as u32 } else { 50 },
        max_in_flight: config::THREADS.get().max(1) as usize,
        monthly: Some(config::MONTHLY_CALLS.get().max(0) as u64).filter(|m| *m > 0),
        ..Limits::default()
    }
}

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
    d.sched.set_clock(mono_ms(), ffi::now_ms());
    super::refresh::start();
    hire(&mut d)
}

/// As many workers as the settings say, and one more: that many calls may be under way, and what needs no call does not
/// wait for them.
fn hire(d: &mut Desk) -> Result<(), String> {
    let n = config::THREADS.get().max(1) as usize + 1;
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
    super::shed::who_gave_up();
    let mut d = desk();
    if d.stopping {
        return;
    }
    d.heed_settings();
    if let Err(why) = hire(&mut d) {
        ffi::log(ffi::Level::Warning, &why);
    }
    d.sched.set_clock(mono_ms(), ffi::now_ms());
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

fn work() {
    let mut d = desk();
    loop {
        if d.stopping {
            return;
        }
        if let Some(task) = d.tasks.pop_front() {
            d.busy += 1;
            drop(d);
            let busy = Busy2;
            let _ = catch_unwind(AssertUnwindSafe(task));
            drop(busy);
            d = desk();
            continue;
        }
        d.heed_settings();
        let next = {
            let Desk {
                sched, soon, lanes, ..
            } = &mut *d;
            sched.next_with(mono_ms(), |lane, room| {
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
                            fetch::Order::Batch {
                                lane,
                                sent,
                                flights,
                            }
                        }
                        None => fetch::Order::Nothing,
                    },
                    What::Solo(job) => {
                        let (sent, flight) = job.board(&mut d);
                        fetch::Order::Job { job, sent, flight }
                    }
                };
                // Another worker may have something to do at once.
                OFFICE.bell.notify_one();
                drop(d);
                let busy = Busy2;
                figures::call_begins();
                fetch::carry_out(call.id, call.class, call.attempt, order);
                drop(busy);
                d = desk();
            }
            Next::Wait(Some(at)) => {
                let ms = at.saturating_sub(mono_ms()).clamp(1, 60_000);
                OFFICE.bell.wait_for(&mut d, Duration::from_millis(ms));
            }
            Next::Wait(None) => {
                OFFICE.bell.wait(&mut d);
            }
        }
    }
}
