//! Carrying out a call on a worker: ask Airtable, shape what comes, land it. No lock is held while Airtable is waited for.

pub(crate) mod batch;
pub(crate) mod columns;
pub(crate) mod errand;
pub(crate) mod inverse;
pub(crate) mod landing;
pub(crate) mod lost;
pub(crate) mod missing;
pub(crate) mod pages;
pub(crate) mod schema;
pub(crate) mod size;
pub(crate) mod told;
pub(crate) mod waited;
pub(crate) mod workers;

pub(crate) use crate::server::fetching::batch::damaged;
pub(crate) use crate::server::fetching::missing::{missing, unanswered};
pub(crate) use crate::server::fetching::pages::{endless, go_on, page_failed, EMPTY_PAGES};
pub(crate) use crate::server::fetching::waited::{page as waited_page, Got};

use crate::server::desk::job::{Job, Question};
use crate::server::desk::{desk, Desk, Thing};
use crate::server::state::clock::{self, Sent};
use crate::server::state::lane::Lane;
use crate::server::upstream::fault::{never_begun, never_sent};
use crate::server::upstream::figures::{self, Cause};
use crate::server::valkey::ffi;
use crate::server::valkey::settings;

use crate::server::fetching::pages::question_page;
use crate::server::upstream::client;
use crate::server::valkey::log;
use compact_str::CompactString;
use podium_airtable::{Ask, Failure, FailureKind, ListQuery, Page, Record};
use podium_core::flight::FlightId;
use podium_core::pace::{CallId, Class, Outcome, Verdict};
use podium_core::question;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a worker was handed.
pub(crate) enum Work {
    Batch {
        lane: Lane,
        sent: Sent,
        flights: Vec<(CompactString, Option<FlightId>)>,
    },
    Question {
        job: Arc<Job>,
        sent: u64,
        flight: Option<FlightId>,
    },
    Errand {
        job: Arc<Job>,
        sent: Sent,
    },
    Nothing,
}

impl Question {
    /// It goes out: its number, which it keeps from page to page, and its flight.
    pub(crate) fn board(&self, d: &mut Desk) -> (u64, Option<FlightId>) {
        let mut p = self.progress.lock();
        let begun_us = clock::now_us();
        if let Some(sent) = p.sent.as_ref().map(Sent::number) {
            if let Some(call) = d.calls.get_mut(&self.flight.load(Ordering::Relaxed)) {
                call.repeats = false;
                call.begun_us = begun_us;
            }
            return (sent, None);
        }
        let number = Sent::now();
        let sent = number.number();
        p.sent = Some(number);
        p.asked_ms = ffi::now_ms();
        let thing = Thing::Question(self.lane.ix, self.suffix.clone(), self.lane.generation);
        let flight = d.flights.send(&thing, sent);
        self.flight.store(flight.unwrap_or(0), Ordering::Relaxed);
        if let Some(call) = flight.and_then(|f| d.calls.get_mut(&f)) {
            call.begun_us = begun_us;
        }
        (sent, flight)
    }
}

/// Makes the call and lands what it brings.
pub(crate) fn carry_out(id: CallId, class: Class, attempt: u32, work: Work) {
    if attempt > 1 {
        figures::retry();
    }
    match work {
        Work::Batch {
            lane,
            sent,
            flights,
        } => batch::carry_out(id, class, lane, sent, flights),
        Work::Question { job, sent, flight } => {
            if let Job::Question(q) = &*job {
                question_page(id, class, &job, q, sent, flight);
            }
        }
        Work::Errand { job, sent } => {
            if let Job::Errand(e) = &*job {
                errand::carry_out(id, e, sent);
            }
        }
        Work::Nothing => {
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
fn end_failed(d: &mut Desk, id: CallId, f: &Failure, class: podium_core::pace::Fault) -> Verdict {
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
