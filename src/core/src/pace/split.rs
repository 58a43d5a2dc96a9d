//! Halving a batch that fails, until the id that poisons it is alone.

use alloc::vec::Vec;

use hashbrown::HashMap;

use super::lane::Wanted;

/// With so many failures and not one success it is not single ids that fail: the parent, both halves, all quarters.
const HOPELESS: u32 = 7;

/// The parts of one batch.
#[derive(Copy, Clone, Debug, Default)]
struct Family {
    failed: u32,
    succeeded: bool,
    /// Parts queued or under way.
    open: u32,
}

/// All batches that are being halved.
#[derive(Clone, Debug, Default)]
pub(super) struct Families {
    families: HashMap<u64, Family>,
    last: u64,
}

impl Families {
    /// A part was answered.
    pub(super) fn succeeded(&mut self, family: Option<u64>) {
        if let Some(known) = family.and_then(|key| self.families.get_mut(&key)) {
            known.succeeded = true;
        }
        self.leave(family);
    }

    /// A part is over or given up.
    pub(super) fn leave(&mut self, family: Option<u64>) {
        let Some(key) = family else { return };
        if let Some(known) = self.families.get_mut(&key) {
            known.open = known.open.saturating_sub(1);
            if known.open == 0 {
                self.families.remove(&key);
            }
        }
    }

    /// Whether a batch that failed may be sent again in `parts`; counts them in. The family they belong to.
    pub(super) fn split(&mut self, family: Option<u64>, parts: u32) -> Option<u64> {
        let key = family.unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        let known = self.families.entry(key).or_default();
        known.failed += 1;
        // The part that failed was counted in, unless it is the whole.
        let others = known.open.saturating_sub(u32::from(family.is_some()));
        let hopeless = known.failed >= HOPELESS && !known.succeeded;
        known.open = others + if hopeless { 0 } else { parts };
        if known.open == 0 {
            self.families.remove(&key);
        }
        (!hopeless).then_some(key)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.families.is_empty()
    }
}

/// Two halves, neither empty when there are two ids or more.
pub(super) fn halves(mut ids: Vec<Wanted>) -> [Vec<Wanted>; 2] {
    let second = ids.split_off(ids.len() / 2);
    [ids, second]
}
