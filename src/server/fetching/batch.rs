//! Records asked for by id, a hundred to a call.

use crate::server::desk::desk;
use crate::server::desk::shed;
use crate::server::fetching::end_failed;
use crate::server::fetching::landing::{self, Came};
use crate::server::fetching::list;
use crate::server::fetching::lookup_evidence;
use crate::server::fetching::missing::{missing, unanswered};
use crate::server::fetching::note_failure;
use crate::server::fetching::silenced;
use crate::server::fetching::size;
use crate::server::state::clock::{self, Sent};
use crate::server::state::lane::Lane;
use crate::server::state::outcome::Ticket;
use crate::server::store::form::encode_cells;
use crate::server::store::form::encode_record;
use crate::server::upstream::fault::{for_pace, never_sent, Fault};
use crate::server::upstream::figures::{self, Cause};
use crate::server::valkey::ffi;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_airtable::{ListQuery, Page};
use podium_core::entry::Encoded;
use podium_core::flight::FlightId;
use podium_core::missing::{Asked, Missing};
use podium_core::pace::{CallId, Class, Outcome, Verdict};
use podium_core::question;
use podium_core::record::Source;

/// Makes the call and lands what it brings.
pub(super) fn carry_out(
    id: CallId,
    class: Class,
    lane: Lane,
    sent: Sent,
    flights: Vec<(CompactString, Option<FlightId>)>,
) {
    let asked_ms = ffi::now_ms();
    let ids: Vec<&str> = flights.iter().map(|(id, _)| id.as_str()).collect();
    let formula = question::ids_formula(&ids);
    let plan = size::plan(&lane);
    let cause = if class == Class::Read {
        lane.cause
    } else {
        Cause::Refresh
    };
    let query = ListQuery {
        formula: Some(&formula),
        page_size: 100,
        fields: &plan.columns,
        ..ListQuery::default()
    };
    let result = list(&lane, &query, cause);
    let again = size::note_columns(&lane, &plan, &result);
    // Whoever waits for one record alone is told; the next who asks gets it by its columns.
    let again = again && (flights.len() > 1 || !plan.columns.is_empty());
    match result {
        Ok(page) => {
            desk().sched.done(id, Outcome::Ok, clock::mono_ms(), 0);
            let evidence = lookup_evidence(&lane, &page.records);
            let mut found: HashMap<CompactString, Encoded> =
                HashMap::with_capacity(page.records.len());
            for r in &page.records {
                found.insert(
                    CompactString::new(&r.id),
                    encode_record(&lane, r, sent.number(), asked_ms),
                );
            }
            let damaged = damaged(&lane, &page, sent.number(), asked_ms).collect();
            let mut asked = Asked::of(flights.iter().map(|(id, flight)| (id, flight.is_some())));
            let came = Came {
                missing: missing(&mut asked, &page).map(|why| unanswered(&lane.entity, why)),
                found,
                damaged,
                evidence,
            };
            landing::batch(&lane, sent, asked_ms, class, flights, came);
        }
        Err(_) if again => {
            // With other columns it may do; Airtable itself is well.
            figures::error(false);
            desk().sched.done(id, Outcome::Ok, clock::mono_ms(), 0);
            let came = Came {
                found: HashMap::new(),
                damaged: HashMap::new(),
                missing: Missing::Unread,
                evidence: Vec::new(),
            };
            landing::batch(&lane, sent, asked_ms, class, flights, came);
        }
        Err(f) => {
            note_failure(&f);
            let scope = "data.records:read";
            let fault = Fault::of(&f, &format!("the records of {}", lane.entity), scope);
            let ticket = Ticket::new(u32::from(!never_sent(&f)));
            let over = {
                let mut d = desk();
                match end_failed(&mut d, id, &f, for_pace(&f, true)) {
                    Verdict::Retrying | Verdict::Split => {
                        for (id, flight) in &flights {
                            if let Some(flight) = flight {
                                d.ask_again(&lane, id, *flight, silenced(&f), &ticket);
                            }
                        }
                        None
                    }
                    _ => {
                        let busy = d.busy_for(&lane.base);
                        let fault = busy.filter(|_| silenced(&f)).map_or(fault, Fault::busy);
                        // Asked again it is under another number: this one goes on where the batch is over.
                        Some((fault, sent))
                    }
                }
            };
            if let Some((fault, sent)) = over {
                landing::failed_batch(&lane, sent, asked_ms, flights, fault, ticket);
            }
            shed::after_failure(&lane.base);
        }
    }
}

/// The records of a page that cannot be read, each with the error that is its own.
pub(crate) fn damaged<'a>(
    lane: &'a Lane,
    page: &'a Page,
    sent: u64,
    asked_ms: u64,
) -> impl Iterator<Item = (CompactString, Fault)> + 'a {
    page.damaged.iter().filter_map(move |d| {
        let id = d.id.as_deref()?;
        let cells = d.fields.as_ref();
        let cells = cells.map(|c| encode_cells(lane, id, c, sent, asked_ms, Source::Airtable));
        let name = format!("{}:{id}", lane.entity);
        let fault = Fault::damaged(&name, &d.why, cells);
        Some((CompactString::new(id), fault))
    })
}
