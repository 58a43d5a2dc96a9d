//! Links have two ends: what the link cells of a page gained and lost is in doubt at its own end too.

use crate::server::feed::apply::{entities_of, reread};
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::history::How;
use crate::server::store;
use crate::server::store::change;
use crate::server::store::cluster;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::lock::{self, Slice};
use crate::server::valkey::settings;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use podium_core::feed::{LinkCell, Page, Schema, TableChanges};
use std::ops::ControlFlow;

/// The record at the other end of a link.
struct End {
    id: CompactString,
    /// The record that it gained or lost.
    other: CompactString,
    gained: bool,
}

/// Puts the other ends of a table's changed links in doubt; `None`: nothing may be removed now.
pub(super) fn doubt(
    base: &str,
    schema: &Schema,
    page: &Page,
    table: &str,
    changes: &TableChanges,
) -> Option<()> {
    if changes.links.is_empty() {
        return Some(());
    }
    let mut ends: HashMap<&str, Vec<End>> = HashMap::new();
    let own = entities_of(base, schema, table);
    cell::in_slices(&changes.links, |st, _, cell| {
        if let Some((to, column)) = schema.link(table, &cell.field) {
            gather(st, &own, cell, column, ends.entry(to).or_default());
        }
        ControlFlow::Continue(())
    });
    for (to, ends) in ends {
        let targets: Vec<Target> = targets(base, schema, to, table);
        if targets.is_empty() {
            continue;
        }
        // Those the page itself tells of were dropped for that.
        let told: HashSet<&str> = page
            .tables
            .iter()
            .filter(|(t, _)| t == to)
            .flat_map(|(_, c)| c.records.iter().map(|(id, _)| id.as_str()))
            .collect();
        let mut done: HashSet<(EntityIx, &str)> = HashSet::new();
        for t in &targets {
            let mut left = ends.iter().peekable();
            while left.peek().is_some() {
                let held = lock::lock();
                let ctx = held.ctx();
                if !ffi::removable(ctx) {
                    return None;
                }
                cell::enter(|st| {
                    let slice = Slice::begin();
                    let mut wanted = Vec::new();
                    for end in left.by_ref() {
                        if done.contains(&(t.ix, end.id.as_str())) {
                            continue;
                        }
                        match one(st, ctx, t, end, told.contains(end.id.as_str())) {
                            Doubted::No => continue,
                            Doubted::Yes => {}
                            Doubted::Reread => wanted.push(end.id.clone()),
                        }
                        done.insert((t.ix, &end.id));
                        if slice.over() {
                            break;
                        }
                    }
                    reread(st, t.ix, &wanted);
                })?;
            }
        }
    }
    Some(())
}

/// What a link cell gained and lost, as its payload and the copy that was dropped for it say.
fn gather(st: &State, own: &[EntityIx], cell: &LinkCell, column: &str, ends: &mut Vec<End>) {
    let mut before: Option<HashSet<&CompactString>> =
        cell.before.as_ref().map(|b| b.iter().collect());
    for e in own.iter().filter_map(|ix| st.get(*ix)) {
        let Some(links) = e.old_links.get(&cell.record) else {
            continue;
        };
        for (f, ids) in links {
            if e.spec
                .get(*f)
                .is_some_and(|f| f.airtable == column || f.airtable == cell.field)
            {
                before.get_or_insert_default().extend(ids);
            }
        }
    }
    let now: HashSet<&CompactString> = cell.now.iter().collect();
    let before = before.unwrap_or_default();
    let had = |id: &CompactString| match &cell.before {
        // The copy may have been of later than this payload.
        Some(b) => b.contains(id),
        None => before.contains(id),
    };
    ends.extend(cell.now.iter().filter(|id| !had(id)).map(|id| End {
        id: id.clone(),
        other: cell.record.clone(),
        gained: true,
    }));
    ends.extend(before.difference(&now).map(|id| End {
        id: (*id).clone(),
        other: cell.record.clone(),
        gained: false,
    }));
}

/// An entity of the table that a link leads to.
struct Target {
    ix: EntityIx,
    /// Its records show the link back.
    shows: bool,
    /// It has an index by the link back.
    indexed: bool,
}

fn targets(base: &str, schema: &Schema, to: &str, from: &str) -> Vec<Target> {
    let all = entities_of(base, schema, to);
    cell::with(|st, _| {
        let of = |ix| {
            let leads_back = |column: &str| schema.link_target(to, column) == Some(from);
            let spec = &st.get(ix)?.spec;
            let back: Vec<_> = spec
                .link_fields()
                .filter_map(|f| spec.get(f))
                .filter(|f| leads_back(&f.airtable))
                .collect();
            Some(Target {
                ix,
                shows: !back.is_empty(),
                indexed: back.iter().any(|f| f.indexed),
            })
        };
        all.into_iter().filter_map(of).collect()
    })
    .unwrap_or_default()
}

enum Doubted {
    No,
    Yes,
    /// And it is to be read anew.
    Reread,
}

/// `told`: the page tells of the record itself.
fn one(st: &mut State, ctx: Ctx, t: &Target, end: &End, told: bool) -> Doubted {
    let Some(e) = st.get(t.ix) else {
        return Doubted::No;
    };
    let in_doubt = e.doubts.holds(&end.id);
    if (told || !end.gained) && store::tomb(ctx, e, &end.id).is_some() {
        // Known to be gone: a link that it lost says nothing of it, and what the page says of itself counts more.
        return Doubted::No;
    }
    if told {
        if t.indexed && !in_doubt {
            let seq = clock::next();
            st.by_word_of(How::Feed, |st| {
                change::doubt(st, ctx, t.ix, &end.id, seq, seq);
            });
        }
        return Doubted::Yes;
    }
    let known = e.records.contains(&end.id)
        || e.tombs.contains(&end.id)
        || in_doubt
        || cluster::may_be_unseen(e, &end.id);
    if !known && !e.questions.any() && !t.indexed {
        // Not cached, and in the same index sets as before: only what is under way is outdated.
        change::under_way(t.ix, &end.id, clock::next());
        return Doubted::Yes;
    }
    if t.shows && e.records.contains(&end.id) {
        let linked = store::holds_link_to(st, ctx, t.ix, &end.id, &end.other);
        if linked == end.gained {
            // Its copy shows that already: it was read after the change.
            return Doubted::No;
        }
    }
    let seq = clock::next();
    let had = st.by_word_of(How::Feed, |st| {
        store::invalidate(st, ctx, t.ix, &end.id, seq)
    });
    let in_doubt = st.get(t.ix).is_some_and(|e| e.doubts.holds(&end.id));
    if settings::enabled() && (had || in_doubt) {
        Doubted::Reread
    } else {
        Doubted::Yes
    }
}
