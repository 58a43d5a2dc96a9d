//! Writes through the cache: Airtable first, ten records to a call, then the cache, then the reply.
//!
//! A write is a queue of steps, each one call. No thread waits for it: the end of a call lands what it brought
//! ([`super::written`]) and orders the next. A call that Airtable may have carried out is never sent again.

use super::config;
use super::engine::{self, desk, Lane};
use super::fault::Fault;
use super::fetch::Errand;
use super::ffi;
use super::figures::Cause;
use super::op::Op;
use super::reply::{Body, CacheWord, Fwd, Meta};
use super::written::{self, Landed};
use compact_str::CompactString;
use parking_lot::Mutex;
use podium_airtable::{Ask, Failure, FailureKind, ListQuery, Phase, Record, MAX_WRITE};
use podium_core::pace::Class;
use podium_core::question;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) type Cells = Map<String, Value>;

/// A record's place in the reply.
type Place = usize;

/// What a client wants written.
pub(crate) enum Order {
    /// Cells of each record.
    Create {
        lane: Lane,
        records: Vec<Cells>,
        typecast: bool,
    },
    Update {
        lane: Lane,
        id: CompactString,
        cells: Cells,
        typecast: bool,
    },
    /// Ids of one table each; every id once.
    Delete(Vec<(Lane, Vec<CompactString>)>),
}

/// One call.
enum Step {
    Create {
        lane: Lane,
        records: Vec<(Place, Cells)>,
        typecast: bool,
    },
    Update {
        lane: Lane,
        id: CompactString,
        cells: Cells,
        typecast: bool,
    },
    Delete {
        lane: Lane,
        ids: Vec<(Place, CompactString)>,
    },
    /// A delete was refused: which of them are there at all?
    Confirm {
        lane: Lane,
        ids: Vec<(Place, CompactString)>,
        refusal: Fault,
    },
}

impl Step {
    fn lane(&self) -> &Lane {
        match self {
            Step::Create { lane, .. }
            | Step::Update { lane, .. }
            | Step::Delete { lane, .. }
            | Step::Confirm { lane, .. } => lane,
        }
    }
    fn places(&self) -> Vec<Place> {
        match self {
            Step::Create { records, .. } => records.iter().map(|(at, _)| *at).collect(),
            Step::Update { .. } => vec![0],
            Step::Delete { ids, .. } | Step::Confirm { ids, .. } => {
                ids.iter().map(|(at, _)| *at).collect()
            }
        }
    }
    fn scope(&self) -> &'static str {
        match self {
            Step::Confirm { .. } => "data.records:read",
            _ => "data.records:write",
        }
    }
    fn what(&self) -> &'static str {
        match self {
            Step::Create { .. } => "a create",
            Step::Update { .. } => "an update",
            Step::Delete { .. } => "a delete",
            Step::Confirm { .. } => "the question whether records are there",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    List,
    One,
    Count,
}

/// A write under way.
pub(crate) struct Write {
    op: Arc<Op>,
    shape: Shape,
    /// The command's key, for META.
    key: Vec<u8>,
    meta: bool,
    names: Vec<Vec<u8>>,
    deadline: Instant,
    cancelled: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    steps: VecDeque<Step>,
    places: Vec<Option<Body>>,
    calls: u32,
    /// The call under way was sent: what it did is not known yet.
    sent: bool,
    fresh_until: u64,
    stored: bool,
}

/// What a call brought.
#[derive(Default)]
struct Brought {
    records: Vec<Record>,
    deleted: Vec<String>,
    asked_ms: u64,
    failure: Option<Failure>,
}

/// With less left than this, a write is not begun: how it ended could not be told any more.
const LEAST: Duration = Duration::from_millis(50);
/// The call's own deadline ends so long before the client's, so that its definite answer comes first.
const MARGIN: Duration = Duration::from_millis(20);

