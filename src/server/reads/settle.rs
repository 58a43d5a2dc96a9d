//! Reads that waited for something that has landed: woken in portions, answered, and counted.

use crate::server::desk;
use crate::server::reads::judge;
use crate::server::reads::{as_worker, resume};
use crate::server::state::entities::{EntityIx, State};
use crate::server::state::outcome::Seen;
use crate::server::state::query::Ask;
use crate::server::state::waiting::Op;
use crate::server::valkey::blocked::{Answered, WAKING};
use crate::server::valkey::ffi;
use crate::server::valkey::reply::{Body, CacheWord};
use crate::server::valkey::settings;
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients woken at once; more are woken in portions, so that no pass of the event loop holds up others.
const PORTION: usize = 40;
const PAUSE: Duration = Duration::from_micros(150);
/// However busy the main thread is, the next portion is not put off longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// These have everything they waited for.
pub(super) fn wake(mut ready: Vec<Arc<Op>>) {
    if ready.len() > PORTION {
        let rest = ready.split_off(PORTION);
        desk::spawn(Box::new(move || {
            for part in rest.chunks(PORTION) {
                // The main thread writes all replies that wait in one go: it is given the next when those are out.
                let begun = Instant::now();
                std::thread::sleep(PAUSE);
                while WAKING.load(Ordering::Relaxed) > 0 && begun.elapsed() < LONGEST_PAUSE {
                    std::thread::sleep(PAUSE);
                }
                as_worker(|| part.iter().for_each(settle));
            }
        }));
    }
    as_worker(|| ready.iter().for_each(settle));
}

/// One read has everything: a plain record needs no lock, everything else is judged under it.
fn settle(op: &Arc<Op>) {
    let _answered = Answered(op.client().clone());
    if op.is_done() {
        op.finish(Body::Null);
        return;
    }
    if let (Ask::Get(k), None) = (&op.query.ask, op.query.options.for_token) {
        let word = if op.query.options.no_cache || !settings::enabled() {
            CacheWord::Bypass
        } else {
            CacheWord::Miss
        };
        let body = op.with_brought(|b| {
            let landed = b.records.get(&(k.ix, k.id.clone()))?;
            if matches!(landed.seen, Seen::Failed(_)) {
                return None;
            }
            count_later(k.ix, word, b.collapsed && !b.led);
            Some(judge::fetched(
                &op.query.options,
                b,
                ffi::now_ms(),
                k,
                landed,
                word,
            ))
        });
        if let Some(b) = body {
            op.finish(b);
            return;
        }
    }
    resume(op);
}

/// Replies made without the lock, to be counted when it is next held.
static UNCOUNTED: Mutex<Vec<(EntityIx, CacheWord, bool, u64)>> = Mutex::new(Vec::new());

fn count_later(ix: EntityIx, word: CacheWord, collapsed: bool) {
    let mut u = UNCOUNTED.lock();
    match u
        .iter_mut()
        .find(|(i, w, c, _)| *i == ix && *w == word && *c == collapsed)
    {
        Some((_, _, _, n)) => *n += 1,
        None => u.push((ix, word, collapsed, 1)),
    }
}

/// Brings the counters up to date.
pub(crate) fn count_now(st: &mut State) {
    st.cool();
    for (ix, word, collapsed, n) in std::mem::take(&mut *UNCOUNTED.lock()) {
        let Some(e) = st.get_mut(ix) else { continue };
        match word {
            CacheWord::Bypass => e.figures.bypasses += n,
            _ => e.figures.misses += n,
        }
        if collapsed {
            e.figures.collapsed += n;
        }
    }
}
