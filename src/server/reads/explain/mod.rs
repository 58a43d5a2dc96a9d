//! PODIUM.EXPLAIN: what is known of a record, an index set or a computed answer, and what a read of it would do now.
//!
//! Looks only: nobody is called, nothing is counted, touched, settled or handed out. What may be large is looked at in part.
//! Reading order: `record`, `set`, `answer`; what they share stands here.

pub(crate) mod answer;
pub(crate) mod record;
pub(crate) mod set;

use crate::server::desk::{desk, Thing};
use crate::server::state::entities::{Entity, State};
use crate::server::state::history::{doubt_of, About, How};
use crate::server::store::answers;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::reply::Body;
use crate::server::valkey::settings;
use podium_core::computed::thing::Kind;
use podium_core::key;

/// Names listed of what may be many; of the others their number is told.
pub(crate) const MOST_NAMES: usize = 100;
/// Members, names and sets looked at, at most: a fraction of a millisecond.
pub(crate) const MOST_LOOKED_AT: usize = 1_000;

/// What a read finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Fresh,
    Stale,
    Doubtful,
    Tombstone,
    Absent,
    Leased,
}

impl Standing {
    fn as_str(self) -> &'static str {
        match self {
            Standing::Fresh => "fresh",
            Standing::Stale => "stale",
            Standing::Doubtful => "doubtful",
            Standing::Tombstone => "tombstone",
            Standing::Absent => "absent",
            Standing::Leased => "leased",
        }
    }
}

/// Some of many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) shown: Vec<Body>,
    /// How many more there are.
    pub(crate) more: usize,
}

impl Part {
    /// Of names; `total`: how many there are at all.
    pub(crate) fn names(names: impl IntoIterator<Item = Vec<u8>>, total: usize) -> Part {
        let names = names.into_iter().take(MOST_NAMES);
        let shown: Vec<Body> = names.map(Body::Bytes).collect();
        let more = total.saturating_sub(shown.len());
        Part { shown, more }
    }
    fn into_body(mut self) -> Body {
        if self.more > 0 {
            self.shown.push(Body::Int(self.more as i64));
        }
        Body::List(self.shown)
    }
}

/// What is told of a key.
pub(crate) struct Explained {
    pub(crate) state: Standing,
    /// `hit`, `one call`, `<n> calls`, `wait`, `lease`, or an error's code.
    pub(crate) would: String,
    /// How what is there came, and when, unix ms.
    pub(crate) since: Option<(How, u64)>,
    /// Unix ms.
    pub(crate) fresh_until: Option<u64>,
    /// The feed vouches for it, up to this payload.
    pub(crate) vouched: Option<u64>,
    /// What of it, or of what it used, is in doubt: key, by whose word, since when.
    pub(crate) doubt: Part,
    /// Memory of its key.
    pub(crate) bytes: i64,
    pub(crate) sets: Part,
    pub(crate) used_by: Part,
    pub(crate) uses: Part,
    pub(crate) waiters: usize,
    pub(crate) last_change: Option<(How, u64)>,
}

