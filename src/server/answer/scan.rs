//! An index question being answered: which records are candidates, which of them belong, what is lacking.

use super::{count_fetch, entity_of, render, render_shared, Judge, Progress, Want};
use crate::server::config;
use crate::server::fault::Fault;
use crate::server::log;
use crate::server::op::{LandedRecord, Seen};
use crate::server::query::{Condition, Output};
use crate::server::reply::{self, Body, CacheWord, Fwd};
use crate::server::state::{Entity, EntityIx, State};
use crate::server::store::{self, Copy, Set};
use compact_str::CompactString;
use podium_core::doubt::cheaper_to_refetch;
use podium_core::entry::{Entry, Header};
use podium_core::freshness::{self, Use, Windows};
use podium_core::spec::Spec;
use podium_core::{key, question};
use std::sync::Arc;

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
                return Set::Complete {
                    sentinel: *read,
                    ids: ids.clone(),
                };
            }
        }
        store::read_set(self.ctx, e, suffix)
    }

    /// Finds the candidates of an index question. `asked`: the number under which the client asked.
    pub(crate) fn start(
        &mut self,
        st: &mut State,
        ix: EntityIx,
        conditions: &[Condition],
        asked: u64,
        name: &[u8],
    ) -> Start {
        let Some(e) = st.get(ix) else {
            return Start::Done(Body::error(reply::no_entity(entity_of(name))));
        };
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
                if best
                    .as_ref()
                    .is_none_or(|b| s.candidates.len() < b.candidates.len())
                {
                    best = Some(s);
                }
            };
            let scan = |candidates, confirmed, asked_ms, fresh_until| {
                Scan::new(ix, conditions, candidates, confirmed, asked_ms, fresh_until)
            };
            if let Some(q) = self.brought.questions.get(&(ix, suffix.clone())) {
                match &q.records {
                    Ok(records) => {
                        let mut ids: Vec<CompactString> = records.keys().cloned().collect();
                        // Stored as a set, it may have been amended by what was told meanwhile.
                        if q.stored {
                            if let Set::Complete { sentinel, ids: now } =
                                store::read_set(self.ctx, e, suffix)
                            {
                                if sentinel.seq >= q.sent {
                                    ids = now;
                                }
                            }
                        }
                        ids.sort_unstable();
                        consider(Scan {
                            own: true,
                            stored: q.stored,
                            ..scan(ids, q.sent, q.asked_ms, q.fresh_until)
                        });
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
                        let until = sentinel
                            .asked_ms
                            .saturating_add(config::EMPTY_TTL.seconds_as_ms());
                        sentinel.fresh_until = sentinel.fresh_until.min(until);
                    }
                    let vouched = e.feed.vouches(sentinel.seq, self.now);
                    let usable =
                        match freshness::judge(&w, sentinel.fresh_until, u64::MAX, self.now) {
                            _ if vouched => Use::Fresh,
                            by_time => by_time,
                        };
                    let fresh_until =
                        sentinel
                            .fresh_until
                            .max(if vouched { e.feed.vouched_until } else { 0 });
                    let stale = match usable {
                        Use::Fresh if self.young_enough(sentinel.asked_ms) => false,
                        Use::WhileRevalidate if self.options.max_age.is_none() => true,
                        _ => continue,
                    };
                    consider(Scan {
                        stale,
                        ..scan(ids, sentinel.seq, sentinel.asked_ms, fresh_until)
                    });
                }
                Set::Foreign => {
                    let full = [e.name.as_bytes(), b":", suffix].concat();
                    return Start::Done(Body::error(reply::wrong_type(&full)));
                }
                Set::Absent => {
                    let fresh = |c: &crate::server::state::Complete| {
                        self.now < c.fresh_until || e.feed.vouches(c.seq, self.now)
                    };
                    if let Some(c) = e.complete.filter(|c| {
                        fresh(c) && self.young_enough(c.asked_ms) && &suffix[..] != b"*"
                    }) {
                        consider(scan(Vec::new(), c.seq, c.asked_ms, c.fresh_until));
                    }
                }
            }
        }
        let Some(mut scan) = best else {
            if let Some(f) = failed {
                return self.set_instead(st, ix, conditions, &suffixes, f);
            }
            if self.options.cache_only {
                return Start::Done(self.nothing(name));
            }
            return Start::Need(vec![Want::Question(
                ix,
                most_selective(&e.spec, conditions),
            )]);
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
                    return Start::Done(self.nothing(name));
                }
                return Start::Need(
                    if cheaper_to_refetch(open.len(), scan.candidates.len()) || scan.own {
                        open.into_iter().map(|id| Want::Record(ix, id)).collect()
                    } else {
                        vec![Want::Question(ix, most_selective(&e.spec, conditions))]
                    },
                );
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
        let ending = !scan.own
            && !scan.stale
            && crate::server::refresh::is_due(scan.asked_ms, scan.fresh_until, self.now);
        if (scan.stale || ending) && !self.options.cache_only {
            self.refresh
                .push(Want::Question(ix, most_selective(&e.spec, conditions)));
        }
        Start::Scan(Box::new(scan))
    }

    /// Airtable failed to answer a question: a stale set answers if nothing in it is in doubt.
    fn set_instead(
        &self,
        st: &mut State,
        ix: EntityIx,
        conditions: &[Condition],
        suffixes: &[Arc<[u8]>],
        fault: Fault,
    ) -> Start {
        let allowed = fault.outage
            && !self.options.no_cache
            && self.options.max_age.is_none()
            && config::enabled();
        let Some(e) = st.get(ix).filter(|_| allowed) else {
            return Start::Done(Body::error(fault.line));
        };
        let w = Self::windows(e);
        for suffix in suffixes {
            if let Set::Complete { sentinel, ids } = store::read_set(self.ctx, e, suffix) {
                let usable = freshness::judge(&w, sentinel.fresh_until, u64::MAX, self.now);
                if usable != Use::No && !e.doubts.any_since(sentinel.seq) {
                    return Start::Scan(Box::new(Scan {
                        stale: true,
                        failed: Some(fault),
                        stale_members: true,
                        ..Scan::new(
                            ix,
                            conditions,
                            ids,
                            sentinel.seq,
                            sentinel.asked_ms,
                            sentinel.fresh_until,
                        )
                    }));
                }
            }
        }
        Start::Done(Body::error(fault.line))
    }

    /// Looks at up to `n` candidates; true when all have been seen. What stays in the scan belongs to no lock if `keep`.
    pub(crate) fn step(&self, st: &State, scan: &mut Scan, n: usize, keep: bool) -> bool {
        let Some(e) = st.get(scan.ix) else {
            return true;
        };
        let w = Self::windows(e);
        let sort = self
            .options
            .sort
            .as_ref()
            .and_then(|(f, _)| e.spec.field(f));
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
            let Some(id) = scan.candidates.get(scan.at).cloned() else {
                return true;
            };
            scan.at += 1;
            self.candidate(e, &w, scan, &id, sort, keep);
        }
        scan.at >= scan.candidates.len()
    }

    fn candidate(
        &self,
        e: &Entity,
        w: &Windows,
        scan: &mut Scan,
        id: &CompactString,
        sort: Option<u16>,
        keep: bool,
    ) {
        let name = key::record(&e.name, id);
        let brought = self.brought.records.get(&(e.ix, id.clone()));
        // The newest of what is known: the cache's copy, what was fetched by id, what the question returned.
        let copy = if config::enabled() {
            store::copy(self.ctx, e, id, true)
        } else {
            Copy::Absent
        };
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
                    if h.seq < scan.confirmed && scan.conditions.len() == 1 && scan.failed.is_none()
                    {
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

    fn lack(
        &self,
        e: &Entity,
        scan: &mut Scan,
        id: &CompactString,
        brought: Option<&Arc<LandedRecord>>,
    ) {
        match brought.map(|b| &b.seen) {
            Some(Seen::Failed(f)) => scan.failed = Some(f.clone()),
            Some(Seen::Gone(_)) => {}
            _ => scan.lacking.push(Want::Record(e.ix, id.clone())),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn take(
        &self,
        e: &Entity,
        spec: &Spec,
        scan: &mut Scan,
        id: &CompactString,
        entry: &Entry,
        sort: Option<u16>,
        shared: Option<&Arc<[u8]>>,
        keep: bool,
        fetched: bool,
    ) {
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
        } else if !fetched
            && crate::server::refresh::is_due(
                entry.header.asked_ms,
                entry.header.fresh_until,
                self.now,
            )
        {
            scan.ending.push(Want::Record(e.ix, id.clone()));
        }
        let sort = sort.and_then(|f| entry.texts(f).next()).map(<[u8]>::to_vec);
        scan.found.push(Item {
            id: id.clone(),
            body,
            sort,
        });
    }

    /// What the scan came to.
    pub(crate) fn finish(&mut self, st: &mut State, mut scan: Scan, name: &[u8]) -> Progress {
        if let Some(foreign) = scan.foreign {
            return Progress::Done(Body::error(reply::wrong_type(&foreign)));
        }
        if !scan.lacking.is_empty() {
            if self.options.cache_only {
                return Progress::Done(self.nothing(name));
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
            let stale: Vec<Want> = scan
                .found
                .iter()
                .map(|i| Want::Record(scan.ix, i.id.clone()))
                .take(100)
                .collect();
            self.refresh.extend(stale);
        }
        if !self.options.cache_only {
            self.refresh.append(&mut scan.ending);
        }
        let total = scan.found.len();
        let Some(e) = st.get_mut(scan.ix) else {
            return Progress::Done(Body::error(reply::no_entity(entity_of(name))));
        };
        let behind = e.feed.behind;
        if let Some((field, descending)) = &self.options.sort {
            let kind = e
                .spec
                .field(field)
                .and_then(|f| e.spec.fields().get(f as usize))
                .map(|f| f.kind);
            let descending = *descending;
            scan.found.sort_by(|a, b| {
                use std::cmp::Ordering;
                let by_value = match (&a.sort, &b.sort, kind) {
                    (Some(x), Some(y), Some(k)) => {
                        let o = question::compare(k, x, y);
                        if descending {
                            o.reverse()
                        } else {
                            o
                        }
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
            m.fwd = if word == CacheWord::Bypass {
                Fwd::Bypass
            } else {
                Fwd::UriMiss
            };
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
            Output::Ids => Body::List(
                scan.found
                    .into_iter()
                    .map(|i| Body::Bytes(i.id.as_bytes().to_vec()))
                    .collect(),
            ),
            Output::Records => Body::List(scan.found.into_iter().map(|i| i.body).collect()),
        };
        Progress::Done(body.with_meta(meta))
    }
}

impl Scan {
    /// Of a set in the cache that is fresh.
    fn new(
        ix: EntityIx,
        conditions: &[Condition],
        candidates: Vec<CompactString>,
        confirmed: u64,
        asked_ms: u64,
        fresh_until: u64,
    ) -> Scan {
        Scan {
            ix,
            conditions: conditions.to_vec(),
            candidates,
            at: 0,
            confirmed,
            asked_ms,
            fresh_until,
            own: false,
            stored: true,
            stale: false,
            lacking: Vec::new(),
            found: Vec::new(),
            oldest: asked_ms,
            shortest: fresh_until,
            failed: None,
            foreign: None,
            stale_members: false,
            rescued: false,
            ending: Vec::new(),
        }
    }
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
    conditions
        .iter()
        .min_by_key(|c| rank(c))
        .map_or_else(|| Arc::from(&b"*"[..]), |c| c.suffix.clone())
}
