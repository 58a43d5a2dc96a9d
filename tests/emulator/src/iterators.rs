//! Listings under way: each offset names one, as a snapshot of ids.

use crate::ids::{mint, Id};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// More listings than this at once, and the least recently used one dies.
const MOST: usize = 1000;

/// The ids of a listing in order; pages show them as they are when the page is asked for.
pub(crate) struct Iteration {
    pub(crate) table: Id,
    pub(crate) ids: Vec<Id>,
    /// The iterator's id, once it has one.
    name: Mutex<Option<Id>>,
}

impl Iteration {
    pub(crate) fn new(table: Id, ids: Vec<Id>) -> Self {
        Self {
            table,
            ids,
            name: Mutex::new(None),
        }
    }
}

#[derive(Default)]
pub(crate) struct Iterators {
    by_name: HashMap<Id, Entry>,
    minted: u64,
}

struct Entry {
    iteration: Arc<Iteration>,
    /// Where a page starts, by the record id in its offset: asking for a page twice gives it twice.
    starts: HashMap<Id, usize>,
    used_ms: i64,
}

impl Iterators {
    /// Names the page that starts at `start` (above 0): `itr…/rec…`, the last record of the page before.
    pub(crate) fn keep(&mut self, iteration: &Arc<Iteration>, start: usize, now_ms: i64) -> String {
        let name = iteration
            .name
            .lock()
            .get_or_insert_with(|| {
                self.minted += 1;
                mint("itr", &self.minted.to_string())
            })
            .clone();
        if self.by_name.len() >= MOST && !self.by_name.contains_key(&name) {
            let oldest = self
                .by_name
                .iter()
                .min_by_key(|(_, entry)| entry.used_ms)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| self.by_name.remove(&name));
        }
        let last = start
            .checked_sub(1)
            .and_then(|place| iteration.ids.get(place))
            .cloned()
            .unwrap_or_else(|| Arc::from("rec"));
        let offset = format!("{name}/{last}");
        let entry = self.by_name.entry(name).or_insert_with(|| Entry {
            iteration: iteration.clone(),
            starts: HashMap::new(),
            used_ms: now_ms,
        });
        entry.starts.insert(last, start);
        offset
    }

    /// The listing and page that an offset names, unless it died.
    pub(crate) fn resume(
        &mut self,
        offset: &str,
        now_ms: i64,
        life_ms: i64,
    ) -> Option<(Arc<Iteration>, usize)> {
        self.by_name
            .retain(|_, entry| entry.used_ms + life_ms > now_ms);
        let (name, record) = offset.split_once('/')?;
        let entry = self.by_name.get_mut(name)?;
        entry.used_ms = now_ms;
        Some((entry.iteration.clone(), *entry.starts.get(record)?))
    }

    pub(crate) fn clear(&mut self) {
        self.by_name.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }
}
