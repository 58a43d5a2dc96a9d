#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::freshness::ATTACHMENT_DEAD_MS;
use crate::question::texts;
use crate::record::{project, shape, Shaped, Source};
use alloc::format;
use alloc::string::{String, ToString};
use proptest::prelude::*;
use serde_json::{json, Map, Value};

const NAME: &[u8] = b"events:recA1b2C3d4E5f6G7";
const ID: &str = "recA1b2C3d4E5f6G7";
const NOW: u64 = 1_790_000_000_000;
const H: Header = Header {
    generation: 7,
    asked_ms: NOW,
    fresh_until: NOW + 28_800_000,
    dead_at: u64::MAX,
    seq: NOW * 1000 + 77,
    told_at: 0,
};

fn spec(more: Value) -> Spec {
    let mut spec = json!({
        "schema": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "indexed": true},
            "points": {"type": ["integer", "null"], "sortable": true, "default": 3},
            "ratio": {"type": "number", "indexed": true},
            "tags": {"type": "array", "items": {"type": "string"}, "indexed": true},
            "event": {"type": "array", "maxItems": 1, "items": {"type": "string", "pattern": "^rec"}},
            "when": {"type": "string", "format": "date-time", "sortable": true},
            "done": {"type": "boolean", "indexed": true},
            "any": {"indexed": true},
            "note": {"type": "string"},
        }},
    });
    let all = spec.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().clone());
    Spec::parse("events", spec.to_string().as_bytes()).unwrap()
}

fn stored(spec: &Spec, cells: &Value, h: &Header) -> (Shaped, Vec<u8>) {
    let shaped = shape(spec, ID, cells.as_object().unwrap(), Source::Airtable);
    let bytes = encode(NAME, h, &shaped);
    (shaped, bytes)
}

fn cells() -> Value {
    json!({"name": "x", "points": 8, "tags": ["a", "b"], "event": ["recU1"], "note": "hidden"})
}

