//! Applying a page of payloads: what it names is in doubt at once, then brought up to date a hundred to a call. So are the
//! other ends of its links (`ends`), and what other tables show of it (`dependents`).

pub(crate) mod dependents;
pub(crate) mod ends;

use crate::server::desk::{self, desk};
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::history::How;
use crate::server::state::lane::Lane;
use crate::server::store::change;
use crate::server::store::cluster;
use crate::server::store::form;
use crate::server::store::{self, By, Copy};
use crate::server::upstream::figures::Cause;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::lock::{self, Slice};
use crate::server::valkey::settings;
use compact_str::CompactString;
use podium_core::entry::Entry;
use podium_core::feed::{Fate, Page, Schema, TableChanges};
use podium_core::key;
use podium_core::pace::Class;

/// Doubts settled per entity and poll.
const REREAD: usize = 1_000;

/// Applies a page that was asked for under the number `sent`; how many changes it told. `None`: nothing may be removed now, so it is to be applied again, from its start.
pub(super) fn page(base: &str, schema: &Schema, page: &Page, sent: u64) -> Option<u64> {
    let mut n = 0;
    for (table, changes) in &page.tables {
        n += changes.records.len() as u64;
        for ix in entities_of(base, schema, table) {
            if changes.reshaped || changes.destroyed || changes.unclear {
                // Cells may have another name, another type, or be gone.
                cell::with(|st, ctx| change::entity(st, ctx, ix));
            }
            let mut left = changes.records.iter().peekable();
            while left.peek().is_some() {
                let held = lock::lock();
                let ctx = held.ctx();
                if !ffi::removable(ctx) {
                    return None;
                }
                cell::enter(|st| {
                    let slice = Slice::begin();
                    let mut wanted: Vec<CompactString> = Vec::new();
                    for (id, fate) in left.by_ref() {
                        let again = st.by_word_of(How::Feed, |st| {
                            change(st, ctx, ix, id, *fate, table, changes, schema, sent)
                        });
                        if again {
                            wanted.push(id.clone());
                        }
                        if slice.over() {
                            break;
                        }
                    }
                    reread(st, ix, &wanted);
                })?;
            }
        }
        if !changes.records.is_empty() {
            ends::doubt(base, schema, page, table, changes)?;
            dependents::doubt(base, schema, table, changes)?;
        }
    }
    desk::close_now();
    Some(n)
}

/// The entities that are made of this table.
fn entities_of(base: &str, schema: &Schema, table: &str) -> Vec<EntityIx> {
    cell::with(|st, _| {
        let all = st.of_base(base);
        all.into_iter()
            .filter(|ix| {
                st.get(*ix)
                    .is_some_and(|e| schema.table_id(e.spec.table()) == Some(table))
            })
            .collect()
    })
    .unwrap_or_default()
}

/// Takes note of one record's change; true if it is to be read anew.
#[allow(clippy::too_many_arguments)]
fn change(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    id: &CompactString,
    fate: Fate,
    table: &str,
    changes: &TableChanges,
    schema: &Schema,
    sent: u64,
) -> bool {
    let seq = clock::next();
    let Some(e) = st.get(ix) else { return false };
    // What was told or seen of it since the page was asked for may be of before its end, or of after its return.
    let undisputed = clock::order().current(ix, id, sent);
    if fate == Fate::Destroyed && !undisputed && e.tombs.contains(id) {
        // It was told to be gone, and the page says nothing else.
        return false;
    }
    // Seen later than that, or told of, though its copy was dropped since: it may be back from the trash.
    let outlived = fate == Fate::Destroyed
        && match store::copy(ctx, e, id, false) {
            Copy::Record(b) => Entry::read(b, &key::record(&e.name, id))
                .is_some_and(|c| changes.outlived(id, c.header.as_of())),
            Copy::Absent => changes.outlived(id, e.before.of(id)),
            Copy::Tomb(_) | Copy::Foreign => false,
        };
    if fate == Fate::Destroyed && undisputed && !outlived {
        let lane = Lane::of(e, Cause::Sync);
        let name = key::record(&e.name, id);
        let (header, expire_at) = form::tombstone(&lane, seq, ffi::now_ms(), 0);
        store::put_tomb(st, ctx, ix, id, header, expire_at, By::Told);
        store::signal_fetch(ctx, &name);
        return false;
    }
    // While its slot is moving its copy may be at the other end.
    let known = e.records.contains(id)
        || e.tombs.contains(id)
        || e.doubts.holds(id)
        || cluster::may_be_unseen(e, id);
    // (A question under way would take the record for gone: what it returns is older than this.)
    if fate == Fate::Changed && !known && !e.questions.any() && !moves(e, table, changes, schema) {
        // Not cached, and in the same index sets as before: only what is under way is outdated.
        change::under_way(ix, id, seq);
        return false;
    }
    let had = store::invalidate(st, ctx, ix, id, seq);
    settings::enabled() && (had || st.get(ix).is_some_and(|e| e.doubts.holds(id)))
}

/// Could the changed cells move a record between index sets?
fn moves(e: &Entity, table: &str, changes: &TableChanges, schema: &Schema) -> bool {
    changes
        .fields
        .iter()
        .any(|f| match schema.field_name(table, f) {
            Some(name) => {
                e.spec.fields().iter().any(|column| {
                    column.indexed && (column.airtable == name || column.airtable == *f)
                })
            }
            None => true,
        })
}

/// Orders records anew, in the background.
fn reread(st: &State, ix: EntityIx, ids: &[CompactString]) {
    let Some(e) = st.get(ix).filter(|e| !e.base().is_empty()) else {
        return;
    };
    crate::server::desk::deletes::watch();
    let mut d = desk();
    for id in ids {
        d.want_record(e, id, Class::Background, None, false);
    }
}

/// What is still in doubt is read behind, so that no reader has to wait for it.
pub(super) fn reread_doubted(base: &str) {
    cell::with(|st, _| {
        if !settings::enabled() {
            return;
        }
        for ix in st.of_base(base) {
            let open: Vec<CompactString> = match st.get(ix) {
                Some(e) if e.has_sets() => e
                    .doubts
                    .iter()
                    .map(|(id, _)| CompactString::new(id))
                    .filter(|id| !e.strays.contains_key(id))
                    .take(REREAD)
                    .collect(),
                _ => continue,
            };
            reread(st, ix, &open);
        }
    });
    desk::close_now();
}
