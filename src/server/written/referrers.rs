//! Cached records that refer to written ones, and that Airtable changed with them.

use super::hold;
use super::later::reread_later;
use crate::server::engine::{desk, Lane, Thing};
use crate::server::ffi;
use crate::server::gil;
use crate::server::state::EntityIx;
use crate::server::store::{self, Copy};
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use podium_core::entry::Entry;
use podium_core::key;
use podium_core::spec::Spec;

/// Cached records looked at per hold of the server's lock.
const SLICE: usize = 250;

/// Cached records that refer to written ones and that Airtable changed with them: their link cells where it is not known
/// what was unlinked (`strangers`, with what they link to now) or the record is gone, and what they compute from it.
pub(super) fn doubt_referrers(
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
pub(crate) fn outdate_flights(ix: EntityIx) {
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

/// Does an entity hold cells that Airtable computes from `other`, as far as its spec tells?
fn computes_from(spec: &Spec, other: &str) -> bool {
    spec.open()
        || spec
            .fields()
            .iter()
            .any(|f| f.depends.as_deref().map_or(f.read_only, |d| d == other))
}
