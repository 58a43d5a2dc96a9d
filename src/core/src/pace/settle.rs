//! What becomes of a call that ended: settled, repeated, halved or given up.

use alloc::vec::Vec;

use super::base::{Job, Retry, Work};
use super::call::{BaseKey, CallId, Fault, Outcome, Verdict};
use super::lane::{Lane, Position, Wanted};
use super::retry::full_jitter;
use super::scheduler::{Flight, Scheduler};
use super::split::halves;

/// The longest `Retry-After` of a single call that is obeyed, in ms.
const LONGEST_RETRY_AFTER_MS: u64 = 60_000;

impl<P: Clone> Scheduler<P> {
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
        let (fault, retry_after_ms) = match outcome {
            Outcome::Failed {
                class,
                retry_after_ms,
            } => (class, retry_after_ms),
            Outcome::Ok => {
                base.answered(limits, flight.probe, now);
                base.accepted(flight.started);
                if let Work::Batch { family, .. } = flight.job.work {
                    self.families.succeeded(family);
                }
                return Verdict::Settled;
            }
            Outcome::NotSent => {
                base.not_sent(limits, flight.probe, flight.repeats, flight.started, now);
                self.token.withdraw(flight.started);
                self.month.give_back(flight.charged);
                self.counts.calls = self.counts.calls.saturating_sub(1);
                self.counts.retries -= u64::from(flight.repeats).min(self.counts.retries);
                return self.give_up(flight);
            }
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
            Fault::PlanSpent => {
                self.counts.rate_limited += 1;
                base.circuit.success(&limits.breaker, flight.probe, now);
                // An answer to a call from before the allowance was changed is not about what it was changed for.
                if flight.started >= self.allowed_since {
                    base.refuse_plan(&self.month, now);
                }
            }
            Fault::Poison | Fault::Refused => {
                base.answered(limits, flight.probe, now);
                base.accepted(flight.started);
            }
        }
        match fault {
            Fault::Transient => self.repeat(flight, retry_after_ms, now, chance),
            Fault::Timeout => self.split(flight, true, now),
            Fault::Poison => self.split(flight, false, now),
            Fault::RateLimited => self.put_back(flight),
            Fault::Uncertain | Fault::PlanSpent | Fault::Refused => self.give_up(flight),
        }
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
                    if !matches!(queue.place(&wanted.id), Some(Position::Retry { .. })) {
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
