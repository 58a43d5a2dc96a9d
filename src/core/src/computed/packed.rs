//! Numbers by the differences from one to the next: a byte for a small one, up to five for a large one. Numbers that lie close
//! together, whatever their order, take little room.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// The difference as a number that is small if it is small, up or down.
fn difference(from: u32, to: u32) -> u32 {
    let d = to.wrapping_sub(from) as i32;
    ((d << 1) ^ (d >> 31)) as u32
}

fn after(from: u32, difference: u32) -> u32 {
    let d = (difference >> 1) as i32 ^ -((difference & 1) as i32);
    from.wrapping_add(d as u32)
}

/// The bytes that one takes.
fn size(mut n: u32) -> usize {
    let mut bytes = 1;
    while n >= 0x80 {
        (n, bytes) = (n >> 7, bytes + 1);
    }
    bytes
}

/// Adds `to`, which comes after `from`. (The first comes after 0.)
pub(super) fn push(out: &mut Vec<u8>, from: u32, to: u32) {
    let mut n = difference(from, to);
    if out.capacity() - out.len() < size(n) {
        // Doubling would leave a quarter of all this memory unused.
        out.reserve_exact(size(n).max(out.len() / 8).max(4));
    }
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// All of them, in no more memory than they take.
pub(super) fn pack(numbers: &[u32]) -> Box<[u8]> {
    let mut from = 0;
    let sizes = numbers.iter().map(|to| {
        let n = difference(from, *to);
        from = *to;
        size(n)
    });
    let mut out = Vec::with_capacity(sizes.sum());
    let mut from = 0;
    for to in numbers {
        push(&mut out, from, *to);
        from = *to;
    }
    out.into_boxed_slice()
}

/// How many there are.
pub(super) fn count(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b < 0x80).count()
}

/// The numbers again, in the order in which they were added.
#[derive(Clone)]
pub(super) struct Numbers<'a> {
    bytes: &'a [u8],
    from: u32,
}

impl<'a> Numbers<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Numbers<'a> {
        Numbers { bytes, from: 0 }
    }
}

impl Iterator for Numbers<'_> {
    type Item = u32;
    #[inline]
    fn next(&mut self) -> Option<u32> {
        let (mut n, mut shift) = (0u32, 0);
        loop {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            n |= u32::from(byte & 0x7f) << (shift & 31);
            if *byte < 0x80 {
                break;
            }
            shift += 7;
        }
        self.from = after(self.from, n);
        Some(self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_packed_is_there_again(numbers in proptest::collection::vec(any::<u32>(), 0..200), near in any::<bool>()) {
            let numbers: Vec<u32> = numbers.iter().map(|n| if near { n % 300 } else { *n }).collect();
            let bytes = pack(&numbers);
            prop_assert_eq!(count(&bytes), numbers.len());
            prop_assert_eq!(Numbers::of(&bytes).collect::<Vec<u32>>(), numbers);
            let mut one_by_one = Vec::new();
            let mut from = 0;
            for n in Numbers::of(&bytes) {
                push(&mut one_by_one, from, n);
                from = n;
            }
            prop_assert_eq!(&one_by_one[..], &bytes[..]);
        }
    }

    #[test]
    fn neighbours_take_a_byte() {
        let numbers: Vec<u32> = (0..1000).map(|n| n * 60).collect();
        assert_eq!(pack(&numbers).len(), 1000);
        let down: Vec<u32> = numbers.into_iter().rev().collect();
        assert!(pack(&down).len() <= 1002);
    }
}
