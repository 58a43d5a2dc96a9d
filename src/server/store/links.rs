//! Links have two ends: what a changed link cell gained and lost is in doubt at its own end too.

use super::{copy, invalidate, Copy};
use crate::server::cluster;
use crate::server::engine::desk;
use crate::server::ffi::Ctx;
use crate::server::state::{Entity, EntityIx, LinkCells, State};
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

/// Link cells changed: what was gained and lost is in doubt at its own end too.
pub(crate) fn relink(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    id: &str,
    before: &LinkCells,
    after: &LinkCells,
) {
    let mut fields: Vec<u16> = before.iter().chain(after).map(|(f, _)| *f).collect();
    fields.sort_unstable();
    fields.dedup();
    for f in fields {
        let (was, is) = (cell(before, f), cell(after, f));
        if was == is {
            continue;
        }
        for other in beyond(was, is) {
            doubt_other_end(st, ctx, ix, f, id, other, false);
        }
        for other in beyond(is, was) {
            doubt_other_end(st, ctx, ix, f, id, other, true);
        }
    }
}

/// A record is told of that was not known: every link that it has may be new, and is in doubt at its other end.
pub(crate) fn doubt_gained(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, links: &LinkCells) {
    let Some(base) = st.get(ix).map(Entity::base) else {
        return;
    };
    for (f, other) in links
        .iter()
        .flat_map(|(f, ids)| ids.iter().map(move |i| (*f, i)))
    {
        let all = st.of_base(&base);
        let leads = st.get(ix).is_some_and(|e| e.link_targets.contains_key(&f))
            || st.link_found(ix, f).is_some();
        let held = |t: &EntityIx| st.get(*t).is_some_and(|e| e.records.contains(other));
        if leads || all.iter().any(held) {
            doubt_other_end(st, ctx, ix, f, id, other, true);
            continue;
        }
        // Nobody holds it: an index set of another entity may have to.
        for t in all.into_iter().filter(|t| *t != ix) {
            let seq = desk().next_seq();
            invalidate(st, ctx, t, other, seq);
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
    gained: bool,
) {
    let Some(base) = st.get(ix).map(Entity::base) else {
        return;
    };
    let learnt = st.get(ix).and_then(|e| e.link_targets.get(&field).copied());
    let known = learnt.or_else(|| st.link_found(ix, field).map(|(t, _)| t));
    let holder = known.or_else(|| {
        st.of_base(&base)
            .into_iter()
            .find(|t| st.get(*t).is_some_and(|e| e.records.contains(other)))
    });
    if let (Some(t), Some(e)) = (holder, st.get_mut(ix)) {
        e.link_targets.insert(field, t);
    }
    let targets = match holder {
        Some(t) => vec![t],
        // Nobody holds it: whichever entity it is of, its index sets may hold it.
        None => st
            .of_base(&base)
            .into_iter()
            .filter(|t| {
                st.get(*t)
                    .is_some_and(|e| e.has_sets() || cluster::is_split(e))
            })
            .collect(),
    };
    for t in targets {
        if t == ix && other == id {
            // A link to itself: its cells are the ones just seen.
            continue;
        }
        if gained && holds_link_to(st, ctx, t, other, id) {
            // Its copy shows this end already: it was read after the change.
            continue;
        }
        let seq = desk().next_seq();
        invalidate(st, ctx, t, other, seq);
    }
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
pub(super) fn learn_targets(st: &mut State, ix: EntityIx, entry: &Entry) {
    let Some(e) = st.get(ix) else { return };
    let unknown: Vec<(u16, CompactString)> = e
        .spec
        .link_fields()
        .filter(|f| !e.link_targets.contains_key(f))
        .filter_map(|f| Some((f, ids_in(entry, f).into_iter().next()?)))
        .collect();
    if unknown.is_empty() {
        return;
    }
    let base = e.base();
    for (f, id) in unknown {
        let t = st
            .of_base(&base)
            .into_iter()
            .find(|t| st.get(*t).is_some_and(|e| e.records.contains(&id)));
        if let (Some(t), Some(e)) = (t, st.get_mut(ix)) {
            e.link_targets.insert(f, t);
        }
    }
}
