//! Which records are candidates of an index question: those of a set that is known, or what must be fetched first.

use crate::server::reads::judge::scan::{Part, Scan, Start};
use crate::server::reads::judge::{entity_of, Judge, Want};
use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::outcome::{LandedQuestion, Seen};
use crate::server::state::query;
use crate::server::state::query::Condition;
use crate::server::state::schemas;
use crate::server::state::schemas::Through;
use crate::server::store::cluster;
use crate::server::store::{self, Set};
use crate::server::upstream::fault::Fault;
use crate::server::valkey::reply::{self, Body};
use crate::server::valkey::settings;
use compact_str::CompactString;
use hashbrown::HashMap;
use podium_core::computed::thing::UNKNOWN;
use podium_core::doubt::cheaper_to_refetch;
use podium_core::entry::Sentinel;
use podium_core::freshness::{self, Use, Windows};
use podium_core::key::{self, Name};
use podium_core::spec::Spec;
use std::sync::Arc;

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

    /// The set that a question of our own left in the cache, if it is there still; or one whose question was sent after this
    /// reader asked.
    fn kept(
        &self,
        e: &Entity,
        suffix: &[u8],
        q: &LandedQuestion,
        asked: u64,
    ) -> Option<(Sentinel, Vec<CompactString>)> {
        let since = if q.stored { q.sent.min(asked) } else { asked };
        if !settings::enabled() {
            return None;
        }
        match store::read_set(self.ctx, e, suffix) {
            Set::Complete { sentinel, ids } if sentinel.seq >= since => Some((sentinel, ids)),
            _ => None,
        }
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
            return Start::Done(Body::error(cluster::entity_left(st, entity_of(name))));
        };
        e.read_ms.set(self.now);
        let renumbered = match in_force(st, e, conditions) {
            Ok(c) => c,
            Err(why) => return Start::Done(Body::error(why)),
        };
        let conditions = renumbered.as_deref().unwrap_or(conditions);
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
        // For a computation: what each was like.
        let mut parts: Vec<Part> = Vec::new();
        for suffix in &suffixes {
            let mut consider = |s: Scan| {
                if self.used.is_some() && s.relied_on.is_none() {
                    parts.push(Part {
                        suffix: suffix.clone(),
                        ids: s.candidates.clone(),
                        content: UNKNOWN,
                    });
                }
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
                        // Stored as a set, it was amended by what was told meanwhile, and follows what is told since. Else who
                        // asked later looks for that, if all of it is known still.
                        if let Some((s, ids)) = self.kept(e, suffix, q, asked) {
                            consider(Scan {
                                own: true,
                                nameless: q.nameless,
                                ..scan(ids, s.seq, s.asked_ms, s.fresh_until)
                            });
                        } else if let Some(ids) = answered(e, q, records, asked) {
                            consider(Scan {
                                own: true,
                                stored: q.stored,
                                nameless: q.nameless,
                                relied_on: Some((q.sent, asked)),
                                ..scan(ids, q.sent, q.asked_ms, q.fresh_until)
                            });
                        }
                    }
                    Err(f) => failed = Some(f.clone()),
                }
                continue;
            }
            if self.bypass() && !self.options.cache_only {
                continue;
            }
            if !settings::enabled() {
                continue;
            }
            match self.set(e, suffix) {
                Set::Complete { mut sentinel, ids } => {
                    if ids.is_empty() && e.complete.is_none() {
                        // Its members left since it was asked for: empty, it lives no longer than one that was empty at once.
                        let until = sentinel
                            .asked_ms
                            .saturating_add(settings::EMPTY_TTL.seconds_as_ms());
                        sentinel.fresh_until = sentinel.fresh_until.min(until);
                    }
                    let Some((stale, fresh_until)) = self.set_serves(e, &w, &sentinel) else {
                        continue;
                    };
                    consider(Scan {
                        stale,
                        ..scan(ids, sentinel.seq, sentinel.asked_ms, fresh_until)
                    });
                }
                Set::Foreign => {
                    let full = key::set(&e.name, suffix);
                    return Start::Done(Body::error(reply::wrong_type(&full)));
                }
                Set::Absent => {
                    let fresh = |c: &crate::server::state::entities::Complete| {
                        self.now < c.fresh_until || e.feed.vouches(c.seq, self.now)
                    };
                    // A set whose key ended unannounced (expired while writes are paused, say) is in the register still: its
                    // value is not one of the unknown, empty ones.
                    let unknown = &suffix[..] != b"*" && !e.sets.contains(&suffix[..]);
                    if let Some(c) = e
                        .complete
                        .filter(|c| unknown && fresh(c) && self.young_enough(c.asked_ms))
                    {
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
            for id in may_match(e, conditions, scan.confirmed, asked) {
                let id = CompactString::new(id);
                match self.brought.records.get(&(ix, id.clone())) {
                    Some(b) if b.sent > scan.confirmed => match &b.seen {
                        Seen::Failed(f) if f.damage.is_none() => failed = Some(f.clone()),
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
                // Those that may be of another table altogether are not asked of this one before it is known.
                if open.iter().any(|id| e.strays.contains_key(id))
                    && !self.brought.learned
                    && schemas::may_ask(st, &e.base())
                {
                    let own = open.into_iter().filter(|id| !e.strays.contains_key(id));
                    let mut wants: Vec<Want> = own.map(|id| Want::Record(ix, id)).collect();
                    if !cheaper_to_refetch(wants.len(), scan.candidates.len()) && !scan.own {
                        wants = vec![Want::Question(ix, most_selective(&e.spec, conditions))];
                    }
                    wants.push(Want::Schema(ix));
                    return Start::Need(wants);
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
        self.renew_set(e, conditions, &scan);
        if let Some(used) = &self.used {
            // What stands for a set, or is past its freshness, is not what is known now.
            let current = scan.relied_on.is_none() && !scan.stale;
            (scan.began, scan.sets) = (current.then_some(used.began), parts);
        }
        Start::Scan(Box::new(scan))
    }

    /// Does a set answer, by its own times? Is it stale then, and until when is it fresh?
    pub(super) fn set_serves(
        &self,
        e: &Entity,
        w: &Windows,
        sentinel: &Sentinel,
    ) -> Option<(bool, u64)> {
        let vouched = e.feed.vouches(sentinel.seq, self.now);
        let usable = match freshness::judge(w, sentinel.fresh_until, u64::MAX, self.now) {
            _ if vouched => Use::Fresh,
            by_time => by_time,
        };
        let vouched_until = if vouched { e.feed.vouched_until } else { 0 };
        let stale = match usable {
            Use::Fresh if self.young_enough(sentinel.asked_ms) => false,
            Use::WhileRevalidate if self.options.max_age.is_none() => true,
            _ => return None,
        };
        Some((stale, sentinel.fresh_until.max(vouched_until)))
    }

    /// A set that is past its freshness, or read often near its end, is asked for anew behind.
    pub(super) fn renew_set(&mut self, e: &Entity, conditions: &[Condition], scan: &Scan) {
        let ending = !scan.own
            && !scan.stale
            && crate::server::reads::ahead::is_due(scan.asked_ms, scan.fresh_until, self.now);
        if (scan.stale || ending) && !self.options.cache_only {
            let suffix = most_selective(&e.spec, conditions);
            self.refresh.push(Want::Question(scan.ix, suffix));
        }
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
            && settings::enabled();
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
}

/// Records that somebody said changed since a set was confirmed and before its reader asked, and that may match by now.
pub(super) fn may_match<'e>(
    e: &'e Entity,
    conditions: &'e [Condition],
    confirmed: u64,
    asked: u64,
) -> impl Iterator<Item = &'e str> {
    let matters = move |links: &Vec<Through>| {
        let by = |c: &Condition| e.follows(c.field, &c.value, links);
        conditions.iter().any(by)
    };
    let in_doubt = e.doubts.between(confirmed, asked);
    in_doubt.filter(move |id| e.strays.get(*id).is_none_or(&matters))
}

/// What a question of our own returned, and what was told since it was sent and before this reader asked. `None`: not all
/// of that is known any more, or the entity has another shape by now; it is to be asked anew.
fn answered(
    e: &Entity,
    q: &LandedQuestion,
    records: &HashMap<CompactString, Arc<[u8]>>,
    asked: u64,
) -> Option<Vec<CompactString>> {
    let order = clock::order();
    if !Arc::ptr_eq(&q.spec, &e.spec) || !order.relies(e.ix, q.sent, asked) {
        return None;
    }
    let told = order.told_between(e.ix, q.sent, asked);
    let told = told.filter(|id| !records.contains_key(*id) && !q.damaged.contains_key(*id));
    let came = records.keys().chain(q.damaged.keys());
    let mut ids: Vec<CompactString> = came.cloned().chain(told.map(CompactString::new)).collect();
    ids.sort_unstable();
    Some(ids)
}

/// The conditions as the spec in force numbers their fields, where another was in force when they were asked.
fn in_force(
    _st: &State,
    e: &Entity,
    conditions: &[Condition],
) -> Result<Option<Vec<Condition>>, String> {
    let named = |c: &Condition| {
        let field = e.spec.get(c.field).filter(|f| f.indexed)?;
        let rest = c.suffix.strip_prefix(field.name.as_bytes())?;
        rest.starts_with(b":").then_some(())
    };
    if conditions.iter().all(|c| named(c).is_some()) {
        return Ok(None);
    }
    let anew = |c: &Condition| {
        let name = key::set(&e.name, &c.suffix);
        match key::parse(&name) {
            Some(Name::Index { field, value, .. }) => query::condition(e, field, value),
            _ => Err(reply::bad_index_key(&name)),
        }
    };
    conditions
        .iter()
        .map(anew)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The condition whose set is likely the smallest: a link or a text rather than a number, a switch last.
pub(super) fn most_selective(spec: &Spec, conditions: &[Condition]) -> Arc<[u8]> {
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
