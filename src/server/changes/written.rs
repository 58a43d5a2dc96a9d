//! What a write did is made known to the cache, before the client hears of it: the record itself, the other ends of its
//! links, and what other entities compute from it (`referrers`), some of it once more when a while has passed (`later`).

pub(crate) use crate::server::changes::later::reread;
use crate::server::changes::later::{look_again, reread_later};
use crate::server::changes::referrers::doubt_referrers;
pub(crate) use crate::server::changes::referrers::outdate_flights;
use crate::server::state::clock;
use crate::server::state::landing::Link;
use crate::server::state::lane::Lane;
use crate::server::store::change;
use crate::server::store::form;

use crate::server::desk::{self};
use crate::server::state::cell;
use crate::server::state::entities::{EntityIx, LinkCells, State};
use crate::server::state::history::How;
use crate::server::store::cluster;
use crate::server::store::{self, By, Copy, Stored};
use crate::server::upstream::figures::Cause;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::lock;
use crate::server::valkey::reply::Body;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use podium_airtable::Record;
use podium_core::entry::{Entry, WRITTEN};
use podium_core::key;
use podium_core::record::{self, Source};
use podium_core::spec::{record_id_ok, Spec};
use serde_json::{Map, Value};
use std::time::Duration;

/// The lock, at a time when keys may be removed: while writes are paused nothing can be made known, and so nothing is
/// acknowledged. A replica, which this node may have become meanwhile, is told by its primary.
pub(crate) fn hold() -> lock::Held {
    loop {
        let held = lock::lock();
        if ffi::removable(held.ctx()) || ffi::is_replica(held.ctx()) || desk::stopping() {
            return held;
        }
        drop(held);
        std::thread::sleep(PAUSE);
    }
}

/// Are writes paused just now? Whoever lands a write then waits on a thread of its own.
pub(crate) fn paused() -> bool {
    let held = lock::lock();
    !ffi::removable(held.ctx()) && !ffi::is_replica(held.ctx())
}

