//! Which index sets a record belongs to, by its own cells.

use crate::entry::{hash_all, Entry};
use crate::key;
use crate::spec::Spec;
use alloc::vec::Vec;

/// The suffix of the set of all records.
pub const ALL: &[u8] = b"*";

/// `<field>:<value>` of every value's set that a record belongs to; the set of all is not among them.
pub fn sets<'a>(spec: &'a Spec, entry: &'a Entry) -> impl Iterator<Item = Vec<u8>> + 'a {
    let fields = (0u16..).zip(spec.fields()).filter(|(_, f)| f.indexed);
    fields.flat_map(|(at, f)| entry.texts(at).map(|text| key::suffix(&f.name, text)))
}

/// Their [hashes](crate::entry::hash).
pub fn hashes<'a>(spec: &'a Spec, entry: &'a Entry) -> impl Iterator<Item = u64> + 'a {
    let fields = (0u16..).zip(spec.fields()).filter(|(_, f)| f.indexed);
    fields.flat_map(|(at, f)| {
        let texts = entry.texts(at);
        texts.map(|text| hash_all(&[f.name.as_bytes(), b":", text]))
    })
}

/// Those sets, with the set of all in front.
pub fn all_sets(spec: &Spec, entry: &Entry) -> Vec<Vec<u8>> {
    core::iter::once(ALL.to_vec())
        .chain(sets(spec, entry))
        .collect()
}

/// Field and value that a set is about; `None`: all records, or a field that the spec has not.
pub fn about<'a>(spec: &Spec, suffix: &'a [u8]) -> Option<(u16, &'a [u8])> {
    let (field, value) = key::suffix_parts(suffix)?;
    Some((spec.field(field)?, value))
}

/// Does a record belong to this set?
pub fn belongs(spec: &Spec, entry: &Entry, suffix: &[u8]) -> bool {
    suffix == ALL || about(spec, suffix).is_some_and(|(field, value)| entry.has(field, value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::entry::{self, Header};
    use crate::record::{self, Source};
    use proptest::prelude::*;
    use serde_json::json;

    const SPEC: &str = r#"{"table":"User","base":"app123","indexed":["email","group"],"schema":{"type":"object",
        "properties":{"email":{"type":"string"},"group":{"type":"array","items":{"type":"string"}},"note":{"type":"string"}}}}"#;
    const HEADER: Header = Header {
        generation: 1,
        asked_ms: 1,
        fresh_until: 2,
        dead_at: 3,
        seq: 4,
        told_at: 0,
    };

    fn stored(spec: &Spec, cells: serde_json::Value) -> Vec<u8> {
        let shaped = record::shape(spec, "recA", cells.as_object().unwrap(), Source::Airtable);
        entry::encode(b"user:recA", &HEADER, &shaped)
    }

    proptest! {
        /// A record belongs to the sets that it is said to belong to, and to no others.
        #[test]
        fn both_ways_agree(email in "[a-c:*]{0,3}", groups in prop::collection::vec("[a-c:*]{1,2}", 0..3), asked in "[a-c:*]{0,3}") {
            let spec = Spec::parse("user", SPEC.as_bytes()).unwrap();
            let bytes = stored(&spec, json!({"email": email, "group": groups, "note": "x"}));
            let entry = Entry::read(&bytes, b"user:recA").unwrap();
            let all = all_sets(&spec, &entry);
            for set in &all {
                prop_assert!(belongs(&spec, &entry, set));
            }
            for field in ["email", "group"] {
                let set = key::suffix(field, asked.as_bytes());
                prop_assert_eq!(belongs(&spec, &entry, &set), all.contains(&set));
            }
        }
    }

    #[test]
    fn the_value_may_hold_colons_and_the_field_may_be_unknown() {
        let spec = Spec::parse("user", SPEC.as_bytes()).unwrap();
        let email = spec.field("email").unwrap();
        assert_eq!(about(&spec, b"email:a:b"), Some((email, &b"a:b"[..])));
        assert_eq!(about(&spec, b"email:"), Some((email, &b""[..])));
        assert_eq!(about(&spec, b"nick:a"), None);
        assert_eq!(about(&spec, b"*"), None);
        let bytes = stored(&spec, json!({"email": "a:b"}));
        let entry = Entry::read(&bytes, b"user:recA").unwrap();
        assert!(belongs(&spec, &entry, b"email:a:b") && belongs(&spec, &entry, ALL));
        assert!(!belongs(&spec, &entry, b"email:a") && !belongs(&spec, &entry, b"nick:a:b"));
    }
}
