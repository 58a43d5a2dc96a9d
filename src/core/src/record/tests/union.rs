//! Models whose root is a union.

use super::{shaped, spec_of, ID};
use crate::record::{fits, project, Source};
use serde_json::{json, Value};

/// A cat and a dog, told apart by `kind`; nothing beside their own properties is allowed.
fn pets() -> Value {
    json!({
        "$defs": {
            "Cat": {"type": "object", "additionalProperties": false, "required": ["id", "kind", "name"], "properties": {
                "id": {"type": "string"}, "kind": {"const": "cat"}, "name": {"type": "string"}, "lives": {"type": "integer", "default": 9},
                "indoor": {"type": "boolean", "default": true}}},
            "Dog": {"type": "object", "additionalProperties": false, "required": ["id", "kind", "tricks"], "properties": {
                "id": {"type": "string"}, "kind": {"const": "dog"}, "tricks": {"type": "array", "items": {"type": "string"}},
                "lives": {"type": "integer", "default": 1}}}},
        "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
        "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}}
    })
}

fn read(schema: Value, cells: Value) -> (Value, u32) {
    let out = shaped(
        &spec_of(json!({ "schema": schema })),
        cells,
        Source::Airtable,
    );
    let mut whole: Value = serde_json::from_slice(&out.whole).unwrap();
    assert_eq!(whole["id"], ID);
    whole.as_object_mut().unwrap().remove("id");
    (whole, out.violations)
}

#[test]
fn a_record_is_filled_by_the_alternative_that_it_is_of_and_by_no_other() {
    let rows = [
        (
            "the first",
            json!({"kind": "cat", "name": "Tom"}),
            json!({"kind": "cat", "name": "Tom", "lives": 9, "indoor": false}),
            0,
        ),
        (
            "the second, its empty cells left out",
            json!({"kind": "dog"}),
            json!({"kind": "dog", "lives": 1, "tricks": []}),
            0,
        ),
        (
            "a cell that only another names",
            json!({"kind": "dog", "tricks": ["sit"], "name": "left over"}),
            json!({"kind": "dog", "lives": 1, "tricks": ["sit"]}),
            0,
        ),
        (
            "a computed mark",
            json!({"kind": ["dog"], "lives": 3}),
            json!({"kind": "dog", "lives": 3, "tricks": []}),
            0,
        ),
        (
            "none",
            json!({"kind": "eel", "name": "x"}),
            json!({"kind": "eel", "name": "x"}),
            2,
        ),
        ("no mark", json!({"name": "x"}), json!({"name": "x"}), 1),
        ("nothing", json!({}), json!({}), 1),
    ];
    for (name, cells, expected, violations) in rows {
        let (whole, counted) = read(pets(), cells);
        assert_eq!(whole, expected, "{name}");
        assert_eq!(counted > 0, violations > 0, "{name}: {counted}");
    }
}

