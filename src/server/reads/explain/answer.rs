//! A computed answer explained.

use super::{doubted, Explained, Part, Standing};
use super::{MOST_LOOKED_AT, MOST_NAMES};
use crate::server::reads::judge::Judge;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::history::How;
use crate::server::store::answers;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::reply::Body;
use hashbrown::HashSet;
use podium_core::computed::answer::{self, Copy, Others, Reply};
use podium_core::computed::index::{Check, Place};
use podium_core::computed::stored::Stored;
use podium_core::computed::thing::{Kind, Thing};
use podium_core::key::{self, Name};

/// The names of what an answer used. What is stored are hashes: names are found among what is known of the entities that it
/// used something of, as far as that is quick; tags have none any more.
fn uses(st: &State, stored: &Stored) -> Part {
    let Some(used) = stored.used() else {
        return Part::default();
    };
    let total = used.deps.len();
    let mut names: Vec<Vec<u8>> = Vec::new();
    let computed = used.deps.iter().filter_map(|d| d.name.as_ref());
    names.extend(computed.map(|n| n.to_vec()));
    let mut open: HashSet<(Thing, Kind)> = used
        .deps
        .iter()
        .filter(|d| d.name.is_none())
        .map(|d| (d.thing, d.kind))
        .collect();
    let mut looked_at = 0;
    for e in used.entities.iter().filter_map(|u| st.by_name(&u.entity)) {
        let mut look = |kind: Kind, name: Vec<u8>| {
            looked_at += 1;
            if open.remove(&(answers::thing(kind, &name), kind)) {
                names.push(name);
            }
            looked_at < MOST_LOOKED_AT && !open.is_empty()
        };
        let set = |suffix: &[u8]| [e.name.as_bytes(), b":", suffix].concat();
        let records = e.records.iter().chain(e.tombs.iter()).map(|id| &**id);
        let doubted = e.doubts.iter().map(|(id, _)| id);
        let _ = look(Kind::Whole, key::all(&e.name))
            && e.sets.iter().all(|suffix| look(Kind::Set, set(suffix)))
            && records
                .chain(doubted)
                .all(|id| look(Kind::Record, key::record(&e.name, id)));
    }
    names.sort();
    Part::names(names, total)
}

/// What is in doubt that an answer used.
fn doubts(st: &State, at: Place) -> Part {
    let doubts = st.answers.core.index().doubts(at);
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    let mut all: Vec<Body> = Vec::new();
    for d in &doubts.things {
        let of = st.get(d.entity).zip(key::parse(d.key.as_bytes()));
        let Some((e, Name::Record { id, .. })) = of else {
            continue;
        };
        if seen.insert(d.key.as_bytes().to_vec()) {
            all.push(doubted(st, e, id, d.seq));
        }
    }
    for e in doubts
        .entities
        .iter()
        .filter_map(|ix: &EntityIx| st.get(*ix))
    {
        for (id, seq) in e.doubts.iter() {
            if seen.insert(key::record(&e.name, id)) {
                all.push(doubted(st, e, id, seq));
            }
        }
    }
    let more = all.len().saturating_sub(MOST_NAMES);
    all.truncate(MOST_NAMES);
    Part { shown: all, more }
}

/// What is known of a computed key.
pub(crate) fn explain(st: &mut State, ctx: Ctx, name: &[u8]) -> Option<Explained> {
    let (terms, _) = Judge::terms(st, name)?;
    let mut x = Explained::nothing(st, ctx, Kind::Computed, name);
    let now = ffi::now_ms();
    let generation = st.resources.of_key(name)?.generation;
    let leases = st.answers.core.leases();
    let (holders, waiters) = leases.of_key(name);
    let others = Others {
        taken: leases.is_taken(name),
        backing_off: leases.backs_off(name, now),
    };
    x.waiters = waiters;
    let found = answers::read(ctx, name, |s| {
        let at = s.place(st.answers.process);
        let check = match at {
            _ if st.replica => Check::Hit,
            Some(at) => st.answers.core.index().peek(at),
            None => Check::Dropped,
        };
        let alive = s.header.generation == generation && now < s.header.dead_at;
        (alive && check != Check::Dropped).then(|| (s.header, check, at, uses(st, &s)))
    });
    if found.is_none() && answers::is_foreign(ctx, name) {
        x.would = "WRONGTYPE".into();
        return Some(x);
    }
    let copy = found.flatten().map(|(h, check, at, uses)| {
        x.since = Some((How::Fill, h.stored_ms));
        x.fresh_until = Some(h.fresh_until);
        x.uses = uses;
        x.state = match check {
            Check::Suspended => Standing::Doubtful,
            _ if now < h.fresh_until => Standing::Fresh,
            _ => Standing::Stale,
        };
        if let Some(at) = at.filter(|_| check == Check::Suspended) {
            x.doubt = doubts(st, at);
        }
        Copy {
            check,
            stored_ms: h.stored_ms,
            fresh_until: h.fresh_until,
            early: false,
        }
    });
    if copy.is_none() && holders > 0 {
        x.state = Standing::Leased;
    }
    let asked = answer::Options {
        may_wait: true,
        ..Default::default()
    };
    let reply = answer::lease(&terms, copy.as_ref(), &asked, others, now);
    x.would = match reply {
        Reply::Value(..) => "hit",
        Reply::ValueAndLease(..) if st.replica => "hit",
        Reply::ValueAndLease(..) => "lease",
        // A replica gives none; with the cache switched off there is nothing.
        Reply::Lease(_) | Reply::Wait if st.replica => "nothing",
        Reply::Lease(_) => "lease",
        Reply::Wait => "wait",
        Reply::Nothing(_) => "nothing",
        Reply::Settle => "one call",
    }
    .into();
    if reply == Reply::Settle && x.doubt.shown.len() + x.doubt.more > 100 {
        x.would = super::calls_in_words((x.doubt.shown.len() + x.doubt.more).div_ceil(100));
    }
    Some(x)
}
