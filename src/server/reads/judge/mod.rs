//! From what is cached, and what was brought, to an answer, or to what must still be fetched. Reads only; under the lock.

pub(crate) mod render;
pub(crate) mod scan;

pub(crate) use crate::server::reads::judge::scan::Start;

use crate::server::reads::computed::used::Used;
use crate::server::reads::computed::COMPUTED;
use crate::server::reads::judge::render::{render, render_shared};
use crate::server::reads::judge::scan::view::Wish;

use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::outcome::{Brought, LandedRecord, Seen};
use crate::server::state::query::{Options, RecordKey};
use crate::server::store::cluster;
use crate::server::store::{self, Copy};
use crate::server::upstream::fault::Fault;
use crate::server::valkey::ffi::Ctx;
use crate::server::valkey::log;
use crate::server::valkey::reply::{self, Body, CacheWord, Fwd, Meta};
use crate::server::valkey::settings;
use crate::server::valkey::tracking;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_core::entry::{Entry, Header};
use podium_core::freshness::{self, Use, Windows};
use podium_core::key;
use std::sync::Arc;

/// What must be fetched before there is an answer.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    Record(EntityIx, CompactString),
    /// `<field>:<value>` or `*`.
    Question(EntityIx, Arc<[u8]>),
    /// The change feed of its base is to be heard first.
    Feed(EntityIx),
    /// The schema of its base is to be read first: it says of which table records in doubt are.
    Schema(EntityIx),
}

/// An answer, or what is lacking.
pub(crate) enum Progress {
    Done(Body),
    Need(Vec<Want>),
}

/// Large sets whose ids were read in slices, with the sentinel they were read under.
pub(crate) type Preread = HashMap<Arc<[u8]>, (podium_core::entry::Sentinel, Vec<CompactString>)>;

/// What is known to the judge of one record.
pub(crate) struct Judge<'a> {
    pub(crate) ctx: Ctx,
    pub(crate) brought: &'a Brought,
    pub(crate) options: &'a Options,
    /// Unix ms.
    pub(crate) now: u64,
    /// Refreshes to start behind the answer.
    pub(crate) refresh: Vec<Want>,
    /// A copy is there, and the change feed is to be heard before it is believed.
    pub(crate) unheard: bool,
    /// Sets too large to be read in one go.
    pub(crate) preread: Option<&'a Preread>,
    /// What a computed answer used and is in doubt: to be looked at first.
    pub(crate) doubtful: Vec<Want>,
    /// What is answered, where a computation uses it.
    pub(crate) used: Option<Used>,
    /// A set whose members are worth being kept in order.
    pub(crate) wish: Option<Wish>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(ctx: Ctx, brought: &'a Brought, options: &'a Options, now: u64) -> Judge<'a> {
        Judge {
            ctx,
            brought,
            options,
            now,
            refresh: Vec::new(),
            unheard: false,
            preread: None,
            doubtful: Vec::new(),
            used: options.for_token.map(|_| Used::begin()),
            wish: None,
        }
    }
}