#[test]
fn a_union_may_be_spelled_in_other_ways() {
    let (a, b) = (
        json!({"properties": {"t": {"const": "a"}, "x": {"type": "integer", "default": 1}}, "required": ["t"]}),
        json!({"properties": {"t": {"const": "b"}, "y": {"type": "integer", "default": 2}}, "required": ["t"]}),
    );
    let base = json!({"properties": {"n": {"type": "string", "default": "-"}}});
    let rows = [
        ("anyOf", json!({"anyOf": [a, b]})),
        ("nullable", json!({"anyOf": [a, b, {"type": "null"}]})),
        (
            "nested",
            json!({"oneOf": [{"oneOf": [a]}, {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/B"}]}], "$defs": {"B": b}}),
        ),
        (
            "around",
            json!({"allOf": [{"oneOf": [a, b]}], "properties": {}}),
        ),
        (
            "by a reference",
            json!({"$ref": "#/$defs/U", "$defs": {"U": {"oneOf": [a, b]}}}),
        ),
    ];
    for (name, schema) in rows {
        let (whole, counted) = read(schema, json!({"t": "b"}));
        assert_eq!((whole, counted), (json!({"t": "b", "y": 2}), 0), "{name}");
    }
    let shared = json!({"allOf": [base, {"anyOf": [a, b]}]});
    assert_eq!(
        read(shared, json!({"t": "a"})).0,
        json!({"n": "-", "t": "a", "x": 1})
    );
}

#[test]
fn without_a_mark_the_first_that_the_cells_satisfy_counts() {
    let schema = json!({"anyOf": [
        {"properties": {"title": {"type": "string"}, "done": {"type": "boolean"}}, "required": ["title", "done"]},
        {"properties": {"url": {"type": "string"}, "hits": {"type": "integer", "default": 0}}, "required": ["url"]}]});
    for (cells, expected) in [
        (
            json!({"title": "t", "done": true}),
            json!({"title": "t", "done": true}),
        ),
        (json!({"title": "t"}), json!({"title": "t", "done": false})),
        (json!({"url": "u"}), json!({"url": "u", "hits": 0})),
        (json!({"hits": 3}), json!({"url": "", "hits": 3})),
    ] {
        assert_eq!(read(schema.clone(), cells.clone()).0, expected, "{cells}");
    }
}

#[test]
fn the_same_property_may_differ_from_one_to_another() {
    let schema = json!({"oneOf": [
        {"properties": {"k": {"const": 1}, "v": {"type": "string", "default": "s"}}, "required": ["k"]},
        {"properties": {"k": {"const": 2}, "v": {"type": "integer", "default": 7}}, "required": ["k"]}]});
    assert_eq!(
        read(schema.clone(), json!({"k": 2})).0,
        json!({"k": 2, "v": 7})
    );
    assert_eq!(
        read(schema.clone(), json!({"k": 2, "v": [3]})).0,
        json!({"k": 2, "v": 3})
    );
    assert_eq!(read(schema, json!({"k": 1})).0, json!({"k": 1, "v": "s"}));
}

#[test]
fn a_view_may_be_a_union_too() {
    let s = spec_of(json!({"schema": {"properties": {
            "kind": {"type": "string"}, "name": {"type": "string", "default": "?"}, "tricks": {"type": "array", "items": {"type": "string"}}, "lives": {"type": "integer"}, "indoor": {"type": "boolean"}}},
        "views": {"public": pets(), "plain": {"properties": {"name": {"type": "string", "default": "!"}}}}}));
    let out = shaped(&s, json!({"kind": "dog", "lives": 3}), Source::Airtable);
    let view: Value = serde_json::from_slice(out.default_view.as_ref().unwrap()).unwrap();
    assert_eq!(
        view,
        json!({"id": ID, "kind": "dog", "lives": 3, "tricks": []}),
        "a fill of the whole record is no cell of the view's"
    );
    let plain = project(&s, s.view("plain").unwrap(), ID, &out.whole, &out.spans).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&plain).unwrap(),
        json!({"id": ID, "name": "!"})
    );
    let open = spec_of(json!({"views": {"public": pets()}}));
    let out = shaped(
        &open,
        json!({"kind": "cat", "name": "Tom", "tricks": ["no"]}),
        Source::Airtable,
    );
    let view: Value = serde_json::from_slice(out.default_view.as_ref().unwrap()).unwrap();
    assert_eq!(
        view,
        json!({"id": ID, "kind": "cat", "name": "Tom", "lives": 9, "indoor": false})
    );
}

#[test]
fn what_is_told_of_no_alternative_is_looked_up() {
    let s = spec_of(json!({ "schema": pets() }));
    let lacks = |cells: Value, source| shaped(&s, cells, source).lacks_required;
    assert!(!lacks(json!({"kind": "cat", "name": "Tom"}), Source::Told));
    assert!(
        lacks(json!({"kind": "cat"}), Source::Told),
        "a flat record holds what is required"
    );
    assert!(!lacks(json!({"kind": "cat"}), Source::ToldCells));
    assert!(lacks(json!({"kind": "eel"}), Source::Told) && lacks(json!({}), Source::ToldCells));
    let fit = |cells: Value| fits(&s, cells.as_object().unwrap());
    assert!(fit(
        json!({"kind": {"id": "selA", "name": "dog", "color": "red"}})
    ));
    assert!(!fit(json!({"kind": "eel"})) && !fit(json!({"name": "x"})));
}
