//! Record ids in twelve bytes.

use compact_str::CompactString;
use core::hash::{BuildHasher, Hash};
use hashbrown::DefaultHashBuilder;

/// Characters behind `rec` of an id that is packed.
const LONGEST: usize = 14;
/// Bits of a mark.
pub(super) const MARK: u32 = 12;
const MARKS: u32 = (1 << MARK) - 1;

/// What is kept of an id, and a mark of [`MARK`] bits on it.
pub(super) trait Kept: Sized {
    fn is(&self, other: &Self) -> bool;
    fn hash(&self, hasher: &DefaultHashBuilder) -> u64;
    fn id(&self) -> CompactString;
    fn mark(&self) -> u16;
    fn set_mark(&mut self, mark: u16);
}

/// An id as nearly all are: six bits to a character, twelve to the mark.
#[derive(Clone, Copy)]
pub(super) struct Usual([u32; 3]);

/// Any other id.
pub(super) struct Odd {
    id: CompactString,
    mark: u16,
}

/// `0` ends an id, so every character is one more than its place.
const CHARACTERS: &[u8; 63] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

fn place(c: u8) -> Option<u32> {
    let at = match c {
        b'0'..=b'9' => c - b'0',
        b'A'..=b'Z' => c - b'A' + 10,
        b'_' => 36,
        b'a'..=b'z' => c - b'a' + 37,
        _ => return None,
    };
    Some(u32::from(at) + 1)
}

impl Usual {
    /// `None`: it is longer than they usually are, or no record's id.
    pub(super) fn of(id: &str) -> Option<Usual> {
        let rest = id.strip_prefix("rec")?.as_bytes();
        if rest.len() > LONGEST {
            return None;
        }
        let mut bits = 0u128;
        for (at, c) in rest.iter().enumerate() {
            bits |= u128::from(place(*c)?) << (6 * at);
        }
        let bits = bits << MARK;
        Some(Usual([
            bits as u32,
            (bits >> 32) as u32,
            (bits >> 64) as u32,
        ]))
    }
}

impl Kept for Usual {
    #[inline]
    fn is(&self, other: &Usual) -> bool {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        b == y && c == z && (a ^ x) & !MARKS == 0
    }
    fn hash(&self, hasher: &DefaultHashBuilder) -> u64 {
        let [a, b, c] = self.0;
        hasher.hash_one((u64::from(a & !MARKS) << 32 | u64::from(b), c))
    }
    fn id(&self) -> CompactString {
        let [a, b, c] = self.0.map(u128::from);
        let mut bits = (a | b << 32 | c << 64) >> MARK;
        let mut id = CompactString::const_new("rec");
        while bits != 0 {
            let at = (bits as usize & 0x3f).wrapping_sub(1);
            id.push(char::from(CHARACTERS.get(at).copied().unwrap_or(b'?')));
            bits >>= 6;
        }
        id
    }
    fn mark(&self) -> u16 {
        (self.0[0] & MARKS) as u16
    }
    fn set_mark(&mut self, mark: u16) {
        self.0[0] = self.0[0] & !MARKS | u32::from(mark) & MARKS;
    }
}

impl Odd {
    pub(super) fn of(id: &str) -> Odd {
        Odd {
            id: CompactString::new(id),
            mark: 0,
        }
    }
}

impl Kept for Odd {
    fn is(&self, other: &Odd) -> bool {
        self.id == other.id
    }
    fn hash(&self, hasher: &DefaultHashBuilder) -> u64 {
        struct Of<'a>(&'a str);
        impl Hash for Of<'_> {
            fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }
        hasher.hash_one(Of(&self.id))
    }
    fn id(&self) -> CompactString {
        self.id.clone()
    }
    fn mark(&self) -> u16 {
        self.mark
    }
    fn set_mark(&mut self, mark: u16) {
        self.mark = mark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_and_its_mark_are_read_back(rest in "[A-Za-z0-9_]{0,14}", other in "[A-Za-z0-9_]{0,14}", mark in 0u16..4096) {
            let (id, different) = (format!("rec{rest}"), rest != other);
            let mut a = Usual::of(&id).ok_or(TestCaseError::fail("refused"))?;
            let b = Usual::of(&format!("rec{other}")).ok_or(TestCaseError::fail("refused"))?;
            let hasher = DefaultHashBuilder::default();
            let hash = a.hash(&hasher);
            a.set_mark(mark);
            prop_assert_eq!((&*a.id(), a.mark()), (&*id, mark));
            prop_assert_eq!(a.hash(&hasher), hash);
            prop_assert_eq!(a.is(&b), !different);
        }
    }

    #[test]
    fn what_does_not_fit_is_not_packed() {
        for id in ["rec123456789012345", "recé", "rec-", "abc", ""] {
            assert!(Usual::of(id).is_none(), "{id}");
        }
        assert_eq!(core::mem::size_of::<Usual>(), 12);
    }
}
