//! What the commands over whole entities (`<entity>:*|* [options]`) share: options, entities, and a thread to answer from.

use crate::server::commands::args;
use crate::server::desk;
use crate::server::state::cell;
use crate::server::state::entities::{Entity, EntityIx};
use crate::server::valkey::blocked::Blocked;
use crate::server::valkey::blocked::{Answered, Late};
use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::reply::{self, Body};
use podium_core::key::{self, Name};
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which of these words are given, in any order, each once at most.
pub(super) fn flags<const N: usize>(
    given: &[&[u8]],
    names: [&str; N],
) -> Result<[bool; N], String> {
    let mut found = [false; N];
    for word in given {
        let at = names
            .iter()
            .position(|n| word.eq_ignore_ascii_case(n.as_bytes()));
        let flag = at
            .and_then(|at| found.get_mut(at))
            .ok_or_else(|| args::syntax(word, "is no option of this command"))?;
        if std::mem::replace(flag, true) {
            return Err(args::syntax(word, "is given twice"));
        }
    }
    Ok(found)
}

/// The entities that are meant, and whether by `*`, which leaves out those that do not fit. Err: the key is none of these,
/// or why the one that it names does not fit.
pub(super) fn entities(
    name: &[u8],
    fits: impl Fn(&Entity) -> Result<(), String>,
) -> Result<(Vec<EntityIx>, bool), String> {
    let found = cell::enter(|st| match (name, key::parse(name)) {
        (b"*", _) => Ok((
            st.entities()
                .filter(|e| fits(e).is_ok())
                .map(|e| e.ix)
                .collect::<Vec<_>>(),
            true,
        )),
        (_, Some(Name::All { entity })) => {
            let e = args::entity(st, entity)?;
            fits(e)?;
            Ok((vec![e.ix], false))
        }
        _ => Err(format!(
            "BADKEY '{}' names no entity: give <entity>:* or *",
            key::shown(name)
        )),
    });
    found.unwrap_or_else(|| Err("ERR internal error: the cache is busy".into()))
}

/// Threads for such commands at most, those that wait for their turn included.
const MOST: usize = 64;
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A place among those; given back by dropping.
struct Running;
impl Running {
    fn take() -> Result<Running, String> {
        let place = Running;
        if RUNNING.fetch_add(1, Ordering::Relaxed) >= MOST {
            return Err(format!(
                "{MOST} such commands are under way: wait for one to end"
            ));
        }
        Ok(place)
    }
}
impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `f` on a thread of its own, if there are not too many.
fn start(thread: &str, f: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let place = Running::take()?;
    desk::background(thread, move || {
        let _place = place;
        f();
    })
}

/// ASYNC: on a thread of its own, and the client is answered at once.
pub(super) fn behind(ctx: Ctx, thread: &str, f: impl FnOnce() + Send + 'static) -> c_int {
    match start(thread, f) {
        Ok(()) => Body::Ok.send(ctx),
        Err(why) => reply::error(ctx, &format!("ERR {why}")),
    }
}

/// The client waits for the reply that a thread of its own makes. There is no deadline: it takes as long as the budget lets
/// it. `late`: what is replied to a client whose wait was ended.
pub(super) fn answer_from(
    ctx: Ctx,
    thread: &str,
    late: Late,
    f: impl FnOnce() -> Body + Send + 'static,
) -> c_int {
    let Some(op) = Blocked::block(ctx, 0) else {
        return reply::error(ctx, "ERR this client cannot be kept waiting here");
    };
    op.when_late(late);
    let waiting = op.clone();
    let started = start(thread, move || {
        let _answered = Answered(waiting.clone());
        waiting.finish(f());
    });
    if let Err(why) = started {
        op.finish(Body::error(format!("ERR {why}")));
    }
    ffi::OK
}
