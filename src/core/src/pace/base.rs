//! One base: what waits for it, what holds it back, and what goes next.

use super::frame::Frame;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::breaker::Circuit;
use super::call::{CallId, Class, LaneKey, PerClass};
use super::lane::{Lane, Wanted};
use super::limiter::{Shape, StartLog};
use super::limits::Limits;
use super::month::Month;
use super::retry::RetryBudget;

/// How often in a row a class may be passed over while it has work: then it gets the next call.
fn patience(class: Class) -> u32 {
    match class {
        Class::Poll => u32::MAX,
        Class::Read => 3,
        Class::Refresh => 9,
        Class::Background => 19,
    }
}

/// How long a base is left alone after Airtable refused it for its plan, before one call finds out whether it still does:
/// somebody may have changed the plan.
pub(super) const PLAN_PROBE_MS: u64 = 3_600_000;

/// The longest silence a `Retry-After` can impose, in ms.
pub(super) const LONGEST_SILENCE_MS: u64 = 600_000;

/// What a call carries, queued or under way.
#[derive(Clone, Debug)]
pub(super) enum Work<P> {
    Batch {
        lane: LaneKey,
        ids: Vec<Wanted>,
        /// The split it comes from.
        family: Option<u64>,
    },
    Solo {
        id: CallId,
        payload: P,
    },
}

/// A call that waits, alone or to be repeated.
#[derive(Clone, Debug)]
pub(super) struct Job<P> {
    pub(super) class: Class,
    /// Order of arrival.
    pub(super) seq: u64,
    pub(super) attempt: u32,
    pub(super) work: Work<P>,
}

/// A call that failed and waits for its next attempt.
#[derive(Clone, Debug)]
pub(super) struct Retry<P> {
    /// Names it in its lane's places.
    pub(super) group: u64,
    pub(super) ready_at: u64,
    pub(super) job: Job<P>,
}

/// What a base could do.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// The class whose call may start now.
    pub(super) ready: Option<Class>,
    /// It was passed over too often.
    pub(super) overdue: bool,
    /// When one may start that may not now.
    pub(super) wake: Option<u64>,
}

/// The plan's calls of the month are used up, Airtable says.
#[derive(Copy, Clone, Debug)]
pub(super) struct PlanRefusal {
    /// The month it said so, if the wall clock is known.
    pub(super) month: Option<u32>,
    /// When it said so: what was sent before tells nothing of it.
    pub(super) since: u64,
    pub(super) probe_at: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Base<P> {
    pub(super) log: StartLog,
    /// Calls queue for a slot, so they go evenly.
    evenly: bool,
    /// A lock-out lasts until then …
    pub(super) silent_until: u64,
    /// … and until a call after it is answered, one goes at a time.
    pub(super) recovering: bool,
    pub(super) refusal: Option<PlanRefusal>,
    pub(super) circuit: Circuit,
    pub(super) budget: RetryBudget,
    pub(super) in_flight: usize,
    /// Its last call's number among all calls: bases take turns.
    pub(super) last_turn: u64,
    pub(super) lanes: HashMap<LaneKey, Lane>,
    pub(super) solos: PerClass<BTreeMap<(u64, CallId), Job<P>>>,
    pub(super) retries: Vec<Retry<P>>,
    passed_over: PerClass<u32>,
    /// Of the class, a batch went last: a solo call has its turn.
    solo_turn: PerClass<bool>,
}

impl<P> Base<P> {
    pub(super) fn new() -> Self {
        Base {
            log: StartLog::default(),
            evenly: false,
            silent_until: 0,
            recovering: false,
            refusal: None,
            circuit: Circuit::default(),
            budget: RetryBudget::default(),
            in_flight: 0,
            last_turn: 0,
            lanes: HashMap::new(),
            solos: PerClass::default(),
            retries: Vec::new(),
            passed_over: PerClass::default(),
            solo_turn: PerClass::default(),
        }
    }

    /// Ids and solo calls that wait, those to be repeated included.
    pub(super) fn pending(&self) -> usize {
        let ids: usize = self.lanes.values().map(Lane::len).sum();
        let solos: usize = self.solos.iter().map(BTreeMap::len).sum();
        let repeated = self.retries.iter();
        ids + solos
            + repeated
                .filter(|retry| matches!(retry.job.work, Work::Solo { .. }))
                .count()
    }

