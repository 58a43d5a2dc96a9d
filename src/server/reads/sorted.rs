//! Sorted views are built behind the first answer that sorted, brought up to date where much changed at once, and dropped when
//! nobody asks for them: in slices of the server's lock.

use crate::server::desk;
use crate::server::reads::judge::scan::view::{Wish, SETTLED_AT_ONCE};
use crate::server::state::cell;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::sorted::{
    discard, follow, most_members, take_apart, Sorted, MOST, MOST_OF_ENTITY,
};
use crate::server::state::standing::Standing;
use crate::server::store::{self, sorted};
use crate::server::valkey::ffi::{self, Ctx};
use compact_str::CompactString;

/// Members looked at per hold of the lock: well under a millisecond.
const SLICE: usize = 250;
/// A view that nobody asked for so long is dropped, in ms …
const IDLE_MS: u64 = 600_000;
/// … and so long not, where another one needs the room.
const DISPLACED_MS: u64 = 60_000;

/// A set was sorted whole, or its view has much to look at: seen to behind.
pub(crate) fn wish(ctx: Ctx, st: &mut State, w: Wish) {
    let number = match st.get(w.ix) {
        Some(e) if e.sorted.holds(&w.suffix, w.by) => {
            let known = e
                .sorted
                .iter()
                .find(|s| s.settling && *s.suffix == *w.suffix && s.by == w.by);
            known.map(|s| (s.number, false))
        }
        _ => begin(ctx, st, &w).map(|number| (number, true)),
    };
    if let Some((number, build)) = number {
        desk::spawn(Box::new(move || match build {
            true => fill(w.ix, number),
            false => settle(w.ix, number),
        }));
    }
}

/// Begins a view, if there is room for one. From here on it is marked by what changes.
fn begin(ctx: Ctx, st: &mut State, w: &Wish) -> Option<usize> {
    if st.replica || st.loading || !ffi::writable(ctx) {
        return None;
    }
    let now = ffi::now_ms();
    let e = st.get(w.ix).filter(|e| e.standing == Standing::Home)?;
    let set = sorted::open(ctx, e, &w.suffix, false)?;
    let s = Sorted::new(e, &w.suffix, w.by, set.head, set.len, now);
    if !make_room(st, w.ix, set.len, now) || !follow(ctx) {
        return None;
    }
    let number = s.number;
    st.get_mut(w.ix)?.sorted.put(Box::new(s));
    Some(number)
}

/// Is there room for one more view? Those that were not asked for lately give way.
fn make_room(st: &mut State, ix: EntityIx, members: usize, now: u64) -> bool {
    let most = most_members();
    loop {
        let (mut views, mut all) = (0, members);
        for e in st.entities() {
            views += e.sorted.len();
            all += e.sorted.members();
        }
        let of_entity = st.get(ix).map_or(0, |e| e.sorted.len());
        if views < MOST && of_entity < MOST_OF_ENTITY && all <= most {
            return true;
        }
        let own_only = of_entity >= MOST_OF_ENTITY;
        let among = st.entities().filter(|e| !own_only || e.ix == ix);
        let each = among.flat_map(|e| e.sorted.iter().map(|s| (s.asked_ms, s.number, e.ix)));
        let idle = each.filter(|(asked, _, _)| now.saturating_sub(*asked) >= DISPLACED_MS);
        let Some((_, number, of)) = idle.min().filter(|_| members <= most) else {
            return false;
        };
        let taken = st.get_mut(of).and_then(|e| e.sorted.take_number(number));
        match taken {
            Some(s) => discard(s),
            None => return false,
        }
    }
}

/// What a slice of work on a view came to.
enum Slice {
    More,
    Done,
    /// It is of no use any more.
    Over,
}

/// Works on a view, slice by slice. On a thread that holds no lock.
fn slices(ix: EntityIx, number: usize, mut work: impl FnMut(Ctx, &State, &mut Sorted) -> Slice) {
    let slice =
        |st: &mut State, ctx: Ctx, work: &mut dyn FnMut(Ctx, &State, &mut Sorted) -> Slice| {
            let mut s = st.get_mut(ix)?.sorted.take_number(number)?;
            let done = work(ctx, st, &mut s);
            match (st.get_mut(ix), &done) {
                (Some(e), Slice::More | Slice::Done) => e.sorted.put(s),
                _ => discard(s),
            }
            matches!(done, Slice::More).then_some(())
        };
    while !desk::stopping()
        && cell::with(|st, ctx| slice(st, ctx, &mut work))
            .flatten()
            .is_some()
    {}
}

/// Looks at every member of the set that a view is begun for.
fn fill(ix: EntityIx, number: usize) {
    let mut last: Option<CompactString> = None;
    slices(ix, number, |ctx, st, s| {
        let Some(e) = st.get(ix).filter(|e| s.is_of(e)) else {
            return Slice::Over;
        };
        let Some(set) = sorted::open(ctx, e, &s.suffix, false).filter(|set| set.head == s.head)
        else {
            return Slice::Over;
        };
        let Some((_, ids)) = store::read_part(ctx, e, &s.suffix, last.as_ref(), SLICE) else {
            return Slice::Over;
        };
        sorted::take_in(ctx, e, s, &set, &ids);
        if s.view.marks() > SETTLED_AT_ONCE.max(s.view.len() / 4) {
            // Too little of it is known, or it changes faster than it is looked at.
            return Slice::Over;
        }
        if ids.len() < SLICE {
            s.ready = true;
            return Slice::Done;
        }
        last = ids.last().cloned();
        Slice::More
    });
}

/// Looks at all that is marked.
fn settle(ix: EntityIx, number: usize) {
    slices(ix, number, |ctx, st, s| {
        let Some(e) = st.get(ix).filter(|e| s.is_of(e)) else {
            return Slice::Over;
        };
        let Some(set) = sorted::open(ctx, e, &s.suffix, false).filter(|set| set.head == s.head)
        else {
            return Slice::Over;
        };
        let before = s.view.marks();
        sorted::settle(ctx, e, s, &set, SLICE);
        match s.view.marks() {
            n if n <= SETTLED_AT_ONCE / 2 => {
                s.settling = false;
                Slice::Done
            }
            n if n < before => Slice::More,
            // Nothing can be said of them now.
            _ => Slice::Over,
        }
    });
}

/// Now and then: views that nobody asks for, and those beyond what there is room for, are dropped. From the upkeep thread.
pub(crate) fn tick() {
    cell::with(|st, ctx| {
        let now = ffi::now_ms();
        let kept = ffi::writable(ctx);
        for e in st.entities_mut().filter(|e| !e.sorted.is_empty()) {
            e.sorted
                .drop_those(|s| !kept || now.saturating_sub(s.asked_ms) >= IDLE_MS);
        }
        let mut each: Vec<(u64, usize, EntityIx, usize)> = Vec::new();
        for e in st.entities() {
            let of = e.sorted.iter();
            each.extend(of.map(|s| (s.asked_ms, s.number, e.ix, s.view.len())));
        }
        let mut all: usize = each.iter().map(|(_, _, _, members)| members).sum();
        each.sort_unstable();
        for (_, number, ix, members) in each {
            if all <= most_members() {
                break;
            }
            let taken = st.get_mut(ix).and_then(|e| e.sorted.take_number(number));
            taken.into_iter().for_each(discard);
            all -= members;
        }
    });
    take_apart();
}
