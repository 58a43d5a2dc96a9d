//! What an answer can be computed from, and what is remembered of it.

use alloc::sync::Arc;

/// What kind of thing was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A record, or its absence.
    Record = 0,
    /// An index set: which records are in it. (Their content is used through the records themselves.)
    Set = 1,
    /// Any record of an entity: `<entity>:*`.
    Whole = 2,
    /// Another computed answer.
    Computed = 3,
    /// A tag.
    Tag = 4,
}

impl Kind {
    /// From its number in a stored form.
    pub fn from_u8(n: u8) -> Option<Kind> {
        [
            Kind::Record,
            Kind::Set,
            Kind::Whole,
            Kind::Computed,
            Kind::Tag,
        ]
        .into_iter()
        .find(|k| *k as u8 == n)
    }
}

/// A thing by the 64-bit hash of its kind and name. Two things with one hash cost an answer too many, never one too few.
/// The hash is the same on every node and after a restart (it is stored), so it must be hard to aim at: keyed.
pub type Thing = u64;

/// What a thing is like, as a hash; see [`known`].
pub type Content = u64;

/// Nothing is known of it.
pub const UNKNOWN: Content = 0;
/// It is known not to exist.
pub const ABSENT: Content = 1;

/// The content of something that is there, from the hash of its bytes (a set: of its members' ids, whatever their order).
pub fn known(hash: u64) -> Content {
    if hash >> BRIEF_BITS > 0 {
        hash
    } else {
        hash.wrapping_add(0x9e37_79b9_7f4a_7c15)
    }
}

/// The bits of a content that are stored with an answer.
pub const BRIEF_BITS: u32 = 24;

/// The part of a content that is stored: [`UNKNOWN`] and [`ABSENT`] as they are. No other content is as small as one of those,
/// so that it shows which is which.
pub fn brief(content: Content) -> Content {
    if content >> BRIEF_BITS == 0 {
        return content;
    }
    let folded = content ^ (content >> 24) ^ (content >> 48);
    (folded & ((1 << BRIEF_BITS) - 1)).max(ABSENT + 1)
}

/// Do two contents agree, as far as is known of both? (What was loaded with a stored answer is brief until it is seen again.)
pub fn same(a: Content, b: Content) -> bool {
    a == b
        || (a > ABSENT
            && b > ABSENT
            && (a >> BRIEF_BITS == 0 || b >> BRIEF_BITS == 0)
            && brief(a) == brief(b))
}

/// A set's content from the hashes of its members' ids, in any order.
pub fn digest(members: impl Iterator<Item = u64>) -> Content {
    let (mut sum, mut mixed, mut n) = (0u64, 0u64, 0u64);
    for h in members {
        sum = sum.wrapping_add(h);
        // A second sum over another function of each: sums alone would be easy to bring about.
        let m = (h ^ (h >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = mixed.wrapping_add(m ^ (m >> 29));
        n += 1;
    }
    let all = sum ^ mixed.rotate_left(32) ^ n.wrapping_mul(0x94d0_49bb_1331_11eb);
    known(all ^ (all >> 33))
}

/// The caller's number of an entity.
pub type EntityIx = u32;

/// One thing that an answer used, as it was then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dep {
    pub thing: Thing,
    pub kind: Kind,
    pub content: Content,
    /// The key's own name, of a computed answer only: those with a prefix are thrown away by it.
    pub name: Option<Arc<[u8]>>,
}

/// That an answer used something of an entity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntityUse {
    pub entity: EntityIx,
    /// An index of it was used (or all of it): any record in doubt may belong there. The number, in the order of sends and
    /// changes, as of which that was read; doubt raised later counts. `None`: only single records were used.
    pub index_as_of: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_knows_no_order_and_no_two_contents_are_confused_with_none() {
        assert_eq!(digest([5, 9, 7].into_iter()), digest([7, 5, 9].into_iter()));
        assert_ne!(digest([5, 9].into_iter()), digest([5, 8].into_iter()));
        assert_ne!(digest([5, 5].into_iter()), digest([5].into_iter()));
        for c in [known(0), known(1), known(5), digest(core::iter::empty())] {
            assert!(c >> BRIEF_BITS > 0, "neither unknown, absent nor brief");
            assert!(same(c, brief(c)) && same(brief(c), c) && same(c, c));
            assert!(!same(brief(c), UNKNOWN) && !same(brief(c), ABSENT));
        }
        assert!(!same(known(1 << 30), known(1 << 31)));
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for n in 0..=255 {
            assert_eq!(Kind::from_u8(n).map(|k| k as u8), (n < 5).then_some(n));
        }
    }
}