impl Judge<'_> {
    fn bypass(&self) -> bool {
        self.options.no_cache || !settings::enabled()
    }
    pub(in crate::server::reads) fn windows(e: &Entity) -> Windows {
        settings::windows(crate::server::state::lane::ttl_s(&e.spec), e.spec.jitter())
    }
    /// What a copy is good for, the change feed's word included.
    pub(in crate::server::reads) fn usable(&self, e: &Entity, w: &Windows, h: &Header) -> Use {
        match freshness::judge(w, h.fresh_until, h.dead_at, self.now) {
            Use::Fresh => Use::Fresh,
            _ if e.feed.renews(h, self.now) => Use::Fresh,
            stale => stale,
        }
    }
    /// When a copy's freshness ends, the change feed's word included.
    pub(in crate::server::reads) fn fresh_until(&self, e: &Entity, h: &Header) -> u64 {
        if e.feed.renews(h, self.now) {
            h.fresh_until.max(e.feed.vouched_until)
        } else {
            h.fresh_until
        }
    }
    /// Must the change feed be heard before what is cached is believed?
    pub(in crate::server::reads) fn must_hear(&self, e: &Entity) -> bool {
        e.feed.unsettled(self.now) && !self.brought.heard && !self.options.cache_only
    }
    /// What a record that cannot be answered yet waits for.
    pub(crate) fn wants(&mut self, k: &RecordKey, wants: &mut Vec<Want>) {
        if k.ix == COMPUTED {
            wants.append(&mut self.doubtful);
        } else {
            let want = self.want(k);
            wants.push(want);
        }
    }
    fn want(&mut self, k: &RecordKey) -> Want {
        if std::mem::take(&mut self.unheard) {
            Want::Feed(k.ix)
        } else {
            Want::Record(k.ix, k.id.clone())
        }
    }
    /// `as_of`: when it was asked for, or was so as a client said, unix ms.
    fn young_enough(&self, as_of: u64) -> bool {
        self.options
            .max_age
            .is_none_or(|s| self.now.saturating_sub(as_of) <= s.saturating_mul(1000))
    }
    fn meta(&self, key: &[u8], cache: CacheWord, asked_ms: u64, fresh_until: u64) -> Meta {
        Meta {
            cache,
            age: (self.now.saturating_sub(asked_ms) / 1000) as i64,
            ttl: ttl_s(fresh_until, self.now),
            key: key.to_vec(),
            airtable_hits: 0,
            detail: "",
            fwd: Fwd::UriMiss,
            stored: false,
            collapsed: false,
        }
    }

    /// CACHEONLY: there is no answer in the cache.
    fn nothing(&self, name: &[u8]) -> Body {
        Body::Null.with_meta(self.options.meta.then(|| Meta {
            detail: "cache-only",
            fwd: Fwd::Not,
            ..self.meta(name, CacheWord::Miss, self.now, self.now)
        }))
    }

    /// Answers for one record: its body with META if that is asked for, or `None`: it must be fetched.
    pub(crate) fn record(&mut self, st: &mut State, k: &RecordKey) -> Option<Body> {
        if k.ix == COMPUTED {
            return self.computed(st, k);
        }
        let Some(e) = st.get(k.ix) else {
            return Some(Body::error(cluster::entity_left(st, entity_of(&k.name))));
        };
        e.read_ms.set(self.now);
        let brought = self.brought.records.get(&(k.ix, k.id.clone())).cloned();
        if self.bypass() && !self.options.cache_only {
            let b = brought?;
            return Some(self.answer_fetched(st, k, &b, CacheWord::Bypass));
        }
        let copy = if settings::enabled() {
            store::copy(self.ctx, e, &k.id, true)
        } else {
            Copy::Absent
        };
        let w = Self::windows(e);
        if let Some(b) = &brought {
            // What was brought answers, unless the cache has been told better meanwhile.
            let newer = match &copy {
                Copy::Record(bytes) => {
                    Entry::read(bytes, &k.name).is_some_and(|c| c.header.seq > b.sent)
                }
                Copy::Tomb(h) => h.seq > b.sent,
                _ => false,
            };
            if let Seen::Failed(fault) = &b.seen {
                return Some(self.instead(st, k, &copy, &w, fault));
            }
            if !newer {
                return Some(self.answer_fetched(st, k, b, CacheWord::Miss));
            }
        }
        if matches!(copy, Copy::Record(_) | Copy::Tomb(_)) && self.must_hear(e) {
            self.unheard = true;
            return None;
        }
        match copy {
            Copy::Foreign => Some(Body::error(reply::wrong_type(&k.name))),
            Copy::Record(bytes) => {
                let entry = Entry::read(bytes, &k.name)?;
                let h = entry.header;
                let (fresh_until, behind, vouched) = (
                    self.fresh_until(e, &h),
                    e.feed.behind,
                    e.feed.renews(&h, self.now),
                );
                let stale = match self.usable(e, &w, &h) {
                    Use::Fresh if self.young_enough(h.as_of()) => false,
                    Use::WhileRevalidate if self.options.max_age.is_none() => true,
                    _ if self.options.cache_only => return Some(self.nothing(&k.name)),
                    _ => return None,
                };
                tracking::read(&k.name);
                if let Some(used) = &mut self.used {
                    used.record(k.ix, &k.name, Some(&entry), fresh_until, vouched);
                }
                let body = render(e, &self.options.view, &entry, &k.id);
                log::event(
                    if stale { "cache_stale" } else { "cache_hit" },
                    &k.name,
                    &[],
                );
                if let Some(e) = st.get_mut(k.ix) {
                    if stale {
                        e.figures.stale_hits += 1;
                    } else {
                        e.figures.hits += 1;
                    }
                }
                if (stale
                    || (!vouched
                        && crate::server::reads::ahead::is_due(
                            h.asked_ms,
                            h.fresh_until,
                            self.now,
                        )))
                    && !self.options.cache_only
                {
                    self.refresh.push(Want::Record(k.ix, k.id.clone()));
                }
                let meta = self.options.meta.then(|| {
                    let word = if stale {
                        CacheWord::Stale
                    } else {
                        CacheWord::Hit
                    };
                    let mut m = self.meta(&k.name, word, h.as_of(), fresh_until);
                    if stale {
                        m.detail = "revalidating";
                    } else if behind {
                        m.detail = "feed-behind";
                    }
                    m
                });
                Some(body.with_meta(meta))
            }
            Copy::Tomb(h) => {
                if self.now < h.fresh_until && self.young_enough(h.as_of()) {
                    tracking::read(&k.name);
                    if let Some(used) = &mut self.used {
                        used.record(k.ix, &k.name, None, h.fresh_until, false);
                    }
                    log::event("cache_hit", &k.name, &[("detail", "tombstone".into())]);
                    if let Some(e) = st.get_mut(k.ix) {
                        e.figures.hits += 1;
                        e.figures.negative_hits += 1;
                    }
                    let meta = self.options.meta.then(|| {
                        let mut m = self.meta(&k.name, CacheWord::Hit, h.as_of(), h.fresh_until);
                        m.detail = "tombstone";
                        m
                    });
                    Some(Body::Null.with_meta(meta))
                } else if self.options.cache_only {
                    Some(self.nothing(&k.name))
                } else {
                    None
                }
            }
            Copy::Absent if self.options.cache_only => Some(self.nothing(&k.name)),
            Copy::Absent => None,
        }
    }

    fn answer_fetched(
        &mut self,
        st: &mut State,
        k: &RecordKey,
        b: &Arc<LandedRecord>,
        word: CacheWord,
    ) -> Body {
        let vouched = st
            .get(k.ix)
            .is_some_and(|e| e.feed.from > 0 && e.feed.from < b.sent);
        match (&mut self.used, &b.seen) {
            (Some(used), Seen::Found(bytes, _)) => {
                if let Some(entry) = Entry::read(bytes, &k.name) {
                    used.record(
                        k.ix,
                        &k.name,
                        Some(&entry),
                        entry.header.fresh_until,
                        vouched,
                    );
                }
            }
            (Some(used), Seen::Gone(until)) => used.record(k.ix, &k.name, None, *until, false),
            _ => {}
        }
        if let Some(e) = st.get_mut(k.ix) {
            count_fetch(e, word, self.brought);
        }
        fetched(self.options, self.brought, self.now, k, b, word)
    }

    /// Airtable failed: a stale copy answers if the settings allow it and the client did not forbid it.
    fn instead(
        &mut self,
        st: &mut State,
        k: &RecordKey,
        copy: &Copy,
        w: &Windows,
        fault: &Fault,
    ) -> Body {
        let allowed = fault.outage && !self.options.no_cache && self.options.max_age.is_none();
        if let (true, Copy::Record(bytes), Some(e)) = (allowed, copy, st.get(k.ix)) {
            if let Some(entry) = Entry::read(bytes, &k.name) {
                let h = entry.header;
                if freshness::judge(w, h.fresh_until, h.dead_at, self.now) != Use::No {
                    tracking::read(&k.name);
                    if let Some(used) = &mut self.used {
                        used.record(k.ix, &k.name, Some(&entry), h.fresh_until, false);
                    }
                    let body = render(e, &self.options.view, &entry, &k.id);
                    let meta = self.options.meta.then(|| {
                        let mut m = self.meta(&k.name, CacheWord::Stale, h.as_of(), h.fresh_until);
                        m.detail = "stale-if-error";
                        m.airtable_hits = i64::from(
                            self.brought
                                .hits
                                .get(&(k.ix, k.id.clone()))
                                .copied()
                                .unwrap_or(0),
                        );
                        m
                    });
                    log::event(
                        "cache_stale",
                        &k.name,
                        &[("detail", "stale-if-error".into())],
                    );
                    if let Some(e) = st.get_mut(k.ix) {
                        e.figures.stale_hits += 1;
                    }
                    return body.with_meta(meta);
                }
            }
        }
        Body::error(fault.line.clone())
    }
}

