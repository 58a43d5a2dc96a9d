//! Writes through the cache: Airtable first, ten records to a call, then the cache, then the reply.
//!
//! A write is a queue of steps, each one call. No thread waits for it: the end of a call lands what it brought
//! ([`crate::server::changes::written`]) and orders the next. A call that Airtable may have carried out is never sent again.
//!
//! Reading order: the write here, `step` (what each call asks), `ended` (what comes of it), `reply`.

pub(crate) mod ended;
pub(crate) mod reply;
pub(crate) mod step;

use crate::server::desk::job::Errand;
use crate::server::state::clock::Sent;
use crate::server::state::lane::Lane;
pub(crate) use crate::server::writes::step::calls_of;
use crate::server::writes::step::{plan, send, Step};

use crate::server::changes::written;
use crate::server::desk::{self};
use crate::server::upstream::fault::Fault;
use crate::server::upstream::figures::Cause;
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi;
use crate::server::valkey::reply::Body;
use crate::server::valkey::settings;
use compact_str::CompactString;
use parking_lot::Mutex;
use podium_airtable::{Ask, Damaged, Failure, FailureKind, Phase, Record};
use podium_core::missing::Missing;
use podium_core::pace::Class;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) type Cells = Map<String, Value>;

/// A record's place in the reply.
type Place = usize;

/// What a client wants written.
pub(crate) enum Request {
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    List,
    One,
    Count,
}

/// A write under way.
pub(crate) struct Write {
    op: Arc<Blocked>,
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

/// What Airtable answered.
#[derive(Default)]
struct Answer {
    /// What was written, in the order asked.
    written: Vec<Result<Record, Damaged>>,
    /// The ids that are there.
    there: Vec<String>,
    /// What is to be believed of the others that were asked for.
    missing: Option<Missing>,
    deleted: Vec<String>,
}

/// What a call brought.
#[derive(Default)]
struct Ended {
    answer: Answer,
    asked_ms: u64,
    failure: Option<Failure>,
}

/// With less left than this, a write is not begun: how it ended could not be told any more.
const LEAST: Duration = Duration::from_millis(50);
/// The call's own deadline ends so long before the client's, so that its definite answer comes first.
const MARGIN: Duration = Duration::from_millis(20);

/// Begins a write on behalf of a blocked client. `key`: the command's first key.
pub(crate) fn begin(
    op: &Arc<Blocked>,
    request: Request,
    key: &[u8],
    meta: bool,
    timeout: Duration,
) {
    crate::server::desk::deletes::watch();
    let (steps, names, shape) = plan(request);
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
    op.when_late(Box::new(move |_| match weak.upgrade() {
        Some(w) => w.late(),
        None => Body::error(Fault::timeout(settings::FETCH_TIMEOUT_MS.get()).line),
    }));
    write.advance();
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
        let brought = Arc::new(Mutex::new(Ended::default()));
        let (me, its, box1) = (self.clone(), step.clone(), brought.clone());
        let run = move |client: &podium_airtable::Client,
                        token: &podium_airtable::Token,
                        deadline: Duration| {
            let left = me.deadline.saturating_duration_since(Instant::now());
            if left < LEAST || me.cancelled.load(Ordering::Acquire) {
                let f = not_begun();
                box1.lock().failure = Some(f.clone());
                return Err(f);
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
                Ok(answer) => {
                    let n = answer.written.len() + answer.there.len();
                    b.failure = None;
                    b.answer = answer;
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
        let done = move |sent: Sent, result: Result<(), Fault>| {
            let b = std::mem::take(&mut *brought.lock());
            let (me, step) = (me.clone(), step.clone());
            let land = move || {
                me.ended(&step, sent.number(), b, result);
                drop(sent);
                me.advance();
            };
            if written::paused() {
                // The workers are there for those who only read.
                if let Err(why) = desk::background("podium-write", land) {
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

/// Nothing was sent: its time is over. Not the base's fault: neither its breaker nor its budget hear of it
/// ([`crate::server::upstream::fault::never_begun`]).
fn not_begun() -> Failure {
    Failure {
        kind: FailureKind::Timeout,
        status: None,
        error_type: None,
        message: "not begun".into(),
        retry_after: None,
        phase: Phase::Prepare,
        may_have_applied: false,
    }
}
