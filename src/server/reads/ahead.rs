//! Copies renewed before they end: hits that start a refresh, and calls with room that take along what ends next.

use crate::server::desk::Lane;
use crate::server::fetching;
use crate::server::reads;
use crate::server::state::cell;
use crate::server::state::entities::EntityIx;
use crate::server::upstream::figures;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::settings;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_core::entry::Header;
use podium_core::pace::LaneKey;
use podium_core::refresh::{self, Soon};
use std::sync::atomic::{AtomicU64, Ordering};

static CHANCE: AtomicU64 = AtomicU64::new(0);

/// 64 bits that are random enough to spread refreshes (SplitMix64), without a system call.
fn chance() -> u64 {
    let mut z = CHANCE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// So that two servers do not draw the same numbers.
pub(crate) fn start() {
    CHANCE.store(ffi::random_u64(), Ordering::Relaxed);
}

/// Should a hit on a copy that is fresh from `asked_ms` to `fresh_until` start a refresh?
#[inline]
pub(crate) fn is_due(asked_ms: u64, fresh_until: u64, now: u64) -> bool {
    let (life, left) = (
        fresh_until.saturating_sub(asked_ms),
        fresh_until.saturating_sub(now),
    );
    refresh::near_end(life, left) && refresh::early(life, left, figures::fetch_ms(), chance())
}

/// A hit found a copy near its end. On the main thread, outside the state.
#[cold]
pub(crate) fn renew(ctx: Ctx, name: &[u8], h: &Header, now: u64) {
    if !is_due(h.asked_ms, h.fresh_until, now) {
        return;
    }
    let Some(podium_core::key::Name::Record { entity, id }) = podium_core::key::parse(name) else {
        return;
    };
    cell::enter(|st| {
        let Some(ix) = st
            .by_name(entity)
            .filter(|e| !e.base().is_empty() && !e.feed.renews(h, now))
            .map(|e| e.ix)
        else {
            return;
        };
        reads::order_refresh(
            ctx,
            st,
            vec![crate::server::reads::judge::Want::Record(
                ix,
                CompactString::new(id),
            )],
        );
    });
}

/// What ends next, for each entity in its generation.
#[derive(Default)]
pub(crate) struct Shelf {
    entities: HashMap<EntityIx, (LaneKey, Soon)>,
}

impl Shelf {
    /// A copy was stored.
    pub(crate) fn note(&mut self, ix: EntityIx, generation: LaneKey, id: &str, fresh_until: u64) {
        let (lane, soon) = self
            .entities
            .entry(ix)
            .or_insert_with(|| (generation, Soon::default()));
        if *lane != generation {
            *lane = generation;
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
        let ttl = settings::windows(fetching::ttl_s(&lane.spec), None).ttl_ms;
        if soon.is_empty() || !settings::enabled() {
            return Vec::new();
        }
        let now = ffi::now_ms();
        soon.take(room, now, now.saturating_add(ttl / 8))
    }
    /// An entity is gone.
    pub(crate) fn forget(&mut self, keep: impl Fn(EntityIx) -> bool) {
        self.entities.retain(|ix, _| keep(*ix));
    }
}
