//! From what is cached, and what was brought, to an answer, or to what must still be fetched. Reads only; under the lock.

use super::config;
use super::ffi::Ctx;
use super::op::{Brought, LandedRecord, Seen};
use super::query::{Condition, Options, Output, RecordKey, View};
use super::reply::{self, Body, CacheWord, Fwd, Meta, Stored};
use super::state::{Entity, EntityIx, State};
use super::store::{self, Copy, Set};
use super::fault::Fault;
use super::log;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_core::doubt::cheaper_to_refetch;
use podium_core::entry::{Entry, Header};
use podium_core::freshness::{self, Use, Windows};
use podium_core::{key, question, record};
use podium_core::spec::Spec;
use std::sync::Arc;

/// What must be fetched before there is an answer.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    Record(EntityIx, CompactString),
    /// `<field>:<value>` or `*`.
    Question(EntityIx, Arc<[u8]>),
    /// The change feed of its base is to be heard first.
    Feed(EntityIx),
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
}

impl Judge<'_> {
    fn bypass(&self) -> bool {
        self.options.no_cache || !config::enabled()
    }
    fn windows(e: &Entity) -> Windows {
        config::windows(super::fetch::ttl_s(&e.spec), e.spec.jitter())
    }
    /// What a copy is good for, the change feed's word included.
    fn usable(&self, e: &Entity, w: &Windows, h: &Header) -> Use {
        match freshness::judge(w, h.fresh_until, h.dead_at, self.now) {
            Use::Fresh => Use::Fresh,
            _ if e.feed.renews(h, self.now) => Use::Fresh,
            stale => stale,
        }
    }
    /// When a copy's freshness ends, the change feed's word included.
    fn fresh_until(&self, e: &Entity, h: &Header) -> u64 {
        if e.feed.renews(h, self.now) {
            h.fresh_until.max(e.feed.vouched_until)
        } else {
            h.fresh_until
        }
    }
    /// Must the change feed be heard before what is cached is believed?
    fn must_hear(&self, e: &Entity) -> bool {
        e.feed.unsettled(self.now) && !self.brought.heard && !self.options.cache_only
    }
    /// What a record that cannot be answered yet waits for.
    pub(crate) fn want(&mut self, k: &RecordKey) -> Want {
        if std::mem::take(&mut self.unheard) {
            Want::Feed(k.ix)
        } else {
            Want::Record(k.ix, k.id.clone())
        }
    }
    fn young_enough(&self, asked_ms: u64) -> bool {
        self.options.max_age.is_none_or(|s| self.now.saturating_sub(asked_ms) <= s.saturating_mul(1000))
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

    /// Answers for one record: its body with META if that is asked for, or `None`: it must be fetched.
    pub(crate) fn record(&mut self, st: &mut State, k: &RecordKey) -> Option<Body> {
        let Some(e) = st.get(k.ix) else {
            return Some(Body::error(reply::no_entity(entity_of(&k.name))));
        };
        e.read_ms.set(self.now);
        let brought = self.brought.records.get(&(k.ix, k.id.clone())).cloned();
        if self.bypass() && !self.options.cache_only {
            let b = brought?;
            return Some(self.answer_fetched(st, k, &b, CacheWord::Bypass));
        }
        let copy = if config::enabled() { store::copy(self.ctx, e, &k.id, true) } else { Copy::Absent };
        let w = Self::windows(e);
        if let Some(b) = &brought {
            // What was brought answers, unless the cache has been told better meanwhile.
            let newer = match &copy {
                Copy::Record(bytes) => Entry::read(bytes, &k.name).is_some_and(|c| c.header.seq > b.sent),
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
                let (fresh_until, behind, vouched) = (self.fresh_until(e, &h), e.feed.behind, e.feed.renews(&h, self.now));
                let stale = match self.usable(e, &w, &h) {
                    Use::Fresh if self.young_enough(h.asked_ms) => false,
                    Use::WhileRevalidate if self.options.max_age.is_none() => true,
                    _ if self.options.cache_only => {
                        return Some(Body::Null.with_meta(self.options.meta.then(|| self.meta(&k.name, CacheWord::Miss, self.now, self.now))))
                    }
                    _ => return None,
                };
                let body = render(e, &self.options.view, &entry, &k.id);
                log::event(if stale { "cache_stale" } else { "cache_hit" }, &k.name, &[]);
                if let Some(e) = st.get_mut(k.ix) {
                    if stale {
                        e.figures.stale_hits += 1;
                    } else {
                        e.figures.hits += 1;
                    }
                }
                if (stale || (!vouched && super::refresh::is_due(h.asked_ms, h.fresh_until, self.now))) && !self.options.cache_only {
                    self.refresh.push(Want::Record(k.ix, k.id.clone()));
                }
                let meta = self.options.meta.then(|| {
                    let word = if stale { CacheWord::Stale } else { CacheWord::Hit };
                    let mut m = self.meta(&k.name, word, h.asked_ms, fresh_until);
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
                if self.now < h.fresh_until && self.young_enough(h.asked_ms) {
                    log::event("cache_hit", &k.name, &[("detail", "tombstone".into())]);
                    if let Some(e) = st.get_mut(k.ix) {
                        e.figures.hits += 1;
                        e.figures.negative_hits += 1;
                    }
                    let meta = self.options.meta.then(|| {
                        let mut m = self.meta(&k.name, CacheWord::Hit, h.asked_ms, h.fresh_until);
                        m.detail = "tombstone";
                        m
                    });
                    Some(Body::Null.with_meta(meta))
                } else if self.options.cache_only {
                    Some(Body::Null.with_meta(self.options.meta.then(|| self.meta(&k.name, CacheWord::Miss, self.now, self.now))))
                } else {
                    None
                }
            }
            Copy::Absent if self.options.cache_only => {
                Some(Body::Null.with_meta(self.options.meta.then(|| self.meta(&k.name, CacheWord::Miss, self.now, self.now))))
            }
            Copy::Absent => None,
        }
    }

    fn answer_fetched(&self, st: &mut State, k: &RecordKey, b: &Arc<LandedRecord>, word: CacheWord) -> Body {
        if let Some(e) = st.get_mut(k.ix) {
            count_fetch(e, word, self.brought);
        }
        fetched(self.options, self.brought, self.now, k, b, word)
    }

    /// Airtable failed: a stale copy answers if the settings allow it and the client did not forbid it.
    fn instead(&self, st: &mut State, k: &RecordKey, copy: &Copy, w: &Windows, fault: &Fault) -> Body {
        let allowed = fault.outage && !self.options.no_cache && self.options.max_age.is_none();
        if let (true, Copy::Record(bytes), Some(e)) = (allowed, copy, st.get(k.ix)) {
            if let Some(entry) = Entry::read(bytes, &k.name) {
                let h = entry.header;
                if freshness::judge(w, h.fresh_until, h.dead_at, self.now) != Use::No {
                    let body = render(e, &self.options.view, &entry, &k.id);
                    let meta = self.options.meta.then(|| {
                        let mut m = self.meta(&k.name, CacheWord::Stale, h.asked_ms, h.fresh_until);
                        m.detail = "stale-if-error";
                        m.airtable_hits = i64::from(self.brought.hits.get(&(k.ix, k.id.clone())).copied().unwrap_or(0));
                        m
                    });
                    log::event("cache_stale", &k.name, &[("detail", "stale-if-error".into())]);
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
pub(crate) fn fetched(o: &Options, brought: &Brought, now: u64, k: &RecordKey, b: &LandedRecord, word: CacheWord) -> Body {
    let hits = brought.hits.get(&(k.ix, k.id.clone())).copied().unwrap_or(0);
    match word {
        CacheWord::Bypass => log::event("cache_bypass", &k.name, &[]),
        _ if b.stored => log::event("cache_miss_stored", &k.name, &[("airtable-hits", hits.into())]),
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
        fwd: if word == CacheWord::Bypass { Fwd::Bypass } else { Fwd::UriMiss },
        stored: b.stored,
        collapsed: brought.collapsed && !brought.led,
    };
    match &b.seen {
        Seen::Found(bytes, spec) => match Entry::read(bytes, &k.name) {
            Some(entry) => {
                let body = render_shared(spec, &o.view, bytes, &entry, &k.id);
                body.with_meta(o.meta.then(|| meta(b.asked_ms, entry.header.fresh_until, "")))
            }
            None => Body::error("ERR internal error: a fetched record cannot be read"),
        },
        Seen::Gone(until) => Body::Null.with_meta(o.meta.then(|| meta(b.asked_ms, *until, "tombstone"))),
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

/// A stored record in a view.
fn render(e: &Entity, view: &View, entry: &Entry, id: &str) -> Body {
    match view {
        View::Default => Body::Stored(Stored::new(entry.answer())),
        View::Whole => Body::Stored(Stored::new(entry.whole())),
        View::Named(v) => cut(&e.spec, v, entry, id),
    }
}

fn render_shared(spec: &Spec, view: &View, bytes: &Arc<[u8]>, entry: &Entry, id: &str) -> Body {
    let within = |part: &[u8]| {
        let at = part.as_ptr() as usize - bytes.as_ptr() as usize;
        Body::Shared(bytes.clone(), at, part.len())
    };
    match view {
        View::Default => within(entry.answer()),
        View::Whole => within(entry.whole()),
        View::Named(v) => cut(spec, v, entry, id),
    }
}

fn cut(spec: &Spec, view: &str, entry: &Entry, id: &str) -> Body {
    let Some(ix) = spec.view(view) else {
        return Body::error(format!("NOVIEW there is no view '{}' any more", key::shown(view.as_bytes())));
    };
    match record::project(spec, ix, id, entry.whole(), &entry.spans()) {
        Ok(json) => Body::Bytes(json),
        Err(why) => Body::error(format!("BADRECORD {id} cannot be shown in the view {view}: {why}")),
    }
}

/// An index question being answered: which records are candidates, which of them belong, what is lacking.
pub(crate) struct Scan {
    ix: EntityIx,
    conditions: Vec<Condition>,
    candidates: Vec<CompactString>,
    at: usize,
    /// The number under which the set was confirmed.
    confirmed: u64,
    asked_ms: u64,
    fresh_until: u64,
    /// From a question of our own, not from the cache.
    own: bool,
    stored: bool,
    stale: bool,
    lacking: Vec<Want>,
    found: Vec<Item>,
    oldest: u64,
    shortest: u64,
    failed: Option<Fault>,
    foreign: Option<Vec<u8>>,
    stale_members: bool,
    /// Copies past their freshness stand in for members that Airtable failed to return.
    rescued: bool,
    /// It, or members of it, are read often and near their end.
    ending: Vec<Want>,
}

struct Item {
    id: CompactString,
    body: Body,
    sort: Option<Vec<u8>>,
}

/// What starting a scan came to.
pub(crate) enum Start {
    Scan(Box<Scan>),
    Done(Body),
    Need(Vec<Want>),
}

impl Judge<'_> {
    /// A set as it stands; one whose ids were read before, if it is still the same.
    fn set(&self, e: &Entity, suffix: &Arc<[u8]>) -> Set {
        if let Some((read, ids)) = self.preread.and_then(|p| p.get(suffix)) {
            let (head, len, _) = store::set_state(self.ctx, e, suffix);
            if head.as_ref() == Some(read) && len == ids.len() {
                return Set::Complete { sentinel: *read, ids: ids.clone() };
            }
        }
        store::read_set(self.ctx, e, suffix)
    }

    /// Finds the candidates of an index question. `asked`: the number under which the client asked.
    pub(crate) fn start(&mut self, st: &mut State, ix: EntityIx, conditions: &[Condition], asked: u64, name: &[u8]) -> Start {
        let Some(e) = st.get(ix) else { return Start::Done(Body::error(reply::no_entity(entity_of(name)))) };
        e.read_ms.set(self.now);
        let suffixes: Vec<Arc<[u8]>> = if conditions.is_empty() {
            vec![Arc::from(&b"*"[..])]
        } else {
            conditions.iter().map(|c| c.suffix.clone()).collect()
        };
        let w = Self::windows(e);
        let mut best: Option<Scan> = None;
        let mut failed: Option<Fault> = None;
        // Of an intersection: what is known of each set that is there.
        let mut sets: Vec<(u64, Vec<CompactString>)> = Vec::new();
        for suffix in &suffixes {
            let mut consider = |s: Scan| {
                if suffixes.len() > 1 && !s.stale {
                    sets.push((s.confirmed, s.candidates.clone()));
                }
                if best.as_ref().is_none_or(|b| s.candidates.len() < b.candidates.len()) {
                    best = Some(s);
                }
            };
            let scan = |candidates, confirmed, asked_ms, fresh_until, own, stored, stale| Scan {
                ix,
                conditions: conditions.to_vec(),
                candidates,
                at: 0,
                confirmed,
                asked_ms,
                fresh_until,
                own,
                stored,
                stale,
                lacking: Vec::new(),
                found: Vec::new(),
                oldest: asked_ms,
                shortest: fresh_until,
                failed: None,
                foreign: None,
                stale_members: false,
                rescued: false,
                ending: Vec::new(),
            };
            if let Some(q) = self.brought.questions.get(&(ix, suffix.clone())) {
                match &q.records {
                    Ok(records) => {
                        let mut ids: Vec<CompactString> = records.keys().cloned().collect();
                        // Stored as a set, it may have been amended by what was told meanwhile.
                        if q.stored {
                            if let Set::Complete { sentinel, ids: now } = store::read_set(self.ctx, e, suffix) {
                                if sentinel.seq >= q.sent {
                                    ids = now;
                                }
                            }
                        }
                        ids.sort_unstable();
                        consider(scan(ids, q.sent, q.asked_ms, q.fresh_until, true, q.stored, false));
                    }
                    Err(f) => failed = Some(f.clone()),
                }
                continue;
            }
            if self.bypass() && !self.options.cache_only {
                continue;
            }
            if !config::enabled() {
                continue;
            }
            match self.set(e, suffix) {
                Set::Complete { mut sentinel, ids } => {
                    if ids.is_empty() && e.complete.is_none() {
                        // Its members left since it was asked for: empty, it lives no longer than one that was empty at once.
                        let until = sentinel.asked_ms.saturating_add(config::EMPTY_TTL.seconds_as_ms());
                        sentinel.fresh_until = sentinel.fresh_until.min(until);
                    }
                    let vouched = e.feed.vouches(sentinel.seq, self.now);
                    let usable = match freshness::judge(&w, sentinel.fresh_until, u64::MAX, self.now) {
                        _ if vouched => Use::Fresh,
                        by_time => by_time,
                    };
                    let fresh_until = sentinel.fresh_until.max(if vouched { e.feed.vouched_until } else { 0 });
                    let stale = match usable {
                        Use::Fresh if self.young_enough(sentinel.asked_ms) => false,
                        Use::WhileRevalidate if self.options.max_age.is_none() => true,
                        _ => continue,
                    };
                    consider(scan(ids, sentinel.seq, sentinel.asked_ms, fresh_until, false, true, stale));
                }
                Set::Foreign => {
                    let full = [e.name.as_bytes(), b":", suffix].concat();
                    return Start::Done(Body::error(reply::wrong_type(&full)));
                }
                Set::Absent => {
                    let fresh = |c: &super::state::Complete| self.now < c.fresh_until || e.feed.vouches(c.seq, self.now);
                    if let Some(c) = e.complete.filter(|c| fresh(c) && self.young_enough(c.asked_ms) && &suffix[..] != b"*") {
                        consider(scan(Vec::new(), c.seq, c.asked_ms, c.fresh_until, false, true, false));
                    }
                }
            }
        }
        let Some(mut scan) = best else {
            if let Some(f) = failed {
                return self.set_instead(st, ix, conditions, &suffixes, f);
            }
            if self.options.cache_only {
                return Start::Done(Body::Null.with_meta(self.options.meta.then(|| self.meta(name, CacheWord::Miss, self.now, self.now))));
            }
            return Start::Need(vec![Want::Question(ix, most_selective(&e.spec, conditions))]);
        };
        if !scan.own && self.must_hear(e) {
            return Start::Need(vec![Want::Feed(ix)]);
        }
        // A record belongs if each set that is there says so, whatever an older copy of it holds.
        for (confirmed, ids) in &sets {
            scan.candidates.retain(|id| ids.binary_search(id).is_ok());
            scan.confirmed = scan.confirmed.min(*confirmed);
        }
        // Records that somebody said changed since the set was confirmed may match by now.
        if e.doubts.any_since(scan.confirmed) {
            let mut open = Vec::new();
            let mut seen_meanwhile = Vec::new();
            for id in e.doubts.between(scan.confirmed, asked) {
                let id = CompactString::new(id);
                match self.brought.records.get(&(ix, id.clone())) {
                    Some(b) if b.sent > scan.confirmed => match &b.seen {
                        Seen::Failed(f) => failed = Some(f.clone()),
                        _ => seen_meanwhile.push(id),
                    },
                    _ => open.push(id),
                }
            }
            if let Some(f) = failed {
                return Start::Done(Body::error(f.line));
            }
            if !open.is_empty() {
                if self.options.cache_only {
                    return Start::Done(Body::Null.with_meta(self.options.meta.then(|| self.meta(name, CacheWord::Miss, self.now, self.now))));
                }
                return Start::Need(if cheaper_to_refetch(open.len(), scan.candidates.len()) || scan.own {
                    open.into_iter().map(|id| Want::Record(ix, id)).collect()
                } else {
                    vec![Want::Question(ix, most_selective(&e.spec, conditions))]
                });
            }
            scan.candidates.extend(seen_meanwhile);
        }
        // What was fetched for this reader and could not be stored may belong too.
        for ((i, id), b) in &self.brought.records {
            if *i == ix && b.sent > scan.confirmed && !b.stored {
                scan.candidates.push(id.clone());
            }
        }
        scan.candidates.sort_unstable();
        scan.candidates.dedup();
        let ending = !scan.own && !scan.stale && super::refresh::is_due(scan.asked_ms, scan.fresh_until, self.now);
        if (scan.stale || ending) && !self.options.cache_only {
            self.refresh.push(Want::Question(ix, most_selective(&e.spec, conditions)));
        }
        Start::Scan(Box::new(scan))
    }

    /// Airtable failed to answer a question: a stale set answers if nothing in it is in doubt.
    fn set_instead(&self, st: &mut State, ix: EntityIx, conditions: &[Condition], suffixes: &[Arc<[u8]>], fault: Fault) -> Start {
        let allowed = fault.outage && !self.options.no_cache && self.options.max_age.is_none() && config::enabled();
        let Some(e) = st.get(ix).filter(|_| allowed) else { return Start::Done(Body::error(fault.line)) };
        let w = Self::windows(e);
        for suffix in suffixes {
            if let Set::Complete { sentinel, ids } = store::read_set(self.ctx, e, suffix) {
                let usable = freshness::judge(&w, sentinel.fresh_until, u64::MAX, self.now);
                if usable != Use::No && !e.doubts.any_since(sentinel.seq) {
                    return Start::Scan(Box::new(Scan {
                        ix,
                        conditions: conditions.to_vec(),
                        candidates: ids,
                        at: 0,
                        confirmed: sentinel.seq,
                        asked_ms: sentinel.asked_ms,
                        fresh_until: sentinel.fresh_until,
                        own: false,
                        stored: true,
                        stale: true,
                        lacking: Vec::new(),
                        found: Vec::new(),
                        oldest: sentinel.asked_ms,
                        shortest: sentinel.fresh_until,
                        failed: Some(fault),
                        foreign: None,
                        stale_members: true,
                        rescued: false,
                        ending: Vec::new(),
                    }));
                }
            }
        }
        Start::Done(Body::error(fault.line))
    }

    /// Looks at up to `n` candidates; true when all have been seen. What stays in the scan belongs to no lock if `keep`.
    pub(crate) fn step(&self, st: &State, scan: &mut Scan, n: usize, keep: bool) -> bool {
        let Some(e) = st.get(scan.ix) else { return true };
        let w = Self::windows(e);
        let sort = self.options.sort.as_ref().and_then(|(f, _)| e.spec.field(f));
        let enough = match (self.options.limit, sort, self.options.output) {
            (Some((offset, count)), None, Output::Records | Output::Ids) if count >= 0 => {
                Some((offset as usize).saturating_add(count as usize))
            }
            _ => None,
        };
        for _ in 0..n {
            if enough.is_some_and(|m| scan.found.len() + scan.lacking.len() >= m) {
                scan.at = scan.candidates.len();
            }
            let Some(id) = scan.candidates.get(scan.at).cloned() else { return true };
            scan.at += 1;
            self.candidate(e, &w, scan, &id, sort, keep);
        }
        scan.at >= scan.candidates.len()
    }

    fn candidate(&self, e: &Entity, w: &Windows, scan: &mut Scan, id: &CompactString, sort: Option<u16>, keep: bool) {
        let name = key::record(&e.name, id);
        let brought = self.brought.records.get(&(e.ix, id.clone()));
        // The newest of what is known: the cache's copy, what was fetched by id, what the question returned.
        let copy = if config::enabled() { store::copy(self.ctx, e, id, true) } else { Copy::Absent };
        let cached = match &copy {
            Copy::Record(b) => Entry::read(b, &name),
            _ => None,
        };
        let copy_seq = match (&copy, &cached) {
            (_, Some(c)) => c.header.seq,
            (Copy::Tomb(h), _) => h.seq,
            _ => 0,
        };
        let from_question = self
            .brought
            .questions
            .iter()
            .filter(|((i, _), _)| *i == e.ix)
            .filter_map(|(_, q)| Some((q.sent, &q.spec, q.records.as_ref().ok()?.get(id)?)))
            .max_by_key(|(sent, _, _)| *sent);
        let by_id = brought.filter(|b| !matches!(b.seen, Seen::Failed(_)));
        let id_seq = by_id.map_or(0, |b| b.sent);
        let q_seq = from_question.as_ref().map_or(0, |(s, _, _)| *s);

        if id_seq > 0 && id_seq >= copy_seq && id_seq >= q_seq {
            if let Some(Seen::Found(bytes, spec)) = by_id.map(|b| &b.seen) {
                if let Some(entry) = Entry::read(bytes, &name) {
                    self.take(e, spec, scan, id, &entry, sort, Some(bytes), keep, true);
                }
            }
            return;
        }
        if let Some((sent, spec, bytes)) = from_question {
            if sent >= copy_seq {
                if let Some(entry) = Entry::read(bytes, &name) {
                    self.take(e, spec, scan, id, &entry, sort, Some(bytes), keep, true);
                }
                return;
            }
        }
        match (&copy, cached) {
            (Copy::Foreign, _) => scan.foreign = Some(name),
            (_, Some(entry)) => {
                let h = entry.header;
                let belongs = scan.conditions.iter().all(|c| entry.has(c.field, &c.value));
                if !belongs {
                    // The set was confirmed after this copy was seen, and says otherwise: look again.
                    if h.seq < scan.confirmed && scan.conditions.len() == 1 && scan.failed.is_none() {
                        self.lack(e, scan, id, brought);
                    }
                    return;
                }
                let good = match self.usable(e, w, &h) {
                    Use::Fresh => self.young_enough(h.asked_ms),
                    Use::WhileRevalidate => self.options.max_age.is_none(),
                    Use::IfError => self.options.output != Output::Records || scan.failed.is_some(),
                    Use::No => self.options.output != Output::Records,
                } && (self.options.max_age.is_none() || self.young_enough(h.asked_ms));
                if good {
                    self.take(e, &e.spec, scan, id, &entry, sort, None, keep, false);
                } else if self.serves_instead(w, &h, brought) {
                    scan.rescued = true;
                    self.take(e, &e.spec, scan, id, &entry, sort, None, keep, false);
                } else {
                    self.lack(e, scan, id, brought);
                }
            }
            (Copy::Tomb(h), _) => {
                // Gone, unless the set was confirmed later.
                if h.seq < scan.confirmed || self.now >= h.fresh_until {
                    self.lack(e, scan, id, brought);
                }
            }
            _ => self.lack(e, scan, id, brought),
        }
    }

    /// Airtable failed to return a member: may its stale copy stand in?
    fn serves_instead(&self, w: &Windows, h: &Header, brought: Option<&Arc<LandedRecord>>) -> bool {
        !self.options.no_cache
            && self.options.max_age.is_none()
            && matches!(brought.map(|b| &b.seen), Some(Seen::Failed(f)) if f.outage)
            && freshness::judge(w, h.fresh_until, h.dead_at, self.now) != Use::No
    }

    fn lack(&self, e: &Entity, scan: &mut Scan, id: &CompactString, brought: Option<&Arc<LandedRecord>>) {
        match brought.map(|b| &b.seen) {
            Some(Seen::Failed(f)) => scan.failed = Some(f.clone()),
            Some(Seen::Gone(_)) => {}
            _ => scan.lacking.push(Want::Record(e.ix, id.clone())),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn take(&self, e: &Entity, spec: &Spec, scan: &mut Scan, id: &CompactString, entry: &Entry, sort: Option<u16>, shared: Option<&Arc<[u8]>>, keep: bool, fetched: bool) {
        if !scan.conditions.iter().all(|c| entry.has(c.field, &c.value)) {
            return;
        }
        let body = if self.options.output == Output::Records {
            let body = match shared {
                Some(bytes) => render_shared(spec, &self.options.view, bytes, entry, id),
                None => render(e, &self.options.view, entry, id),
            };
            if keep {
                body.seal()
            } else {
                body
            }
        } else {
            Body::Null
        };
        if self.options.output == Output::Records || self.options.max_age.is_some() {
            scan.oldest = scan.oldest.min(entry.header.asked_ms);
            scan.shortest = scan.shortest.min(self.fresh_until(e, &entry.header));
        }
        if !fetched && self.fresh_until(e, &entry.header) <= self.now {
            scan.stale_members = true;
        } else if !fetched && super::refresh::is_due(entry.header.asked_ms, entry.header.fresh_until, self.now) {
            scan.ending.push(Want::Record(e.ix, id.clone()));
        }
        let sort = sort.and_then(|f| entry.texts(f).next()).map(<[u8]>::to_vec);
        scan.found.push(Item { id: id.clone(), body, sort });
    }

    /// What the scan came to.
    pub(crate) fn finish(&mut self, st: &mut State, mut scan: Scan, name: &[u8]) -> Progress {
        if let Some(foreign) = scan.foreign {
            return Progress::Done(Body::error(reply::wrong_type(&foreign)));
        }
        if !scan.lacking.is_empty() {
            if self.options.cache_only {
                return Progress::Done(Body::Null.with_meta(self.options.meta.then(|| self.meta(name, CacheWord::Miss, self.now, self.now))));
            }
            if let Some(f) = scan.failed {
                return Progress::Done(Body::error(f.line));
            }
            return Progress::Need(scan.lacking);
        }
        let error_served = scan.failed.is_some() || scan.rescued;
        if let (Some(f), false) = (&scan.failed, scan.stale) {
            return Progress::Done(Body::error(f.line.clone()));
        }
        if scan.stale_members && !error_served && !self.options.cache_only {
            let stale: Vec<Want> = scan.found.iter().map(|i| Want::Record(scan.ix, i.id.clone())).take(100).collect();
            self.refresh.extend(stale);
        }
        if !self.options.cache_only {
            self.refresh.append(&mut scan.ending);
        }
        let total = scan.found.len();
        let Some(e) = st.get_mut(scan.ix) else { return Progress::Done(Body::error(reply::no_entity(entity_of(name)))) };
        let behind = e.feed.behind;
        if let Some((field, descending)) = &self.options.sort {
            let kind = e.spec.field(field).and_then(|f| e.spec.fields().get(f as usize)).map(|f| f.kind);
            let descending = *descending;
            scan.found.sort_by(|a, b| {
                use std::cmp::Ordering;
                let by_value = match (&a.sort, &b.sort, kind) {
                    (Some(x), Some(y), Some(k)) => {
                        let o = question::compare(k, x, y);
                        if descending { o.reverse() } else { o }
                    }
                    (Some(_), None, _) => Ordering::Less,
                    (None, Some(_), _) => Ordering::Greater,
                    _ => Ordering::Equal,
                };
                by_value.then_with(|| a.id.cmp(&b.id))
            });
        }
        if let Some((offset, count)) = self.options.limit {
            let skip = (offset as usize).min(scan.found.len());
            scan.found.drain(..skip);
            if count >= 0 {
                scan.found.truncate(count as usize);
            }
        }
        let most = config::MAX_ANSWER.get().max(0) as usize;
        if self.options.output == Output::Records && scan.found.len() > most {
            return Progress::Done(Body::error(format!(
                "TOOBIG the answer holds {} records, more than podium.max-answer ({most}): give LIMIT <offset> <count>, or ask for IDS or COUNT",
                scan.found.len()
            )));
        }
        let fetched = self.brought.led || self.brought.collapsed;
        let word = if self.bypass() && !self.options.cache_only {
            CacheWord::Bypass
        } else if scan.stale || scan.stale_members {
            CacheWord::Stale
        } else if fetched {
            CacheWord::Miss
        } else {
            CacheWord::Hit
        };
        log::event(
            match word {
                CacheWord::Hit => "cache_hit",
                CacheWord::Stale => "cache_stale",
                CacheWord::Bypass => "cache_bypass",
                CacheWord::Miss => "cache_miss_stored",
            },
            name,
            &[("records", total.into())],
        );
        match word {
            CacheWord::Hit => e.figures.hits += 1,
            CacheWord::Stale => e.figures.stale_hits += 1,
            _ => count_fetch(e, word, self.brought),
        }
        let meta = self.options.meta.then(|| {
            let mut m = self.meta(name, word, scan.oldest, scan.shortest);
            m.airtable_hits = i64::from(self.brought.hits_total);
            m.stored = scan.stored;
            m.fwd = if word == CacheWord::Bypass { Fwd::Bypass } else { Fwd::UriMiss };
            m.collapsed = self.brought.collapsed && !self.brought.led;
            m.detail = if error_served {
                "stale-if-error"
            } else if scan.stale {
                "revalidating"
            } else if m.collapsed {
                "collapsed"
            } else if behind && !fetched {
                "feed-behind"
            } else if total == 0 {
                "index-empty"
            } else {
                "index"
            };
            m
        });
        let body = match self.options.output {
            Output::Count => Body::Int(total as i64),
            Output::Ids => Body::List(scan.found.into_iter().map(|i| Body::Bytes(i.id.as_bytes().to_vec())).collect()),
            Output::Records => Body::List(scan.found.into_iter().map(|i| i.body).collect()),
        };
        Progress::Done(body.with_meta(meta))
    }
}

impl Scan {
    pub(crate) fn size(&self) -> usize {
        self.candidates.len()
    }
}

/// The condition whose set is likely the smallest: a link or a text rather than a number, a switch last.
fn most_selective(spec: &Spec, conditions: &[Condition]) -> Arc<[u8]> {
    use podium_core::spec::Kind;
    let rank = |c: &Condition| match spec.fields().get(c.field as usize).map(|f| f.kind) {
        Some(Kind::Link) => 1,
        Some(Kind::Text | Kind::Any | Kind::DateTime) => 0,
        Some(Kind::Boolean) => 4,
        Some(Kind::Links) => 2,
        _ => 3,
    };
    conditions.iter().min_by_key(|c| rank(c)).map_or_else(|| Arc::from(&b"*"[..]), |c| c.suffix.clone())
}
