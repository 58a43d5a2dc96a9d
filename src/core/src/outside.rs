//! Numbers that come from outside: a client's, or those of a data set that somebody may have written to.
//!
//! The order of sends and changes ([`crate::token`]) is near the wall clock, and so is every time that is told or stored. What
//! lies far ahead of it was never one of either, and is not believed: taken at its word, it would outdate all that follows.

use crate::entry::{Header, Sentinel};

/// A clock that wrote numbers may have run ahead of this one by so much, ms: a day.
pub const AHEAD_MS: u64 = 86_400_000;

/// A client's clock may run ahead by so much, ms. What it says of a later time it says of then.
const CLIENT_AHEAD_MS: u64 = 60_000;

/// The largest number in the order of sends and changes that is believed at `now_us`.
pub fn latest(now_us: u64) -> u64 {
    now_us.saturating_add(AHEAD_MS * 1_000)
}

/// A time that somebody stored, unix ms; `None`: it is none.
pub fn stored_ms(ms: u64, now_ms: u64) -> Option<u64> {
    (ms <= now_ms.saturating_add(AHEAD_MS)).then_some(ms)
}

/// A time that a client tells, unix ms, as far as it is believed.
pub fn told_ms(ms: u64, now_ms: u64) -> u64 {
    ms.min(now_ms.saturating_add(CLIENT_AHEAD_MS))
}

/// The latest of a header's numbers, in the order of sends and changes.
pub fn of_header(h: &Header) -> u64 {
    let ms = h.asked_ms.max(h.told_at);
    h.seq.max(ms.saturating_mul(1_000))
}

/// The same of a set's.
pub fn of_sentinel(s: &Sentinel) -> u64 {
    s.seq.max(s.asked_ms.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_far_ahead_is_not_believed() {
        let now = 1_800_000_000_000;
        assert_eq!(stored_ms(now + AHEAD_MS, now), Some(now + AHEAD_MS));
        assert_eq!(stored_ms(now + AHEAD_MS + 1, now), None);
        assert_eq!(stored_ms(u64::MAX, u64::MAX), Some(u64::MAX));
        assert_eq!(told_ms(now + 5, now), now + 5);
        assert_eq!(told_ms(u64::MAX, now), now + CLIENT_AHEAD_MS);
        let mut h = Header {
            generation: 0,
            asked_ms: 5,
            fresh_until: u64::MAX,
            dead_at: u64::MAX,
            seq: 7_000,
            told_at: 0,
        };
        assert_eq!(of_header(&h), 7_000);
        h.told_at = u64::MAX;
        assert_eq!(of_header(&h), u64::MAX);
    }
}
