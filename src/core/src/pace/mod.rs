//! What goes upstream next: gathering, pacing and priorities of the calls to Airtable.
//!
//! A pure state machine: [`Scheduler`] is told what is wanted and what became of the calls, and says which call to send
//! now or when to ask again. The caller sends, reads the clocks and draws the random numbers.
//!
//! - **Group commit, paced by the limiter.** A miss on an idle base goes at once. While calls are held back, ids gather
//!   per lane, and each slot takes a page of them: full pages when busy, no delay when not.
//! - **Rate.** A log of the last starts per base and one for the token (`limiter`).
//! - **Priorities** by [`Class`], each with a bound on how often it is passed over (`base`). Within a class the lane that
//!   waits longest goes first; batches and solo calls take turns, so that a long listing does not hold up misses.
//! - **Failures.** Retries have a budget and full jitter (`retry`); a failing batch is halved (`split`); a failing base
//!   has a breaker (`breaker`); a lock-out silences its base, and after it one call goes first.
//! - **The month** is counted, and polls and background work are spread over it (`month`).
//!
//! **Time** is `now`: ms of a monotonic clock, one for all calls. The wall clock is told by
//! [`set_clock`](Scheduler::set_clock) and matters for the month alone, so it may jump. Should `now` itself jump back by
//! more than a minute, the scheduler carries on from where it was.
//!
//! A call counts as sent when [`next`](Scheduler::next) returns it. The limiter allows for 50 ms of difference between
//! the ways of two calls; threads that send should have their connection ready.
//!
//! ```
//! use podium_core::pace::{Class, Limits, Next, Outcome, Scheduler, Verdict, What};
//!
//! let mut scheduler: Scheduler<&str> = Scheduler::new(Limits::default());
//! scheduler.want(0, 1, "recA1b2C3d4E5f6G7".into(), Class::Read, 1000);
//! scheduler.want(0, 1, "recH8i9J0k1L2m3N4".into(), Class::Read, 1000);
//! scheduler.flush(1000);
//! let Next::Call(call) = scheduler.next(1000) else { unreachable!() };
//! assert!(matches!(call.what, What::Batch { lane: 1, ref ids } if ids.len() == 2));
//! assert_eq!(scheduler.next(1000), Next::Wait(None));
//! assert_eq!(scheduler.done(call.id, Outcome::Ok, 1180, 42), Verdict::Settled);
//! ```

mod base;
mod breaker;
mod calendar;
mod call;
mod frame;
mod intake;
mod lane;
mod limiter;
mod limits;
mod month;
mod retry;
mod saved;
mod scheduler;
mod settle;
mod split;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use breaker::Breaker;
pub use call::{
    BaseKey, Busy, Call, CallId, Class, Fault, LaneKey, Next, Outcome, Verdict, What, Why,
};
pub use limits::{BreakerLimits, Limits};
pub use saved::{Saved, SavedBase, SavedRefusal};
pub use scheduler::{Counts, Scheduler};
