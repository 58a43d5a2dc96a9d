//! Single-flight: one fetch per thing, however many ask.
//!
//! A flight is *boarding* until its call is sent; then it carries the number it was sent under. Who asks while a flight is
//! boarding, or under way and still current, joins it; otherwise a new one opens beside it, so that those who ask after
//! a change get a fetch that began after.

use alloc::vec::Vec;
use core::hash::Hash;
use hashbrown::HashMap;

pub type FlightId = u64;

struct Flight<T, W> {
    thing: T,
    sent: Option<u64>,
    waiters: Vec<W>,
}

/// The flights, by thing.
pub struct Flights<T, W> {
    next: FlightId,
    open: HashMap<T, FlightId>,
    all: HashMap<FlightId, Flight<T, W>>,
}

impl<T, W> Default for Flights<T, W> {
    fn default() -> Self {
        Flights {
            next: 1,
            open: HashMap::new(),
            all: HashMap::new(),
        }
    }
}

/// What joining came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joined {
    /// A new flight: the caller queues its call.
    Lead(FlightId),
    /// One that was there already.
    Follow(FlightId),
}

impl<T: Hash + Eq + Clone, W> Flights<T, W> {
    /// `current(sent)`: would a flight sent under this number still answer who asks now?
    pub fn join(
        &mut self,
        thing: &T,
        waiter: Option<W>,
        current: impl FnOnce(u64) -> bool,
    ) -> Joined {
        if let Some(id) = self.open.get(thing).copied() {
            if let Some(f) = self.all.get_mut(&id) {
                if f.sent.is_none_or(current) {
                    f.waiters.extend(waiter);
                    return Joined::Follow(id);
                }
            }
        }
        let id = self.next;
        self.next += 1;
        self.open.insert(thing.clone(), id);
        self.all.insert(
            id,
            Flight {
                thing: thing.clone(),
                sent: None,
                waiters: waiter.into_iter().collect(),
            },
        );
        Joined::Lead(id)
    }
    /// The flight that who asks for a thing now might join.
    pub fn open(&self, thing: &T) -> Option<FlightId> {
        self.open.get(thing).copied()
    }
    /// One more passenger for a flight that was joined.
    pub fn add(&mut self, id: FlightId, waiter: W) {
        if let Some(f) = self.all.get_mut(&id) {
            f.waiters.push(waiter);
        }
    }
    /// Who waits for a flight.
    pub fn waiters(&mut self, id: FlightId) -> &mut [W] {
        self.all
            .get_mut(&id)
            .map_or(&mut [], |f| f.waiters.as_mut_slice())
    }
    /// Does the thing's open flight wait to be sent?
    pub fn boarding(&self, thing: &T) -> bool {
        self.open
            .get(thing)
            .and_then(|id| self.all.get(id))
            .is_some_and(|f| f.sent.is_none())
    }
    /// The boarding flight of a thing goes out under number `sent`.
    pub fn send(&mut self, thing: &T, sent: u64) -> Option<FlightId> {
        let id = *self.open.get(thing)?;
        let f = self.all.get_mut(&id)?;
        if f.sent.is_some() {
            return None;
        }
        f.sent = Some(sent);
        Some(id)
    }
    /// A flight that failed is tried again: it boards once more.
    pub fn reboard(&mut self, id: FlightId) {
        let Some(f) = self.all.get_mut(&id) else {
            return;
        };
        f.sent = None;
        let (thing, waiters) = (f.thing.clone(), core::mem::take(&mut f.waiters));
        match self.open.get(&thing).copied() {
            // A younger flight opened meanwhile: its passengers and ours travel together.
            Some(other) if other != id => {
                self.all.remove(&id);
                if let Some(o) = self.all.get_mut(&other) {
                    o.waiters.extend(waiters);
                }
            }
            _ => {
                self.open.insert(thing, id);
                if let Some(f) = self.all.get_mut(&id) {
                    f.waiters = waiters;
                }
            }
        }
    }
    /// The flight is over; who waited for it.
    pub fn land(&mut self, id: FlightId) -> Vec<W> {
        let Some(f) = self.all.remove(&id) else {
            return Vec::new();
        };
        if self.open.get(&f.thing) == Some(&id) {
            self.open.remove(&f.thing);
        }
        f.waiters
    }
    /// Looks at every flight: its thing, whether it was sent, who waits. Those for which `ends` says so are over.
    pub fn sift(&mut self, mut ends: impl FnMut(FlightId, &T, bool, &mut Vec<W>) -> bool) {
        let open = &mut self.open;
        self.all.retain(|id, f| {
            let over = ends(*id, &f.thing, f.sent.is_some(), &mut f.waiters);
            if over && open.get(&f.thing) == Some(id) {
                open.remove(&f.thing);
            }
            !over
        });
    }
    /// Is a flight of this thing boarding or under way?
    pub fn has(&self, thing: &T) -> bool {
        self.open.contains_key(thing)
    }
    pub fn thing(&self, id: FlightId) -> Option<&T> {
        self.all.get(&id).map(|f| &f.thing)
    }
    /// What is boarding or under way.
    pub fn things(&self) -> impl Iterator<Item = &T> {
        self.all.values().map(|f| &f.thing)
    }
    pub fn len(&self) -> usize {
        self.all.len()
    }
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn many_ask_one_flies() {
        let mut f: Flights<&str, u32> = Flights::default();
        let Joined::Lead(id) = f.join(&"a", Some(1), |_| true) else {
            panic!()
        };
        for w in 2..=1000 {
            assert_eq!(f.join(&"a", Some(w), |_| true), Joined::Follow(id));
        }
        assert_eq!(f.send(&"a", 7), Some(id));
        assert_eq!(f.send(&"a", 8), None, "it is under way already");
        assert_eq!(
            f.join(&"a", Some(1001), |sent| sent == 7),
            Joined::Follow(id)
        );
        assert_eq!(f.land(id).len(), 1001);
        assert!(f.is_empty() && !f.has(&"a"));
    }

