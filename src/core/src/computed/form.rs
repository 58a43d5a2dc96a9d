//! The form in which a computed answer is saved (RDB, DUMP, AOF): with what it used, so that the index is rebuilt from it.
//!
//! A version, the times, the key's own name, the value's bytes, the entities used by name and the things by hash: 16 bytes each.
//! (In memory a stored value holds bytes, times and its place in the index; what it used is in the index alone.)

use super::thing::{Content, Dep, Kind};
use alloc::sync::Arc;
use alloc::vec::Vec;

const MAGIC: [u8; 4] = *b"\x01PC1";

/// Times and numbers of a computed answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// The resource's generation it was stored under; another one: it is not there any more.
    pub generation: u64,
    /// Unix ms.
    pub stored_ms: u64,
    /// End of freshness, unix ms.
    pub fresh_until: u64,
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

/// A saved answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved<'a> {
    pub header: Header,
    /// The key's name: under another one it is not ours.
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// `None`: it was dropped by then, and is no answer.
    pub used: Option<(Vec<Dep>, Vec<NamedUse>)>,
}

/// The bytes of a saved answer.
pub fn encode(saved: &Saved) -> Vec<u8> {
    let h = &saved.header;
    let mut out = Vec::with_capacity(96 + saved.name.len() + saved.value.len());
    out.extend_from_slice(&MAGIC);
    for n in [
        h.generation,
        h.stored_ms,
        h.fresh_until,
        h.seq,
        h.took_ms,
        h.content,
    ] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    bytes(&mut out, saved.name);
    bytes(&mut out, saved.value);
    let Some((deps, uses)) = &saved.used else {
        out.push(0);
        return out;
    };
    out.push(1);
    number(&mut out, uses.len());
    for used in uses {
        bytes(&mut out, used.entity.as_bytes());
        out.push(u8::from(used.index_as_of.is_some()));
        out.extend_from_slice(&used.index_as_of.unwrap_or(0).to_le_bytes());
    }
    // By kind, so that a kind costs nothing for each.
    for kind in 0..=Kind::Tag as u8 {
        let of_kind = deps.iter().filter(|d| d.kind as u8 == kind);
        number(&mut out, of_kind.clone().count());
        for dep in of_kind {
            out.extend_from_slice(&dep.thing.to_le_bytes());
            out.extend_from_slice(&dep.content.to_le_bytes());
            if dep.kind == Kind::Computed {
                bytes(&mut out, dep.name.as_deref().unwrap_or(&[]));
            }
        }
    }
    out
}

fn number(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&(n as u64).to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, b: &[u8]) {
    number(out, b.len());
    out.extend_from_slice(b);
}

/// Reads a saved answer; `None`: it is none of this version, or damaged.
pub fn decode(saved: &[u8]) -> Option<Saved<'_>> {
    let mut r = Reader(saved);
    if r.take(4)? != MAGIC {
        return None;
    }
    let header = Header {
        generation: r.word()?,
        stored_ms: r.word()?,
        fresh_until: r.word()?,
        seq: r.word()?,
        took_ms: r.word()?,
        content: r.word()?,
    };
    let name = r.bytes()?;
    let value = r.bytes()?;
    let used = match r.byte()? {
        0 => None,
        1 => Some(r.used()?),
        _ => return None,
    };
    r.0.is_empty().then_some(Saved {
        header,
        name,
        value,
        used,
    })
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
        let n = usize::try_from(self.word()?).ok()?;
        (n <= self.0.len()).then_some(n)
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let n = self.count()?;
        self.take(n)
    }
    fn used(&mut self) -> Option<(Vec<Dep>, Vec<NamedUse>)> {
        let mut uses = Vec::new();
        for _ in 0..self.count()? {
            let entity = core::str::from_utf8(self.bytes()?).ok()?.into();
            let indexed = self.byte()? == 1;
            let as_of = self.word()?;
            uses.push(NamedUse {
                entity,
                index_as_of: indexed.then_some(as_of),
            });
        }
        let mut deps = Vec::new();
        for kind in 0..=Kind::Tag as u8 {
            let kind = Kind::from_u8(kind)?;
            for _ in 0..self.count()? {
                let (thing, content) = (self.word()?, self.word()?);
                let name = match kind {
                    Kind::Computed => Some(self.bytes()?.into()),
                    _ => None,
                };
                deps.push(Dep {
                    thing,
                    kind,
                    content,
                    name,
                });
            }
        }
        Some((deps, uses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn saved(used: bool) -> Vec<u8> {
        let dep = |thing, kind, name: Option<&[u8]>| Dep {
            thing,
            kind,
            content: thing + 1,
            name: name.map(Arc::from),
        };
        let deps = [
            dep(10, Kind::Record, None),
            dep(20, Kind::Set, None),
            dep(30, Kind::Computed, Some(b"page:1")),
            dep(40, Kind::Tag, None),
        ];
        let uses = [
            NamedUse {
                entity: "events".into(),
                index_as_of: Some(5),
            },
            NamedUse {
                entity: "{shop}users".into(),
                index_as_of: None,
            },
        ];
        encode(&Saved {
            header: Header {
                generation: 1,
                stored_ms: 2,
                fresh_until: 3,
                seq: 4,
                took_ms: 5,
                content: 6,
            },
            name: b"page:x",
            value: b"\x00any bytes\xff",
            used: used.then(|| (deps.to_vec(), uses.to_vec())),
        })
    }

    #[test]
    fn what_was_saved_is_read_again() {
        for used in [true, false] {
            let bytes = saved(used);
            let read = decode(&bytes);
            assert_eq!(read.as_ref().map(encode), Some(bytes.clone()));
            assert_eq!(read.map(|r| r.used.is_some()), Some(used));
        }
    }

    #[test]
    fn what_is_cut_off_or_longer_is_not_read() {
        let bytes = saved(true);
        for n in 0..bytes.len() {
            assert_eq!(decode(bytes.get(..n).unwrap_or(&[])), None, "{n}");
        }
        assert_eq!(decode(&[&bytes[..], b"x"].concat()), None);
    }

    proptest! {
        #[test]
        fn damage_is_read_without_a_panic(at in 0usize..400, with in any::<u8>(), tail in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = saved(true);
            if let Some(b) = bytes.get_mut(at) {
                *b = with;
            }
            bytes.extend(tail);
            let _ = decode(&bytes);
        }
    }
}
