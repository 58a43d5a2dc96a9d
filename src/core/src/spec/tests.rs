#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod fields;
mod fixtures;
mod refused;
mod work;

use super::*;
use alloc::format;
use alloc::vec;
use serde_json::json;
use std::string::ToString;

pub(crate) fn spec(v: Value) -> Spec {
    Spec::parse("things", v.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}: {v}"))
}
#[test]
fn a_reference_is_any_local_pointer() {
    let rows = [
        (
            "$defs",
            "#/$defs/a~1b~0c",
            json!({"$defs": {"a/b~c": {"type": "boolean"}}}),
        ),
        (
            "percent-encoded",
            "#/$defs/a%2Fb%20c",
            json!({"$defs": {"a": {"b c": {"type": "boolean"}}}}),
        ),
        (
            "definitions",
            "#/definitions/X",
            json!({"definitions": {"X": {"type": "boolean"}}}),
        ),
        (
            "another property",
            "#/properties/g",
            json!({"properties": {"g": {"type": "boolean"}}}),
        ),
        (
            "into an array",
            "#/allOf/0",
            json!({"allOf": [{"type": "boolean"}]}),
        ),
        (
            "where a tool means to move it",
            "#/components/schemas/X",
            json!({"definitions": {"X": {"type": "boolean"}}}),
        ),
        (
            "by its id",
            "http://e.org/s.json#/$defs/X",
            json!({"$id": "http://e.org/s.json", "$defs": {"X": {"type": "boolean"}}}),
        ),
        (
            "by an anchor",
            "#x",
            json!({"$defs": {"X": {"$anchor": "x", "type": "boolean"}}}),
        ),
    ];
    for (name, reference, rest) in rows {
        let mut doc = json!({"properties": {"f": {"$ref": reference}}});
        for (k, v) in rest.as_object().unwrap() {
            match (k.as_str(), doc.get_mut(k)) {
                ("properties", Some(p)) => p
                    .as_object_mut()
                    .unwrap()
                    .extend(v.as_object().unwrap().clone()),
                _ => drop(doc.as_object_mut().unwrap().insert(k.clone(), v.clone())),
            }
        }
        // The root of the row "into an array" is no object any more, but its properties are still there.
        if name == "into an array" {
            doc = json!({"properties": {"f": {"$ref": "#/properties/g/allOf/0"}, "g": {"allOf": [{"type": "boolean"}]}}});
        }
        let s = spec(json!({ "schema": doc }));
        assert_eq!(s.fields()[0].kind, Kind::Boolean, "{name}");
    }
}

