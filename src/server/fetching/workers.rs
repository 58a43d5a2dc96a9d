//! The workers, who take calls and tasks from the desk.

use crate::server::desk::job::Job;
use crate::server::desk::threads::{AtTask, AtWork};
use crate::server::desk::{desk, Desk, OFFICE};
use crate::server::fetching;
use crate::server::fetching::lost::Remains;
use crate::server::state::clock::{self, Sent};
use crate::server::state::soon;
use crate::server::upstream::figures;
use podium_core::pace::{Next, What};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

pub(crate) fn work() {
    let mut d = desk();
    // Tasks and calls take turns: neither waits until there are no more of the other.
    let mut tasks_turn = false;
    loop {
        if d.stopping {
            return;
        }
        // One worker is left to the calls, however many tasks there are.
        let room = d.at_tasks + 1 < d.workers.len().max(2);
        let task = if tasks_turn && room {
            d.tasks.pop_front()
        } else {
            None
        };
        if let Some(task) = task {
            tasks_turn = false;
            d.busy += 1;
            d.at_tasks += 1;
            // Who was woken for something else has taken this.
            OFFICE.bell.notify_one();
            drop(d);
            let busy = (AtTask, AtWork);
            let _ = catch_unwind(AssertUnwindSafe(task));
            drop(busy);
            d = desk();
            continue;
        }
        tasks_turn = true;
        d.heed_settings();
        let next = {
            let Desk { sched, lanes, .. } = &mut *d;
            sched.next_with(clock::mono_ms(), |lane, room| {
                lanes
                    .get(&lane)
                    .map_or_else(Vec::new, |lane| soon::shelf().fill(lane, room))
            })
        };
        match next {
            Next::Call(call) => {
                d.busy += 1;
                let work = match call.what {
                    What::Batch { lane, ids } => match d.lanes.get(&lane).cloned() {
                        Some(lane) => {
                            let (sent, flights) = d.send_batch(&lane, &ids);
                            fetching::Work::Batch {
                                lane,
                                sent,
                                flights,
                            }
                        }
                        None => fetching::Work::Nothing,
                    },
                    What::Solo(job) => match &*job {
                        Job::Question(q) => {
                            let (sent, flight) = q.board(&mut d);
                            fetching::Work::Question {
                                job: job.clone(),
                                sent,
                                flight,
                            }
                        }
                        Job::Errand(_) => fetching::Work::Errand {
                            job: job.clone(),
                            sent: Sent::now(),
                        },
                    },
                };
                // Another worker may have something to do at once.
                OFFICE.bell.notify_one();
                drop(d);
                let busy = AtWork;
                figures::call_begins();
                let remains = Remains::of(&work);
                let (id, class, attempt) = (call.id, call.class, call.attempt);
                let carried = AssertUnwindSafe(|| fetching::carry_out(id, class, attempt, work));
                if catch_unwind(carried).is_err() {
                    let _ = catch_unwind(AssertUnwindSafe(|| remains.give_back(id)));
                }
                drop(busy);
                d = desk();
            }
            // No call is due.
            Next::Wait(_) if room && !d.tasks.is_empty() => {}
            Next::Wait(Some(at)) => {
                let ms = at.saturating_sub(clock::mono_ms()).clamp(1, 60_000);
                OFFICE.bell.wait_for(&mut d, Duration::from_millis(ms));
            }
            Next::Wait(None) => {
                OFFICE.bell.wait(&mut d);
            }
        }
    }
}
