//! What a write did is made known to the cache, before the client hears of it: the record itself, the other ends of its
//! links, and what other entities compute from it.

use super::engine::{self, desk, Lane, Thing};
use super::fetch;
use super::ffi::{self, Ctx};
use super::figures::Cause;
use super::gil;
use super::land;
use super::reply::Body;
use super::state::{EntityIx, LinkCells, State};
use super::store::{self, By, Copy, Stored};
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use podium_airtable::Record;
use podium_core::entry::Entry;
use podium_core::key;
use podium_core::pace::Class;
use podium_core::record::{self, Source};
use podium_core::spec::{record_id_ok, Spec};
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// The lock, at a time when keys may be removed: while writes are paused nothing can be made known, and so nothing is
/// acknowledged. A replica, which this node may have become meanwhile, is told by its primary.
fn hold() -> gil::Held {
    loop {
        let held = gil::lock();
        if ffi::removable(held.ctx()) || ffi::is_replica(held.ctx()) || engine::stopping() {
            return held;
        }
        drop(held);
        std::thread::sleep(PAUSE);
    }
}

/// Are writes paused just now? Whoever lands a write then waits on a thread of its own.
pub(crate) fn paused() -> bool {
    let held = gil::lock();
    !ffi::removable(held.ctx()) && !ffi::is_replica(held.ctx())
}

/// A written record, ready to be replied.
pub(crate) struct Landed {
    pub(crate) body: Body,
    pub(crate) fresh_until: u64,
    pub(crate) stored: bool,
}

/// Computed cells may lag behind the cells they are computed from: they are read again so long after a write.
const LAG: Duration = Duration::from_secs(2);
/// Re-reads that wait at most; what is beyond lives as long as its TTL.
const MOST_REREADS: usize = 10_000;
/// Cached records looked at per hold of the server's lock.
const SLICE: usize = 250;
/// How often it is looked whether writes are paused no more.
const PAUSE: Duration = Duration::from_millis(5);

/// Stores what Airtable answered to a write that was sent as `sent`; each record beside the cells that were asked to be
/// written. The server's lock is not held.
pub(crate) fn store(
    lane: &Lane,
    records: &[(&Record, &Map<String, Value>)],
    sent: u64,
    asked_ms: u64,
    created: bool,
) -> Vec<Landed> {
    let mut out = Vec::with_capacity(records.len());
    // Records whose former links are not known, with the links they have now; and all that were written.
    let mut strangers: HashMap<CompactString, HashSet<CompactString>> = HashMap::new();
    let mut written: HashSet<CompactString> = HashSet::new();
    {
        let held = hold();
        let ctx = held.ctx();
        gil::enter(|st| {
            for (r, cells) in records {
                let id = CompactString::new(&r.id);
                out.push(one(
                    st,
                    ctx,
                    lane,
                    &id,
                    r,
                    cells,
                    sent,
                    asked_ms,
                    created,
                    &mut strangers,
                ));
                written.insert(id);
            }
        });
    }
    if created {
        // Nothing linked to them before, and nothing was computed from them.
        strangers.clear();
        written.clear();
    }
    doubt_referrers(lane, &written, &strangers, false);
    look_again(lane, written, strangers, false);
    let ids = records.iter().map(|(r, _)| CompactString::new(&r.id));
    reread_later(lane.ix, ids);
    out
}

