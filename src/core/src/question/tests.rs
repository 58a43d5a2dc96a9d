#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
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
    let value = canonical(spec, 0, value.as_bytes()).unwrap();
    formula(spec, 0, &value, Lookup::Proven).unwrap_or_else(|| "whole table".into())
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
fn the_formula_asks_what_was_asked() {
    let rows = [
        ("text", json!({"type": "string"}), "open", "{f}='open'"),
        (
            "column name",
            json!({"type": "string", "airtable": "F } 1"}),
            "x",
            "{F \\} 1}='x'",
        ),
        (
            "normalised",
            json!({"type": "string", "normalize": ["trim", "lower"]}),
            " A@B.c",
            "LOWER(TRIM({f}))='a@b.c'",
        ),
        (
            "quotes",
            json!({"type": "string"}),
            "it's \\ \"",
            "{f}='it\\'s \\\\ \"'",
        ),
        (
            "default",
            json!({"type": "string", "default": "open"}),
            "open",
            "OR({f}='open',{f}='')",
        ),
        (
            "not the default",
            json!({"type": "string", "default": "open"}),
            "shut",
            "{f}='shut'",
        ),
        ("empty", json!({"type": "string"}), "", "{f}=''"),
        ("number", json!({"type": "integer"}), "8.0", "{f}=8"),
        (
            "default number",
            json!({"type": "number", "default": 0}),
            "0",
            "OR({f}=0,{f}=BLANK())",
        ),
        ("true", json!({"type": "boolean"}), "true", "{f}=TRUE()"),
        ("false", json!({"type": "boolean"}), "false", "NOT({f})"),
        (
            "true by default",
            json!({"type": "boolean", "default": true}),
            "true",
            "{f}=TRUE()",
        ),
        (
            "date",
            json!({"type": "string", "format": "date"}),
            "2026-03-04",
            "IS_SAME({f},DATETIME_PARSE('2026-03-04'),'day')",
        ),
        (
            "time",
            json!({"type": "string", "format": "date-time"}),
            "2026-03-04T05:06:07.000Z",
            "IS_SAME({f},DATETIME_PARSE('2026-03-04T05:06:07.000Z'),'second')",
        ),
        (
            "choices",
            json!({"type": "array", "items": {"type": "string"}}),
            "a",
            "FIND('a',ARRAYJOIN({f}))",
        ),
        (
            "choices with a quote in them",
            json!({"type": "array", "items": {"type": "string"}}),
            "12\" disc",
            "FIND(' disc',ARRAYJOIN({f}))",
        ),
        (
            "numbers in an array",
            json!({"type": "array", "items": {"type": "number"}}),
            "8",
            "NOT({f}='')",
        ),
        ("link", link(), "recA1", "FIND('recA1',ARRAYJOIN({f_id}))"),
        ("object", json!({"type": "object"}), "{}", "whole table"),
    ];
    for (name, mut property, value, expected) in rows {
        property["indexed"] = json!(true);
        assert_eq!(asked(&one(property), value), expected, "{name}");
    }
}

#[test]
fn what_airtable_may_read_otherwise_is_asked_for_by_its_plain_part() {
    let lower = json!({"type": "string", "normalize": ["lower"]});
    let rows = [
        (
            "letters beyond ASCII, lower-cased",
            lower.clone(),
            "Ärger in Köln",
            "FIND('rger in k',LOWER({f}))",
        ),
        ("nothing plain", lower, "ЯЯ", "NOT({f}='')"),
        (
            "letters beyond ASCII as they are",
            json!({"type": "string"}),
            "Ärger",
            "{f}='Ärger'",
        ),
        (
            "a line break",
            json!({"type": "string"}),
            "a\nbcd",
            "FIND('bcd',{f})",
        ),
        ("a NUL", json!({"type": "string"}), "\0", "NOT({f}='')"),
    ];
    for (name, property, value, expected) in rows {
        assert_eq!(asked(&one(property), value), expected, "{name}");
    }
}

#[test]
fn an_unproven_lookup_is_asked_to_show_itself() {
    let s = one(link());
    assert_eq!(
        formula(&s, 0, b"recA1", Lookup::Unproven).unwrap(),
        "OR(FIND('recA1',ARRAYJOIN({f_id})),AND(NOT({f}=''),NOT(FIND('rec',ARRAYJOIN({f_id})))))"
    );
    let s = spec_of(
        json!({"schema": {"properties": {"voter": link()}}, "index_to_airtable": {"voter": "user_id"}}),
    );
    assert_eq!(asked(&s, "recA1"), "FIND('recA1',ARRAYJOIN({user_id}))");
}

