//! The gate: that something changed is said here, whatever changed it.
//!
//! A change has the same consequences whoever brings it, and they are drawn in one order: who tracks the key is told, the
//! index sets follow, the doubt about the record ends or begins, the order of sends and changes learns of it, and the other
//! ends of its links are looked at. Whoever changes cached data writes the key and comes here; nobody else writes into the
//! order of changes (`tests/layers.rs` looks for it).

use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, LinkCells, State};
use crate::server::state::history::{doubt_of, About, History, How};
use crate::server::state::{rounds, soon};
use crate::server::store::links::learn_targets;
use crate::server::store::own_keys::{self, Wrote};
use crate::server::store::sets::set_name;
use crate::server::store::{
    answers, cluster, holders, leave_set, link_cells, links_in, reindex, relink, signal_by,
    signal_set, told, By,
};
use crate::server::valkey::ffi::{self, signal_modified, Ctx, RString};
use crate::server::valkey::{lock, tracking};
use compact_str::CompactString;
use podium_core::computed::cut::Cut;
use podium_core::doubt::Raised;
use podium_core::entry::{Entry, Header};
use podium_core::key;

/// What became known of a record: its cells, or that it is gone.
pub(crate) struct Change<'a> {
    pub(crate) ix: EntityIx,
    pub(crate) id: &'a str,
    /// The copy that was there.
    pub(crate) old: Option<&'a Entry<'a>>,
    /// The copy that is there now; `None`: the record is known to be gone.
    pub(crate) new: Option<&'a Entry<'a>>,
    /// It was known to be gone before.
    pub(crate) was_gone: bool,
    /// Its number in the order of sends and changes.
    pub(crate) seq: u64,
    pub(crate) by: By,
}

impl Change<'_> {
    fn same(&self) -> bool {
        matches!((self.old, self.new), (Some(old), Some(new)) if old.same_content(new))
    }
    /// Is there something to tell those who track the key?
    fn shows(&self) -> bool {
        match self.new {
            Some(_) => !self.same() && (self.old.is_some() || self.was_gone || self.by == By::Told),
            None => self.old.is_some(),
        }
    }
}

/// A record's cells, or its end, became known, and its key says so already.
pub(crate) fn record(st: &mut State, ctx: Ctx, c: &Change) {
    let (ix, id, seq) = (c.ix, c.id, c.seq);
    let Some(e) = st.get(ix) else { return };
    let name = key::record(&e.name, id);
    let generation = e.generation;
    let signals = match c.by {
        By::Fetch => tracking::record_landed(&name, c.shows()),
        By::Told => c.shows(),
    };
    if signals {
        signal_modified(ctx, &RString::new(&name));
    }
    let doubt = st
        .history
        .settle(About::Doubt, &doubt_of(generation, &name), seq);
    let how = match (st.teller, c.by) {
        (How::Told, By::Fetch) if doubt == Some(How::Feed) => How::Feed,
        (How::Told, By::Fetch) => How::Fetch,
        (teller, _) => teller,
    };
    if how == How::Feed {
        st.history.note(About::Since, &name, how, seq);
    }
    if c.shows() {
        st.history.note(About::Change, &name, how, seq);
    }
    match c.new {
        Some(fresh) => told::note(st, ix, id, fresh),
        None => {
            if let Some(e) = st.get_mut(ix) {
                e.records.untell(id);
            }
        }
    }
    reindex(st, ctx, ix, id, c.old, c.new, seq, c.by);
    copy_changed(st, ix, id, c.new);
    if c.new.is_none() && c.old.is_none() {
        // No copy names the sets that hold it.
        let held = st.get(ix).map(|e| holders(ctx, e, id));
        for suffix in held.unwrap_or_default() {
            if let Some(e) = st.get(ix) {
                leave_set(ctx, e, &suffix, id, seq);
                signal_by(ctx, e, &suffix, c.by);
            }
            answers::set_changed(st, ix, &suffix);
        }
    }
    let doubted = st.get(ix).is_some_and(|e| e.doubts.holds(id));
    end_doubt(st, ctx, ix, id, seq);
    clock::order().told(ix, id, seq);
    answers::record(st, c, doubted);
    if let Some(fresh) = c.new {
        soon::shelf().note(ix, generation, id, fresh.header.fresh_until);
    }
    relink_ends(st, ctx, c);
}