#[test]
fn the_root_may_be_a_reference_a_combination_or_recursive() {
    let s = spec(
        json!({"$ref": "#/$defs/E", "$defs": {"E": {"type": "object", "properties": {"a": {"type": "string"}, "sub": {"$ref": "#/$defs/E"}}}}}),
    );
    assert_eq!(
        s.fields()
            .iter()
            .map(|f| f.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "sub"]
    );
    assert_eq!(s.fields()[1].kind, Kind::Object);
    let s = spec(
        json!({"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {"type": "integer"}}}]}),
    );
    assert_eq!(s.fields().len(), 2);
    assert!(s.fields()[0].required && !s.fields()[1].required);
    let s = spec(json!({"oneOf": [
        {"properties": {"t": {"const": "x"}, "a": {"type": "string"}}, "required": ["t", "a"]},
        {"properties": {"t": {"const": "y"}}, "required": ["t"]}]}));
    assert!(
        s.fields()[0].required && !s.fields()[1].required,
        "required only where every alternative requires it"
    );
    assert_eq!(s.fields()[0].kind, Kind::Text);
    let s = spec(json!({"type": "object", "properties": {"again": {"$ref": "#"}}}));
    assert_eq!(s.fields()[0].kind, Kind::Object);
}

#[test]
fn schemas_that_refer_to_nothing_but_themselves_end() {
    let s = spec(
        json!({"properties": {"f": {"$ref": "#/$defs/A"}}, "required": ["f"],
        "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]}}}),
    );
    assert_eq!(s.fields()[0].kind, Kind::Any);
}

#[test]
fn the_public_view_is_the_default_one_unless_another_is_named() {
    let schema = json!({"properties": {"a": {}, "b": {}}});
    let views = json!({"all": ["id", "b", "a"], "public": ["a"]});
    let s = spec(json!({"schema": schema, "views": views}));
    assert_eq!(s.default_view(), s.view("public"));
    assert!(
        s.view_holds(s.view("public").unwrap(), 0) && !s.view_holds(s.view("public").unwrap(), 1)
    );
    assert_eq!(s.views()[0].fields().collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(
        spec(json!({"schema": schema, "views": views, "default_view": "all"})).default_view(),
        Some(0)
    );
    assert_eq!(
        spec(json!({"schema": schema, "views": views, "default_view": "*"})).default_view(),
        None
    );
    assert_eq!(
        spec(json!({"schema": schema, "views": {"x": ["a"]}})).default_view(),
        None
    );
}

#[test]
fn without_a_schema_the_members_name_the_fields() {
    let s = spec(
        json!({"indexed": ["slug"], "sortable": ["points", "slug"], "normalize": {"slug": ["lower"]}}),
    );
    assert!(s.open());
    assert_eq!(
        s.fields()
            .iter()
            .map(|f| f.name.as_str())
            .collect::<Vec<_>>(),
        ["slug", "points"]
    );
    let slug = &s.fields()[0];
    assert!(
        slug.indexed
            && slug.sortable
            && slug.normalize == [Normal::Lower]
            && slug.kind == Kind::Any
    );
    assert!(spec(json!({})).open());
}

#[test]
fn the_table_is_the_name_without_its_tag_unless_given() {
    assert_eq!(
        Spec::parse("{shop}events", b"{}").unwrap().table(),
        "events"
    );
    assert_eq!(spec(json!({"table": "tblX"})).table(), "tblX");
}

#[test]
fn the_effective_spec_shows_every_value_in_force() {
    let s = spec(
        json!({"schema": {"properties": {"id": {}, "a": {"type": "integer", "default": 1, "indexed": true}}},
        "views": {"public": ["a"]}, "ttl": 60}),
    );
    let in_force = InForce {
        base: "appX".into(),
        ttl_s: 28_800,
        jitter: 0.05,
        tombstone_ttl_s: 21_600,
    };
    let d = s.describe(&in_force);
    assert_eq!(
        d["fields"]["a"],
        json!({"kind": "integer", "airtable": "a", "indexed": true, "sortable": false,
        "required": false, "readOnly": false, "normalize": [], "default": 1, "fill": 1})
    );
    assert_eq!(d["fields"].as_object().unwrap().len(), 1);
    assert_eq!(d["views"], json!({"public": ["id", "a"]}));
    for (member, value) in [
        ("entity", json!("things")),
        ("table", json!("things")),
        ("base", json!("appX")),
        ("default_view", json!("public")),
        ("ttl", json!(60)),
        ("jitter", json!(0.05)),
        ("tombstone_ttl", json!(21_600)),
    ] {
        assert_eq!(d[member], value, "{member}");
    }
}

#[test]
fn specs_are_equal_in_effect_or_not() {
    let base = json!({"schema": {"properties": {"a": {"type": "string"}, "b": {"$ref": "#/$defs/B"}}, "$defs": {"B": {"type": "integer"}}}});
    let rows = [
        ("the same", base.clone(), true),
        (
            "titles",
            json!({"schema": {"title": "T", "properties": {"a": {"type": "string", "title": "A", "description": "d"}, "b": {"type": "integer"}}}}),
            true,
        ),
        (
            "definitions elsewhere",
            json!({"properties": {"a": {"type": "string"}, "b": {"$ref": "#/definitions/X"}}, "definitions": {"X": {"type": "integer"}}}),
            true,
        ),
        (
            "the default spelled out",
            json!({"schema": base["schema"], "table": "things"}),
            true,
        ),
        (
            "another table",
            json!({"schema": base["schema"], "table": "other"}),
            false,
        ),
        (
            "another order",
            json!({"properties": {"b": {"type": "integer"}, "a": {"type": "string"}}}),
            false,
        ),
        (
            "a pattern",
            json!({"properties": {"a": {"type": "string", "pattern": "x"}, "b": {"type": "integer"}}}),
            false,
        ),
        (
            "an index",
            json!({"schema": base["schema"], "indexed": ["a"]}),
            false,
        ),
        (
            "a view",
            json!({"schema": base["schema"], "views": {"v": ["a"]}}),
            false,
        ),
        (
            "a lifetime",
            json!({"schema": base["schema"], "ttl": 5}),
            false,
        ),
    ];
    for (name, other, equal) in rows {
        assert_eq!(
            spec(base.clone()).same_effect(&spec(other)),
            equal,
            "{name}"
        );
    }
}

#[test]
fn names_of_entities_and_records() {
    for good in ["events", "a.b-c_D9", "{shop}events", "tombs", "tags"] {
        assert!(entity_name_ok(good.as_bytes()), "{good}");
    }
    for bad in [
        "",
        "tomb",
        "podium",
        "tag",
        "{x}tomb",
        "{x}tag",
        "{x}podium",
        "{x}",
        "{}events",
        "a b",
        "a:b",
        "{x",
        "ev{x}",
        "é",
    ] {
        assert!(!entity_name_ok(bad.as_bytes()), "{bad}");
    }
    let id = |n: usize| format!("rec{}", "a".repeat(n));
    assert!(
        record_id_ok(id(1).as_bytes())
            && record_id_ok(id(61).as_bytes())
            && record_id_ok(b"rec_A9")
    );
    for bad in [
        "rec".to_string(),
        id(62),
        "recA-".into(),
        "Reca".into(),
        "xrecA".into(),
        "rec*".into(),
    ] {
        assert!(!record_id_ok(bad.as_bytes()), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in ".{0,200}") {
        let _ = Spec::parse("things", bytes.as_bytes());
    }
    #[test]
    fn what_is_persisted_is_equal_in_effect(v in crate::spec::tests::schemas()) {
        if let Ok(s) = Spec::parse("things", v.to_string().as_bytes()) {
            let again = Spec::parse("things", s.to_json().as_bytes()).unwrap();
            proptest::prop_assert!(s.same_effect(&again));
            let _ = s.describe(&InForce { base: "appX".into(), ttl_s: 1, jitter: 0.0, tombstone_ttl_s: 1 });
        }
    }
}

/// Specs made of the keywords that we read, in and out of place.
pub(crate) fn schemas() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(json!("string")),
        Just(json!("array")),
        Just(json!("boolean")),
        Just(json!("#/$defs/a")),
        Just(json!("#")),
        Just(json!("^rec")),
        Just(json!(["string", "null"])),
        Just(json!(true)),
        Just(json!(1)),
        Just(json!(null)),
        Just(json!([])),
        Just(json!({})),
        Just(json!(["trim"])),
        Just(json!("date")),
    ];
    let keyword = prop_oneof![
        Just("type"),
        Just("$ref"),
        Just("anyOf"),
        Just("allOf"),
        Just("items"),
        Just("prefixItems"),
        Just("maxItems"),
        Just("pattern"),
        Just("format"),
        Just("default"),
        Just("indexed"),
        Just("normalize"),
        Just("nullable"),
        Just("enum"),
        Just("const"),
        Just("properties"),
        Just("required"),
        Just("not"),
        Just("readOnly"),
        Just("minLength"),
    ];
    let schema = leaf.prop_recursive(5, 60, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec((keyword.clone(), inner.clone()), 0..5).prop_map(|kv| kv
                .into_iter()
                .map(|(k, v)| (String::from(k), v))
                .collect::<Value>()),
            proptest::collection::vec(inner, 0..3).prop_map(Value::Array),
        ]
    });
    (schema.clone(), schema.clone(), schema).prop_map(|(a, b, c)| {
        json!({"schema": {"properties": {"a": a, "b": b, "id": {}}, "required": ["a"], "$defs": {"a": c}}, "views": {"public": ["b"]}})
    })
}