#[test]
fn without_a_schema_a_record_id_is_asked_for_as_a_link_and_the_rest_as_text() {
    let s = spec_of(
        json!({"indexed": ["event", "owner_id", "tag"], "normalize": {"tag": ["trim", "lower"]}}),
    );
    let ask = |field, value: &str| formula(&s, field, value.as_bytes(), Lookup::Proven).unwrap();
    assert_eq!(
        ask(0, "recA1b2C3d4E5f6G7"),
        "FIND('recA1b2C3d4E5f6G7',ARRAYJOIN({event_id}))"
    );
    assert_eq!(
        ask(1, "recA1b2C3d4E5f6G7"),
        "FIND('recA1b2C3d4E5f6G7',({owner_id}&''))"
    );
    assert_eq!(ask(2, "a"), "FIND('a',LOWER(({tag}&'')))");
    assert_eq!(ask(2, "8"), "OR(FIND('8',LOWER(({tag}&''))),{tag}=8)");
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

#[test]
fn sort_orders_numbers_as_numbers_and_text_bytewise() {
    let sorted = |kind, mut v: Vec<&'static str>| {
        v.sort_by(|a, b| compare(kind, a.as_bytes(), b.as_bytes()));
        v
    };
    assert_eq!(
        sorted(Kind::Number, vec!["10", "9", "-1", "2.5"]),
        ["-1", "2.5", "9", "10"]
    );
    assert_eq!(
        sorted(Kind::Integer, vec!["9007199254740993", "9007199254740992"]),
        ["9007199254740992", "9007199254740993"]
    );
    assert_eq!(
        sorted(Kind::Text, vec!["10", "9", "b", "a", "B"]),
        ["10", "9", "B", "a", "b"]
    );
    assert_eq!(
        sorted(Kind::Boolean, vec!["true", "false"]),
        ["false", "true"]
    );
    assert_eq!(
        sorted(Kind::Any, vec!["b", "10", "9", "a"]),
        ["9", "10", "a", "b"]
    );
    assert_eq!(
        sorted(Kind::DateTime, vec!["2026-03-04", "2025-12-31"]),
        ["2025-12-31", "2026-03-04"]
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
    let texts = crate::record::texts(Kind::Links, &Value::Array(all));
    assert_eq!(texts.len(), ids.len());
    assert!(begun.elapsed().as_secs() < 5);
}

proptest! {
    #[test]
    fn no_value_gets_out_of_its_literal(value in "[\\PC\\\\'\"\n\r\t{}()]{0,40}") {
        let literal = formula::literal(&value);
        let (text, rest) = read_literal(&literal);
        prop_assert_eq!(text, value);
        prop_assert_eq!(rest, "");
    }
    #[test]
    fn no_value_changes_the_shape_of_a_formula(value in "[\\PC\\\\'\"\n]{1,40}") {
        for (property, before, after) in [
            (json!({"type": "string"}), "{f}=", ""),
            (json!({"type": "array", "items": {"type": "string"}}), "FIND(", ",ARRAYJOIN({f}))"),
        ] {
            let f = formula(&one(property), 0, value.as_bytes(), Lookup::Proven).unwrap();
            // What has no plain part is asked for as anything, or found in the column's text.
            if f == "NOT({f}='')" || (before == "{f}=" && f.starts_with("FIND(")) {
                continue;
            }
            let (text, rest) = read_literal(f.strip_prefix(before).unwrap());
            prop_assert!(value.contains(text.as_str()));
            prop_assert_eq!(rest, after);
        }
    }
    #[test]
    fn numbers_that_are_equal_have_one_text(n in proptest::num::f64::NORMAL) {
        let plain = canonical_number(&n.to_string()).unwrap();
        prop_assert_eq!(canonical_number(&format!("{n:e}")).unwrap(), plain.clone());
        prop_assert_eq!(plain.parse::<f64>().unwrap(), n);
    }
    #[test]
    fn the_order_is_total(a in "[0-9a.-]{0,4}", b in "[0-9a.-]{0,4}", c in "[0-9a.-]{0,4}") {
        let cmp = |x: &str, y: &str| compare(Kind::Any, x.as_bytes(), y.as_bytes());
        prop_assert_eq!(cmp(&a, &b), cmp(&b, &a).reverse());
        if cmp(&a, &b).is_le() && cmp(&b, &c).is_le() {
            prop_assert!(cmp(&a, &c).is_le());
        }
    }
}