#[allow(clippy::too_many_arguments)]
fn one(
    st: &mut State,
    ctx: Ctx,
    lane: &Lane,
    id: &CompactString,
    r: &Record,
    cells: &Map<String, Value>,
    sent: u64,
    asked_ms: u64,
    created: bool,
    strangers: &mut HashMap<CompactString, HashSet<CompactString>>,
) -> Landed {
    // The spec may have changed since the write was ordered: what is stored and replied is in the shape now in force.
    let now_in_force = st
        .get(lane.ix)
        .filter(|e| e.base() == *lane.base && e.spec.table() == &*lane.table);
    let (lane, there) = match now_in_force {
        Some(e) => (Lane::of(e, Cause::Write), true),
        None => (lane.clone(), false),
    };
    let shaped = record::shape(&lane.spec, id, &r.fields, Source::Airtable);
    let name = key::record(&lane.entity, id);
    let (seq, undisputed) = {
        let mut d = desk();
        // What landed or was told while the write was under way may be older or younger than it: then neither is stored.
        let undisputed = d.tokens.current(lane.ix, id, sent);
        (d.next_seq(), undisputed)
    };
    let stored = fetch::encode(&lane, id, &shaped, seq, asked_ms, 0);
    let mut links: Vec<(u16, Vec<CompactString>)> = Vec::new();
    let (mut body, mut fresh_until) = (Body::Null, asked_ms);
    if let Some(entry) = Entry::read(&stored.bytes, &name) {
        body = Body::Bytes(entry.answer().to_vec());
        fresh_until = entry.header.fresh_until;
        links = store::link_cells(st, lane.ix, &entry);
    }
    if !there || !ffi::removable(ctx) {
        return Landed {
            body,
            fresh_until,
            stored: false,
        };
    }
    let before = links_before(st, ctx, lane.ix, id);
    let known = before.is_some();
    let kept = undisputed
        && store::put(
            st,
            ctx,
            lane.ix,
            id,
            &stored.bytes,
            stored.expire_at,
            By::Told,
        ) == Stored::Yes;
    if let Some(e) = st.get_mut(lane.ix) {
        e.figures.schema_violations += u64::from(stored.violations);
    }
    if !kept {
        store::invalidate(st, ctx, lane.ix, id, seq);
    }
    if !known || !kept {
        // Nothing to compare with: every link that was written may be new.
        let touched = |f: u16| {
            created
                || lane
                    .spec
                    .get(f)
                    .is_some_and(|f| cells.contains_key(&f.airtable))
        };
        let mut relinked = false;
        for (f, ids) in links.iter().filter(|(f, _)| touched(*f)) {
            relinked = true;
            for other in ids.iter().filter(|o| record_id_ok(o.as_bytes())) {
                // What the other end's copy shows of a disputed link proves nothing.
                store::doubt_other_end(st, ctx, lane.ix, *f, id, other, undisputed);
            }
        }
        if !kept {
            also_linked(st, lane.ix, id, links.clone());
            for (f, ids) in before.unwrap_or_default() {
                for other in ids.iter().filter(|o| record_id_ok(o.as_bytes())) {
                    store::doubt_other_end(st, ctx, lane.ix, f, id, other, false);
                }
            }
        }
        relinked |= lane.spec.link_fields().any(touched);
        if relinked && !known {
            strangers.insert(
                id.clone(),
                links.into_iter().flat_map(|(_, ids)| ids).collect(),
            );
        }
    }
    Landed {
        body,
        fresh_until,
        stored: kept,
    }
}

/// A record whose copy was dropped may have had these links too, before it is seen again.
fn also_linked(st: &mut State, ix: EntityIx, id: &str, links: LinkCells) {
    let Some(e) = st.get_mut(ix) else { return };
    match e.old_links.get_mut(id) {
        None => e.remember_links(id, links),
        Some(known) => {
            for (f, ids) in links {
                match known.iter_mut().find(|(g, _)| *g == f) {
                    Some((_, there)) => there.extend(
                        ids.into_iter()
                            .filter(|i| !there.contains(i))
                            .collect::<Vec<_>>(),
                    ),
                    None => known.push((f, ids)),
                }
            }
        }
    }
}

/// The links that a record had as far as the cache knows.
fn links_before(st: &State, ctx: Ctx, ix: EntityIx, id: &CompactString) -> Option<LinkCells> {
    let e = st.get(ix)?;
    if let Copy::Record(b) = store::copy(ctx, e, id, false) {
        let name = key::record(&e.name, id);
        return Entry::read(b, &name).map(|entry| store::link_cells(st, ix, &entry));
    }
    e.old_links.get(id).cloned()
}

/// Records were deleted in Airtable, or are known to be gone there.
pub(crate) fn bury(lane: &Lane, ids: &[CompactString]) {
    {
        let held = hold();
        let ctx = held.ctx();
        if !ffi::removable(ctx) {
            return;
        }
        gil::enter(|st| {
            let Some(lane) = st.get(lane.ix).map(|e| Lane::of(e, Cause::Write)) else {
                return;
            };
            let now = ffi::now_ms();
            for id in ids {
                let seq = desk().next_seq();
                let (header, expire_at) = land::tombstone(&lane, seq, now, now);
                store::entomb(st, ctx, lane.ix, id, header, expire_at, By::Told);
                store::signal_fetch(ctx, &key::record(&lane.entity, id));
            }
        });
    }
    let gone: HashSet<CompactString> = ids.iter().cloned().collect();
    doubt_referrers(lane, &gone, &HashMap::new(), true);
    look_again(lane, gone, HashMap::new(), true);
}

