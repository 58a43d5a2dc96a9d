//! The words the scheduler and its caller exchange: what a call is, how it ended, what becomes of it.

use alloc::vec::Vec;
use compact_str::CompactString;

/// A base, as a number the caller interned. Rate, lock-out and breaker are kept per base.
pub type BaseKey = u32;

/// What may share one list call: one entity in one generation. A lane belongs to one base.
pub type LaneKey = u64;

/// One upstream call. A solo call keeps its number through its retries; a batch has a new one each time it is sent.
pub type CallId = u64;

/// Who the call is for, most urgent first. A more urgent class goes first, without starving the others.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A due poll of the change feed.
    Poll,
    /// A client waits: a read that missed, a write.
    Read,
    /// A copy is renewed before or while it is served.
    Refresh,
    /// Warming and sweeping.
    Background,
}

impl Class {
    /// All classes, most urgent first.
    pub const ALL: [Class; 4] = [Class::Poll, Class::Read, Class::Refresh, Class::Background];
}

/// One value for each class.
#[derive(Clone, Debug, Default)]
pub(super) struct PerClass<T>([T; 4]);

impl<T> PerClass<T> {
    pub(super) fn get(&self, class: Class) -> &T {
        let [poll, read, refresh, background] = &self.0;
        match class {
            Class::Poll => poll,
            Class::Read => read,
            Class::Refresh => refresh,
            Class::Background => background,
        }
    }

    pub(super) fn get_mut(&mut self, class: Class) -> &mut T {
        let [poll, read, refresh, background] = &mut self.0;
        match class {
            Class::Poll => poll,
            Class::Read => read,
            Class::Refresh => refresh,
            Class::Background => background,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

/// What [`next`](super::Scheduler::next) says: send this, or wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<P> {
    /// Send this call now, and report its end with [`done`](super::Scheduler::done).
    Call(Call<P>),
    /// Nothing to send. Ask again at this time (ms, the caller's `now`), or earlier when something was queued, flushed
    /// or done; `None`: only then.
    Wait(Option<u64>),
}

/// A call to send now.
#[derive(Debug, PartialEq, Eq)]
pub struct Call<P> {
    /// To be given back to [`done`](super::Scheduler::done), once.
    pub id: CallId,
    /// The base it is charged to.
    pub base: BaseKey,
    /// The most urgent class among what it carries.
    pub class: Class,
    /// What to ask.
    pub what: What<P>,
    /// 1 for the first attempt.
    pub attempt: u32,
}

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum What<P> {
    /// One list call for these records of one lane.
    Batch {
        /// Whose records.
        lane: LaneKey,
        /// At most [`Limits::page`](super::Limits::page) ids, each once: the wanted first, then those `fill` added.
        ids: Vec<CompactString>,
    },
    /// A call that could not be merged.
    Solo(P),
}

/// How a call ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered (a record that is absent is an answer too).
    Ok,
    /// Not answered.
    Failed {
        /// In which way.
        class: Fault,
        /// The `Retry-After` that came with it, in ms.
        retry_after_ms: Option<u64>,
    },
    /// Nothing was sent after all (its time was over, say): what the call took is given back, and it is over.
    NotSent,
}

/// In which way a call failed, as far as it decides what to do next.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// May pass, and repeating is safe: 500, 502, 503, refused or reset connection, DNS, TLS, an answer that is not the
    /// API's. For a write only what Airtable calls safe to repeat.
    Transient,
    /// No answer within the deadline. Who waited has been told, so nothing is repeated as it was; a batch is halved.
    Timeout,
    /// It failed and may nevertheless have been done: a write that was cut or timed out. Never repeated.
    Uncertain,
    /// 429, calls came too fast. The base is silent for the `Retry-After`, else 30 s.
    RateLimited,
    /// 429, the plan's calls of the month are used up, Airtable says. The base is asked again by one call an hour.
    PlanSpent,
    /// It is these ids that cannot be answered together: the formula refused, the request or the answer too large. A
    /// batch is halved until the poisonous id is alone.
    Poison,
    /// Refused for a reason that repeating or halving does not change: 401, 403, 404, an unknown field.
    Refused,
}

/// What becomes of a call that was reported done.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is over, successfully (or it was not known).
    Settled,
    /// Queued again by the scheduler, to be sent when it is due. Ids that `fill` added are left out.
    Retrying,
    /// A batch, queued again in parts. Ids that `fill` added are left out.
    Split,
    /// It is over: what it asked for failed.
    GiveUp,
}

/// Why nothing can be sent to a base for the time being.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// The reason.
    pub why: Why,
    /// For how long, in ms.
    pub ms_left: u64,
}

/// The reason of [`Busy`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Airtable locked the base out for calling too fast.
    RateLimited,
    /// Airtable failed repeatedly; the next probe is not due.
    BreakerOpen,
    /// The month's allowance that is set here ([`Limits::monthly`](super::Limits::monthly)) is used up.
    MonthSpent,
    /// Airtable refuses: the plan's calls of the month are used up, it says. [`Busy::ms_left`] is the time until one call
    /// asks again.
    PlanSpent,
}
