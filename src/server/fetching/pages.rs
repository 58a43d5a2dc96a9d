//! An index question, page by page: it goes on, starts over, or reads the whole table for want of a lookup.

use crate::server::desk::job::{Job, Listing, Mode, Question};
use crate::server::desk::shed;
use crate::server::desk::way::Learnt;
use crate::server::desk::way::Next;
use crate::server::desk::{self, desk};
use crate::server::fetching::batch::damaged;
use crate::server::fetching::end_failed;
use crate::server::fetching::inverse;
use crate::server::fetching::landing;
use crate::server::fetching::list_for;
use crate::server::fetching::note_failure;
use crate::server::fetching::silenced;
use crate::server::fetching::size;
use crate::server::state::clock;
use crate::server::state::lane::Lane;
use crate::server::store::form::encode_record;
use crate::server::store::form::matches;
use crate::server::upstream::fault::for_pace;
use crate::server::upstream::fault::Fault;
use crate::server::upstream::figures;
use crate::server::valkey::settings;
use compact_str::CompactString;
use podium_airtable::{Failure, FailureKind, ListQuery, Page};
use podium_core::entry::Encoded;
use podium_core::flight::FlightId;
use podium_core::pace::{CallId, Class, Outcome, Verdict};
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
    let (offset, asked_ms, (formula, most)) = {
        let p = q.progress.lock();
        let formula = match (&p.mode, &q.asks) {
            (Mode::WayBack(left), _) => {
                let (left, asked_ms) = (left.clone(), p.asked_ms);
                drop(p);
                return inverse::step(id, class, job, q, left, sent, asked_ms);
            }
            (Mode::Formula, Some(asks)) => q.way.formula(&q.lane.spec, asks, &p.evidence),
            (Mode::Formula, None) | (Mode::Table, _) => (None, None),
        };
        (p.offset.clone(), p.asked_ms, formula)
    };
    let mut plan = size::plan(&q.lane);
    if let Some(few) = most {
        plan.size = plan.size.min(few as u16);
    }
    let query = ListQuery {
        formula: formula.as_deref(),
        offset: offset.as_deref(),
        page_size: plan.size,
        max_records: most,
        fields: &plan.columns,
        ..ListQuery::default()
    };
    let result = list_for(q, &q.lane, &query, class);
    if size::note(&q.lane, &plan, &result) {
        // The same page again, otherwise.
        figures::error(false);
        return go_on(id, job, q, sent);
    }
    match result {
        Ok(page) => page_came(id, job, q, sent, asked_ms, page),
        Err(f) => page_failed(id, job, q, sent, f),
    }
}

/// Goes on with the next page, or from the start.
pub(crate) fn go_on(id: CallId, job: &Arc<Job>, q: &Question, sent: u64) {
    let gone = {
        let mut d = desk();
        let next = d.sched.call_more(id, job.clone(), clock::mono_ms());
        if let Some(id) = next {
            d.calls.insert(
                q.flight.load(Ordering::Relaxed),
                desk::QuestionCall {
                    id,
                    repeats: false,
                    begun_us: 0,
                },
            );
        }
        next.is_none()
    };
    desk::close_now();
    if gone {
        landing::question_failed(
            q,
            sent,
            Fault::outage("UPSTREAMBUSY the question was dropped: ask again"),
        );
    }
}

/// The records of a page in their stored form.
fn encode_page(
    lane: &Lane,
    page: &Page,
    sent: u64,
    asked_ms: u64,
) -> Vec<(CompactString, Encoded)> {
    let shaped = |r| encode_record(lane, r, sent, asked_ms);
    let all = page.records.iter();
    all.map(|r| (CompactString::new(&r.id), shaped(r)))
        .collect()
}

