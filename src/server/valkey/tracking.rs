//! Who is told that a key changed (CLIENT TRACKING), and when. Under the server's lock.
//!
//! The server registers a reader when its command returns, one that is kept waiting too, and a signal uses up every
//! registration for the key. So a fetch that a tracking client waits for is signalled when it begins: who read the key before
//! is told then. What it brings tells nobody, so that who waited is told of the next change. If the key was read from the
//! cache in between, that reader is owed a signal; it follows when the last who waits has its reply.

use crate::server::valkey::ffi::{self, rm, Ctx, RString};
use crate::server::valkey::lock;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A key that tracking clients wait for.
struct Awaited {
    clients: usize,
    /// Somebody else may be registered since the key was last signalled.
    read: bool,
    /// It changed while it could not be signalled.
    owed: bool,
}

static AWAITED: once_cell::sync::Lazy<Mutex<HashMap<Arc<[u8]>, Awaited>>> =
    once_cell::sync::Lazy::new(Mutex::default);
/// Is anything awaited? All that a plain hit needs to know.
static SOMEBODY: AtomicBool = AtomicBool::new(false);

#[inline]
pub(crate) fn somebody_waits() -> bool {
    SOMEBODY.load(Ordering::Relaxed)
}

/// A tracking client begins to wait for these keys. Those to be signalled now are returned: nobody waited for them yet.
/// Without `signalled` earlier readers are not told now, but when they are owed it.
pub(crate) fn wait(keys: &[Arc<[u8]>], signalled: bool) -> Vec<Arc<[u8]>> {
    let mut awaited = AWAITED.lock();
    SOMEBODY.store(true, Ordering::Relaxed);
    let mut begun = Vec::new();
    for key in keys {
        let a = awaited.entry(key.clone()).or_insert_with(|| {
            if signalled {
                begun.push(key.clone());
            }
            Awaited {
                clients: 0,
                read: !signalled,
                owed: false,
            }
        });
        a.clients += 1;
    }
    begun
}

/// Does a tracking client wait for this key?
pub(crate) fn is_awaited(key: &[u8]) -> bool {
    somebody_waits() && AWAITED.lock().contains_key(key)
}

/// A client that waited has its reply, or is gone. On the main thread, once the reply is written.
pub(crate) fn replied(keys: Vec<Arc<[u8]>>) {
    if keys.is_empty() {
        return;
    }
    let mut owed = Vec::new();
    {
        let mut awaited = AWAITED.lock();
        for key in keys {
            let Some(a) = awaited.get_mut(&key) else {
                continue;
            };
            a.clients = a.clients.saturating_sub(1);
            if a.clients > 0 {
                a.read = true;
            } else if awaited.remove(&key).is_some_and(|a| a.owed) {
                owed.push(key);
            }
        }
        SOMEBODY.store(!awaited.is_empty(), Ordering::Relaxed);
    }
    if !owed.is_empty() {
        let ctx = lock::detached();
        rm!(RedisModule_SelectDb(ctx, 0));
        owed.iter().for_each(|key| signal(ctx, key));
    }
}

/// A key was read from the cache, or its reply is decided.
pub(crate) fn read(key: &[u8]) {
    if somebody_waits() {
        if let Some(a) = AWAITED.lock().get_mut(key) {
            a.read = true;
        }
    }
}

/// A record landed: is its key to be signalled now? What lands after this is news to who waits, too.
pub(crate) fn record_landed(key: &[u8], changed: bool) -> bool {
    if !somebody_waits() {
        return changed;
    }
    match AWAITED.lock().get_mut(key) {
        Some(a) => {
            a.owed |= changed && a.read;
            a.read = true;
            false
        }
        None => changed,
    }
}

/// What landed changed an index set, or a member of it: is its key to be signalled now? Who waits reads all that has landed
/// when its reply is decided.
pub(crate) fn set_landed(key: &[u8]) -> bool {
    if !somebody_waits() {
        return true;
    }
    match AWAITED.lock().get_mut(key) {
        Some(a) => {
            a.owed |= a.read;
            false
        }
        None => true,
    }
}

/// The key of an index set, and another name it was given by.
pub(crate) type Alias = (Arc<[u8]>, Arc<[u8]>);

/// Names by which index sets were read that are not their keys': the server registers a reader under the name it gave.
#[derive(Default)]
struct Names {
    /// By the set's key.
    given: HashMap<Arc<[u8]>, Vec<Arc<[u8]>>>,
    /// Key and name given, oldest first; some may be gone already.
    order: VecDeque<Alias>,
}

