//! PODIUM.INVALIDATE, PODIUM.TOMBSTONE, PODIUM.UPSERT: what clients tell the cache.
//!
//! ```text
//! PODIUM.INVALIDATE <entity>:<id>|<entity>:<field>:<value>|<entity>:* […]
//! PODIUM.TOMBSTONE  <entity>:<id> […]
//! PODIUM.UPSERT     <entity>:<id> <json> [AT <unix-ms>]
//! ```

use crate::server::commands::answers::check_tag;
use crate::server::commands::args;
use crate::server::commands::rights;
use crate::server::commands::{entry, words};
use crate::server::fetching::columns;
use crate::server::state::answers::Counting;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::lane::Lane;
use crate::server::state::query::RecordKey;
use crate::server::state::rounds;
use crate::server::store::answers;
use crate::server::store::change;
use crate::server::store::cluster;
use crate::server::store::form;
use crate::server::store::{self, By, Copy, Set, Stored};
use crate::server::upstream::figures::Cause;
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi::{self, Argv, Ctx};
use crate::server::valkey::log;
use crate::server::valkey::reply::{self, Body};
use podium_core::computed::cut::Cut;
use podium_core::computed::pending::Ticket;
use podium_core::computed::thing::Kind;
use podium_core::entry::{Entry, WRITTEN};
use podium_core::key::{self, Name};
use podium_core::outside;
use podium_core::record::{self, Source};
use serde_json::{Map, Value};
use std::ffi::c_int;

entry!(invalidate, invalidate_inner);
entry!(tombstone, tombstone_inner);
entry!(upsert, upsert_inner);

enum Target {
    Record(RecordKey),
    Index(EntityIx, Vec<u8>),
    All(EntityIx),
    Tag(Vec<u8>),
    Answer(Vec<u8>),
    /// Computed keys by their start.
    Prefix(Vec<u8>),
}

/// The target of a name that is a tag or one or more computed answers.
fn computed_target(st: &State, name: &[u8]) -> Option<Result<Target, String>> {
    if let Some(tag) = name.strip_prefix(b"tag:") {
        if st.by_name("tag").is_none() && st.resources.get("tag").is_none() {
            return Some(check_tag(tag).map(|()| Target::Tag(tag.to_vec())));
        }
    }
    st.resources.of_key(name)?;
    Some(Ok(match name.strip_suffix(b"*") {
        Some(prefix) => Target::Prefix(prefix.to_vec()),
        None => Target::Answer(name.to_vec()),
    }))
}

/// Throws computed answers away. From here on none of them is served; how many that were, if it was counted already.
fn cut(st: &mut State, targets: &[Target]) -> (Option<i64>, Option<Ticket>) {
    let cuts: Vec<Cut> = targets
        .iter()
        .filter_map(|t| match t {
            Target::Tag(tag) => Some(Cut::Thing(answers::thing(Kind::Tag, tag))),
            Target::Answer(key) => Some(Cut::Key {
                key,
                thing: answers::thing(Kind::Computed, key),
            }),
            Target::Prefix(prefix) => Some(Cut::Prefix(prefix)),
            _ => None,
        })
        .collect();
    if cuts.is_empty() {
        return (Some(0), None);
    }
    let ticket = answers::cut(st, &cuts);
    let finished = st.answers.core.take_finished();
    let mut own = None;
    for (t, n) in finished {
        if t == ticket {
            own = Some(n as i64);
        } else if let Some(c) = st.answers.counting.remove(&t) {
            if let Some(client) = c.client {
                client.finish(Body::Int(c.n + n as i64));
            }
        }
    }
    (own, own.is_none().then_some(ticket))
}

