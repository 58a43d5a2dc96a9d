//! Where a hash slot of a cluster stands with this node.

use alloc::string::String;
use alloc::vec::Vec;

/// What this node is to a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground {
    /// It is this node's, and stays.
    Home,
    /// It is this node's, and its keys are moving to another one by one.
    Leaving,
    /// It is another node's, and its keys are moving here one by one.
    Arriving,
    /// It is another node's, or nobody's.
    Away,
    /// The cluster is down: nothing is known.
    Unknown,
}

/// Reads the answer of CLUSTER NODES, in the line of the node itself. A slot that is not named there is away.
pub fn ground(nodes: &str, slot: u16) -> Ground {
    let own = nodes.lines().find(|line| {
        let flags = line.split(' ').nth(2).unwrap_or("");
        flags.split(',').any(|f| f == "myself")
    });
    let Some(own) = own else {
        return Ground::Unknown;
    };
    let mut ground = Ground::Away;
    for word in own.split(' ').skip(8) {
        if let Some(open) = word.strip_prefix('[') {
            let number = open.split('-').next().and_then(|n| n.parse::<u16>().ok());
            if number == Some(slot) {
                return if open.contains("->-") {
                    Ground::Leaving
                } else {
                    Ground::Arriving
                };
            }
            continue;
        }
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            if (first..=last).contains(&slot) {
                ground = Ground::Home;
            }
        }
    }
    ground
}

/// A name of the same slot as `name` that nobody else gives a key: whether it may be looked up tells of the slot alone.
pub fn probe(name: &[u8], secret: u64) -> Vec<u8> {
    let tag = hashed(name);
    let mut out = Vec::with_capacity(tag.len() + 40);
    out.push(b'{');
    out.extend_from_slice(tag);
    out.push(b'}');
    let rest: String = alloc::format!("podium:probe:{secret:016x}");
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Bits of a token that say what hash tag it is for.
const TAG_BITS: u32 = 24;

fn mark_of(name: &[u8]) -> u64 {
    crate::entry::hash(hashed(name)) << (64 - TAG_BITS)
}

/// A token from 64 bits of chance that says whose computation it is for: that of a key with this one's hash tag.
pub fn token(name: &[u8], chance: u64) -> u64 {
    mark_of(name) | (chance >> TAG_BITS)
}

/// Is a token for computations from keys with the hash tag of this one?
pub fn is_token_for(name: &[u8], token: u64) -> bool {
    (token ^ mark_of(name)) >> (64 - TAG_BITS) == 0
}

/// Is what decides about the slot the same in both names?
pub fn together(name: &[u8], other: &[u8]) -> bool {
    hashed(name) == hashed(other)
}

/// The part of a key's name that its slot is computed from: what its first braces hold, if anything; else all of it.
fn hashed(name: &[u8]) -> &[u8] {
    let Some(open) = name.iter().position(|b| *b == b'{') else {
        return name;
    };
    let rest = name.get(open + 1..).unwrap_or(&[]);
    match rest.iter().position(|b| *b == b'}') {
        Some(close) if close > 0 => rest.get(..close).unwrap_or(name),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
07c37df 127.0.0.1:30004@31004,host master - 0 1426238317239 4 connected 5461-10922 [93-<-292f8b3]
e7d1eec 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-99 200 300-5460 [77->-292f8b3] [6000-<-07c37df]
";

    #[test]
    fn a_slot_is_read_from_the_line_of_this_node() {
        for (slot, is) in [
            (0, Ground::Home),
            (99, Ground::Home),
            (100, Ground::Away),
            (200, Ground::Home),
            (77, Ground::Leaving),
            (6000, Ground::Arriving),
            (93, Ground::Home),
            (5461, Ground::Away),
        ] {
            assert_eq!(ground(NODES, slot), is, "{slot}");
        }
        let bare = "e7d1eec 127.0.0.1:30001@31001 myself,master - 0 0 1 connected";
        assert_eq!(ground(bare, 5), Ground::Away);
        assert_eq!(ground("", 5), Ground::Unknown);
        assert_eq!(ground("myself nonsense\n[5->-", 5), Ground::Unknown);
    }

    #[test]
    fn a_token_says_what_hash_tag_it_is_for() {
        for chance in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let t = token(b"{shop}page:a", chance);
            assert!(is_token_for(b"{shop}items:recA", t));
            assert!(is_token_for(b"{shop}page:b", t));
            assert!(!is_token_for(b"{other}items:recA", t));
            assert!(!is_token_for(b"items:recA", t));
        }
        assert_ne!(token(b"{a}x", 1 << 24), token(b"{a}x", 2 << 24));
        assert!(together(b"tag:{shop}user:17", b"{shop}page:a"));
        assert!(!together(b"tag:user:17", b"{shop}page:a"));
    }

    #[test]
    fn a_probe_lies_in_the_slot_of_the_name() {
        assert!(probe(b"podium:spec:{shop}items", 7).starts_with(b"{shop}podium:probe:"));
        assert!(probe(b"items:recA", 7).starts_with(b"{items:recA}podium"));
    }
}
