//! A call that is neither a batch of records nor an index question: somebody's own, carried out as they say.

use crate::server::desk::job::Errand;
use crate::server::desk::job::Job;
use crate::server::desk::shed;
use crate::server::desk::{self, desk};
use crate::server::fetching::{deadline, end_failed, note_failure, silenced};
use crate::server::state::clock::{self, Sent};
use crate::server::upstream::client;
use crate::server::upstream::fault::{for_pace, hopeless, never_sent, Fault};
use crate::server::upstream::figures::{self};
use podium_core::pace::{CallId, Class, Outcome, Verdict};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

impl Errand {
    /// Hands it to the scheduler; it goes out as soon as its turn comes. While the base's month is spent it is told so
    /// instead: nobody waits for hours. A poll waits: it is what finds out first that the month is not spent any more.
    pub(crate) fn order(self, class: Class) {
        let busy = {
            let mut d = desk();
            let busy = d
                .busy_for(&self.base)
                .filter(|b| class != Class::Poll && hopeless(b));
            if busy.is_none() {
                let b = d.base(&self.base);
                d.sched
                    .submit(b, class, Arc::new(Job::Errand(self)), clock::mono_ms());
                drop(d);
                desk::close_now();
                return;
            }
            busy
        };
        if let Some(busy) = busy {
            // On a worker, as if the call had failed: who orders may hold what `done` takes.
            desk::spawn(Box::new(move || self.not_made(busy)));
        }
    }
}

/// Makes the call and tells how it ended.
pub(super) fn carry_out(id: CallId, e: &Errand, sent: Sent) {
    let begun = Instant::now();
    let made =
        AssertUnwindSafe(|| client::with(|client, token| (e.run)(client, token, deadline())));
    let result = catch_unwind(made).unwrap_or_else(|_| Err(client::lost()));
    if !result.as_ref().is_err_and(never_sent) {
        figures::call(
            e.cause,
            begun.elapsed().as_millis() as u64,
            *result.as_ref().unwrap_or(&0),
        );
    }
    match result {
        Ok(_) => {
            desk().sched.done(id, Outcome::Ok, clock::mono_ms(), 0);
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
                let verdict = end_failed(&mut d, id, &f, class);
                if matches!(verdict, Verdict::Retrying | Verdict::Split) {
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
            shed::after_failure(&e.base);
        }
    }
}
