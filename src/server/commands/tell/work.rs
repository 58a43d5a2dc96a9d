//! What INVALIDATE and TOMBSTONE are to do, done in slices: the first in the command itself, the rest by a worker while the
//! client waits. A client that may not wait has all of it done at once.
//!
//! Between two slices anything may happen. What others tell meanwhile is as if it had come before this command, or after it:
//! nothing is promised before the reply.

use crate::server::commands::tell::record::tell_gone;
use crate::server::commands::tell::Target;
use crate::server::desk;
use crate::server::state::answers::Counting;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::rounds;
use crate::server::store::answers;
use crate::server::store::change;
use crate::server::store::cluster;
use crate::server::store::{self, Set};
use crate::server::valkey::blocked::{Answered, Blocked};
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::lock::{self, Slice};
use crate::server::valkey::reply::Body;
use compact_str::CompactString;
use podium_core::computed::cut::Cut;
use podium_core::computed::pending::Ticket;
use podium_core::computed::thing::Kind;
use podium_core::key;
use std::sync::Arc;
use std::time::Duration;

/// Members of an index set listed at a time.
const LISTED: usize = 500;
/// Slices after which a worker turns to what else waits for one.
const SLICES: usize = 20;
/// How often it is looked whether writes are paused no more.
const PAUSE: Duration = Duration::from_millis(5);

struct Work {
    /// Last first.
    left: Vec<Target>,
    /// The index whose members are at hand.
    members: Option<Members>,
    /// Computed answers: thrown away in constant time when all else is done.
    answers: Vec<Target>,
    dropped: i64,
    now_ms: u64,
}

/// An index that is being invalidated.
struct Members {
    ix: EntityIx,
    suffix: Vec<u8>,
    generation: u64,
    /// In order. First all of them are listed, then they are dropped, the last first.
    ids: Vec<CompactString>,
    listed: bool,
}

/// Does it, or begins it; `None`: the client waits for the rest.
pub(super) fn begin(st: &mut State, ctx: Ctx, targets: Vec<Target>) -> Option<Body> {
    let of_answers =
        |t: &Target| matches!(t, Target::Tag(_) | Target::Answer(_) | Target::Prefix(_));
    let (answers, mut left): (Vec<_>, Vec<_>) = targets.into_iter().partition(of_answers);
    left.reverse();
    let mut work = Work {
        left,
        members: None,
        answers,
        dropped: 0,
        now_ms: ffi::now_ms(),
    };
    let may_wait = ffi::may_wait(ctx);
    let slice = may_wait.then(Slice::begin);
    if !work.some(st, ctx, slice.as_ref()) {
        if let Some(client) = Blocked::block(ctx, 0) {
            client.when_late(Box::new(|_| {
                Body::error("ERR the client was unblocked: the rest of its command is done behind")
            }));
            desk::spawn(Box::new(move || work.go_on(client)));
            return None;
        }
        work.some(st, ctx, None);
    }
    match cut(st, &work.answers) {
        (n, None) => Some(Body::Int(work.dropped + n)),
        (_, Some(ticket)) => count(st, ctx, ticket, work.dropped, may_wait),
    }
}

impl Work {
    /// Goes on until the slice is over, without one until the end. True: all is done.
    fn some(&mut self, st: &mut State, ctx: Ctx, slice: Option<&Slice>) -> bool {
        while self.step(st, ctx, slice.is_some()) {
            if slice.is_some_and(Slice::over) {
                return self.left.is_empty() && self.members.is_none();
            }
        }
        true
    }

    /// One thing; false: there was none left. `sliced`: it may be gone on with later.
    fn step(&mut self, st: &mut State, ctx: Ctx, sliced: bool) -> bool {
        if let Some(members) = &mut self.members {
            match members.step(st, ctx) {
                Some(had) => self.dropped += i64::from(had),
                None => self.members = None,
            }
            return true;
        }
        let Some(target) = self.left.pop() else {
            return false;
        };
        match target {
            Target::Record(k) => {
                let had = store::invalidate(st, ctx, k.ix, &k.id, clock::next());
                self.dropped += i64::from(had);
            }
            Target::Gone(k) => {
                let had = tell_gone(st, ctx, &k, self.now_ms, self.now_ms);
                self.dropped += i64::from(had);
            }
            Target::All(ix) => self.dropped += change::entity(st, ctx, ix) as i64,
            // Who its members are is known at neither node.
            Target::Index(ix, _) if st.get(ix).is_some_and(cluster::is_split) => {
                self.dropped += change::entity(st, ctx, ix) as i64;
            }
            Target::Index(ix, suffix) => self.members = Members::of(st, ctx, ix, suffix, sliced),
            Target::Tag(_) | Target::Answer(_) | Target::Prefix(_) => {}
        }
        true
    }

