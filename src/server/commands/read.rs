//! PODIUM.GET, PODIUM.MGET, PODIUM.INDEX, PODIUM.INTER.
//!
//! ```text
//! PODIUM.GET   <entity>:<id> [VIEW <view>|*] [NOCACHE|CACHEONLY|MAXAGE <s>] [NOWAIT] [META]
//! PODIUM.MGET  <numkeys> <entity>:<id> […] [options of GET]
//! PODIUM.INDEX <entity>:<field>:<value>|<entity>:* [options of GET] [SORT <field> [ASC|DESC]] [LIMIT <offset> <count>] [IDS|COUNT]
//! PODIUM.INTER <numkeys> <entity>:<field>:<value> […] [options of INDEX]
//! ```

use crate::server::commands::args;
use crate::server::commands::quick;
use crate::server::commands::rights;
use crate::server::commands::{entry, in_database_0, numkeys_positions};
use crate::server::reads;
use crate::server::reads::ahead;
use crate::server::reads::computed;
use crate::server::state::cell;
use crate::server::state::entities::State;
use crate::server::state::query::{Ask, Options, Query, View};
use crate::server::store::cluster;
use crate::server::valkey::ffi::{self, args, bytes, cached_now_ms, rm, Argv, Ctx, Key};
use crate::server::valkey::reply;
use crate::server::valkey::settings;
use crate::server::valkey::tracking;
use podium_core::computed::stored::Stored;
use podium_core::entry::Entry;
use podium_core::key;
use std::ffi::c_int;
use std::sync::Arc;

/// Most keys of one MGET or INTER.
const MOST_KEYS: u64 = 1000;

entry!(get, get_inner);
entry!(mget, mget_inner);
entry!(index, index_inner);
entry!(inter, inter_inner);

/// Is a hit nothing but its bytes: is the cache on, and are hits not logged?
#[inline]
fn plain() -> bool {
    settings::enabled() && !settings::logging()
}

/// Answers a plain GET from a fresh copy: one lookup, one copy into the client's buffer. False: the general way decides.
#[inline]
unsafe fn hit(ctx: Ctx, argv: Argv) -> bool {
    let raw_name = *argv.add(1);
    let name = bytes(raw_name);
    let key = Key::read(ctx, raw_name);
    let Some(body) = key.body() else { return false };
    ffi::ahead(body);
    let Some(e) = Entry::read(body, name) else {
        return computed_hit(ctx, body, name);
    };
    let now = cached_now_ms();
    let h = e.header;
    if now >= h.dead_at {
        return false;
    }
    // Past its freshness a copy is a hit if the change feed vouches for it.
    let vouched = (now >= h.fresh_until).then_some(h.seq);
    if vouched.is_some() && !podium_core::feed::can_renew(&h) {
        return false;
    }
    if cell::enter(|st| st.hit(h.generation, now, vouched)) != Some(true) {
        return false;
    }
    if tracking::somebody_waits() {
        tracking::read(name);
    }
    let answer = e.answer();
    rm!(RedisModule_ReplyWithStringBuffer(
        ctx,
        answer.as_ptr().cast(),
        answer.len()
    ));
    // The reply is on its way before the copy is touched again.
    if vouched.is_none()
        && podium_core::refresh::near_end(
            h.fresh_until.wrapping_sub(h.asked_ms),
            h.fresh_until - now,
        )
    {
        ahead::refresh(ctx, name, &h, now);
    }
    true
}

/// The same for a computed answer.
#[inline(never)]
unsafe fn computed_hit(ctx: Ctx, body: &[u8], name: &[u8]) -> bool {
    let Some(a) = Stored::read(body, name) else {
        return false;
    };
    let now = cached_now_ms();
    if cell::enter(|st| computed::hit::is_hit(st, &a, now)) != Some(true) {
        return false;
    }
    if tracking::somebody_waits() {
        tracking::read(name);
    }
    rm!(RedisModule_ReplyWithStringBuffer(
        ctx,
        a.value.as_ptr().cast(),
        a.value.len()
    ));
    true
}

