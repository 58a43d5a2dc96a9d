//! The scheduler: takes in what is wanted, hands out calls, and settles what became of them.

use alloc::vec::Vec;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::base::{Base, Frame, Job, Retry, Survey, Work};
use super::breaker::Breaker;
use super::call::{
    BaseKey, Busy, Call, CallId, Class, Fault, LaneKey, Next, Outcome, PerClass, Verdict, What, Why,
};
use super::lane::{Lane, Place, Wanted};
use super::limiter::{Shape, StartLog};
use super::limits::Limits;
use super::month::Month;
use super::retry::full_jitter;
use super::saved::{Saved, SavedBase};
use super::split::{halves, Families};

/// A `now` that is earlier by no more than this was read before another thread's; one that is earlier by more comes
/// from a clock that jumped.
const CLOCK_JUMP_MS: u64 = 60_000;

/// The longest `Retry-After` of a single call that is obeyed, in ms.
const LONGEST_RETRY_AFTER_MS: u64 = 60_000;

/// Lanes of a base beyond which those with nothing to remember are looked for.
const MANY_LANES: usize = 64;

/// Calls so far, since the process began.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All calls handed out.
    pub calls: u64,
    /// Those among them that repeat a failed call, whole or in part.
    pub retries: u64,
    /// Calls answered 429, for the rate or the month.
    pub rate_limited: u64,
    /// Batches queued again in parts.
    pub splits: u64,
}

/// A call under way.
#[derive(Debug)]
struct Flight<P> {
    base: BaseKey,
    job: Job<P>,
    probe: bool,
    /// Ids were added to fill the page.
    filled: bool,
    /// Its lane was dropped: nobody wants what it brings.
    orphan: bool,
}

/// Decides what goes upstream next; see the [module](super). `P` is the payload of a call that cannot be merged.
#[derive(Debug)]
pub struct Scheduler<P> {
    limits: Limits,
    shape: Shape,
    token_shape: Shape,
    token: StartLog,
    bases: HashMap<BaseKey, Base<P>>,
    lanes: HashMap<LaneKey, BaseKey>,
    /// Solo calls in the queue: base, class, order of arrival.
    solos: HashMap<CallId, (BaseKey, Class, u64)>,
    flights: HashMap<CallId, Flight<P>>,
    families: Families,
    month: Month,
    counts: Counts,
    seq: u64,
    sealed: u64,
    last_id: CallId,
    /// The scheduler's time: `now` plus what the caller's clock jumped back, never decreasing.
    now: u64,
    shift: u64,
    /// Until then a base seen for the first time may have been called by the process before this one.
    cautious_until: u64,
}

impl<P: Clone> Scheduler<P> {
    /// A scheduler that knows of no calls before it. After a restart or failover, [`restore`](Self::restore) it.
    pub fn new(limits: Limits) -> Self {
        Scheduler {
            shape: Shape::base(&limits),
            token_shape: Shape::token(&limits),
            limits,
            token: StartLog::default(),
            bases: HashMap::new(),
            lanes: HashMap::new(),
            solos: HashMap::new(),
            flights: HashMap::new(),
            families: Families::default(),
            month: Month::default(),
            counts: Counts::default(),
            seq: 0,
            sealed: 0,
            last_id: 0,
            now: 0,
            shift: 0,
            cautious_until: 0,
        }
    }

