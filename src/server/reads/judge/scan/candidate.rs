//! Candidates looked at one by one: does a record belong to the answer, and which copy of it counts?

use crate::server::reads::judge::scan::{Item, Scan};
use crate::server::reads::judge::{render, render_shared, Judge, Want};
use crate::server::state::entities::{Entity, State};
use crate::server::state::outcome::{LandedRecord, Seen};
use crate::server::state::query::Output;
use crate::server::store::answers::content;
use crate::server::store::{self, Copy};
use crate::server::upstream::fault::Fault;
use crate::server::valkey::reply::Body;
use crate::server::valkey::settings;
use compact_str::CompactString;
use podium_core::entry::{Entry, Header};
use podium_core::freshness::{self, Use, Windows};
use podium_core::key;
use podium_core::spec::Spec;
use std::sync::Arc;

impl Judge<'_> {
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
        if scan.at == 0 {
            // Growing would copy what was found so far, under the lock.
            let most = enough.unwrap_or(usize::MAX);
            scan.found.reserve(scan.candidates.len().min(most));
        }
        for _ in 0..n {
            if enough.is_some_and(|m| scan.found.len() + scan.lacking.len() >= m) {
                scan.cut |= scan.at < scan.candidates.len();
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
        let copy = if settings::enabled() {
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
        let damaged = self.brought.questions.iter();
        let damaged = damaged
            .filter(|((i, _), q)| *i == e.ix && q.sent >= copy_seq && q.sent >= id_seq)
            .filter_map(|(_, q)| q.damaged.get(id))
            .next();
        if let Some(fault) = damaged {
            return self.damaged(scan, id, &name, fault, sort);
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
                        self.lack(e, scan, id, brought, sort);
                    }
                    return;
                }
                let good = match self.usable(e, w, &h) {
                    Use::Fresh => self.young_enough(h.as_of()),
                    Use::WhileRevalidate => self.options.max_age.is_none(),
                    Use::IfError => self.options.output != Output::Records || scan.failed.is_some(),
                    Use::No => self.options.output != Output::Records,
                } && (self.options.max_age.is_none() || self.young_enough(h.as_of()));
                if good {
                    self.take(e, &e.spec, scan, id, &entry, sort, None, keep, false);
                } else if self.serves_instead(w, &h, brought) {
                    scan.rescued = true;
                    self.take(e, &e.spec, scan, id, &entry, sort, None, keep, false);
                } else {
                    self.lack(e, scan, id, brought, sort);
                }
            }
            (Copy::Tomb(h), _) => {
                // Gone, unless the set was confirmed later.
                if h.seq < scan.confirmed || self.now >= h.fresh_until {
                    self.lack(e, scan, id, brought, sort);
                }
            }
            _ => self.lack(e, scan, id, brought, sort),
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
        sort: Option<u16>,
    ) {
        match brought.map(|b| &b.seen) {
            Some(Seen::Failed(f)) if f.damage.is_some() => {
                self.damaged(scan, id, &key::record(&e.name, id), f, sort);
            }
            Some(Seen::Failed(f)) => scan.failed = Some(f.clone()),
            Some(Seen::Gone(_)) => {}
            _ => scan.lacking.push(Want::Record(e.ix, id.clone())),
        }
    }

    /// A candidate that came and cannot be read: it takes its place in the answer as its own error, if what can be read of
    /// it says that it belongs, or if nothing can.
    fn damaged(
        &self,
        scan: &mut Scan,
        id: &CompactString,
        name: &[u8],
        fault: &Fault,
        sort: Option<u16>,
    ) {
        let cells = fault.damage.as_ref().and_then(|d| d.cells.as_ref());
        let entry = cells.and_then(|c| Entry::read(&c.bytes, name));
        let belongs = |e: &Entry| scan.conditions.iter().all(|c| e.has(c.field, &c.value));
        let sure = scan.conditions.is_empty() || entry.is_some();
        if entry.as_ref().is_some_and(|e| !belongs(e)) {
            return;
        }
        let body = if sure && self.options.output != Output::Records {
            Body::Null
        } else {
            Body::error(fault.line.clone())
        };
        let text = |e: &Entry, f| e.texts(f).next().map(<[u8]>::to_vec);
        let sort = sort.zip(entry).and_then(|(f, e)| text(&e, f));
        let id = id.clone();
        scan.found.push(Item {
            id,
            body,
            sort,
            seen: None,
        });
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
            scan.oldest = scan.oldest.min(entry.header.as_of());
            scan.shortest = scan.shortest.min(self.fresh_until(e, &entry.header));
        }
        if !fetched && self.fresh_until(e, &entry.header) <= self.now {
            scan.stale_members = true;
        } else if !fetched
            && crate::server::reads::ahead::is_due(
                entry.header.asked_ms,
                entry.header.fresh_until,
                self.now,
            )
        {
            scan.ending.push(Want::Record(e.ix, id.clone()));
        }
        let sort = sort.and_then(|f| entry.texts(f).next()).map(<[u8]>::to_vec);
        let seen = self.used.is_some().then(|| {
            let vouched = e.feed.renews(&entry.header, self.now);
            let until = (!vouched).then_some(entry.header.fresh_until);
            (content(entry), until)
        });
        scan.found.push(Item {
            id: id.clone(),
            body,
            sort,
            seen,
        });
    }
}