/// Answers a plain MGET whose records are all fresh copies. False: the general way decides.
unsafe fn all_hit(ctx: Ctx, argv: Argv, n: c_int) -> bool {
    let now = cached_now_ms();
    let mut answers: Vec<(*const u8, usize)> = Vec::with_capacity(n as usize);
    let mut generations: Vec<u64> = Vec::with_capacity(n as usize);
    let mut renewals: Vec<(c_int, podium_core::entry::Header)> = Vec::new();
    for i in 2..2 + n {
        let raw_name = *argv.add(i as usize);
        let name = bytes(raw_name);
        let key = Key::read(ctx, raw_name);
        let entry = key.body().and_then(|body| {
            ffi::ahead(body);
            Entry::read(body, name)
        });
        let fresh = entry.filter(|e| now < e.header.fresh_until && now < e.header.dead_at);
        let served = fresh
            .filter(|e| cell::enter(|st| st.hit(e.header.generation, now, None)) == Some(true));
        let Some(e) = served else {
            cell::enter(|st| generations.iter().for_each(|g| st.unhit(*g)));
            return false;
        };
        let (h, answer) = (e.header, e.answer());
        if tracking::somebody_waits() {
            tracking::read(name);
        }
        generations.push(h.generation);
        // The bytes belong to the keyspace, which nothing changes before the reply is written below.
        answers.push((answer.as_ptr(), answer.len()));
        if podium_core::refresh::near_end(
            h.fresh_until.wrapping_sub(h.asked_ms),
            h.fresh_until - now,
        ) {
            renewals.push((i, h));
        }
    }
    rm!(RedisModule_ReplyWithArray(ctx, i64::from(n)));
    for (at, len) in answers {
        rm!(RedisModule_ReplyWithStringBuffer(ctx, at.cast(), len));
    }
    for (i, h) in renewals {
        ahead::refresh(ctx, bytes(*argv.add(i as usize)), &h, now);
    }
    true
}

unsafe fn get_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    if argc < 2 {
        return rm!(RedisModule_WrongArity(ctx));
    }
    if !in_database_0(ctx) {
        return 0;
    }
    if argc == 2 && plain() && hit(ctx, argv) {
        return 0;
    }
    if argc > 2 && plain() && quick::get(ctx, argv, argc) {
        return 0;
    }
    let a = args(argv, argc);
    let query = cell::enter(|st| parse_get(ctx, st, &a));
    run(ctx, query)
}

fn run(ctx: Ctx, query: Option<Result<Query, String>>) -> c_int {
    match query {
        Some(Ok(q)) => reads::read(ctx, q),
        Some(Err(why)) => reply::error(ctx, &why),
        None => reply::error(ctx, "ERR internal error: the cache is busy"),
    }
}

fn parse_get(ctx: Ctx, st: &State, a: &[&[u8]]) -> Result<Query, String> {
    let options = args::options(a.get(2..).unwrap_or(&[]), false)?;
    let k = args::record_key(st, a.get(1).copied().unwrap_or(b""))?;
    check_entity(ctx, st, k.ix, &options)?;
    check_computed(k.ix, &options)?;
    check_for(&options, &[&k.name])?;
    Ok(Query {
        ask: Ask::Get(k),
        options,
    })
}

/// A computed answer has no views.
fn check_computed(ix: u32, options: &Options) -> Result<(), String> {
    if ix == computed::COMPUTED && options.view != View::Default {
        return Err(args::syntax(b"VIEW", "is no option for a computed answer"));
    }
    Ok(())
}

/// In a cluster a read is for a computation of its own hash tag: of others this node knows nothing.
fn check_for(options: &Options, names: &[&[u8]]) -> Result<(), String> {
    let Some(token) = options.for_token else {
        return Ok(());
    };
    let apart = names.iter().find_map(|n| cluster::not_for(token, n));
    apart.map_or(Ok(()), Err)
}

fn check_entity(ctx: Ctx, st: &State, ix: u32, options: &Options) -> Result<(), String> {
    let Some(e) = st.get(ix) else { return Ok(()) };
    rights::check_view(ctx, e, &options.view)
}

