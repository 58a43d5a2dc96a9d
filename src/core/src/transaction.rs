//! What clients queued in transactions, as far as somebody watches: a queued command takes effect when EXEC runs it.

use alloc::vec::Vec;
use hashbrown::HashMap;

/// Names remembered per transaction, and transactions remembered; of more it is only known that they are there.
const NAMES: usize = 10_000;
const CLIENTS: usize = 10_000;

/// When a deletion takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    Now,
    /// With the client's EXEC.
    Later,
}

/// What an EXEC deletes.
#[derive(PartialEq, Eq, Debug)]
pub enum Deletes {
    These(Vec<Vec<u8>>),
    /// It was begun unwatched, or is too long: anything.
    Anything,
}

/// Names queued for deletion, by client; `None`: too many.
#[derive(Default)]
pub struct Transactions {
    queued: HashMap<u64, Option<Vec<Vec<u8>>>>,
}

impl Transactions {
    pub fn begin(&mut self, client: u64) {
        if self.queued.len() >= CLIENTS {
            self.queued.clear();
        }
        self.queued
            .entry(client)
            .or_insert_with(|| Some(Vec::new()));
    }
    /// A client deletes keys. (One whose transaction was begun unwatched may only queue that: its EXEC deletes anything.)
    pub fn delete<'a>(&mut self, client: u64, names: impl Iterator<Item = &'a [u8]>) -> Takes {
        let Some(queued) = self.queued.get_mut(&client) else {
            return Takes::Now;
        };
        if let Some(all) = queued {
            all.extend(names.map(<[u8]>::to_vec));
            if all.len() > NAMES {
                *queued = None;
            }
        }
        Takes::Later
    }
    /// DISCARD, RESET.
    pub fn discard(&mut self, client: u64) {
        self.queued.remove(&client);
    }
    pub fn execute(&mut self, client: u64) -> Deletes {
        match self.queued.remove(&client) {
            Some(Some(names)) => Deletes::These(names),
            Some(None) | None => Deletes::Anything,
        }
    }
    /// Nobody watches any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn delete(t: &mut Transactions, client: u64, name: &str) -> Takes {
        t.delete(client, core::iter::once(name.as_bytes()))
    }

    #[test]
    fn what_is_queued_takes_effect_with_exec() {
        let mut t = Transactions::default();
        assert_eq!(delete(&mut t, 1, "a"), Takes::Now);
        t.begin(1);
        assert_eq!(delete(&mut t, 1, "b"), Takes::Later);
        assert_eq!(delete(&mut t, 2, "c"), Takes::Now);
        assert_eq!(t.execute(1), Deletes::These(vec![b"b".to_vec()]));
        t.begin(1);
        delete(&mut t, 1, "d");
        t.discard(1);
        t.begin(1);
        assert_eq!(t.execute(1), Deletes::These(vec![]));
    }

    #[test]
    fn what_was_begun_unwatched_deletes_anything() {
        let mut t = Transactions::default();
        assert_eq!(delete(&mut t, 1, "a"), Takes::Now);
        assert_eq!(t.execute(1), Deletes::Anything);
        t.begin(1);
        t.forget();
        assert_eq!(t.execute(1), Deletes::Anything);
    }

    #[test]
    fn too_much_is_anything() {
        let mut t = Transactions::default();
        t.begin(1);
        for _ in 0..=NAMES {
            delete(&mut t, 1, "a");
        }
        assert_eq!(t.execute(1), Deletes::Anything);
        for client in 0..=CLIENTS as u64 {
            t.begin(client);
        }
        assert_eq!(t.execute(0), Deletes::Anything);
        assert_eq!(t.execute(CLIENTS as u64), Deletes::These(vec![]));
    }
}
