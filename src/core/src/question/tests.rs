#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod any_column;
mod forms;

use super::*;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;
use serde_json::json;

fn spec_of(v: Value) -> Spec {
    Spec::parse("things", v.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}
/// One optional property `f`.
fn one(property: Value) -> Spec {
    spec_of(json!({"schema": {"properties": {"f": property}}}))
}
fn asked(spec: &Spec, value: &str) -> String {
    asked_of(spec, value, Column::Unknown)
}
fn asked_of(spec: &Spec, value: &str, column: Column) -> String {
    let value = canonical(spec, 0, value.as_bytes()).unwrap();
    formula(spec, 0, &value, Through::Lookup, column).unwrap_or_else(|| "whole table".into())
}
fn link() -> Value {
    json!({"type": "array", "items": {"type": "string", "pattern": "^rec"}, "maxItems": 1})
}

#[test]
fn a_value_is_brought_to_its_canonical_text_or_refused() {
    let lower = json!({"type": "string", "normalize": ["trim", "lower"]});
    let rows = [
        (
            "text as it is",
            json!({"type": "string"}),
            " A b",
            Some(" A b"),
        ),
        (
            "normalised",
            lower.clone(),
            " Ada@Example.COM ",
            Some("ada@example.com"),
        ),
        ("trimmed only", lower, " a ", Some("a")),
        (
            "beyond ASCII",
            json!({"type": "string", "normalize": ["upper"]}),
            "straße",
            Some("STRASSE"),
        ),
        ("true", json!({"type": "boolean"}), "true", Some("true")),
        ("TRUE", json!({"type": "boolean"}), "TRUE", None),
        ("1 for true", json!({"type": "boolean"}), "1", None),
        ("whole", json!({"type": "number"}), "8", Some("8")),
        ("with zeros", json!({"type": "number"}), "8.0", Some("8")),
        (
            "with exponent",
            json!({"type": "integer"}),
            "8e0",
            Some("8"),
        ),
        (
            "leading zeros",
            json!({"type": "number"}),
            "-008.50",
            Some("-8.5"),
        ),
        ("minus zero", json!({"type": "number"}), "-0.0", Some("0")),
        (
            "large",
            json!({"type": "number"}),
            "9007199254740993",
            Some("9007199254740993"),
        ),
        ("infinite", json!({"type": "number"}), "inf", None),
        ("too large", json!({"type": "number"}), "1e999", None),
        ("no number", json!({"type": "number"}), "8)", None),
        ("empty number", json!({"type": "number"}), "", None),
        (
            "date",
            json!({"type": "string", "format": "date"}),
            "2026-03-04",
            Some("2026-03-04"),
        ),
        (
            "no date",
            json!({"type": "string", "format": "date"}),
            "tomorrow",
            None,
        ),
        (
            "time",
            json!({"type": "string", "format": "date-time"}),
            "2026-03-04T05:06:07.000Z",
            Some("2026-03-04T05:06:07.000Z"),
        ),
        ("link", link(), "recA1", Some("recA1")),
        ("no link", link(), "A1", None),
        ("empty text", json!({"type": "string"}), "", Some("")),
    ];
    for (name, property, raw, expected) in rows {
        let got = canonical(&one(property), 0, raw.as_bytes());
        assert_eq!(got.ok().as_deref(), expected.map(str::as_bytes), "{name}");
    }
    assert!(canonical(&one(json!({"type": "string"})), 0, b"\xff").is_err());
}

#[test]
fn ids_are_asked_for_together() {
    assert_eq!(ids_formula(&["recA"]), "RECORD_ID()='recA'");
    assert_eq!(
        ids_formula(&["recA", "recB"]),
        "OR(RECORD_ID()='recA',RECORD_ID()='recB')"
    );
    assert_eq!(ids_formula(&[""; 0]), "FALSE()");
    let ids: Vec<String> = (0..100).map(|i| format!("rec{i:014}")).collect();
    assert_eq!(ids_formula(&ids).len(), 3_203, "100 ids fit into a URL");
}

#[test]
fn a_lookup_is_judged_by_its_link() {
    let s = spec_of(
        json!({"schema": {"properties": {"f": {"type": "array", "items": {"pattern": "^rec"}, "airtable": "F"}}}}),
    );
    let rows = [
        (
            "agrees",
            json!({"F": ["recA", "recB"], "f_id": ["recB", "recA"]}),
            Some(true),
        ),
        (
            "agrees, joined",
            json!({"F": ["recA", "recB"], "f_id": "recA, recB"}),
            Some(true),
        ),
        ("link empty", json!({"f_id": ["recA"]}), None),
        ("lookup empty", json!({"F": ["recA"]}), Some(false)),
        (
            "holds names",
            json!({"F": ["recA"], "f_id": ["Ada"]}),
            Some(false),
        ),
        (
            "holds too few",
            json!({"F": ["recA", "recB"], "f_id": ["recA"]}),
            Some(false),
        ),
        (
            "holds others",
            json!({"F": ["recA"], "f_id": ["recA", "recC"]}),
            Some(false),
        ),
        (
            "link of objects",
            json!({"F": [{"id": "recA"}], "f_id": ["recA"]}),
            Some(true),
        ),
    ];
    for (name, cells, expected) in rows {
        assert_eq!(
            lookup_agrees(&s, 0, cells.as_object().unwrap()),
            expected,
            "{name}"
        );
    }
    let text = one(json!({"type": "string"}));
    assert_eq!(
        lookup_agrees(&text, 0, json!({"f": "recA"}).as_object().unwrap()),
        None
    );
}

fn sorted(property: Value, mut v: Vec<&'static str>) -> Vec<&'static str> {
    let s = one(property);
    v.sort_by(|a, b| compare(&s.fields()[0], a.as_bytes(), b.as_bytes()));
    v
}

#[test]
fn sort_orders_numbers_as_numbers_and_text_bytewise() {
    assert_eq!(
        sorted(
            json!({"type": "number"}),
            vec!["10", "9", "-1", "2.5", "-10"]
        ),
        ["-10", "-1", "2.5", "9", "10"]
    );
    assert_eq!(
        sorted(
            json!({"type": "integer"}),
            vec!["9007199254740993", "9007199254740992"]
        ),
        ["9007199254740992", "9007199254740993"]
    );
    let text = json!({"type": "string"});
    assert_eq!(
        sorted(text, vec!["10", "9", "b", "a", "B"]),
        ["10", "9", "B", "a", "b"]
    );
    assert_eq!(
        sorted(json!({"type": "boolean"}), vec!["true", "false"]),
        ["false", "true"]
    );
    assert_eq!(
        sorted(json!({}), vec!["b", "10", "9", "a"]),
        ["9", "10", "a", "b"]
    );
    let decimal = json!({"anyOf": [{"type": "number"}, {"type": "string"}]});
    assert_eq!(
        sorted(
            decimal,
            vec![
                "1e999",
                "x",
                "0.3000000000000000444",
                "0.30000000000000004",
                "-1e999",
                "2",
                "1e998"
            ]
        ),
        [
            "-1e999",
            "0.30000000000000004",
            "0.3000000000000000444",
            "2",
            "1e998",
            "1e999",
            "x"
        ]
    );
}

#[test]
fn sort_orders_moments_by_their_instant() {
    let time = json!({"type": "string", "format": "date-time"});
    assert_eq!(
        sorted(
            time,
            vec![
                "2026-03-04T05:06:07.1234Z",
                "2026-03-04T05:06:07.123Z",
                "2026-03-04T05:06:07.12345Z",
                "2025-12-31T00:00:00.000Z"
            ]
        ),
        [
            "2025-12-31T00:00:00.000Z",
            "2026-03-04T05:06:07.123Z",
            "2026-03-04T05:06:07.1234Z",
            "2026-03-04T05:06:07.12345Z"
        ]
    );
    assert_eq!(
        sorted(
            json!({"type": "string", "format": "date"}),
            vec!["2026-03-04T09:00:00.000Z", "2026-03-05", "2026-03-04"]
        ),
        ["2026-03-04", "2026-03-04T09:00:00.000Z", "2026-03-05"]
    );
}

/// Reads a string literal by Airtable's rules: its text, and what follows it.
fn read_literal(formula: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = formula.strip_prefix('\'').unwrap().chars();
    loop {
        match chars.next().unwrap() {
            '\'' => return (out, chars.as_str()),
            '\\' => out.push(match chars.next().unwrap() {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                c => c,
            }),
            c => out.push(c),
        }
    }
}

#[test]
fn a_cell_of_many_links_is_compared_in_linear_time() {
    let s = one(json!({"type": "array", "items": {"type": "string", "pattern": "^rec"}}));
    let ids: Vec<String> = (0..100_000).map(|n| format!("rec{n:014}")).collect();
    let back: Vec<&String> = ids.iter().rev().collect();
    let cells = json!({"f": ids, "f_id": back});
    let begun = std::time::Instant::now();
    assert_eq!(lookup_agrees(&s, 0, cells.as_object().unwrap()), Some(true));
    let all: Vec<Value> = ids.iter().chain(&ids).map(|id| json!(id)).collect();
    let texts = super::texts(s.get(0).unwrap(), &Value::Array(all));
    assert_eq!(texts.len(), ids.len());
    assert!(begun.elapsed().as_secs() < 5);
}

proptest! {
    #[test]
    fn no_value_gets_out_of_its_literal(value in "[\\PC\\\\'\"\n\r\t{}()]{0,40}") {
        let literal = super::formula::literal(&value);
        let (text, rest) = read_literal(&literal);
        prop_assert_eq!(text, value);
        prop_assert_eq!(rest, "");
    }
    #[test]
    fn no_value_changes_the_shape_of_a_formula(value in "[\\PC\\\\'\"\n]{1,40}") {
        for property in [json!({"type": "string"}), json!({"type": "array", "items": {"type": "string"}}), json!({})] {
            let f = asked(&one(property), &value);
            // Its literals taken out, what is left holds nothing of the value.
            let mut rest = f.as_str();
            let mut shape = String::new();
            while let Some(at) = rest.find('\'') {
                shape.push_str(&rest[..at]);
                rest = read_literal(&rest[at..]).1;
            }
            shape.push_str(rest);
            prop_assert!(shape.chars().all(|c| c.is_ascii_alphanumeric() || "(){}&=,.-_".contains(c)), "{f}");
        }
    }
    #[test]
    fn numbers_that_are_equal_have_one_text(n in proptest::num::f64::NORMAL) {
        let plain = number::canonical_number(&n.to_string()).unwrap();
        prop_assert_eq!(number::canonical_number(&format!("{n:e}")).unwrap(), plain.clone());
        prop_assert_eq!(plain.parse::<f64>().unwrap(), n);
    }
    #[test]
    fn the_order_is_total(a in "[0-9a.-]{0,4}", b in "[0-9a.-]{0,4}", c in "[0-9a.-]{0,4}") {
        let s = one(json!({}));
        let cmp = |x: &str, y: &str| compare(&s.fields()[0], x.as_bytes(), y.as_bytes());
        prop_assert_eq!(cmp(&a, &b), cmp(&b, &a).reverse());
        if cmp(&a, &b).is_le() && cmp(&b, &c).is_le() {
            prop_assert!(cmp(&a, &c).is_le());
        }
    }
}