/// Names remembered; with one more, who read by the oldest is told and it is forgotten.
const MOST_NAMES: usize = 1_000;

static NAMES: once_cell::sync::Lazy<Mutex<Names>> = once_cell::sync::Lazy::new(Mutex::default);
static NAMED: AtomicBool = AtomicBool::new(false);

impl Names {
    fn add(&mut self, key: &Arc<[u8]>, given: &Arc<[u8]>) -> Option<Arc<[u8]>> {
        let names = self.given.entry(key.clone()).or_default();
        if names.contains(given) {
            return None;
        }
        names.push(given.clone());
        self.order.push_back((key.clone(), given.clone()));
        if self.order.len() <= MOST_NAMES {
            return None;
        }
        let (key, oldest) = self.order.pop_front()?;
        let names = self.given.get_mut(&key)?;
        names.retain(|n| *n != oldest);
        if names.is_empty() {
            self.given.remove(&key);
        }
        Some(oldest)
    }
    fn take(&mut self, key: &[u8]) -> Vec<Arc<[u8]>> {
        let Some(names) = self.given.remove(key) else {
            return Vec::new();
        };
        self.order.retain(|(k, _)| **k != *key);
        names
    }
}

/// An index set was read by a name that is not its key.
pub(crate) fn read_as(ctx: Ctx, key: &Arc<[u8]>, given: &Arc<[u8]>) {
    NAMED.store(true, Ordering::Relaxed);
    let oldest = NAMES.lock().add(key, given);
    if let Some(oldest) = oldest {
        ffi::signal_modified(ctx, &RString::new(&oldest));
    }
}

/// Signals a key, by whatever names it was read.
pub(crate) fn signal(ctx: Ctx, key: &[u8]) {
    ffi::signal_modified(ctx, &RString::new(key));
    signal_names(ctx, key);
}

/// Signals a key that the server itself signals, by the other names it was read.
pub(crate) fn signal_names(ctx: Ctx, key: &[u8]) {
    if !NAMED.load(Ordering::Relaxed) {
        return;
    }
    let names = {
        let mut n = NAMES.lock();
        let taken = n.take(key);
        NAMED.store(!n.order.is_empty(), Ordering::Relaxed);
        taken
    };
    for name in names {
        ffi::signal_modified(ctx, &RString::new(&name));
    }
}

/// The server told every tracking client that everything changed.
pub(crate) fn all_told() {
    *NAMES.lock() = Names::default();
    NAMED.store(false, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn a_sets_other_names_are_given_out_once() {
        let mut n = Names::default();
        assert_eq!(n.add(&name("k"), &name("a")), None);
        assert_eq!(n.add(&name("k"), &name("a")), None);
        assert_eq!(n.add(&name("k"), &name("b")), None);
        assert_eq!(n.add(&name("other"), &name("c")), None);
        assert_eq!(n.take(b"k"), [name("a"), name("b")]);
        assert!(n.take(b"k").is_empty());
        assert_eq!(n.order.len(), 1, "what was given out is not remembered");
    }

    #[test]
    fn with_one_more_than_are_remembered_the_oldest_is_told() {
        let mut n = Names::default();
        for at in 0..MOST_NAMES {
            let given = name(&format!("n{at}"));
            assert_eq!(n.add(&name("k"), &given), None);
        }
        assert_eq!(n.add(&name("k"), &name("last")), Some(name("n0")));
        assert_eq!(n.take(b"k").len(), MOST_NAMES);
        assert!(n.order.is_empty());
    }

    /// The table of awaited keys, through a wait with a second reader, a change, and two replies.
    #[test]
    fn who_reads_while_another_waits_is_owed_the_change() {
        let key = name("tracking-test:a");
        let one = std::slice::from_ref(&key);
        assert_eq!(wait(one, true), one);
        assert!(is_awaited(&key));
        assert!(wait(one, true).is_empty(), "it was signalled");
        assert!(!record_landed(&key, true), "who waits is told nothing");
        let owed = |key: &[u8]| AWAITED.lock().get(key).map(|a| a.owed);
        assert_eq!(owed(&key), Some(false), "nobody had read it before");
        read(&key);
        assert!(!set_landed(&key));
        assert_eq!(owed(&key), Some(true));
        assert!(record_landed(b"tracking-test:other", true));
        assert!(!record_landed(b"tracking-test:other", false));
        AWAITED.lock().remove(&key);
    }
}
