//! Names of keys: the only place that takes them apart and puts them together.

use alloc::string::String;
use alloc::vec::Vec;

/// What a key's name says it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name<'a> {
    /// `<entity>:<id>`
    Record { entity: &'a str, id: &'a str },
    /// `<entity>:<field>:<value>`
    Index {
        entity: &'a str,
        field: &'a str,
        value: &'a [u8],
    },
    /// `<entity>:*`
    All { entity: &'a str },
    /// `tomb:<entity>:<id>`
    Tomb { entity: &'a str, id: &'a str },
    /// `podium:…`: our own state
    Own { what: &'a [u8] },
}

const TOMB: &[u8] = b"tomb:";
const OWN: &[u8] = b"podium:";

/// Longest value of an index, in bytes.
pub const MAX_VALUE: usize = 1024;

/// Takes a key's name apart; `None` if it is not one of ours.
pub fn parse(name: &[u8]) -> Option<Name<'_>> {
    if let Some(what) = name.strip_prefix(OWN) {
        return Some(Name::Own { what });
    }
    if let Some(rest) = name.strip_prefix(TOMB) {
        let (entity, id) = split(rest)?;
        return record_id_ok(id).then_some(()).and_then(|()| {
            Some(Name::Tomb {
                entity,
                id: core::str::from_utf8(id).ok()?,
            })
        });
    }
    let (entity, rest) = split(name)?;
    if rest == b"*" {
        return Some(Name::All { entity });
    }
    match rest.iter().position(|b| *b == b':') {
        None => {
            if !record_id_ok(rest) {
                return None;
            }
            Some(Name::Record {
                entity,
                id: core::str::from_utf8(rest).ok()?,
            })
        }
        Some(at) => {
            let field = core::str::from_utf8(rest.get(..at)?).ok()?;
            let value = rest.get(at + 1..)?;
            (!field.is_empty()).then_some(Name::Index {
                entity,
                field,
                value,
            })
        }
    }
}

/// The entity's name in front of the first colon, and what follows it.
pub fn split(name: &[u8]) -> Option<(&str, &[u8])> {
    let at = name.iter().position(|b| *b == b':')?;
    let entity = name.get(..at)?;
    if !entity_name_ok(entity) {
        return None;
    }
    Some((core::str::from_utf8(entity).ok()?, name.get(at + 1..)?))
}

/// `<entity>:<id>`
pub fn record(entity: &str, id: &str) -> Vec<u8> {
    join(&[entity.as_bytes(), b":", id.as_bytes()])
}
/// `tomb:<entity>:<id>`
pub fn tomb(entity: &str, id: &str) -> Vec<u8> {
    join(&[TOMB, entity.as_bytes(), b":", id.as_bytes()])
}
/// `<entity>:<field>:<value>`
pub fn index(entity: &str, field: &str, value: &[u8]) -> Vec<u8> {
    join(&[entity.as_bytes(), b":", field.as_bytes(), b":", value])
}
/// `<field>:<value>`: what an index set's name holds after its entity's.
pub fn suffix(field: &str, value: &[u8]) -> Vec<u8> {
    join(&[field.as_bytes(), b":", value])
}
/// Field and value of such a suffix; `None` for that of all records (`*`).
pub fn suffix_parts(suffix: &[u8]) -> Option<(&str, &[u8])> {
    let at = suffix.iter().position(|b| *b == b':')?;
    let field = core::str::from_utf8(suffix.get(..at)?).ok()?;
    Some((field, suffix.get(at + 1..)?))
}
/// `<entity>:<suffix>`: an index set's name.
pub fn set(entity: &str, suffix: &[u8]) -> Vec<u8> {
    join(&[entity.as_bytes(), b":", suffix])
}
/// `<entity>:*`
pub fn all(entity: &str) -> Vec<u8> {
    join(&[entity.as_bytes(), b":*"])
}
/// `podium:<what>:<entity>`: hashes to the entity's slot, as its `{tag}` stays the first in the name.
pub fn own(what: &str, entity: &str) -> Vec<u8> {
    join(&[OWN, what.as_bytes(), b":", entity.as_bytes()])
}
/// `<entity>/<view>`: the name that a key pattern must match for a view beyond the privacy line.
pub fn view_right(entity: &str, view: &str) -> Vec<u8> {
    join(&[entity.as_bytes(), b"/", view.as_bytes()])
}
/// The entity that a `podium:<what>:<entity>` key belongs to.
pub fn own_entity<'a>(name: &'a [u8], what: &str) -> Option<&'a str> {
    let rest = name
        .strip_prefix(OWN)?
        .strip_prefix(what.as_bytes())?
        .strip_prefix(b":")?;
    entity_name_ok(rest)
        .then(|| core::str::from_utf8(rest).ok())
        .flatten()
}
/// The `{tag}` of an entity's name, braces included; empty if it has none.
pub fn tag(entity: &str) -> &str {
    match (entity.starts_with('{'), entity.find('}')) {
        (true, Some(end)) => entity.get(..=end).unwrap_or(""),
        _ => "",
    }
}
/// The entity's name without its `{tag}`.
pub fn untagged(entity: &str) -> &str {
    entity.get(tag(entity).len()..).unwrap_or(entity)
}