/// How many calls an order takes if all goes well.
pub(crate) fn calls_of(order: &Order) -> usize {
    match order {
        Order::Create { records, .. } => records.len().div_ceil(MAX_WRITE),
        Order::Update { .. } => 1,
        Order::Delete(tables) => tables
            .iter()
            .map(|(_, ids)| ids.len().div_ceil(MAX_WRITE))
            .sum(),
    }
}

/// Begins a write on behalf of a blocked client. `key`: the command's first key.
pub(crate) fn begin(op: &Arc<Op>, order: Order, key: &[u8], meta: bool, timeout: Duration) {
    let (steps, names, shape) = plan(order);
    let places = names.len();
    let write = Arc::new(Write {
        op: op.clone(),
        shape,
        key: key.to_vec(),
        meta,
        names,
        deadline: Instant::now() + timeout,
        cancelled: AtomicBool::new(false),
        inner: Mutex::new(Inner {
            steps,
            places: vec![None; places],
            calls: 0,
            sent: false,
            fresh_until: u64::MAX,
            stored: true,
        }),
    });
    let weak = Arc::downgrade(&write);
    op.when_late(Box::new(move || match weak.upgrade() {
        Some(w) => w.late(),
        None => Body::error(Fault::timeout(config::FETCH_TIMEOUT_MS.get()).line),
    }));
    write.advance();
}

/// The steps in order, and the name of each place of the reply.
fn plan(order: Order) -> (VecDeque<Step>, Vec<Vec<u8>>, Shape) {
    let mut steps = VecDeque::new();
    match order {
        Order::Create {
            lane,
            records,
            typecast,
        } => {
            let names = vec![lane.entity.as_bytes().to_vec(); records.len()];
            let mut rest = records.into_iter().enumerate().peekable();
            while rest.peek().is_some() {
                let records = rest.by_ref().take(MAX_WRITE).collect();
                steps.push_back(Step::Create {
                    lane: lane.clone(),
                    records,
                    typecast,
                });
            }
            (steps, names, Shape::List)
        }
        Order::Update {
            lane,
            id,
            cells,
            typecast,
        } => {
            let names = vec![podium_core::key::record(&lane.entity, &id)];
            steps.push_back(Step::Update {
                lane,
                id,
                cells,
                typecast,
            });
            (steps, names, Shape::One)
        }
        Order::Delete(tables) => {
            let mut names = Vec::new();
            for (lane, ids) in tables {
                let placed: Vec<(Place, CompactString)> = (names.len()..).zip(ids).collect();
                names.extend(
                    placed
                        .iter()
                        .map(|(_, id)| podium_core::key::record(&lane.entity, id)),
                );
                for part in placed.chunks(MAX_WRITE) {
                    steps.push_back(Step::Delete {
                        lane: lane.clone(),
                        ids: part.to_vec(),
                    });
                }
            }
            (steps, names, Shape::Count)
        }
    }
}

impl Write {
    /// Orders the next call, or replies.
    fn advance(self: &Arc<Self>) {
        let step = {
            let mut i = self.inner.lock();
            i.sent = false;
            if self.cancelled.load(Ordering::Acquire) {
                i.steps.clear();
            }
            i.steps.pop_front()
        };
        match step {
            Some(step) => self.order(step),
            None => self.op.finish(self.reply(None)),
        }
    }

