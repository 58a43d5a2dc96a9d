//! Computed answers: what a read of one gets, who computes it, and what became of the computation.
//!
//! Reading order: here (GET, MGET and LEASE judged by the core's table), `fill` (FILL and RELEASE), `used` (what a read FOR a
//! token used), `hit` (the short way of a plain hit), `hands` (the thread that answers who waits and clears away what was dropped).

pub(crate) mod fill;
pub(crate) mod hands;
pub(crate) mod hit;
pub(crate) mod used;

use crate::server::reads::judge::{Judge, Want};
use crate::server::state::answers::Waiting;
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::query::RecordKey;
use crate::server::store::{answers, cluster};
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::ffi::slot;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::log;
use crate::server::valkey::reply::{self, Body, CacheWord, Fwd, InPlace, Meta};
use crate::server::valkey::settings;
use crate::server::valkey::tracking;
use podium_core::computed::answer::{self, Copy, Detail, Options, Others, Reply, Source, Terms};
use podium_core::computed::early::early;
use podium_core::computed::index::Check;
use podium_core::computed::lease::{Ask, Token};
use podium_core::computed::stored::{Header, Stored};
use podium_core::key::{self, Name};
use std::sync::Arc;

/// The entity's number that stands for "a computed key" among the keys of a read.
pub(crate) const COMPUTED: EntityIx = EntityIx::MAX;

/// Doubts that are looked at before an answer is served; with more it is computed anew, which costs less.
const MOST_DOUBTS: usize = 1_000;

/// What LEASE gets.
pub(crate) enum Leased {
    Body(Body),
    /// Something it used is in doubt: it is to be looked at first.
    Need(Vec<Want>),
    /// Somebody computes it.
    Wait,
}

/// What the token of a lease on a key is made from. In a cluster it says whose reads can be for it.
pub(crate) fn chance(name: &[u8]) -> u64 {
    if slot::in_cluster() {
        podium_core::slot::token(name, ffi::random_u64())
    } else {
        ffi::random_u64()
    }
}

/// A token as clients see it.
pub(crate) fn shown(token: Token) -> String {
    format!("{token:016x}")
}

/// A token as a client gave it; `None`: it was never one.
pub(crate) fn token(given: &[u8]) -> Option<Token> {
    let text = std::str::from_utf8(given).ok().filter(|t| t.len() == 16)?;
    Token::from_str_radix(text, 16).ok()
}

/// The reply of LEASE.
fn pair(value: Body, token: Option<Token>) -> Body {
    let token = token.map_or(Body::Null, |t| Body::Bytes(shown(t).into_bytes()));
    Body::List(vec![value, token])
}

/// The same for a client that is answered without a look at the cache.
pub(crate) fn nothing(key: &[u8], meta: bool) -> Body {
    let now = ffi::now_ms();
    let meta = meta.then(|| meta_of(key, None, Source::Miss, Detail::NoLease, now));
    pair(Body::Null, None).with_meta(meta)
}

fn meta_of(key: &[u8], h: Option<&Header>, source: Source, detail: Detail, now: u64) -> Meta {
    let s = |ms: u64| (ms / 1000) as i64;
    Meta {
        cache: match source {
            Source::Hit => CacheWord::Hit,
            Source::Miss => CacheWord::Miss,
            Source::Stale => CacheWord::Stale,
            Source::Bypass => CacheWord::Bypass,
        },
        age: h.map_or(0, |h| s(now.saturating_sub(h.stored_ms))),
        ttl: h.map_or(0, |h| {
            if h.fresh_until >= now {
                s(h.fresh_until - now)
            } else {
                -s((now - h.fresh_until).div_ceil(1000) * 1000)
            }
        }),
        key: key.to_vec(),
        airtable_hits: 0,
        detail: detail.as_str(),
        fwd: Fwd::Not,
        stored: false,
        collapsed: false,
    }
}

