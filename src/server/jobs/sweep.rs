//! Sweeping: a thread of its own asks what [`podium_core::sweep`] decides, call by call through the scheduler, and lands it.

use crate::server::fetching::landing;
use crate::server::fetching::{self, Got};
use crate::server::state::cell;
use crate::server::state::clock::Sent;
use crate::server::state::entities::EntityIx;
use crate::server::state::lane::Lane;
use crate::server::store;
use crate::server::store::form;
use crate::server::store::walk;
use crate::server::upstream::fault::Fault;
use crate::server::upstream::figures::Cause;
use crate::server::valkey::ffi;
use crate::server::valkey::log;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_core::entry::Encoded;
use podium_core::entry::Entry;
use podium_core::missing::{Asked, Missing, Why};
use podium_core::sweep::{Sweep, Tally};
use podium_core::{key, question};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// One entity's outcome.
pub(crate) struct Report {
    pub(crate) entity: Arc<str>,
    pub(crate) tally: Tally,
    pub(crate) calls: u64,
    pub(crate) ms: u64,
}

/// Only one sweep at a time: two would ask the same.
static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// Runs a sweep of `entities`; on a thread that may wait.
pub(crate) fn run(entities: &[EntityIx], full: bool, dry: bool) -> Result<Vec<Report>, Fault> {
    if UNDER_WAY.swap(true, Ordering::AcqRel) {
        return Err(Fault::new(
            "ERR a sweep is under way already: wait for it to end",
        ));
    }
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            UNDER_WAY.store(false, Ordering::Release);
        }
    }
    let _over = Over;
    let begun = Instant::now();
    let mut lanes: HashMap<EntityIx, Lane> = HashMap::new();
    let mut reports = Vec::new();
    // Each base is swept by itself: ids are unique only within one.
    let mut bases: Vec<String> = Vec::new();
    cell::with(|st, _| {
        for ix in entities {
            if let Some(e) = st.get(*ix) {
                let base = e.base();
                if !bases.contains(&base) {
                    bases.push(base);
                }
            }
        }
    });
    for base in bases {
        // What the change feed can tell by now needs no call of ours.
        crate::server::feed::catch_up(&base);
        let mut sweep = Sweep::new(full);
        let members = gather(&mut sweep, &base, entities, &mut lanes);
        let mut calls: HashMap<EntityIx, u64> = HashMap::new();
        while let Some(batch) = sweep.next() {
            let Some(lane) = lanes.get(&batch.entity) else {
                break;
            };
            let spent = calls.entry(batch.entity).or_insert(0);
            let answer = ask(lane, &batch.ids, spent)?;
            land_batch(&mut sweep, lane, &batch.ids, answer, dry);
        }
        let mut spent: u64 = calls
            .iter()
            .filter(|(ix, _)| !members.contains(*ix))
            .map(|(_, n)| n)
            .sum();
        for ix in members {
            let Some(lane) = lanes.get(&ix) else { continue };
            // Calls spent on parents outside the sweep count once, with the first entity they served.
            let n = calls.get(&ix).copied().unwrap_or(0) + std::mem::take(&mut spent);
            reports.push(Report {
                entity: lane.entity.clone(),
                tally: sweep.tally(ix),
                calls: n,
                ms: begun.elapsed().as_millis() as u64,
            });
        }
    }
    reports.sort_by(|a, b| a.entity.cmp(&b.entity));
    let removed: u64 = reports.iter().map(|r| r.tally.removed).sum();
    for r in &reports {
        log::event(
            "sweep",
            r.entity.as_bytes(),
            &[
                ("removed", r.tally.removed.into()),
                ("upstream-calls", r.calls.into()),
            ],
        );
    }
    cell::with(|st, _| st.sweep_last_removed = if dry { st.sweep_last_removed } else { removed });
    Ok(reports)
}

/// What is cached of a base goes into the sweep: the entities asked about, and the others as possible parents.
fn gather(
    sweep: &mut Sweep,
    base: &str,
    entities: &[EntityIx],
    lanes: &mut HashMap<EntityIx, Lane>,
) -> Vec<EntityIx> {
    let mut lists: Vec<(EntityIx, bool)> = Vec::new();
    cell::with(|st, _| {
        for ix in st.of_base(base) {
            let Some(e) = st.get(ix) else { continue };
            lanes.insert(ix, Lane::of(e, Cause::Sweep));
            lists.push((ix, entities.contains(&ix)));
        }
    });
    for (ix, in_scope) in &lists {
        walk::each(*ix, &walk::ids(*ix), |c| {
            let links = store::link_cells(c.st, *ix, c.entry).into_iter();
            let refs = links.flat_map(|(_, ids)| ids).collect();
            let header = &c.entry.header;
            let vouched = !header.is_told() && c.e.feed.vouches(header.seq, ffi::now_ms());
            sweep.add(*ix, c.id, refs, *in_scope, vouched);
        });
    }
    lists
        .into_iter()
        .filter(|(_, in_scope)| *in_scope)
        .map(|(ix, _)| ix)
        .collect()
}

