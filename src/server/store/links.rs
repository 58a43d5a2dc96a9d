//! Links have two ends: what a changed link cell gained and lost is in doubt at its own end too.

use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, LinkCells, State};
use crate::server::state::history::How;
use crate::server::state::landing::Link;
use crate::server::state::schemas::Through;
use crate::server::store::targets;
use crate::server::store::{copy, invalidate, tomb, Copy};
use crate::server::valkey::ffi::Ctx;
use compact_str::CompactString;
use hashbrown::HashSet;
use podium_core::entry::Entry;
use podium_core::key;

/// The record ids among a field's texts: without a schema any field might be a link.
pub(crate) fn ids_in(entry: &Entry, field: u16) -> Vec<CompactString> {
    entry
        .texts(field)
        .filter(|t| podium_core::spec::record_id_ok(t))
        .filter_map(|t| std::str::from_utf8(t).ok())
        .map(CompactString::new)
        .collect()
}

/// The ids in a record's link cells, by field.
pub(crate) fn link_cells(st: &State, ix: EntityIx, entry: &Entry) -> LinkCells {
    let Some(e) = st.get(ix) else {
        return Vec::new();
    };
    e.spec
        .link_fields()
        .map(|f| (f, ids_in(entry, f)))
        .collect()
}

/// The links that a record had as far as the cache knows.
pub(crate) fn links_before(
    st: &State,
    ctx: Ctx,
    ix: EntityIx,
    id: &CompactString,
) -> Option<LinkCells> {
    let e = st.get(ix)?;
    if let Copy::Record(b) = copy(ctx, e, id, false) {
        let name = key::record(&e.name, id);
        return Entry::read(b, &name).map(|entry| link_cells(st, ix, &entry));
    }
    e.old_links.get(id).cloned()
}

fn cell(cells: &LinkCells, field: u16) -> &[CompactString] {
    let cell = cells.iter().find(|(f, _)| *f == field);
    cell.map_or(&[], |(_, ids)| ids)
}

/// What is in one link cell and not in another.
fn beyond<'a>(cell: &'a [CompactString], other: &[CompactString]) -> Vec<&'a CompactString> {
    let other: HashSet<&CompactString> = other.iter().collect();
    cell.iter().filter(|id| !other.contains(id)).collect()
}

/// How many links there are.
pub(crate) fn links_in(cells: &LinkCells) -> usize {
    cells.iter().map(|(_, ids)| ids.len()).sum()
}

/// Each link lost or gained, by field.
pub(crate) fn changed_links(
    before: &LinkCells,
    after: &LinkCells,
) -> Vec<(u16, CompactString, Link)> {
    let mut fields: Vec<u16> = before.iter().chain(after).map(|(f, _)| *f).collect();
    fields.sort_unstable();
    fields.dedup();
    let mut out = Vec::new();
    for f in fields {
        let (was, is) = (cell(before, f), cell(after, f));
        if was == is {
            continue;
        }
        let lost = beyond(was, is)
            .into_iter()
            .map(|id| (f, id.clone(), Link::Lost));
        out.extend(lost);
        let gained = beyond(is, was)
            .into_iter()
            .map(|id| (f, id.clone(), Link::Gained));
        out.extend(gained);
    }
    out
}

/// Link cells changed: what was gained and lost is in doubt at its own end too.
pub(crate) fn relink(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    id: &str,
    before: &LinkCells,
    after: &LinkCells,
) {
    for (f, other, link) in changed_links(before, after) {
        doubt_other_end(st, ctx, ix, f, id, &other, link);
    }
}

/// A record is told of that was not known: every link that it has may be new, and is in doubt at its other end.
pub(crate) fn doubt_gained(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, links: &LinkCells) {
    for (f, ids) in links {
        for other in ids {
            doubt_other_end(st, ctx, ix, *f, id, other, Link::Gained);
        }
    }
}