impl Judge<'_> {
    pub(in crate::server::reads) fn terms(st: &State, key: &[u8]) -> Option<(Terms, f64)> {
        let r = st.resources.of_key(key)?;
        let if_error = r.spec.stale_if_error_s.map(|s| s.saturating_mul(1000));
        let terms = Terms {
            grace_ms: r.spec.grace_s.saturating_mul(1000),
            if_error_ms: if_error.unwrap_or_else(|| settings::STALE_IF_ERROR.seconds_as_ms()),
            enabled: settings::enabled(),
        };
        Some((terms, r.spec.early))
    }
    fn asked(&self, may_wait: bool) -> Options {
        Options {
            no_cache: self.options.no_cache,
            max_age_ms: self.options.max_age.map(|s| s.saturating_mul(1000)),
            cache_only: self.options.cache_only,
            may_wait: may_wait && !self.options.no_wait,
        }
    }
    /// What is in doubt that an answer used, as far as it was not looked at for this read.
    fn doubts(&self, st: &State, at: podium_core::computed::index::Place) -> Vec<Want> {
        let doubts = st.answers.core.index().doubts(at);
        let mut wants = Vec::new();
        let mut add = |ix: EntityIx, id: &str| {
            let k = (ix, id.into());
            if !self.brought.records.contains_key(&k) {
                wants.push(Want::Record(k.0, k.1));
            }
        };
        for d in &doubts.things {
            if let Some(Name::Record { id, .. }) = key::parse(d.key.as_bytes()) {
                add(d.entity, id);
            }
        }
        for ix in &doubts.entities {
            let Some(e) = st.get(*ix) else { continue };
            e.doubts.iter().for_each(|(id, _)| add(*ix, id));
        }
        wants.dedup_by_key(|w| match w {
            Want::Record(ix, id) => (*ix, id.clone()),
            _ => (0, Default::default()),
        });
        wants
    }
    /// The copy under a computed key, and what it is worth now. Err: what is to be looked at before.
    fn found(
        &self,
        st: &mut State,
        name: &[u8],
        beta: Option<f64>,
    ) -> (Option<(Stored<'static>, Copy)>, Vec<Want>) {
        let looked = if settings::enabled() {
            answers::look(st, self.ctx, name, true)
        } else {
            None
        };
        let Some((answer, mut check)) = looked else {
            return (None, Vec::new());
        };
        let h = answer.header;
        if self.now >= h.dead_at {
            return (None, Vec::new());
        }
        let mut wants = Vec::new();
        if check == Check::Suspended {
            if let Some(at) = answer.place(st.answers.process) {
                wants = self.doubts(st, at);
            }
            if wants.is_empty() || wants.len() > MOST_DOUBTS {
                // It was looked at, in vain, or that would cost more than to compute it.
                wants.clear();
                check = Check::Dropped;
            }
        }
        let early = beta.is_some_and(|beta| {
            let near = h.took_ms.saturating_mul(64);
            beta > 0.0
                && h.fresh_until.saturating_sub(self.now) <= near.saturating_mul(beta.ceil() as u64)
                && early(self.now, h.fresh_until, h.took_ms, beta, ffi::random_u64())
        });
        let copy = Copy {
            check,
            stored_ms: h.stored_ms,
            fresh_until: h.fresh_until,
            early,
        };
        (Some((answer, copy)), wants)
    }
    /// GET of a computed key: its body with META if that is asked for; `None`: what it used is to be looked at, see
    /// [`Judge::wants`].
    pub(crate) fn computed(&mut self, st: &mut State, k: &RecordKey) -> Option<Body> {
        let Some((terms, _)) = Self::terms(st, &k.name) else {
            return Some(Body::error(no_resource(&k.name)));
        };
        let asked = self.asked(true);
        let (found, wants) = self.found(st, &k.name, None);
        if found.is_none() && answers::is_foreign(self.ctx, &k.name) && !asked.no_cache {
            return Some(Body::error(reply::wrong_type(&k.name)));
        }
        let others = Others {
            taken: st.answers.core.leases().is_taken(&k.name),
            backing_off: st.answers.core.leases().backs_off(&k.name, self.now),
        };
        let copy = found.as_ref().map(|(_, c)| c);
        let (source, detail, value) = match answer::get(&terms, copy, &asked, others, self.now) {
            Reply::Settle => {
                self.doubtful = wants;
                return None;
            }
            Reply::Value(source, detail) => (source, detail, true),
            Reply::Nothing(source) => (source, Detail::NoLease, false),
            _ => (Source::Miss, Detail::NoLease, false),
        };
        tracking::read(&k.name);
        if let Some(used) = &mut self.used {
            used.answer(
                st,
                &k.name,
                found.as_ref().filter(|_| value).map(|(a, _)| a),
            );
        }
        count(st, &k.name, source);
        let shown = found.as_ref().filter(|_| value).map(|(a, _)| a.header);
        let meta = self
            .options
            .meta
            .then(|| meta_of(&k.name, shown.as_ref(), source, detail, self.now));
        let body = match found.filter(|_| value) {
            Some((a, _)) => Body::InPlace(InPlace::new(a.value)),
            None => Body::Null,
        };
        Some(body.with_meta(meta))
    }
    /// LEASE. `waited`: for who computed it.
    pub(crate) fn lease(
        &mut self,
        st: &mut State,
        name: &[u8],
        client: u64,
        may_wait: bool,
        waited: bool,
    ) -> Leased {
        let Some((terms, beta)) = Self::terms(st, name) else {
            return Leased::Body(Body::error(no_resource(name)));
        };
        let asked = self.asked(may_wait);
        let (found, wants) = self.found(st, name, Some(beta));
        if found.is_none() && answers::is_foreign(self.ctx, name) {
            return Leased::Body(Body::error(reply::wrong_type(name)));
        }
        let others = Others {
            taken: st.answers.core.leases().is_taken(name),
            backing_off: st.answers.core.leases().backs_off(name, self.now),
        };
        let copy = found.as_ref().map(|(_, c)| c);
        let mut reply = answer::lease(&terms, copy, &asked, others, self.now);
        if st.replica
            && matches!(
                reply,
                Reply::Lease(_) | Reply::ValueAndLease(..) | Reply::Wait
            )
        {
            // Only the primary may be written to: a replica gives none.
            reply = match reply {
                Reply::ValueAndLease(source, _) => Reply::Value(source, Detail::None),
                _ => Reply::Nothing(Source::Miss),
            };
        }
        let leases =
            |r: &Reply| matches!(r, Reply::Lease(_) | Reply::ValueAndLease(..) | Reply::Wait);
        if leases(&reply) && !cluster::may_compute(st, name) {
            // Reads for a computation would be answered by both nodes, and only one knows its token.
            reply = match reply {
                Reply::ValueAndLease(source, _) => Reply::Value(source, Detail::None),
                _ => Reply::Nothing(Source::Miss),
            };
        }
        let (source, mut detail, value, lease) = match reply {
            Reply::Settle => return Leased::Need(wants),
            Reply::Wait => return Leased::Wait,
            Reply::Value(s, d) => (s, d, true, false),
            Reply::ValueAndLease(s, d) => (s, d, true, true),
            Reply::Lease(s) => (s, Detail::Lease, false, true),
            Reply::Nothing(s) => (s, Detail::NoLease, false, false),
        };
        if waited && detail == Detail::None {
            detail = Detail::Waited;
        }
        tracking::read(name);
        let token = lease.then(|| take(st, name, client, self.now));
        count(st, name, source);
        let shown = found.as_ref().filter(|_| value).map(|(a, _)| a.header);
        let meta = self
            .options
            .meta
            .then(|| meta_of(name, shown.as_ref(), source, detail, self.now));
        let body = match found.filter(|_| value) {
            Some((a, _)) => Body::InPlace(InPlace::new(a.value)),
            None => Body::Null,
        };
        Leased::Body(pair(body, token).with_meta(meta))
    }
}

