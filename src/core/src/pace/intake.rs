//! Taking in what is wanted, and letting go of what is not any more.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use compact_str::CompactString;

use super::base::{Job, Retry, Work};
use super::call::{BaseKey, CallId, Class, LaneKey, Outcome};
use super::lane::{Lane, Position, Wanted};
use super::scheduler::Scheduler;

/// Lanes of a base beyond which those with nothing to remember are looked for.
const MANY_LANES: usize = 64;

impl<P: Clone> Scheduler<P> {
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
        if let Some(Position::Retry { group }) = queue.place(&wanted.id) {
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
        let Some(Position::Retry { group }) = queue.place(id) else {
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

    /// Somebody more urgent waits for a solo call now: it takes that class, waiting or under way, and so do its retries
    /// and next pages. Nothing if it is not known, or as urgent already.
    pub fn promote(&mut self, id: CallId, to: Class) {
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.job.class = flight.job.class.min(to);
            return;
        }
        if let Some((base, class, seq)) = self.solos.get_mut(&id) {
            if *class <= to {
                return;
            }
            let from = core::mem::replace(class, to);
            let Some(base) = self.bases.get_mut(base) else {
                return;
            };
            if let Some(mut job) = base.solos.get_mut(from).remove(&(*seq, id)) {
                job.class = to;
                base.solos.get_mut(to).insert((*seq, id), job);
            }
            return;
        }
        let retry = self
            .bases
            .values_mut()
            .flat_map(|base| &mut base.retries)
            .find(|r| matches!(r.job.work, Work::Solo { id: solo, .. } if solo == id));
        if let Some(retry) = retry {
            retry.job.class = retry.job.class.min(to);
        }
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

    /// Withdraws the solo calls of a base that wait, for their first attempt or another, and that `which` says yes to;
    /// their payloads, in order of arrival.
    pub fn withdraw(&mut self, base: BaseKey, mut which: impl FnMut(Class, &P) -> bool) -> Vec<P> {
        let Some(queues) = self.bases.get(&base) else {
            return Vec::new();
        };
        let queued = queues.solos.iter().flat_map(BTreeMap::values);
        let repeated = queues.retries.iter().map(|retry| &retry.job);
        let mut found: Vec<(u64, CallId)> = queued
            .chain(repeated)
            .filter_map(|job| match &job.work {
                Work::Solo { id, payload } if which(job.class, payload) => Some((job.seq, *id)),
                _ => None,
            })
            .collect();
        found.sort_unstable();
        found
            .into_iter()
            .filter_map(|(_, id)| self.cancel(id))
            .collect()
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

    pub(super) fn enqueue(&mut self, base: BaseKey, class: Class, seq: u64, payload: P) -> CallId {
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
}
