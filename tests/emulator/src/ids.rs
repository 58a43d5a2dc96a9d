//! Identifiers: a prefix and 14 characters of `[A-Za-z0-9]`, derived from what they name so that every run gives the same ones.

use std::sync::Arc;

/// An Airtable identifier (`app…`, `tbl…`, `fld…`, `rec…`); cheap to clone.
pub(crate) type Id = Arc<str>;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BODY_LEN: usize = 14;

/// Mints the identifier that belongs to `seed`; equal seeds give equal identifiers.
pub(crate) fn mint(prefix: &str, seed: &str) -> Id {
    // FNV-1a spreads the seed over 64 bits; the finaliser of splitmix64 then yields as many words as the body needs.
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in prefix.bytes().chain(seed.bytes()) {
        state ^= u64::from(byte);
        state = state.wrapping_mul(0x0000_0100_0000_01b3);
    }
    let mut id = String::with_capacity(prefix.len() + BODY_LEN);
    id.push_str(prefix);
    for _ in 0..BODY_LEN {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let place = usize::try_from(word % 62).unwrap_or(0);
        id.push(char::from(ALPHABET.get(place).copied().unwrap_or(b'A')));
    }
    Arc::from(id)
}

/// Whether `text` looks like an identifier of this kind: the prefix, then at least one letter or digit and nothing else.
///
/// Lengths are treated leniently for seeds with readable ids, but a body shorter than ten characters is no id (`recNope`).
pub(crate) fn is_shaped(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|body| {
        (10..=61).contains(&body.len()) && body.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_well_shaped_ids() {
        let one = mint("rec", "a/b/1");
        assert_eq!(one, mint("rec", "a/b/1"));
        assert_ne!(one, mint("rec", "a/b/2"));
        assert_eq!(one.len(), 17);
        assert!(is_shaped("rec", &one));
    }

    #[test]
    fn shapes_are_told_apart() {
        for (prefix, text, expected) in [
            ("rec", "recA1b2C3d4E5f6G7", true),
            ("rec", "recNope", false),
            ("rec", "recA1b2C3d4E5f6G'", false),
            ("app", "recA1b2C3d4E5f6G7", false),
            ("app", "appPodiumSample001", true),
        ] {
            assert_eq!(is_shaped(prefix, text), expected, "{prefix} {text}");
        }
    }
}
