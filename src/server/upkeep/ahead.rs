//! What ends next, of more records than are noted when they are stored: looked for among the cached ones, some a round.

use crate::server::state::cell;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::lane;
use crate::server::state::soon;
use crate::server::store::{self, Copy};
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::settings;
use hashbrown::HashMap;
use podium_core::entry::Entry;
use podium_core::key;
use podium_core::refresh::NOTED;
use podium_core::register::{Place, START};

/// Records looked at per hold of the lock.
const SLICE: usize = 250;
/// Holds of the lock per entity and round: with a round each half a second, 2,000 records a second.
const SLICES: usize = 4;

/// How far the walk through an entity has come.
struct Hand {
    generation: u64,
    at: Place,
    /// The first end that this walk met, unix ms.
    first: u64,
    /// Nothing ends soon enough before, unix ms.
    rests_until: u64,
}

/// The walks, by entity.
#[derive(Default)]
pub(crate) struct Hands(HashMap<EntityIx, Hand>);

impl Hands {
    /// Looks at some records of each large entity. On a thread that does not hold the lock.
    pub(crate) fn look(&mut self) {
        let large = cell::with(|st, _| {
            let idle = st.replica || st.loading || !settings::enabled();
            let large = st.entities().filter(|e| e.records.len() > NOTED && !idle);
            large.map(|e| e.ix).collect::<Vec<_>>()
        });
        let large = large.unwrap_or_default();
        self.0.retain(|ix, _| large.contains(ix));
        for ix in large {
            for _ in 0..SLICES {
                if cell::with(|st, ctx| self.slice(st, ctx, ix)) != Some(true) {
                    break;
                }
            }
        }
    }
    /// False: there is nothing to look for now.
    fn slice(&mut self, st: &State, ctx: Ctx, ix: EntityIx) -> bool {
        let Some(e) = st.get(ix) else { return false };
        let hand = self.0.entry(ix).or_insert_with(|| Hand::new(e.generation));
        if hand.generation != e.generation {
            *hand = Hand::new(e.generation);
        }
        let now = ffi::now_ms();
        // As long as a call takes along what ends within it.
        let window = lane::window_ms(&e.spec);
        if now < hand.rests_until || !soon::shelf().has_room(ix, e.generation, now, window) {
            return false;
        }
        let (ids, next) = e.records.part(hand.at, SLICE);
        for id in ids {
            let Some(end) = end_of(ctx, e, &id).filter(|end| *end > now) else {
                continue;
            };
            hand.first = hand.first.min(end);
            if end - now < window {
                soon::shelf().note(ix, e.generation, &id, end);
            }
        }
        match next {
            Some(at) => hand.at = at,
            None => {
                let until = hand.first.saturating_sub(window);
                *hand = Hand::new(e.generation);
                hand.rests_until = until.min(now.saturating_add(window));
            }
        }
        next.is_some()
    }
}

impl Hand {
    fn new(generation: u64) -> Hand {
        Hand {
            generation,
            at: START,
            first: u64::MAX,
            rests_until: 0,
        }
    }
}

/// End of freshness of a cached record, unix ms.
fn end_of(ctx: Ctx, e: &Entity, id: &str) -> Option<u64> {
    let Copy::Record(b) = store::copy(ctx, e, id, false) else {
        return None;
    };
    Entry::read(b, &key::record(&e.name, id)).map(|entry| entry.header.fresh_until)
}
