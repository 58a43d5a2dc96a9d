//! Carrying out a call on a worker: ask Airtable, shape what comes, land it. No lock is held while Airtable is waited for.

pub(crate) mod batch;
pub(crate) mod columns;
pub(crate) mod errand;
pub(crate) mod inverse;
pub(crate) mod landing;
pub(crate) mod pages;
pub(crate) mod size;
pub(crate) mod waited;
pub(crate) mod workers;

pub(crate) use crate::server::desk::way::{Learnt, Way};
pub(crate) use crate::server::fetching::batch::{damaged, not_asked_for};
pub(crate) use crate::server::fetching::errand::{tell_hopeless, Errand};
pub(crate) use crate::server::fetching::pages::{endless, go_on, page_failed, EMPTY_PAGES};
pub(crate) use crate::server::fetching::waited::{page as waited_page, Got};

use crate::server::desk::{self, desk, Desk, Lane, Thing};
use crate::server::state::clock;
use crate::server::upstream::fault::{for_pace, never_begun, never_sent, Fault};
use crate::server::upstream::figures::{self, Cause};
use crate::server::valkey::ffi;
use crate::server::valkey::settings;

use crate::server::fetching::pages::question_page;
use crate::server::upstream::client;
use crate::server::valkey::log;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use podium_airtable::{Ask, Failure, FailureKind, ListQuery, Page, Record};
use podium_core::entry::{self, Entry, Header};
use podium_core::flight::FlightId;
use podium_core::pace::{CallId, Class, Outcome, Verdict};
use podium_core::question;
use podium_core::record::{self, Source};
use podium_core::{freshness, key};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a worker was handed.
pub(crate) enum Order {
    Batch {
        lane: Lane,
        sent: u64,
        flights: Vec<(CompactString, Option<FlightId>)>,
    },
    Job {
        job: Arc<Job>,
        sent: u64,
        flight: Option<FlightId>,
    },
    Nothing,
}

/// A call that cannot be merged with others.
#[allow(clippy::large_enum_variant)] // Always behind an Arc: moved once, when it is made.
pub(crate) enum Job {
    Question(Question),
    Errand(Errand),
}

/// An index question, page by page.
pub(crate) struct Question {
    pub(crate) lane: Lane,
    pub(crate) suffix: Arc<[u8]>,
    /// Field and value; none: the whole table.
    pub(crate) asks: Option<(u16, Arc<[u8]>)>,
    /// How it is put.
    pub(crate) way: Way,
    /// Where the linked record holds the ids, should the lookup be of no use.
    pub(crate) way_back: Option<inverse::Way>,
    pub(crate) flight: AtomicU64,
    pub(crate) progress: Mutex<Listing>,
}

impl Question {
    /// The whole table.
    pub(crate) fn whole(lane: Lane, suffix: Arc<[u8]>) -> Question {
        let progress = Mutex::new(Listing::default());
        Question {
            lane,
            suffix,
            asks: None,
            way: Way::default(),
            way_back: None,
            flight: AtomicU64::new(0),
            progress,
        }
    }
}

/// How far a question has come.
#[derive(Default)]
pub(crate) struct Listing {
    /// The number its first page was sent under; the answer is as old as that.
    sent: Option<u64>,
    asked_ms: u64,
    offset: Option<String>,
    offsets: HashSet<String>,
    /// Calls made for it, failed ones included.
    calls: u32,
    /// Pages in a row that held nothing.
    empty: u32,
    restarts: u32,
    /// No formula can ask it, as it turned out: the whole table is read instead.
    table: bool,
    evidence: crate::server::desk::way::Evidence,
    pub(crate) back: inverse::Steps,
    pub(crate) records: HashMap<CompactString, Shaped>,
    /// Those that came and cannot be read.
    pub(crate) damaged: HashMap<CompactString, Fault>,
    /// What came and does not say which record it is.
    pub(crate) nameless: u64,
}

/// A fetched record in its stored form.
#[derive(Clone, Debug)]
pub(crate) struct Shaped {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) expire_at: u64,
    pub(crate) violations: u32,
}