/// A written record, ready to be replied.
pub(crate) struct Written {
    pub(crate) body: Body,
    pub(crate) fresh_until: u64,
    pub(crate) stored: bool,
}

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
) -> Vec<Written> {
    let mut out = Vec::with_capacity(records.len());
    // Records whose former links are not known, with the links they have now; and all that were written.
    let mut strangers: HashMap<CompactString, HashSet<CompactString>> = HashMap::new();
    let mut written: HashSet<CompactString> = HashSet::new();
    {
        let held = hold();
        let ctx = held.ctx();
        cell::enter(|st| {
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
) -> Written {
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
        // What landed or was told while the write was under way may be older or younger than it: then neither is stored.
        let undisputed = clock::order().current(lane.ix, id, sent);
        (clock::next(), undisputed)
    };
    // A list may lack it yet: the sets asked for from here on hold it all the same.
    let stored = form::encode(&lane, id, &shaped, seq, asked_ms, WRITTEN);
    let mut links: Vec<(u16, Vec<CompactString>)> = Vec::new();
    let (mut body, mut fresh_until) = (Body::Null, asked_ms);
    let beyond = cluster::out_of_reach(st, &lane.entity, id);
    if let Some(entry) = Entry::read(&stored.bytes, &name) {
        body = Body::Bytes(entry.answer().to_vec());
        fresh_until = entry.header.fresh_until;
        links = store::link_cells(st, lane.ix, &entry);
    }
    if beyond {
        body = Body::error(gone_elsewhere(&name, created));
    }
    if !there || !ffi::removable(ctx) {
        return Written {
            body,
            fresh_until,
            stored: false,
        };
    }
    let before = store::links_before(st, ctx, lane.ix, id);
    let known = before.is_some();
    // What is remembered of a copy that was dropped says what the links may have been, not what they were last: the other
    // end of one that comes back may have been read in between.
    let compared = st
        .get(lane.ix)
        .is_some_and(|e| matches!(store::copy(ctx, e, id, false), Copy::Record(_)));
    let kept = undisputed
        && st.by_word_of(How::Write, |st| {
            let (bytes, end) = (&stored.bytes, stored.expire_at);
            store::put(st, ctx, lane.ix, id, bytes, end, By::Told)
        }) == Stored::Yes;
    if let Some(e) = st.get_mut(lane.ix) {
        e.figures.schema_violations += u64::from(stored.violations);
    }
    if !kept {
        st.by_word_of(How::Write, |st| {
            store::invalidate(st, ctx, lane.ix, id, seq)
        });
    }
    if !compared || !kept {
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
                let link = if undisputed {
                    Link::Gained
                } else {
                    Link::Disputed
                };
                store::doubt_other_end(st, ctx, lane.ix, *f, id, other, link);
            }
        }
        if !kept {
            also_linked(st, lane.ix, id, links.clone());
            for (f, ids) in before.unwrap_or_default() {
                for other in ids.iter().filter(|o| record_id_ok(o.as_bytes())) {
                    store::doubt_other_end(st, ctx, lane.ix, f, id, other, Link::Lost);
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
    Written {
        body,
        fresh_until,
        stored: kept,
    }
}

/// In a cluster: what was written cannot be made known to the cache here, so that it is not acknowledged. An update or a
/// delete may be sent once more, a create may not.
fn gone_elsewhere(name: &[u8], created: bool) -> String {
    let name = key::shown(name);
    if created {
        format!("ERR {name} was created in Airtable, but its slot has moved to another node meanwhile, whose index sets may lack it: send that one PODIUM.INVALIDATE {name}")
    } else {
        format!("TRYAGAIN {name} was written in Airtable, but has moved to another node meanwhile, whose copy may be older: ask again")
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
                    Some((_, there)) => {
                        let known: HashSet<CompactString> = there.iter().cloned().collect();
                        there.extend(ids.into_iter().filter(|i| !known.contains(i)));
                    }
                    None => known.push((f, ids)),
                }
            }
        }
    }
}

/// Records were deleted in Airtable, or are known to be gone there. Those of which that could not be made known here are
/// returned, each with what to reply.
pub(crate) fn deleted(lane: &Lane, ids: &[CompactString]) -> Vec<(CompactString, String)> {
    let mut beyond = Vec::new();
    {
        let held = hold();
        let ctx = held.ctx();
        if !ffi::removable(ctx) {
            return beyond;
        }
        cell::enter(|st| {
            for id in ids {
                if cluster::out_of_reach(st, &lane.entity, id) {
                    let name = key::record(&lane.entity, id);
                    beyond.push((id.clone(), gone_elsewhere(&name, false)));
                }
            }
            let Some(lane) = st.get(lane.ix).map(|e| Lane::of(e, Cause::Write)) else {
                return;
            };
            let now = ffi::now_ms();
            for id in ids {
                let seq = clock::next();
                let (header, expire_at) = form::tombstone(&lane, seq, now, now);
                st.by_word_of(How::Write, |st| {
                    store::put_tomb(st, ctx, lane.ix, id, header, expire_at, By::Told)
                });
                store::signal_fetch(ctx, &key::record(&lane.entity, id));
            }
        });
    }
    let gone: HashSet<CompactString> = ids.iter().cloned().collect();
    doubt_referrers(lane, &gone, &HashMap::new(), true);
    look_again(lane, gone, HashMap::new(), true);
    beyond
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
        cell::enter(|st| {
            let Some(spec) = st.get(lane.ix).map(|e| e.spec.clone()) else {
                return;
            };
            match id {
                Some(id) => {
                    let seq = clock::next();
                    st.by_word_of(How::Write, |st| {
                        store::invalidate(st, ctx, lane.ix, id, seq)
                    });
                }
                // Any index set of the entity may lack it.
                None => change::sets(st, ctx, lane.ix),
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
                    Link::Gained,
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
