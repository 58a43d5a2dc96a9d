//! A large record that a client tells: a worker reads it, and puts the other ends of its links in doubt slice by slice, while
//! the client waits. One that may not wait has it done at once.

use crate::server::commands::tell::record::{as_of, too_late, Ready};
use crate::server::desk;
use crate::server::fetching::landing;
use crate::server::state::cell;
use crate::server::state::clock::{self, Sent};
use crate::server::state::entities::State;
use crate::server::state::lane::Lane;
use crate::server::state::query::RecordKey;
use crate::server::upstream::figures::Cause;
use crate::server::valkey::blocked::{Answered, Blocked};
use crate::server::valkey::ffi::{self, Ctx, Kept, RawString};
use crate::server::valkey::lock;
use crate::server::valkey::reply::Body;
use podium_core::key;
use podium_core::record::{self, Source};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// What a worker costs, in bytes of text that are read at once as quickly.
const BYTES: usize = 48_000;
/// Reading a value takes as long as reading so much text.
const VALUE: usize = 30;
/// Links whose other ends are put in doubt at once.
const LINKS: usize = 24;
/// How often it is looked whether writes are paused no more.
const PAUSE: Duration = Duration::from_millis(5);
/// Something else was told of the record, or its entity has another spec, while this was made ready: so often it is made
/// ready once more.
const AGAIN: u32 = 3;

/// Is it more than a slice to read this, or to follow its links?
pub(super) fn is(json: &[u8]) -> bool {
    let few = LINKS * "\"rec\",".len();
    if json.len() < few || json.len() > BYTES {
        return json.len() > BYTES;
    }
    let values = json.iter().filter(|b| **b == b',').count();
    let links = || json.windows(4).filter(|w| w == b"\"rec").count();
    json.len() + values * VALUE > BYTES || (values >= LINKS && links() > LINKS)
}

/// What is to be told.
struct Large {
    key: RecordKey,
    at: Option<u64>,
    told: Told,
}

enum Told {
    Json(Kept),
    Cells(Map<String, Value>, Source),
}

/// Begins it, and the client waits; false: it cannot.
pub(super) fn begin(ctx: Ctx, key: &RecordKey, json: RawString, at: Option<u64>) -> bool {
    if !ffi::may_wait(ctx) {
        return false;
    }
    let Some(client) = Blocked::block(ctx, 0) else {
        return false;
    };
    client.when_late(Box::new(|_| {
        Body::error("ERR the client was unblocked: what it told is taken in behind")
    }));
    let large = Large {
        key: key.clone(),
        at,
        told: Told::Json(Kept::new(json)),
    };
    desk::spawn(Box::new(move || large.go_on(client)));
    true
}

/// What a try came to.
enum Tried {
    Done(Result<bool, String>),
    /// Something came in between.
    Again,
    /// Writes are paused: as if it had been sent now, it waits until they are not.
    Paused,
}

impl Large {
    /// On a worker.
    fn go_on(mut self, client: Arc<Blocked>) {
        let _answered = Answered(client.clone());
        if let Err(why) = self.read() {
            return client.finish(Body::error(why));
        }
        let mut tries = 0;
        loop {
            match self.once(tries < AGAIN) {
                Tried::Done(Ok(stored)) => return client.finish(Body::Int(i64::from(stored))),
                Tried::Done(Err(why)) => return client.finish(Body::error(why)),
                Tried::Again => tries += 1,
                Tried::Paused => {
                    std::thread::sleep(PAUSE);
                    return desk::spawn(Box::new(move || self.go_on(client)));
                }
            }
        }
    }

    /// The text as cells.
    fn read(&mut self) -> Result<(), String> {
        let Told::Json(json) = &self.told else {
            return Ok(());
        };
        let read = record::read_upsert(&self.key.id, json.bytes())
            .map_err(|why| format!("BADRECORD {}: {why}", key::shown(&self.key.name)));
        let told = match read {
            Ok((cells, source)) => Ok(Told::Cells(cells, source)),
            Err(why) => Err(why),
        };
        let empty = Told::Cells(Map::new(), Source::Told);
        if let Told::Json(json) = std::mem::replace(&mut self.told, empty) {
            let held = lock::lock();
            json.let_go(&held);
        }
        self.told = told?;
        Ok(())
    }

    fn once(&self, again: bool) -> Tried {
        let Told::Cells(cells, source) = &self.told else {
            return Tried::Done(Err("ERR internal error".into()));
        };
        let (k, at) = (&self.key, self.at);
        let lane = {
            let held = lock::lock();
            let ctx = held.ctx();
            if let Some(no) = hindered(ctx) {
                return no;
            }
            let looked = cell::enter(|st| match too_late(st, ctx, k, at) {
                Ok(false) => Ok(st.get(k.ix).map(|e| Lane::of(e, Cause::Get))),
                Ok(true) => Ok(None),
                Err(why) => Err(why),
            });
            match looked {
                Some(Ok(Some(lane))) => lane,
                Some(Ok(None)) => return Tried::Done(Ok(false)),
                Some(Err(why)) => return Tried::Done(Err(why)),
                None => return Tried::Done(Err("ERR internal error: the cache is busy".into())),
            }
        };
        // Who tells something of the record from here on is noticed.
        let sent = Sent::now();
        let ready = Ready::of(&lane, k, (cells, *source), sent.number(), at);
        let ahead = ready
            .stored
            .as_ref()
            .map(|stored| landing::ahead_of_told(&lane, &k.id, stored, (ready.seq, at)));
        let done_ahead = ahead.as_ref().is_some_and(landing::Ahead::any);
        let held = lock::lock();
        let ctx = held.ctx();
        if let Some(no) = hindered(ctx) {
            // What was put in doubt ahead stays so.
            drop(held);
            return no;
        }
        let tried = cell::enter(|st| {
            if again && !undisturbed(st, &lane, k, ready.seq) {
                return Tried::Again;
            }
            Tried::Done(as_of(st, at, |st| {
                if too_late(st, ctx, k, at)? {
                    return Ok(false);
                }
                Ok(ready.apply(st, ctx, k, done_ahead))
            }))
        });
        drop(held);
        tried.unwrap_or_else(|| Tried::Done(Err("ERR internal error: the cache is busy".into())))
    }
}

/// May nothing be stored now?
fn hindered(ctx: Ctx) -> Option<Tried> {
    if ffi::is_replica(ctx) {
        // The server has told the client so.
        return Some(Tried::Done(Err(
            "ERR this node is a replica by now: tell its primary".into(),
        )));
    }
    (!ffi::removable(ctx)).then_some(Tried::Paused)
}

/// Has the entity the shape in which it was made ready, and is nothing newer known of the record?
fn undisturbed(st: &State, lane: &Lane, k: &RecordKey, seq: u64) -> bool {
    let generation = st.get(k.ix).map(|e| e.generation);
    generation == Some(lane.generation) && clock::order().current(k.ix, &k.id, seq)
}
