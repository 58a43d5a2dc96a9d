//! The scheduler: takes in what is wanted, hands out calls, and settles what became of them.

use alloc::vec::Vec;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::base::{Base, Job, Survey, Work};
use super::breaker::Breaker;
use super::call::{BaseKey, Busy, Call, CallId, Class, LaneKey, Next, PerClass, What, Why};
use super::frame::Frame;
use super::limiter::{Shape, StartLog};
use super::limits::Limits;
use super::month::Month;
use super::split::Families;

/// A `now` that is earlier by no more than this was read before another thread's; one that is earlier by more comes
/// from a clock that jumped.
const CLOCK_JUMP_MS: u64 = 60_000;

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
pub(super) struct Flight<P> {
    pub(super) base: BaseKey,
    pub(super) job: Job<P>,
    pub(super) probe: bool,
    /// When it was handed out.
    pub(super) started: u64,
    /// The class it was charged to.
    pub(super) charged: Class,
    /// It repeats a failed call.
    pub(super) repeats: bool,
    /// Ids were added to fill the page.
    pub(super) filled: bool,
}

/// Decides what goes upstream next; see the [module](super). `P` is the payload of a call that cannot be merged.
#[derive(Debug)]
pub struct Scheduler<P> {
    pub(super) limits: Limits,
    pub(super) shape: Shape,
    pub(super) token_shape: Shape,
    pub(super) token: StartLog,
    pub(super) bases: HashMap<BaseKey, Base<P>>,
    pub(super) lanes: HashMap<LaneKey, BaseKey>,
    /// Solo calls in the queue: base, class, order of arrival.
    pub(super) solos: HashMap<CallId, (BaseKey, Class, u64)>,
    pub(super) flights: HashMap<CallId, Flight<P>>,
    pub(super) families: Families,
    pub(super) month: Month,
    pub(super) counts: Counts,
    pub(super) seq: u64,
    pub(super) sealed: u64,
    pub(super) last_id: CallId,
    /// The scheduler's time: `now` plus what the caller's clock jumped back, never decreasing.
    pub(super) now: u64,
    pub(super) shift: u64,
    /// When the work of an earlier process was taken over: until shortly before, it may have called any base.
    pub(super) restored_at: Option<u64>,
    /// When the month's allowance was changed last: whoever did it knows more of the plan than a refusal from before.
    pub(super) allowed_since: u64,
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
            restored_at: None,
            allowed_since: 0,
        }
    }

    /// New limits, in force for the next call. Another allowance for the month lifts Airtable's refusals: the next call
    /// finds out.
    pub fn set_limits(&mut self, limits: Limits) {
        if limits.monthly != self.limits.monthly {
            self.allowed_since = self.now;
            self.month.allow();
            for base in self.bases.values_mut() {
                base.refusal = None;
            }
        }
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
            low_full: self.low_full(),
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
                    let candidate = (rank, base.last_turn, *key, class);
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
                (refused, Why::PlanSpent),
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

    /// A call under way makes another one of its base at once, without a turn of its own: those after it wait for it.
    pub fn also(&mut self, base: BaseKey, class: Class, now: u64) {
        let now = self.tick(now);
        self.token.start(&self.token_shape, now);
        self.month.spend(class);
        self.counts.calls += 1;
        if let Some(base) = self.bases.get_mut(&base) {
            base.log.start(&self.shape, now);
        }
    }

    /// The calls made in this month.
    pub fn month_calls(&self) -> u64 {
        self.month.calls()
    }

    /// Calls so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The scheduler's time for the caller's.
    pub(super) fn at(&self, now: u64) -> u64 {
        let at = now.saturating_add(self.shift);
        if at.saturating_add(CLOCK_JUMP_MS) < self.now {
            return self.now;
        }
        at.max(self.now)
    }

    pub(super) fn tick(&mut self, now: u64) -> u64 {
        let at = now.saturating_add(self.shift);
        if at.saturating_add(CLOCK_JUMP_MS) < self.now {
            self.shift = self.now - now;
        }
        self.now = self.now.max(at);
        self.now
    }

    /// The base, which is made if it is new.
    pub(super) fn base(&mut self, key: BaseKey) -> &mut Base<P> {
        let (shape, restored_at) = (&self.shape, self.restored_at);
        self.bases.entry(key).or_insert_with(|| {
            let mut base = Base::new();
            if let Some(at) = restored_at {
                base.log.assume_busy(shape, at);
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

    /// One thread is left to those who wait: calls for nobody that hang must not hold them up.
    fn low_full(&self) -> bool {
        let low = |flight: &&Flight<P>| flight.job.class > Class::Read;
        let threads = self.limits.max_in_flight.max(1);
        threads > 1 && self.flights.values().filter(low).count() >= threads - 1
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
            base.last_turn = self.counts.calls;
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
        let charged = job.class;
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
            started: now,
            charged,
            repeats,
            filled,
        };
        self.flights.insert(id, flight);
        call
    }
}
