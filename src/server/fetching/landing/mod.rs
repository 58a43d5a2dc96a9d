//! What a fetch brought is stored, in slices under the server's lock, and given to those who waited for it.

pub(crate) mod ends;
pub(crate) mod known;
pub(crate) mod question;
pub(crate) mod sets;

pub(crate) use crate::server::fetching::landing::ends::{ahead, ahead_of_told, Ahead};
pub(crate) use crate::server::fetching::landing::question::{
    doubt_all, note_lookup, question, question_failed,
};
pub(crate) use crate::server::fetching::landing::sets::whole_table;

use crate::server::desk::{self, desk};
use crate::server::state::cell;
use crate::server::state::clock::Sent;
use crate::server::state::entities::State;
use crate::server::state::lane::Lane;
use crate::server::state::outcome::{LandedRecord, Seen, Ticket};
use crate::server::state::schemas;
use crate::server::state::waiting;
use crate::server::state::waiting::Passenger;
use crate::server::store::form::tombstone;
use crate::server::store::{self, By, Stored};
use crate::server::upstream::fault::Fault;
use crate::server::valkey::ffi;
use crate::server::valkey::settings;
use crate::server::valkey::tracking;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_core::entry::Encoded;
use podium_core::flight::FlightId;
use podium_core::key;
use podium_core::missing::Missing;
use podium_core::pace::Class;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Records whose other ends are looked at ahead together.
const SLICE: usize = 32;

/// What a batch brought.
pub(crate) struct Came {
    pub(crate) found: HashMap<CompactString, Encoded>,
    /// Those that came and cannot be read.
    pub(crate) damaged: HashMap<CompactString, Fault>,
    /// What is to be believed of those that did not come; nothing: whoever waits is told why.
    pub(crate) missing: Missing<Fault>,
    /// What it says of lookups: field, and whether it agrees with its link cell.
    pub(crate) evidence: Vec<(u16, bool)>,
}

/// A batch of ids came back, asked for in `class`.
pub(crate) fn batch(
    lane: &Lane,
    number: Sent,
    asked_ms: u64,
    class: Class,
    flights: Vec<(CompactString, Option<FlightId>)>,
    came: Came,
) {
    let sent = number.number();
    let Came {
        mut found,
        mut damaged,
        missing,
        evidence,
    } = came;
    let ticket = Ticket::new(1);
    let mut landed: Vec<(CompactString, Option<FlightId>, Option<Arc<LandedRecord>>)> =
        Vec::with_capacity(flights.len());
    let mut fetched = false;
    for chunk in flights.chunks(SLICE) {
        let buries = matches!(missing, Missing::Gone);
        let coming = chunk.iter().map(|(id, _)| (id, found.get(id)));
        let _ahead = ahead(
            lane,
            sent,
            coming.filter(|(id, s)| s.is_some() || (buries && !damaged.contains_key(*id))),
        );
        cell::in_slices(chunk, |st, ctx, (id, flight)| {
            if !std::mem::replace(&mut fetched, true) {
                for (field, agrees) in &evidence {
                    note_lookup(st, lane, *field, *agrees);
                }
                schemas::fetched(st, lane.ix);
            }
            // It came along to fill the page: what is not cached any more is not brought back.
            if flight.is_none() && !st.get(lane.ix).is_some_and(|e| e.records.contains(id)) {
                return ControlFlow::Continue(());
            }
            let record = |seen, stored| {
                Some(Arc::new(LandedRecord {
                    seen,
                    sent,
                    asked_ms,
                    stored,
                    ticket: ticket.clone(),
                }))
            };
            let what = match found.remove(id) {
                Some(s) => {
                    let stored = put(st, ctx, lane, id, &s);
                    record(Seen::Found(s.bytes, lane.spec.clone()), stored)
                }
                None => match &missing {
                    _ if damaged.contains_key(id) => damaged
                        .remove(id)
                        .and_then(|fault| record(Seen::Failed(fault), false)),
                    Missing::None | Missing::Unread => None,
                    Missing::Unknown(fault) => record(Seen::Failed(fault.clone()), false),
                    Missing::Gone => {
                        let stored = gone(st, ctx, lane, id, sent, asked_ms);
                        record(Seen::Gone(tombstone(lane, sent, asked_ms, 0).1), stored)
                    }
                },
            };
            landed.push((id.clone(), *flight, what));
            ControlFlow::Continue(())
        });
    }
    let mut boarded: Vec<(CompactString, Arc<LandedRecord>, Vec<Passenger>)> =
        Vec::with_capacity(landed.len());
    {
        let mut d = desk();
        drop(number);
        for (id, flight, what) in landed {
            match (flight, what) {
                (Some(f), Some(w)) => boarded.push((id, w, d.flights.land(f))),
                // Not answered yet: in a smaller batch.
                (Some(f), None) => d.ask_on(lane, &id, f, class, &ticket),
                (None, _) => {}
            }
        }
    }
    desk::close_now();
    for (id, w, passengers) in boarded {
        waiting::arrived_record(lane.ix, &id, &w, passengers);
    }
}

/// Stores one fetched record; true if it is in the cache now.
pub(crate) fn put(st: &mut State, ctx: ffi::Ctx, lane: &Lane, id: &str, s: &Encoded) -> bool {
    if let Some(e) = st.get_mut(lane.ix) {
        e.figures.schema_violations += u64::from(s.violations);
    }
    if !settings::enabled() {
        return false;
    }
    let stored = store::put(st, ctx, lane.ix, id, &s.bytes, s.expire_at, By::Fetch);
    is_stored(st, lane, id, stored)
}

/// Airtable did not return a record that was asked for by id: it is not in the table.
pub(crate) fn gone(
    st: &mut State,
    ctx: ffi::Ctx,
    lane: &Lane,
    id: &str,
    sent: u64,
    asked_ms: u64,
) -> bool {
    if !settings::enabled() {
        return false;
    }
    let (header, expire_at) = tombstone(lane, sent, asked_ms, 0);
    let (stored, _) = store::put_tomb(st, ctx, lane.ix, id, header, expire_at, By::Fetch);
    is_stored(st, lane, id, stored)
}

/// True if it is in the cache now; what came too late is counted.
fn is_stored(st: &mut State, lane: &Lane, id: &str, stored: Stored) -> bool {
    if stored != Stored::Yes {
        // Who waited is answered with it all the same, and what lands later is news.
        tracking::read(&key::record(&lane.entity, id));
    }
    match stored {
        Stored::Yes => true,
        Stored::Outdated => {
            if let Some(e) = st.get_mut(lane.ix) {
                e.figures.stale_sets_prevented += 1;
            }
            false
        }
        Stored::Refused => false,
    }
}

/// A batch failed for good: everybody on it is told.
pub(crate) fn failed_batch(
    lane: &Lane,
    number: Sent,
    asked_ms: u64,
    flights: Vec<(CompactString, Option<FlightId>)>,
    fault: Fault,
    ticket: Arc<Ticket>,
) {
    let sent = number.number();
    let mut boarded = Vec::new();
    {
        let mut d = desk();
        drop(number);
        for (id, flight) in flights {
            if let Some(f) = flight {
                boarded.push((id, d.flights.land(f)));
            }
        }
    }
    desk::close_now();
    let landed = Arc::new(LandedRecord {
        seen: Seen::Failed(fault),
        sent,
        asked_ms,
        stored: false,
        ticket,
    });
    for (id, passengers) in boarded {
        waiting::arrived_record(lane.ix, &id, &landed, passengers);
    }
}
