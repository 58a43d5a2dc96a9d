//! What ends next: taken along by calls that have room.

use crate::server::state::entities::EntityIx;
use crate::server::state::lane::{self, Lane};
use crate::server::valkey::{ffi, settings};
use compact_str::CompactString;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use podium_core::refresh::Soon;

static SHELF: once_cell::sync::Lazy<Mutex<Shelf>> = once_cell::sync::Lazy::new(Mutex::default);

/// What ends next. Held for moments, with no other lock taken under it.
pub(crate) fn shelf() -> MutexGuard<'static, Shelf> {
    SHELF.lock()
}

/// What ends next, for each entity in its generation.
#[derive(Default)]
pub(crate) struct Shelf {
    entities: HashMap<EntityIx, (u64, Soon)>,
}

impl Shelf {
    /// A copy was stored.
    pub(crate) fn note(&mut self, ix: EntityIx, generation: u64, id: &str, fresh_until: u64) {
        let (known, soon) = self
            .entities
            .entry(ix)
            .or_insert_with(|| (generation, Soon::default()));
        if *known != generation {
            *known = generation;
            *soon = Soon::default();
        }
        soon.note(id, fresh_until);
    }
    /// Ids for a call of this lane that has room: those that end within an eighth of a life.
    pub(crate) fn fill(&mut self, lane: &Lane, room: usize) -> Vec<CompactString> {
        let Some((_, soon)) = self
            .entities
            .get_mut(&lane.ix)
            .filter(|(g, _)| *g == lane.generation)
        else {
            return Vec::new();
        };
        if soon.is_empty() || !settings::enabled() {
            return Vec::new();
        }
        let now = ffi::now_ms();
        soon.take(room, now, now.saturating_add(lane::window_ms(&lane.spec)))
    }
    /// May more be noted that ends within `window` ms? What ended is let go for it.
    pub(crate) fn has_room(
        &mut self,
        ix: EntityIx,
        generation: u64,
        now: u64,
        window: u64,
    ) -> bool {
        let of = self.entities.get_mut(&ix).filter(|(g, _)| *g == generation);
        of.is_none_or(|(_, soon)| soon.has_room(now, now.saturating_add(window)))
    }
    /// An entity is gone.
    pub(crate) fn forget(&mut self, keep: impl Fn(EntityIx) -> bool) {
        self.entities.retain(|ix, _| keep(*ix));
    }
}
