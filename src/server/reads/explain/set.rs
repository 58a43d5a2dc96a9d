//! An index set explained.

use super::{doubted, flight, payload, record_names, upstream, used_by, Explained, Part, Standing};
use super::{MOST_LOOKED_AT, MOST_NAMES};
use crate::server::desk::Thing;
use crate::server::reads::judge::Judge;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::history::How;
use crate::server::state::outcome::Brought;
use crate::server::state::query::Options;
use crate::server::store::{self, Copy};
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::settings;
use compact_str::CompactString;
use podium_core::computed::thing::Kind;
use podium_core::doubt::cheaper_to_refetch;
use podium_core::entry::{Entry, Sentinel};
use podium_core::freshness::{self, Use};
use podium_core::key;
use std::sync::Arc;

/// Of the members looked at, how many have no copy that a read may use.
fn lacking(judge: &Judge, ctx: Ctx, e: &Entity, ids: &[CompactString]) -> usize {
    let w = Judge::windows(e);
    let usable = |id: &CompactString| {
        let name = key::record(&e.name, id);
        match store::copy(ctx, e, id, false) {
            Copy::Record(b) => Entry::read(b, &name).is_some_and(|entry| {
                let used = judge.usable(e, &w, &entry.header);
                matches!(used, Use::Fresh | Use::WhileRevalidate)
            }),
            // Gone by now: it needs no call.
            Copy::Tomb(_) => true,
            _ => false,
        }
    };
    ids.iter().filter(|id| !usable(id)).count()
}

/// When a set's freshness ends, its feed's word left out.
fn ends(e: &Entity, s: &Sentinel, empty: bool) -> u64 {
    if !empty || e.complete.is_some() {
        return s.fresh_until;
    }
    let empty_ms = settings::EMPTY_TTL.seconds_as_ms();
    s.fresh_until.min(s.asked_ms.saturating_add(empty_ms))
}

/// What is known of an index set. `suffix`: `<field>:<value>`, the value in normal form, or `*`.
pub(crate) fn explain(st: &State, ctx: Ctx, ix: EntityIx, suffix: &Arc<[u8]>) -> Option<Explained> {
    let e = st.get(ix)?;
    let name = [e.name.as_bytes(), b":", suffix].concat();
    let whole = &suffix[..] == b"*";
    let kind = if whole { Kind::Whole } else { Kind::Set };
    let mut x = Explained::nothing(st, ctx, kind, &name);
    if whole {
        // An answer that read all of it has it as a set; one that named it, as a whole.
        x.used_by = used_by(st, &[(Kind::Whole, &name), (Kind::Set, &name)]);
    }
    let now = ffi::now_ms();
    let (brought, options) = (Brought::default(), Options::default());
    let judge = Judge::new(ctx, &brought, &options, now);
    let (under_way, waiters) = flight(&Thing::Question(ix, suffix.clone(), e.generation));
    x.waiters = waiters;

    let (head, len, foreign) = store::set_state(ctx, e, suffix);
    if foreign {
        x.would = "WRONGTYPE".into();
        return Some(x);
    }
    let own = head.map(|s| (s.seq, s.asked_ms, ends(e, &s, len == 0)));
    // The whole table is known: a value without a set is empty.
    let none = e
        .complete
        .filter(|_| !whole && !e.sets.contains(&suffix[..]));
    let Some((confirmed, asked_ms, fresh_until)) =
        own.or(none.map(|c| (c.seq, c.asked_ms, c.fresh_until)))
    else {
        x.would = upstream(st, e, 1, under_way && super::enabled());
        return Some(x);
    };
    let vouched = e.feed.vouches(confirmed, now);
    x.since = Some((How::Fetch, asked_ms));
    x.fresh_until = Some(if vouched {
        fresh_until.max(e.feed.vouched_until)
    } else {
        fresh_until
    });
    if vouched {
        x.vouched = payload(st, e);
    }
    let used = match freshness::judge(&Judge::windows(e), fresh_until, u64::MAX, now) {
        _ if vouched => Use::Fresh,
        by_time => by_time,
    };
    x.state = match used {
        Use::Fresh => Standing::Fresh,
        _ => Standing::Stale,
    };
    let ids = store::read_part(ctx, e, suffix, None, MOST_LOOKED_AT).map_or(Vec::new(), |p| p.1);
    x.uses = Part::names(record_names(e, ids.iter().map(|id| &**id)), len);
    let doubts: Vec<(&str, u64)> = match e.doubts.any_since(confirmed) {
        true => e.doubts.iter().filter(|d| d.1 > confirmed).collect(),
        false => Vec::new(),
    };
    if !doubts.is_empty() {
        x.state = Standing::Doubtful;
        let one = |(id, seq): &(&str, u64)| doubted(st, e, id, *seq);
        x.doubt.shown = doubts.iter().take(MOST_NAMES).map(one).collect();
        x.doubt.more = doubts.len().saturating_sub(MOST_NAMES);
    }
    let good = super::enabled() && matches!(used, Use::Fresh | Use::WhileRevalidate);
    // Whoever is in doubt is refetched, or the question is asked anew, whichever is fewer calls; then members without a copy.
    let records = doubts.len();
    let calls = match good {
        true if records > 0 && !cheaper_to_refetch(records, len) => 1,
        true => {
            let known = |id: &&CompactString| !e.doubts.holds(id);
            let sure: Vec<CompactString> = ids.iter().filter(known).cloned().collect();
            (records + lacking(&judge, ctx, e, &sure)).div_ceil(100)
        }
        false => 1,
    };
    let unheard = good && judge.must_hear(e) && !st.replica;
    x.would = match calls {
        0 if unheard => upstream(st, e, 1, false),
        0 => "hit".into(),
        n => upstream(st, e, n, under_way && !good && super::enabled()),
    };
    Some(x)
}