    /// From when on lock-out, spent month and breaker let a call go.
    pub(super) fn open_at(&self, month: &Month, now: u64) -> u64 {
        self.silent_until
            .max(self.circuit.free_at())
            .max(self.refused_until(month, now))
    }

    /// From when on a base that Airtable refused for its plan may be asked again.
    pub(super) fn refused_until(&self, month: &Month, now: u64) -> u64 {
        let Some(refusal) = self.refusal else {
            return 0;
        };
        if refusal.month.is_some() && month.number() != refusal.month {
            return 0;
        }
        match month.number() {
            Some(_) => refusal.probe_at.min(now.saturating_add(month.ms_left(now))),
            None => refusal.probe_at,
        }
    }

    /// What may start now, and when to look again. Notes whether calls queue.
    pub(super) fn survey(&mut self, frame: &Frame<'_>, open_at: u64) -> Survey {
        let mut survey = Survey::default();
        if self.in_flight >= frame.cap.min(if self.recovering { 1 } else { usize::MAX }) {
            return survey;
        }
        let mut queueing = false;
        let mut wake: Option<u64> = None;
        let slot_at = self.log.free_at(frame.shape, self.evenly);
        for class in Class::ALL {
            let Some(work_at) = self.work_at(class, frame) else {
                *self.passed_over.get_mut(class) = 0;
                continue;
            };
            let due_at = work_at.max(open_at).max(*frame.month.get(class));
            if due_at > frame.now {
                *self.passed_over.get_mut(class) = 0;
                let at = due_at.max(slot_at);
                wake = Some(wake.map_or(at, |wake| wake.min(at)));
                continue;
            }
            queueing = true;
            if slot_at > frame.now {
                wake = Some(wake.map_or(slot_at, |wake| wake.min(slot_at)));
                continue;
            }
            if frame.low_full && class > Class::Read {
                continue;
            }
            let overdue = *self.passed_over.get(class) >= patience(class);
            if survey.ready.is_none() || overdue {
                survey.ready = Some(class);
                survey.overdue = overdue;
            }
        }
        if !queueing {
            self.evenly = false;
        } else if slot_at > frame.now && !self.evenly {
            self.evenly = true;
            // The distance kept from now on may be longer than the window.
            let slot_at = self.log.free_at(frame.shape, true);
            wake = Some(wake.map_or(slot_at, |wake| wake.max(slot_at)));
        }
        survey.wake = wake;
        survey
    }

    /// From when on the class has something to send, as far as its work alone decides.
    fn work_at(&self, class: Class, frame: &Frame<'_>) -> Option<u64> {
        if !self.solos.get(class).is_empty() {
            return Some(0);
        }
        let retries = self.retries.iter().filter(|retry| retry.job.class == class);
        let lanes = self.lanes.values();
        retries
            .map(|retry| retry.ready_at)
            .chain(lanes.filter_map(|lane| lane.ready_at(class, frame)))
            .min()
    }

    /// Takes the next call of a class that [`survey`](Self::survey) called ready.
    pub(super) fn take(&mut self, class: Class, frame: &Frame<'_>) -> Option<Job<P>> {
        let job = self.take_retry(class, frame.now).or_else(|| {
            let turn = *self.solo_turn.get(class);
            let lane = self.next_lane(class, frame);
            if lane.is_none() || (turn && !self.solos.get(class).is_empty()) {
                *self.solo_turn.get_mut(class) = false;
                return self.solos.get_mut(class).pop_first().map(|(_, job)| job);
            }
            *self.solo_turn.get_mut(class) = true;
            lane.and_then(|lane| self.take_batch(lane, class, frame))
        })?;
        self.pass_over(class, frame);
        Some(job)
    }

    fn take_retry(&mut self, class: Class, now: u64) -> Option<Job<P>> {
        let (at, _) = self
            .retries
            .iter()
            .enumerate()
            .filter(|(_, retry)| retry.job.class == class && retry.ready_at <= now)
            .min_by_key(|(_, retry)| (retry.job.seq, retry.group))?;
        let retry = self.retries.swap_remove(at);
        if let Work::Batch { lane, ids, .. } = &retry.job.work {
            if let Some(lane) = self.lanes.get_mut(lane) {
                for wanted in ids {
                    lane.forget_retry(&wanted.id, retry.group);
                }
            }
        }
        Some(retry.job)
    }