fn page_came(id: CallId, job: &Arc<Job>, q: &Question, sent: u64, asked_ms: u64, page: Page) {
    let shaped = encode_page(&q.lane, &page, sent, asked_ms);
    let mut p = q.progress.lock();
    if let (Mode::Formula, Some(asks)) = (&p.mode, &q.asks) {
        let found = shaped
            .iter()
            .any(|(id, s)| matches(&q.lane, id, &s.bytes, &q.asks));
        let spec = &q.lane.spec;
        let mut next = q
            .way
            .page(spec, asks, &page.records, found, &mut p.evidence);
        if let (Next::On, None, Some(field)) = (&next, &page.offset, spec.get(asks.0)) {
            next = q.way.end(field, &mut p.evidence);
        }
        match next {
            Next::On => {}
            Next::Ask => {
                p.offset = None;
                p.take_encoded(&q.lane, &page, shaped, sent, asked_ms);
                drop(p);
                return go_on(id, job, q, sent);
            }
            Next::Own | Next::NoFormula => {
                p.start_over(q.begun_anew(matches!(next, Next::NoFormula)));
                drop(p);
                return go_on(id, job, q, sent);
            }
        }
    }
    let probing = p.evidence.is_probing();
    p.empty = if page.count() == 0 { p.empty + 1 } else { 0 };
    p.take_encoded(&q.lane, &page, shaped, sent, asked_ms);
    let limit = settings::WARM_LIMIT.get().max(0) as usize;
    if matches!(p.mode, Mode::Table) && q.asks.is_some() && p.records.len() > limit {
        drop(p);
        desk().sched.done(id, Outcome::Ok, clock::mono_ms(), 0);
        return landing::question_failed(q, sent, no_lookup(q, limit));
    }
    match page.offset {
        Some(next) if !probing && (p.offsets.contains(&next) || p.empty > EMPTY_PAGES) => {
            let fault = endless(&q.lane.entity, p.empty);
            drop(p);
            desk().sched.done(id, Outcome::Ok, clock::mono_ms(), 0);
            landing::question_failed(q, sent, fault);
        }
        Some(next) if !probing => {
            p.offsets.insert(next.clone());
            p.offset = Some(next);
            drop(p);
            go_on(id, job, q, sent);
        }
        _ => {
            let listing = std::mem::take(&mut *p);
            drop(p);
            desk().sched.done(id, Outcome::Ok, clock::mono_ms(), 0);
            landing::question(q, sent, asked_ms, listing);
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

/// A listing that dies is begun anew at most this often.
const RESTARTS: u32 = 3;

pub(crate) fn page_failed(id: CallId, job: &Arc<Job>, q: &Question, sent: u64, f: Failure) {
    let field = q.asks.as_ref().and_then(|(f, _)| q.lane.spec.get(*f));
    {
        let mut p = q.progress.lock();
        match (&f.kind, field) {
            (FailureKind::UnknownField(names), field) if matches!(p.mode, Mode::Formula) => {
                let next = field.map(|f| q.way.lacks(f, names, &mut p.evidence));
                // Its name cannot be had, and Airtable takes no ids in formulas.
                let ids = &q.lane.spec.columns().ids;
                let by_id = || {
                    let named = |n: &String| ids.iter().any(|id| id.eq_ignore_ascii_case(n));
                    names.iter().any(named)
                };
                let no_formula = match next {
                    Some(Next::Own) => Some(false),
                    Some(Next::NoFormula) => Some(true),
                    _ => by_id().then_some(true),
                };
                if let Some(no_formula) = no_formula {
                    p.start_over(q.begun_anew(no_formula));
                    drop(p);
                    figures::error(false);
                    return go_on(id, job, q, sent);
                }
            }
            (FailureKind::IteratorGone, _) if p.restarts < RESTARTS => {
                p.restarts += 1;
                let mode = match p.mode {
                    Mode::WayBack(_) => Mode::WayBack(None),
                    _ => std::mem::take(&mut p.mode),
                };
                p.start_over(mode);
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
        let verdict = end_failed(&mut d, id, &f, for_pace(&f, false));
        let flight = q.flight.load(Ordering::Relaxed);
        let again = matches!(verdict, Verdict::Retrying | Verdict::Split);
        // Through a silence it waits for those who do: who cannot is told.
        if again && (!silenced(&f) || !d.flights.waiters(flight).is_empty()) {
            if d.flights.thing(flight).is_some() {
                d.calls.insert(
                    flight,
                    desk::QuestionCall {
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
        landing::question_failed(q, sent, fault);
    }
    shed::after_failure(&q.lane.base);
}

impl Question {
    /// How it is put from the start on.
    fn begun_anew(&self, no_formula: bool) -> Mode {
        if no_formula {
            self.without_formula()
        } else {
            Mode::Formula
        }
    }
}

impl Listing {
    /// Forgets the pages so far. What was learned of the lookup stays.
    fn start_over(&mut self, mode: Mode) {
        self.mode = mode;
        self.evidence.start_over();
        self.offset = None;
        self.offsets.clear();
        self.empty = 0;
        self.records.clear();
        self.damaged.clear();
        self.nameless = 0;
    }
    /// Takes in what a page brought; of a record that came before, this is the newer copy.
    pub(crate) fn take(&mut self, lane: &Lane, page: &Page, sent: u64, asked_ms: u64) {
        let shaped = encode_page(lane, page, sent, asked_ms);
        self.take_encoded(lane, page, shaped, sent, asked_ms);
    }
    /// As [`take`](Self::take), its records being shaped already.
    fn take_encoded(
        &mut self,
        lane: &Lane,
        page: &Page,
        shaped: Vec<(CompactString, Encoded)>,
        sent: u64,
        asked_ms: u64,
    ) {
        for (id, s) in shaped {
            self.damaged.remove(&id);
            self.records.insert(id, s);
        }
        for (id, fault) in damaged(lane, page, sent, asked_ms) {
            self.records.remove(&id);
            self.damaged.insert(id, fault);
        }
        self.nameless += page.nameless;
    }
    pub(crate) fn calls(&self) -> u32 {
        self.calls
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

impl Listing {
    pub(crate) fn learnt(&self) -> Learnt {
        self.evidence.learnt()
    }
}
