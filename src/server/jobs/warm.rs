//! Warming: a thread of its own reads a whole table page by page, through the scheduler in the background class, stores each
//! page as it comes, and makes every index value complete at the end.
//!
//! What is told while it runs is newer than what the table held when its first page was asked for: everything is stored
//! under that page's number, and the sets are amended by what changed since.

use crate::server::desk::job::Question;
use crate::server::fetching::landing;
use crate::server::fetching::{self, Got};
use crate::server::state::cell;
use crate::server::state::clock::Sent;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::lane::Lane;
use crate::server::store::form;
use crate::server::upstream::fault::Fault;
use crate::server::upstream::figures::Cause;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::log;
use crate::server::valkey::settings;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use podium_airtable::{FailureKind, Page};
use podium_core::entry::Entry;
use podium_core::{index, key};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// One entity's outcome.
pub(crate) struct Report {
    pub(crate) entity: Arc<str>,
    pub(crate) result: Result<Done, Fault>,
}

/// What warming an entity came to.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) records: u64,
    pub(crate) calls: u64,
    pub(crate) ms: u64,
    /// Why it stopped before the end.
    pub(crate) stopped: Option<String>,
}

/// How far the warming has come, for INFO.
#[derive(Default, Clone)]
pub(crate) struct Progress {
    /// The entity being warmed; empty: none.
    pub(crate) entity: String,
    pub(crate) records: u64,
    pub(crate) calls: u64,
    /// Entities still to come.
    pub(crate) waiting: u64,
    /// Entities warmed to the end, and those that stopped before.
    pub(crate) done: u64,
    pub(crate) stopped: u64,
}

static PROGRESS: Mutex<Progress> = Mutex::new(Progress {
    entity: String::new(),
    records: 0,
    calls: 0,
    waiting: 0,
    done: 0,
    stopped: 0,
});

pub(crate) fn progress() -> Progress {
    PROGRESS.lock().clone()
}

/// One table after the other, whoever asks: together they would only share the same calls.
static TURN: Mutex<()> = Mutex::new(());

/// A listing that dies is begun anew at most this often.
const RESTARTS: u32 = 3;
/// A page that times out, or that Airtable fails to give, is asked for again at most this often.
const REPEATS: u32 = 2;
/// Records made ready to be stored at a time.
const SLICE: usize = 32;
/// Share of maxmemory, in percent, that is not warmed beyond.
const FULL: u64 = 95;
/// Roughly what an index set takes beside its members, and what a member takes.
const SET_BYTES: u64 = 300;
const MEMBER_BYTES: u64 = 40;

/// When an entity was last warmed to its end, under which generation, and how many records there were.
struct Warmed {
    at: Instant,
    generation: u64,
    records: u64,
}
static WARMED: Lazy<Mutex<HashMap<EntityIx, Warmed>>> = Lazy::new(Mutex::default);

/// Was the entity warmed to its end since then, and is it as complete still? Who waited for a turn meanwhile need not ask again.
fn warmed_since(lane: &Lane, asked: Instant) -> Option<Done> {
    let records = {
        let all = WARMED.lock();
        let w = all.get(&lane.ix)?;
        (w.at > asked && w.generation == lane.generation).then_some(w.records)?
    };
    let complete = cell::with(|st, _| st.get(lane.ix).is_some_and(|e| e.complete.is_some()));
    (complete == Some(true)).then(|| Done {
        records,
        ..Done::default()
    })
}

/// Warms entities, one after the other; on a thread that may wait.
pub(crate) fn run(entities: &[EntityIx]) -> Vec<Report> {
    let asked = Instant::now();
    PROGRESS.lock().waiting += entities.len() as u64;
    let _turn = TURN.lock();
    let mut out = Vec::with_capacity(entities.len());
    for ix in entities {
        let lane = cell::with(|st, _| st.get(*ix).map(|e| Lane::of(e, Cause::Warm))).flatten();
        {
            let mut p = PROGRESS.lock();
            p.waiting = p.waiting.saturating_sub(1);
            p.entity = lane
                .as_ref()
                .map_or_else(String::new, |l| l.entity.to_string());
            (p.records, p.calls) = (0, 0);
        }
        let Some(lane) = lane else { continue };
        let begun = Instant::now();
        let shared = warmed_since(&lane, asked);
        let mut result = shared.map_or_else(|| one(&lane), Ok);
        if let Ok(d) = &mut result {
            d.ms = begun.elapsed().as_millis() as u64;
            if d.stopped.is_none() {
                let warmed = Warmed {
                    at: Instant::now(),
                    generation: lane.generation,
                    records: d.records,
                };
                let mut all = WARMED.lock();
                // Entities come and go; what is forgotten is read anew.
                if all.len() >= 1_000 {
                    all.clear();
                }
                all.insert(lane.ix, warmed);
            }
        }
        let mut p = PROGRESS.lock();
        p.entity.clear();
        match &result {
            Ok(d) if d.stopped.is_none() => p.done += 1,
            _ => p.stopped += 1,
        }
        drop(p);
        tell(&lane, &result);
        out.push(Report {
            entity: lane.entity,
            result,
        });
    }
    out.sort_by(|a, b| a.entity.cmp(&b.entity));
    out
}