    fn order(self: &Arc<Self>, step: Step) {
        let base = step.lane().base.clone();
        let (what, scope) = (step.what(), step.scope());
        let step = Arc::new(step);
        let brought = Arc::new(Mutex::new(Brought::default()));
        let (me, its, box1) = (self.clone(), step.clone(), brought.clone());
        let run = move |client: &podium_airtable::Client,
                        token: &podium_airtable::Token,
                        deadline: Duration| {
            let left = me.deadline.saturating_duration_since(Instant::now());
            if left < LEAST || me.cancelled.load(Ordering::Acquire) {
                return Err(not_begun());
            }
            {
                let mut i = me.inner.lock();
                i.sent = !matches!(*its, Step::Confirm { .. });
                i.calls += 1;
            }
            let asked_ms = ffi::now_ms();
            let ask = Ask {
                base: &its.lane().base,
                table: &its.lane().table,
                token,
                deadline: deadline.min(left - MARGIN),
            };
            let result = send(client, &ask, &its);
            let mut b = box1.lock();
            b.asked_ms = asked_ms;
            match result {
                Ok((records, deleted)) => {
                    let n = records.len();
                    b.failure = None;
                    b.records = records;
                    b.deleted = deleted;
                    Ok(n)
                }
                Err(f) => {
                    if !f.may_have_applied {
                        me.inner.lock().sent = false;
                    }
                    b.failure = Some(f.clone());
                    Err(f)
                }
            }
        };
        let me = self.clone();
        let done = move |sent: u64, result: Result<(), Fault>| {
            let b = std::mem::take(&mut *brought.lock());
            let (me, step) = (me.clone(), step.clone());
            let land = move || {
                me.ended(&step, sent, b, result);
                desk().tokens.landed(sent);
                me.advance();
            };
            if written::paused() {
                // The workers are there for those who only read.
                if let Err(why) = engine::background("podium-write", land) {
                    ffi::log(
                        ffi::Level::Warning,
                        &format!("a write could not be made known to the cache: {why}"),
                    );
                }
            } else {
                land();
            }
        };
        let errand = Errand {
            base,
            cause: Cause::Write,
            write: true,
            run: Box::new(run),
            done: Box::new(done),
            what,
            scope,
        };
        errand.order(Class::Read);
    }

    /// A call ended: the cache is told, the places of the reply are filled, further steps are queued.
    fn ended(&self, step: &Step, sent: u64, brought: Brought, result: Result<(), Fault>) {
        let asked_ms = brought.asked_ms;
        match (step, result) {
            (Step::Create { lane, records, .. }, Ok(())) => {
                let none = Cells::new();
                let told: Vec<(&Record, &Cells)> = brought
                    .records
                    .iter()
                    .enumerate()
                    .map(|(i, r)| (r, records.get(i).map_or(&none, |(_, c)| c)))
                    .collect();
                let landed = written::store(lane, &told, sent, asked_ms, true);
                self.fill(step, landed);
            }
            (Step::Update { lane, cells, .. }, Ok(())) => {
                let told: Vec<(&Record, &Cells)> =
                    brought.records.iter().map(|r| (r, cells)).collect();
                let landed = written::store(lane, &told, sent, asked_ms, false);
                self.fill(step, landed);
            }
            (Step::Delete { lane, ids }, Ok(())) => {
                let (gone, open): (Vec<_>, Vec<_>) = ids
                    .iter()
                    .cloned()
                    .partition(|(_, id)| brought.deleted.iter().any(|d| *d == **id));
                self.gone(lane, &gone, 1);
                if !open.is_empty() {
                    let line =
                        "UPSTREAMBAD Airtable's answer does not say that the record was deleted";
                    self.next(Step::Confirm {
                        lane: lane.clone(),
                        ids: open,
                        refusal: Fault::new(line),
                    });
                }
            }
            (Step::Confirm { lane, ids, refusal }, Ok(())) => {
                let (there, gone): (Vec<_>, Vec<_>) = ids
                    .iter()
                    .cloned()
                    .partition(|(_, id)| brought.records.iter().any(|r| r.id == **id));
                self.gone(lane, &gone, 0);
                if there.is_empty() {
                } else if gone.is_empty() {
                    // All are there, and yet they were not deleted.
                    self.fail(
                        &there.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
                        &refusal.line,
                    );
                } else {
                    self.next(Step::Delete {
                        lane: lane.clone(),
                        ids: there,
                    });
                }
            }
            (step, Err(fault)) => self.failed(step, brought.failure, fault),
        }
    }