    #[test]
    fn who_asks_after_a_change_gets_a_flight_of_their_own() {
        let mut f: Flights<&str, u32> = Flights::default();
        let Joined::Lead(old) = f.join(&"a", Some(1), |_| true) else {
            panic!()
        };
        f.send(&"a", 7);
        let Joined::Lead(new) = f.join(&"a", Some(2), |_| false) else {
            panic!()
        };
        assert_ne!(old, new);
        assert_eq!(f.land(old), [1]);
        assert!(f.has(&"a"), "landing the old one leaves the new one open");
        assert_eq!(f.send(&"a", 9), Some(new));
        assert_eq!(f.land(new), [2]);
    }

    #[test]
    fn sifting_ends_flights_and_lets_waiters_go() {
        let mut f: Flights<&str, u32> = Flights::default();
        for (thing, w) in [("a", 1), ("a", 2), ("b", 3)] {
            f.join(&thing, Some(w), |_| true);
        }
        f.send(&"b", 7);
        f.sift(|_, thing, sent, waiters| {
            assert_eq!(sent, *thing == "b");
            waiters.retain(|w| *w == 2);
            waiters.is_empty()
        });
        assert!(f.has(&"a") && !f.has(&"b"));
        assert_eq!(f.len(), 1);
    }

    #[test]
    fn a_retried_flight_joins_a_younger_one() {
        let mut f: Flights<&str, u32> = Flights::default();
        let Joined::Lead(old) = f.join(&"a", Some(1), |_| true) else {
            panic!()
        };
        f.send(&"a", 7);
        let Joined::Lead(new) = f.join(&"a", Some(2), |_| false) else {
            panic!()
        };
        f.reboard(old);
        assert_eq!(f.len(), 1);
        let mut w = f.land(new);
        w.sort();
        assert_eq!(w, [1, 2]);
    }
}
