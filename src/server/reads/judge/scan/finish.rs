//! What a scan came to: sorted, cut, counted and replied, or what is still lacking.

use crate::server::reads::computed::used::MOST_MEMBERS;
use crate::server::reads::judge::scan::start::most_selective;
use crate::server::reads::judge::scan::{Item, Scan};
use crate::server::reads::judge::{count_fetch, entity_of, Judge, Progress, Want};
use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::state::query::Output;
use crate::server::store::cluster;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::log;
use crate::server::valkey::reply::{self, Body, CacheWord, Fwd};
use crate::server::valkey::settings;
use crate::server::valkey::tracking;
use compact_str::CompactString;
use podium_core::computed::thing::UNKNOWN;
use podium_core::key;
use podium_core::question;
use std::sync::Arc;

/// The first error among what was found.
fn error_in(found: &[Item]) -> Option<String> {
    found.iter().find_map(|i| match &i.body {
        Body::Error(line) => Some(line.clone()),
        _ => None,
    })
}

impl Judge<'_> {
    /// What the scan came to.
    pub(crate) fn finish(&mut self, st: &mut State, mut scan: Scan, name: &[u8]) -> Progress {
        if let Some(foreign) = scan.foreign {
            return Progress::Done(Body::error(reply::wrong_type(&foreign)));
        }
        let lost = |(sent, asked)| !clock::order().relies(scan.ix, sent, asked);
        if scan.relied_on.is_some_and(lost) {
            // It was collected in slices, and something that it needs was lost in between.
            return match st.get(scan.ix) {
                Some(e) => Progress::Need(vec![Want::Question(
                    scan.ix,
                    most_selective(&e.spec, &scan.conditions),
                )]),
                None => Progress::Done(Body::error(cluster::entity_left(st, entity_of(name)))),
            };
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
        if tracking::somebody_waits() {
            scan.keys(st).iter().for_each(|key| tracking::read(key));
        }
        let total = scan.cut_from.unwrap_or(scan.found.len());
        self.use_found(st, &mut scan);
        let Some(e) = st.get_mut(scan.ix) else {
            return Progress::Done(Body::error(cluster::entity_left(st, entity_of(name))));
        };
        let behind = e.feed.behind;
        if let (Some((field, descending)), None) = (&self.options.sort, scan.cut_from) {
            let spec = e.spec.clone();
            let by = spec.field(field).and_then(|f| spec.get(f));
            let descending = *descending;
            scan.found.sort_by(|a, b| {
                use std::cmp::Ordering;
                let by_value = match (&a.sort, &b.sort, by) {
                    (Some(x), Some(y), Some(by)) => {
                        let o = question::compare(by, x, y);
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
        if scan.nameless {
            // It may be any record, and it may be none that belongs.
            scan.found.push(Item {
                id: CompactString::default(),
                body: Body::error(Fault::nameless(&e.name).line),
                sort: None,
                seen: None,
            });
        }
        if let (Output::Count, Some(unsure)) = (self.options.output, error_in(&scan.found)) {
            return Progress::Done(Body::error(unsure));
        }
        if let (Some((offset, count)), None) = (self.options.limit, scan.cut_from) {
            let skip = (offset as usize).min(scan.found.len());
            scan.found.drain(..skip);
            if count >= 0 {
                scan.found.truncate(count as usize);
            }
        }
        let most = settings::MAX_ANSWER.get().max(0) as usize;
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
        e.figures.sorted_hits += u64::from(scan.cut_from.is_some());
        match word {
            CacheWord::Hit => e.figures.hits += 1,
            CacheWord::Stale => e.figures.stale_hits += 1,
            _ => count_fetch(e, word, self.brought),
        }
        // (Whether all of it is there and fresh is seen when it is looked at.)
        let kept = matches!(word, CacheWord::Hit | CacheWord::Miss) && scan.stored;
        if kept && scan.cut_from.is_none() && self.used.is_none() {
            self.wish = self.sorted_wish(e, &scan, total);
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
                    .map(|i| match i.body {
                        unsure @ Body::Error(_) => unsure,
                        _ => Body::Id(i.id),
                    })
                    .collect(),
            ),
            Output::Records => Body::List(scan.found.into_iter().map(|i| i.body).collect()),
        };
        Progress::Done(body.with_meta(meta))
    }
    /// The computation that the read is for used the sets, and the records that were found in them.
    fn use_found(&mut self, st: &State, scan: &mut Scan) {
        let Some(used) = &mut self.used else { return };
        let Some(e) = st.get(scan.ix) else { return };
        if scan.found.len() > MOST_MEMBERS {
            return used.whole(st, scan.ix, scan.began);
        }
        scan.look_at_sets();
        for item in &scan.found {
            let (content, until) = item.seen.unwrap_or((UNKNOWN, None));
            used.member(scan.ix, &key::record(&e.name, &item.id), content, until);
        }
        let suffixes: Vec<Arc<[u8]>> = match &scan.conditions[..] {
            [] => vec![Arc::from(&b"*"[..])],
            several => several.iter().map(|c| c.suffix.clone()).collect(),
        };
        for suffix in &suffixes {
            let part = scan.sets.iter().find(|p| p.suffix == *suffix);
            if part.is_none() && !scan.cut && suffixes.len() == 1 {
                // What a question of its own returned stands for the set.
                let ids: Vec<CompactString> = scan.found.iter().map(|i| i.id.clone()).collect();
                used.set(st, scan.ix, suffix, &ids);
                continue;
            }
            let content = part.map_or(UNKNOWN, |p| p.content);
            used.set_as_of(st, scan.ix, suffix, content, scan.began);
        }
        if e.feed.from == 0 {
            used.until(scan.fresh_until);
        }
    }
}
