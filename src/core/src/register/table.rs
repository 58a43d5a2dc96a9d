//! A hash table that grows a bucket at a time (linear hashing): no insertion moves more than one bucket, nothing is kept free
//! for a doubling, and it can be gone through in parts while it changes.

use super::id::Kept;
use alloc::vec::Vec;
use compact_str::CompactString;
use hashbrown::DefaultHashBuilder;

/// Entries to a bucket, on average: one is split in two when there are more.
const FULL: usize = 40;
/// Buckets in a row, so that a long directory is never copied as a whole.
const ROW: usize = 256;

/// Sizes of allocations that take no more than they hold: four to a doubling, as allocators have them.
fn good_size(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 8).max(16);
    bytes.next_multiple_of(step)
}

/// Entries without order.
pub(super) struct Table<T> {
    rows: Vec<Vec<Vec<T>>>,
    buckets: usize,
    len: usize,
    hasher: DefaultHashBuilder,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table {
            rows: Vec::new(),
            buckets: 0,
            len: 0,
            hasher: DefaultHashBuilder::default(),
        }
    }
}

/// Where to put a hash: in as many buckets as there are, those before `buckets` − 2^k are split already.
#[derive(Clone, Copy)]
struct Shape {
    buckets: usize,
}

impl Shape {
    /// Bits of a hash that all buckets look at.
    fn bits(self) -> u32 {
        self.buckets.max(1).ilog2()
    }
    fn of(self, hash: u64) -> usize {
        let bits = self.bits();
        let fine = (hash & ((2 << bits) - 1)) as usize;
        if fine < self.buckets {
            return fine;
        }
        fine & ((1 << bits) - 1)
    }
    /// Bits of a hash that a bucket looks at.
    fn depth(self, bucket: usize) -> u32 {
        let bits = self.bits();
        let split = bucket >= 1 << bits || bucket + (1 << bits) < self.buckets;
        bits + u32::from(split)
    }
}

