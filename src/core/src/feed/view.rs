//! What reads see of a feed, and which copies it can vouch for.

use crate::entry::Header;
use crate::outside;

/// What a read needs to know of the feed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct View {
    /// Copies fetched under a later number than this are vouched for …
    pub from: u64,
    /// … until then, unix ms.
    pub vouched_until: u64,
    /// A read after this (unix ms) waits for one poll.
    pub settled_until: u64,
    /// Polls fail.
    pub behind: bool,
}

impl View {
    /// Without a feed: nothing is vouched for, nobody waits.
    pub const OFF: View = View {
        from: 0,
        vouched_until: 0,
        settled_until: u64::MAX,
        behind: false,
    };

    /// Is a copy that was fetched as number `seq` known to be current?
    #[inline]
    pub fn vouches(&self, seq: u64, now: u64) -> bool {
        let believed = seq <= outside::latest(now.saturating_mul(1_000));
        now < self.vouched_until && seq > self.from && believed
    }
    /// Is this copy known to be current, whatever its own freshness? The urls of attachments end by themselves, and what a
    /// client told was not seen in Airtable.
    #[inline]
    pub fn renews(&self, h: &Header, now: u64) -> bool {
        can_renew(h) && self.vouches(h.seq, now)
    }
    /// Must a read wait for a poll first?
    #[inline]
    pub fn unsettled(&self, now: u64) -> bool {
        now > self.settled_until
    }
}

/// Could a feed vouch for this copy?
#[inline]
pub fn can_renew(h: &Header) -> bool {
    h.dead_at == u64::MAX && !h.is_told()
}
