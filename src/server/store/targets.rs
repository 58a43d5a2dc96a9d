//! Which entities a link leads to: by the base's schema, by what a discovery found, by what was ever seen.

use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::schemas::Through;
use crate::server::valkey::ffi::Ctx;

/// Entities of the table that a link leads to.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pub(crate) sure: Vec<EntityIx>,
    /// Of which table they are is not known yet: it may be that one.
    pub(crate) unsure: Vec<EntityIx>,
}

/// What is known of the table at the other end.
struct To<'a> {
    id: Option<&'a str>,
    name: &'a str,
}

/// Where a link field of `ix` leads; `None`: nobody knows. It may lead to a table of which there is no entity.
pub(crate) fn targets(st: &State, ix: EntityIx, field: u16) -> Option<Targets> {
    let e = st.get(ix)?;
    let to = to(e, &e.spec.get(field)?.airtable)?;
    let base = e.base();
    let mut out = Targets::default();
    for t in st.of_base(&base) {
        match st.get(t).map(|t| is_of(t, &to)) {
            Some(Some(true)) => out.sure.push(t),
            Some(None) => out.unsure.push(t),
            _ => {}
        }
    }
    Some(out)
}

/// Is it known where the links of a column lead?
pub(crate) fn is_known(e: &Entity, field: u16) -> bool {
    e.spec
        .get(field)
        .is_some_and(|f| to(e, &f.airtable).is_some())
}

/// Does the base's schema say so?
pub(crate) fn says(e: &Entity, field: u16) -> bool {
    e.spec
        .get(field)
        .is_some_and(|f| to_by_schema(e, &f.airtable).is_some())
}

fn to_by_schema<'a>(e: &'a Entity, column: &str) -> Option<To<'a>> {
    let listed = e.table.as_ref().and_then(|t| t.leads(column));
    let found = || e.found.as_ref().and_then(|f| f.link(column));
    listed
        .map(|to| To {
            id: Some(&to.table),
            name: &to.name,
        })
        .or_else(|| {
            found().map(|to| To {
                id: Some(&to.table),
                name: &to.table,
            })
        })
}

fn to<'a>(e: &'a Entity, column: &str) -> Option<To<'a>> {
    to_by_schema(e, column).or_else(|| {
        e.seen_links.get(column).map(|table| To {
            id: Some(&**table).filter(|t| is_id(t)),
            name: table,
        })
    })
}

fn is_id(table: &str) -> bool {
    table.starts_with("tbl")
}

/// Is an entity of that table? `None`: it may be.
fn is_of(t: &Entity, to: &To) -> Option<bool> {
    if t.spec.table() == to.name {
        return Some(true);
    }
    match (t.table_id(), to.id) {
        (Some(own), Some(id)) => Some(own == id),
        // Two names: of two tables, or of one that was renamed since.
        (None, None) => Some(false),
        _ => None,
    }
}

/// A record of the entity `t` was seen in a link of `ix`: that is where it leads, and is kept.
pub(crate) fn learn(st: &mut State, ctx: Ctx, ix: EntityIx, field: u16, t: EntityIx) {
    let table = match st.get(t) {
        Some(t) => t.table_id().unwrap_or(t.spec.table()).to_string(),
        None => return,
    };
    let replica = st.replica;
    let Some(e) = st.get_mut(ix) else { return };
    let Some(column) = e.spec.get(field).map(|f| f.airtable.clone()) else {
        return;
    };
    if to_by_schema(e, &column).is_some()
        || e.seen_links.get(&column).is_some_and(|t| **t == *table)
    {
        return;
    }
    // The last one counts: the column may lead elsewhere by now.
    e.seen_links.insert(column, table.as_str().into());
    if !replica {
        crate::server::store::kept::save_seen_links(ctx, e);
    }
}

/// Is it known of every one of these links that none leads to the table of `e`?
pub(crate) fn all_lead_elsewhere(st: &State, e: &Entity, links: &[Through]) -> bool {
    let elsewhere = |l: &Through| {
        targets(st, l.ix, l.field)
            .is_some_and(|t| !t.sure.contains(&e.ix) && !t.unsure.contains(&e.ix))
    };
    !links.is_empty() && links.iter().all(elsewhere)
}