/// A write that may have been carried out and may not: whatever it would have changed is in doubt. `id`: none for records
/// to be created, whose ids nobody knows.
pub(crate) fn uncertain(lane: &Lane, id: Option<&CompactString>, cells: &[&Map<String, Value>]) {
    {
        let held = hold();
        let ctx = held.ctx();
        if !ffi::removable(ctx) {
            return;
        }
        gil::enter(|st| {
            let Some(spec) = st.get(lane.ix).map(|e| e.spec.clone()) else {
                return;
            };
            match id {
                Some(id) => {
                    let seq = desk().next_seq();
                    store::invalidate(st, ctx, lane.ix, id, seq);
                }
                // Any index set of the entity may lack it.
                None => store::drop_sets(st, ctx, lane.ix),
            }
            for (f, other) in cells.iter().flat_map(|c| links_of(&spec, c)) {
                if let Some(id) = id {
                    also_linked(st, lane.ix, id, vec![(f, vec![other.clone()])]);
                }
                store::doubt_other_end(
                    st,
                    ctx,
                    lane.ix,
                    f,
                    id.map_or("", |i| i.as_str()),
                    &other,
                    true,
                );
            }
        });
    }
    if let Some(id) = id {
        let all = HashSet::from([id.clone()]);
        doubt_referrers(
            lane,
            &all,
            &HashMap::from([(id.clone(), HashSet::new())]),
            true,
        );
    }
}

/// The ids in cells that were to be written, by link field.
fn links_of(spec: &Spec, cells: &Map<String, Value>) -> Vec<(u16, CompactString)> {
    let mut out = Vec::new();
    for f in spec.link_fields() {
        let cell = spec.get(f).and_then(|field| cells.get(&field.airtable));
        for id in cell
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if record_id_ok(id.as_bytes()) {
                out.push((f, CompactString::new(id)));
            }
        }
    }
    out
}

/// Cached records that refer to written ones and that Airtable changed with them: their link cells where it is not known
/// what was unlinked (`strangers`, with what they link to now) or the record is gone, and what they compute from it.
fn doubt_referrers(
    lane: &Lane,
    written: &HashSet<CompactString>,
    strangers: &HashMap<CompactString, HashSet<CompactString>>,
    gone: bool,
) {
    if written.is_empty() && strangers.is_empty() {
        return;
    }
    // Entities of the base, what is cached of them, and whether they compute something from this one.
    let mut lists: Vec<(EntityIx, Vec<CompactString>, bool)> = Vec::new();
    {
        let held = hold();
        let ctx = held.ctx();
        if !ffi::removable(ctx) {
            return;
        }
        gil::enter(|st| {
            for ix in st.of_base(&lane.base) {
                let Some(e) = st.get(ix) else { continue };
                let computes = computes_from(&e.spec, &lane.entity);
                let asked_by_it = e
                    .spec
                    .fields()
                    .iter()
                    .any(|f| f.indexed && f.depends.as_deref() == Some(&*lane.entity));
                if gone || !strangers.is_empty() {
                    outdate_flights(ix);
                }
                if gone || computes || !strangers.is_empty() {
                    lists.push((ix, e.records.iter().cloned().collect(), computes));
                }
                if asked_by_it && !written.is_empty() && e.has_sets() {
                    // Which of its records are concerned is not known of those that are not cached.
                    store::drop_sets(st, ctx, ix);
                }
            }
        });
    }
    for (ix, ids, computes) in lists {
        let mut doubted = Vec::new();
        for part in ids.chunks(SLICE) {
            let held = hold();
            let ctx = held.ctx();
            if !ffi::removable(ctx) {
                return;
            }
            gil::enter(|st| {
                let hit: Vec<CompactString> = part
                    .iter()
                    .filter(|id| {
                        let Some(e) = st.get(ix) else { return false };
                        let Copy::Record(b) = store::copy(ctx, e, id, false) else {
                            return false;
                        };
                        let name = key::record(&e.name, id);
                        let Some(entry) = Entry::read(b, &name) else {
                            return false;
                        };
                        let mut links = e
                            .spec
                            .link_fields()
                            .flat_map(|f| entry.texts(f))
                            .filter_map(|t| std::str::from_utf8(t).ok());
                        links.any(|to| {
                            let lost = strangers.get(to).is_some_and(|now| !now.contains(*id));
                            (written.contains(to) && (gone || computes)) || lost
                        })
                    })
                    .cloned()
                    .collect();
                for id in hit {
                    let seq = desk().next_seq();
                    store::invalidate(st, ctx, ix, &id, seq);
                    doubted.push(id);
                }
            });
        }
        if computes {
            // Read again too early, they would keep what Airtable had not computed yet.
            reread_later(ix, doubted.into_iter());
        }
    }
}