/// What is stored of a record, or its end, may be another by now, whoever wrote it: what was made of it is to be looked at anew.
pub(crate) fn copy_changed(st: &mut State, ix: EntityIx, id: &str, new: Option<&Entry>) {
    if let Some(e) = st.get_mut(ix) {
        e.sorted.changed(id, new);
    }
}

/// The other ends of what the record gained and lost, unless they were put in doubt before it landed.
fn relink_ends(st: &mut State, ctx: Ctx, c: &Change) {
    let remembered = st.get_mut(c.ix).and_then(|e| e.old_links.remove(c.id));
    // A refetch that brings the same content changes no link.
    if c.same() || done_ahead(st, c, remembered.as_ref()) {
        return;
    }
    let before = c.old.map(|o| link_cells(st, c.ix, o));
    match (before.or(remembered), c.new) {
        (Some(before), new) => {
            let after = new.map(|n| link_cells(st, c.ix, n)).unwrap_or_default();
            relink(st, ctx, c.ix, c.id, &before, &after);
        }
        (None, Some(fresh)) => learn_targets(st, ctx, c.ix, fresh),
        (None, None) => {}
    }
}

/// Were the other ends of what a record gained and lost put in doubt before it landed?
fn done_ahead(st: &mut State, c: &Change, remembered: Option<&LinkCells>) -> bool {
    let landing = st.get_mut(c.ix).and_then(|e| e.landing.remove(c.id));
    landing.is_some_and(|l| {
        l.seq == c.seq
            && match (c.old, remembered) {
                (Some(old), _) => l.old == old.header.seq,
                (None, Some(cells)) => l.old == 0 && l.remembered == links_in(cells),
                (None, None) => false,
            }
    })
}

/// A record is known to be gone, but no tombstone can say so.
pub(crate) fn end_not_kept(st: &mut State, ix: EntityIx, id: &str, header: &Header) {
    clock::order().lost(ix, id);
    if let Some(e) = st.get_mut(ix) {
        e.before.told(id, header.as_of().min(ffi::now_ms()));
    }
}

/// Somebody said that a record changed, and its cells are not seen yet: its copy, if there was one, is dropped already.
/// `sets`: those that the copy named; `None`: there was none. `known_ms`: as of when what was known of it is over, unix ms.
pub(crate) fn record_outdated(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    id: &str,
    sets: Option<&[Vec<u8>]>,
    known_ms: u64,
    seq: u64,
) {
    if let Some(e) = st.get_mut(ix) {
        e.before.told(id, known_ms);
        e.records.untell(id);
    }
    copy_changed(st, ix, id, None);
    if let Some(e) = st.get(ix) {
        match sets {
            Some(sets) => sets.iter().for_each(|s| signal_set(ctx, e, s)),
            None => holders(ctx, e, id)
                .iter()
                .for_each(|s| signal_set(ctx, e, s)),
        }
    }
    {
        let mut order = clock::order();
        order.note(ix, id, seq);
        order.lost(ix, id);
    }
    note_doubt(st, ix, id, st.teller, seq);
    answers::doubt(st, ix, id, seq);
}

/// Takes note of why a record is in doubt.
fn note_doubt(st: &mut State, ix: EntityIx, id: &str, how: How, seq: u64) {
    if let Some(e) = st.get(ix) {
        let name = key::record(&e.name, id);
        let doubt = doubt_of(e.generation, &name);
        st.history.note(About::Doubt, &doubt, how, seq);
        st.history.note(About::Change, &name, how, seq);
    }
}

/// Puts a record in doubt for every index of its entity, durably, for a reason numbered `seq` and for all who asked from
/// `first` on.
pub(crate) fn doubt(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, first: u64, seq: u64) {
    let Some(e) = st.get_mut(ix) else { return };
    e.strays.remove(id);
    if !e.has_sets() && !e.answers_use_it {
        return;
    }
    clock::order().doubted(ix, id, first, seq);
    note_doubt(st, ix, id, st.teller, seq);
    answers::doubt(st, ix, id, seq);
    answers::entity_doubt(st, ix, seq);
    let Some(e) = st.get_mut(ix) else { return };
    match e.doubts.raise_since(id, first, seq) {
        // Where the doubt cannot be kept the sets that it is about are not either.
        Raised::Noted if own_keys::save_doubt(ctx, e, id, seq) == Wrote::NotHere => {
            sets(st, ctx, ix)
        }
        Raised::Noted => {}
        Raised::TooMany => sets(st, ctx, ix),
    }
}