    fn next_lane(&self, class: Class, frame: &Frame<'_>) -> Option<LaneKey> {
        self.lanes
            .iter()
            .filter(|(_, lane)| {
                lane.ready_at(class, frame)
                    .is_some_and(|at| at <= frame.now)
            })
            .min_by_key(|(_, lane)| lane.rank(class, frame))
            .map(|(key, _)| *key)
    }

    fn take_batch(&mut self, key: LaneKey, lead: Class, frame: &Frame<'_>) -> Option<Job<P>> {
        let lane = self.lanes.get_mut(&key)?;
        let ids = lane.take(lead, frame.limits.page.max(1));
        let seq = ids.first()?.seq;
        let class = ids.iter().map(|wanted| wanted.class).min()?;
        if class <= Class::Read {
            lane.started(frame);
        }
        Some(Job {
            class,
            seq,
            attempt: 1,
            work: Work::Batch {
                lane: key,
                ids,
                family: None,
            },
        })
    }

    /// A call of the class starts: the less urgent ones that could have had it were passed over once more.
    fn pass_over(&mut self, class: Class, frame: &Frame<'_>) {
        for other in Class::ALL {
            let waits = other > class
                && *frame.month.get(other) <= frame.now
                && self.work_at(other, frame).is_some_and(|at| at <= frame.now);
            let count = self.passed_over.get_mut(other);
            if other == class {
                *count = 0;
            } else if waits {
                *count = count.saturating_add(1);
            }
        }
    }

    /// A call starts; true if it is a probe.
    pub(super) fn start(
        &mut self,
        limits: &Limits,
        shape: &Shape,
        repeats: bool,
        now: u64,
    ) -> bool {
        self.log.start(shape, now);
        self.in_flight += 1;
        if !repeats {
            self.budget.call(now);
        }
        if let Some(refusal) = &mut self.refusal {
            refusal.probe_at = now + PLAN_PROBE_MS;
        }
        self.circuit.start(&limits.breaker, now)
    }

    /// A call that started then was not sent after all: it tells nothing of the base, and its slot is free again.
    pub(super) fn not_sent(
        &mut self,
        limits: &Limits,
        probe: bool,
        repeats: bool,
        started: u64,
        now: u64,
    ) {
        self.log.withdraw(started);
        if !repeats {
            self.budget.withdraw(started);
        }
        if let Some(refusal) = &mut self.refusal {
            // Each call that starts is the probe: another may find out now.
            if refusal.probe_at == started + PLAN_PROBE_MS {
                refusal.probe_at = now;
            }
        }
        if probe {
            self.circuit.withdraw(&limits.breaker, started, now);
        }
    }

    /// Airtable said 429: calls came too fast.
    pub(super) fn lock_out(&mut self, limits: &Limits, retry_after_ms: Option<u64>, now: u64) {
        let silence = retry_after_ms
            .unwrap_or(limits.lockout_ms)
            .min(LONGEST_SILENCE_MS);
        self.silent_until = self.silent_until.max(now + silence);
        self.recovering = true;
    }

    /// Airtable said 429: the plan's calls of the month are used up.
    pub(super) fn refuse_plan(&mut self, month: &Month, now: u64) {
        self.refusal = Some(PlanRefusal {
            month: month.number(),
            since: now,
            probe_at: now + PLAN_PROBE_MS,
        });
    }

    /// An earlier process was told so; it would have asked again in so many ms.
    pub(super) fn restore_refusal(&mut self, month: u32, probe_ms: u64, now: u64) {
        self.refusal = Some(PlanRefusal {
            month: Some(month),
            since: now,
            probe_at: now + probe_ms.min(PLAN_PROBE_MS),
        });
    }

    /// A call that was sent then was answered, and not with a refusal.
    pub(super) fn accepted(&mut self, started: u64) {
        if self.refusal.is_some_and(|refusal| started >= refusal.since) {
            self.refusal = None;
        }
    }

    /// Airtable answered a call, whatever it answered.
    pub(super) fn answered(&mut self, limits: &Limits, probe: bool, now: u64) {
        self.circuit.success(&limits.breaker, probe, now);
        self.recovering = false;
    }

    /// Lanes with nothing to remember go. Their number would otherwise grow with every generation of an entity.
    pub(super) fn forget_idle_lanes(&mut self, now: u64) -> Vec<LaneKey> {
        let mut gone = Vec::new();
        self.lanes.retain(|key, lane| {
            let keep = !lane.is_empty() || lane.gather_until() > now;
            if !keep {
                gone.push(*key);
            }
            keep
        });
        gone
    }
}