fn tell(lane: &Lane, result: &Result<Done, Fault>) {
    match result {
        Ok(d) => {
            log::event(
                "warm",
                lane.entity.as_bytes(),
                &[
                    ("records", d.records.into()),
                    ("upstream-calls", d.calls.into()),
                ],
            );
            if let Some(why) = &d.stopped {
                ffi::log(
                    ffi::Level::Warning,
                    &format!(
                        "warming {} stopped after {} records: {why}",
                        lane.entity, d.records
                    ),
                );
            }
        }
        Err(f) => ffi::log(
            ffi::Level::Warning,
            &format!("warming {} failed: {}", lane.entity, f.line),
        ),
    }
}

/// What a table held, as far as the index sets need it.
#[derive(Default)]
struct Contents {
    sent: u64,
    asked_ms: u64,
    ids: HashSet<CompactString>,
    sets: HashMap<Vec<u8>, HashSet<CompactString>>,
    offsets: HashSet<String>,
    /// Records of which no cell could be read.
    unknown: Vec<CompactString>,
    /// Something came that does not say which record it is.
    nameless: bool,
    /// What the sets will take.
    set_bytes: u64,
}

fn one(lane: &Lane) -> Result<Done, Fault> {
    let mut done = Done::default();
    let mut restarts = 0;
    'anew: loop {
        // Doubt matters while it is under way; that it is, and its number, are given back whichever way it ends.
        let _under_way = cell::with(|st, _| st.get(lane.ix).map(|e| e.questions.begin()));
        let mut _number: Option<Sent> = None;
        let mut all = Contents::default();
        let mut offset: Option<String> = None;
        done.records = 0;
        let mut empty = 0;
        loop {
            let Got {
                page,
                sent,
                asked_ms,
            } = match page(lane, offset.as_deref(), &mut done) {
                Ok(p) => p,
                Err((_, FailureKind::IteratorGone)) if restarts < RESTARTS => {
                    restarts += 1;
                    continue 'anew;
                }
                Err((fault, _)) => return Err(fault),
            };
            if all.sent == 0 {
                (all.sent, all.asked_ms) = (sent.number(), asked_ms);
                _number = Some(sent);
            }
            if let Some(why) = store(lane, &page, &mut all)? {
                done.records = all.ids.len() as u64;
                done.stopped = Some(why);
                return Ok(done);
            }
            done.records = all.ids.len() as u64;
            {
                let mut p = PROGRESS.lock();
                (p.records, p.calls) = (done.records, done.calls);
            }
            empty = if page.count() == 0 { empty + 1 } else { 0 };
            match page.offset {
                None => break,
                Some(next) => {
                    if empty > fetching::EMPTY_PAGES || !all.offsets.insert(next.clone()) {
                        return Err(fetching::endless(&lane.entity, empty));
                    }
                    offset = Some(next);
                }
            }
        }
        if all.nameless {
            done.stopped = Some(Fault::nameless(&lane.entity).line);
        } else if !complete(lane, all) {
            done.stopped = Some("the entity was changed or the server took no writes meanwhile: its index sets are not complete".into());
        }
        return Ok(done);
    }
}

/// Every index value, from what the table held.
fn complete(lane: &Lane, all: Contents) -> bool {
    let suffix: Arc<[u8]> = Arc::from(&b"*"[..]);
    let q = Question::whole(lane.clone(), suffix, None);
    let list = |ids: HashSet<CompactString>| ids.into_iter().collect::<Vec<_>>();
    let sets = all
        .sets
        .into_iter()
        .map(|(suffix, ids)| (suffix, list(ids)))
        .collect();
    let complete = landing::whole_table(&q, list(all.ids), sets, all.sent, all.asked_ms);
    landing::doubt_all(lane, &all.unknown);
    complete
}

