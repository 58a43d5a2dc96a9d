//! How leases and waiting end by themselves, or by what happens to the key.

use super::{Batch, Client, Got, Key, Leases, Token, WaiterId};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

impl<W> Leases<W> {
    /// A connection is closed: its leases pass on, and it waits no more.
    pub fn closed(&mut self, client: Client) {
        let mine = (client, 0)..=(client, u64::MAX);
        let waits: Vec<WaiterId> = self
            .waiter_clients
            .range(mine.clone())
            .map(|w| w.1)
            .collect();
        for id in waits {
            self.give_up(id);
        }
        let leases: Vec<Token> = self.by_client.range(mine).map(|l| l.1).collect();
        for token in leases {
            self.lapse(token);
        }
    }
    fn lapse(&mut self, token: Token) {
        if let Some(lease) = self.drop_lease(token) {
            self.pass(&lease.key);
        }
    }
    /// One waits no more (its time is over, CLIENT UNBLOCK): it comes out with [`Got::Nothing`].
    pub fn give_up(&mut self, id: WaiterId) {
        let Some(key) = self.waiting.remove(&id) else {
            return;
        };
        let waiter = self.keys.get_mut(&key).and_then(|k| k.waiters.remove(&id));
        let Some(waiter) = waiter else {
            // It was answered, and is on its way out: of no more concern to its connection.
            return;
        };
        self.waiter_ends.remove(&(waiter.deadline_ms, id));
        self.waiter_clients.remove(&(waiter.client, id));
        let nobody = |k: &Key<W>| k.waiters.is_empty() && k.tokens.is_empty();
        if self.keys.get(&key).is_some_and(nobody) {
            self.keys.remove(&key);
        }
        self.leaving += 1;
        self.out.push_back(Batch {
            key,
            waiters: BTreeMap::from([(id, waiter)]).into_iter(),
            got: Got::Nothing,
        });
    }
    /// Ends what is over at `now_ms`, at most `most` leases and as many who wait. The keys whose leases ran out of time.
    pub fn tick(&mut self, now_ms: u64, most: usize) -> Vec<Arc<[u8]>> {
        let mut timeouts = Vec::new();
        for _ in 0..most {
            match self.lease_ends.first().copied() {
                Some((end, token)) if end <= now_ms => {
                    timeouts.extend(self.leases.get(&token).map(|l| l.key.clone()));
                    self.lapse(token);
                }
                _ => break,
            }
        }
        for _ in 0..most {
            match self.waiter_ends.first().copied() {
                Some((end, id)) if end <= now_ms => {
                    self.waiter_ends.remove(&(end, id));
                    self.give_up(id);
                }
                _ => break,
            }
        }
        for _ in 0..most {
            match self.back_off_ends.first().cloned() {
                Some((end, key)) if end <= now_ms => self.end_back_off(&key),
                _ => break,
            }
        }
        timeouts
    }
    /// When [`tick`](Self::tick) has something to do next, ms.
    pub fn next_end(&self) -> Option<u64> {
        let ends = [
            self.lease_ends.first().map(|(end, _)| *end),
            self.waiter_ends.first().map(|(end, _)| *end),
        ];
        ends.into_iter().flatten().min()
    }
    /// The key was thrown away by name (or tag): leases on it are over, and the next in line gets a new one.
    pub fn invalidated(&mut self, key: &[u8]) {
        self.end_back_off(key);
        let Some(of_key) = self.keys.get(key) else {
            return;
        };
        for token in of_key.tokens.clone() {
            self.drop_lease(token);
        }
        self.pass(key);
    }
    /// Keys that start with a prefix (an empty one: all) were thrown away.
    pub fn invalidated_prefix(&mut self, prefix: &[u8]) {
        for key in self.starting_with(prefix) {
            self.invalidated(&key);
        }
        let off = self.backing_off.keys().filter(|k| k.starts_with(prefix));
        for key in off.cloned().collect::<Vec<_>>() {
            self.end_back_off(&key);
        }
    }
    fn starting_with(&self, prefix: &[u8]) -> Vec<Arc<[u8]>> {
        let from = self.keys.range::<[u8], _>((
            core::ops::Bound::Included(prefix),
            core::ops::Bound::Unbounded,
        ));
        from.map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .cloned()
            .collect()
    }
    /// Keys that start with a prefix (an empty one: all) are not computed here any more (SPEC DEL, another role, unloading):
    /// their leases are over, and who waits is told.
    pub fn ended(&mut self, prefix: &[u8]) {
        for key in self.starting_with(prefix) {
            self.ended_key(&key);
        }
    }
    /// The same of one key.
    pub fn ended_key(&mut self, key: &[u8]) {
        for token in self.keys.get(key).map_or(Vec::new(), |k| k.tokens.clone()) {
            self.drop_lease(token);
        }
        self.answer_all(key, Got::Ended);
    }
}