/// What is there of the records asked for: the record, if it can be read, and the ids in its link cells.
type Found = HashMap<CompactString, (Option<Encoded>, Vec<CompactString>)>;

struct Answer {
    found: Found,
    /// Something came that does not say which record it is: what did not come may be there.
    nameless: bool,
    asked_ms: u64,
    sent: Sent,
}

/// Asks for records by id, through the scheduler, in the background class. To the last page: what a short page left out is
/// not gone.
fn ask(lane: &Lane, ids: &[CompactString], calls: &mut u64) -> Result<Answer, Fault> {
    let formula = question::ids_formula(ids);
    let asked_ms = ffi::now_ms();
    let mut found = Found::new();
    let mut asked = Asked::all(ids);
    let mut first: Option<Sent> = None;
    let mut offset: Option<String> = None;
    loop {
        *calls += 1;
        let formula = Some(formula.clone());
        let Got { page, sent, .. } =
            match fetching::waited_page(lane, "a sweep", formula, offset.take()).result {
                Ok(got) => got,
                Err((fault, _)) => return Err(fault),
            };
        // All of it is as old as its first page.
        let number = first.get_or_insert(sent).number();
        let missing = fetching::missing(&mut asked, &page);
        for r in page
            .records
            .iter()
            .filter(|r| ids.iter().any(|id| *id == r.id))
        {
            let shaped = form::encode_record(lane, r, number, asked_ms);
            let refs = refs_of(lane, &r.id, &shaped);
            found.insert(CompactString::new(&r.id), (Some(shaped), refs));
        }
        for (id, fault) in fetching::damaged(lane, &page, number, asked_ms) {
            let cells = fault.damage.and_then(|d| d.cells);
            let refs = cells.map(|c| refs_of(lane, &id, &c)).unwrap_or_default();
            found.insert(id, (None, refs));
        }
        offset = page.offset;
        let nameless = match missing {
            Missing::Unread => continue,
            Missing::None | Missing::Gone => false,
            Missing::Unknown(Why::Nameless) => true,
            Missing::Unknown(why @ Why::NotAskedFor) => {
                return Err(fetching::unanswered(&lane.entity, why));
            }
            Missing::Unknown(Why::NoProgress) => {
                return Err(Fault::outage(format!(
                    "UPSTREAMBAD the listing of {} does not end: its pages bring nothing new",
                    lane.entity
                )));
            }
        };
        return Ok(Answer {
            found,
            nameless,
            asked_ms,
            sent: first.unwrap_or_else(Sent::now),
        });
    }
}

fn refs_of(lane: &Lane, id: &str, shaped: &Encoded) -> Vec<CompactString> {
    let name = key::record(&lane.entity, id);
    let Some(e) = Entry::read(&shaped.bytes, &name) else {
        return Vec::new();
    };
    let links = lane.spec.link_fields();
    links.flat_map(|f| store::ids_in(&e, f)).collect()
}

fn land_batch(sweep: &mut Sweep, lane: &Lane, ids: &[CompactString], answer: Answer, dry: bool) {
    let Answer {
        mut found,
        nameless,
        asked_ms,
        sent: number,
    } = answer;
    let sent = number.number();
    for part in ids.chunks(32) {
        let coming = part.iter().filter_map(|id| match found.get(id) {
            Some((s, _)) => s.as_ref().map(|s| (id, Some(s))),
            None => (!dry && !nameless).then_some((id, None)),
        });
        let _ahead = landing::ahead(lane, sent, coming);
        cell::with(|st, ctx| {
            for id in part {
                match found.remove(id) {
                    Some((s, refs)) => {
                        if let Some(s) = s {
                            landing::put(st, ctx, lane, id, &s);
                        }
                        sweep.there(lane.ix, id, &refs);
                    }
                    None if nameless => sweep.unknown(lane.ix, id),
                    None => {
                        if !dry {
                            landing::gone(st, ctx, lane, id, sent, asked_ms);
                        }
                        sweep.gone(lane.ix, id);
                    }
                }
            }
        });
    }
    drop(number);
}

/// The sweep that runs by itself, `podium.sweep-interval`.
pub(crate) fn by_itself() {
    let entities = cell::with(|st, _| {
        if st.replica {
            Vec::new()
        } else {
            st.entities()
                .filter(|e| !e.base().is_empty())
                .map(|e| e.ix)
                .collect::<Vec<_>>()
        }
    });
    let entities = entities.unwrap_or_default();
    if entities.is_empty() {
        return;
    }
    match run(&entities, false, false) {
        Ok(reports) => {
            let removed: u64 = reports.iter().map(|r| r.tally.removed).sum();
            ffi::log(
                ffi::Level::Notice,
                &format!("swept: {removed} records were deleted in Airtable"),
            );
        }
        Err(f) => ffi::log(
            ffi::Level::Warning,
            &format!("the sweep stopped: {}", f.line),
        ),
    }
}
