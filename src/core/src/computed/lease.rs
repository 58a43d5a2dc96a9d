//! Who computes, and who waits for it.
//!
//! A lease is never lost: as long as somebody waits for a key, there is a lease on it or the next in line is about to get one
//! ([`Leases::hand_out`]). And it is never doubled: while there is one, nobody is given another but who asks for one whatever
//! is there (NOCACHE). Of several computations an older one never replaces a newer.
//!
//! `W` is what the server needs to answer who waits. Every one that was put in comes out once, with what it got.

mod out;
mod over;

use super::uses::Uses;
use alloc::collections::{btree_map, BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use hashbrown::HashMap;

/// Names a lease; never 0. As hard to guess as the chance it was made from.
pub type Token = u64;
/// Names one who waits.
pub type WaiterId = u64;
/// The server's number of a connection.
pub type Client = u64;

/// How long an old copy is served after a failed computation before somebody is asked to try again, ms.
pub const BACK_OFF_MS: u64 = 5_000;

/// Who asks, and under what terms.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub client: Client,
    /// Unix ms, or any clock that goes forward.
    pub now_ms: u64,
    /// The number of the lease in the order of sends and changes: what changes later outdates what is computed.
    pub seq: u64,
    /// How long the computation may take.
    pub lease_ms: u64,
    /// 64 random bits, for the token.
    pub chance: u64,
}

/// What one who waited gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Got {
    /// The next computation is this one's: `[null, token]`.
    Lease(Token),
    /// It was filled: the value is under the key now.
    Value,
    /// The computation failed, and the old copy serves for a while.
    Old,
    /// The time to wait is over, or the connection is closed: `[null, null]`.
    Nothing,
    /// The resource is no more, or this node may not compute any more.
    Ended,
}

/// An answer to one who waited.
#[derive(PartialEq, Eq, Debug)]
pub struct Handed<W> {
    pub waiter: W,
    pub key: Arc<[u8]>,
    pub got: Got,
}

/// A computation under way.
pub struct Lease {
    pub key: Arc<[u8]>,
    pub client: Client,
    pub seq: u64,
    pub started_ms: u64,
    pub deadline_ms: u64,
    pub uses: Uses,
}

struct Waiter<W> {
    waiter: W,
    client: Client,
    deadline_ms: u64,
    lease_ms: u64,
}

struct Key<W> {
    /// In the order in which they were taken.
    tokens: Vec<Token>,
    /// In the order in which they came.
    waiters: BTreeMap<WaiterId, Waiter<W>>,
}

struct Batch<W> {
    key: Arc<[u8]>,
    waiters: btree_map::IntoIter<WaiterId, Waiter<W>>,
    got: Got,
}

/// The lease table.
pub struct Leases<W> {
    keys: BTreeMap<Arc<[u8]>, Key<W>>,
    leases: HashMap<Token, Lease>,
    /// Numbers of the leases, with their tokens: the oldest is the first.
    numbers: BTreeSet<(u64, Token)>,
    lease_ends: BTreeSet<(u64, Token)>,
    by_client: BTreeSet<(Client, Token)>,
    last_waiter: WaiterId,
    waiting: BTreeMap<WaiterId, Arc<[u8]>>,
    waiter_ends: BTreeSet<(u64, WaiterId)>,
    waiter_clients: BTreeSet<(Client, WaiterId)>,
    /// Keys without a lease for which somebody waits.
    next: VecDeque<Arc<[u8]>>,
    out: VecDeque<Batch<W>>,
    /// Those of `out`.
    leaving: usize,
    backing_off: HashMap<Arc<[u8]>, u64>,
    back_off_ends: BTreeSet<(u64, Arc<[u8]>)>,
}

impl<W> Default for Leases<W> {
    fn default() -> Self {
        Leases {
            keys: BTreeMap::new(),
            leases: HashMap::new(),
            numbers: BTreeSet::new(),
            lease_ends: BTreeSet::new(),
            by_client: BTreeSet::new(),
            last_waiter: 0,
            waiting: BTreeMap::new(),
            waiter_ends: BTreeSet::new(),
            waiter_clients: BTreeSet::new(),
            next: VecDeque::new(),
            out: VecDeque::new(),
            leaving: 0,
            backing_off: HashMap::new(),
            back_off_ends: BTreeSet::new(),
        }
    }
}

