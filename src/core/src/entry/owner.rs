//! Whose a stored body is, in ten bytes: a body under another name than its own is not ours.

/// What stands in a body for the name that owns it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    /// The generation is stored with these bits turned: under another name it is no generation at all.
    pub(super) mask: u64,
    /// Tells nearly every other name, so that its body is said to be foreign and not just out of date.
    pub(super) check: u16,
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const STEP: u64 = 0xa076_1d64_78bd_642f;
const LAST: u64 = 0xe703_7ed1_a0b4_28db;

impl Owner {
    /// Stored, so the same for ever, on every machine. No secret hangs on it: who may write our keys may write anything.
    #[inline]
    pub(super) fn of(name: &[u8]) -> Owner {
        let mut h = SEED ^ name.len() as u64;
        for part in name.chunks(8) {
            h = fold(h ^ word(part), STEP);
        }
        Owner {
            mask: h,
            check: fold(h ^ SEED, LAST) as u16,
        }
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    wide as u64 ^ (wide >> 64) as u64
}

/// Up to eight bytes as a number: whole, or zeros behind. (How many there are is in the seed.)
#[inline]
fn word(part: &[u8]) -> u64 {
    if let Ok(all) = part.try_into() {
        return u64::from_le_bytes(all);
    }
    let mut n = 0;
    for b in part.iter().rev() {
        n = n << 8 | u64::from(*b);
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::format;

    #[test]
    fn it_is_the_same_for_ever() {
        let all = [
            &b"events"[..],
            b"{shop}events",
            b"tomb:events:recA1b2C3d4E5f6G7",
            b"",
        ]
        .map(Owner::of);
        let expected = [
            (2_418_751_170_694_389_065, 51_479),
            (605_826_574_818_201_604, 37_232),
            (11_446_028_619_382_143_409, 63_525),
            (SEED, 0),
        ];
        assert_eq!(all.map(|o| (o.mask, o.check)), expected);
    }

    #[test]
    fn names_that_differ_a_little_differ_in_it() {
        let names =
            (0..40_000).map(|n| format!("e{}", "x".repeat(n % 40) + &format!("{}", n / 40)));
        let (mut masks, mut checks) = (BTreeSet::new(), BTreeSet::new());
        for n in names {
            let o = Owner::of(n.as_bytes());
            assert!(masks.insert(o.mask), "{n}");
            checks.insert(o.check);
        }
        // 40,000 draws of 65,536 hit some 29,900 of them.
        assert!((29_000..31_000).contains(&checks.len()), "{}", checks.len());
    }
}
