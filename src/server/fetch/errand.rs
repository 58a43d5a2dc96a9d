//! A call that is neither a batch of records nor an index question: somebody's own, carried out as they say.

use super::{deadline, note_failure, settle_failure, silenced};
use crate::server::engine::{self, desk};
use crate::server::fault::{for_pace, never_sent, Fault};
use crate::server::fetch::Job;
use crate::server::figures::{self, Cause};
use crate::server::upstream;
use podium_airtable::{Client, Failure, Token};
use podium_core::pace::{CallId, Class, Outcome, Verdict};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes the call, within that time; how many records it brought.
type Run = dyn Fn(&Client, &Token, Duration) -> Result<usize, Failure> + Send + Sync;

/// A call on behalf of a thread that waits for it (a sweep, say).
pub(crate) struct Errand {
    pub(crate) base: Arc<str>,
    pub(crate) cause: Cause,
    pub(crate) write: bool,
    pub(crate) run: Box<Run>,
    /// Told once: the number it was sent under, and how it ended.
    pub(crate) done: Box<dyn Fn(u64, Result<(), Fault>) + Send + Sync>,
    pub(crate) what: &'static str,
    pub(crate) scope: &'static str,
}

impl Errand {
    /// Hands it to the scheduler; it goes out as soon as its turn comes.
    pub(crate) fn order(self, class: Class) {
        {
            let mut d = desk();
            let b = d.base(&self.base);
            d.sched
                .submit(b, class, Arc::new(Job::Errand(self)), engine::mono_ms());
        }
        engine::close_now();
    }
}

/// Makes the call and tells how it ended.
pub(super) fn carry_out(id: CallId, e: &Errand, sent: u64) {
    let begun = Instant::now();
    let result = upstream::with(|client, token| (e.run)(client, token, deadline()));
    if !result.as_ref().is_err_and(never_sent) {
        figures::call(
            e.cause,
            begun.elapsed().as_millis() as u64,
            *result.as_ref().unwrap_or(&0),
        );
    }
    match result {
        Ok(_) => {
            desk().sched.done(id, Outcome::Ok, engine::mono_ms(), 0);
            // Whoever ran the errand lands what it brought before this number is given back.
            (e.done)(sent, Ok(()));
        }
        Err(f) => {
            let class = if e.write && f.may_have_applied {
                podium_core::pace::Fault::Uncertain
            } else {
                for_pace(&f, false)
            };
            note_failure(&f);
            let mut fault = Fault::of(&f, e.what, e.scope);
            {
                let mut d = desk();
                let verdict = settle_failure(&mut d, id, &f, class);
                if matches!(verdict, Verdict::Retrying | Verdict::Split) {
                    d.tokens.landed(sent);
                    // A client waits for a write: a base that is silent for longer than that is an answer.
                    if !(e.write && silenced(&f)) {
                        return;
                    }
                    // Before another worker can take it: what was told as refused is not carried out.
                    d.sched.cancel(id);
                    fault = d.busy_for(&e.base).map_or(fault, Fault::busy);
                }
            }
            (e.done)(sent, Err(fault));
        }
    }
}