impl<W> Leases<W> {
    /// Does somebody compute the key, or is somebody about to be asked to? Then who asks now waits, or does without.
    pub fn is_taken(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }
    /// Did a computation fail lately, with an old copy there to be served meanwhile?
    pub fn backs_off(&self, key: &[u8], now_ms: u64) -> bool {
        self.backing_off
            .get(key)
            .is_some_and(|until| now_ms < *until)
    }
    /// Gives a lease, whatever there is: to who found the key not [taken](Self::is_taken), or asks with NOCACHE.
    pub fn take(&mut self, key: &[u8], ask: &Ask) -> Token {
        let name = match self.keys.get_key_value(key) {
            Some((name, _)) => name.clone(),
            None => Arc::from(key),
        };
        self.grant(name, ask)
    }
    fn grant(&mut self, key: Arc<[u8]>, ask: &Ask) -> Token {
        let mut token = ask.chance.max(1);
        while self.leases.contains_key(&token) {
            token = token.wrapping_add(1).max(1);
        }
        let deadline_ms = ask.now_ms.saturating_add(ask.lease_ms);
        self.numbers.insert((ask.seq, token));
        self.lease_ends.insert((deadline_ms, token));
        self.by_client.insert((ask.client, token));
        let of_key = self.keys.entry(key.clone()).or_insert_with(|| Key {
            tokens: Vec::new(),
            waiters: BTreeMap::new(),
        });
        of_key.tokens.push(token);
        let lease = Lease {
            key,
            client: ask.client,
            seq: ask.seq,
            started_ms: ask.now_ms,
            deadline_ms,
            uses: Uses::default(),
        };
        self.leases.insert(token, lease);
        token
    }
    /// Waits until `wait_ms` are over; `ask.lease_ms` holds for the lease this one may get. For a [taken](Self::is_taken) key.
    pub fn wait(&mut self, key: &[u8], waiter: W, ask: &Ask, wait_ms: u64) -> WaiterId {
        self.last_waiter += 1;
        let id = self.last_waiter;
        let waiter = Waiter {
            waiter,
            client: ask.client,
            deadline_ms: ask.now_ms.saturating_add(wait_ms),
            lease_ms: ask.lease_ms,
        };
        self.waiter_ends.insert((waiter.deadline_ms, id));
        self.waiter_clients.insert((waiter.client, id));
        let name = match self.keys.get_key_value(key) {
            Some((name, _)) => name.clone(),
            None => Arc::from(key),
        };
        self.waiting.insert(id, name.clone());
        let of_key = self.keys.entry(name.clone()).or_insert_with(|| Key {
            tokens: Vec::new(),
            waiters: BTreeMap::new(),
        });
        of_key.waiters.insert(id, waiter);
        // (Nobody computes it: the next is this one.)
        if of_key.tokens.is_empty() && of_key.waiters.len() == 1 {
            self.next.push_back(name);
        }
        id
    }
    /// A lease that is not over.
    pub fn lease(&self, token: Token, now_ms: u64) -> Option<&Lease> {
        self.leases.get(&token).filter(|l| now_ms < l.deadline_ms)
    }
    /// What its computation used, to be added to.
    pub fn uses(&mut self, token: Token, now_ms: u64) -> Option<&mut Uses> {
        let lease = self.leases.get_mut(&token)?;
        (now_ms < lease.deadline_ms).then_some(&mut lease.uses)
    }
    /// The lease is to be filled: it is over, whatever comes of it, and its uses are handed over. Next comes
    /// [`filled`](Self::filled) or [`pass`](Self::pass). `None`: it was over before, or is another key's (and stays).
    pub fn end(&mut self, token: Token, key: &[u8], now_ms: u64) -> Option<Lease> {
        let lease = self.lease(token, now_ms)?;
        if *lease.key != *key {
            return None;
        }
        self.drop_lease(token)
    }
    fn drop_lease(&mut self, token: Token) -> Option<Lease> {
        let lease = self.leases.remove(&token)?;
        self.numbers.remove(&(lease.seq, token));
        self.lease_ends.remove(&(lease.deadline_ms, token));
        self.by_client.remove(&(lease.client, token));
        if let Some(of_key) = self.keys.get_mut(&lease.key) {
            of_key.tokens.retain(|t| *t != token);
        }
        Some(lease)
    }
    /// The key was filled by a computation with this number (without a lease: `u64::MAX`): who waits gets the value, and
    /// older computations are over. Newer ones, begun by NOCACHE, may be filled still.
    pub fn filled(&mut self, key: &[u8], seq: u64) {
        let Some(of_key) = self.keys.get(key) else {
            return;
        };
        let older = |t: &&Token| self.leases.get(*t).is_none_or(|l| l.seq <= seq);
        let older: Vec<Token> = of_key.tokens.iter().filter(older).copied().collect();
        for token in older {
            self.drop_lease(token);
        }
        self.end_back_off(key);
        self.answer_all(key, Got::Value);
    }
    /// All who wait for the key get the same.
    fn answer_all(&mut self, key: &[u8], got: Got) {
        let Some((name, of_key)) = self.keys.get_key_value(key) else {
            return;
        };
        let (name, none_left) = (name.clone(), of_key.tokens.is_empty());
        let Some(of_key) = self.keys.get_mut(key) else {
            return;
        };
        let waiters = mem::take(&mut of_key.waiters);
        if none_left {
            self.keys.remove(key);
        }
        if !waiters.is_empty() {
            self.leaving += waiters.len();
            self.out.push_back(Batch {
                key: name,
                waiters: waiters.into_iter(),
                got,
            });
        }
    }
    /// A lease on the key ended without an answer: the next in line gets one, if there is none other.
    pub fn pass(&mut self, key: &[u8]) {
        let Some((name, of_key)) = self.keys.get_key_value(key) else {
            return;
        };
        if !of_key.tokens.is_empty() {
            return;
        }
        let name = name.clone();
        if of_key.waiters.is_empty() {
            self.keys.remove(&name);
        } else {
            self.next.push_back(name);
        }
    }
    /// The computation failed. `old`: there is an old copy that may be served: who waits gets it, and so does who asks in the
    /// next [`BACK_OFF_MS`]; else the next in line is asked to try. False: the lease was over.
    pub fn release(&mut self, token: Token, key: &[u8], now_ms: u64, old: bool) -> bool {
        if self.end(token, key, now_ms).is_none() {
            return false;
        }
        if old {
            self.back_off(key, now_ms.saturating_add(BACK_OFF_MS));
            self.answer_all(key, Got::Old);
        }
        self.pass(key);
        true
    }
    fn back_off(&mut self, key: &[u8], until: u64) {
        self.end_back_off(key);
        let key: Arc<[u8]> = key.into();
        self.backing_off.insert(key.clone(), until);
        self.back_off_ends.insert((until, key));
    }
    fn end_back_off(&mut self, key: &[u8]) {
        if let Some((key, until)) = self.backing_off.remove_entry(key) {
            self.back_off_ends.remove(&(until, key));
        }
    }
    /// The number of the oldest lease; `None`: nobody computes.
    pub fn oldest(&self) -> Option<u64> {
        self.numbers.first().map(|(seq, _)| *seq)
    }
    /// Keys that are computed or waited for.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.keys.keys()
    }
    /// How many compute, and how many wait: of a key.
    pub fn of_key(&self, key: &[u8]) -> (usize, usize) {
        let of_key = self.keys.get(key);
        of_key.map_or((0, 0), |k| (k.tokens.len(), k.waiters.len()))
    }
    /// The same of all.
    pub fn len(&self) -> (usize, usize) {
        (self.leases.len(), self.waiting.len())
    }
}
