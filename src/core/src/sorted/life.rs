//! How long copies serve, and that of many of them in one figure: a question looks at no member to know that all are fresh.

use crate::feed;
use crate::{entry::Header, feed::View as FeedView};

/// How long one copy serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// When it was asked for, unix ms.
    pub asked_ms: u64,
    /// As of when it was so, unix ms: what its age is counted from.
    pub as_of: u64,
    /// End of freshness, unix ms.
    pub fresh_until: u64,
    /// When its key ends, unix ms; `u64::MAX`: never.
    pub key_until: u64,
    /// Its place in the order of sends and changes.
    pub seq: u64,
    /// A feed could vouch for it.
    renewable: bool,
}

impl Life {
    /// Of a copy whose key ends at `key_until`. `None`: it ends before its freshness does, which nothing stored by us does.
    pub fn of(h: &Header, key_until: u64) -> Option<Life> {
        (h.fresh_until <= h.dead_at).then_some(Life {
            asked_ms: h.asked_ms,
            as_of: h.as_of(),
            fresh_until: h.fresh_until,
            key_until,
            seq: h.seq,
            renewable: feed::can_renew(h),
        })
    }
    /// Of a member that is in no answer: only that its key is there counts.
    pub fn outside(key_until: u64) -> Life {
        Life {
            asked_ms: u64::MAX,
            as_of: u64::MAX,
            fresh_until: u64::MAX,
            key_until,
            seq: u64::MAX,
            renewable: false,
        }
    }
    /// Is it the copy that this one was made of?
    pub fn is_of(&self, h: &Header) -> bool {
        self.seq == h.seq && self.asked_ms == h.asked_ms && self.fresh_until == h.fresh_until
    }
}

/// How long many copies serve: the least of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lives {
    /// The first key to end, unix ms.
    pub key_until: u64,
    /// The oldest, unix ms.
    pub as_of: u64,
    /// The first end of those that no feed can vouch for, unix ms.
    own_until: u64,
    /// The first end of the others, unix ms …
    until: u64,
    /// … and the numbers under which they were fetched.
    first_seq: u64,
    last_seq: u64,
}

impl Lives {
    /// Of none.
    pub const NONE: Lives = Lives {
        key_until: u64::MAX,
        as_of: u64::MAX,
        own_until: u64::MAX,
        until: u64::MAX,
        first_seq: u64::MAX,
        last_seq: 0,
    };
    pub(super) fn of(l: &Life) -> Lives {
        let own = Lives {
            key_until: l.key_until,
            as_of: l.as_of,
            ..Lives::NONE
        };
        match l.renewable {
            true => Lives {
                until: l.fresh_until,
                first_seq: l.seq,
                last_seq: l.seq,
                ..own
            },
            false => Lives {
                own_until: l.fresh_until,
                ..own
            },
        }
    }
    pub(super) fn and(self, o: Lives) -> Lives {
        Lives {
            key_until: self.key_until.min(o.key_until),
            as_of: self.as_of.min(o.as_of),
            own_until: self.own_until.min(o.own_until),
            until: self.until.min(o.until),
            first_seq: self.first_seq.min(o.first_seq),
            last_seq: self.last_seq.max(o.last_seq),
        }
    }
    /// Would it be another without this one?
    pub(super) fn leans_on(&self, l: &Life) -> bool {
        l.key_until == self.key_until
            || l.as_of == self.as_of
            || l.fresh_until == self.own_until
            || l.fresh_until == self.until
            || l.seq == self.first_seq
            || l.seq == self.last_seq
    }
    /// The first end of freshness, whoever vouches, unix ms.
    pub fn first_end(&self) -> u64 {
        self.own_until.min(self.until)
    }
    /// Until when all of them are fresh, the feed's word included, unix ms: the least of what each would be asked for alone.
    /// `None`: one of them is not, or the feed vouches for a part of them: each is to be looked at.
    pub fn fresh_until(&self, feed: &FeedView, now: u64) -> Option<u64> {
        let none_to_vouch = self.last_seq <= feed.from || now >= feed.vouched_until;
        let all_vouched = feed.vouches(self.first_seq, now) && feed.vouches(self.last_seq, now);
        let until = match (none_to_vouch, all_vouched) {
            (true, _) => self.until,
            (false, true) => self.until.max(feed.vouched_until),
            (false, false) if self.until == u64::MAX => self.until,
            (false, false) => return None,
        };
        let first = self.own_until.min(until);
        (now < first && now < self.key_until).then_some(first)
    }
}
