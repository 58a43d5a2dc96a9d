//! An index question, page by page: it goes on, starts over, or reads the whole table for want of a lookup.

use super::*;
use crate::server::config;
use crate::server::engine::{self, desk};
use crate::server::fault::Fault;
use crate::server::figures;
use crate::server::inverse;
use crate::server::land;
use crate::server::shed;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_airtable::{Failure, FailureKind, ListQuery, Page};
use podium_core::flight::FlightId;
use podium_core::pace::{CallId, Class, Outcome, Verdict};
use podium_core::question;
use std::sync::atomic::Ordering;
use std::sync::Arc;

pub(super) fn question_page(
    id: CallId,
    class: Class,
    job: &Arc<Job>,
    q: &Question,
    sent: u64,
    flight: Option<FlightId>,
) {
    if let Some(f) = flight {
        q.flight.store(f, Ordering::Relaxed);
    }
    let (offset, table, asked_ms, probing) = {
        let p = q.progress.lock();
        (
            p.offset.clone(),
            p.table || q.formula.is_none(),
            p.asked_ms,
            p.probing,
        )
    };
    if let Some(way) = q
        .way_back
        .as_ref()
        .filter(|_| table && q.asks.is_some() && !q.progress.lock().back.closed)
    {
        return inverse::step(id, class, job, q, way, sent, asked_ms);
    }
    let formula = if table {
        None
    } else if probing {
        q.asks
            .as_ref()
            .and_then(|(f, _)| q.lane.spec.fields().get(*f as usize))
            .map(linked_formula)
    } else {
        q.formula.clone()
    };
    let (page_size, max_records) = if probing && !table {
        (PROBE as u16, Some(PROBE))
    } else {
        (100, None)
    };
    let query = ListQuery {
        formula: formula.as_deref(),
        offset: offset.as_deref(),
        page_size,
        max_records,
        ..ListQuery::default()
    };
    match list_for(q, &q.lane, &query, class) {
        Ok(page) => page_came(id, job, q, sent, asked_ms, page, table),
        Err(f) => page_failed(id, job, q, sent, f, table),
    }
}

/// Records whose link cell is not empty.
fn linked_formula(f: &podium_core::spec::Field) -> String {
    format!("NOT({{{}}}='')", f.airtable.replace('}', "\\}"))
}

/// Goes on with the next page, or from the start.
pub(crate) fn go_on(id: CallId, job: &Arc<Job>, q: &Question, sent: u64) {
    let gone = {
        let mut d = desk();
        let next = d.sched.call_more(id, job.clone(), engine::mono_ms());
        if let Some(id) = next {
            d.calls.insert(
                q.flight.load(Ordering::Relaxed),
                engine::QuestionCall {
                    id,
                    repeats: false,
                    begun_us: 0,
                },
            );
        }
        next.is_none()
    };
    engine::close_now();
    if gone {
        land::question_failed(
            q,
            sent,
            Fault::outage("UPSTREAMBUSY the question was dropped: ask again"),
        );
    }
}

fn page_came(
    id: CallId,
    job: &Arc<Job>,
    q: &Question,
    sent: u64,
    asked_ms: u64,
    page: Page,
    table: bool,
) {
    let is_link = q
        .asks
        .as_ref()
        .and_then(|(f, _)| q.lane.spec.fields().get(*f as usize))
        .is_some_and(|f| f.kind.is_link());
    let mut p = q.progress.lock();
    if let (true, false, Some((field, _))) = (is_link, table, &q.asks) {
        for r in &page.records {
            match question::lookup_agrees(&q.lane.spec, *field, &r.fields) {
                Some(true) => p.lookup_proven = true,
                Some(false) => p.lookup_broken = true,
                None => {}
            }
        }
        if p.lookup_broken {
            p.start_over(true);
            drop(p);
            return go_on(id, job, q, sent);
        }
    }
    p.empty = if page.records.is_empty() {
        p.empty + 1
    } else {
        0
    };
    for r in &page.records {
        let shaped = shape_one(&q.lane, r, sent, asked_ms);
        p.records.insert(CompactString::new(&r.id), shaped);
    }
    let limit = config::WARM_LIMIT.get().max(0) as usize;
    if table && q.asks.is_some() && p.records.len() > limit {
        drop(p);
        desk().sched.done(id, Outcome::Ok, engine::mono_ms(), 0);
        return land::question_failed(q, sent, no_lookup(q, limit));
    }
    match page.offset {
        Some(next) if !p.probing && (p.offsets.contains(&next) || p.empty > EMPTY_PAGES) => {
            let fault = endless(&q.lane.entity, p.empty);
            drop(p);
            desk().sched.done(id, Outcome::Ok, engine::mono_ms(), 0);
            land::question_failed(q, sent, fault);
        }
        Some(next) if !p.probing => {
            p.offsets.insert(next.clone());
            p.offset = Some(next);
            drop(p);
            go_on(id, job, q, sent);
        }
        None if is_link && !table && !p.lookup_proven && !p.probing && !q.proven => {
            p.probing = true;
            p.offset = None;
            drop(p);
            go_on(id, job, q, sent);
        }
        _ => {
            let listing = std::mem::take(&mut *p);
            drop(p);
            desk().sched.done(id, Outcome::Ok, engine::mono_ms(), 0);
            land::question(q, sent, asked_ms, listing, table);
        }
    }
}

