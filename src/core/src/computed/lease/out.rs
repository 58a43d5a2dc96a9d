//! Who waited is answered, in slices.

use super::{Ask, Got, Handed, Leases, Waiter, WaiterId};
use alloc::vec::Vec;

impl<W> Leases<W> {
    /// Answers at most `n` who waited: first those who get a lease, one for a key, numbered `seq`; 64 bits of `chance`
    /// for its key make a token.
    pub fn hand_out(
        &mut self,
        n: usize,
        now_ms: u64,
        seq: u64,
        mut chance: impl FnMut(&[u8]) -> u64,
    ) -> Vec<Handed<W>> {
        let mut out = Vec::new();
        while out.len() < n {
            let Some(key) = self.next.pop_front() else {
                break;
            };
            let Some(of_key) = self.keys.get_mut(&key) else {
                continue;
            };
            if !of_key.tokens.is_empty() {
                continue;
            }
            let Some((id, waiter)) = of_key.waiters.pop_first() else {
                self.keys.remove(&key);
                continue;
            };
            self.forget_waiter(id, &waiter);
            let token = self.grant(
                key.clone(),
                &Ask {
                    client: waiter.client,
                    now_ms,
                    seq,
                    lease_ms: waiter.lease_ms,
                    chance: chance(&key),
                },
            );
            out.push(Handed {
                waiter: waiter.waiter,
                key,
                got: Got::Lease(token),
            });
        }
        while out.len() < n {
            let Some(batch) = self.out.front_mut() else {
                break;
            };
            let Some((id, waiter)) = batch.waiters.next() else {
                self.out.pop_front();
                continue;
            };
            let (key, got) = (batch.key.clone(), batch.got);
            self.leaving -= 1;
            self.forget_waiter(id, &waiter);
            out.push(Handed {
                waiter: waiter.waiter,
                key,
                got,
            });
        }
        out
    }
    fn forget_waiter(&mut self, id: WaiterId, waiter: &Waiter<W>) {
        self.waiting.remove(&id);
        self.waiter_ends.remove(&(waiter.deadline_ms, id));
        self.waiter_clients.remove(&(waiter.client, id));
    }
    /// Is somebody to be answered?
    pub fn has_answers(&self) -> bool {
        !self.next.is_empty() || self.leaving > 0
    }
}