    /// On a worker.
    fn go_on(mut self, client: Arc<Blocked>) {
        let _answered = Answered(client.clone());
        for _ in 0..SLICES {
            let held = lock::lock();
            let ctx = held.ctx();
            if ffi::is_replica(ctx) {
                // The server has told the client so; what is left is another's to do.
                return client.finish(Body::error(
                    "ERR this node is a replica by now: tell its primary",
                ));
            }
            if !ffi::removable(ctx) {
                // Writes are paused: as if it had been sent now, it waits until they are not.
                drop(held);
                std::thread::sleep(PAUSE);
                break;
            }
            let done = cell::enter(|st| {
                if !self.some(st, ctx, Some(&Slice::begin())) {
                    return false;
                }
                match cut(st, &self.answers) {
                    (n, None) => client.finish(Body::Int(self.dropped + n)),
                    (_, Some(ticket)) => count_for(st, ticket, self.dropped, client.clone()),
                }
                true
            });
            match done {
                Some(false) => {}
                Some(true) => return,
                None => return client.finish(Body::error("ERR internal error: the cache is busy")),
            }
        }
        desk::spawn(Box::new(move || self.go_on(client)));
    }
}

impl Members {
    fn of(
        st: &mut State,
        ctx: Ctx,
        ix: EntityIx,
        suffix: Vec<u8>,
        sliced: bool,
    ) -> Option<Members> {
        let e = st.get(ix)?;
        let mut members = Members {
            ix,
            generation: e.generation,
            ids: Vec::new(),
            listed: false,
            suffix,
        };
        if !sliced || store::set_state(ctx, e, &members.suffix).1 <= LISTED {
            if let Set::Complete { ids, .. } = store::read_set(ctx, e, &members.suffix) {
                members.ids = ids;
            }
            members.drop_set(st, ctx);
        }
        Some(members)
    }

    /// The set goes as soon as it is known who its members are: what is asked from here on makes another.
    fn drop_set(&mut self, st: &mut State, ctx: Ctx) {
        self.listed = true;
        change::set_outdated(st, self.ix, &self.suffix, clock::next());
        store::drop_set(st, ctx, self.ix, &self.suffix);
        if let Some(e) = st.get(self.ix) {
            store::signal_fetch(ctx, &key::set(&e.name, &self.suffix));
        }
    }

    /// Lists some, or drops one: whether it was cached. `None`: that was all.
    fn step(&mut self, st: &mut State, ctx: Ctx) -> Option<bool> {
        let e = st.get(self.ix)?;
        if !self.listed {
            let part = store::read_part(ctx, e, &self.suffix, self.ids.last(), LISTED);
            let part = part.map(|(_, ids)| ids).unwrap_or_default();
            let last = part.len() < LISTED;
            self.ids.extend(part);
            if last {
                self.drop_set(st, ctx);
            }
            return Some(false);
        }
        if e.generation != self.generation {
            // Everything of the entity was dropped in between.
            return None;
        }
        let id = self.ids.pop()?;
        Some(store::invalidate(st, ctx, self.ix, &id, clock::next()))
    }
}

/// Throws computed answers away: from here on none of them is served. How many that were, or what counts them.
fn cut(st: &mut State, targets: &[Target]) -> (i64, Option<Ticket>) {
    let cuts: Vec<Cut> = targets
        .iter()
        .filter_map(|t| match t {
            Target::Tag(tag) => Some(Cut::Thing(answers::thing(Kind::Tag, tag))),
            Target::Answer(key) => Some(Cut::Key {
                key,
                thing: answers::thing(Kind::Computed, key),
            }),
            Target::Prefix(prefix) => Some(Cut::Prefix(prefix)),
            _ => None,
        })
        .collect();
    if cuts.is_empty() {
        return (0, None);
    }
    let ticket = answers::cut(st, &cuts);
    let finished = st.answers.core.take_finished();
    let mut own = None;
    for (t, n) in finished {
        if t == ticket {
            own = Some(n as i64);
        } else if let Some(c) = st.answers.counting.remove(&t) {
            if let Some(client) = c.client {
                client.finish(Body::Int(c.n + n as i64));
            }
        }
    }
    (own.unwrap_or(0), own.is_none().then_some(ticket))
}

/// Many answers are thrown away: the client waits until they are counted, in slices. One that may not wait has it done at once.
fn count(st: &mut State, ctx: Ctx, ticket: Ticket, n: i64, may_wait: bool) -> Option<Body> {
    if may_wait {
        if let Some(client) = Blocked::block(ctx, 0) {
            count_for(st, ticket, n, client);
            return None;
        }
    }
    while st.answers.core.work(100_000) {}
    let finished = st.answers.core.take_finished();
    let of = |t: &(Ticket, u64)| (t.0 == ticket).then_some(t.1 as i64);
    Some(Body::Int(n + finished.iter().find_map(of).unwrap_or(0)))
}

fn count_for(st: &mut State, ticket: Ticket, n: i64, client: Arc<Blocked>) {
    let client = Some(client);
    st.answers.counting.insert(ticket, Counting { client, n });
    rounds::answers_wake();
}
