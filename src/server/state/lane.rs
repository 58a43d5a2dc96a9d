//! A lane: what calls for one entity in one generation need to know of it.

use crate::server::state::entities::{Entity, EntityIx};
use crate::server::upstream::figures::Cause;
use podium_core::pace::LaneKey;
use podium_core::spec::Spec;
use std::sync::Arc;

/// What batches of one lane (an entity's generation) need to know.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) ix: EntityIx,
    pub(crate) entity: Arc<str>,
    pub(crate) spec: Arc<Spec>,
    pub(crate) generation: u64,
    pub(crate) base: Arc<str>,
    pub(crate) table: Arc<str>,
    pub(crate) cause: Cause,
}

impl Lane {
    pub(crate) fn of(e: &Entity, cause: Cause) -> Lane {
        Lane {
            ix: e.ix,
            entity: e.name.clone(),
            spec: e.spec.clone(),
            generation: e.generation,
            base: e.base().into(),
            table: e.spec.table().into(),
            cause,
        }
    }
    pub(crate) fn key(&self) -> LaneKey {
        key(self.ix, self.generation)
    }
}

/// The lane of an entity in one generation. A generation may come back when its entity has another number: with the slot, or with
/// a dump. What was ordered under the number before lands for those alone who ordered it.
pub(crate) fn key(ix: EntityIx, generation: u64) -> LaneKey {
    // (Odd: no two numbers give the same.)
    generation ^ u64::from(ix).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A spec's own ttl, in s.
pub(crate) fn ttl_s(spec: &Spec) -> Option<u64> {
    spec.ttl().map(|s| s.max(1) as u64)
}

/// What ends within this is taken along by calls with room: an eighth of a life, in ms.
pub(crate) fn window_ms(spec: &Spec) -> u64 {
    crate::server::valkey::settings::windows(ttl_s(spec), None).ttl_ms / 8
}
