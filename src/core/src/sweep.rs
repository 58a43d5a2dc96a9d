//! What a sweep asks: which cached records were deleted behind the cache's back, in as few calls as soundness allows.
//!
//! A record is known to be there if Airtable returns it, or if a parent that was read *during this sweep* links to it:
//! Airtable takes a deleted record out of every link cell. A parent that was cached before proves nothing. So each
//! call is spent where it settles most: a hundred doubtful records asked for by id settle a hundred; a hundred parents that
//! link to a thousand children may settle all of those.

use alloc::vec::Vec;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};

/// Records asked for in one call.
pub const BATCH: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    There,
    Gone,
}

struct Item {
    entity: u32,
    id: CompactString,
    refs: Vec<CompactString>,
    /// Is its own existence a question of this sweep?
    in_scope: bool,
    state: State,
    asked: bool,
}

/// One entity's outcome.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    pub cached: u64,
    pub checked: u64,
    pub removed: u64,
}

/// One sweep under way.
pub struct Sweep {
    items: Vec<Item>,
    by_id: HashMap<CompactString, Vec<usize>>,
    full: bool,
}

/// The next call: records of one entity, asked for by id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    pub entity: u32,
    pub ids: Vec<CompactString>,
}

impl Sweep {
    /// `full`: trust nothing but Airtable's own word on every single record.
    pub fn new(full: bool) -> Sweep {
        Sweep {
            items: Vec::new(),
            by_id: HashMap::new(),
            full,
        }
    }
    /// A cached record: in scope if the sweep is to say whether it exists (else it may only serve as a parent);
    /// `vouched` if the feed already says so; `refs` are the ids in its link cells as cached, a hint of what re-reading it would settle.
    pub fn add(
        &mut self,
        entity: u32,
        id: &str,
        refs: Vec<CompactString>,
        in_scope: bool,
        vouched: bool,
    ) {
        let id = CompactString::new(id);
        let state = if in_scope && vouched && !self.full {
            State::There
        } else {
            State::Open
        };
        self.by_id
            .entry(id.clone())
            .or_default()
            .push(self.items.len());
        self.items.push(Item {
            entity,
            id,
            refs,
            in_scope,
            state,
            asked: false,
        });
    }
    fn open(&self, at: usize) -> bool {
        self.items
            .get(at)
            .is_some_and(|i| i.in_scope && i.state == State::Open)
    }
    /// The records that reading `item` is expected to settle.
    fn settles<'a>(&'a self, at: usize, item: &'a Item) -> impl Iterator<Item = usize> + 'a {
        let own = self.open(at).then_some(at);
        let children = item
            .refs
            .iter()
            .filter(|_| !self.full)
            .filter_map(|r| self.by_id.get(r))
            .flatten()
            .copied()
            .filter(|c| self.open(*c));
        own.into_iter().chain(children)
    }
    /// The call that is expected to settle most; `None` when nothing is open.
    pub fn next(&self) -> Option<Batch> {
        let mut by_entity: HashMap<u32, Vec<(usize, usize)>> = HashMap::new();
        for (at, item) in self.items.iter().enumerate() {
            if item.asked {
                continue;
            }
            let gain = self.settles(at, item).count();
            if gain > 0 {
                by_entity.entry(item.entity).or_default().push((gain, at));
            }
        }
        let mut best: Option<(usize, Batch)> = None;
        let mut entities: Vec<u32> = by_entity.keys().copied().collect();
        entities.sort_unstable();
        for entity in entities {
            let Some(mut candidates) = by_entity.remove(&entity) else {
                continue;
            };
            candidates.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
            let mut settled: HashSet<usize> = HashSet::new();
            let mut ids = Vec::new();
            for (_, at) in candidates {
                if ids.len() == BATCH {
                    break;
                }
                let Some(item) = self.items.get(at) else {
                    continue;
                };
                let before = settled.len();
                settled.extend(self.settles(at, item));
                if settled.len() > before {
                    ids.push(item.id.clone());
                }
            }
            if best.as_ref().is_none_or(|(gain, _)| settled.len() > *gain) {
                best = Some((settled.len(), Batch { entity, ids }));
            }
        }
        best.map(|(_, b)| b)
    }
    /// Airtable returned a record of the batch, with these ids in its link cells.
    pub fn there(&mut self, entity: u32, id: &str, refs: &[CompactString]) {
        self.found(entity, id, State::There);
        if self.full {
            return;
        }
        for r in refs {
            for at in self.by_id.get(r).cloned().unwrap_or_default() {
                if let Some(i) = self.items.get_mut(at).filter(|i| i.state == State::Open) {
                    i.state = State::There;
                }
            }
        }
    }
    /// Airtable did not return a record that was asked for.
    pub fn gone(&mut self, entity: u32, id: &str) {
        self.found(entity, id, State::Gone);
    }
    /// Airtable's answer does not say whether a record that was asked for is there.
    pub fn unknown(&mut self, entity: u32, id: &str) {
        self.found(entity, id, State::Open);
    }
    fn found(&mut self, entity: u32, id: &str, state: State) {
        for at in self.by_id.get(id).cloned().unwrap_or_default() {
            if let Some(i) = self.items.get_mut(at).filter(|i| i.entity == entity) {
                i.state = state;
                i.asked = true;
            }
        }
    }
    /// The outcome for one entity so far.
    pub fn tally(&self, entity: u32) -> Tally {
        let mut t = Tally::default();
        for i in self
            .items
            .iter()
            .filter(|i| i.entity == entity && i.in_scope)
        {
            t.cached += 1;
            t.checked += u64::from(i.state != State::Open);
            t.removed += u64::from(i.state == State::Gone);
        }
        t
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    /// Runs a sweep against what truly exists; returns the calls it took.
    fn run(s: &mut Sweep, truth: &dyn Fn(u32, &str) -> Option<Vec<String>>) -> usize {
        let mut calls = 0;
        while let Some(b) = s.next() {
            calls += 1;
            assert!(b.ids.len() <= BATCH && !b.ids.is_empty() && calls < 1000);
            for id in b.ids {
                match truth(b.entity, &id) {
                    Some(refs) => {
                        let refs: Vec<CompactString> =
                            refs.iter().map(CompactString::new).collect();
                        s.there(b.entity, &id, &refs)
                    }
                    None => s.gone(b.entity, &id),
                }
            }
        }
        calls
    }

    #[test]
    fn without_parents_it_asks_a_hundred_to_a_call() {
        let mut s = Sweep::new(false);
        for i in 0..250 {
            s.add(1, &format!("rec{i}"), Vec::new(), true, false);
        }
        let calls = run(&mut s, &|_, id| (id != "rec7").then(Vec::new));
        assert_eq!(calls, 3);
        assert_eq!(
            s.tally(1),
            Tally {
                cached: 250,
                checked: 250,
                removed: 1
            }
        );
    }

    fn family(full: bool) -> Sweep {
        let mut s = Sweep::new(full);
        for p in 0..10 {
            let refs = (0..100)
                .map(|c| CompactString::new(format!("recC{}", p * 100 + c)))
                .collect();
            s.add(1, &format!("recP{p}"), refs, false, false);
        }
        for c in 0..1000 {
            s.add(2, &format!("recC{c}"), Vec::new(), true, false);
        }
        s
    }
    fn children(gone: &'static str) -> impl Fn(u32, &str) -> Option<Vec<String>> {
        move |e, id| match e {
            1 => {
                let p: usize = id[4..].parse().unwrap();
                Some(
                    (0..100)
                        .map(|c| format!("recC{}", p * 100 + c))
                        .filter(|c| c != gone)
                        .collect(),
                )
            }
            _ => (id != gone).then(Vec::new),
        }
    }

    #[test]
    fn parents_are_read_where_they_settle_more() {
        let mut s = family(false);
        let calls = run(&mut s, &children("recC555"));
        assert_eq!(
            calls, 2,
            "ten parents in one call, the one child they no longer link to in another"
        );
        assert_eq!(
            s.tally(2),
            Tally {
                cached: 1000,
                checked: 1000,
                removed: 1
            }
        );
    }

    #[test]
    fn a_parent_cached_before_the_deletion_is_no_evidence() {
        let mut s = family(false);
        run(&mut s, &children("recC3"));
        assert_eq!(
            s.tally(2).removed,
            1,
            "the cached parent still links to it; only the fresh one counts"
        );
    }

    #[test]
    fn full_trusts_nothing() {
        let mut s = family(true);
        let calls = run(&mut s, &children("recC3"));
        assert_eq!(calls, 10);
    }

    #[test]
    fn what_the_feed_vouches_for_costs_nothing() {
        let mut s = Sweep::new(false);
        for i in 0..250 {
            s.add(1, &format!("rec{i}"), Vec::new(), true, true);
        }
        assert_eq!(run(&mut s, &|_, _| None), 0);
        assert_eq!(
            s.tally(1),
            Tally {
                cached: 250,
                checked: 250,
                removed: 0
            }
        );
    }
}