unsafe fn invalidate_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..) else {
        return 0;
    };
    let r = cell::enter(|st| {
        let mut targets = Vec::with_capacity(a.len());
        for name in a.get(1..).unwrap_or(&[]) {
            if *name == b"*" {
                targets.extend(st.entities().map(|e| Target::All(e.ix)));
                let of =
                    |name: &std::sync::Arc<str>| Target::Prefix([name.as_bytes(), b":"].concat());
                targets.extend(st.resources.names().map(of));
                continue;
            }
            if let Some(target) = computed_target(st, name) {
                targets.push(target?);
                continue;
            }
            targets.push(match key::parse(name) {
                Some(Name::Record { .. }) => Target::Record(args::record_key(st, name)?),
                Some(Name::All { entity }) => Target::All(args::entity(st, entity)?.ix),
                Some(Name::Index { .. }) => {
                    let (ix, c) = args::index_key(st, name)?;
                    // How many records have a value tells of it as a read does.
                    if let (Some(e), Some(c)) = (st.get(ix), &c) {
                        rights::check_field(ctx, e, c.field)?;
                    }
                    let suffix = c.map(|c| c.suffix.to_vec()).unwrap_or_default();
                    let normal = st.get(ix).map(|e| key::set(&e.name, &suffix)).unwrap_or_default();
                    rights::check_normal_form(ctx, name, &normal)?;
                    Target::Index(ix, suffix)
                }
                _ => {
                    return Err(format!(
                        "BADKEY '{}' names neither a record (<entity>:<id>), an index (<entity>:<field>:<value>) nor an entity (<entity>:*)",
                        key::shown(name)
                    ))
                }
            });
        }
        for t in &targets {
            let (ix, suffix) = match t {
                Target::Record(_) | Target::Tag(_) | Target::Answer(_) | Target::Prefix(_) => {
                    continue
                }
                Target::Index(ix, suffix) => (*ix, &suffix[..]),
                Target::All(ix) => (*ix, &b"*"[..]),
            };
            cluster::send_on(st, ctx, ix, suffix)?;
        }
        let mut dropped = 0i64;
        for name in a.get(1..).unwrap_or(&[]) {
            log::event("cache_invalidated", name, &[]);
        }
        let (counted, ticket) = cut(st, &targets);
        dropped += counted.unwrap_or(0);
        for t in targets {
            dropped += match t {
                Target::Tag(_) | Target::Answer(_) | Target::Prefix(_) => 0,
                Target::Record(k) => {
                    let seq = clock::next();
                    i64::from(store::invalidate(st, ctx, k.ix, &k.id, seq))
                }
                Target::Index(ix, suffix) => invalidate_index(st, ctx, ix, &suffix),
                Target::All(ix) => change::entity(st, ctx, ix) as i64,
            };
        }
        match ticket {
            Some(ticket) => Ok(count_on(st, ctx, ticket, dropped)),
            None => Ok(Some(Body::Int(dropped))),
        }
    });
    match r {
        // It is answered when all is counted.
        Some(Ok(None)) => 0,
        Some(Ok(Some(body))) => body.send(ctx),
        Some(Err(why)) => reply::error(ctx, &why),
        None => reply::error(ctx, "ERR internal error: the cache is busy"),
    }
}

/// Many answers are thrown away: the client waits until they are counted, in slices. One that may not wait has it done at once.
fn count_on(st: &mut State, ctx: Ctx, ticket: Ticket, n: i64) -> Option<Body> {
    if ffi::may_wait(ctx) {
        if let Some(client) = Blocked::block(ctx, 0) {
            let client = Some(client);
            st.answers.counting.insert(ticket, Counting { client, n });
            rounds::answers_wake();
            return None;
        }
    }
    while st.answers.core.work(100_000) {}
    let finished = st.answers.core.take_finished();
    let of = |t: &(Ticket, u64)| (t.0 == ticket).then_some(t.1 as i64);
    Some(Body::Int(n + finished.iter().find_map(of).unwrap_or(0)))
}

/// The members of an index, and its set.
fn invalidate_index(st: &mut State, ctx: Ctx, ix: EntityIx, suffix: &[u8]) -> i64 {
    if st.get(ix).is_some_and(cluster::is_split) {
        // Who its members are is known at neither node.
        return change::entity(st, ctx, ix) as i64;
    }
    let ids = match st.get(ix).map(|e| store::read_set(ctx, e, suffix)) {
        Some(Set::Complete { ids, .. }) => ids,
        _ => Vec::new(),
    };
    let seq = clock::next();
    change::set_outdated(st, ix, suffix, seq);
    let mut n = 0;
    for id in ids {
        let seq = clock::next();
        n += i64::from(store::invalidate(st, ctx, ix, &id, seq));
    }
    store::drop_set(st, ctx, ix, suffix);
    if let Some(e) = st.get(ix) {
        store::signal_fetch(ctx, &key::set(&e.name, suffix));
    }
    n
}

unsafe fn tombstone_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..) else {
        return 0;
    };
    let r = cell::enter(|st| {
        let keys = a
            .get(1..)
            .unwrap_or(&[])
            .iter()
            .map(|n| args::record_key(st, n))
            .collect::<Result<Vec<_>, _>>()?;
        let now = ffi::now_ms();
        let mut n = 0i64;
        for k in keys {
            n += i64::from(tell_gone(st, ctx, &k, now, now));
        }
        Ok(n)
    });
    answer(ctx, r.map(|r| r.map(Body::Int)))
}

/// A record is known to be gone; true if it was cached.
pub(crate) fn tell_gone(st: &mut State, ctx: Ctx, k: &RecordKey, now: u64, told_at: u64) -> bool {
    let Some(e) = st.get(k.ix) else { return false };
    let lane = Lane::of(e, Cause::Get);
    let seq = clock::next();
    let (header, expire_at) = form::tombstone(&lane, seq, now, told_at);
    let (_, cached) = store::put_tomb(st, ctx, k.ix, &k.id, header, expire_at, By::Told);
    store::signal_fetch(ctx, &k.name);
    log::event(
        "cache_invalidated",
        &k.name,
        &[("detail", "tombstone".into())],
    );
    cached
}

