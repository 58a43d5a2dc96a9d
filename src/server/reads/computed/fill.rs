//! FILL and RELEASE: what became of a computation.

use crate::server::reads::computed::used::{are_used, MOST_MEMBERS};
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::query;
use crate::server::store::{self, answers, cluster, Copy, Set};
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::log;
use crate::server::valkey::settings;
use podium_core::computed::answers::{Fill, Named, Refused};
use podium_core::computed::lease::Token;
use podium_core::computed::stored::Header;
use podium_core::computed::thing::{known, Content, Dep, Kind, ABSENT, UNKNOWN};
use podium_core::computed::uses::Used;
use podium_core::entry::{hash, Entry};
use podium_core::key::{self, Name};

/// What FILL was given.
pub(crate) struct Given<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) token: Option<Token>,
    /// A token was given that never was one.
    pub(crate) bad_token: bool,
    pub(crate) ttl_s: Option<u64>,
    pub(crate) tags: &'a [&'a [u8]],
    pub(crate) used: &'a [&'a [u8]],
}

fn dep(kind: Kind, name: &[u8], content: Content, entity: Option<EntityIx>) -> Named {
    let dep = Dep {
        thing: answers::thing(kind, name),
        kind,
        content,
        name: None,
    };
    Named::Thing(Used { dep, entity })
}

/// What a key in USED stands for, with what the cache knows of it; until when that is fresh, unless the feed says when it
/// changes. The error is the whole reply.
fn resolve(
    st: &State,
    ctx: Ctx,
    name: &[u8],
    named: &mut Vec<Named>,
    until: &mut u64,
) -> Result<(), String> {
    if st.resources.of_key(name).is_some() {
        let found = answers::read(ctx, name, |s| {
            (
                s.header.content,
                s.header.fresh_until,
                s.place(st.answers.process),
            )
        });
        let (content, at) = match found {
            Some((content, fresh_until, at)) => {
                *until = (*until).min(fresh_until);
                (content, at)
            }
            None => (ABSENT, None),
        };
        let own = Dep {
            thing: answers::thing(Kind::Computed, name),
            kind: Kind::Computed,
            content,
            name: Some(name.into()),
        };
        named.push(Named::Answer { own, at });
        return Ok(());
    }
    let entity = |e: &str| st.by_name(e).ok_or_else(|| cluster::no_entity(e));
    match key::parse(name) {
        Some(Name::Record { entity: e, id }) => {
            let e = entity(e)?;
            named.push(record(ctx, e, id, until));
            Ok(())
        }
        Some(Name::All { entity: e }) => {
            let e = entity(e)?;
            // Its records too, where they are known: one that is fetched anew and is the same is no change.
            if let Set::Complete { ids, .. } = store::read_set(ctx, e, b"*") {
                if ids.len() <= MOST_MEMBERS {
                    named.extend(ids.iter().map(|id| record(ctx, e, id, until)));
                }
            }
            named.push(dep(Kind::Whole, &key::all(&e.name), UNKNOWN, Some(e.ix)));
            Ok(())
        }
        Some(Name::Index { entity: e, field, value }) => {
            let e = entity(e)?;
            let condition = query::condition(e, field, value)?;
            let name = [e.name.as_bytes(), b":", &condition.suffix].concat();
            match store::read_set(ctx, e, &condition.suffix) {
                Set::Complete { ids, .. } if ids.len() > MOST_MEMBERS => {
                    named.push(dep(Kind::Whole, &key::all(&e.name), UNKNOWN, Some(e.ix)));
                }
                Set::Complete { ids, sentinel } => {
                    if e.feed.from == 0 {
                        *until = (*until).min(sentinel.fresh_until);
                    }
                    named.extend(ids.iter().map(|id| record(ctx, e, id, until)));
                    named.push(dep(Kind::Set, &name, answers::content_of_set(&ids), Some(e.ix)));
                }
                Set::Absent | Set::Foreign => {
                    // Who is in it is not known: any record of the entity may be.
                    named.push(dep(Kind::Set, &name, UNKNOWN, Some(e.ix)));
                    named.push(dep(Kind::Whole, &key::all(&e.name), UNKNOWN, Some(e.ix)));
                }
            }
            Ok(())
        }
        _ => Err(format!(
            "BADKEY '{}' (USED) names neither a record (<entity>:<id>), an index (<entity>:<field>:<value>), an entity (<entity>:*) nor a computed answer",
            key::shown(name)
        )),
    }
}

fn record(
    ctx: Ctx,
    e: &crate::server::state::entities::Entity,
    id: &str,
    until: &mut u64,
) -> Named {
    let name = key::record(&e.name, id);
    let now = ffi::now_ms();
    let content = match store::copy(ctx, e, id, false) {
        Copy::Record(b) => match Entry::read(b, &name) {
            Some(entry) => {
                if !e.feed.renews(&entry.header, now) {
                    *until = (*until).min(entry.header.fresh_until.max(now));
                }
                answers::content(&entry)
            }
            None => UNKNOWN,
        },
        Copy::Tomb(h) => {
            *until = (*until).min(h.fresh_until.max(now));
            ABSENT
        }
        Copy::Absent | Copy::Foreign => UNKNOWN,
    };
    dep(Kind::Record, &name, content, Some(e.ix))
}

/// In a cluster: is something named that another node may be told of? The error is the whole reply.
fn elsewhere(g: &Given) -> Option<String> {
    let used = g.used.iter().find_map(|u| cluster::apart(g.key, u, "USED"));
    used.or_else(|| g.tags.iter().find_map(|t| cluster::tag_apart(g.key, t)))
}