impl<T: Kept> Table<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }
    fn shape(&self) -> Shape {
        Shape {
            buckets: self.buckets,
        }
    }
    fn bucket(&self, at: usize) -> &[T] {
        let row = self.rows.get(at / ROW);
        row.and_then(|r| r.get(at % ROW)).map_or(&[], Vec::as_slice)
    }
    fn bucket_mut(&mut self, at: usize) -> Option<&mut Vec<T>> {
        self.rows.get_mut(at / ROW)?.get_mut(at % ROW)
    }
    fn place(&self, like: &T) -> Option<(usize, usize)> {
        if self.len == 0 {
            return None;
        }
        let at = self.shape().of(like.hash(&self.hasher));
        let in_it = self.bucket(at).iter().position(|e| e.is(like))?;
        Some((at, in_it))
    }
    pub(super) fn get(&self, like: &T) -> Option<&T> {
        let (at, in_it) = self.place(like)?;
        self.bucket(at).get(in_it)
    }
    pub(super) fn get_mut(&mut self, like: &T) -> Option<&mut T> {
        let (at, in_it) = self.place(like)?;
        self.bucket_mut(at)?.get_mut(in_it)
    }
    /// Puts an entry in that is not there.
    pub(super) fn add(&mut self, entry: T) {
        if self.len >= self.buckets * FULL {
            self.grow();
        }
        let at = self.shape().of(entry.hash(&self.hasher));
        if let Some(bucket) = self.bucket_mut(at) {
            push(bucket, entry);
            self.len += 1;
        }
    }
    pub(super) fn remove(&mut self, like: &T) -> Option<T> {
        let (at, in_it) = self.place(like)?;
        let bucket = self.bucket_mut(at)?;
        let entry = bucket.swap_remove(in_it);
        // What is hardly used is given back.
        if bucket.len() * 2 < bucket.capacity() {
            let keep = good_capacity::<T>(bucket.len());
            bucket.shrink_to(keep);
        }
        self.len -= 1;
        Some(entry)
    }
    /// One bucket more, which takes over what is its of the one that is next in turn.
    fn grow(&mut self) {
        let new = self.buckets;
        if new % ROW == 0 {
            self.rows.push(Vec::new());
        }
        let Some(row) = self.rows.last_mut() else {
            return;
        };
        if row.len() == row.capacity() {
            row.reserve_exact((row.len()).clamp(1, ROW - row.len().min(ROW - 1)));
        }
        row.push(Vec::new());
        self.buckets += 1;
        if new == 0 {
            return;
        }
        let split = new - (1 << new.ilog2());
        let Some(old) = self.bucket_mut(split).map(core::mem::take) else {
            return;
        };
        let shape = self.shape();
        let (mut stays, mut goes) = (Vec::new(), Vec::new());
        for entry in old {
            let to = match shape.of(entry.hash(&self.hasher)) == split {
                true => &mut stays,
                false => &mut goes,
            };
            push(to, entry);
        }
        for (at, entries) in [(split, stays), (new, goes)] {
            if let Some(bucket) = self.bucket_mut(at) {
                *bucket = entries;
            }
        }
    }
    /// Shows entries from a place on (0: the first), at least `n` if there are so many, and where to go on. Whatever is there
    /// from the first part to the last is shown once.
    ///
    /// A place is a hash with its bits in reverse: a bucket holds all from one place to another, and is split between them.
    pub(super) fn part(&self, from: u64, n: usize, mut show: impl FnMut(&T)) -> Option<u64> {
        let (mut at, mut shown) = (from, 0);
        if self.buckets == 0 {
            return None;
        }
        loop {
            let bucket = self.shape().of(at.reverse_bits());
            let entries = self.bucket(bucket);
            entries.iter().for_each(&mut show);
            shown += entries.len();
            let depth = self.shape().depth(bucket);
            let wide = 1u64.checked_shl(u64::BITS - depth)?;
            at = at.checked_add(wide)?;
            if shown >= n {
                return Some(at);
            }
        }
    }
    /// Takes one out, whichever; the table is good for nothing else from then on.
    pub(super) fn pop(&mut self) -> Option<T> {
        loop {
            let row = self.rows.last_mut()?;
            match row.last_mut().map(Vec::pop) {
                Some(Some(entry)) => {
                    self.len -= 1;
                    return Some(entry);
                }
                Some(None) => {
                    row.pop();
                }
                None => {
                    self.rows.pop();
                }
            }
        }
    }
    /// Bytes that its buckets and their directory take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let buckets = self.rows.iter().flatten();
        let entries: usize = buckets
            .map(|b| good_size(b.capacity() * core::mem::size_of::<T>()))
            .sum();
        let directory: usize = self
            .rows
            .iter()
            .map(|r| r.capacity() * core::mem::size_of::<Vec<T>>())
            .sum();
        entries + directory
    }
    /// Entries of the fullest bucket.
    #[cfg(test)]
    pub(super) fn widest(&self) -> usize {
        self.rows.iter().flatten().map(Vec::len).max().unwrap_or(0)
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().flatten().flatten()
    }
}

fn good_capacity<T>(n: usize) -> usize {
    let size = core::mem::size_of::<T>().max(1);
    good_size(n * size) / size
}

fn push<T>(bucket: &mut Vec<T>, entry: T) {
    if bucket.len() == bucket.capacity() {
        let n = bucket.len();
        bucket.reserve_exact(good_capacity::<T>(n + 1).max(n + 1) - n);
    }
    bucket.push(entry);
}

/// The ids of entries.
pub(super) fn ids<'a, T: Kept + 'a>(
    entries: impl Iterator<Item = &'a T> + 'a,
) -> impl Iterator<Item = CompactString> + 'a {
    entries.map(Kept::id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn every_bucket_holds_what_lies_between_two_places() {
        for buckets in 1..70 {
            let shape = Shape { buckets };
            let (mut at, mut seen) = (0u64, alloc::vec![0; buckets]);
            loop {
                let bucket = shape.of(at.reverse_bits());
                seen[bucket] += 1;
                let last = u64::MAX >> shape.depth(bucket);
                assert_eq!(shape.of((at + last).reverse_bits()), bucket, "{buckets}");
                match at.checked_add(last).and_then(|a| a.checked_add(1)) {
                    Some(next) => at = next,
                    None => break,
                }
            }
            assert!(seen.iter().all(|n| *n == 1), "{buckets}: {seen:?}");
        }
    }

    #[test]
    fn sizes_are_those_that_allocators_have() {
        let sizes = [1, 16, 17, 100, 129, 200, 257, 385, 513, 641, 897, 1025].map(good_size);
        assert_eq!(
            sizes,
            [16, 16, 32, 112, 160, 224, 320, 448, 640, 768, 1024, 1280]
        );
    }
}
