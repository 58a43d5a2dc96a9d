//! What reads see of the feeds: a few words in every entity, brought up to date by the thread.

use crate::server::feed::interval;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::standing::Standing;
use hashbrown::HashMap;
use podium_core::feed::{Schema, View};
use std::sync::Arc;

/// When the base was last read, unix ms.
pub(super) fn last_read(st: &State, base: &str) -> u64 {
    st.entities()
        .filter(|e| e.base() == base)
        .map(|e| st.last_read(e))
        .max()
        .unwrap_or(0)
}

/// Is an entity made of the table that somebody calls so, as far as its base's feed knows the schema?
pub(crate) fn is_table(st: &State, e: &Entity, name: &str) -> bool {
    let feed = st.feeds.get(&*e.base());
    feed.is_some_and(|f| {
        let own = f.schema.table_id(e.spec.table());
        own.is_some() && own == f.schema.table_called(name)
    })
}

/// The tables that the specs of a base's entities name.
fn named(st: &State, base: &str) -> Vec<String> {
    st.entities()
        .filter(|e| e.base() == base)
        .map(|e| e.spec.table().to_string())
        .collect()
}

/// Specs may name tables that the schema did not hold when it was read.
pub(super) fn look_for_new_tables(st: &mut State, base: &Arc<str>) {
    let named = named(st, base);
    if let Some(f) = st.feeds.get_mut(base) {
        if named
            .iter()
            .any(|t| f.schema.table_id(t).is_none() && !f.missing.contains(t))
        {
            f.feed.read_schema();
        }
    }
}

/// Remembers which tables the schema lacks, so that it is not read for them again.
pub(super) fn note_missing(st: &mut State, base: &Arc<str>) {
    let named = named(st, base);
    if let Some(f) = st.feeds.get_mut(base) {
        let schema = f.schema.clone();
        f.missing = named
            .into_iter()
            .filter(|t| schema.table_id(t).is_none())
            .collect();
    }
}

/// Entities whose specs name another table by the schema now in force than by the one before, or one that this lacked.
/// `before`: none if pages were applied by no other.
pub(super) fn of_another_table(
    st: &State,
    base: &Arc<str>,
    before: Option<&Schema>,
) -> Vec<EntityIx> {
    let (Some(f), Some(before)) = (st.feeds.get(base), before) else {
        return Vec::new();
    };
    st.entities()
        .filter(|e| e.base() == **base)
        .filter(|e| {
            let named = e.spec.table();
            f.schema
                .table_id(named)
                .is_some_and(|now| before.table_id(named) != Some(now))
        })
        .map(|e| e.ix)
        .collect()
}

/// Tells every entity what the feed of its base is worth now.
pub(super) fn push(st: &mut State) {
    let (replica, interval) = (st.replica, interval());
    let views: HashMap<Arc<str>, (View, Arc<Schema>)> = st
        .feeds
        .iter()
        .map(|(base, f)| (base.clone(), (f.feed.view(interval), f.schema.clone())))
        .collect();
    let mut changed = false;
    for e in st.entities_mut() {
        let stays = matches!(e.standing, Standing::Home | Standing::Leaving);
        let view = match views.get(&*e.base()).filter(|_| stays) {
            // A replica cannot ask: it tells what it was told.
            Some((v, _)) if replica => View {
                settled_until: u64::MAX,
                ..*v
            },
            // Of a table that is not in the schema the feed says nothing.
            Some((v, schema)) if schema.table_id(e.spec.table()).is_some() => *v,
            Some((v, _)) if v.settled_until != u64::MAX && v.from > 0 => View {
                from: u64::MAX,
                vouched_until: 0,
                ..*v
            },
            _ => View::OFF,
        };
        changed |= e.feed != view;
        e.feed = view;
    }
    if changed {
        st.cool();
    }
}