/// Gives a lease.
fn take(st: &mut State, name: &[u8], client: u64, now_ms: u64) -> Token {
    let ask = ask(st, name, client, now_ms);
    if let Some(r) = st.resources.of_key_mut(name) {
        r.figures.leases += 1;
    }
    let token = st.answers.core.take(name, &ask);
    crate::server::state::rounds::answers_wake();
    token
}

fn ask(st: &State, name: &[u8], client: u64, now_ms: u64) -> Ask {
    Ask {
        client,
        now_ms,
        seq: clock::next(),
        lease_ms: st.resources.of_key(name).map_or(1, |r| r.spec.lease_ms),
        chance: chance(name),
    }
}

/// A client waits for who computes.
pub(crate) fn wait(
    st: &mut State,
    name: &[u8],
    client: Arc<Blocked>,
    id: u64,
    meta: bool,
    now_ms: u64,
) {
    let ask = ask(st, name, id, now_ms);
    let wait_ms = st.resources.of_key(name).map_or(1, |r| r.spec.wait_ms);
    if let Some(r) = st.resources.of_key_mut(name) {
        r.figures.waits += 1;
    }
    st.answers
        .core
        .wait(name, Waiting { client, id, meta }, &ask, wait_ms);
    crate::server::state::rounds::answers_wake();
}