/// Stores a page; why it could not, if so.
fn store(lane: &Lane, page: &Page, all: &mut Contents) -> Result<Option<String>, Fault> {
    let evidence = fetching::lookup_evidence(lane, &page.records);
    all.nameless |= page.nameless > 0;
    for (id, fault) in fetching::damaged(lane, page, all.sent, all.asked_ms) {
        // It is there, in the sets that its readable cells name: whoever reads these asks for it, and gets its error.
        all.ids.insert(id.clone());
        match fault.damage.and_then(|d| d.cells) {
            Some(cells) => note(lane, &id, &cells.bytes, all),
            None => all.unknown.push(id),
        }
    }
    for (n, part) in page.records.chunks(SLICE).enumerate() {
        let shaped: Vec<_> = part
            .iter()
            .map(|r| {
                (
                    CompactString::new(&r.id),
                    form::encode_record(lane, r, all.sent, all.asked_ms),
                )
            })
            .collect();
        let bytes: u64 = shaped.iter().map(|(_, s)| s.bytes.len() as u64 + 200).sum();
        for (id, s) in &shaped {
            note(lane, id, &s.bytes, all);
        }
        let _ahead = landing::ahead(lane, all.sent, shaped.iter().map(|(id, s)| (id, Some(s))));
        let mut why = Ok(None);
        let mut asked = false;
        cell::in_slices(&shaped, |st, ctx, (id, s)| {
            why = may_go_on(st, lane);
            if !std::mem::replace(&mut asked, true) {
                why = match std::mem::replace(&mut why, Ok(None)) {
                    Ok(None) => Ok(no_room(ctx, bytes + all.set_bytes)),
                    stopped => stopped,
                };
                let lookups = evidence.iter().filter(|_| n == 0);
                lookups.for_each(|(field, agrees)| landing::note_lookup(st, lane, *field, *agrees));
            }
            if !matches!(why, Ok(None)) {
                return ControlFlow::Break(());
            }
            landing::put(st, ctx, lane, id, s);
            ControlFlow::Continue(())
        });
        if !matches!(why, Ok(None)) {
            return why;
        }
    }
    Ok(None)
}

/// Is the entity as it was when the warming began? Why it stops here, if so.
fn may_go_on(st: &State, lane: &Lane) -> Result<Option<String>, Fault> {
    let in_force = st.get(lane.ix).map(|e| e.generation);
    if in_force != Some(lane.generation) {
        return Err(Fault::new(format!(
            "ERR {} was changed or emptied while it was being warmed: warm it again",
            lane.entity
        )));
    }
    Ok((!settings::enabled()).then(|| "podium.enabled is no: nothing is stored".to_string()))
}

/// Notes which sets a record belongs to.
fn note(lane: &Lane, id: &CompactString, bytes: &[u8], all: &mut Contents) {
    let name = key::record(&lane.entity, id);
    let Some(entry) = Entry::read(bytes, &name) else {
        return;
    };
    if all.ids.insert(id.clone()) {
        all.set_bytes += MEMBER_BYTES;
    }
    for suffix in index::sets(&lane.spec, &entry) {
        let long = suffix.len() as u64;
        let set = all.sets.entry(suffix).or_insert_with(|| {
            all.set_bytes += SET_BYTES + long;
            HashSet::new()
        });
        if set.insert(id.clone()) {
            all.set_bytes += MEMBER_BYTES;
        }
    }
}

/// Is the server too full for so many bytes more? What is loaded beyond that would be evicted again.
fn no_room(ctx: Ctx, bytes: u64) -> Option<String> {
    if !ffi::writable(ctx) {
        return Some("the server takes no writes now (out of memory, or paused)".into());
    }
    let (used, most) = ffi::memory(ctx);
    (most > 0 && used.saturating_add(bytes) > most / 100 * FULL).then(|| {
        format!("{used} of maxmemory's {most} bytes are used: more would be evicted as soon as it is loaded. Raise maxmemory, or warm fewer entities")
    })
}

/// One page. What failed and may pass is asked for again.
fn page(lane: &Lane, offset: Option<&str>, done: &mut Done) -> Result<Got, (Fault, FailureKind)> {
    let mut repeats = 0;
    loop {
        let waited = fetching::waited_page(lane, "warming", None, offset.map(str::to_string));
        done.calls += waited.calls;
        match waited.result {
            Err((
                _,
                FailureKind::Timeout
                | FailureKind::Server
                | FailureKind::Unreachable
                | FailureKind::Retriable,
            )) if repeats < REPEATS => {
                repeats += 1;
            }
            result => return result,
        }
    }
}
