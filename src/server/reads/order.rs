//! What a read lacks is ordered: one flight per thing, and who read it before is told.

use crate::server::desk::job::{Job, Question};
use crate::server::desk::way::Way;
use crate::server::desk::{self, desk};
use crate::server::fetching::inverse;
use crate::server::reads::computed::COMPUTED;
use crate::server::reads::judge::Want;
use crate::server::reads::miss::ix_of;
use crate::server::state::entities::State;
use crate::server::state::lane::Lane;
use crate::server::state::query::{Ask, Query, RecordKey};
use crate::server::state::waiting::Op;
use crate::server::store;
use crate::server::upstream::figures::Cause;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::reply::Body;
use crate::server::valkey::tracking;
use hashbrown::HashSet;
use podium_core::flight::Joined;
use podium_core::pace::Class;
use podium_core::{index, key};
use std::sync::Arc;

/// Orders what a read lacks. `on_main`: called by a command, at the start of a fetch: who read the keys before is told now.
pub(super) fn order(ctx: Ctx, st: &mut State, op: &Arc<Op>, wants: &[Want], on_main: bool) {
    let fresh_start = op.query.options.no_cache && !op.with_brought(|b| b.led || b.collapsed);
    crate::server::desk::deletes::watch();
    op.expect(wants.len() as u32);
    let mut signals: Vec<Vec<u8>> = Vec::new();
    let mut dropped: Vec<Want> = Vec::new();
    for w in wants {
        if let Want::Feed(ix) = w {
            crate::server::feed::await_poll(st, *ix, op);
            continue;
        }
        if let Want::Schema(ix) = w {
            crate::server::fetching::schema::await_schema(st, *ix, op);
            continue;
        }
        let fresh_copy = on_main && has_copy(ctx, st, w);
        match place(st, w, Class::Read, Some(op), fresh_start) {
            // A copy that is there is compared with what comes: only a difference is told.
            Some((Joined::Lead(_), name)) if !fresh_copy => signals.push(name),
            Some((Joined::Lead(_), _)) => {}
            Some((Joined::Follow(_), _)) => {}
            None => dropped.push(w.clone()),
        }
    }
    if on_main {
        signals.retain(|name| !tracking::is_awaited(name));
        if ffi::tracks(ctx) {
            // The feed is heard first: what it says is no part of the fetch. And what a computed answer used is mostly found to
            // be the same: nobody is to be told.
            let answer = match &op.query.ask {
                Ask::Get(k) | Ask::Lease { key: k, .. } => k.ix == COMPUTED,
                _ => false,
            };
            let at_once = !answer && !wants.iter().any(|w| matches!(w, Want::Feed(_)));
            let begun = op.track(keys_of(&op.query, wants), at_once);
            let told: HashSet<&[u8]> = begun.iter().map(|key| &key[..]).collect();
            signals.retain(|name| !told.contains(&name[..]));
            signals.extend(begun.iter().map(|key| key.to_vec()));
        }
        for name in &signals {
            store::signal_fetch(ctx, name);
        }
    }
    if ffi_on_main() {
        desk::close_pass();
    } else {
        desk::close_now();
    }
    if !dropped.is_empty() {
        // Its entity is gone: whoever waits is answered, by a worker, as nothing will land for it.
        let op = op.clone();
        desk::spawn(Box::new(move || {
            op.finish(Body::error("NOENTITY the entity was removed meanwhile"))
        }));
    }
}

/// The keys by which the server registers the reader, of several records those that it waits for.
pub(super) fn keys_of(query: &Query, wants: &[Want]) -> Vec<Arc<[u8]>> {
    match &query.ask {
        Ask::Get(k) | Ask::Lease { key: k, .. } => vec![k.name.clone()],
        Ask::Many(keys) => {
            let mut records = HashSet::new();
            let mut unheard = HashSet::new();
            for w in wants {
                match w {
                    Want::Record(ix, id) => {
                        records.insert((*ix, id));
                    }
                    Want::Question(ix, _) | Want::Feed(ix) | Want::Schema(ix) => {
                        unheard.insert(*ix);
                    }
                }
            }
            let waited =
                |k: &&RecordKey| records.contains(&(k.ix, &k.id)) || unheard.contains(&k.ix);
            keys.iter().filter(waited).map(|k| k.name.clone()).collect()
        }
        Ask::Index { names, .. } => names.clone(),
    }
}

fn has_copy(ctx: Ctx, st: &State, w: &Want) -> bool {
    match w {
        Want::Record(ix, id) => st
            .get(*ix)
            .is_some_and(|e| matches!(store::copy(ctx, e, id, false), store::Copy::Record(_))),
        Want::Question(ix, suffix) => st
            .get(*ix)
            .is_some_and(|e| store::set_state(ctx, e, suffix).0.is_some()),
        Want::Feed(_) | Want::Schema(_) => true,
    }
}

thread_local! {
    pub(super) static WORKER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}
fn ffi_on_main() -> bool {
    !WORKER.with(std::cell::Cell::get)
}

/// Orders one thing; its key's name.
fn place(
    st: &mut State,
    w: &Want,
    class: Class,
    op: Option<&Arc<Op>>,
    fresh_start: bool,
) -> Option<(Joined, Vec<u8>)> {
    match w {
        Want::Feed(_) | Want::Schema(_) => None,
        Want::Record(ix, id) => {
            let e = st.get(*ix)?;
            let joined = desk().want_record(e, id, class, op, fresh_start);
            Some((joined, key::record(&e.name, id)))
        }
        Want::Question(ix, suffix) => {
            let e = st.get(*ix)?;
            let asks =
                index::about(&e.spec, suffix).map(|(f, value)| (f, Arc::<[u8]>::from(value)));
            if asks.is_none() && **suffix != *index::ALL {
                return None;
            }
            let job = || {
                let lane = Lane::of(e, Cause::Index);
                let (suffix, under_way) = (suffix.clone(), e.questions.begin());
                Job::Question(match asks {
                    Some(asks) => {
                        let way = Way::of(e, asks.0, &asks.1);
                        let back = inverse::of(st, *ix, asks.0);
                        Question::value(lane, suffix, asks, way, back, under_way)
                    }
                    None => Question::whole(lane, suffix, Some(under_way)),
                })
            };
            let joined = desk().want_question(e, suffix, class, op, fresh_start, job);
            let name = key::set(&e.name, suffix);
            Some((joined, name))
        }
    }
}

/// Refreshes behind an answer that was given.
pub(crate) fn order_refresh(ctx: Ctx, st: &mut State, wants: Vec<Want>) {
    if wants.is_empty() || ffi::is_replica(ctx) {
        return;
    }
    crate::server::desk::deletes::watch();
    for w in &wants {
        if st.get(ix_of(w)).is_some_and(|e| !e.base().is_empty()) {
            place(st, w, Class::Refresh, None, false);
        }
    }
    if ffi_on_main() {
        desk::close_pass();
    } else {
        desk::close_now();
    }
}
