//! An answer of Airtable is taken in: by the feed first, then by the cache.

use crate::server::feed::apply;
use crate::server::feed::call;
use crate::server::feed::keep;
use crate::server::feed::saved;
use crate::server::feed::views;
use crate::server::feed::{interval, Answered};
use crate::server::fetching::columns;
use crate::server::fetching::schema;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::state::feeds::Follower;
use crate::server::store::change;
use crate::server::valkey::ffi::{self, Level};
use crate::server::valkey::log;
use podium_core::feed::{Landing, Outcome, Page, Schema};
use std::sync::Arc;

/// The feed that an answer is for; `None`: it was stopped meanwhile, or another one followed.
fn follower<'a>(st: &'a mut State, base: &str, incarnation: u64) -> Option<&'a mut Follower> {
    st.feeds
        .get_mut(base)
        .filter(|f| f.incarnation == incarnation)
}

/// A call came back.
pub(super) fn land(l: Answered) {
    let mut page: Option<(Page, Arc<Schema>)> = None;
    let mut logged: Vec<(Level, String)> = Vec::new();
    let mut litter: Option<String> = None;
    cell::with(|st, ctx| {
        if st.replica || st.loading {
            return;
        }
        let Some(f) = follower(st, &l.base, l.incarnation) else {
            // Made for a feed that was stopped meanwhile.
            if let Outcome::Created { id, .. } = l.outcome {
                litter = Some(id);
            }
            return;
        };
        let at = Landing {
            seq: clock::next(),
            now: ffi::now_ms(),
            interval: interval(),
            ..l.at
        };
        if let Outcome::Failed(why) = &l.outcome {
            if f.feed.failures() == 0 {
                logged.push((
                    Level::Warning,
                    format!("the change feed of {} fails: {}", l.base, why.line),
                ));
            }
        }
        let before = f.feed.knows_schema().then(|| f.schema.clone());
        let schema_read = l.schema.is_some();
        if let Some(body) = &l.schema {
            columns::learn(&l.base, body);
            f.schema = Arc::new(Schema::parse(body).after(&f.schema));
        }
        let reaction = f.feed.landed(l.outcome, at);
        page = reaction.apply.map(|p| (p, f.schema.clone()));
        if let Some(why) = reaction.gap {
            logged.push((Level::Warning, format!("the change feed of {} has a gap ({why}): everything cached of it is asked for anew", l.base)));
            for ix in st.of_base(&l.base) {
                change::entity(st, ctx, ix);
            }
        }
        if schema_read {
            for ix in views::of_another_table(st, &l.base, before.as_deref()) {
                // What pages told of its table found nobody: nothing older than this is vouched for, or believed.
                change::entity(st, ctx, ix);
            }
            views::note_missing(st, &l.base);
        }
        if reaction.save || schema_read {
            saved::save(ctx, st, &l.base);
        }
    });
    for (level, line) in logged {
        ffi::log(level, &line);
    }
    if let Some(body) = &l.schema {
        schema::take_in(&l.base, body);
    }
    if let Some(webhook) = litter {
        call::delete(l.base.clone(), webhook, || {});
    }
    if let Some((page, schema)) = page {
        match apply::page(&l.base, &schema, &page, l.sent.number()) {
            Some(changes) => applied(&l.base, l.incarnation, &page, changes),
            None => {
                // Writes are paused, or this node is a replica by now.
                cell::with(|st, _| {
                    if let Some(f) = follower(st, &l.base, l.incarnation) {
                        f.feed.stalled(ffi::now_ms());
                    }
                });
            }
        }
    }
}

/// What a page says has been applied: the next one may be asked for.
fn applied(base: &Arc<str>, incarnation: u64, page: &Page, changes: u64) {
    let mut keep = false;
    cell::with(|st, ctx| {
        if st.replica || st.loading {
            return;
        }
        let Some(f) = follower(st, base, incarnation) else {
            return;
        };
        f.feed.applied(page);
        f.changes += changes;
        let now = ffi::now_ms();
        keep = !page.more && now.saturating_sub(f.kept_ms) > keep::every_ms();
        if keep {
            f.kept_ms = now;
        }
        // A page that may be told of tables by other names counts as applied once these are known: after a crash before
        // that it is applied again.
        if !page.reschema
            && (page.count > 0
                || f.feed.polled.saturating_sub(f.saved_polled) >= interval().min(60_000))
        {
            f.saved_polled = f.feed.polled;
            saved::save(ctx, st, base);
        }
        views::push(st);
    });
    if page.count > 0 {
        log::event(
            "sync",
            base.as_bytes(),
            &[
                ("payloads", page.count.into()),
                ("changes", changes.into()),
                ("cursor", page.next.into()),
            ],
        );
    }
    if !page.more {
        apply::reread_doubted(base);
    }
    if keep {
        keep::extend(base);
    }
}