#[test]
fn a_view_is_the_front_of_the_whole() {
    let spec = spec(json!({"views": {"public": ["tags", "name"]}}));
    let (_, bytes) = stored(&spec, &cells(), &H);
    let e = Entry::read(&bytes, NAME).unwrap();
    let view = r#"{"id":"recA1b2C3d4E5f6G7","tags":["a","b"],"name":"x"}"#;
    assert_eq!(e.answer(), view.as_bytes());
    let whole: Value = serde_json::from_slice(&e.whole()).unwrap();
    assert_eq!(whole["note"], "hidden");
    assert!(e.whole().starts_with(&view.as_bytes()[..view.len() - 1]));
    assert_eq!(
        e.cells().len(),
        e.whole().len() + 1,
        "the JSON stands there once"
    );
    assert_eq!(e.texts(3).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(e.texts(4).collect::<Vec<_>>(), [b"recU1"]);
    assert!(e.has(0, b"x") && !e.has(0, b"y") && !e.has(8, b"hidden") && !e.has(99, b"x"));
}

#[test]
fn what_is_stored_beside_the_json_is_small() {
    for (spec, most) in [
        (json!({}), 43),
        (json!({"views": {"public": ["name", "note"]}}), 44),
        (
            json!({"views": {"public": ["name", "note"], "card": ["points"]}}),
            53,
        ),
    ] {
        let spec = self::spec(spec);
        let (shaped, bytes) = stored(&spec, &cells(), &H);
        assert!(
            bytes.len() - shaped.whole.len() <= most,
            "{}",
            bytes.len() - shaped.whole.len()
        );
    }
}

#[test]
fn a_body_under_another_name_is_not_ours() {
    let (_, bytes) = stored(&spec(json!({})), &cells(), &H);
    let others: [&[u8]; 6] = [
        b"events:recA1b2C3d4E5f6G8",
        b"users:recA1b2C3d4E5f6G7",
        b"events:owner:recA1b2C3d4E5f6G7",
        b"recA1b2C3d4E5f6G7",
        b"",
        b"tomb:events:recA1b2C3d4E5f6G7",
    ];
    for name in others {
        assert!(Entry::read(&bytes, name).is_none(), "{name:?}");
    }
    assert!(Entry::read(b"{\"id\":1}", NAME).is_none());
    assert!(read_tomb(&bytes, NAME).is_none());
    let short = encode(
        b"events:recA",
        &H,
        &shape(&spec(json!({})), "recA", &Map::new(), Source::Airtable),
    );
    assert!(Entry::read(&short, b"events:recA").is_some());
    assert!(Entry::read(&short, b"events:recA1").is_none());
}

#[test]
fn a_name_whose_check_agrees_by_chance_owns_no_generation() {
    let name = |n: u32| format!("e{n}:{ID}");
    let same = |n: &u32| Owner::of(format!("e{n}").as_bytes()).check == Owner::of(b"events").check;
    let other = name((0..1_000_000).find(same).unwrap());
    let (_, bytes) = stored(&spec(json!({})), &cells(), &H);
    let e = Entry::read(&bytes, other.as_bytes()).unwrap();
    assert_ne!(e.header.generation, H.generation);
}

#[test]
fn an_earlier_form_is_none_of_these() {
    for form in FORMER {
        let mut old = form.to_vec();
        old.resize(120, 0);
        assert!(
            is_former(&old) && Entry::read(&old, NAME).is_none() && read_tomb(&old, NAME).is_none()
        );
    }
    let (_, bytes) = stored(&spec(json!({})), &cells(), &H);
    assert!(!is_former(&bytes) && !is_former(b"{}") && !is_former(b"") && !is_former(b"\x01PS1"));
}

#[test]
fn a_cut_or_mangled_body_is_refused_and_never_panics() {
    let spec = spec(json!({"views": {"public": ["tags", "name"], "card": ["points"]}}));
    let (_, bytes) = stored(&spec, &cells(), &H);
    let look = |b: &[u8]| {
        if let Some(e) = Entry::read(b, NAME) {
            let _ = (e.answer(), e.whole(), e.spans(&spec), e.cells());
            for view in 0..3 {
                let _ = e.view(&spec, view, ID);
            }
            for field in 0..20 {
                let _ = e.texts(field).count();
            }
        }
    };
    (0..bytes.len()).for_each(|cut| look(&bytes[..cut]));
    for at in 0..bytes.len() {
        for turn in [0xff, 0x01, 0x80, 0x10, 0x20, 0x40] {
            let mut b = bytes.clone();
            b[at] ^= turn;
            look(&b);
        }
    }
}

#[test]
fn times_change_without_the_content() {
    let spec = spec(json!({"views": {"public": ["name"]}}));
    let (_, bytes) = stored(&spec, &cells(), &H);
    let later = Header {
        fresh_until: NOW + 99,
        seq: 5,
        ..H
    };
    let (_, moved) = stored(&spec, &cells(), &later);
    let (_, other) = stored(&spec, &json!({"name": "x", "points": 9}), &H);
    let [a, b, c] = [&bytes, &moved, &other].map(|b| Entry::read(b, NAME).unwrap());
    assert_eq!(b.header, later);
    assert!(a.same_content(&b) && !a.same_content(&c));
}

#[test]
fn a_lacking_cell_and_one_with_its_fill_have_the_same_content() {
    let spec = spec(
        json!({"views": {"card": {"type": "object", "properties": {"points": {"type": ["integer", "null"], "default": 5}}}}}),
    );
    let (_, lacking) = stored(&spec, &json!({"name": "x"}), &H);
    let (_, there) = stored(&spec, &json!({"name": "x", "points": 3}), &H);
    let [a, b] = [&lacking, &there].map(|b| Entry::read(b, NAME).unwrap());
    assert_eq!(a.whole(), b.whole());
    let view = |e: &Entry| serde_json::from_slice::<Value>(&e.view(&spec, 0, ID).unwrap()).unwrap();
    assert_eq!(
        (view(&a)["points"].clone(), view(&b)["points"].clone()),
        (json!(5), json!(3))
    );
}

#[test]
fn no_number_of_texts_is_too_many() {
    let spec = spec(json!({}));
    let tags: Vec<String> = (0..70_000).map(|n| format!("recL{n}")).collect();
    let (_, bytes) = stored(&spec, &json!({"name": "x", "tags": tags}), &H);
    let e = Entry::read(&bytes, NAME).unwrap();
    assert_eq!(e.texts(3).count(), 70_000);
    assert!(e.has(3, b"recL69999") && e.has(0, b"x"));
}

#[test]
fn a_tombstone_knows_its_name() {
    let t = encode_tomb(b"tomb:events:recA", &H);
    assert_eq!(read_tomb(&t, b"tomb:events:recA"), Some(H));
    assert!(read_tomb(&t, b"tomb:events:recB").is_none());
    assert!(t.len() < 32);
}

fn any_time() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(2),
        Just(u64::MAX),
        NOW - 9_000_000..NOW + 40_000_000,
        any::<u64>()
    ]
}

/// Texts of every kind that a cell may hold, odd ones too.
fn any_text() -> impl Strategy<Value = String> {
    let odd = [
        "",
        "null",
        "recU1",
        "a\"b\\",
        "\0",
        "ü\u{2028}",
        "94.00",
        "-0",
        "1e3",
        "2026-03-04",
        "2026-03-04T05:06:07.000Z",
        "2026-03-04T05:06:07+01:00",
        "true",
        "[]",
        "x,]}",
    ];
    prop_oneof![
        prop::sample::select(odd.to_vec()).prop_map(String::from),
        "[a-c\"\\\\,\\]}\u{0}-\u{1f}é]{0,6}",
        Just("y".repeat(1025))
    ]
}

