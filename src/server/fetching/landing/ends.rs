//! Links have two ends: of a fetched (or told) record many of whose links changed, the other ends are put in doubt before it is
//! stored, in slices. What is read of them from then on was asked for after the record itself; and as long as it agrees with
//! what the record is about to show, it is no reason to doubt that.

use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, LinkCells};
use crate::server::state::landing::Landing;
use crate::server::state::lane::Lane;
use crate::server::store::{self, Copy};
use crate::server::valkey::ffi;
use crate::server::valkey::settings;
use compact_str::CompactString;
use podium_core::entry::Encoded;
use podium_core::entry::Entry;
use podium_core::key;
use podium_core::spec::Spec;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Changed links that are not worth it: the record's own landing takes longer.
const FEW: usize = 32;
/// A link takes so many stored bytes at least.
const LINK_BYTES: usize = 16;

/// Records whose ends were put in doubt ahead, until they have landed.
pub(crate) struct Ahead {
    ix: EntityIx,
    ids: Vec<CompactString>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        cell::with(|st, ctx| {
            for id in &self.ids {
                let left = st.get_mut(self.ix).and_then(|e| e.landing.remove(id));
                if left.is_some() && ffi::removable(ctx) {
                    // It did not land: what was read of its ends meanwhile was not held against its copy.
                    let seq = clock::next();
                    store::invalidate(st, ctx, self.ix, id, seq);
                }
            }
        });
    }
}

/// Before what a fetch brought is stored, or a tombstone where it brought nothing; without the server's lock.
pub(crate) fn ahead<'a>(
    lane: &Lane,
    sent: u64,
    coming: impl Iterator<Item = (&'a CompactString, Option<&'a Encoded>)>,
) -> Ahead {
    let mut ahead = Ahead {
        ix: lane.ix,
        ids: Vec::new(),
    };
    if lane.spec.link_fields().next().is_some() {
        for (id, s) in coming {
            if one(lane, id, s, Of::Fetch(sent)) {
                ahead.ids.push(id.clone());
            }
        }
    }
    ahead
}

/// The same before what a client tells of a record is stored under `seq`; what that puts in doubt is so as of then, unix ms.
pub(crate) fn ahead_of_told(
    lane: &Lane,
    id: &CompactString,
    s: &Encoded,
    (seq, at): (u64, Option<u64>),
) -> Ahead {
    let has_links = lane.spec.link_fields().next().is_some();
    let done = has_links && one(lane, id, Some(s), Of::Told(seq, at));
    Ahead {
        ix: lane.ix,
        ids: done.then(|| id.clone()).into_iter().collect(),
    }
}

/// Who says what is about to land, and its number.
#[derive(Clone, Copy)]
enum Of {
    Fetch(u64),
    Told(u64, Option<u64>),
}

/// What a record's copy, or what is remembered of it, says of its links.
enum Former {
    Copy(Vec<u8>),
    Remembered(LinkCells),
    /// Nothing is known of them: told of, each link that it has may be new.
    Unknown,
}

fn one(lane: &Lane, id: &CompactString, s: Option<&Encoded>, of: Of) -> bool {
    let ix = lane.ix;
    let name = key::record(&lane.entity, id);
    let fresh = s.and_then(|s| Entry::read(&s.bytes, &name));
    let size = s.map_or(0, |s| s.bytes.len());
    let former = cell::with(|st, ctx| {
        let e = st.get(ix).filter(|e| e.generation == lane.generation)?;
        let lands = match of {
            Of::Fetch(sent) => settings::enabled() && clock::order().current(ix, id, sent),
            Of::Told(..) => true,
        };
        if !lands || !ffi::writable(ctx) {
            return None;
        }
        match store::copy(ctx, e, id, false) {
            Copy::Record(b) => {
                (b.len().max(size) > FEW * LINK_BYTES).then(|| Former::Copy(b.to_vec()))
            }
            _ => match (e.old_links.get(id).cloned(), of) {
                (Some(cells), _) => Some(Former::Remembered(cells)),
                (None, Of::Told(..)) => Some(Former::Unknown),
                (None, Of::Fetch(_)) => None,
            },
        }
    })
    .flatten();
    let Some(former) = former else { return false };
    let (old, remembered, before) = match &former {
        Former::Copy(b) => match Entry::read(b, &name) {
            Some(old) if !fresh.is_some_and(|fresh| old.same_content(&fresh)) => {
                (old.header.seq, 0, cells(&lane.spec, &old))
            }
            _ => return false,
        },
        Former::Remembered(cells) => (0, store::links_in(cells), cells.clone()),
        Former::Unknown => (0, 0, Vec::new()),
    };
    let after = fresh.map_or_else(Vec::new, |fresh| cells(&lane.spec, &fresh));
    let changed = store::changed_links(&before, &after);
    if changed.len() <= FEW {
        return false;
    }
    let landing = Arc::new(Landing {
        old,
        remembered,
        seq: match of {
            Of::Fetch(seq) | Of::Told(seq, _) => seq,
        },
        links: after.iter().flat_map(|(_, ids)| ids.clone()).collect(),
    });
    let begun = cell::with(|st, _| {
        let e = st.get_mut(ix)?;
        e.landing.insert(id.clone(), landing);
        Some(())
    })
    .flatten();
    if begun.is_none() {
        return false;
    }
    cell::in_slices(&changed, |st, ctx, (f, other, link)| {
        if ffi::removable(ctx) {
            if let Of::Told(_, at) = of {
                st.telling_ms = at;
            }
            store::doubt_other_end(st, ctx, ix, *f, id, other, *link);
            st.telling_ms = None;
            return ControlFlow::Continue(());
        }
        if let Some(e) = st.get_mut(ix) {
            // Its landing is to look at all of them itself.
            e.landing.remove(id);
        }
        ControlFlow::Break(())
    });
    true
}

impl Ahead {
    /// Was there anything to do?
    pub(crate) fn any(&self) -> bool {
        !self.ids.is_empty()
    }
}

fn cells(spec: &Spec, entry: &Entry) -> LinkCells {
    let fields = spec.link_fields();
    fields.map(|f| (f, store::ids_in(entry, f))).collect()
}