    fn failed(&self, step: &Step, failure: Option<Failure>, fault: Fault) {
        let may_be = failure.as_ref().is_some_and(|f| f.may_have_applied);
        let answered = failure.as_ref().filter(|f| f.status.is_some() && !may_be);
        let refused = answered
            .is_some_and(|f| matches!(f.kind, FailureKind::Refused | FailureKind::UnknownField(_)));
        // What may mean "it is not there" and may mean "you may not".
        let missing = answered.is_some_and(|f| {
            f.status == Some(403)
                || f.kind == FailureKind::NotFound
                || f.error_type.as_deref() == Some("ROW_DOES_NOT_EXIST")
        });
        let line = match &failure {
            _ if may_be => format!("{}; it may have been written nevertheless", fault.line),
            Some(f) if f.message == NOT_BEGUN => {
                format!("{}; nothing was written", self.not_in_time())
            }
            _ => fault.line.clone(),
        };
        match step {
            Step::Create {
                lane,
                records,
                typecast,
            } if refused && records.len() > 1 => {
                // One bad record fails the whole call: the others are written without it.
                let (a, b) = records.split_at(records.len() / 2);
                let half = |part: &[(Place, Cells)]| Step::Create {
                    lane: lane.clone(),
                    records: part.to_vec(),
                    typecast: *typecast,
                };
                self.next(half(b));
                self.next(half(a));
                return;
            }
            Step::Create { lane, records, .. } if may_be => {
                written::uncertain(
                    lane,
                    None,
                    &records.iter().map(|(_, c)| c).collect::<Vec<_>>(),
                );
            }
            Step::Update {
                lane, id, cells, ..
            } if may_be || missing => written::uncertain(lane, Some(id), &[cells]),
            Step::Delete { lane, ids } if may_be => {
                for (_, id) in ids {
                    written::uncertain(lane, Some(id), &[]);
                }
            }
            // A call that names one that is gone fails for all.
            Step::Delete { lane, ids } if missing || refused => {
                let refusal = Fault {
                    line,
                    outage: false,
                };
                self.next(Step::Confirm {
                    lane: lane.clone(),
                    ids: ids.clone(),
                    refusal,
                });
                return;
            }
            _ => {}
        }
        self.fail(&step.places(), &line);
    }

    fn not_in_time(&self) -> String {
        format!(
            "UPSTREAMTIMEOUT there was no call to spare within podium.fetch-timeout-ms ({} ms)",
            config::FETCH_TIMEOUT_MS.get()
        )
    }

    fn gone(&self, lane: &Lane, ids: &[(Place, CompactString)], counted: i64) {
        if ids.is_empty() {
            return;
        }
        written::bury(
            lane,
            &ids.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>(),
        );
        let mut i = self.inner.lock();
        for (at, _) in ids {
            if let Some(slot) = i.places.get_mut(*at) {
                *slot = Some(Body::Int(counted));
            }
        }
    }

    fn fill(&self, step: &Step, landed: Vec<Landed>) {
        let mut i = self.inner.lock();
        for (at, l) in step.places().into_iter().zip(landed) {
            i.fresh_until = i.fresh_until.min(l.fresh_until);
            i.stored &= l.stored;
            if let Some(slot) = i.places.get_mut(at) {
                *slot = Some(l.body);
            }
        }
    }

    fn fail(&self, places: &[Place], line: &str) {
        let mut i = self.inner.lock();
        for at in places {
            if let Some(slot) = i.places.get_mut(*at) {
                *slot = Some(Body::error(line));
            }
        }
    }

    fn next(&self, step: Step) {
        self.inner.lock().steps.push_front(step);
    }

    /// The reply as far as it is known; `open`: what is said of places that nothing is known of.
    fn reply(&self, open: Option<String>) -> Body {
        let mut i = self.inner.lock();
        let line = open.unwrap_or_else(|| format!("{}; nothing was written", self.not_in_time()));
        let mut bodies: Vec<Body> = i
            .places
            .iter_mut()
            .map(|p| p.take().unwrap_or_else(|| Body::error(line.clone())))
            .collect();
        let calls = i.calls;
        let (now, fresh_until, stored) = (ffi::now_ms(), i.fresh_until, i.stored);
        drop(i);
        let meta = self.meta.then(|| Meta {
            cache: CacheWord::Bypass,
            age: 0,
            ttl: if fresh_until == u64::MAX {
                0
            } else {
                (fresh_until.saturating_sub(now) / 1000) as i64
            },
            key: self.key.clone(),
            airtable_hits: i64::from(calls),
            detail: "write",
            fwd: Fwd::Bypass,
            stored,
            collapsed: false,
        });
        match self.shape {
            Shape::List => Body::List(bodies).with_meta(meta),
            Shape::One => bodies.pop().unwrap_or(Body::Null).with_meta(meta),
            Shape::Count => self.count(&bodies),
        }
    }

