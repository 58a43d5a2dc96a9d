//! The form in which a computed answer is stored: with what it used, so that the index can be rebuilt from the keys alone (a
//! restart, a replica that is promoted, a slot that came here).
//!
//! A fixed header, the key's own name, the value, then the entities used by name and the things used: eight bytes each, five of
//! the thing's hash and three of what it was like ([`brief`]). A body under another name than the one inside it is not ours.
//! The place in the index that stands in the header counts in the process that wrote it alone.

use super::index::Place;
use super::thing::{brief, Content, Dep, Kind, Thing};
use crate::entry::u64_at;
use alloc::sync::Arc;
use alloc::vec::Vec;

const MAGIC: [u8; 4] = *b"\x01PC1";
/// Bytes in front of the name.
pub const HEADER: usize = 96;
/// Where the process and the place lie in the header: written anew by who takes the answer over.
pub const PLACE: core::ops::Range<usize> = 16..32;
/// The bits of a thing's hash that are stored.
pub const THING_BITS: u32 = 40;

/// A thing by the hash of its name (64 bits; as many as are stored count).
pub fn thing(hash: u64) -> Thing {
    (hash ^ (hash >> THING_BITS)) & ((1 << THING_BITS) - 1)
}

/// Times and numbers of a computed answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// The resource's generation it was stored under; another one: it is not there any more.
    pub generation: u64,
    /// The process whose index knows it ([`Stored::place`]).
    pub process: u64,
    /// Where in that index.
    pub slot: u32,
    pub slot_generation: u32,
    /// Unix ms.
    pub stored_ms: u64,
    /// End of freshness, unix ms.
    pub fresh_until: u64,
    /// Never served from here on, unix ms.
    pub dead_at: u64,
    /// Its number in the order of sends and changes.
    pub seq: u64,
    /// How long the computation took, ms.
    pub took_ms: u64,
    /// Hash of the value's bytes.
    pub content: Content,
}

/// That something of an entity was used: by the entity's name, and as [`super::thing::EntityUse`] has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedUse {
    pub entity: Arc<str>,
    pub index_as_of: Option<u64>,
}

/// What an answer used, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Used {
    /// Their content is [`brief`].
    pub deps: Vec<Dep>,
    pub entities: Vec<NamedUse>,
}

/// A stored answer, taken apart lazily.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    pub header: Header,
    pub value: &'a [u8],
    used: &'a [u8],
}

#[inline]
fn u32_at(b: &[u8], at: usize) -> u32 {
    match b.get(at..at + 4).and_then(|s| s.try_into().ok()) {
        Some(s) => u32::from_le_bytes(s),
        None => 0,
    }
}

