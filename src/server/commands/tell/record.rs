//! What is told of one record: that it is gone, or what it holds.

use crate::server::fetching::columns;
use crate::server::state::clock;
use crate::server::state::entities::{LinkCells, State};
use crate::server::state::lane::Lane;
use crate::server::state::query::RecordKey;
use crate::server::store::form;
use crate::server::store::{self, By, Copy, Stored};
use crate::server::upstream::figures::Cause;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::log;
use crate::server::valkey::reply;
use podium_core::entry::{Encoded, Entry, WRITTEN};
use podium_core::outside;
use podium_core::record::{self, Source};
use serde_json::{Map, Value};

/// A record is known to be gone; true if it was cached.
pub(crate) fn tell_gone(st: &mut State, ctx: Ctx, k: &RecordKey, now: u64, told_at: u64) -> bool {
    let Some(e) = st.get(k.ix) else { return false };
    let lane = Lane::of(e, Cause::Get);
    let seq = clock::next();
    let (header, expire_at) = form::tombstone(&lane, seq, now, told_at);
    let (_, cached) = store::put_tomb(st, ctx, k.ix, &k.id, header, expire_at, By::Told);
    store::signal_fetch(ctx, &k.name);
    log::event(
        "cache_invalidated",
        &k.name,
        &[("detail", "tombstone".into())],
    );
    cached
}

/// When what is told was so, as a header says it.
pub(crate) fn told_at(at: Option<u64>, now: u64) -> u64 {
    at.unwrap_or(now).max(WRITTEN + 1)
}

/// A fetched copy within this many ms of what is told decides nothing: the record is put in doubt.
const TOO_CLOSE_MS: u64 = 60_000;

/// Is what is told older than the copy or the tombstone, or than what was known of the record until it was dropped? Too close
/// to call, or without a copy to go by, the record is put in doubt. Err: the key holds what is not ours.
pub(crate) fn too_late(
    st: &mut State,
    ctx: Ctx,
    k: &RecordKey,
    at: Option<u64>,
) -> Result<bool, String> {
    let Some(e) = st.get(k.ix) else {
        return Ok(false);
    };
    let known = match store::copy(ctx, e, &k.id, false) {
        Copy::Foreign => return Err(reply::wrong_type(&k.name)),
        Copy::Record(b) => Entry::read(b, &k.name).map(|c| c.header),
        Copy::Tomb(h) => Some(h),
        Copy::Absent => None,
    };
    let Some(at) = at else { return Ok(false) };
    // A time that no clock has reached is not later than what is told now.
    let known = known.filter(|h| clock::believes(outside::of_header(h)));
    let as_of = known.map_or_else(|| e.before.of(&k.id), |h| h.as_of());
    if at >= as_of {
        return Ok(false);
    }
    // When a fetched copy was true is known only roughly, and clocks differ.
    if known.is_none_or(|h| !h.is_told() && h.asked_ms - at < TOO_CLOSE_MS) {
        let seq = clock::next();
        store::invalidate(st, ctx, k.ix, &k.id, seq);
    }
    Ok(true)
}

/// Runs `f`, which applies what was so at `at`: what it puts in doubt is in doubt as of then.
pub(crate) fn as_of<R>(st: &mut State, at: Option<u64>, f: impl FnOnce(&mut State) -> R) -> R {
    st.telling_ms = at;
    let r = f(st);
    st.telling_ms = None;
    r
}

/// The whole record as somebody tells it; true if it was stored. Err: the key holds what is not ours.
pub(crate) fn tell(
    st: &mut State,
    ctx: Ctx,
    k: &RecordKey,
    cells: &Map<String, Value>,
    source: Source,
    at: Option<u64>,
) -> Result<bool, String> {
    if too_late(st, ctx, k, at)? {
        return Ok(false);
    }
    let Some(e) = st.get(k.ix) else {
        return Ok(false);
    };
    let lane = Lane::of(e, Cause::Get);
    let ready = Ready::of(&lane, k, (cells, source), clock::next(), at);
    Ok(ready.apply(st, ctx, k, false))
}

/// What somebody tells of a record, ready to be stored.
pub(super) struct Ready {
    /// Its place in the order of sends and changes.
    pub(super) seq: u64,
    /// `None`: which columns its cells are of cannot be told.
    pub(super) stored: Option<Encoded>,
    lacks_required: bool,
    links: LinkCells,
}

impl Ready {
    /// To be stored under `seq`. Needs no lock.
    pub(super) fn of(
        lane: &Lane,
        k: &RecordKey,
        (cells, source): (&Map<String, Value>, Source),
        seq: u64,
        at: Option<u64>,
    ) -> Ready {
        let mut ready = Ready {
            seq,
            stored: None,
            lacks_required: false,
            links: Vec::new(),
        };
        if let Some(cells) = columns::told(&lane.base, &lane.spec, cells) {
            let now = ffi::now_ms();
            let shaped = record::shape(&lane.spec, &k.id, &cells, source);
            let stored = form::encode(lane, &k.id, &shaped, ready.seq, now, told_at(at, now));
            if let Some(entry) = Entry::read(&stored.bytes, &k.name) {
                let fields = lane.spec.link_fields();
                ready.links = fields.map(|f| (f, store::ids_in(&entry, f))).collect();
            }
            ready.lacks_required = shaped.lacks_required;
            ready.stored = Some(stored);
        }
        ready
    }

    /// Under the lock; true if it was stored. `ahead`: where nothing was known of the record, the other ends of its links are
    /// in doubt already.
    pub(super) fn apply(&self, st: &mut State, ctx: Ctx, k: &RecordKey, ahead: bool) -> bool {
        let Some(stored) = &self.stored else {
            store::invalidate(st, ctx, k.ix, &k.id, self.seq);
            return false;
        };
        let before = store::links_before(st, ctx, k.ix, &k.id);
        let kept = if self.lacks_required {
            if let Some(e) = st.get_mut(k.ix) {
                e.figures.schema_violations += 1;
            }
            false
        } else {
            let (bytes, end) = (&stored.bytes, stored.expire_at);
            store::put(st, ctx, k.ix, &k.id, bytes, end, By::Told) == Stored::Yes
        };
        if !kept {
            // What cannot be stored is at least not answered from the old copy.
            store::invalidate(st, ctx, k.ix, &k.id, self.seq);
        }
        match before {
            None if ahead => {}
            None => store::doubt_gained(st, ctx, k.ix, &k.id, &self.links),
            // What is stored was compared with them.
            Some(before) if !kept => store::relink(st, ctx, k.ix, &k.id, &before, &self.links),
            Some(_) => {}
        }
        kept
    }
}