    /// DELETE: how many were deleted, or which were not.
    fn count(&self, bodies: &[Body]) -> Body {
        let deleted: i64 = bodies
            .iter()
            .map(|b| if let Body::Int(n) = b { *n } else { 0 })
            .sum();
        let failed: Vec<(usize, &String)> = bodies
            .iter()
            .enumerate()
            .filter_map(|(i, b)| {
                if let Body::Error(e) = b {
                    Some((i, e))
                } else {
                    None
                }
            })
            .collect();
        let Some((_, first)) = failed.first() else {
            return Body::Int(deleted);
        };
        let mut names: Vec<String> = failed
            .iter()
            .take(20)
            .filter_map(|(i, _)| self.names.get(*i))
            .map(|n| podium_core::key::shown(n))
            .collect();
        if failed.len() > names.len() {
            names.push(format!("… {} more", failed.len() - names.len()));
        }
        Body::error(format!(
            "{first}; {deleted} of {} were deleted, these were not: {}",
            bodies.len(),
            names.join(" ")
        ))
    }

    /// The client's deadline passed: what has not been sent yet never is.
    fn late(self: Arc<Self>) -> Body {
        self.cancelled.store(true, Ordering::Release);
        let sent = self.inner.lock().sent;
        let line = if sent {
            format!(
                "UPSTREAMTIMEOUT no answer from Airtable within podium.fetch-timeout-ms ({} ms, queueing included): it may have been written",
                config::FETCH_TIMEOUT_MS.get()
            )
        } else {
            format!("{}; nothing was written", self.not_in_time())
        };
        self.reply(Some(line))
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        // However it ended, nobody is left waiting.
        if self.op.attended() {
            self.op.finish(Body::error(
                "ERR internal error: the write was dropped; it may have been written",
            ));
        }
    }
}

fn send(
    client: &podium_airtable::Client,
    ask: &Ask,
    step: &Step,
) -> Result<(Vec<Record>, Vec<String>), Failure> {
    match step {
        Step::Create {
            records, typecast, ..
        } => {
            let cells: Vec<Cells> = records.iter().map(|(_, c)| c.clone()).collect();
            Ok((client.create(ask, &cells, *typecast)?, Vec::new()))
        }
        Step::Update {
            id,
            cells,
            typecast,
            ..
        } => Ok((
            client.update(ask, &[(id.to_string(), cells.clone())], *typecast)?,
            Vec::new(),
        )),
        Step::Delete { ids, .. } => {
            let ids: Vec<&str> = ids.iter().map(|(_, id)| id.as_str()).collect();
            Ok((Vec::new(), client.delete(ask, &ids)?))
        }
        Step::Confirm { ids, .. } => {
            let ids: Vec<&str> = ids.iter().map(|(_, id)| id.as_str()).collect();
            let formula = question::ids_formula(&ids);
            let page = client.list(
                ask,
                &ListQuery {
                    formula: Some(&formula),
                    page_size: 100,
                    ..ListQuery::default()
                },
            )?;
            Ok((page.records, Vec::new()))
        }
    }
}

const NOT_BEGUN: &str = "not begun";

/// Nothing was sent: its time is over.
fn not_begun() -> Failure {
    Failure {
        // Not the base's fault: its breaker is not to hear of it.
        kind: FailureKind::Refused,
        status: None,
        error_type: None,
        message: NOT_BEGUN.into(),
        retry_after: None,
        phase: Phase::Prepare,
        may_have_applied: false,
    }
}