/// What was seen under `seq` ends the doubt about a record.
fn end_doubt(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, seq: u64) {
    if let Some(e) = st.get_mut(ix) {
        if e.doubts.end(id, seq) {
            e.strays.remove(id);
            own_keys::forget_doubt(ctx, e, id);
            if e.doubts.is_empty() {
                answers::entity_doubt(st, ix, 0);
            }
        }
    }
}

/// Something newer than what is under way is known of a record that is neither cached nor in another set than before.
pub(crate) fn under_way(ix: EntityIx, id: &str, seq: u64) {
    clock::order().note(ix, id, seq);
}

/// The same of an index set: what was asked before `seq` is not stored for it any more.
pub(crate) fn set_under_way(ix: EntityIx, suffix: &[u8], seq: u64) {
    clock::order().note(ix, &String::from_utf8_lossy(suffix), seq);
}

/// What the cache held of a record is not there any more, and nobody said that the record changed.
pub(crate) fn record_lost(ix: EntityIx, id: &str) {
    clock::order().lost(ix, id);
}

/// A user took a record's key, or its tombstone's, away: a change of which nothing else is known.
pub(crate) fn record_removed(st: &mut State, ix: EntityIx, id: &str) {
    let seq = {
        let mut order = clock::order();
        let seq = order.next(clock::now_us());
        order.note(ix, id, seq);
        order.lost(ix, id);
        seq
    };
    if let Some(e) = st.get_mut(ix) {
        e.before.told(id, ffi::now_ms());
    }
    note_doubt(st, ix, id, How::Removed, seq);
    answers::removed(st, ix, id, seq);
}

/// The server took it away: no change, only no copy.
pub(crate) fn record_evicted(e: &mut Entity, id: &str) {
    e.before.gone(id, ffi::now_ms());
    clock::order().lost(e.ix, id);
}

/// An index set changed, and what is in it now is not known.
pub(crate) fn set_outdated(st: &mut State, ix: EntityIx, suffix: &[u8], seq: u64) {
    set_under_way(ix, suffix, seq);
    if let Some(e) = st.get(ix) {
        let name = set_name(e, suffix);
        st.history.note(About::Change, &name, st.teller, seq);
    }
    answers::set_changed(st, ix, suffix);
}

/// A whole index set was stored, as it was known under a number.
pub(crate) fn set_stored(st: &mut State, ctx: Ctx, ix: EntityIx, suffix: &[u8], seq: u64) {
    answers::set(st, ctx, ix, suffix, seq);
}

/// A resource has another spec, or none any more.
pub(crate) fn resource(st: &mut State, name: &str) {
    if let Some(r) = st.resources.remove(name) {
        answers::end(st, &r);
    }
}

/// A computed key is not there any more. `removed`: a user took it away.
pub(crate) fn answer_left(st: &mut State, name: &[u8], removed: bool) {
    answers::left(st, name, removed);
}

/// An index set's key is not there any more. `removed`: a user took it away.
pub(crate) fn set_removed(e: &mut Entity, suffix: &[u8], name: &[u8], removed: bool) {
    e.lose_set(suffix);
    e.given_up.remove(suffix);
    tracking::signal_names(lock::detached(), name);
    if removed {
        set_under_way(e.ix, suffix, clock::next());
    }
}

/// Every index set of an entity is dropped, in constant time.
pub(crate) fn sets(st: &mut State, ctx: Ctx, ix: EntityIx) {
    // A question under way was asked before the doubts that are forgotten here: what it brings makes no set.
    sets_outdated(st, ix);
    written_down(st, ctx, ix);
}

/// Everything of an entity is dropped, in constant time on this thread; how many records were cached.
pub(crate) fn entity(st: &mut State, ctx: Ctx, ix: EntityIx) -> usize {
    let n = st.get(ix).map_or(0, |e| e.records.len());
    entity_outdated(st, ix);
    entity_written(st, ctx, ix);
    n
}