impl Job {
    /// It goes out: its number, and its flight.
    pub(crate) fn board(&self, d: &mut Desk) -> (u64, Option<FlightId>) {
        match self {
            Job::Question(q) => {
                let mut p = q.progress.lock();
                let begun_us = desk::now_us();
                if let Some(sent) = p.sent {
                    if let Some(call) = d.calls.get_mut(&q.flight.load(Ordering::Relaxed)) {
                        call.repeats = false;
                        call.begun_us = begun_us;
                    }
                    return (sent, None);
                }
                let sent = d.tokens.sent(desk::now_us());
                p.sent = Some(sent);
                p.asked_ms = ffi::now_ms();
                let flight = d.flights.send(
                    &Thing::Question(q.lane.ix, q.suffix.clone(), q.lane.generation),
                    sent,
                );
                q.flight.store(flight.unwrap_or(0), Ordering::Relaxed);
                if let Some(call) = flight.and_then(|f| d.calls.get_mut(&f)) {
                    call.begun_us = begun_us;
                }
                (sent, flight)
            }
            Job::Errand(_) => (d.tokens.sent(desk::now_us()), None),
        }
    }
}

/// Makes the call and lands what it brings.
pub(crate) fn carry_out(id: CallId, class: Class, attempt: u32, order: Order) {
    if attempt > 1 {
        figures::retry();
    }
    match order {
        Order::Batch {
            lane,
            sent,
            flights,
        } => batch::carry_out(id, class, lane, sent, flights),
        Order::Job { job, sent, flight } => match &*job {
            Job::Question(q) => question_page(id, class, &job, q, sent, flight),
            Job::Errand(e) => errand::carry_out(id, e, sent),
        },
        Order::Nothing => {
            desk().sched.done(id, Outcome::Ok, clock::mono_ms(), 0);
        }
    }
}

fn deadline() -> Duration {
    Duration::from_millis(settings::FETCH_TIMEOUT_MS.get().max(1) as u64)
}

/// The longest a read's call outlasts those who wait for it.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);

/// Calls that may outlast those who wait.
static PATIENT: AtomicUsize = AtomicUsize::new(0);

/// The time a read's call has. Those who wait keep their own deadline, but what comes a little after it is stored: an
/// Airtable that is always slower than they wait would else never be cached. Only half of the workers are that patient,
/// so that a base which hangs is not found out later.
struct Patience(bool);

