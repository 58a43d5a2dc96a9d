//! Cached records that refer to written ones, and that Airtable changed with them.

use crate::server::changes::later::{drop_later, reread_later};
use crate::server::changes::written::hold;
use crate::server::desk::{desk, Thing};
use crate::server::state::cell;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::history::How;
use crate::server::state::lane::Lane;
use crate::server::store::change;
use crate::server::store::targets;
use crate::server::store::walk::{self, Cached};
use crate::server::valkey::ffi;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use podium_core::spec::Spec;

/// Cached records that refer to written ones and that Airtable changed with them: their link cells where it is not known
/// what was unlinked (`strangers`, with what they link to now) or the record is gone, and what they compute from it.
pub(crate) fn doubt_referrers(
    lane: &Lane,
    written: &HashSet<CompactString>,
    strangers: &HashMap<CompactString, HashSet<CompactString>>,
    gone: bool,
) {
    if written.is_empty() && strangers.is_empty() {
        return;
    }
    // Entities of the base, whether they compute something from this one, and whether it has yet to show through which links.
    let mut lists: Vec<(EntityIx, bool, bool)> = Vec::new();
    {
        let held = hold();
        let ctx = held.ctx();
        if !ffi::removable(ctx) {
            return;
        }
        cell::enter(|st| {
            for ix in st.of_base(&lane.base) {
                let Some(e) = st.get(ix) else { continue };
                let computes = computes_from(&e.spec, &lane.entity);
                let declared =
                    ix != lane.ix && !written.is_empty() && e.spec.depends_on(&lane.entity);
                let unshown = declared && !leads_to(st, e, lane.ix);
                let asked_by_it = e
                    .spec
                    .fields()
                    .iter()
                    .any(|f| f.indexed && f.depends.as_deref() == Some(&*lane.entity));
                if gone || !strangers.is_empty() {
                    outdate_flights(ix);
                }
                if gone || computes || !strangers.is_empty() {
                    lists.push((ix, computes, unshown));
                }
                if asked_by_it && !written.is_empty() && e.has_sets() {
                    // Which of its records are concerned is not known of those that are not cached.
                    change::sets(st, ctx, ix);
                }
            }
        });
    }
    for (ix, computes, mut unshown) in lists {
        let ids = walk::ids(ix);
        let mut doubted: Vec<CompactString> = Vec::new();
        let shows = |c: &Cached| {
            let links = c.e.spec.link_fields().flat_map(|f| c.entry.texts(f));
            let mut hit = false;
            for to in links.filter_map(|t| std::str::from_utf8(t).ok()) {
                let of_it = |l: &Entity| l.records.contains(to);
                unshown &= !written.contains(to) && !c.st.get(lane.ix).is_some_and(of_it);
                let lost = strangers.get(to).is_some_and(|now| !now.contains(c.id));
                hit |= (written.contains(to) && (gone || computes)) || lost;
            }
            hit
        };
        let over = walk::outdate(ix, &ids, (hold, How::Write), shows, |_, hit| {
            doubted.extend(hit)
        });
        if over.is_none() {
            return;
        }
        if unshown {
            // Which of its records are computed from the written ones shows in none of its cells: any may be.
            {
                let held = hold();
                let ctx = held.ctx();
                if !ffi::removable(ctx) {
                    return;
                }
                cell::enter(|st| change::entity(st, ctx, ix));
            }
            drop_later(ix);
        } else if computes {
            // Read again too early, they would keep what Airtable had not computed yet.
            reread_later(ix, doubted.into_iter());
        }
    }
}

/// Copies of an entity that are being fetched just now may show what was before: they are not stored.
pub(crate) fn outdate_flights(ix: EntityIx) {
    let d = desk();
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
    drop(d);
    change::all_under_way(ix, &ids);
}

/// Is one of an entity's link fields known to lead to the table of `to`?
fn leads_to(st: &State, e: &Entity, to: EntityIx) -> bool {
    e.spec
        .link_fields()
        .any(|f| targets::targets(st, e.ix, f).is_some_and(|t| t.sure.contains(&to)))
}

/// Does an entity hold cells that Airtable computes from `other`, as far as its spec tells?
fn computes_from(spec: &Spec, other: &str) -> bool {
    spec.open()
        || spec
            .fields()
            .iter()
            .any(|f| f.depends.is_none() && f.read_only)
        || spec.depends_on(other)
}