/// Is this a base's id: `app…`, at most 64 letters and digits? It goes into a URL's path, where other words are routes.
pub fn base_ok(base: &[u8]) -> bool {
    base.len() > 3
        && base.len() <= 64
        && base.starts_with(b"app")
        && base.iter().all(u8::is_ascii_alphanumeric)
}

/// A name fit for an error message or a log line: printable, and not too long.
pub fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name.get(..name.len().min(120)).unwrap_or(name));
    let mut out: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if name.len() > 120 {
        out.push('…');
    }
    out
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
    for p in parts {
        out.extend_from_slice(p);
    }
    out
}

/// An entity's name: `[A-Za-z0-9_.-]+`, optionally with a `{tag}` in front; `tomb`, `tag` and `podium` are taken.
pub fn entity_name_ok(name: &[u8]) -> bool {
    let plain = |b: &[u8]| {
        !b.is_empty()
            && b.iter()
                .all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(c))
    };
    let own = match name.strip_prefix(b"{") {
        None => name,
        Some(rest) => match rest.iter().position(|b| *b == b'}') {
            Some(end) if rest.get(..end).is_some_and(plain) => rest.get(end + 1..).unwrap_or(b""),
            _ => return false,
        },
    };
    plain(own) && !matches!(own, b"tomb" | b"tag" | b"podium")
}

/// A record's id: `rec[A-Za-z0-9_]{1,61}`.
pub fn record_id_ok(id: &[u8]) -> bool {
    id.strip_prefix(b"rec").is_some_and(|rest| {
        (1..=61).contains(&rest.len())
            && rest.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let rows: &[(&[u8], Option<Name>)] = &[
            (
                b"events:recA1",
                Some(Name::Record {
                    entity: "events",
                    id: "recA1",
                }),
            ),
            (
                b"{shop}events:recA1",
                Some(Name::Record {
                    entity: "{shop}events",
                    id: "recA1",
                }),
            ),
            (
                b"events:slug:a:b",
                Some(Name::Index {
                    entity: "events",
                    field: "slug",
                    value: b"a:b",
                }),
            ),
            (
                b"events:slug:",
                Some(Name::Index {
                    entity: "events",
                    field: "slug",
                    value: b"",
                }),
            ),
            (b"events:*", Some(Name::All { entity: "events" })),
            (
                b"tomb:events:recA1",
                Some(Name::Tomb {
                    entity: "events",
                    id: "recA1",
                }),
            ),
            (
                b"podium:spec:events",
                Some(Name::Own {
                    what: b"spec:events",
                }),
            ),
            (b"events:nope", None),
            (b"events", None),
            (b"events:rec\0", None),
            (b"ev ents:recA1", None),
            (b":recA1", None),
            (b"events::x", None),
        ];
        for (name, expected) in rows {
            assert_eq!(parse(name), *expected, "{}", shown(name));
        }
    }

    #[test]
    fn tags_come_off_and_own_keys_share_the_slot() {
        assert_eq!(tag("{shop}events"), "{shop}");
        assert_eq!(untagged("{shop}events"), "events");
        assert_eq!(untagged("events"), "events");
        assert_eq!(
            own_entity(&own("spec", "{shop}events"), "spec"),
            Some("{shop}events")
        );
        assert_eq!(own_entity(b"podium:doubt:events", "spec"), None);
    }
}