unsafe fn mget_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    if rm!(RedisModule_IsKeysPositionRequest(ctx)) != 0 {
        return numkeys_positions(ctx, argv, argc);
    }
    if !in_database_0(ctx) {
        return 0;
    }
    if argc > 2 && plain() {
        let n = args::decimal(bytes(*argv.add(1)));
        if n == u64::try_from(argc - 2).ok()
            && argc - 2 <= MOST_KEYS as c_int
            && all_hit(ctx, argv, argc - 2)
        {
            return 0;
        }
    }
    let a = args(argv, argc);
    let query = cell::enter(|st| {
        let (keys, rest) = args::counted(a.get(1..).unwrap_or(&[]), MOST_KEYS)?;
        let options = args::options(rest, false)?;
        let keys = keys
            .iter()
            .map(|n| args::record_key(st, n))
            .collect::<Result<Vec<_>, _>>()?;
        check_for(
            &options,
            &keys.iter().map(|k| &k.name[..]).collect::<Vec<_>>(),
        )?;
        let mut checked = Vec::new();
        for k in &keys {
            if !checked.contains(&k.ix) {
                check_entity(ctx, st, k.ix, &options)?;
                check_computed(k.ix, &options)?;
                checked.push(k.ix);
            }
        }
        Ok(Query {
            ask: Ask::Many(keys),
            options,
        })
    });
    run(ctx, query)
}

unsafe fn index_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    if argc < 2 {
        return rm!(RedisModule_WrongArity(ctx));
    }
    if !in_database_0(ctx) {
        return 0;
    }
    if plain() && quick::index(ctx, argv, argc) {
        return 0;
    }
    let a = args(argv, argc);
    let query = cell::enter(|st| {
        let options = args::options(a.get(2..).unwrap_or(&[]), true)?;
        parse_index(ctx, st, a.get(1..2).unwrap_or(&[]), options)
    });
    run(ctx, query)
}

unsafe fn inter_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    if rm!(RedisModule_IsKeysPositionRequest(ctx)) != 0 {
        return numkeys_positions(ctx, argv, argc);
    }
    if !in_database_0(ctx) {
        return 0;
    }
    let a = args(argv, argc);
    let query = cell::enter(|st| {
        let (keys, rest) = args::counted(a.get(1..).unwrap_or(&[]), MOST_KEYS)?;
        let options = args::options(rest, true)?;
        if let Some(all) = keys
            .iter()
            .find(|k| matches!(key::parse(k), Some(key::Name::All { .. })))
        {
            return Err(reply::bad_index_key(all));
        }
        parse_index(ctx, st, keys, options)
    });
    run(ctx, query)
}

/// The conditions of INDEX and INTER, and the rights they need.
fn parse_index(ctx: Ctx, st: &State, keys: &[&[u8]], options: Options) -> Result<Query, String> {
    let mut ix = None;
    let mut conditions = Vec::with_capacity(keys.len());
    let mut names: Vec<Arc<[u8]>> = Vec::with_capacity(keys.len());
    let mut given = Vec::new();
    for name in keys {
        let (i, condition) = args::index_key(st, name)?;
        if ix.is_some_and(|x| x != i) {
            return Err(format!(
                "BADKEY all keys of PODIUM.INTER are of one entity; '{}' is of another",
                key::shown(name)
            ));
        }
        ix = Some(i);
        let e = st.get(i).ok_or("ERR internal error")?;
        match condition {
            Some(c) => {
                rights::check_field(ctx, e, c.field)?;
                let normal = key::set(&e.name, &c.suffix);
                rights::check_normal_form(ctx, name, &normal)?;
                let normal: Arc<[u8]> = normal.into();
                if *normal != **name {
                    given.push((normal.clone(), (*name).into()));
                }
                names.push(normal);
                conditions.push(c);
            }
            None => names.push((*name).into()),
        }
    }
    let ix = ix.ok_or("ERR syntax error: no key")?;
    check_for(&options, keys)?;
    let e = st.get(ix).ok_or("ERR internal error")?;
    rights::check_view(ctx, e, &options.view)?;
    if let Some((field, _)) = &options.sort {
        let f = e.spec.field(field).filter(|f| e.spec.fields().get(*f as usize).is_some_and(|f| f.sortable)).ok_or_else(|| {
            let have: Vec<&str> = e.spec.fields().iter().filter(|f| f.sortable).map(|f| f.name.as_str()).collect();
            format!(
                "NOSORT '{}' is not a sortable field of {}: add it to \"sortable\" in the spec (sortable now: {})",
                key::shown(field.as_bytes()),
                e.name,
                if have.is_empty() { "none".to_string() } else { have.join(", ") }
            )
        })?;
        rights::check_field(ctx, e, f)?;
    }
    Ok(Query {
        ask: Ask::Index {
            ix,
            conditions,
            names,
            given,
        },
        options,
    })
}
