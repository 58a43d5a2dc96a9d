//! What an index set says of itself: its first member.

use super::number::u64_at;

const SET: [u8; 4] = *b"\x01PS1";
/// A sentinel's size. Below 64, so that small sets keep their compact form.
pub const SENTINEL: usize = 46;

/// What an index set's first member says of it. Without it a set is under construction, and no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sentinel {
    /// The entity's set generation: another one, and the set is not there any more.
    pub generation: u64,
    /// When the question was asked, unix ms.
    pub asked_ms: u64,
    /// End of freshness, unix ms.
    pub fresh_until: u64,
    /// The question's place in the order of sends and changes.
    pub seq: u64,
    /// Hash of the key's own name.
    pub name: u64,
}

impl Sentinel {
    /// The member: sorts before every record id.
    pub fn member(&self) -> [u8; SENTINEL] {
        let mut out = [0u8; SENTINEL];
        let parts = [
            self.generation,
            self.asked_ms,
            self.fresh_until,
            self.seq,
            self.name,
        ];
        if let Some(m) = out.get_mut(..4) {
            m.copy_from_slice(&SET);
        }
        for (i, n) in parts.into_iter().enumerate() {
            if let Some(slot) = out.get_mut(4 + i * 8..12 + i * 8) {
                slot.copy_from_slice(&n.to_le_bytes());
            }
        }
        out
    }
    pub fn read(member: &[u8], name: &[u8]) -> Option<Sentinel> {
        if member.len() != SENTINEL || member.get(..4) != Some(&SET) {
            return None;
        }
        let s = Sentinel {
            generation: u64_at(member, 4),
            asked_ms: u64_at(member, 12),
            fresh_until: u64_at(member, 20),
            seq: u64_at(member, 28),
            name: u64_at(member, 36),
        };
        (s.name == hash(name)).then_some(s)
    }
}

/// FNV-1a, 64 bits: tells a renamed or copied set from one of ours; no secret hangs on it.
pub fn hash(b: &[u8]) -> u64 {
    hash_all(&[b])
}

/// The same of parts, one behind the other.
pub fn hash_all(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, x| {
        (h ^ u64::from(*x)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_sorts_first_and_names_its_key() {
        let s = Sentinel {
            generation: 1,
            asked_ms: 2,
            fresh_until: 3,
            seq: 4,
            name: hash(b"events:slug:a"),
        };
        let m = s.member();
        assert!(m[..] < b"rec"[..]);
        assert_eq!(Sentinel::read(&m, b"events:slug:a"), Some(s));
        assert_eq!(Sentinel::read(&m, b"events:slug:b"), None);
        assert_eq!(Sentinel::read(b"recA", b"events:slug:a"), None);
    }
}