impl Patience {
    fn begin() -> Patience {
        let most = (settings::THREADS.get().max(1) as usize).div_ceil(2);
        let more = |n: usize| (n < most).then_some(n + 1);
        Patience(
            PATIENT
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
                .is_ok(),
        )
    }
    fn deadline(&self) -> Duration {
        let more = (deadline() + Duration::from_secs(1)).min(LONGEST_PATIENCE);
        deadline() + if self.0 { more } else { Duration::ZERO }
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if self.0 {
            PATIENT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Airtable asked for silence: what was asked may go when it is over.
fn silenced(f: &Failure) -> bool {
    matches!(f.kind, FailureKind::RateLimited | FailureKind::PlanSpent)
}

/// A failed call is counted and logged.
fn note_failure(f: &Failure) {
    if !never_begun(f) {
        figures::error(silenced(f));
        log_error(f);
    }
}

/// The scheduler's verdict on a failed call. What it queues again another worker may take as soon as the desk is left:
/// what hangs on the verdict is done before.
fn settle_failure(
    d: &mut Desk,
    id: CallId,
    f: &Failure,
    class: podium_core::pace::Fault,
) -> Verdict {
    let outcome = if never_sent(f) && class != podium_core::pace::Fault::Poison {
        Outcome::NotSent
    } else {
        Outcome::Failed {
            class,
            retry_after_ms: f.retry_after.map(|d| d.as_millis() as u64),
        }
    };
    d.sched
        .done(id, outcome, clock::mono_ms(), ffi::random_u64())
}

fn log_error(f: &Failure) {
    let status = f.status.map_or(Value::Null, Value::from);
    log::event(
        "upstream_error",
        b"",
        &[
            ("status", status),
            ("type", f.error_type.clone().into()),
            ("message", f.message.clone().into()),
        ],
    );
}

fn list(lane: &Lane, query: &ListQuery, cause: Cause) -> Result<Page, Failure> {
    let begun = Instant::now();
    let patience = Patience::begin();
    let result = client::with(|client, token| {
        let ask = Ask {
            base: &lane.base,
            table: &lane.table,
            token,
            deadline: patience.deadline(),
        };
        columns::list(client, &ask, lane, query)
    });
    let n = result.as_ref().map_or(0, |p| p.count() as usize);
    if !result.as_ref().is_err_and(never_sent) {
        figures::call(cause, begun.elapsed().as_millis() as u64, n);
    }
    result
}

/// As [`list`], for a question: the call counts as made for it.
pub(crate) fn list_for(
    q: &Question,
    lane: &Lane,
    query: &ListQuery,
    class: Class,
) -> Result<Page, Failure> {
    let cause = if class == Class::Read {
        lane.cause
    } else {
        Cause::Refresh
    };
    let result = list(lane, query, cause);
    if !result.as_ref().is_err_and(never_sent) {
        q.progress.lock().calls += 1;
    }
    result
}

/// A spec's own ttl, in s.
pub(crate) fn ttl_s(spec: &podium_core::spec::Spec) -> Option<u64> {
    spec.ttl().map(|s| s.max(1) as u64)
}

/// What fetched records say of the lookups beside their link cells: field, and whether they agree.
pub(crate) fn lookup_evidence(lane: &Lane, records: &[Record]) -> Vec<(u16, bool)> {
    let mut out: Vec<(u16, bool)> = Vec::new();
    for field in lane.spec.link_fields().filter(|f| {
        lane.spec
            .fields()
            .get(*f as usize)
            .is_some_and(|f| f.indexed)
    }) {
        for r in records {
            // One lie outweighs any number of agreements.
            match (
                question::lookup_agrees(&lane.spec, field, &r.fields),
                out.iter_mut().find(|(f, _)| *f == field),
            ) {
                (Some(agrees), None) => out.push((field, agrees)),
                (Some(false), Some(seen)) => seen.1 = false,
                _ => {}
            }
        }
    }
    out
}

/// The stored form of a fetched record.
pub(crate) fn shape_one(lane: &Lane, r: &Record, sent: u64, asked_ms: u64) -> Shaped {
    shape_cells(lane, &r.id, &r.fields, sent, asked_ms, Source::Airtable)
}

/// The stored form of a record's cells.
pub(crate) fn shape_cells(
    lane: &Lane,
    id: &str,
    cells: &Map<String, Value>,
    seq: u64,
    asked_ms: u64,
    source: Source,
) -> Shaped {
    let shaped = record::shape(&lane.spec, id, cells, source);
    encode(lane, id, &shaped, seq, asked_ms, 0)
}

/// `told_at`: see [`Header`].
pub(crate) fn encode(
    lane: &Lane,
    id: &str,
    shaped: &record::Shaped,
    seq: u64,
    asked_ms: u64,
    told_at: u64,
) -> Shaped {
    let windows = settings::windows(ttl_s(&lane.spec), lane.spec.jitter());
    let ends = freshness::ends(&windows, asked_ms, shaped.attachments, ffi::random_u64());
    let header = Header {
        generation: lane.generation,
        asked_ms,
        fresh_until: ends.fresh_until,
        dead_at: ends.dead_at,
        seq,
        told_at,
    };
    let name = key::record(&lane.entity, id);
    Shaped {
        bytes: entry::encode(&name, &header, shaped).into(),
        expire_at: ends.expire_at,
        violations: shaped.violations,
    }
}

/// Does a stored record hold the value that a question asks for?
pub(crate) fn matches(
    lane: &Lane,
    id: &str,
    bytes: &[u8],
    asks: &Option<(u16, Arc<[u8]>)>,
) -> bool {
    let Some((field, value)) = asks else {
        return true;
    };
    let name = key::record(&lane.entity, id);
    Entry::read(bytes, &name).is_some_and(|e| e.has(*field, value))
}