/// Counts a reply that needed a fetch.
pub(crate) fn count_fetch(e: &mut Entity, word: CacheWord, brought: &Brought) {
    match word {
        CacheWord::Bypass => e.figures.bypasses += 1,
        _ => e.figures.misses += 1,
    }
    if brought.collapsed && !brought.led {
        e.figures.collapsed += 1;
    }
}

/// The reply made of a fetched record alone: needs neither the cache nor the lock.
pub(crate) fn fetched(
    o: &Options,
    brought: &Brought,
    now: u64,
    k: &RecordKey,
    b: &LandedRecord,
    word: CacheWord,
) -> Body {
    let hits = brought
        .hits
        .get(&(k.ix, k.id.clone()))
        .copied()
        .unwrap_or(0);
    match word {
        CacheWord::Bypass => log::event("cache_bypass", &k.name, &[]),
        _ if b.stored => log::event(
            "cache_miss_stored",
            &k.name,
            &[("airtable-hits", hits.into())],
        ),
        _ => {}
    }
    let meta = |asked_ms: u64, fresh_until: u64, detail: &'static str| Meta {
        cache: word,
        age: (now.saturating_sub(asked_ms) / 1000) as i64,
        ttl: ttl_s(fresh_until, now),
        key: k.name.to_vec(),
        airtable_hits: i64::from(hits),
        detail: if !detail.is_empty() {
            detail
        } else if brought.collapsed && !brought.led {
            "collapsed"
        } else {
            ""
        },
        fwd: if word == CacheWord::Bypass {
            Fwd::Bypass
        } else {
            Fwd::UriMiss
        },
        stored: b.stored,
        collapsed: brought.collapsed && !brought.led,
    };
    match &b.seen {
        Seen::Found(bytes, spec) => match Entry::read(bytes, &k.name) {
            Some(entry) => {
                let body = render_shared(spec, &o.view, bytes, &entry, &k.id);
                body.with_meta(
                    o.meta
                        .then(|| meta(b.asked_ms, entry.header.fresh_until, "")),
                )
            }
            None => Body::error("ERR internal error: a fetched record cannot be read"),
        },
        Seen::Gone(until) => {
            Body::Null.with_meta(o.meta.then(|| meta(b.asked_ms, *until, "tombstone")))
        }
        Seen::Failed(f) => Body::error(f.line.clone()),
    }
}

fn entity_of(name: &[u8]) -> &str {
    key::split(name).map_or("", |(e, _)| e)
}

fn ttl_s(fresh_until: u64, now: u64) -> i64 {
    if fresh_until >= now {
        ((fresh_until - now) / 1000) as i64
    } else {
        -(((now - fresh_until).div_ceil(1000)) as i64)
    }
}