/// The rest of it, where the entity has new generations already: with another spec.
pub(crate) fn entity_written(st: &mut State, ctx: Ctx, ix: EntityIx) {
    written_down(st, ctx, ix);
    if let Some(name) = st.get(ix).map(|e| key::all(&e.name)) {
        signal_modified(ctx, &RString::new(&name));
    }
}

/// An entity's new generations are kept, and told to the node that decides.
fn written_down(st: &mut State, ctx: Ctx, ix: EntityIx) {
    if let Some(e) = st.get(ix) {
        own_keys::clear_doubts(ctx, e);
        own_keys::save_generations(ctx, e);
    }
    cluster::outdated(st, ctx, ix);
    rounds::wake();
}

/// Every index set of an entity is outdated, in memory: whoever calls this writes it down.
pub(crate) fn sets_outdated(st: &mut State, ix: EntityIx) {
    entity_under_way(st, ix);
    st.new_sets_generation(ix);
}

/// The same where another node's word is taken over: what answers used of the entity is compared when they are learned.
pub(crate) fn sets_taken_over(st: &mut State, ix: EntityIx) {
    asked_in_vain(ix);
    st.new_sets_generation(ix);
}

/// Another node decides about an entity from here on: nothing of it is believed here, but nothing changed.
pub(crate) fn entity_given(st: &mut State, ix: EntityIx) {
    asked_in_vain(ix);
    st.new_generation(ix);
}

/// Of an entity something changed that nobody can say more of: computed answers that used anything of it are dropped.
pub(crate) fn answers_outdated(st: &mut State, ix: EntityIx) {
    if !st.answers.idle() {
        answers::cut(st, &[Cut::Entity(ix)]);
    }
}

/// Everything of an entity is outdated, in memory: whoever calls this writes it down.
pub(crate) fn entity_outdated(st: &mut State, ix: EntityIx) {
    entity_under_way(st, ix);
    st.new_generation(ix);
}

/// An entity is not known here any more: its spec was deleted, or its slot is another node's.
pub(crate) fn entity_removed(st: &mut State, name: &str) -> Option<Entity> {
    let e = st.remove(name)?;
    entity_under_way(st, e.ix);
    Some(e)
}

/// What was asked of an entity so far is not stored.
fn asked_in_vain(ix: EntityIx) {
    let mut order = clock::order();
    let seq = order.next(clock::now_us());
    order.note_entity(ix, seq);
}

fn entity_under_way(st: &mut State, ix: EntityIx) {
    asked_in_vain(ix);
    if !st.answers.idle() {
        answers::cut(st, &[Cut::Entity(ix)]);
        answers::entity_doubt(st, ix, 0);
    }
}

/// Nothing that is under way is stored: another role, a data set that is loaded, databases that were swapped.
pub(crate) fn everything_under_way() {
    let mut order = clock::order();
    let seq = order.next(clock::now_us());
    order.note_all(seq);
}

/// Every key is gone (FLUSHALL, FLUSHDB); the specs stay.
pub(crate) fn everything(st: &mut State) {
    everything_under_way();
    if !st.answers.idle() {
        answers::cut(st, &[Cut::All]);
    }
    st.answers.none_stored();
    tracking::all_told();
    st.history = History::default();
    forget_keys(st);
    for e in st.entities_mut() {
        e.doubts.clear();
        e.strays.clear();
    }
}

/// The registers of keys are empty from here on; what was dropped before is remembered by nobody.
pub(crate) fn forget_keys(st: &mut State) {
    st.forget_graves();
    let now = ffi::now_ms();
    let mut given_up = Vec::new();
    for e in st.entities_mut() {
        e.before.all(now);
        given_up.push(std::mem::take(&mut e.records));
        given_up.push(std::mem::take(&mut e.tombs));
        e.lose_sets();
        e.old_links.clear();
    }
    given_up
        .into_iter()
        .for_each(|r| st.discard(r.into_remains()));
}

/// The ids of a page or a flight whose copies may show what was before: none of them is stored.
pub(crate) fn all_under_way(ix: EntityIx, ids: &[CompactString]) {
    let mut order = clock::order();
    let seq = order.next(clock::now_us());
    for id in ids {
        order.note(ix, id, seq);
    }
}