unsafe fn upsert_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 3..) else {
        return 0;
    };
    let at = match a.get(3..) {
        None | Some([]) => None,
        Some([word, ms]) if word.eq_ignore_ascii_case(b"AT") => match args::decimal(ms) {
            Some(ms) => Some(outside::told_ms(ms, ffi::now_ms())),
            None => return reply::error(ctx, &args::syntax(ms, "is no unix time in ms (AT)")),
        },
        Some([word, ..]) => {
            return reply::error(ctx, &args::syntax(word, "is no option of this command"))
        }
    };
    let (name, json) = (
        a.get(1).copied().unwrap_or(b""),
        a.get(2).copied().unwrap_or(b""),
    );
    let r = cell::enter(|st| {
        let k = args::record_key(st, name)?;
        let (cells, source) = record::read_upsert(&k.id, json)
            .map_err(|why| format!("BADRECORD {}: {why}", key::shown(name)))?;
        let stored = as_of(st, at, |st| tell(st, ctx, &k, &cells, source, at))?;
        Ok(i64::from(stored))
    });
    answer(ctx, r.map(|r| r.map(Body::Int)))
}

/// When what is told was so, as a header says it.
pub(crate) fn told_at(at: Option<u64>, now: u64) -> u64 {
    at.unwrap_or(now).max(WRITTEN + 1)
}

/// A fetched copy within this many ms of what is told decides nothing: the record is put in doubt.
const TOO_CLOSE_MS: u64 = 60_000;

/// Is what is told older than the copy or the tombstone, or than what was known of the record until it was dropped? Too close
/// to call, or without a copy to go by, the record is put in doubt. Err: the key holds what is not ours.
pub(crate) fn too_late(
    st: &mut State,
    ctx: Ctx,
    k: &RecordKey,
    at: Option<u64>,
) -> Result<bool, String> {
    let Some(e) = st.get(k.ix) else {
        return Ok(false);
    };
    let known = match store::copy(ctx, e, &k.id, false) {
        Copy::Foreign => return Err(reply::wrong_type(&k.name)),
        Copy::Record(b) => Entry::read(b, &k.name).map(|c| c.header),
        Copy::Tomb(h) => Some(h),
        Copy::Absent => None,
    };
    let Some(at) = at else { return Ok(false) };
    // A time that no clock has reached is not later than what is told now.
    let known = known.filter(|h| clock::believes(outside::of_header(h)));
    let as_of = known.map_or_else(|| e.before.of(&k.id), |h| h.as_of());
    if at >= as_of {
        return Ok(false);
    }
    // When a fetched copy was true is known only roughly, and clocks differ.
    if known.is_none_or(|h| !h.is_told() && h.asked_ms - at < TOO_CLOSE_MS) {
        let seq = clock::next();
        store::invalidate(st, ctx, k.ix, &k.id, seq);
    }
    Ok(true)
}

/// Runs `f`, which applies what was so at `at`: what it puts in doubt is in doubt as of then.
pub(crate) fn as_of<R>(st: &mut State, at: Option<u64>, f: impl FnOnce(&mut State) -> R) -> R {
    st.telling_ms = at;
    let r = f(st);
    st.telling_ms = None;
    r
}

/// The whole record as somebody tells it; true if it was stored. Err: the key holds what is not ours.
pub(crate) fn tell(
    st: &mut State,
    ctx: Ctx,
    k: &RecordKey,
    cells: &Map<String, Value>,
    source: Source,
    at: Option<u64>,
) -> Result<bool, String> {
    let Some(e) = st.get(k.ix) else {
        return Ok(false);
    };
    let now = ffi::now_ms();
    let lane = Lane::of(e, Cause::Get);
    if too_late(st, ctx, k, at)? {
        return Ok(false);
    }
    let Some(cells) = columns::told(&lane.base, &lane.spec, cells) else {
        let seq = clock::next();
        store::invalidate(st, ctx, k.ix, &k.id, seq);
        return Ok(false);
    };
    let shaped = record::shape(&lane.spec, &k.id, &cells, source);
    let seq = clock::next();
    let stored = form::encode(&lane, &k.id, &shaped, seq, now, told_at(at, now));
    let before = store::links_before(st, ctx, k.ix, &k.id);
    let links = Entry::read(&stored.bytes, &k.name)
        .map(|entry| store::link_cells(st, k.ix, &entry))
        .unwrap_or_default();
    let kept = if shaped.lacks_required {
        if let Some(e) = st.get_mut(k.ix) {
            e.figures.schema_violations += 1;
        }
        false
    } else {
        let (bytes, end) = (&stored.bytes, stored.expire_at);
        store::put(st, ctx, k.ix, &k.id, bytes, end, By::Told) == Stored::Yes
    };
    if !kept {
        // What cannot be stored is at least not answered from the old copy.
        store::invalidate(st, ctx, k.ix, &k.id, seq);
    }
    match before {
        None => store::doubt_gained(st, ctx, k.ix, &k.id, &links),
        // What is stored was compared with them.
        Some(before) if !kept => store::relink(st, ctx, k.ix, &k.id, &before, &links),
        Some(_) => {}
    }
    Ok(kept)
}

pub(crate) fn answer(ctx: Ctx, r: Option<Result<Body, String>>) -> c_int {
    match r {
        Some(Ok(b)) => b.send(ctx),
        Some(Err(why)) => reply::error(ctx, &why),
        None => reply::error(ctx, "ERR internal error: the cache is busy"),
    }
}
