//! Who waits in vain: reads that nobody waits for any more leave the queue, and reads whose deadline comes before the next
//! call can are told at once.

use crate::server::desk::job::Job;
use crate::server::desk::{self, desk, Desk, Thing};
use crate::server::state::clock;
use crate::server::state::entities::EntityIx;
use crate::server::state::lane;
use crate::server::state::outcome::{LandedQuestion, LandedRecord, Seen, Ticket};
use crate::server::state::waiting;
use crate::server::state::waiting::Op;
use crate::server::state::waiting::Passenger;
use crate::server::upstream::fault::hopeless;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::reply::Body;
use crate::server::valkey::settings;
use crate::server::valkey::{blocked, ffi};
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_core::pace::{BaseKey, Busy, Class};
use podium_core::spec::Spec;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

static TICKS: AtomicU64 = AtomicU64::new(0);

/// Now and then, on the upkeep thread: who gave up, and who waits for a base that is left alone (its month is spent, say).
pub(crate) fn who_gave_up() {
    let waits_in_vain = || {
        let d = desk();
        let now = clock::mono_ms();
        // Behind a NOWAIT there is nobody who could give up: those are looked for now and then.
        let in_turn = TICKS.fetch_add(1, Ordering::Relaxed) % 10 == 0;
        d.sched.pending() > 0
            && (in_turn
                || d.bases
                    .values()
                    .any(|b| d.sched.busy_for(*b, now).is_some()))
    };
    if blocked::somebody_left() || waits_in_vain() {
        look_through(None);
        let bases: Vec<Arc<str>> = desk().bases.keys().cloned().collect();
        bases.iter().for_each(|base| tell_hopeless(base));
    }
}

/// A call to this base failed: its queue is looked through if the base is to be left alone. On a worker, holding nothing.
pub(crate) fn after_failure(base: &str) {
    let key = {
        let mut d = desk();
        let busy = d.busy_for(base);
        busy.map(|_| d.base(base))
    };
    if let Some(key) = key {
        look_through(Some(key));
        tell_hopeless(base);
    }
}

/// Errands of the base that wait although its month turned out to be spent are told. On a worker, holding nothing.
fn tell_hopeless(base: &str) {
    let (busy, waiting) = {
        let mut d = desk();
        let Some(busy) = d.busy_for(base).filter(hopeless) else {
            return;
        };
        let key = d.base(base);
        let waiting = d.sched.withdraw(key, |class, job| {
            class != Class::Poll && matches!(**job, Job::Errand(_))
        });
        (busy, waiting)
    };
    for job in waiting {
        if let Job::Errand(e) = &*job {
            e.not_made(busy);
        }
    }
}

/// A question that is told why it has to wait: entity, set, the spec it was asked under, why, and who waits.
type ToldQuestion = (EntityIx, Arc<[u8]>, Arc<Spec>, Busy, Vec<Passenger>);

/// What is told to whom, once the desk is left.
#[derive(Default)]
struct Told {
    records: Vec<(EntityIx, CompactString, Busy, Vec<Passenger>)>,
    questions: Vec<ToldQuestion>,
    /// Nobody waits for these any more; their clients are let go.
    gone: Vec<Arc<Op>>,
}

struct BaseAndSpec {
    base: BaseKey,
    spec: Arc<Spec>,
}

fn look_through(only: Option<BaseKey>) {
    let told = {
        let mut d = desk();
        sort_out(&mut d, only)
    };
    desk::close_now();
    for op in told.gone {
        op.finish(Body::Null);
    }
    for (ix, id, busy, passengers) in told.records {
        let landed = LandedRecord {
            seen: Seen::Failed(Fault::busy(busy)),
            sent: 0,
            asked_ms: 0,
            stored: false,
            ticket: Ticket::new(0),
        };
        waiting::arrived_record(ix, &id, &Arc::new(landed), passengers);
    }
    for (ix, suffix, spec, busy, passengers) in told.questions {
        let landed = LandedQuestion {
            records: Err(Fault::busy(busy)),
            damaged: Default::default(),
            nameless: false,
            spec,
            sent: 0,
            asked_ms: 0,
            fresh_until: 0,
            stored: false,
            ticket: Ticket::new(0),
            _relied: None,
        };
        waiting::arrived_question(ix, &suffix, &Arc::new(landed), passengers);
    }
}

fn sort_out(d: &mut Desk, only: Option<BaseKey>) -> Told {
    let now = ffi::now_ms();
    let patience = settings::FETCH_TIMEOUT_MS.get().max(1) as u64;
    let mut places: HashMap<EntityIx, BaseAndSpec> = HashMap::new();
    for lane in d.lanes.values() {
        let Some(base) = d.bases.get(&lane.base).copied() else {
            continue;
        };
        places.entry(lane.ix).or_insert_with(|| BaseAndSpec {
            base,
            spec: lane.spec.clone(),
        });
    }
    let mono = clock::mono_ms();
    let busy: HashMap<BaseKey, Busy> = d
        .bases
        .values()
        .filter_map(|b| d.sched.busy_for(*b, mono).map(|busy| (*b, busy)))
        .collect();

    let mut told = Told::default();
    let Desk {
        sched,
        flights,
        calls,
        ..
    } = d;
    flights.sift(|id, thing, sent, waiters| {
        let ix = match thing {
            Thing::Record(ix, ..) | Thing::Question(ix, ..) => *ix,
        };
        let Some(place) = places.get(&ix).filter(|p| only.is_none_or(|b| b == p.base)) else {
            return false;
        };
        let call = calls.get(&id).copied();
        let waits = !sent || call.is_some_and(|c| c.repeats);
        if waiters.is_empty() || !waits {
            return false;
        }
        let covered = busy.get(&place.base).copied();
        let mut tell = Vec::new();
        waiters.retain(|p| {
            // A read behind a NOWAIT is worth a call for as long as a client would have waited.
            let deadline = p.op.asked_ms.saturating_add(patience);
            if p.op.is_done() || (!p.op.attended() && deadline <= now) {
                told.gone.push(p.op.clone());
                return false;
            }
            if covered.is_some_and(|b| now.saturating_add(b.ms_left) >= deadline) {
                tell.push(p.clone());
                return false;
            }
            true
        });
        let over = waiters.is_empty();
        match (thing, covered) {
            (Thing::Record(ix, id, _), Some(busy)) if !tell.is_empty() => {
                told.records.push((*ix, id.clone(), busy, tell))
            }
            (Thing::Question(ix, suffix, _), Some(busy)) if !tell.is_empty() => {
                told.questions
                    .push((*ix, suffix.clone(), place.spec.clone(), busy, tell));
            }
            _ => {}
        }
        if !over {
            return false;
        }
        match thing {
            // Who asked in another generation waits for a call of their own.
            Thing::Record(ix, id, generation) => sched.unwant(lane::key(*ix, *generation), id),
            Thing::Question(..) => {
                // Under way after all: it lands by itself.
                let Some(job) = call.and_then(|c| sched.cancel(c.id)) else {
                    return false;
                };
                // Its number goes with it, and that it is under way.
                drop(job);
                calls.remove(&id);
            }
        }
        true
    });
    told
}
