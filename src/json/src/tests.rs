#![allow(clippy::unwrap_used)]
use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn text_that_is_no_unicode_is_mended() {
    for (damaged, mended) in [
        (&br#""\ud83c""#[..], "\u{fffd}"),
        (br#""a\udf89b""#, "a\u{fffd}b"),
        (br#""\udf89\ud83c""#, "\u{fffd}\u{fffd}"),
        (br#""\ud83c\ud83c\udf89""#, "\u{fffd}\u{1f389}"),
        (br#""\ud83c\n""#, "\u{fffd}\n"),
        (br#""\ud83c\u0041""#, "\u{fffd}A"),
        (br#""\ud83cx\udf89\\\"""#, "\u{fffd}x\u{fffd}\\\""),
        (br#""\ud83c\ud83""#, "\u{fffd}\u{fffd}d83"),
        (br#""\uD83C\uDF89\ud83c""#, "\u{1f389}\u{fffd}"),
        (b"\"a\xffb\"", "a\u{fffd}b"),
        (b"\"\xed\xa0\xbc\"", "\u{fffd}\u{fffd}\u{fffd}"),
        (b"\"\xf0\x9f\x8e\"", "\u{fffd}"),
        (b"\"a\x01\nb\"", "a\u{1}\nb"),
        (br#""\x41""#, "\u{fffd}x41"),
    ] {
        assert_eq!(read(damaged).unwrap(), json!(mended), "{damaged:?}");
    }
    let keyed = read(br#" {"\ud83c": {"a\udf89": ["\ud83c"]}, "b" : 1.5e3 } "#).unwrap();
    assert_eq!(
        keyed,
        json!({"\u{fffd}": {"a\u{fffd}": ["\u{fffd}"]}, "b": 1500.0})
    );
}

#[test]
fn what_is_whole_is_read_as_ever() {
    for whole in [
        "null",
        " [1, 2.5, -0.0, 1e2, true, false, \"\\u00e9\\ud83c\\udf89\"] ",
        "{}",
        "[]",
        r#"{"a":1,"a":2}"#,
    ] {
        let strict: Value = serde_json::from_str(whole).unwrap();
        assert_eq!(read(whole.as_bytes()).unwrap(), strict);
        assert_eq!(mend::parse(whole.as_bytes()).unwrap(), (strict, None));
    }
}

#[test]
fn numbers_beyond_a_float_keep_their_digits() {
    let huge = "9".repeat(400);
    for digits in ["1e999", "-1.5E+400", &huge] {
        assert_eq!(read(digits.as_bytes()).unwrap(), json!(digits));
    }
    for none in [
        "01", "1.", "-", ".5", "1e", "NaN", "Infinity", "0x10", "tru",
    ] {
        assert_eq!(read(none.as_bytes()), Err(Unreadable::NoValue), "{none}");
    }
}

#[test]
fn what_nests_too_deep_is_replaced_and_nothing_beside_it() {
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert!(read(deep(DEPTH).as_bytes()).is_ok());
    assert_eq!(read(deep(DEPTH + 1).as_bytes()), Err(Unreadable::TooDeep));
    let text = format!(r#"{{"a":1,"d":{},"b":"\ud83c"}}"#, deep(10_000));
    assert_eq!(read(text.as_bytes()), Err(Unreadable::TooDeep));
    let saved = salvage(text.as_bytes()).unwrap();
    assert_eq!(
        (saved.get("a"), saved.get("b")),
        (Some(&json!(1)), Some(&json!("\u{fffd}")))
    );
    let part = salvage(br#"{"a":tru,"b":[1,nul]}"#).unwrap();
    assert_eq!(part, json!({"a": MARK, "b": [1, MARK]}));
    let objects = r#"{"x":"#.repeat(200_000) + "1" + &"}".repeat(200_000);
    assert_eq!(read(objects.as_bytes()), Err(Unreadable::TooDeep));
    assert_eq!(
        elements(format!("[1,{objects},2]").as_bytes())
            .unwrap()
            .count(),
        3
    );
}

#[test]
fn a_broken_outline_is_an_error() {
    for (text, why) in [
        ("", Unreadable::Cut),
        ("[1", Unreadable::Cut),
        ("{\"a\":1", Unreadable::Cut),
        ("\"a", Unreadable::Cut),
        ("[1] x", Unreadable::Cut),
        ("{\"a\" 1}", Unreadable::Outline),
        ("{a:1}", Unreadable::Outline),
        ("[1 2]", Unreadable::Outline),
        ("[1}", Unreadable::Outline),
    ] {
        assert_eq!(read(text.as_bytes()), Err(why), "{text}");
    }
}

#[test]
fn parts_are_cut_out_unread() {
    let text = br#" { "a" : [1,{"b":"}],\""}] ,"\ud83c": tru , "a":2} "#;
    let m = members(text).unwrap();
    let list: Vec<_> = m.list.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    assert_eq!(
        list,
        [
            ("a", &br#"[1,{"b":"}],\""}]"#[..]),
            ("\u{fffd}", b"tru"),
            ("a", b"2")
        ]
    );
    assert!(!m.broken && m.get("a") == Some(b"2") && m.get("b").is_none());
    for (text, broken) in [
        ("{}", false),
        ("{ }", false),
        ("{,}", true),
        (r#"{"a":1,}"#, true),
        (r#"{"a":1,7,"b":2}"#, true),
        (r#"{"a":}"#, true),
        (r#"{"a"}"#, true),
    ] {
        assert_eq!(members(text.as_bytes()).unwrap().broken, broken, "{text}");
    }
    for none in [
        "",
        "[]",
        "{",
        r#"{"a":1"#,
        r#"{"a":1}}"#,
        r#"{"a":1} {"b":2}"#,
        r#"{"a":1]"#,
    ] {
        assert!(members(none.as_bytes()).is_err(), "{none}");
    }
    let parts = |text: &str| -> Vec<_> {
        elements(text.as_bytes())
            .unwrap()
            .map(|e| core::str::from_utf8(e).unwrap().to_string())
            .collect()
    };
    assert!(parts("[ ]").is_empty());
    assert_eq!(
        parts(r#"[1, "a,]" ,{"b":[2,3]}, ]"#),
        ["1", r#""a,]""#, r#"{"b":[2,3]}"#, ""]
    );
    for none in ["", "{}", "[1", "[1]]", "[1}", "[1][2]", "[\"a]"] {
        assert!(elements(none.as_bytes()).is_err(), "{none}");
    }
}

#[test]
fn values_are_counted_without_being_read() {
    assert_eq!(values(b"1"), 1);
    assert!(values(br#"{"a":[0,0,",[{"],"b":{}}"#) >= 7);
    assert!(values(b"[0,0,0") >= 3 && values(b"\"a") == 1);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\"\\u{}[],:0d8c "[..])], 0..200)) {
        let (a, b) = (read(&bytes), salvage(&bytes));
        prop_assert!(a.is_err() || a == b);
        if let Ok(value) = &b {
            // What is printed can be read again, strictly.
            prop_assert!(serde_json::from_str::<Value>(&value.to_string()).is_ok());
        }
        let _ = members(&bytes);
        let _ = elements(&bytes).map(Iterator::count);
        let _ = values(&bytes);
    }

    #[test]
    fn units_in_any_order_are_what_javascript_would_mend(units in proptest::collection::vec(prop::sample::select(&[0x41u16, 0xd83c, 0xdbff, 0xdf89, 0xdc00, 0xe9][..]), 0..12)) {
        let escaped: String = units.iter().map(|u| format!("\\u{u:04x}")).collect();
        let expected = String::from_utf16_lossy(&units);
        prop_assert_eq!(read(format!("\"{escaped}\"").as_bytes()).unwrap(), json!(expected));
    }
}
