//! A call whose carrying out ended in a panic: its slot, its flights and those who wait for it are given back.

use crate::server::desk::desk;
use crate::server::desk::job::Job;
use crate::server::fetching::{landing, Work};
use crate::server::state::clock::{self, Sent};
use crate::server::state::lane::Lane;
use crate::server::state::outcome::Ticket;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::ffi;
use compact_str::CompactString;
use podium_core::flight::FlightId;
use podium_core::pace::{self, CallId, Outcome};
use std::sync::Arc;

/// Who is to be told should a call be lost.
pub(crate) enum Remains {
    Batch(Lane, Vec<(CompactString, Option<FlightId>)>),
    Question(Arc<Job>, u64),
    /// An errand's panics are caught where it runs.
    Nobody,
}

impl Remains {
    pub(crate) fn of(work: &Work) -> Remains {
        match work {
            Work::Batch { lane, flights, .. } => Remains::Batch(lane.clone(), flights.clone()),
            Work::Question { job, sent, .. } => Remains::Question(job.clone(), *sent),
            Work::Errand { .. } | Work::Nothing => Remains::Nobody,
        }
    }
    /// The call is over for good. What had been settled before the panic stays settled.
    pub(crate) fn give_back(self, id: CallId) {
        let refused = Outcome::Failed {
            class: pace::Fault::Refused,
            retry_after_ms: None,
        };
        desk()
            .sched
            .done(id, refused, clock::mono_ms(), ffi::random_u64());
        let fault = Fault::new("ERR internal error: the fetch was dropped; ask again");
        match self {
            Remains::Batch(lane, flights) => {
                let (sent, ticket) = (Sent::now(), Ticket::new(1));
                landing::failed_batch(&lane, sent, ffi::now_ms(), flights, fault, ticket);
            }
            Remains::Question(job, sent) => {
                if let Job::Question(q) = &*job {
                    landing::question_failed(q, sent, fault);
                }
            }
            Remains::Nobody => {}
        }
    }
}