impl<'a> Stored<'a> {
    /// Reads an answer stored under `name`; `None`: the body is not ours.
    #[inline]
    pub fn read(buf: &'a [u8], name: &[u8]) -> Option<Stored<'a>> {
        let ours = buf.len() >= HEADER
            && buf.get(..4) == Some(&MAGIC)
            && u32_at(buf, 4) as usize == name.len()
            && buf.get(HEADER..HEADER + name.len()) == Some(name);
        if !ours {
            return None;
        }
        let at = HEADER + name.len();
        let end = at.checked_add(usize::try_from(u64_at(buf, 88)).ok()?)?;
        Some(Stored {
            header: Header {
                generation: u64_at(buf, 8),
                process: u64_at(buf, 16),
                slot: u32_at(buf, 24),
                slot_generation: u32_at(buf, 28),
                stored_ms: u64_at(buf, 32),
                fresh_until: u64_at(buf, 40),
                dead_at: u64_at(buf, 48),
                seq: u64_at(buf, 56),
                took_ms: u64_at(buf, 64),
                content: u64_at(buf, 72),
            },
            value: buf.get(at..end)?,
            used: buf.get(end..)?,
        })
    }
    /// Where the index of a process has it; `None`: that process does not know it.
    #[inline]
    pub fn place(&self, process: u64) -> Option<Place> {
        (self.header.process == process).then_some(Place {
            slot: self.header.slot,
            generation: self.header.slot_generation,
        })
    }
    /// What it used; `None`: that is damaged.
    pub fn used(&self) -> Option<Used> {
        let mut r = Reader(self.used);
        let used = r.used()?;
        r.0.is_empty().then_some(used)
    }
}

/// The 16 bytes at [`PLACE`].
pub fn place_bytes(process: u64, at: Place) -> [u8; 16] {
    let mut out = [0; 16];
    let (a, rest) = out.split_at_mut(8);
    let (b, c) = rest.split_at_mut(4);
    a.copy_from_slice(&process.to_le_bytes());
    b.copy_from_slice(&at.slot.to_le_bytes());
    c.copy_from_slice(&at.generation.to_le_bytes());
    out
}

/// The bytes of an answer.
pub fn encode(name: &[u8], h: &Header, value: &[u8], used: &Used) -> Vec<u8> {
    let room = HEADER + name.len() + value.len() + 64 + used.deps.len() * 8;
    let mut out = Vec::with_capacity(room);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(&h.generation.to_le_bytes());
    let at = Place {
        slot: h.slot,
        generation: h.slot_generation,
    };
    out.extend_from_slice(&place_bytes(h.process, at));
    let numbers = [
        h.stored_ms,
        h.fresh_until,
        h.dead_at,
        h.seq,
        h.took_ms,
        h.content,
    ];
    for n in numbers {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.extend_from_slice(&0u64.to_le_bytes());
    out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    number(&mut out, used.entities.len());
    for e in &used.entities {
        bytes(&mut out, e.entity.as_bytes());
        out.push(u8::from(e.index_as_of.is_some()));
        out.extend_from_slice(&e.index_as_of.unwrap_or(0).to_le_bytes());
    }
    // By kind, so that a kind costs nothing for each.
    for kind in 0..=Kind::Tag as u8 {
        let of_kind = used.deps.iter().filter(|d| d.kind as u8 == kind);
        number(&mut out, of_kind.clone().count());
        for dep in of_kind {
            let packed = thing(dep.thing) | brief(dep.content) << THING_BITS;
            out.extend_from_slice(&packed.to_le_bytes());
            if dep.kind == Kind::Computed {
                bytes(&mut out, dep.name.as_deref().unwrap_or(&[]));
            }
        }
    }
    out
}

fn number(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&(n as u32).to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, b: &[u8]) {
    number(out, b.len());
    out.extend_from_slice(b);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }
    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }
    fn word(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }
    /// A count or length: never more than the bytes that are left.
    fn count(&mut self) -> Option<usize> {
        let n = self.take(4)?.try_into().ok().map(u32::from_le_bytes)? as usize;
        (n <= self.0.len()).then_some(n)
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let n = self.count()?;
        self.take(n)
    }
    fn used(&mut self) -> Option<Used> {
        let mut used = Used::default();
        for _ in 0..self.count()? {
            let entity = core::str::from_utf8(self.bytes()?).ok()?.into();
            let indexed = self.byte()? == 1;
            let as_of = self.word()?;
            used.entities.push(NamedUse {
                entity,
                index_as_of: indexed.then_some(as_of),
            });
        }
        for kind in 0..=Kind::Tag as u8 {
            let kind = Kind::from_u8(kind)?;
            for _ in 0..self.count()? {
                let packed = self.word()?;
                let name = match kind {
                    Kind::Computed => Some(self.bytes()?.into()),
                    _ => None,
                };
                used.deps.push(Dep {
                    thing: packed & ((1 << THING_BITS) - 1),
                    kind,
                    content: packed >> THING_BITS,
                    name,
                });
            }
        }
        Some(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: &[u8] = b"page:x";

    fn used() -> Used {
        let dep = |hash, kind, name: Option<&[u8]>| Dep {
            thing: thing(hash),
            kind,
            content: brief(hash + 1),
            name: name.map(Arc::from),
        };
        Used {
            deps: [
                dep(u64::MAX - 1, Kind::Record, None),
                dep(20, Kind::Set, None),
                dep(30, Kind::Computed, Some(b"page:1")),
                dep(40, Kind::Tag, None),
            ]
            .to_vec(),
            entities: [
                NamedUse {
                    entity: "events".into(),
                    index_as_of: Some(5),
                },
                NamedUse {
                    entity: "{shop}users".into(),
                    index_as_of: None,
                },
            ]
            .to_vec(),
        }
    }

    fn stored() -> Vec<u8> {
        let header = Header {
            generation: 1,
            process: 7,
            slot: 8,
            slot_generation: 9,
            stored_ms: 2,
            fresh_until: 3,
            dead_at: 10,
            seq: 4,
            took_ms: 5,
            content: 6,
        };
        encode(NAME, &header, b"\x00any bytes\xff", &used())
    }

    #[test]
    fn what_was_stored_is_read_again() {
        let bytes = stored();
        let read = Stored::read(&bytes, NAME);
        assert!(read.is_some());
        let Some(read) = read else { return };
        assert_eq!(read.value, b"\x00any bytes\xff");
        assert_eq!(read.used(), Some(used()));
        assert_eq!(encode(NAME, &read.header, read.value, &used()), bytes);
        let at = Place {
            slot: 8,
            generation: 9,
        };
        assert_eq!(read.place(7), Some(at));
        assert_eq!(read.place(8), None, "another process knows nothing of it");
        assert_eq!(bytes.get(PLACE), Some(&place_bytes(7, at)[..]));
        assert!(Stored::read(&bytes, b"page:y").is_none(), "renamed");
    }

    #[test]
    fn what_is_cut_off_or_longer_is_not_read() {
        let bytes = stored();
        for n in 0..bytes.len() {
            let part = bytes.get(..n).unwrap_or(&[]);
            let read = Stored::read(part, NAME).and_then(|s| s.used());
            assert_eq!(read, None, "{n}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(Stored::read(&longer, NAME).and_then(|s| s.used()), None);
    }

    proptest! {
        #[test]
        fn damage_is_read_without_a_panic(at in 0usize..400, with in any::<u8>(), tail in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = stored();
            if let Some(b) = bytes.get_mut(at) {
                *b = with;
            }
            bytes.extend(tail);
            let _ = Stored::read(&bytes, NAME).map(|s| s.used());
        }
    }
}
