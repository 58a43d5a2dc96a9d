//! Numbers of stored forms: little-endian words, and numbers of seven bits to a byte (LEB128).

use alloc::vec::Vec;

#[inline]
pub(crate) fn u64_at(b: &[u8], at: usize) -> u64 {
    match b.get(at..at + 8).and_then(|s| s.try_into().ok()) {
        Some(s) => u64::from_le_bytes(s),
        None => 0,
    }
}
#[inline]
pub(super) fn u32_at(b: &[u8], at: usize) -> u32 {
    match b.get(at..at + 4).and_then(|s| s.try_into().ok()) {
        Some(s) => u32::from_le_bytes(s),
        None => 0,
    }
}

/// Appends a number: a byte for each seven bits of it.
pub(super) fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes a number off the front; `None`: it is cut off, or has more than 64 bits.
#[inline]
pub(super) fn take(b: &mut &[u8]) -> Option<u64> {
    match **b {
        [one @ ..0x80, ref rest @ ..] => {
            *b = rest;
            Some(u64::from(one))
        }
        [low, high @ ..0x80, ref rest @ ..] => {
            *b = rest;
            Some(u64::from(low & 0x7f) | u64::from(high) << 7)
        }
        _ => take_long(b),
    }
}

#[cold]
fn take_long(b: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = b.split_first()?;
        *b = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        n |= bits << shift;
        if *byte < 0x80 {
            return Some(n);
        }
    }
    None
}

/// The same as a length.
#[inline]
pub(super) fn take_len(b: &mut &[u8]) -> Option<usize> {
    usize::try_from(take(b)?).ok()
}

/// The difference of two numbers that are near each other as a small one, whichever is the larger.
pub(super) fn apart(a: u64, from: u64) -> u64 {
    let d = a.wrapping_sub(from) as i64;
    ((d << 1) ^ (d >> 63)) as u64
}
/// The number that is so far from another.
#[inline]
pub(super) fn at(apart: u64, from: u64) -> u64 {
    from.wrapping_add((apart >> 1) ^ (apart & 1).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(n in any::<u64>(), shift in 0u32..64, from in any::<u64>(), behind in any::<u8>()) {
            let n = n >> shift;
            let mut out = Vec::new();
            put(&mut out, n);
            out.push(behind);
            let mut rest = &out[..];
            prop_assert_eq!(take(&mut rest), Some(n));
            prop_assert_eq!(rest, [behind]);
            prop_assert_eq!(at(apart(n, from), from), n);
        }
        #[test]
        fn any_bytes_are_a_number_or_none(bytes in prop::collection::vec(any::<u8>(), 0..14)) {
            let mut rest = &bytes[..];
            while take(&mut rest).is_some() {}
        }
    }

    #[test]
    fn near_ones_take_a_byte() {
        for (a, b) in [(5, 5), (5, 60), (60, 5), (0, 63), (u64::MAX, 0)] {
            assert!(apart(a, b) < 0x80, "{a} {b}");
        }
    }
}
