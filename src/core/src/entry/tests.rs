#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use alloc::vec;

fn shaped() -> Shaped {
    Shaped {
        whole: br#"{"id":"recA","name":"x","points":3}"#.to_vec(),
        spans: vec![
            Span {
                start: 13,
                end: 23,
                filled: false,
            },
            Span {
                start: 24,
                end: 34,
                filled: true,
            },
        ],
        default_view: Some(br#"{"id":"recA","name":"x"}"#.to_vec()),
        values: vec![
            FieldValues {
                field: 0,
                texts: vec![b"x".to_vec()],
            },
            FieldValues {
                field: 4,
                texts: vec![b"recU1".to_vec(), b"recU2".to_vec()],
            },
        ],
        attachments: false,
        violations: 0,
        lacks_required: false,
    }
}
const H: Header = Header {
    generation: 7,
    asked_ms: 1,
    fresh_until: 2,
    dead_at: u64::MAX,
    seq: 9,
    told_at: 0,
};

#[test]
fn what_is_stored_is_read_back() {
    let s = shaped();
    let bytes = encode(b"events:recA", &H, &s);
    let e = Entry::read(&bytes, b"events:recA").unwrap();
    assert_eq!(e.header, H);
    assert_eq!(e.answer(), s.default_view.as_deref().unwrap());
    assert_eq!(e.whole(), &s.whole[..]);
    assert_eq!(e.spans(), s.spans);
    assert_eq!(
        e.texts(4).collect::<Vec<_>>(),
        vec![&b"recU1"[..], b"recU2"]
    );
    assert!(e.has(0, b"x") && !e.has(0, b"y") && !e.has(9, b"x"));
    assert_eq!(e.fields(), vec![0, 4]);
}

#[test]
fn no_number_of_texts_is_too_many() {
    let mut s = shaped();
    s.values[1].texts = (0..70_000)
        .map(|n| alloc::format!("recL{n}").into_bytes())
        .collect();
    let bytes = encode(b"events:recA", &H, &s);
    let e = Entry::read(&bytes, b"events:recA").unwrap();
    assert_eq!(e.texts(4).count(), 70_000);
    assert!(e.has(4, b"recL69999") && e.has(0, b"x"));
}

#[test]
fn a_body_under_another_name_is_not_ours() {
    let bytes = encode(b"events:recA", &H, &shaped());
    assert!(Entry::read(&bytes, b"events:recB").is_none());
    assert!(Entry::read(b"{\"id\":1}", b"events:recA").is_none());
    assert!(read_tomb(&bytes, b"events:recA").is_none());
}

#[test]
fn a_cut_or_mangled_body_is_refused_and_never_panics() {
    let bytes = encode(b"events:recA", &H, &shaped());
    for cut in 0..bytes.len() {
        if let Some(e) = Entry::read(&bytes[..cut], b"events:recA") {
            let _ = (e.answer(), e.whole(), e.spans(), e.fields());
        }
    }
    for at in 0..bytes.len() {
        let mut b = bytes.clone();
        b[at] ^= 0xff;
        if let Some(e) = Entry::read(&b, b"events:recA") {
            let _ = (
                e.answer(),
                e.whole(),
                e.spans(),
                e.fields(),
                e.texts(0).count(),
                e.texts(4).count(),
            );
        }
    }
}

#[test]
fn times_change_without_the_content() {
    let bytes = encode(b"events:recA", &H, &shaped());
    let later = Header {
        fresh_until: 99,
        ..H
    };
    let moved = encode(b"events:recA", &later, &shaped());
    let (a, b) = (
        Entry::read(&bytes, b"events:recA").unwrap(),
        Entry::read(&moved, b"events:recA").unwrap(),
    );
    assert_eq!(b.header, later);
    assert!(a.same_content(&b));
}

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

#[test]
fn a_tombstone_knows_its_name() {
    let t = encode_tomb(b"tomb:events:recA", &H);
    assert_eq!(read_tomb(&t, b"tomb:events:recA"), Some(H));
    assert!(read_tomb(&t, b"tomb:events:recB").is_none());
}
