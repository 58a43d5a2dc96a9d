//! What is looked at once more some time after a write: what Airtable computes with a lag, and what was under way during it.

use crate::server::changes::referrers::doubt_referrers;
use crate::server::changes::written::paused;
use crate::server::desk::{self, desk};
use crate::server::state::cell;
use crate::server::state::entities::EntityIx;
use crate::server::state::lane::Lane;
use crate::server::store::change;
use crate::server::store::{self, Copy};
use crate::server::valkey::ffi;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use podium_core::pace::Class;
use std::time::{Duration, Instant};

/// Computed cells may lag behind the cells they are computed from: they are read again so long after a write.
const LAG: Duration = Duration::from_secs(2);
/// Re-reads that wait at most; what is beyond lives as long as its TTL.
const MOST_REREADS: usize = 10_000;

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
pub(crate) fn look_again(
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

static DROPS: Mutex<Vec<(Instant, EntityIx)>> = Mutex::new(Vec::new());

/// What is read of an entity until then may not be computed anew yet: it is dropped once more. At most one per entity waits.
pub(crate) fn drop_later(ix: EntityIx) {
    let at = Instant::now() + LAG;
    let mut drops = DROPS.lock();
    match drops.iter_mut().find(|(_, i)| *i == ix) {
        Some(slot) => slot.0 = at,
        None => drops.push((at, ix)),
    }
}

fn take_drops() {
    if DROPS.lock().is_empty() || paused() {
        return;
    }
    let now = Instant::now();
    let mut due: Vec<EntityIx> = Vec::new();
    DROPS.lock().retain(|(at, ix)| {
        if *at <= now {
            due.push(*ix);
        }
        *at > now
    });
    if due.is_empty() {
        return;
    }
    cell::with(|st, ctx| {
        if ffi::removable(ctx) {
            for ix in due {
                change::entity(st, ctx, ix);
            }
        }
    });
}

static DUE: Mutex<Vec<(Instant, EntityIx, CompactString)>> = Mutex::new(Vec::new());

pub(crate) fn reread_later(ix: EntityIx, ids: impl Iterator<Item = CompactString>) {
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
    take_drops();
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
    cell::with(|st, ctx| {
        if ffi::is_replica(ctx) {
            return;
        }
        crate::server::desk::deletes::watch();
        for (ix, id) in ready {
            let Some(e) = st.get(ix) else { continue };
            if matches!(store::copy(ctx, e, &id, false), Copy::Record(_)) {
                desk().want_record(e, &id, Class::Refresh, None, false);
            }
        }
    });
    desk::close_now();
}