/// Pages in a row that may hold nothing though they promise more: their records may have been deleted since the listing
/// began.
pub(crate) const EMPTY_PAGES: u32 = 20;

/// A listing goes round in circles, or `empty` pages in a row held nothing.
pub(crate) fn endless(entity: &str, empty: u32) -> Fault {
    figures::error(false);
    let why = if empty > EMPTY_PAGES {
        format!("{empty} pages in a row hold nothing")
    } else {
        "its offset repeats".to_string()
    };
    Fault::outage(format!(
        "UPSTREAMBAD the listing of {entity} does not end: {why}"
    ))
}

/// Linked records looked at for evidence of what a lookup holds.
const PROBE: u32 = 10;

/// A listing that dies is begun anew at most this often.
const RESTARTS: u32 = 3;

pub(crate) fn page_failed(
    id: CallId,
    job: &Arc<Job>,
    q: &Question,
    sent: u64,
    f: Failure,
    table: bool,
) {
    let lookup = q
        .asks
        .as_ref()
        .and_then(|(field, _)| q.lane.spec.fields().get(*field as usize))
        .map(|f| f.lookup.clone().unwrap_or_else(|| format!("{}_id", f.name)));
    {
        let mut p = q.progress.lock();
        match (&f.kind, &lookup) {
            (FailureKind::UnknownField(names), Some(l))
                if !table
                    && (names.is_empty() || names.iter().any(|n| n.eq_ignore_ascii_case(l))) =>
            {
                p.lookup_broken = true;
                p.start_over(true);
                drop(p);
                figures::error(false);
                return go_on(id, job, q, sent);
            }
            // Its name cannot be had, and Airtable takes no ids in formulas.
            (FailureKind::UnknownField(names), _)
                if !table
                    && names.iter().any(|n| {
                        q.lane
                            .spec
                            .columns()
                            .ids
                            .iter()
                            .any(|id| id.eq_ignore_ascii_case(n))
                    }) =>
            {
                p.start_over(true);
                drop(p);
                figures::error(false);
                return go_on(id, job, q, sent);
            }
            (FailureKind::IteratorGone, _) if p.restarts < RESTARTS => {
                p.restarts += 1;
                p.start_over(table);
                drop(p);
                figures::error(false);
                return go_on(id, job, q, sent);
            }
            _ => {}
        }
    }
    note_failure(&f);
    let over = {
        let mut d = desk();
        let verdict = settle_failure(&mut d, id, &f, for_pace(&f, false));
        let flight = q.flight.load(Ordering::Relaxed);
        let again = matches!(verdict, Verdict::Retrying | Verdict::Split);
        // Through a silence it waits for those who do: who cannot is told.
        if again && (!silenced(&f) || !d.flights.waiters(flight).is_empty()) {
            if d.flights.thing(flight).is_some() {
                d.calls.insert(
                    flight,
                    engine::QuestionCall {
                        id,
                        repeats: true,
                        begun_us: 0,
                    },
                );
            }
            None
        } else {
            if again {
                d.sched.cancel(id);
            }
            let fault = Fault::of(
                &f,
                &format!("a question about {}", q.lane.entity),
                "data.records:read",
            );
            let busy = d.busy_for(&q.lane.base);
            Some(busy.filter(|_| silenced(&f)).map_or(fault, Fault::busy))
        }
    };
    if let Some(fault) = over {
        land::question_failed(q, sent, fault);
    }
    shed::after_failure(&q.lane.base);
}

impl Question {
    /// The number it was sent under, once it was.
    pub(crate) fn sent_as(&self) -> Option<u64> {
        self.progress.lock().sent
    }
}

impl Listing {
    /// Forgets the pages so far. What was learned of the lookup stays.
    fn start_over(&mut self, table: bool) {
        self.table = table;
        self.probing = false;
        self.offset = None;
        self.offsets.clear();
        self.empty = 0;
        self.records.clear();
    }
    pub(crate) fn lookup(&self) -> (bool, bool) {
        (self.lookup_proven, self.lookup_broken)
    }
    pub(crate) fn calls(&self) -> u32 {
        self.calls
    }
    pub(crate) fn into_records(self) -> (HashMap<CompactString, Shaped>, u32) {
        (self.records, self.calls)
    }
}

/// The table is too large to be read for want of a lookup.
fn no_lookup(q: &Question, limit: usize) -> Fault {
    let (field, lookup) = q
        .asks
        .as_ref()
        .and_then(|(f, _)| q.lane.spec.fields().get(*f as usize))
        .map_or(("", "".to_string()), |f| {
            (
                f.name.as_str(),
                f.lookup
                    .clone()
                    .unwrap_or_else(|| format!("{}_id", f.airtable)),
            )
        });
    Fault::new(format!(
        "NOINDEX {e}:{field} cannot be asked of Airtable: the table {t} has no lookup '{lookup}' that holds the ids of the records linked in '{field}', and more than podium.warm-limit ({limit}) records. Create that lookup (of a formula field RECORD_ID() in the linked table), or name an existing one: \"index_to_airtable\": {{\"{field}\": \"<lookup>\"}}",
        e = q.lane.entity,
        t = q.lane.table,
    ))
}
