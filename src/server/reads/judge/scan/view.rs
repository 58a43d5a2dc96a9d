//! A question that sorts, or that asks for ids or their number alone, answered from a set whose members are kept in order: at
//! the cost of what it returns. Wherever anything
//! about the set or a member of it is unsure, the general way decides.

use crate::server::reads::ahead;
use crate::server::reads::judge::render::render;
use crate::server::reads::judge::scan::start::may_match;
use crate::server::reads::judge::scan::{Item, Scan};
use crate::server::reads::judge::{Judge, Progress, Want};
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::query::{Condition, Output};
use crate::server::state::sorted::{discard, Sorted, BY_ID};
use crate::server::state::standing::Standing;
use crate::server::store::sorted;
use crate::server::upstream::figures;
use crate::server::valkey::ffi::Ctx;
use crate::server::valkey::reply::Body;
use crate::server::valkey::settings;
use compact_str::CompactString;
use podium_core::entry::{Entry, Header};
use podium_core::index::ALL;
use podium_core::sorted::{Life, Lives};
use podium_core::spec::FieldIx;
use podium_core::{key, refresh};
use std::sync::Arc;

/// Members that changed and are looked at before an answer; more are looked at behind it.
pub(crate) const SETTLED_AT_ONCE: usize = 500;
/// Records, and ids, of an answer given at once; a larger one goes in slices.
const RECORDS_AT_ONCE: usize = 250;
pub(crate) const IDS_AT_ONCE: usize = 1_000;
/// Members near their end that are looked at for one answer.
const ENDS: usize = 10_000;
/// Answers for one touch of a member that none of them shows.
const TURNS: usize = 4;
/// Fewer members are sorted as fast as they are looked up.
const FEWEST: usize = 24;

/// A set that is to be kept in the order of a field, or whose view is to be brought up to date.
pub(crate) struct Wish {
    pub(crate) ix: EntityIx,
    pub(crate) suffix: Arc<[u8]>,
    pub(crate) by: FieldIx,
}

/// What asking a view came to.
enum Asked {
    Scan(Box<Scan>),
    /// It says nothing now.
    No,
    /// So much changed that it is looked at behind.
    Behind,
    /// It is of no use any more.
    Over,
}