/// Stores an answer; false: the lease is over, or something it was computed from changed. The error is the whole reply.
pub(crate) fn fill(st: &mut State, ctx: Ctx, g: &Given) -> Result<bool, String> {
    let now_ms = ffi::now_ms();
    let Some(r) = st.resources.of_key(g.key) else {
        return Err(super::no_resource(g.key));
    };
    let spec = r.spec.clone();
    let generation = r.generation;
    if g.value.len() as u64 > spec.max_bytes {
        if let Some(token) = g.token {
            release(st, ctx, g.key, token);
        }
        log::event("cache_skip", g.key, &[("detail", "too large".into())]);
        return Err(format!(
            "TOOBIG the value has {} bytes, more than the resource allows (max_bytes {}): raise it with PODIUM.SPEC SET, or store less",
            g.value.len(),
            spec.max_bytes
        ));
    }
    if let Some(why) = elsewhere(g) {
        return Err(why);
    }
    if !cluster::may_fill(st, g.key) {
        match g.token {
            Some(token) => drop(st.answers.core.release(token, g.key, now_ms, false)),
            // What is there is older than what was to be stored.
            None if !g.bad_token => drop(store::remove_key(ctx, g.key)),
            None => {}
        }
        let detail = "its slot is moving to another node";
        log::event("cache_skip", g.key, &[("detail", detail.into())]);
        if let Some(r) = st.resources.of_key_mut(g.key) {
            r.figures.refused += 1;
        }
        return Ok(false);
    }
    let mut named = Vec::new();
    let mut until = u64::MAX;
    for name in g.used {
        resolve(st, ctx, name, &mut named, &mut until)?;
    }
    for tag in g.tags {
        named.push(dep(Kind::Tag, tag, UNKNOWN, None));
    }
    are_used(st, &named);
    if let Some(read) = g.token.and_then(|t| st.answers.fresh_until.remove(&t)) {
        until = until.min(read);
    }
    let content = known(hash(g.value));
    let wholes: std::collections::HashMap<EntityIx, u64> = st
        .entities()
        .map(|e| (e.ix, answers::thing(Kind::Whole, &key::all(&e.name))))
        .collect();
    let whole = |ix: EntityIx| wholes.get(&ix).copied().unwrap_or(0);
    let seq = clock::next();
    // What it was computed from may be another by now: that is looked at by who computes it next.
    let doubtful = |t: Token| st.answers.core.in_doubt(t, &named, now_ms);
    let doubtful = g.token.filter(|t| doubtful(*t));
    let core = Fill {
        key: g.key,
        thing: answers::thing(Kind::Computed, g.key),
        content,
        named,
        now_ms,
        seq,
    };
    let filled = match g.token {
        _ if g.bad_token => Err(Refused::Over),
        Some(token) if doubtful.is_some() => {
            let its = st.answers.core.release(token, g.key, now_ms, false);
            Err(if its { Refused::Changed } else { Refused::Over })
        }
        Some(token) => st.answers.core.fill(token, core, whole),
        None => st.answers.core.put(core, whole),
    };
    let figures = |st: &mut State, stored: bool| {
        if let Some(r) = st.resources.of_key_mut(g.key) {
            if stored {
                r.figures.fills += 1;
            } else {
                r.figures.refused += 1;
            }
        }
    };
    // (What was made of the answer that was there is none any more.)
    answers::stir(st);
    let filled = match filled {
        Ok(filled) => filled,
        Err(why) => {
            let why = match why {
                Refused::Over => "the lease is over",
                Refused::Changed => "something it used changed",
            };
            log::event("cache_skip", g.key, &[("detail", why.into())]);
            figures(st, false);
            crate::server::state::rounds::answers_wake();
            return Ok(false);
        }
    };
    let ttl_ms = g
        .ttl_s
        .or(spec.ttl_s)
        .map_or_else(|| settings::TTL.seconds_as_ms(), |s| s.saturating_mul(1000));
    let jitter = spec
        .jitter
        .unwrap_or(settings::JITTER_PERCENT.get() as f64 / 100.0);
    let spread = if g.ttl_s.is_some() { 0.0 } else { jitter };
    let ttl_ms = podium_core::freshness::spread(ttl_ms, spread, ffi::random_u64()).max(1);
    let fresh_until = now_ms.saturating_add(ttl_ms).min(until);
    let if_error = spec.stale_if_error_s.map_or_else(
        || settings::STALE_IF_ERROR.seconds_as_ms(),
        |s| s.saturating_mul(1000),
    );
    let beyond = spec.grace_s.saturating_mul(1000).max(if_error);
    let dead_at = fresh_until.saturating_add(beyond);
    let header = Header {
        generation,
        stored_ms: now_ms,
        fresh_until,
        dead_at,
        seq,
        took_ms: filled.took_ms,
        content,
        ..Header::default()
    };
    // (Not at once: whoever waited for it still reads it.)
    let expire_at = dead_at.max(now_ms + 1);
    let stored = answers::write(st, ctx, g.key, header, filled.place, g.value, expire_at);
    figures(st, stored);
    if !stored {
        log::event(
            "cache_skip",
            g.key,
            &[("detail", "the server takes no writes now".into())],
        );
    }
    crate::server::state::rounds::answers_wake();
    Ok(stored)
}

/// The computation failed; true: that was its lease.
pub(crate) fn release(st: &mut State, ctx: Ctx, name: &[u8], token: Token) -> bool {
    let now_ms = ffi::now_ms();
    let old = answers::read(ctx, name, |s| now_ms < s.header.dead_at) == Some(true);
    st.answers.fresh_until.remove(&token);
    let released = st.answers.core.release(token, name, now_ms, old);
    crate::server::state::rounds::answers_wake();
    released
}