impl Explained {
    /// Of a key of which nothing is known but its name.
    pub(crate) fn nothing(st: &State, ctx: Ctx, kind: Kind, name: &[u8]) -> Explained {
        Explained {
            state: Standing::Absent,
            would: "one call".into(),
            since: None,
            fresh_until: None,
            vouched: None,
            doubt: Part::default(),
            bytes: ffi::call(ctx, c"MEMORY", false, &[b"USAGE", name])
                .integer()
                .unwrap_or(0),
            sets: Part::default(),
            used_by: used_by(st, &[(kind, name)]),
            uses: Part::default(),
            waiters: 0,
            last_change: st.history.of(About::Change, name).map(timed),
        }
    }
    pub(crate) fn into_body(self) -> Body {
        let text = |t: &str| Body::Bytes(t.as_bytes().to_vec());
        let int = |n: u64| Body::Int(n as i64);
        let event = |e: Option<(How, u64)>| {
            e.map_or(Body::Null, |(how, ms)| {
                Body::List(vec![text(how.as_str()), int(ms)])
            })
        };
        let members = [
            ("state", text(self.state.as_str())),
            ("would", text(&self.would)),
            ("since", event(self.since)),
            ("fresh-until", self.fresh_until.map_or(Body::Null, int)),
            ("vouched", self.vouched.map_or(Body::Null, int)),
            ("doubt", self.doubt.into_body()),
            ("bytes", Body::Int(self.bytes)),
            ("sets", self.sets.into_body()),
            ("used-by", self.used_by.into_body()),
            ("uses", self.uses.into_body()),
            ("waiters", Body::Int(self.waiters as i64)),
            ("last-change", event(self.last_change)),
        ];
        Body::Map(members.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }
}

/// Answers that used one of these. Where there are too many to be named, one that used several may be counted for each.
pub(crate) fn used_by(st: &State, things: &[(Kind, &[u8])]) -> Part {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut total = 0;
    for (kind, name) in things {
        let index = st.answers.core.index();
        let (some, all) = index.used_by(answers::thing(*kind, name), MOST_NAMES);
        let known = names.len();
        total += all;
        for one in some {
            if names.iter().take(known).any(|n| **n == *one) {
                total -= 1;
            } else {
                names.push(one.to_vec());
            }
        }
    }
    names.sort();
    Part::names(names, total)
}

/// A note with its time, unix ms: numbers of the order of sends and changes are near the wall clock's us.
pub(crate) fn timed((how, seq): (How, u64)) -> (How, u64) {
    (how, seq / 1000)
}

/// A record in doubt, by whose word if that is known still, since when.
pub(crate) fn doubted(st: &State, e: &Entity, id: &str, seq: u64) -> Body {
    let name = &key::record(&e.name, id);
    let noted = st.history.of(About::Doubt, &doubt_of(e.generation, name));
    let (how, at) = timed(noted.unwrap_or((How::Told, seq)));
    let how = match noted {
        Some(_) => Body::Bytes(how.as_str().into()),
        None => Body::Null,
    };
    Body::List(vec![Body::Bytes(name.to_vec()), how, Body::Int(at as i64)])
}

/// The first payload of its base's feed that is not applied yet.
pub(crate) fn payload(st: &State, e: &Entity) -> Option<u64> {
    let base = e.base();
    let hook = st.feeds.get(&base[..])?.feed.hook.as_ref()?;
    Some(hook.cursor.saturating_sub(1))
}

/// What a read does that needs so many calls: it joins one under way, is refused, or makes them.
pub(crate) fn upstream(st: &State, e: &Entity, calls: usize, under_way: bool) -> String {
    if st.replica {
        return "REPLICAMISS".into();
    }
    if under_way {
        return "wait".into();
    }
    let busy = desk().busy_for(&e.base());
    match busy.map(Fault::busy) {
        Some(fault) => fault.line.split(' ').next().unwrap_or("").into(),
        None => calls_in_words(calls),
    }
}

fn calls_in_words(calls: usize) -> String {
    match calls {
        0 | 1 => "one call".into(),
        n => format!("{n} calls"),
    }
}

/// Is a fetch of it ordered or under way, and how many wait for it?
pub(crate) fn flight(thing: &Thing) -> (bool, usize) {
    let mut desk = desk();
    match desk.flights.open(thing) {
        Some(id) => {
            let waiting = desk.flights.waiters(id).iter();
            (true, waiting.filter(|p| p.op.attended()).count())
        }
        None => (false, 0),
    }
}

/// The record keys of ids.
pub(crate) fn record_names<'a>(
    e: &'a Entity,
    ids: impl Iterator<Item = &'a str> + 'a,
) -> impl Iterator<Item = Vec<u8>> + 'a {
    ids.map(|id| key::record(&e.name, id))
}

/// Is the cache in use at all?
pub(crate) fn enabled() -> bool {
    settings::enabled()
}