/// Copies of an entity that are being fetched just now may show what was before: they are not stored.
fn outdate_flights(ix: EntityIx) {
    let mut d = desk();
    let ids: Vec<CompactString> = d
        .flights
        .things()
        .filter_map(|t| {
            if let Thing::Record(i, id, ..) = t {
                (*i == ix).then(|| id.clone())
            } else {
                None
            }
        })
        .collect();
    let seq = d.next_seq();
    for id in ids {
        d.tokens.note(ix, &id, seq);
    }
}

/// A look at the cache that is to be taken again.
struct Look {
    at: Instant,
    lane: Lane,
    written: HashSet<CompactString>,
    strangers: HashMap<CompactString, HashSet<CompactString>>,
    gone: bool,
}

static LOOKS: Mutex<Vec<Look>> = Mutex::new(Vec::new());
/// Looks that wait at most.
const MOST_LOOKS: usize = 1_000;

/// An index question that was under way during the write brings copies of before: they are looked for once more when it has
/// landed.
fn look_again(
    lane: &Lane,
    written: HashSet<CompactString>,
    strangers: HashMap<CompactString, HashSet<CompactString>>,
    gone: bool,
) {
    let mut looks = LOOKS.lock();
    if (gone || !strangers.is_empty()) && looks.len() < MOST_LOOKS {
        // What is computed is read again by itself.
        let written = if gone { written } else { HashSet::new() };
        looks.push(Look {
            at: Instant::now() + LAG,
            lane: lane.clone(),
            written,
            strangers,
            gone,
        });
    }
}

fn take_looks() {
    let due: Vec<Look> = {
        let mut looks = LOOKS.lock();
        if looks.is_empty() {
            return;
        }
        let now = Instant::now();
        let (due, rest) = std::mem::take(&mut *looks)
            .into_iter()
            .partition(|l: &Look| l.at <= now);
        *looks = rest;
        due
    };
    for l in due {
        if paused() {
            LOOKS.lock().push(l);
            continue;
        }
        doubt_referrers(&l.lane, &l.written, &l.strangers, l.gone);
    }
}

/// Does an entity hold cells that Airtable computes from `other`, as far as its spec tells?
fn computes_from(spec: &Spec, other: &str) -> bool {
    spec.open()
        || spec
            .fields()
            .iter()
            .any(|f| f.depends.as_deref().map_or(f.read_only, |d| d == other))
}

static DUE: Mutex<Vec<(Instant, EntityIx, CompactString)>> = Mutex::new(Vec::new());

fn reread_later(ix: EntityIx, ids: impl Iterator<Item = CompactString>) {
    let at = Instant::now() + LAG;
    let mut due = DUE.lock();
    for id in ids {
        if due.len() >= MOST_REREADS {
            break;
        }
        match due.iter_mut().find(|(_, i, d)| *i == ix && *d == id) {
            Some(slot) => slot.0 = at,
            None => due.push((at, ix, id)),
        }
    }
}

/// Orders the re-reads whose time has come: of what is still cached, in the refresh class. From the upkeep thread.
pub(crate) fn reread() {
    take_looks();
    let ready: Vec<(EntityIx, CompactString)> = {
        let mut due = DUE.lock();
        let now = Instant::now();
        let (ready, rest) = std::mem::take(&mut *due)
            .into_iter()
            .partition(|(at, _, _)| *at <= now);
        *due = rest;
        let ready: Vec<(Instant, EntityIx, CompactString)> = ready;
        ready.into_iter().map(|(_, ix, id)| (ix, id)).collect()
    };
    if ready.is_empty() {
        return;
    }
    let held = gil::lock();
    let ctx = held.ctx();
    if ffi::is_replica(ctx) {
        return;
    }
    gil::enter(|st| {
        super::del::watch();
        for (ix, id) in ready {
            let Some(e) = st.get(ix) else { continue };
            if matches!(store::copy(ctx, e, &id, false), Copy::Record(_)) {
                desk().want_record(e, &id, Class::Refresh, None, false);
            }
        }
    });
    drop(held);
    engine::close_now();
}
