//! One value, many spellings: cells and arguments are brought to one text.

use super::*;

/// The canonical texts of an argument and of a cell; of a field that takes any argument.
fn both(spec: &Spec, text: &str) -> (String, String) {
    let field = spec.get(0).unwrap();
    let mut cell = json!(text);
    Normal::apply_to(&field.normalize, &mut cell);
    let stored = texts(field, &cell).pop().unwrap();
    let asked = canonical(spec, 0, text.as_bytes()).unwrap();
    (
        String::from_utf8(asked.into_owned()).unwrap(),
        String::from_utf8(stored).unwrap(),
    )
}

#[track_caller]
fn one_text(spec: &Spec, spellings: &[&str], expected: &str) {
    for text in spellings {
        assert_eq!(
            both(spec, text),
            (expected.to_string(), expected.to_string()),
            "{text}"
        );
    }
}

#[test]
fn what_may_be_a_number_is_compared_by_its_number() {
    let pattern = "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$";
    let decimals = [
        json!({"anyOf": [{"type": "number"}, {"type": "string", "pattern": pattern}]}),
        json!({"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "null"}]}),
        json!({"type": ["string", "integer"]}),
        json!({"type": "string", "pattern": pattern}),
        json!({"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "string"}]}}),
        json!({}),
    ];
    for schema in decimals {
        let s = one(schema);
        one_text(
            &s,
            &[
                "94", "94.00", "+94", "094", "9.4e1", "9.40E+01", "940e-1", "94.", "0.94e2",
            ],
            "94",
        );
        one_text(
            &s,
            &["1e+21", "1E21", "1000000000000000000000.0"],
            "1000000000000000000000",
        );
        one_text(&s, &["-0", "0.000", ".0", "0e5", "+0"], "0");
        one_text(&s, &["-.5", "-0.50", "-5e-1"], "-0.5");
        one_text(
            &s,
            &["0.10000000000000000555", "10000000000000000.555e-17"],
            "0.10000000000000000555",
        );
        one_text(&s, &["1e999", "10e998", "0.1e1000"], "1e999");
        for text in [
            "1e9999999999",
            "1_000",
            "1,000",
            "٣",
            "0x10",
            ".",
            "-",
            "e5",
            "1e",
            "NaN",
        ] {
            one_text(&s, &[text], text);
        }
    }
    assert_eq!(
        texts(
            one(json!({})).get(0).unwrap(),
            &json!([94.0, "94.00", 94, "x", 1e21])
        ),
        [&b"94"[..], b"x", b"1000000000000000000000"]
    );
}

#[test]
fn a_plain_text_is_no_number() {
    let s = one(json!({"type": ["string", "null"]}));
    for text in ["007", "94.00", "1e3"] {
        one_text(&s, &[text], text);
    }
    // A column of numbers that the model calls texts.
    assert_eq!(texts(s.get(0).unwrap(), &json!(94.50)), [b"94.5"]);
}

#[test]
fn what_can_only_be_a_json_number_is_rounded_as_one() {
    let s = one(json!({"type": "number"}));
    let ask = |raw: &str| {
        canonical(&s, 0, raw.as_bytes()).map(|n| String::from_utf8(n.into_owned()).unwrap())
    };
    for written in [
        "123456789012345678901234567890",
        "0.1000000000000000055",
        "1e-400",
        "9007199254740993",
    ] {
        let cell: Value = serde_json::from_str(written).unwrap();
        let stored = texts(s.get(0).unwrap(), &cell).pop().unwrap();
        assert_eq!(ask(written).unwrap().as_bytes(), stored, "{written}");
    }
    assert!(ask("1e999").is_err());
}

#[test]
fn a_moment_is_compared_by_its_instant() {
    let full = "2026-03-10T09:00:00.000Z";
    let zoned = [
        full,
        "2026-03-10T09:00:00Z",
        "2026-03-10t09:00:00z",
        "2026-03-10 09:00:00+00:00",
        "2026-03-10T09:00:00-00:00",
        "2026-03-10T10:00:00+01:00",
        "2026-03-10T10:00:00.000000+0100",
        "2026-03-09T23:30:00.0-09:30",
        "2026-03-11T08:59+23:59",
    ];
    let nullable = json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]});
    for schema in [
        json!({"type": "string", "format": "date-time"}),
        nullable,
        json!({"type": "string", "format": "date"}),
        json!({"type": "string"}),
        json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string"}]}),
        json!({}),
        json!({"type": "array", "items": {"type": "string", "format": "date-time"}}),
    ] {
        let s = one(schema);
        one_text(&s, &zoned, full);
        one_text(
            &s,
            &["2026-03-10T09:00:00.1230Z", "2026-03-10T10:00:00.123+01:00"],
            "2026-03-10T09:00:00.123Z",
        );
        one_text(
            &s,
            &[
                "2026-03-10T09:00:00.123456Z",
                "2026-03-10T08:00:00.1234560-01:00",
            ],
            "2026-03-10T09:00:00.123456Z",
        );
    }
    let lower = one(json!({"type": "string", "normalize": ["trim", "lower"]}));
    one_text(&lower, &[" 2026-03-10T09:00:00Z "], full);
}

#[test]
fn without_an_offset_a_moment_is_one_only_where_moments_are_expected() {
    let time = one(json!({"type": "string", "format": "date-time"}));
    one_text(
        &time,
        &["2026-03-10", "2026-03-10T00:00:00", "2026-03-10 00:00"],
        "2026-03-10T00:00:00.000Z",
    );
    let day = one(json!({"type": "string", "format": "date"}));
    one_text(
        &day,
        &[
            "2026-03-10",
            "2026-03-10T00:00:00Z",
            "2026-03-10T01:00:00+01:00",
        ],
        "2026-03-10",
    );
    for schema in [json!({"type": "string"}), json!({})] {
        let s = one(schema);
        for text in ["2026-03-10", "2026-03-10T00:00:00"] {
            one_text(&s, &[text], text);
        }
    }
}

#[test]
fn what_the_calendar_lacks_is_a_text() {
    let time = one(json!({"type": "string", "format": "date-time"}));
    for text in [
        "2026-02-30T09:00:00Z",
        "2026-02-29",
        "2016-12-31T23:59:60Z",
        "2026-03-10T24:00:00Z",
        "0000-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
    ] {
        one_text(&time, &[text], text);
    }
    one_text(&time, &["2024-02-29T00:00:00Z"], "2024-02-29T00:00:00.000Z");
    let text = one(json!({"type": "string"}));
    for same in [
        "2026-03-10T09:00:00.Z",
        "2026-03-10T09:00:00+1:00",
        "2026-03-10T09:00:00Zx",
        "2026-13-10T09:00:00Z",
    ] {
        one_text(&text, &[same], same);
    }
}

#[test]
fn ids_and_truths_are_what_they_are() {
    let s = one(json!({"type": "array", "items": {"pattern": "^rec"}, "maxItems": 1}));
    assert_eq!(texts(s.get(0).unwrap(), &json!(["rec1e5"])), [b"rec1e5"]);
    let s = one(json!({"type": "boolean"}));
    assert_eq!(texts(s.get(0).unwrap(), &json!(1)), [b"true"]);
}

proptest! {
    /// The normal form is its own normal form, and whatever else is said of a moment, its instant stays.
    #[test]
    fn moments_agree_whatever_the_offset(ms in 0i64..4_102_444_800_000, offset in -1439i64..=1439) {
        let at = |ms: i64, offset: i64| {
            let local = ms + offset * 60_000;
            let (day, rest) = (local.div_euclid(86_400_000), local.rem_euclid(86_400_000));
            let text = format!("1970-01-01T{:02}:{:02}:{:02}.{:03}", rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
            (day, text)
        };
        // Days are counted by the calendar's own arithmetic, checked above; here the clock is.
        let (day, local) = at(ms, offset);
        let (utc_day, utc) = at(ms, 0);
        prop_assume!(day == utc_day);
        let sign = if offset < 0 { '-' } else { '+' };
        let written = format!("{local}{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60);
        let (normal, _) = instant::read(&written).unwrap();
        prop_assert_eq!(&normal, &format!("{utc}Z"));
        prop_assert_eq!(instant::read(&normal).unwrap().0, normal);
    }
    #[test]
    fn any_text_has_a_form_and_that_is_its_own(text in "\\PC{0,40}|[0-9eE.+-]{0,12}|[0-9TtZ:+. -]{0,30}") {
        for schema in [json!({}), json!({"type": "string"}), json!({"type": ["string", "number"]})] {
            let s = one(schema);
            let (asked, stored) = both(&s, &text);
            prop_assert_eq!(&asked, &stored);
            prop_assert_eq!(both(&s, &asked).0, asked);
        }
    }
    #[test]
    fn numbers_of_one_value_have_one_text(digits in "[1-9][0-9]{0,30}", shift in -40i64..40, zeros in 0usize..5) {
        let plain = number::canonical_number(&format!("{digits}e{shift}")).unwrap();
        let other = format!("{}{digits}{}e{}", "0".repeat(zeros), "0".repeat(zeros), shift - zeros as i64);
        prop_assert_eq!(number::canonical_number(&other).unwrap(), plain.clone());
        prop_assert_eq!(number::compare(&other, &plain), Some(core::cmp::Ordering::Equal));
    }
}
