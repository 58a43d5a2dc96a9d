#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod told;
mod union;

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;
use serde_json::json;

const ID: &str = "recA1b2C3d4E5f6G7";

fn spec_of(v: Value) -> Spec {
    Spec::parse("things", v.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}
fn shaped(spec: &Spec, cells: Value, source: Source) -> Shaped {
    shape(spec, ID, cells.as_object().unwrap(), source)
}
fn text(json: &[u8]) -> &str {
    core::str::from_utf8(json).unwrap()
}
/// The member `f` of the record that results from a cell `f`, under a schema; `None`: left out.
fn one(property: Value, cell: Value) -> (Option<Value>, u32) {
    let s = spec_of(json!({"schema": {"properties": {"f": property}, "required": ["f"]}}));
    let out = shaped(&s, json!({"f": cell}), Source::Airtable);
    let v: Value = serde_json::from_slice(&out.whole).unwrap();
    (v.get("f").cloned(), out.violations)
}

#[test]
fn a_record_is_printed_flat_in_the_order_of_its_schema() {
    let s = spec_of(json!({"schema": {"properties": {
        "b": {"type": "string", "airtable": "Column B"}, "id": {"type": "string"}, "a": {"type": "integer", "default": 0}, "c": {"type": "string"}}}}));
    let out = shaped(
        &s,
        json!({"a": 0.5, "Column B": "x", "id": "a formula", "other": 1, "b": "not the column"}),
        Source::Airtable,
    );
    assert_eq!(
        text(&out.whole),
        format!("{{\"id\":\"{ID}\",\"b\":\"x\",\"a\":0.5}}")
    );
    let cut: Vec<&str> = out
        .spans
        .iter()
        .map(|s| text(&out.whole[s.start as usize..s.end as usize]))
        .collect();
    assert_eq!(cut, ["\"b\":\"x\"", "\"a\":0.5", ""]);
    assert_eq!(out.violations, 1, "0.5 is no integer");
    let filled = shaped(&s, json!({}), Source::Airtable);
    assert_eq!(text(&filled.whole), format!("{{\"id\":\"{ID}\",\"a\":0}}"));
    assert_eq!(
        filled.spans.iter().map(|s| s.filled).collect::<Vec<_>>(),
        [true; 3]
    );
}

#[test]
fn a_cell_is_brought_under_its_schema() {
    let number = json!({"type": "number"});
    let nullable = json!({"type": ["string", "null"]});
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let rows = [
        (
            "a lookup of one",
            number.clone(),
            json!([8]),
            Some(json!(8)),
            0,
        ),
        (
            "a lookup of two",
            number.clone(),
            json!([8, 9]),
            Some(json!([8, 9])),
            1,
        ),
        (
            "a lookup of an error",
            nullable.clone(),
            json!([{"error": "#ERROR!"}]),
            Some(json!(null)),
            0,
        ),
        (
            "a lookup of nothing",
            nullable.clone(),
            json!([null]),
            Some(json!(null)),
            0,
        ),
        (
            "an error",
            nullable.clone(),
            json!({"error": "#ERROR!"}),
            Some(json!(null)),
            0,
        ),
        (
            "not a number",
            number.clone(),
            json!({"specialValue": "NaN"}),
            None,
            1,
        ),
        (
            "an error where anything goes",
            json!({}),
            json!({"error": "x"}),
            Some(json!({"error": "x"})),
            0,
        ),
        ("empty text", nullable, json!(""), Some(json!(null)), 0),
        ("null", texts.clone(), json!(null), Some(json!([])), 0),
        (
            "nothing among texts",
            texts.clone(),
            json!(["a", null, {"error": "x"}]),
            Some(json!(["a"])),
            0,
        ),
        (
            "only nothing",
            texts.clone(),
            json!([null]),
            Some(json!([])),
            0,
        ),
        (
            "a text for an array",
            texts,
            json!("a"),
            Some(json!("a")),
            1,
        ),
        (
            "a formula's truth",
            json!({"type": "boolean"}),
            json!(1),
            Some(json!(true)),
            0,
        ),
        (
            "zero is a value",
            number.clone(),
            json!(0),
            Some(json!(0)),
            0,
        ),
        (
            "a text for a number",
            number,
            json!("8"),
            Some(json!("8")),
            1,
        ),
        (
            "an integer written as a float",
            json!({"type": "integer"}),
            json!(8.0),
            Some(json!(8.0)),
            0,
        ),
        (
            "normalised",
            json!({"type": "string", "normalize": ["trim", "lower"]}),
            json!(" A "),
            Some(json!("a")),
            0,
        ),
        (
            "normalised in an array",
            json!({"type": "array", "normalize": ["upper"]}),
            json!(["a", 1]),
            Some(json!(["A", 1])),
            0,
        ),
        (
            "a link's objects",
            json!({"type": "array", "items": {"type": "string", "pattern": "^rec"}}),
            json!([{"id": "recX", "name": "x"}]),
            Some(json!(["recX"])),
            0,
        ),
    ];
    for (name, property, cell, value, violations) in rows {
        assert_eq!(one(property, cell), (value, violations), "{name}");
    }
}

#[test]
fn numbers_come_through_as_airtable_wrote_them() {
    let s = spec_of(json!({"properties": {"f": {"type": "number"}}}));
    for number in [
        "0.1",
        "123456789.12345679",
        "9007199254740993",
        "-2.5",
        "1e-7",
        "0.30000000000000004",
    ] {
        let cells: Map<String, Value> =
            serde_json::from_str(&format!("{{\"f\":{number}}}")).unwrap();
        let out = shape(&s, ID, &cells, Source::Airtable);
        assert_eq!(
            text(&out.whole),
            format!("{{\"id\":\"{ID}\",\"f\":{number}}}")
        );
    }
}

#[test]
fn values_are_the_canonical_texts_of_indexed_sortable_and_link_fields() {
    let rec = json!({"type": "string", "pattern": "^rec"});
    let s = spec_of(json!({"schema": {"properties": {
        "n": {"type": "number", "sortable": true}, "open": {"type": "boolean", "indexed": true}, "plain": {"type": "string"},
        "links": {"type": "array", "items": rec}, "tags": {"type": "array", "items": {"type": "string"}, "indexed": true}},
        "required": ["open"]}}));
    let out = shaped(
        &s,
        json!({"n": 8.0, "plain": "x", "links": ["recA", "recB"], "tags": ["a", "b", "a"]}),
        Source::Airtable,
    );
    let expected: Vec<(u16, Vec<&str>)> = vec![
        (0, vec!["8"]),
        (1, vec!["false"]),
        (3, vec!["recA", "recB"]),
        (4, vec!["a", "b"]),
    ];
    let got: Vec<(u16, Vec<&str>)> = out
        .values
        .iter()
        .map(|v| (v.field, v.texts.iter().map(|t| text(t)).collect()))
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn a_text_too_long_to_ask_for_is_kept_only_to_sort_by() {
    let long = "x".repeat(MAX_ASKED + 1);
    let s = spec_of(
        json!({"properties": {"a": {"type": "string", "indexed": true}, "b": {"type": "string", "sortable": true}}}),
    );
    let out = shaped(&s, json!({"a": long, "b": long}), Source::Airtable);
    assert_eq!(out.values.iter().map(|v| v.field).collect::<Vec<_>>(), [1]);
}

#[test]
fn attachments_are_seen_in_a_lookup_and_in_texts_at_any_depth() {
    let s = spec_of(json!({"properties": {"f": {}}}));
    let file = json!({"id": "attB2n3", "url": "https://e.org/x"});
    let rows = [
        (json!([file]), true),
        (json!([[file]]), true),
        (json!([{"id": "recX", "url": "x"}]), false),
        (json!("att"), false),
        (json!("see https://v5.airtableusercontent.com/v3/u/1"), true),
        (json!("https://V5.AirtableUserContent.com/v3"), true),
        (json!("https%3A%2F%2Fv5.airtableusercontent.com%2Fv3"), true),
        (json!("[pic](https://dl.airtable.com/.attachments/x)"), true),
        (
            json!({"a": [{"b": "x\nhttps://v5.airtableusercontent.com/1,"}]}),
            true,
        ),
        (
            json!({"a": {"thumbnails": {"id": "attB2n3", "url": "x"}}}),
            true,
        ),
        (json!({"https://v5.airtableusercontent.com/1": 1}), true),
        (
            json!("https://airtable.com/app1 and airtableusercontent"),
            false,
        ),
        (json!("airtableusercontent.co"), false),
        (json!(".com.airtableusercontent."), false),
    ];
    for (cell, expected) in rows {
        assert_eq!(
            shaped(&s, json!({ "f": cell }), Source::Airtable).attachments,
            expected,
            "{cell}"
        );
    }
    assert!(!shaped(&s, json!({"not stored": [file]}), Source::Airtable).attachments);
    assert!(
        shaped(
            &spec_of(json!({})),
            json!({"any": [file]}),
            Source::Airtable
        )
        .attachments
    );
}

#[test]
fn a_required_field_that_nothing_fills_is_left_out_and_counted() {
    let s = spec_of(
        json!({"properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "integer", "readOnly": true}}, "required": ["a", "b", "c"]}),
    );
    let out = shaped(&s, json!({}), Source::Airtable);
    assert_eq!(text(&out.whole), format!("{{\"id\":\"{ID}\",\"b\":\"\"}}"));
    assert_eq!((out.violations, out.lacks_required), (1, true));
}

#[test]
fn a_view_is_filled_as_its_own_schema_says() {
    let s = spec_of(json!({
        "schema": {"properties": {"a": {"type": "string", "default": "x"}, "b": {"type": "integer"}, "c": {"type": "string", "default": "c"}, "d": {"type": "boolean"}}},
        "views": {
            "public": {"properties": {"b": {"type": ["integer", "null"]}, "a": {"type": "string", "default": "y"}, "d": {"type": "boolean"}}, "required": ["b", "d"]},
            "inherits": {"properties": {"c": {"type": "string"}}, "required": ["c"]},
            "optional": {"properties": {"c": {"type": "string"}}},
            "list": ["c", "id", "b"]}}));
    let out = shaped(&s, json!({}), Source::Airtable);
    let view = |name: &str| {
        let bytes = project(&s, s.view(name).unwrap(), ID, &out.whole, &out.spans).unwrap();
        text(&bytes).replace(&format!("\"id\":\"{ID}\""), "ID")
    };
    assert_eq!(view("public"), "{ID,\"b\":null,\"a\":\"y\",\"d\":false}");
    assert_eq!(view("inherits"), "{ID,\"c\":\"c\"}");
    assert_eq!(view("optional"), "{ID}");
    assert_eq!(view("list"), "{ID,\"c\":\"c\"}");
    assert_eq!(
        out.default_view.as_deref().map(text).unwrap(),
        format!("{{\"id\":\"{ID}\",\"b\":null,\"a\":\"y\",\"d\":false}}")
    );
    let full = shaped(&s, json!({"a": "1", "b": 2, "d": true}), Source::Airtable);
    assert_eq!(
        full.default_view.as_deref().map(text).unwrap(),
        format!("{{\"id\":\"{ID}\",\"b\":2,\"a\":\"1\",\"d\":true}}")
    );
}

#[test]
fn a_default_view_equal_to_the_whole_is_not_kept_twice() {
    let s = spec_of(json!({"schema": {"properties": {"a": {}}}, "views": {"public": ["a"]}}));
    assert_eq!(
        shaped(&s, json!({"a": 1}), Source::Airtable).default_view,
        None
    );
}

#[test]
fn a_stored_record_that_does_not_fit_is_an_error_and_no_panic() {
    let s = spec_of(json!({"schema": {"properties": {"a": {}}}, "views": {"v": ["a"]}}));
    let span = |start, end| Span {
        start,
        end,
        filled: false,
    };
    for spans in [
        vec![],
        vec![span(0, 99)],
        vec![span(9, 3)],
        vec![span(0, 1), span(0, 1)],
    ] {
        assert!(project(&s, 0, ID, b"{}", &spans).is_err(), "{spans:?}");
    }
    assert!(project(&s, 9, ID, b"{}", &[]).is_err());
    let open = spec_of(json!({"views": {"v": ["a"]}}));
    assert!(project(&open, 0, ID, b"{", &[]).is_err());
}

#[test]
fn without_a_schema_everything_is_stored_as_it_comes() {
    let s = spec_of(
        json!({"indexed": ["slug", "event"], "normalize": {"slug": ["lower"]}, "views": {"public": ["slug", "none"]}}),
    );
    let out = shaped(
        &s,
        json!({"z": 1, "id": "x", "event": ["recE"], "slug": "AB", "e": {"error": "#ERROR!"}}),
        Source::Airtable,
    );
    assert_eq!(text(&out.whole), format!("{{\"id\":\"{ID}\",\"slug\":\"ab\",\"z\":1,\"event\":[\"recE\"],\"e\":{{\"error\":\"#ERROR!\"}}}}"));
    assert!(out.spans.is_empty());
    let values: Vec<_> = out
        .values
        .iter()
        .map(|v| (v.field, v.texts.clone()))
        .collect();
    assert_eq!(
        values,
        [(0, vec![b"ab".to_vec()]), (1, vec![b"recE".to_vec()])]
    );
    assert_eq!(
        out.default_view.as_deref().map(text).unwrap(),
        format!("{{\"id\":\"{ID}\",\"slug\":\"ab\"}}")
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
        Just(json!("recA")),
        Just(json!({"error": "#ERROR!"})),
        Just(json!({"id": "selA", "name": "n", "color": "c"})),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec(("[a-c]|id|url|error", inner), 0..3)
                .prop_map(|kv| kv.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_cells_under_any_schema_give_json_whose_spans_are_its_members(
        given in crate::spec::tests::schemas(), a in any_json(), b in any_json(), told in any::<bool>(),
    ) {
        let Ok(s) = Spec::parse("things", given.to_string().as_bytes()) else { return Ok(()) };
        let source = if told { Source::Told } else { Source::Airtable };
        let out = shaped(&s, json!({"a": a, "b": b}), source);
        let whole: Map<String, Value> = serde_json::from_slice(&out.whole).unwrap();
        prop_assert_eq!(&whole["id"], ID);
        for (field, span) in s.fields().iter().zip(&out.spans) {
            let cut = text(&out.whole[span.start as usize..span.end as usize]);
            match whole.get(&field.name) {
                None => prop_assert_eq!(cut, ""),
                Some(v) => prop_assert_eq!(serde_json::from_str::<Value>(&format!("{{{cut}}}")).unwrap(), json!({&field.name: v})),
            }
        }
    }
    #[test]
    fn a_projection_is_what_parsing_and_selecting_gives(a in any_json(), b in any_json(), c in any_json(), holds in 0usize..8) {
        let names: Vec<&str> = ["a", "b", "c"].into_iter().enumerate().filter(|(i, _)| holds & (1 << i) != 0).map(|(_, n)| n).collect();
        let cells = json!({"a": a, "b": b, "c": c});
        let views = json!({ "v": names });
        let closed = spec_of(json!({"schema": {"properties": {"a": {}, "b": {"type": "string", "default": "x"}, "c": {}}}, "views": views}));
        let out = shaped(&closed, cells.clone(), Source::Airtable);
        let cut: Map<String, Value> = serde_json::from_slice(&project(&closed, 0, ID, &out.whole, &out.spans).unwrap()).unwrap();
        let whole: Map<String, Value> = serde_json::from_slice(&out.whole).unwrap();
        let expected: Map<String, Value> = whole.into_iter().filter(|(k, _)| k == "id" || names.contains(&k.as_str())).collect();
        prop_assert_eq!(cut, expected);
    }
    #[test]
    fn what_was_told_is_what_a_fetch_would_bring(id in "rec[a-z]{14}", name in "[a-z]{1,8}") {
        let s = spec_of(json!({"properties": {"o": {"type": "array", "items": {"pattern": "^rec"}, "maxItems": 1}, "s": {"type": "string"}}}));
        let fetched = shaped(&s, json!({"o": [id], "s": name}), Source::Airtable);
        for o in [json!(id), json!([id]), json!({"id": id, "name": "x"}), json!([{"id": id, "name": "x"}])] {
            let told = shaped(&s, json!({"o": o, "s": {"id": "selA", "name": name, "color": "red"}}), Source::Told);
            prop_assert_eq!(&told, &fetched);
        }
    }
}
