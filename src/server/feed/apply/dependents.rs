//! Records of other tables that show something of the changed ones: cells computed of them, and links that Airtable took
//! away with a record, or with a link cell of which it is not told what it held before.

use crate::server::changes::written;
use crate::server::feed::apply::reread;
use crate::server::state::cell;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::history::How;
use crate::server::store::change;
use crate::server::store::walk::{self, Cached};
use crate::server::valkey::ffi;
use crate::server::valkey::lock;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use podium_core::feed::{Fate, LinkCell, Schema, TableChanges};

/// The link cells of one record that changed: by field, as they are now.
type Cells<'a> = HashMap<&'a str, &'a LinkCell>;

/// Links that may be gone from their other ends.
#[derive(Default)]
struct Cut<'a> {
    /// Records that were destroyed.
    gone: HashSet<&'a str>,
    /// By the table that they lead to and the record: link cells whose former content nobody knows.
    blind: HashMap<&'a str, HashMap<&'a str, Cells<'a>>>,
}

impl<'a> Cut<'a> {
    fn of(schema: &'a Schema, table: &str, changes: &'a TableChanges) -> Cut<'a> {
        let mut cut = Cut::default();
        let gone = changes
            .records
            .iter()
            .filter(|(_, f)| *f == Fate::Destroyed);
        cut.gone = gone.map(|(id, _)| id.as_str()).collect();
        for cell in changes.links.iter().filter(|c| c.before.is_none()) {
            if let Some((to, _)) = schema.link(table, &cell.field) {
                let records = cut.blind.entry(to).or_default();
                let cells = records.entry(cell.record.as_str()).or_default();
                cells.insert(&cell.field, cell);
            }
        }
        cut
    }

    /// May a record of `table` that shows a link to `to` have lost it?
    fn lost(&self, table: &str, id: &str, to: &str) -> bool {
        let cells = self.blind.get(table).and_then(|records| records.get(to));
        self.gone.contains(to)
            || cells.is_some_and(|c| !c.values().any(|c| c.now.iter().any(|n| n == id)))
    }
}

/// An entity whose records may show something of the changed ones.
struct Dependent<'a> {
    ix: EntityIx,
    table: &'a str,
    /// Link fields through which it shows their cells.
    through: Vec<u16>,
    /// Link fields that lead to their table.
    back: Vec<u16>,
}

/// Puts them in doubt; `None`: nothing may be removed now.
pub(super) fn doubt(
    base: &str,
    schema: &Schema,
    table: &str,
    changes: &TableChanges,
) -> Option<()> {
    let ids: HashSet<&str> = changes.records.iter().map(|(id, _)| id.as_str()).collect();
    let cut = Cut::of(schema, table, changes);
    for d in who_depends(base, schema, table, changes, &cut)? {
        walk::outdate(
            d.ix,
            &walk::ids(d.ix),
            (lock::lock, How::Feed),
            |cached| shows(cached, &d, &ids, &cut),
            |st, hit| reread(st, d.ix, &hit),
        )?;
    }
    Some(())
}

/// Entities whose records may show something of this table's, and what is cached of them. What is being fetched of them may
/// be of before the change, and is not stored.
fn who_depends<'a>(
    base: &str,
    schema: &'a Schema,
    table: &str,
    changes: &TableChanges,
    cut: &Cut,
) -> Option<Vec<Dependent<'a>>> {
    let through = schema.dependents(table, &changes.fields, changes.all_fields);
    let held = lock::lock();
    let ctx = held.ctx();
    if !ffi::removable(ctx) {
        return None;
    }
    let found = cell::enter(|st| {
        let all = st.of_base(base);
        let of = |st: &State, ix| {
            st.get(ix)
                .and_then(|e| schema.table_id(e.spec.table()))
                .unwrap_or_default()
        };
        let changed: Vec<String> = all
            .iter()
            .filter(|ix| of(st, **ix) == table)
            .filter_map(|ix| st.get(*ix).map(|e| e.name.to_string()))
            .collect();
        let is_new = |(_, fate): &(CompactString, Fate)| *fate == Fate::Created;
        let old_ones = !changes.records.iter().all(is_new);
        let mut out = Vec::new();
        for ix in all {
            let own = of(st, ix);
            let Some(e) = st.get(ix) else { continue };
            let declared = changed.iter().any(|name| e.spec.depends_on(name));
            let column = |f: &u16| e.spec.get(*f).map_or("", |f| f.airtable.as_str());
            let leading: Vec<u16> = e
                .spec
                .link_fields()
                .filter(|f| schema.link_target(own, column(f)) == Some(table))
                .collect();
            let links: Vec<u16> = e
                .spec
                .link_fields()
                .filter(|f| {
                    declared
                        || through
                            .iter()
                            .any(|d| own == d.table.as_str() && d.is_through(column(f)))
                })
                .collect();
            let cuts = !cut.gone.is_empty() || cut.blind.contains_key(own);
            let back = if cuts { leading.clone() } else { Vec::new() };
            if declared && leading.is_empty() && old_ones {
                // Which of its records they are computed of shows in none of its cells: any may be.
                change::entity(st, ctx, ix);
                continue;
            }
            if links.is_empty() && back.is_empty() {
                continue;
            }
            written::outdate_flights(ix);
            if !e.records.is_empty() {
                out.push(Dependent {
                    ix,
                    table: own,
                    through: links,
                    back,
                });
            }
        }
        out
    });
    Some(found.unwrap_or_default())
}

fn shows(c: &Cached, d: &Dependent, changed: &HashSet<&str>, cut: &Cut) -> bool {
    let holds = |fields: &[u16], is: &dyn Fn(&str) -> bool| {
        fields.iter().any(|f| {
            c.entry
                .texts(*f)
                .any(|t| std::str::from_utf8(t).is_ok_and(is))
        })
    };
    holds(&d.through, &|to| changed.contains(to))
        || holds(&d.back, &|to| cut.lost(d.table, c.id, to))
}
