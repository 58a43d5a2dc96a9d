//! PODIUM.INVALIDATE, PODIUM.TOMBSTONE, PODIUM.UPSERT: what clients tell the cache.
//!
//! ```text
//! PODIUM.INVALIDATE <entity>:<id>|<entity>:<field>:<value>|<entity>:* […]
//! PODIUM.TOMBSTONE  <entity>:<id> […]
//! PODIUM.UPSERT     <entity>:<id> <json> [AT <unix-ms>]
//! ```

mod large;
mod record;
mod work;

pub(crate) use crate::server::commands::tell::record::{as_of, tell, tell_gone, told_at, too_late};

use crate::server::commands::answers::check_tag;
use crate::server::commands::args;
use crate::server::commands::rights;
use crate::server::commands::{entry, words};
use crate::server::state::cell;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::query::RecordKey;
use crate::server::store::cluster;
use crate::server::upkeep::slots;
use crate::server::valkey::ffi::{self, Argv, Ctx};
use crate::server::valkey::log;
use crate::server::valkey::reply::{self, Body};
use hashbrown::HashSet;
use podium_core::key::{self, Name};
use podium_core::outside;
use podium_core::record as cells;
use std::ffi::c_int;

entry!(invalidate, invalidate_inner);
entry!(tombstone, tombstone_inner);
entry!(upsert, upsert_inner);

enum Target {
    Record(RecordKey),
    /// It is known to be gone.
    Gone(RecordKey),
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
            let checked =
                check_tag(tag).and_then(|()| cluster::unsettled_tag(st, name).map_or(Ok(()), Err));
            return Some(checked.map(|()| Target::Tag(tag.to_vec())));
        }
    }
    st.resources.of_key(name)?;
    Some(Ok(match name.strip_suffix(b"*") {
        Some(prefix) => Target::Prefix(prefix.to_vec()),
        None => Target::Answer(name.to_vec()),
    }))
}

unsafe fn invalidate_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..) else {
        return 0;
    };
    let r = cell::enter(|st| {
        // What is left of a slot that went, and is coming again, knows nothing of what is at the other node.
        slots::look(ctx, st);
        let mut targets = Vec::with_capacity(a.len());
        for name in distinct(&a) {
            if name == b"*" {
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
                    if let Some(again) = cluster::unsettled_key(name) {
                        return Err(again);
                    }
                    return Err(format!(
                        "BADKEY '{}' names neither a record (<entity>:<id>), an index (<entity>:<field>:<value>) nor an entity (<entity>:*)",
                        key::shown(name)
                    ))
                }
            });
        }
        for t in &targets {
            let (ix, suffix) = match t {
                Target::Index(ix, suffix) => (*ix, &suffix[..]),
                Target::All(ix) => (*ix, &b"*"[..]),
                _ => continue,
            };
            cluster::send_on(st, ctx, ix, suffix)?;
        }
        for name in distinct(&a) {
            log::event("cache_invalidated", name, &[]);
        }
        Ok(work::begin(st, ctx, targets))
    });
    sent(ctx, r)
}

/// The command's keys, each once: to say it twice tells nothing more.
fn distinct<'a>(words: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    let mut seen = HashSet::new();
    let names = words.get(1..).unwrap_or(&[]).iter().copied();
    names.filter(move |name| seen.insert(*name))
}

/// Replies, unless the client waits for the rest.
fn sent(ctx: Ctx, r: Option<Result<Option<Body>, String>>) -> c_int {
    match r {
        Some(Ok(None)) => ffi::OK,
        other => answer(ctx, other.map(|r| r.map(|body| body.unwrap_or(Body::Null)))),
    }
}

unsafe fn tombstone_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..) else {
        return 0;
    };
    let r = cell::enter(|st| {
        let keys = distinct(&a)
            .map(|n| args::record_key(st, n).map(Target::Gone))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(work::begin(st, ctx, keys))
    });
    sent(ctx, r)
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
        if large::is(json) && argc > 2 && large::begin(ctx, &k, *argv.add(2), at) {
            return Ok(None);
        }
        let (told, source) = cells::read_upsert(&k.id, json)
            .map_err(|why| format!("BADRECORD {}: {why}", key::shown(name)))?;
        let stored = as_of(st, at, |st| tell(st, ctx, &k, &told, source, at))?;
        Ok(Some(Body::Int(i64::from(stored))))
    });
    sent(ctx, r)
}

pub(crate) fn answer(ctx: Ctx, r: Option<Result<Body, String>>) -> c_int {
    match r {
        Some(Ok(b)) => b.send(ctx),
        Some(Err(why)) => reply::error(ctx, &why),
        None => reply::error(ctx, "ERR internal error: the cache is busy"),
    }
}
