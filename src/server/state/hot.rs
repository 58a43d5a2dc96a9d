//! The short way of a hit: generations read lately, and the hits that they served.

use crate::server::state::entities::{Entity, EntityIx, State};
use podium_core::feed::View as FeedView;

/// A generation in force and the hits it served since they were last counted: all that a plain hit needs to know.
#[derive(Clone, Copy, Default)]
pub(super) struct Hot {
    generation: u64,
    ix: EntityIx,
    hits: u64,
    feed: FeedView,
    /// When it was last read, unix ms.
    read_ms: u64,
}

/// Places for generations read lately; a power of two.
const HOT: usize = 64;

impl State {
    /// Counts a hit on a copy of this generation; false: it belongs to no entity. A generation is random and an entry names
    /// its own key, so nothing else needs to be compared. `vouched`: the copy's freshness is over, and the feed must vouch for
    /// what was fetched under this number. False too if the feed is to be heard first.
    #[inline]
    pub(crate) fn hit(&mut self, generation: u64, now: u64, vouched: Option<u64>) -> bool {
        match self.hot.get_mut(generation as usize & (HOT - 1)) {
            Some(h) if h.generation == generation => {
                if h.feed.unsettled(now) || vouched.is_some_and(|seq| !h.feed.vouches(seq, now)) {
                    return false;
                }
                h.hits += 1;
                h.read_ms = now;
                true
            }
            _ => self.warm_up(generation) && self.hit(generation, now, vouched),
        }
    }
    /// The entity whose records carry this generation; looked up as for a hit.
    #[inline]
    pub(crate) fn of_generation(&mut self, generation: u64) -> Option<&Entity> {
        let at = generation as usize & (HOT - 1);
        let known = |h: &&Hot| h.generation == generation;
        if self.hot.get(at).filter(known).is_none() && !self.warm_up(generation) {
            return None;
        }
        let ix = self.hot.get(at).filter(known)?.ix;
        self.entities.get(&ix)
    }
    /// Takes a hit back: the command it was counted for goes the general way after all.
    #[cold]
    pub(crate) fn unhit(&mut self, generation: u64) {
        if let Some(h) = self
            .hot
            .get_mut(generation as usize & (HOT - 1))
            .filter(|h| h.generation == generation)
        {
            h.hits = h.hits.saturating_sub(1);
        }
    }
    #[cold]
    fn warm_up(&mut self, generation: u64) -> bool {
        let Some((ix, feed)) = self
            .entities
            .values()
            .find(|e| e.generation == generation)
            .map(|e| (e.ix, e.feed))
        else {
            return false;
        };
        self.hot.resize(HOT, Hot::default());
        let at = generation as usize & (HOT - 1);
        let before = self.hot.get_mut(at).map(|h| {
            std::mem::replace(
                h,
                Hot {
                    generation,
                    ix,
                    hits: 0,
                    feed,
                    read_ms: 0,
                },
            )
        });
        if let Some(h) = before {
            self.count_hits(&h);
        }
        true
    }
    fn count_hits(&mut self, h: &Hot) {
        match self.entities.get_mut(&h.ix) {
            Some(e) => {
                e.figures.hits += h.hits;
                e.read_ms.set(e.read_ms.get().max(h.read_ms));
            }
            None => self.past.hits += h.hits,
        }
    }
    /// Counts the hits of plain reads, and forgets which generations are in force: before one ends, and before figures are read.
    pub(crate) fn cool(&mut self) {
        for h in std::mem::take(&mut self.hot) {
            if h.hits > 0 {
                self.count_hits(&h);
            }
        }
    }
    /// When an entity was last read, unix ms.
    pub(crate) fn last_read(&self, e: &Entity) -> u64 {
        let hot = self
            .hot
            .iter()
            .filter(|h| h.ix == e.ix)
            .map(|h| h.read_ms)
            .max()
            .unwrap_or(0);
        e.read_ms.get().max(hot)
    }
}