impl Judge<'_> {
    /// The answer to a sorted question, if the set has a view that answers it.
    pub(crate) fn by_view(
        &mut self,
        st: &mut State,
        ix: EntityIx,
        conditions: &[Condition],
        asked: u64,
        name: &[u8],
    ) -> Option<Progress> {
        let e = st.get_mut(ix).filter(|e| !e.sorted.is_empty())?;
        if self.options.no_cache || self.used.is_some() || !settings::enabled() {
            return None;
        }
        let (suffix, by) = (only_set(conditions)?, self.order_of(e)?);
        let mut s = e.sorted.take(&suffix, by)?;
        s.asked_ms = self.now;
        let asked = match st.get(ix).filter(|_| !st.replica && !st.loading) {
            Some(e) => self.ask_view(e, &mut s, conditions, asked),
            None => Asked::Over,
        };
        let behind = matches!(asked, Asked::Behind) && !std::mem::replace(&mut s.settling, true);
        match st.get_mut(ix) {
            Some(e) if !matches!(asked, Asked::Over) => e.sorted.put(s),
            _ => discard(s),
        }
        if behind {
            self.wish = Some(Wish { ix, suffix, by });
        }
        match asked {
            Asked::Scan(scan) => Some(self.finish(st, *scan, name)),
            _ => None,
        }
    }

    fn ask_view(
        &mut self,
        e: &Entity,
        s: &mut Sorted,
        conditions: &[Condition],
        asked: u64,
    ) -> Asked {
        if !s.is_of(e) {
            return Asked::Over;
        }
        if !s.ready || self.must_hear(e) || e.standing != Standing::Home {
            return Asked::No;
        }
        let w = Self::windows(e);
        let Some(set) = sorted::open(self.ctx, e, &s.suffix, true) else {
            return Asked::Over;
        };
        if set.head != s.head {
            return Asked::Over;
        }
        let Some((false, fresh_until)) = self.set_serves(e, &w, &set.head) else {
            return Asked::No;
        };
        if e.doubts.any_since(set.head.seq)
            && may_match(e, conditions, set.head.seq, asked)
                .next()
                .is_some()
        {
            return Asked::No;
        }
        if s.view.marks() > SETTLED_AT_ONCE {
            return Asked::Behind;
        }
        sorted::settle(self.ctx, e, s, &set, SETTLED_AT_ONCE);
        if s.view.marks() > 0 {
            return Asked::No;
        }
        if s.view.len() != set.len || set.len == 0 {
            return Asked::Over;
        }
        let lives = s.view.lives();
        let Some(members_until) = lives.fresh_until(&e.feed, self.now) else {
            return Asked::No;
        };
        let head = set.head;
        let mut scan = Scan::new(
            e.ix,
            conditions,
            Vec::new(),
            head.seq,
            head.asked_ms,
            fresh_until,
        );
        if self.options.output == Output::Records || self.options.max_age.is_some() {
            if !self.young_enough(lives.as_of) {
                return Asked::No;
            }
            scan.oldest = scan.oldest.min(lives.as_of);
            scan.shortest = scan.shortest.min(members_until);
        }
        let Some(found) = self.window(e, s) else {
            return Asked::No;
        };
        scan.found = found;
        scan.cut_from = Some(s.view.total());
        self.near_end(e, s, &lives, w.ttl_ms, &mut scan);
        touch(self.ctx, e, s);
        self.renew_set(e, conditions, &scan);
        e.read_ms.set(self.now);
        Asked::Scan(Box::new(scan))
    }

    /// The part of the view that is asked for. `None`: it is large, or one of its copies is not the one that was sorted in.
    fn window(&self, e: &Entity, s: &mut Sorted) -> Option<Vec<Item>> {
        let descending = self.options.sort.as_ref().is_some_and(|(_, d)| *d);
        let (offset, count) = self.options.limit.unwrap_or((0, -1));
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let left = s.view.total().saturating_sub(offset);
        let count = usize::try_from(count).unwrap_or(left).min(left);
        let most = match self.options.output {
            Output::Records => RECORDS_AT_ONCE,
            Output::Ids => IDS_AT_ONCE,
            Output::Count => return Some(Vec::new()),
        };
        if count > most {
            return None;
        }
        let item = |id: &str, body| Item {
            id: CompactString::new(id),
            body,
            sort: None,
            seen: None,
        };
        let window = s.view.window(descending, offset, count);
        if self.options.output == Output::Ids {
            let items = window.iter().map(|(id, _)| item(id, Body::Null));
            return Some(items.collect());
        }
        // All of them are looked up before the first is read: the memory is asked for one while another is found.
        let mut name = key::record(&e.name, "");
        let prefix = name.len();
        let mut values: Vec<Option<&[u8]>> = Vec::with_capacity(window.len());
        for (id, _) in &window {
            name.truncate(prefix);
            name.extend_from_slice(id.as_bytes());
            values.push(sorted::value(self.ctx, &name));
        }
        let mut out = Vec::with_capacity(window.len());
        for ((id, life), value) in window.into_iter().zip(values) {
            name.truncate(prefix);
            name.extend_from_slice(id.as_bytes());
            let entry = value.and_then(|value| Entry::read(value, &name));
            // It must be the one that was sorted in.
            match entry.filter(|entry| self.is_the_one(e, &entry.header, life)) {
                Some(entry) => out.push(item(id, render(e, &self.options.view, &entry, id))),
                None => {
                    let id = CompactString::new(id);
                    s.view.mark(&id);
                    return None;
                }
            }
        }
        Some(out)
    }

    fn is_the_one(&self, e: &Entity, h: &Header, life: &Life) -> bool {
        h.generation == e.generation && life.is_of(h)
    }

    /// Members that are near their end are fetched anew behind: looked for now and then, since a question looks at none.
    fn near_end(&self, e: &Entity, s: &mut Sorted, lives: &Lives, ttl_ms: u64, scan: &mut Scan) {
        let end = self.now + refresh::horizon_ms(ttl_ms);
        let pause = refresh::pause_ms(ttl_ms, figures::fetch_ms());
        if lives.first_end() >= end || self.now.saturating_sub(s.ends_ms) < pause {
            return;
        }
        s.ends_ms = self.now;
        let mut looked = 0;
        s.view.ending(end, |id, life| {
            if ahead::is_due(life.asked_ms, life.fresh_until, self.now) {
                let id = CompactString::new(id);
                scan.ending.push(Want::Record(e.ix, id));
            }
            looked += 1;
            looked < ENDS
        });
    }

    /// The order in which a set is to be kept for this question: of the field it sorts by, or of ids, where only they or their
    /// number are asked for. `None`: its members are looked up anyway.
    fn order_of(&self, e: &Entity) -> Option<FieldIx> {
        match (&self.options.sort, self.options.output) {
            (Some((field, _)), _) => e.spec.field(field),
            (None, Output::Ids | Output::Count) => Some(BY_ID),
            (None, Output::Records) => None,
        }
    }

    /// Is a set that was gone through whole worth being kept in order?
    pub(super) fn sorted_wish(&self, e: &Entity, scan: &Scan, members: usize) -> Option<Wish> {
        let suffix = only_set(&scan.conditions)?;
        let by = self.order_of(e)?;
        (members >= FEWEST).then_some(Wish {
            ix: scan.ix,
            suffix,
            by,
        })
    }
}

/// Those that an answer holds and does not show are in use as well: one after the other is touched, so that the server, which
/// evicts what was not read for long, takes none of them for forgotten.
pub(crate) fn touch(ctx: Ctx, e: &Entity, s: &mut Sorted) {
    s.turn = s.turn.wrapping_add(1);
    if s.turn % TURNS == 0 {
        if let Some(id) = s.view.any(s.turn / TURNS) {
            sorted::value(ctx, &key::record(&e.name, id));
        }
    }
}

/// The one set that is asked for.
fn only_set(conditions: &[Condition]) -> Option<Arc<[u8]>> {
    match conditions {
        [] => Some(Arc::from(ALL)),
        [one] => Some(one.suffix.clone()),
        _ => None,
    }
}
