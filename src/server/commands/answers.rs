//! PODIUM.LEASE, PODIUM.FILL, PODIUM.RELEASE: computed answers.
//!
//! ```text
//! PODIUM.LEASE   <key> [NOCACHE|CACHEONLY|MAXAGE <s>] [NOWAIT] [META]
//! PODIUM.FILL    <key> <value> [TOKEN <token>] [TTL <s>] [TAGS <n> <tag> …] [USED <m> <key> …]
//! PODIUM.RELEASE <key> <token>
//! ```

use crate::server::commands::args::{self, decimal, syntax};
use crate::server::commands::tell::answer;
use crate::server::commands::{entry, in_database_0, words};
use crate::server::reads;
use crate::server::reads::computed::{self, fill};
use crate::server::state::cell;
use crate::server::state::query::{Ask, Query, View};
use crate::server::valkey::ffi::{self, args, bytes, cached_now_ms, rm, Argv, Ctx, Key};
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use crate::server::valkey::tracking;
use podium_core::computed::stored::Stored;
use std::ffi::c_int;

entry!(lease, lease_inner);
entry!(fill, fill_inner);
entry!(release, release_inner);

/// Tags and used keys of one FILL.
const MOST_TAGS: u64 = 1_000_000;
const LONGEST_TAG: usize = 1_024;

/// Answers a plain LEASE from a fresh copy: one lookup, one copy into the client's buffer. False: the general way decides.
#[inline]
unsafe fn hit(ctx: Ctx, argv: Argv) -> bool {
    let raw_name = *argv.add(1);
    let name = bytes(raw_name);
    let key = Key::read(ctx, raw_name);
    let Some(body) = key.body() else { return false };
    ffi::ahead(body);
    let Some(a) = Stored::read(body, name) else {
        return false;
    };
    let now = cached_now_ms();
    if cell::enter(|st| computed::hit::is_lease_hit(st, &a, now)) != Some(true) {
        return false;
    }
    if tracking::somebody_waits() {
        tracking::read(name);
    }
    rm!(RedisModule_ReplyWithArray(ctx, 2));
    rm!(RedisModule_ReplyWithStringBuffer(
        ctx,
        a.value.as_ptr().cast(),
        a.value.len()
    ));
    rm!(RedisModule_ReplyWithNull(ctx));
    true
}

unsafe fn lease_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    if argc < 2 {
        return rm!(RedisModule_WrongArity(ctx));
    }
    if !in_database_0(ctx) {
        return 0;
    }
    if argc == 2 && settings::enabled() && !settings::logging() && hit(ctx, argv) {
        return 0;
    }
    let a = args(argv, argc);
    let name = a.get(1).copied().unwrap_or(b"");
    let query = cell::enter(|st| {
        computed::check_key(st, name)?;
        let options = args::options(a.get(2..).unwrap_or(&[]), false)?;
        if options.view != View::Default {
            return Err(syntax(b"VIEW", "is no option of this command"));
        }
        if options.for_token.is_some() {
            return Err(syntax(b"FOR", "is no option of this command"));
        }
        let key = computed::key_of(st, name).ok_or_else(|| computed::no_resource(name))?;
        Ok(Query {
            ask: Ask::Lease {
                key,
                client: rm!(RedisModule_GetClientId(ctx)),
            },
            options,
        })
    });
    match query {
        Some(Ok(q)) => reads::read(ctx, q),
        Some(Err(why)) => reply::error(ctx, &why),
        None => reply::error(ctx, "ERR internal error: the cache is busy"),
    }
}

/// Words of an option, and what follows them.
type Listed<'a, 'b> = (&'b [&'a [u8]], &'b [&'a [u8]]);

/// `<n> <word> …` behind an option's name: the words, and what follows them.
fn list<'a, 'b>(option: &[u8], rest: &'b [&'a [u8]]) -> Result<Listed<'a, 'b>, String> {
    let n = rest
        .first()
        .and_then(|n| decimal(n))
        .filter(|n| *n <= MOST_TAGS)
        .ok_or_else(|| syntax(option, "needs a number of words and the words"))?;
    let rest = rest.get(1..).unwrap_or(&[]);
    let n = n as usize;
    if n > rest.len() {
        return Err(syntax(option, "announces more words than are given"));
    }
    Ok(rest.split_at(n))
}

/// FILL's arguments behind the value.
fn given<'a>(
    key: &'a [u8],
    value: &'a [u8],
    mut rest: &'a [&'a [u8]],
) -> Result<fill::Given<'a>, String> {
    let mut g = fill::Given {
        key,
        value,
        token: None,
        bad_token: false,
        ttl_s: None,
        tags: &[],
        used: &[],
    };
    let mut seen: Vec<Vec<u8>> = Vec::new();
    while let Some((option, behind)) = rest.split_first() {
        let upper = option.to_ascii_uppercase();
        if seen.contains(&upper) {
            return Err(syntax(option, "is given twice"));
        }
        match &upper[..] {
            b"TOKEN" => {
                let (token, left) = behind
                    .split_first()
                    .ok_or_else(|| syntax(option, "needs a token"))?;
                g.token = computed::token(token);
                g.bad_token = g.token.is_none();
                rest = left;
            }
            b"TTL" => {
                let (ttl, left) = behind
                    .split_first()
                    .ok_or_else(|| syntax(option, "needs a number of seconds"))?;
                let ttl = decimal(ttl).filter(|s| (1..=315_360_000).contains(s));
                g.ttl_s =
                    Some(ttl.ok_or_else(|| syntax(option, "needs a number of seconds from 1"))?);
                rest = left;
            }
            b"TAGS" => (g.tags, rest) = list(option, behind)?,
            b"USED" => (g.used, rest) = list(option, behind)?,
            _ => return Err(syntax(option, "is no option of this command")),
        }
        seen.push(upper);
    }
    for tag in g.tags {
        check_tag(tag)?;
    }
    Ok(g)
}

/// Is this a tag? The error is the whole reply.
pub(crate) fn check_tag(tag: &[u8]) -> Result<(), String> {
    if tag.is_empty() || tag.len() > LONGEST_TAG {
        return Err(format!(
            "BADTAG a tag has 1 to {LONGEST_TAG} bytes, not {}",
            tag.len()
        ));
    }
    Ok(())
}

unsafe fn fill_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 3..) else {
        return 0;
    };
    let (key, value) = (
        a.get(1).copied().unwrap_or(b""),
        a.get(2).copied().unwrap_or(b""),
    );
    let r = cell::enter(|st| {
        computed::check_key(st, key)?;
        let g = given(key, value, a.get(3..).unwrap_or(&[]))?;
        fill::fill(st, ctx, &g).map(|stored| Body::Int(i64::from(stored)))
    });
    answer(ctx, r)
}

unsafe fn release_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 3..=3) else {
        return 0;
    };
    let name = a.get(1).copied().unwrap_or(b"");
    let token = computed::token(a.get(2).copied().unwrap_or(b""));
    let r = cell::enter(|st| {
        computed::check_key(st, name)?;
        let released = token.is_some_and(|t| fill::release(st, ctx, name, t));
        Ok(Body::Int(i64::from(released)))
    });
    answer(ctx, r)
}