fn any_cell() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-5i64..5).prop_map(|n| Value::from(n as f64 / 2.0)),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_text(), inner), 0..3)
                .prop_map(|kv| Value::Object(kv.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_header_is_read_back(generation in any::<u64>(), asked_ms in any_time(), fresh_until in any_time(), dead in 0u8..3, dead_at in any_time(), seq in any_time(), near in any::<bool>(), told_at in any_time(), told_as_asked in any::<bool>()) {
        let dead_at = match dead { 0 => u64::MAX, 1 => asked_ms.wrapping_add(ATTACHMENT_DEAD_MS), _ => dead_at };
        let seq = if near { asked_ms.wrapping_mul(1000) >> 8 } else { seq };
        let told_at = if told_as_asked { asked_ms } else { told_at };
        let h = Header { generation, asked_ms, fresh_until, dead_at, seq, told_at };
        let (_, bytes) = stored(&spec(json!({})), &cells(), &h);
        prop_assert_eq!(Entry::read(&bytes, NAME).map(|e| e.header), Some(h));
        let tomb = encode_tomb(b"tomb:events:recA", &h);
        prop_assert_eq!(read_tomb(&tomb, b"tomb:events:recA"), Some(h));
    }

    /// Whatever the cells, the views and the kind of spec: what is read is what was shaped.
    #[test]
    fn what_is_stored_is_read_back(
        cells in prop::collection::vec(any_cell(), 11),
        has in prop::collection::vec(any::<bool>(), 11),
        default in 0usize..6,
        more in any::<bool>(),
        open in any::<bool>(),
    ) {
        let own = json!({"type": "object", "properties": {"note": {"type": "string", "default": "of its own"}, "points": {"type": ["integer", "null"], "default": null}}});
        let views = [json!({}), json!({"public": []}), json!({"public": ["note", "name", "any"]}), json!({"public": ["name", "points"]}), json!({"public": own}), json!({"public": ["tags", "done", "when", "ratio", "event", "any", "points", "note", "name"]})];
        let mut views = views[default].clone();
        if more {
            views["card"] = json!(["any", "name"]);
            views["own"] = own.clone();
        }
        let mut given = json!({"views": views});
        if open {
            given["schema"] = Value::Null;
            given.as_object_mut().unwrap().remove("schema");
        }
        let spec = if open {
            given["indexed"] = json!(["name", "tags", "any", "ratio"]);
            given["sortable"] = json!(["when"]);
            Spec::parse("events", given.to_string().as_bytes()).unwrap()
        } else {
            self::spec(given)
        };
        let names = ["name", "points", "ratio", "tags", "event", "when", "done", "any", "note", "unknown", "id"];
        let record: Map<String, Value> = names.iter().zip(&cells).zip(&has).filter(|(_, has)| **has).map(|((n, c), _)| (String::from(*n), c.clone())).collect();
        let (shaped, bytes) = stored(&spec, &Value::Object(record), &H);
        let e = Entry::read(&bytes, NAME).unwrap();
        prop_assert_eq!(&*e.whole(), &shaped.whole[..]);
        prop_assert_eq!(e.answer(), shaped.default_view.as_deref().unwrap_or(&shaped.whole));
        let (first, rest) = e.pieces();
        prop_assert_eq!([first, rest].concat(), shaped.whole.clone());
        for field in 0..12 {
            let expected: Vec<&[u8]> = shaped.values.iter().filter(|v| v.field == field).flat_map(|v| &v.texts).map(|t| &t[..]).collect();
            prop_assert_eq!(e.texts(field).collect::<Vec<_>>(), expected);
        }
        for view in 0..spec.views().len() as u16 {
            let expected = project(&spec, view, ID, &shaped.whole, &shaped.spans).unwrap();
            let cut = e.view(&spec, view, ID).unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&cut), String::from_utf8_lossy(&expected));
        }
        // The texts are those of the values that are returned.
        let whole: Value = serde_json::from_slice(&e.whole()).unwrap();
        for (ix, f) in (0..).zip(spec.fields()).filter(|(_, f)| f.indexed && !f.sortable) {
            let of_cell = whole.get(&f.name).map(|v| texts(f, v)).unwrap_or_default();
            let short: Vec<Vec<u8>> = of_cell.into_iter().filter(|t| t.len() <= 1024).collect();
            prop_assert_eq!(e.texts(ix).map(<[u8]>::to_vec).collect::<Vec<_>>(), short);
        }
    }
}

#[test]
fn no_view_is_too_long() {
    let spec = spec(json!({"views": {"public": ["note"]}}));
    for len in [60_000, 65_450, 65_500, 65_535, 65_536, 200_000] {
        let (shaped, bytes) = stored(
            &spec,
            &json!({"name": "x", "note": "y".repeat(len), "tags": ["z"]}),
            &H,
        );
        let e = Entry::read(&bytes, NAME).unwrap();
        assert_eq!(e.answer(), shaped.default_view.unwrap());
        assert!(*e.whole() == shaped.whole && e.has(3, b"z"));
    }
}
