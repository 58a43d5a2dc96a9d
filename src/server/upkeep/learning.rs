//! What the stored answers used is learned from the keys of the data set.

use crate::server::reads::computed;
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::standing::Standing;
use crate::server::store::answers;
use crate::server::store::change;
use crate::server::upkeep::rebuild::{step, Cursor};
use crate::server::upkeep::slots;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::reply::Body;
use compact_str::CompactString;
use hashbrown::HashSet;
use podium_core::key::{self, Name};
use std::sync::Arc;

/// Nothing is known of computed answers any more: who waits is told that there is none, and leases are over.
pub(crate) fn forget_answers(st: &mut State) {
    let mut old = std::mem::take(&mut st.answers);
    old.core.end(b"", clock::next());
    loop {
        let handed = old
            .core
            .hand_out(1_000, ffi::now_ms(), 0, |_| ffi::random_u64());
        if handed.is_empty() {
            break;
        }
        for h in handed {
            let meta = h.waiter.meta;
            h.waiter.client.finish(computed::nothing(&h.key, meta));
        }
    }
    for (_, c) in old.counting.drain() {
        if let Some(client) = c.client {
            client.finish(Body::Int(c.n));
        }
    }
}

/// What is done with the keys of a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The index learns the answers.
    Load,
    /// What is cached of what they used is compared with what it was.
    Compare,
    /// Those that are answers still may be served. (Of a whole data set they all may from the end of the walk on.)
    Place,
}

/// A walk through the keyspace that learns what the stored answers used, and then compares what is cached of that with what it
/// was. On a replica none is made: the primary throws away.
pub(crate) struct Learning {
    cursor: Cursor,
    phase: Phase,
    /// The resources whose slots came here; `None`: all are learned anew.
    came: Option<HashSet<Arc<str>>>,
}

impl Learning {
    pub(crate) fn of_all() -> Learning {
        Learning {
            cursor: Cursor::new(),
            phase: Phase::Load,
            came: None,
        }
    }
    pub(crate) fn of_those_that_came(st: &mut State) -> Learning {
        (st.answers.to_learn, st.answers.learning) = (false, true);
        let home = st.resources.iter().filter(|r| r.standing == Standing::Home);
        Learning {
            came: Some(home.map(|r| r.name.clone()).collect()),
            ..Learning::of_all()
        }
    }
    pub(crate) fn is_of_all(&self) -> bool {
        self.came.is_none()
    }
    fn concerns(&self, st: &State, name: &[u8]) -> bool {
        let comparing = self.phase == Phase::Compare;
        match (key::split(name), &self.came) {
            (Some(("tomb", _)), _) => comparing,
            (Some((e, _)), _) if comparing => st.by_name(e).is_some(),
            (Some((r, _)), Some(came)) => came.contains(r),
            (Some((r, _)), None) => st
                .resources
                .get(r)
                .is_some_and(|r| !matches!(r.standing, Standing::Arriving | Standing::Given)),
            (None, _) => false,
        }
    }
    /// Looks at up to `steps` of the keyspace's buckets. False: it is through, and the answers may be served.
    pub(crate) fn some(&mut self, ctx: Ctx, st: &mut State, steps: usize) -> bool {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let more = (0..steps).all(|_| {
            step(ctx, &self.cursor, &mut |_, name| {
                if self.concerns(st, name) {
                    names.push(name.to_vec());
                }
            })
        });
        for name in &names {
            match (self.phase, self.is_of_all()) {
                (Phase::Load, true) => answers::load(st, ctx, name),
                (Phase::Load, false) => answers::learn(st, ctx, name),
                (Phase::Compare, _) => compare(ctx, st, name),
                (Phase::Place, _) => answers::place(st, ctx, name),
            }
        }
        if more {
            return true;
        }
        let next = match self.phase {
            Phase::Load if !st.answers.idle() || !self.is_of_all() => Some(Phase::Compare),
            Phase::Load => {
                still_in_doubt(st);
                None
            }
            Phase::Compare => {
                still_in_doubt(st);
                (!self.is_of_all()).then_some(Phase::Place)
            }
            Phase::Place => None,
        };
        if let Some(phase) = next {
            (self.phase, self.cursor) = (phase, Cursor::new());
            return true;
        }
        if self.is_of_all() {
            st.answers.lost = false;
        }
        st.answers.learning = false;
        slots::watch_no_more(st);
        crate::server::state::rounds::answers_wake();
        false
    }
}

/// What came into doubt before the answers were learned is so still.
fn still_in_doubt(st: &mut State) {
    let doubts: Vec<(EntityIx, CompactString, u64)> = st
        .entities()
        .flat_map(|e| e.doubts.iter().map(|(id, seq)| (e.ix, id.into(), seq)))
        .collect();
    for (ix, id, seq) in doubts {
        answers::doubted(st, ix, &id, seq);
    }
    // What its stored answers used is in their bytes by entity: a record or an index of it may be among that.
    st.entities_mut().for_each(|e| e.answers_use_it = true);
}

/// Compares what a key holds with what loaded answers used of it.
fn compare(ctx: Ctx, st: &mut State, name: &[u8]) {
    let (entity, id, suffix) = match key::parse(name) {
        Some(Name::Record { entity, id } | Name::Tomb { entity, id }) => (entity, Some(id), 0),
        Some(Name::All { entity } | Name::Index { entity, .. }) => (entity, None, entity.len() + 1),
        _ => return,
    };
    let Some(ix) = st.by_name(entity).map(|e| e.ix) else {
        return;
    };
    match id {
        Some(id) => answers::compare(st, ctx, ix, id),
        None => change::set_stored(st, ctx, ix, name.get(suffix..).unwrap_or(&[]), 0),
    }
}

/// The answers of a data set that was loaded, all at once.
pub(crate) fn load_answers(ctx: Ctx, st: &mut State) {
    forget_answers(st);
    if st.replica || st.resources.is_empty() {
        return;
    }
    let mut learning = Learning::of_all();
    while learning.some(ctx, st, 1_000) {}
}
