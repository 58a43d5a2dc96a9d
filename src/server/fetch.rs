//! Carrying out a call on a worker: ask Airtable, shape what comes, land it. No lock is held while Airtable is waited for.

mod errand;
mod pages;
mod waited;

pub(crate) use errand::Errand;
pub(crate) use pages::{go_on, page_failed};
pub(crate) use waited::{page as waited_page, Got};

use super::config;
use super::engine::{self, desk, Desk, Lane, Thing};
use super::fault::{for_pace, Fault};
use super::ffi;
use super::figures::{self, Cause};
use super::inverse;
use super::land;
use super::log;
use super::shed;
use super::upstream;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use pages::question_page;
use parking_lot::Mutex;
use podium_airtable::{Ask, Failure, FailureKind, ListQuery, Page, Record};
use podium_core::entry::{self, Entry, Header};
use podium_core::flight::FlightId;
use podium_core::pace::{CallId, Class, Outcome, Verdict};
use podium_core::question;
use podium_core::record::{self, Source};
use podium_core::{freshness, key};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// How it is put; `None`: read the whole table, as there is no usable lookup.
    pub(crate) formula: Option<String>,
    /// The lookup was seen to agree with its link cell before.
    pub(crate) proven: bool,
    /// Where the linked record holds the ids, should the lookup be of no use.
    pub(crate) way_back: Option<inverse::Way>,
    pub(crate) flight: AtomicU64,
    pub(crate) progress: Mutex<Listing>,
}

impl Question {
    /// What a call of this class is counted under.
    pub(crate) fn cause(&self, class: Class) -> Cause {
        if class == Class::Read {
            self.lane.cause
        } else {
            Cause::Refresh
        }
    }

    /// The whole table.
    pub(crate) fn whole(lane: Lane, suffix: Arc<[u8]>) -> Question {
        let progress = Mutex::new(Listing::default());
        Question {
            lane,
            suffix,
            asks: None,
            formula: None,
            proven: false,
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
    pub(crate) pages: u32,
    restarts: u32,
    /// The lookup cannot be used: the whole table is read instead.
    table: bool,
    lookup_broken: bool,
    lookup_proven: bool,
    /// All pages came without evidence of what the lookup holds: a few linked records are looked at.
    probing: bool,
    pub(crate) back: inverse::Steps,
    pub(crate) records: HashMap<CompactString, Shaped>,
}

/// A fetched record in its stored form.
#[derive(Clone)]
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
                if let Some(sent) = p.sent {
                    if let Some(call) = d.calls.get_mut(&q.flight.load(Ordering::Relaxed)) {
                        call.repeats = false;
                    }
                    return (sent, None);
                }
                let sent = d.tokens.sent(engine::now_us());
                p.sent = Some(sent);
                p.asked_ms = ffi::now_ms();
                let flight = d.flights.send(
                    &Thing::Question(q.lane.ix, q.suffix.clone(), q.lane.generation),
                    sent,
                );
                q.flight.store(flight.unwrap_or(0), Ordering::Relaxed);
                (sent, flight)
            }
            Job::Errand(_) => (d.tokens.sent(engine::now_us()), None),
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
        } => batch(id, class, lane, sent, flights),
        Order::Job { job, sent, flight } => match &*job {
            Job::Question(q) => question_page(id, class, &job, q, sent, flight),
            Job::Errand(e) => errand::carry_out(id, e, sent),
        },
        Order::Nothing => {
            desk().sched.done(id, Outcome::Ok, engine::mono_ms(), 0);
        }
    }
}

fn deadline() -> Duration {
    Duration::from_millis(config::FETCH_TIMEOUT_MS.get().max(1) as u64)
}

/// The scheduler's verdict on a failed call.
fn settle_failure(id: CallId, f: &Failure, class: podium_core::pace::Fault) -> Verdict {
    figures::error(matches!(
        f.kind,
        FailureKind::RateLimited | FailureKind::MonthSpent
    ));
    log_error(f);
    let outcome = Outcome::Failed {
        class,
        retry_after_ms: f.retry_after.map(|d| d.as_millis() as u64),
    };
    desk()
        .sched
        .done(id, outcome, engine::mono_ms(), ffi::random_u64())
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

pub(crate) fn list(lane: &Lane, query: &ListQuery, cause: Cause) -> Result<Page, Failure> {
    let begun = Instant::now();
    let result = upstream::with(|client, token| {
        let ask = Ask {
            base: &lane.base,
            table: &lane.table,
            token,
            deadline: deadline(),
        };
        client.list(&ask, query)
    });
    let n = result.as_ref().map_or(0, |p| p.records.len());
    figures::call(cause, begun.elapsed().as_millis() as u64, n);
    result
}

fn batch(
    id: CallId,
    class: Class,
    lane: Lane,
    sent: u64,
    flights: Vec<(CompactString, Option<FlightId>)>,
) {
    let asked_ms = ffi::now_ms();
    let ids: Vec<&str> = flights.iter().map(|(id, _)| id.as_str()).collect();
    let formula = question::ids_formula(&ids);
    let cause = if class == Class::Read {
        lane.cause
    } else {
        Cause::Refresh
    };
    let query = ListQuery {
        formula: Some(&formula),
        page_size: 100,
        ..ListQuery::default()
    };
    match list(&lane, &query, cause) {
        Ok(page) => {
            desk().sched.done(id, Outcome::Ok, engine::mono_ms(), 0);
            let evidence = lookup_evidence(&lane, &page.records);
            let mut found: HashMap<CompactString, Shaped> =
                HashMap::with_capacity(page.records.len());
            for r in &page.records {
                found.insert(
                    CompactString::new(&r.id),
                    shape_one(&lane, r, sent, asked_ms),
                );
            }
            // More to come than the page held: what is lacking may be on the next one.
            let partial = page.offset.is_some() && !page.records.is_empty();
            land::batch(&lane, sent, asked_ms, flights, found, partial, evidence);
        }
        Err(f) => {
            let verdict = settle_failure(id, &f, for_pace(&f, true));
            let scope = "data.records:read";
            let fault = Fault::of(&f, &format!("the records of {}", lane.entity), scope);
            let silenced = matches!(f.kind, FailureKind::RateLimited | FailureKind::MonthSpent);
            match verdict {
                Verdict::Retrying | Verdict::Split if !silenced => {
                    let mut d = desk();
                    d.tokens.landed(sent);
                    for (_, flight) in flights {
                        if let Some(flight) = flight {
                            d.flights.reboard(flight);
                        }
                    }
                }
                _ => {
                    let fault = {
                        let mut d = desk();
                        for (id, _) in &flights {
                            d.sched.unwant(lane.generation, id);
                        }
                        let busy = d.busy_for(&lane.base);
                        busy.filter(|_| silenced).map_or(fault, Fault::busy)
                    };
                    land::failed_batch(&lane, sent, asked_ms, flights, fault);
                }
            }
            shed::after_failure(&lane.base);
        }
    }
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

/// `told_at`: when a client said so, unix ms; 0 for what was fetched.
pub(crate) fn encode(
    lane: &Lane,
    id: &str,
    shaped: &record::Shaped,
    seq: u64,
    asked_ms: u64,
    told_at: u64,
) -> Shaped {
    let windows = config::windows(ttl_s(&lane.spec), lane.spec.jitter());
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
