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
const LEN: u64 = 0xe703_7ed1_a0b4_28db;
const STEP: u64 = 0xa076_1d64_78bd_642f;

impl Owner {
    /// Stored, so the same for ever, on every machine. No secret hangs on it: who may write our keys may write anything.
    #[inline]
    pub(super) fn of(name: &[u8]) -> Owner {
        let mut h = SEED ^ (name.len() as u64).wrapping_mul(LEN);
        let mut rest = name;
        while let Some((part, behind)) = rest.split_first_chunk() {
            h = fold(h ^ u64::from_le_bytes(*part));
            rest = behind;
        }
        if !rest.is_empty() {
            h = fold(h ^ short(rest));
        }
        Owner {
            mask: h,
            check: (h >> 48) as u16,
        }
    }
}

#[inline]
fn fold(n: u64) -> u64 {
    let wide = u128::from(n) * u128::from(STEP);
    wide as u64 ^ (wide >> 64) as u64
}

/// One to seven bytes as a number. (How many there are is in the seed.)
#[inline]
fn short(part: &[u8]) -> u64 {
    if let (Some(front), Some(back)) = (part.first_chunk(), part.last_chunk()) {
        return u64::from(u32::from_le_bytes(*front)) << 32 | u64::from(u32::from_le_bytes(*back));
    }
    // Of one, two or three bytes these are all.
    let at = |at: usize| part.get(at).copied().map_or(0, u64::from);
    at(0) << 16 | at(part.len() / 2) << 8 | at(part.len().saturating_sub(1))
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
            (17_181_650_940_535_575_324, 61_041),
            (12_366_912_421_729_641_324, 43_936),
            (12_031_233_970_455_781_865, 42_743),
            (SEED, (SEED >> 48) as u16),
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