/// The record at the other end of a link that `id` gained or lost is in doubt.
pub(crate) fn doubt_other_end(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    field: u16,
    id: &str,
    other: &str,
    link: Link,
) {
    let Some(base) = st.get(ix).map(Entity::base) else {
        return;
    };
    if st.get(ix).is_some_and(|e| !targets::says(e, field)) {
        if let Some(holder) = holder_of(st, &base, other) {
            targets::learn(st, ctx, ix, field, holder);
        }
    }
    let (sure, unsure) = match targets::targets(st, ix, field) {
        Some(t) => (t.sure, t.unsure),
        // Whichever entity it is of, that one's index sets may hold it.
        None => (Vec::new(), st.of_base(&base)),
    };
    let all = sure.iter().map(|t| (*t, true));
    for (t, sure) in all.chain(unsure.iter().map(|t| (*t, false))) {
        if t == ix && other == id {
            // A link to itself: its cells are the ones just seen.
            continue;
        }
        if link == Link::Gained && holds_link_to(st, ctx, t, other, id) {
            // Its copy shows this end already: it was read after the change.
            continue;
        }
        if link == Link::Lost && st.get(t).is_some_and(|e| tomb(ctx, e, other).is_some()) {
            continue;
        }
        let landing = st.get(t).and_then(|e| e.landing.get(other));
        if landing.is_some_and(|l| l.shows(id, link)) {
            // It is about to show the same.
            continue;
        }
        let seq = clock::next();
        if sure {
            st.by_word_of(How::Link, |st| invalidate(st, ctx, t, other, seq));
        } else {
            let through = Through {
                ix,
                field,
                from: CompactString::new(id),
            };
            doubt_stray(st, ctx, t, other, seq, through);
        }
    }
}

/// Links remembered by which one record got into doubt; one that has more counts as any other in doubt.
const MOST_THROUGH: usize = 100;

/// A record is in doubt that may be of this entity, or of another: a link led to it, and where that leads is not known.
fn doubt_stray(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, seq: u64, through: Through) {
    let Some(e) = st.get_mut(ix) else { return };
    let mut links = e.strays.remove(id);
    if links.is_none() && !e.doubts.holds(id) && !e.records.contains(id) {
        links = Some(Vec::new());
    }
    st.by_word_of(How::Link, |st| invalidate(st, ctx, ix, id, seq));
    let Some(e) = st.get_mut(ix).filter(|e| e.doubts.holds(id)) else {
        return;
    };
    if let Some(mut links) = links.filter(|l| l.len() < MOST_THROUGH) {
        if !links.contains(&through) {
            links.push(through);
        }
        e.strays.insert(CompactString::new(id), links);
    }
}

/// The entity that holds a record.
fn holder_of(st: &State, base: &str, id: &str) -> Option<EntityIx> {
    st.of_base(base)
        .into_iter()
        .find(|t| st.get(*t).is_some_and(|e| e.records.contains(id)))
}

pub(crate) fn holds_link_to(st: &State, ctx: Ctx, ix: EntityIx, id: &str, to: &str) -> bool {
    let Some(e) = st.get(ix) else { return false };
    let Copy::Record(b) = copy(ctx, e, id, false) else {
        return false;
    };
    let name = key::record(&e.name, id);
    Entry::read(b, &name).is_some_and(|en| e.spec.link_fields().any(|f| en.has(f, to.as_bytes())))
}

/// Which entity a link field leads to shows itself as soon as one of its ids is cached somewhere.
pub(super) fn learn_targets(st: &mut State, ctx: Ctx, ix: EntityIx, entry: &Entry) {
    // What the base's schema says need not be learned record by record.
    let Some(e) = st
        .get(ix)
        .filter(|e| e.table.is_none() && e.found.is_none())
    else {
        return;
    };
    let unknown: Vec<(u16, CompactString)> = e
        .spec
        .link_fields()
        .filter(|f| !targets::is_known(e, *f))
        .filter_map(|f| Some((f, ids_in(entry, f).into_iter().next()?)))
        .collect();
    if unknown.is_empty() {
        return;
    }
    let base = e.base();
    for (f, id) in unknown {
        if let Some(t) = holder_of(st, &base, &id) {
            targets::learn(st, ctx, ix, f, t);
        }
    }
}