/// How long a client is kept waiting for a key at most, ms: the core answers before.
pub(crate) fn patience(st: &State, name: &[u8]) -> i64 {
    let wait_ms = st.resources.of_key(name).map_or(1, |r| r.spec.wait_ms);
    i64::try_from(wait_ms)
        .unwrap_or(i64::MAX / 2)
        .saturating_add(2_000)
}

fn count(st: &mut State, name: &[u8], source: Source) {
    log::event(
        match source {
            Source::Hit => "cache_hit",
            Source::Stale => "cache_stale",
            Source::Bypass => "cache_bypass",
            Source::Miss => "cache_miss",
        },
        name,
        &[],
    );
    if let Some(r) = st.resources.of_key_mut(name) {
        match source {
            Source::Hit => r.figures.hits += 1,
            Source::Stale => r.figures.stale_hits += 1,
            _ => r.figures.misses += 1,
        }
    }
}

/// The error for a key of no resource.
pub(crate) fn no_resource(name: &[u8]) -> String {
    let resource = key::split(name).map_or("", |(r, _)| r);
    // Its spec may be with the other node.
    if let Some(again) = cluster::unsettled_key(name) {
        return again;
    }
    format!(
        "NOENTITY there is no resource '{resource}': define it with PODIUM.SPEC SET {resource} '{{\"computed\":true}}'"
    )
}

/// The longest key of a computed answer, bytes.
pub(crate) const LONGEST_KEY: usize = 1_024;

/// Is this a key that an answer of a resource may have? The error is the whole reply.
pub(crate) fn check_key(st: &State, name: &[u8]) -> Result<(), String> {
    if name.len() > LONGEST_KEY {
        return Err(format!(
            "BADKEY the key of a computed answer has at most {LONGEST_KEY} bytes, not {}",
            name.len()
        ));
    }
    match st.resources.of_key(name) {
        Some(_) => Ok(()),
        None if key::split(name).is_some_and(|(r, rest)| !rest.is_empty() && st.by_name(r).is_some()) => Err(format!(
            "BADKEY '{}' is of an entity, and is no computed answer: PODIUM.SPEC SET <resource> '{{\"computed\":true}}' names a kind of those",
            key::shown(name)
        )),
        None if key::split(name).is_some_and(|(r, rest)| rest.is_empty() && st.resources.get(r).is_some()) => {
            Err(format!("BADKEY '{}' names no computed answer: something stands behind the colon", key::shown(name)))
        }
        None => Err(no_resource(name)),
    }
}

/// A computed key among the keys of a read.
pub(crate) fn key_of(st: &State, name: &[u8]) -> Option<RecordKey> {
    st.resources.of_key(name).map(|_| RecordKey {
        ix: COMPUTED,
        id: Default::default(),
        name: name.into(),
    })
}

/// What happens to a client of LEASE whose deadline passed, or that was unblocked.
pub(crate) fn late(_: Ctx, key: &[u8], meta: bool) -> Body {
    nothing(key, meta)
}
