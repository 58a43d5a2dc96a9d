//! Probabilistic early recomputation (XFetch): somebody recomputes before the end, the sooner the longer it takes.

/// Is it time to recompute a copy that is fresh still? `delta_ms`: how long the last computation took; `beta`: 1 is the optimum
/// where all computations take as long, 0 is off; `chance`: any 64 random bits. The probability that one of many callers has
/// recomputed rises to 1 as the end comes near, and few do at once.
pub fn early(now_ms: u64, fresh_until: u64, delta_ms: u64, beta: f64, chance: u64) -> bool {
    if now_ms >= fresh_until {
        return true;
    }
    // (0, 1]: a chance of nothing would be infinitely early.
    let unit = ((chance >> 11) + 1) as f64 / (1u64 << 53) as f64;
    let ahead = delta_ms as f64 * beta * -ln(unit);
    ahead >= (fresh_until - now_ms) as f64
}

/// Natural logarithm of a positive number, to some 1e-12: the standard library, which has one, is left out.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    // In [1/sqrt 2, sqrt 2] the series converges fast.
    let (mantissa, exponent) = if mantissa > core::f64::consts::SQRT_2 {
        (mantissa / 2.0, exponent + 1)
    } else {
        (mantissa, exponent)
    };
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let mut sum = 0.0;
    let mut k = 21;
    while k > 0 {
        sum = sum * square + 1.0 / f64::from(k);
        k -= 2;
    }
    2.0 * t * sum + exponent as f64 * core::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn costly_answers_are_recomputed_sooner_and_none_where_it_is_off() {
        // A chance of 1/e looks exactly one computation ahead.
        let one = (0.367_879_441_171_442_33 * (1u64 << 53) as f64) as u64;
        let chance = (one - 1) << 11;
        assert!(early(9_000, 10_000, 1_001, 1.0, chance));
        assert!(!early(9_000, 10_000, 999, 1.0, chance));
        assert!(early(9_000, 10_000, 500, 2.01, chance));
        for chance in [0, 1, u64::MAX, 1 << 40] {
            assert!(!early(9_999, 10_000, u64::MAX, 0.0, chance));
            assert!(!early(9_999, 10_000, 0, 1.0, chance));
            assert!(early(10_000, 10_000, 0, 0.0, chance), "it is over");
        }
        assert!(
            !early(0, 10_000, 100, 1.0, u64::MAX),
            "a chance of 1 is never early"
        );
        assert!(
            early(0, 3_000, 100, 1.0, 0),
            "some 36 computations ahead at most"
        );
        assert!(!early(0, 4_000, 100, 1.0, 0));
    }

    #[test]
    fn the_share_of_those_who_recompute_is_what_the_law_says() {
        // P(ahead) = exp(-(left / (delta * beta))).
        let mut seed = 1u64;
        let mut hits = 0;
        for _ in 0..100_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            hits += u32::from(early(0, 200, 100, 1.0, seed ^ (seed >> 29)));
        }
        assert!((12_500..14_600).contains(&hits), "{hits} of 13,534");
    }

    proptest! {
        #[test]
        fn the_logarithm_is_one(x in 1e-300f64..1e300) {
            let (ours, theirs) = (ln(x), x.ln());
            prop_assert!((ours - theirs).abs() <= 1e-11 * theirs.abs().max(1.0), "{x}: {ours} {theirs}");
        }
    }
}