    /// New limits, in force for the next call.
    pub fn set_limits(&mut self, limits: Limits) {
        self.shape = Shape::base(&limits);
        self.token_shape = Shape::token(&limits);
        self.limits = limits;
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Tells what the wall clock reads (unix ms). It decides which month it is; told now and then (every second or so,
    /// and before [`restore`](Self::restore)), so that a jump is noticed.
    pub fn set_clock(&mut self, now: u64, unix_ms: u64) {
        let now = self.tick(now);
        self.month.set_clock(now, unix_ms);
    }

    /// Queues an id for its lane's next batch. True if it was not queued yet; if it was, it takes the more urgent class.
    /// A refresh or background id is not taken in (false) while [`Limits::max_queued`] are pending.
    pub fn want(
        &mut self,
        base: BaseKey,
        lane: LaneKey,
        id: CompactString,
        class: Class,
        now: u64,
    ) -> bool {
        let now = self.tick(now);
        if class > Class::Read && self.pending() >= self.limits.max_queued {
            return false;
        }
        self.seq += 1;
        let wanted = Wanted {
            id,
            class,
            seq: self.seq,
            queued_at: now,
        };
        self.lanes.insert(lane, base);
        let base = self.base(base);
        let queue = base.lanes.entry(lane).or_insert_with(Lane::new);
        if let Some(Place::Retry { group }) = queue.place(&wanted.id) {
            for retry in base.retries.iter_mut().filter(|r| r.group == group) {
                retry.job.class = retry.job.class.min(class);
            }
            return false;
        }
        queue.push(wanted)
    }

    /// Nobody waits for the id any more: it leaves the queue. A call under way goes on.
    pub fn unwant(&mut self, lane: LaneKey, id: &str) {
        let Some(base) = self.lanes.get(&lane).and_then(|b| self.bases.get_mut(b)) else {
            return;
        };
        let Some(queue) = base.lanes.get_mut(&lane) else {
            return;
        };
        let Some(Place::Retry { group }) = queue.place(id) else {
            queue.remove(id);
            return;
        };
        queue.forget_retry(id, group);
        let Some(at) = base.retries.iter().position(|retry| retry.group == group) else {
            return;
        };
        let mut left = None;
        if let Some(Retry { job, .. }) = base.retries.get_mut(at) {
            if let Work::Batch { ids, family, .. } = &mut job.work {
                ids.retain(|wanted| wanted.id != id);
                left = ids.is_empty().then_some(*family);
            }
        }
        if let Some(family) = left {
            base.retries.swap_remove(at);
            self.families.leave(family);
        }
    }

    /// Queues a call that cannot be merged. It needs no [`flush`](Self::flush).
    pub fn submit(&mut self, base: BaseKey, class: Class, payload: P, now: u64) -> CallId {
        self.tick(now);
        self.seq += 1;
        self.enqueue(base, class, self.seq, payload)
    }

    /// The call was answered and has a next page: it is over, and the next page is queued in its class, ahead of solo
    /// calls that came later than its first page. `None` if the call is not under way.
    pub fn call_more(&mut self, id: CallId, payload: P, now: u64) -> Option<CallId> {
        let flight = self.flights.get(&id)?;
        let (base, class, seq) = (flight.base, flight.job.class, flight.job.seq);
        self.done(id, Outcome::Ok, now, 0);
        Some(self.enqueue(base, class, seq, payload))
    }

    /// Withdraws a solo call that waits, for its first attempt or another; its payload. `None` if it is under way or
    /// unknown.
    pub fn cancel(&mut self, id: CallId) -> Option<P> {
        let job = match self.solos.remove(&id) {
            Some((base, class, seq)) => self
                .bases
                .get_mut(&base)?
                .solos
                .get_mut(class)
                .remove(&(seq, id))?,
            None => self.bases.values_mut().find_map(|base| {
                let is_it = |retry: &Retry<P>| matches!(retry.job.work, Work::Solo { id: solo, .. } if solo == id);
                let at = base.retries.iter().position(is_it)?;
                Some(base.retries.swap_remove(at).job)
            })?,
        };
        match job.work {
            Work::Solo { payload, .. } => Some(payload),
            Work::Batch { .. } => None,
        }
    }

    /// The end of an event loop's pass: the ids queued so far may go out. Before that they are still being gathered.
    pub fn flush(&mut self, now: u64) {
        let now = self.tick(now);
        self.sealed = self.seq;
        for base in self
            .bases
            .values_mut()
            .filter(|b| b.lanes.len() > MANY_LANES)
        {
            for lane in base.forget_idle_lanes(now) {
                self.lanes.remove(&lane);
            }
        }
    }

    /// What to send now, or when to ask again. To be asked until it says `Wait`.
    pub fn next(&mut self, now: u64) -> Next<P> {
        self.next_with(now, |_, _| Vec::new())
    }

    /// Like [`next`](Self::next); a batch with room is filled with ids of its lane that `fill` names (the lane, how many
    /// there is room for): records next to go stale. They cost no call. If the call fails they are not repeated.
    pub fn next_with(
        &mut self,
        now: u64,
        fill: impl FnMut(LaneKey, usize) -> Vec<CompactString>,
    ) -> Next<P> {
        let now = self.tick(now);
        self.month.roll(now);
        if self.flights.len() >= self.limits.max_in_flight.max(1) {
            return Next::Wait(None);
        }
        let mut month = PerClass::default();
        for class in Class::ALL {
            *month.get_mut(class) = self.month.free_at(self.limits.monthly, class, now);
        }
        let frame = Frame {
            now,
            limits: &self.limits,
            shape: &self.shape,
            sealed: self.sealed,
            month: &month,
            cap: self.cap(),
        };
        let token_at = self.token.free_at(&self.token_shape, false);
        let mut best: Option<(Class, u64, BaseKey, Class)> = None;
        let mut wake: Option<u64> = None;
        for (key, base) in &mut self.bases {
            let open_at = base.open_at(&self.month, now);
            let Survey {
                ready,
                overdue,
                wake: mut at,
            } = base.survey(&frame, open_at);
            if let Some(class) = ready {
                if token_at > now {
                    at = Some(token_at);
                } else {
                    // A class that is overdue competes with the reads of other bases.
                    let rank = if overdue {
                        class.min(Class::Read)
                    } else {
                        class
                    };
                    let candidate = (rank, base.last_start, *key, class);
                    best = Some(best.map_or(candidate, |best| best.min(candidate)));
                }
            }
            wake = [wake, at.map(|at| at.max(token_at))]
                .into_iter()
                .flatten()
                .min();
        }
        let taken = best.and_then(|(_, _, key, class)| {
            let job = self.bases.get_mut(&key)?.take(class, &frame)?;
            Some((key, job))
        });
        match taken {
            Some((key, job)) => Next::Call(self.start(key, job, now, fill)),
            None => Next::Wait(wake.map(|at| at.saturating_sub(self.shift))),
        }
    }

    /// A call ended. What it asked for is over (`Settled`, `GiveUp`) or queued again (`Retrying`, `Split`: ids that
    /// nobody waits for any more are to be [unwanted](Self::unwant), a solo call [cancelled](Self::cancel)). `chance` is a
    /// uniformly random number.
    pub fn done(&mut self, id: CallId, outcome: Outcome, now: u64, chance: u64) -> Verdict {
        let now = self.tick(now);
        let Some(flight) = self.flights.remove(&id) else {
            return Verdict::Settled;
        };
        let limits = &self.limits;
        // A base is never removed while it has a call under way.
        let Some(base) = self.bases.get_mut(&flight.base) else {
            return Verdict::GiveUp;
        };
        base.in_flight = base.in_flight.saturating_sub(1);
        let Outcome::Failed {
            class: fault,
            retry_after_ms,
        } = outcome
        else {
            base.answered(limits, flight.probe, now);
            base.refusal = None;
            if let Work::Batch { family, .. } = flight.job.work {
                self.families.succeeded(family);
            }
            return Verdict::Settled;
        };
        match fault {
            Fault::Transient | Fault::Timeout | Fault::Uncertain => {
                base.circuit.failure(&limits.breaker, flight.probe, now);
            }
            Fault::RateLimited => {
                self.counts.rate_limited += 1;
                base.circuit.success(&limits.breaker, flight.probe, now);
                base.lock_out(limits, retry_after_ms, now);
            }
            Fault::MonthSpent => {
                self.counts.rate_limited += 1;
                base.circuit.success(&limits.breaker, flight.probe, now);
                base.refuse_month(&self.month, now);
            }
            Fault::Poison | Fault::Refused => base.answered(limits, flight.probe, now),
        }
        if flight.orphan {
            return self.give_up(flight);
        }
        match fault {
            Fault::Transient => self.repeat(flight, retry_after_ms, now, chance),
            Fault::Timeout => self.split(flight, true, now),
            Fault::Poison => self.split(flight, false, now),
            Fault::RateLimited => self.put_back(flight),
            Fault::Uncertain | Fault::MonthSpent | Fault::Refused => self.give_up(flight),
        }
    }

    /// Why a call of a read could not go to the base now, if so, and for how long. `None` also when a probe is due: then
    /// the next read is let in, and is it.
    pub fn busy_for(&self, base: BaseKey, now: u64) -> Option<Busy> {
        let now = self.at(now);
        let spent = self
            .limits
            .monthly
            .is_some_and(|monthly| self.month.calls() >= monthly);
        let mut busy = spent.then(|| (now + self.month.ms_left(now), Why::MonthSpent));
        if let Some(base) = self.bases.get(&base) {
            let refused = base.refused_until(&self.month, now);
            let reasons = [
                (refused, Why::MonthSpent),
                (base.silent_until, Why::RateLimited),
                (base.circuit.free_at(), Why::BreakerOpen),
            ];
            for (until, why) in reasons {
                if busy.is_none_or(|(longest, _)| until > longest) {
                    busy = Some((until, why));
                }
            }
        }
        busy.filter(|(until, _)| *until > now)
            .map(|(until, why)| Busy {
                why,
                ms_left: until - now,
            })
    }

    /// Ids and solo calls that wait, those to be repeated included.
    pub fn pending(&self) -> usize {
        self.bases.values().map(Base::pending).sum()
    }

    /// Calls handed out and not done.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The state of a base's breaker.
    pub fn breaker(&self, base: BaseKey, now: u64) -> Breaker {
        let base = self.bases.get(&base);
        base.map_or(Breaker::Closed, |base| base.circuit.state(self.at(now)))
    }

    /// The entity is gone: its ids leave the queue and are returned, in no order. Calls under way are not repeated.
    pub fn drop_lane(&mut self, lane: LaneKey) -> Vec<CompactString> {
        for flight in self.flights.values_mut() {
            if matches!(flight.job.work, Work::Batch { lane: of, .. } if of == lane) {
                flight.orphan = true;
            }
        }
        let Some(base) = self
            .lanes
            .remove(&lane)
            .and_then(|b| self.bases.get_mut(&b))
        else {
            return Vec::new();
        };
        let families = &mut self.families;
        base.retries.retain(|retry| match retry.job.work {
            Work::Batch {
                lane: of, family, ..
            } if of == lane => {
                families.leave(family);
                false
            }
            _ => true,
        });
        base.lanes
            .remove(&lane)
            .map_or_else(Vec::new, Lane::into_ids)
    }

    /// Empties the queue: the ids of every lane and the solo calls that waited. Calls under way are not repeated.
    pub fn drain(&mut self) -> (Vec<(LaneKey, Vec<CompactString>)>, Vec<(CallId, P)>) {
        for flight in self.flights.values_mut() {
            flight.orphan = true;
        }
        let mut ids = Vec::new();
        let mut calls = Vec::new();
        for base in self.bases.values_mut() {
            for (key, lane) in base.lanes.drain() {
                ids.push((key, lane.into_ids()));
            }
            let solos = base.solos.iter_mut().flat_map(core::mem::take);
            let repeated = base.retries.drain(..).map(|retry| retry.job);
            for job in solos.map(|(_, job)| job).chain(repeated) {
                match job.work {
                    Work::Solo { id, payload } => calls.push((id, payload)),
                    Work::Batch { family, .. } => self.families.leave(family),
                }
            }
        }
        self.lanes.clear();
        self.solos.clear();
        (ids, calls)
    }

    /// The calls made in this month.
    pub fn month_calls(&self) -> u64 {
        self.month.calls()
    }

    /// Calls so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What is to be kept over a restart, a failover.
    pub fn state(&self, now: u64) -> Saved {
        let now = self.at(now);
        let (poll_credit, background_credit) = self.month.credits();
        let bases = self.bases.iter().map(|(key, base)| SavedBase {
            base: *key,
            silent_ms: base.silent_until.saturating_sub(now),
            refused_month: base
                .refusal
                .filter(|_| base.refused_until(&self.month, now) > now)
                .and_then(|refusal| refusal.number),
            breaker_open: !base.circuit.is_closed(),
        });
        Saved {
            unix_ms: self.month.unix_ms(now),
            month: self.month.number(),
            calls: self.month.calls(),
            poll_credit,
            background_credit,
            bases: bases
                .filter(|b| b.silent_ms > 0 || b.refused_month.is_some() || b.breaker_open)
                .collect(),
        }
    }

    /// Takes over what an earlier process kept, and assumes that it was calling until now: in the first second a base
    /// gets one call. The default `Saved` does for a restart that kept nothing.
    pub fn restore(&mut self, saved: Saved, now: u64) {
        let now = self.tick(now);
        let passed = match (self.month.unix_ms(now), saved.unix_ms) {
            (Some(now), Some(then)) => now.saturating_sub(then),
            _ => 0,
        };
        let credits = (saved.poll_credit, saved.background_credit);
        self.month.restore(saved.month, saved.calls, credits, now);
        self.cautious_until = now + self.shape.span_ms();
        for base in self.bases.values_mut() {
            for _ in 0..self.shape.cautious() {
                base.log.start(&self.shape, now);
            }
        }
        let longest = self.limits.lockout_ms.max(LONGEST_RETRY_AFTER_MS);
        for kept in saved.bases {
            let silent = kept.silent_ms.min(longest).saturating_sub(passed);
            let month = kept.refused_month;
            let base = self.base(kept.base);
            if silent > 0 {
                base.silent_until = base.silent_until.max(now + silent);
                base.recovering = true;
            }
            if month.is_some() {
                base.restore_refusal(month, now);
            }
            if kept.breaker_open {
                let limits = self.limits.breaker.clone();
                self.base(kept.base).circuit.open(&limits, now);
            }
        }
    }

    /// The scheduler's time for the caller's.
    fn at(&self, now: u64) -> u64 {
        let at = now.saturating_add(self.shift);
        if at.saturating_add(CLOCK_JUMP_MS) < self.now {
            return self.now;
        }
        at.max(self.now)
    }

    fn tick(&mut self, now: u64) -> u64 {
        let at = now.saturating_add(self.shift);
        if at.saturating_add(CLOCK_JUMP_MS) < self.now {
            self.shift = self.now - now;
        }
        self.now = self.now.max(at);
        self.now
    }

    /// The base, which is made if it is new.
    fn base(&mut self, key: BaseKey) -> &mut Base<P> {
        let (shape, now, until) = (&self.shape, self.now, self.cautious_until);
        self.bases.entry(key).or_insert_with(|| {
            let mut base = Base::new();
            if now < until {
                for _ in 0..shape.cautious() {
                    base.log.start(shape, until.saturating_sub(shape.span_ms()));
                }
            }
            base
        })
    }

    /// Calls of one base that may be under way at once. With several bases one thread is left to the others: a base
    /// that hangs must not hold them up.
    fn cap(&self) -> usize {
        let threads = self.limits.max_in_flight.max(1);
        if self.bases.len() > 1 && threads > 1 {
            threads - 1
        } else {
            threads
        }
    }

    fn enqueue(&mut self, base: BaseKey, class: Class, seq: u64, payload: P) -> CallId {
        self.last_id += 1;
        let id = self.last_id;
        let job = Job {
            class,
            seq,
            attempt: 1,
            work: Work::Solo { id, payload },
        };
        self.solos.insert(id, (base, class, seq));
        self.base(base).solos.get_mut(class).insert((seq, id), job);
        id
    }

    fn start(
        &mut self,
        key: BaseKey,
        job: Job<P>,
        now: u64,
        mut fill: impl FnMut(LaneKey, usize) -> Vec<CompactString>,
    ) -> Call<P> {
        self.token.start(&self.token_shape, now);
        self.month.spend(job.class);
        self.counts.calls += 1;
        let repeats = job.attempt > 1
            || matches!(
                job.work,
                Work::Batch {
                    family: Some(_),
                    ..
                }
            );
        self.counts.retries += u64::from(repeats);
        let mut probe = false;
        let mut filled = false;
        let mut room = 0;
        if let Some(base) = self.bases.get_mut(&key) {
            probe = base.start(&self.limits, &self.shape, repeats, now);
        }
        let (id, what) = match &job.work {
            Work::Solo { id, payload } => {
                self.solos.remove(id);
                (*id, What::Solo(payload.clone()))
            }
            Work::Batch { lane, ids, .. } => {
                self.last_id += 1;
                let mut page: Vec<CompactString> =
                    ids.iter().map(|wanted| wanted.id.clone()).collect();
                // What failed once is asked for alone: others would share its fate.
                if !repeats {
                    room = self.limits.page.saturating_sub(page.len());
                }
                if room > 0 {
                    for id in fill(*lane, room).into_iter().take(room) {
                        if !page.contains(&id) {
                            page.push(id);
                            filled = true;
                        }
                    }
                }
                (
                    self.last_id,
                    What::Batch {
                        lane: *lane,
                        ids: page,
                    },
                )
            }
        };
        let call = Call {
            id,
            base: key,
            class: job.class,
            what,
            attempt: job.attempt,
        };
        let flight = Flight {
            base: key,
            job,
            probe,
            filled,
            orphan: false,
        };
        self.flights.insert(id, flight);
        call
    }

    fn give_up(&mut self, flight: Flight<P>) -> Verdict {
        if let Work::Batch { family, .. } = flight.job.work {
            self.families.leave(family);
        }
        Verdict::GiveUp
    }

    /// After a failure that may pass: once more as it was, then in halves, within the budget.
    fn repeat(
        &mut self,
        mut flight: Flight<P>,
        retry_after_ms: Option<u64>,
        now: u64,
        chance: u64,
    ) -> Verdict {
        let several = matches!(&flight.job.work, Work::Batch { ids, .. } if ids.len() > 1);
        if several && flight.job.attempt > 1 {
            return self.split(flight, true, now);
        }
        let limits = &self.limits;
        let granted = flight.job.attempt < limits.max_attempts
            && self
                .bases
                .get_mut(&flight.base)
                .is_some_and(|base| base.circuit.is_closed() && base.budget.take(limits, now, 1));
        if !granted {
            return self.give_up(flight);
        }
        let wait = full_jitter(limits, flight.job.attempt, chance)
            .max(retry_after_ms.unwrap_or(0).min(LONGEST_RETRY_AFTER_MS));
        flight.job.attempt += 1;
        self.retry(flight.base, flight.job, now + wait);
        Verdict::Retrying
    }

    /// In halves, so that one id does not fail the others. `charged`: it is not certain that the ids are the reason, so
    /// it counts as retries.
    fn split(&mut self, flight: Flight<P>, charged: bool, now: u64) -> Verdict {
        let Work::Batch { lane, ids, family } = flight.job.work else {
            return Verdict::GiveUp;
        };
        let parts: Vec<Vec<Wanted>> = if flight.filled {
            // The poison may be among what was added: first without.
            [ids].into()
        } else if ids.len() > 1 {
            halves(ids).into()
        } else {
            self.families.leave(family);
            return Verdict::GiveUp;
        };
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let limits = &self.limits;
        let granted = !charged
            || self.bases.get_mut(&flight.base).is_some_and(|base| {
                base.circuit.is_closed() && base.budget.take(limits, now, u64::from(count))
            });
        if !granted {
            self.families.leave(family);
            return Verdict::GiveUp;
        }
        let Some(family) = self.families.split(family, count) else {
            return Verdict::GiveUp;
        };
        for ids in parts {
            let class = ids.iter().map(|wanted| wanted.class).min();
            let job = Job {
                class: class.unwrap_or(flight.job.class),
                seq: flight.job.seq,
                attempt: flight.job.attempt + 1,
                work: Work::Batch {
                    lane,
                    ids,
                    family: Some(family),
                },
            };
            self.retry(flight.base, job, now);
        }
        self.counts.splits += 1;
        Verdict::Split
    }

    /// Locked out: as if it had not been sent. What is wanted by then goes when the silence is over.
    fn put_back(&mut self, flight: Flight<P>) -> Verdict {
        let Job {
            class,
            seq,
            attempt,
            work,
        } = flight.job;
        match work {
            Work::Batch {
                lane,
                ids,
                family: None,
            } => {
                self.lanes.insert(lane, flight.base);
                let base = self.base(flight.base);
                let queue = base.lanes.entry(lane).or_insert_with(Lane::new);
                for wanted in ids {
                    // Wanted again meanwhile and waiting in a retry: that one will do.
                    if !matches!(queue.place(&wanted.id), Some(Place::Retry { .. })) {
                        queue.push(wanted);
                    }
                }
            }
            Work::Solo { id, payload } => {
                self.solos.insert(id, (flight.base, class, seq));
                let job = Job {
                    class,
                    seq,
                    attempt,
                    work: Work::Solo { id, payload },
                };
                let base = self.base(flight.base);
                base.solos.get_mut(class).insert((seq, id), job);
            }
            work => {
                let job = Job {
                    class,
                    seq,
                    attempt,
                    work,
                };
                self.retry(flight.base, job, self.now);
            }
        }
        Verdict::Retrying
    }

    /// Queues a call to be repeated. Ids that were queued anew meanwhile are repeated with it.
    fn retry(&mut self, base: BaseKey, mut job: Job<P>, ready_at: u64) {
        self.seq += 1;
        let group = self.seq;
        if let Work::Batch { lane, ids, .. } = &mut job.work {
            self.lanes.insert(*lane, base);
            let base = self.base(base);
            let queue = base.lanes.entry(*lane).or_insert_with(Lane::new);
            for wanted in ids.iter_mut() {
                if let Some(queued) = queue.remove(&wanted.id) {
                    wanted.class = wanted.class.min(queued.class);
                    job.class = job.class.min(wanted.class);
                }
                queue.note_retry(wanted.id.clone(), group);
            }
        }
        self.base(base).retries.push(Retry {
            group,
            ready_at,
            job,
        });
    }
}
