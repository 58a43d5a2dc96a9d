//! A computed answer explained.

use super::{doubted, Explained, Part, Standing};
use super::{MOST_LOOKED_AT, MOST_NAMES};
use crate::server::reads::judge::Judge;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::history::How;
use crate::server::store::sets::set_name;
use crate::server::store::{self, answers};
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::reply::Body;
use hashbrown::HashSet;
use podium_core::computed::answer::{self, Copy, Others, Reply};
use podium_core::computed::index::{Check, Place};
use podium_core::computed::stored::Stored;
use podium_core::computed::thing::{Kind, Thing};
use podium_core::key::{self, Name};

/// Names tried for what an answer used: well under a millisecond.
const MOST_TRIED: usize = 10_000;

/// Names being given back to what is stored as hashes.
struct Naming {
    open: HashSet<(Thing, Kind)>,
    names: Vec<Vec<u8>>,
    tried: usize,
}

impl Naming {
    /// Is this one of them? `None`: enough were found, or tried.
    fn look(&mut self, kind: Kind, name: Vec<u8>) -> Option<bool> {
        self.tried += 1;
        let is = self.open.remove(&(answers::thing(kind, &name), kind));
        if is {
            self.names.push(name);
        }
        let enough = self.open.is_empty() || self.names.len() >= MOST_NAMES;
        (!enough && self.tried < MOST_TRIED).then_some(is)
    }
    /// Looks among what is known of an entity: its sets, the members of those that were used, its records.
    fn of_entity(&mut self, ctx: Ctx, e: &Entity) -> Option<()> {
        self.look(Kind::Whole, key::all(&e.name))?;
        let mut used = Vec::new();
        for suffix in &e.sets {
            if self.look(Kind::Set, set_name(e, suffix))? {
                used.push(suffix);
            }
        }
        for suffix in used {
            let part = store::read_part(ctx, e, suffix, None, MOST_LOOKED_AT);
            for id in part.iter().flat_map(|(_, ids)| ids) {
                self.look(Kind::Record, key::record(&e.name, id))?;
            }
        }
        let doubted = e.doubts.iter().map(|(id, _)| id);
        for id in doubted {
            self.look(Kind::Record, key::record(&e.name, id))?;
        }
        for id in e.records.iter().chain(e.tombs.iter()) {
            self.look(Kind::Record, key::record(&e.name, &id))?;
        }
        Some(())
    }
}

/// The names of what an answer used. What is stored are hashes: names are found among what is known of the entities that it
/// used something of, as far as that is quick; tags have none any more.
fn uses(st: &State, ctx: Ctx, stored: &Stored) -> Part {
    let Some(used) = stored.used() else {
        return Part::default();
    };
    let named = used.deps.iter().filter_map(|d| d.name.as_ref());
    let open = used.deps.iter().filter(|d| d.name.is_none());
    let mut naming = Naming {
        open: open.map(|d| (d.thing, d.kind)).collect(),
        names: named.map(|n| n.to_vec()).collect(),
        tried: 0,
    };
    let mut entities = used.entities.iter().filter_map(|u| st.by_name(&u.entity));
    let _ = entities.try_for_each(|e| naming.of_entity(ctx, e));
    naming.names.sort();
    Part::names(naming.names, used.deps.len())
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
            Some(at) if !st.answers.lost => st.answers.core.index().peek(at),
            _ => Check::Dropped,
        };
        let alive = s.header.generation == generation && now < s.header.dead_at;
        (alive && check != Check::Dropped).then(|| (s.header, check, at, uses(st, ctx, &s)))
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
