//! A record explained.

use super::MOST_LOOKED_AT;
use super::{doubted, flight, payload, upstream, used_by, Explained, Part, Standing};
use crate::server::desk::Thing;
use crate::server::reads::judge::Judge;
use crate::server::state::entities::{Entity, State};
use crate::server::state::history::{doubt_of, About, How};
use crate::server::state::outcome::Brought;
use crate::server::state::query::{Options, RecordKey};
use crate::server::store::sets::set_name;
use crate::server::store::{self, Copy};
use crate::server::valkey::ffi::{self, Ctx, Key, KeyKind, RString};
use podium_core::computed::thing::Kind;
use podium_core::entry::{Entry, Header};
use podium_core::freshness::Use;
use podium_core::key;

/// How a copy came: as its header says, unless the feed's word is noted for the very same number.
fn since(st: &State, name: &[u8], h: &Header) -> (How, u64) {
    let noted = st.history.of(About::Since, name);
    let how = match (noted, h.told_at) {
        (Some((how, seq)), _) if seq == h.seq => how,
        _ if h.is_told() => How::Told,
        _ if h.is_unlisted() => How::Write,
        _ => How::Fetch,
    };
    (how, h.asked_ms)
}

/// The sets that say they hold a record: those of its copy's values, else those that are few enough to be looked through.
fn sets(st: &State, ctx: Ctx, e: &Entity, id: &str, entry: Option<&Entry>) -> Part {
    let suffixes: Vec<Box<[u8]>> = match entry {
        Some(entry) => store::set_suffixes(st, e.ix, entry)
            .into_iter()
            .map(Vec::into_boxed_slice)
            .collect(),
        None => store::holders(ctx, e, id),
    };
    let member = RString::new(id.as_bytes());
    let mut names: Vec<Vec<u8>> = Vec::new();
    for suffix in suffixes.iter().take(MOST_LOOKED_AT) {
        if !e.sets.contains(suffix) {
            continue;
        }
        let name = set_name(e, suffix);
        let s = RString::new(&name);
        let k = Key::peek(ctx, s.raw());
        if k.kind() == KeyKind::Zset && k.zholds(&member) {
            names.push(name);
        }
    }
    names.sort();
    let total = names.len();
    Part::names(names, total)
}

/// What is known of a record.
pub(crate) fn explain(st: &State, ctx: Ctx, k: &RecordKey) -> Option<Explained> {
    let e = st.get(k.ix)?;
    let mut x = Explained::nothing(st, ctx, Kind::Record, &k.name);
    let whole = key::all(&e.name);
    x.used_by = used_by(st, &[(Kind::Record, &k.name), (Kind::Whole, &whole)]);
    let now = ffi::now_ms();
    let (brought, options) = (Brought::default(), Options::default());
    let judge = Judge::new(ctx, &brought, &options, now);
    let (under_way, waiters) = flight(&Thing::Record(e.ix, k.id.clone(), e.generation));
    x.waiters = waiters;
    let noted = doubt_of(e.generation, &k.name);
    let noted = st.history.of(About::Doubt, &noted);
    let in_doubt = e.doubts.iter().find(|(id, _)| *id == k.id);
    let in_doubt = in_doubt.map(|(_, seq)| seq).or(noted.map(|(_, seq)| seq));

    let copy = store::copy(ctx, e, &k.id, false);
    let entry = match &copy {
        Copy::Record(b) => Entry::read(b, &k.name),
        _ => None,
    };
    x.sets = sets(st, ctx, e, &k.id, entry.as_ref());
    let mut hit = false;
    match (&copy, entry) {
        (_, Some(entry)) => {
            let h = entry.header;
            x.since = Some(since(st, &k.name, &h));
            x.fresh_until = Some(judge.fresh_until(e, &h));
            if e.feed.renews(&h, now) {
                x.vouched = payload(st, e);
            }
            let used = judge.usable(e, &Judge::windows(e), &h);
            x.state = if used == Use::Fresh {
                Standing::Fresh
            } else {
                Standing::Stale
            };
            hit = matches!(used, Use::Fresh | Use::WhileRevalidate);
        }
        (Copy::Tomb(h), _) => {
            x.since = Some(since(st, &k.name, h));
            x.fresh_until = Some(h.fresh_until);
            x.state = Standing::Tombstone;
            hit = now < h.fresh_until;
            if !hit {
                x.state = Standing::Stale;
            }
        }
        (Copy::Foreign, _) => x.would = "WRONGTYPE".into(),
        _ => {}
    }
    if let Some(seq) = in_doubt.filter(|_| !matches!(copy, Copy::Tomb(_) | Copy::Foreign)) {
        x.doubt.shown.push(doubted(st, e, &k.id, seq));
        x.state = Standing::Doubtful;
    }
    if !matches!(copy, Copy::Foreign) {
        // A base that nobody read for long: its feed is asked first.
        let unheard = hit && judge.must_hear(e);
        x.would = match hit && super::enabled() {
            true if unheard && !st.replica => upstream(st, e, 1, false),
            true => "hit".into(),
            false => upstream(st, e, 1, under_way && super::enabled()),
        };
    }
    Some(x)
}
