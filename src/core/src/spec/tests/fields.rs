//! What a property's schema makes of its field: kind, marks, fill, lookup.

use super::spec;
use crate::spec::{Field, Kind, Normal};
use alloc::vec;
use alloc::vec::Vec;
use serde_json::{json, Value};

/// A spec whose schema has this one property, not required.
fn one(property: Value) -> Field {
    spec(json!({"schema": {"properties": {"f": property}}})).fields[0].clone()
}
fn required(property: Value) -> Field {
    spec(json!({"schema": {"properties": {"f": property}, "required": ["f"]}})).fields[0].clone()
}

#[test]
fn the_kind_of_a_property_follows_from_its_schema() {
    let rec = json!({"type": "string", "pattern": "^rec[A-Za-z0-9]{14}$"});
    let rows = [
        ("string", json!({"type": "string"}), Kind::Text),
        ("enum without type", json!({"enum": ["a", "b"]}), Kind::Text),
        ("const", json!({"const": 3}), Kind::Integer),
        (
            "integer or number",
            json!({"anyOf": [{"type": "integer"}, {"type": "number"}]}),
            Kind::Number,
        ),
        (
            "nullable by type list",
            json!({"type": ["boolean", "null"]}),
            Kind::Boolean,
        ),
        (
            "nullable by anyOf",
            json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}),
            Kind::Integer,
        ),
        (
            "nullable by oneOf",
            json!({"oneOf": [{"type": "null"}, {"type": "string", "format": "date"}]}),
            Kind::Date,
        ),
        (
            "nullable keyword",
            json!({"type": "string", "format": "date-time", "nullable": true}),
            Kind::DateTime,
        ),
        (
            "allOf merged",
            json!({"allOf": [{"type": ["string", "integer"]}, {"type": "integer"}]}),
            Kind::Integer,
        ),
        (
            "array",
            json!({"type": "array", "items": {"type": "string"}}),
            Kind::Array,
        ),
        ("object", json!({"type": "object"}), Kind::Object),
        (
            "text or number",
            json!({"type": ["string", "number"]}),
            Kind::Any,
        ),
        ("nothing said", json!({}), Kind::Any),
        ("true", json!(true), Kind::Any),
        ("links", json!({"type": "array", "items": rec}), Kind::Links),
        (
            "single link",
            json!({"type": "array", "items": rec, "maxItems": 1}),
            Kind::Link,
        ),
        (
            "single link without type",
            json!({"items": rec, "maxItems": 1}),
            Kind::Link,
        ),
        (
            "tuple",
            json!({"type": "array", "prefixItems": [rec], "minItems": 1}),
            Kind::Link,
        ),
        (
            "tuple, old form",
            json!({"type": "array", "items": [rec]}),
            Kind::Link,
        ),
        (
            "tuple of two",
            json!({"type": "array", "prefixItems": [rec, rec]}),
            Kind::Links,
        ),
        (
            "optional single link",
            json!({"anyOf": [{"type": "array", "items": rec, "maxItems": 1}, {"type": "null"}]}),
            Kind::Link,
        ),
        (
            "maxItems beside allOf",
            json!({"allOf": [{"type": "array", "items": rec}], "maxItems": 1}),
            Kind::Link,
        ),
        (
            "pattern in allOf",
            json!({"type": "array", "items": {"allOf": [{"type": "string"}, {"pattern": "^rec"}]}}),
            Kind::Links,
        ),
        (
            "elements may be null",
            json!({"type": "array", "items": {"anyOf": [rec, {"type": "null"}]}}),
            Kind::Links,
        ),
        (
            "pattern in a group",
            json!({"type": "array", "items": {"type": "string", "pattern": "^(?:rec)\\w+"}}),
            Kind::Links,
        ),
        ("a bare id is a text", rec.clone(), Kind::Text),
    ];
    for (name, schema, kind) in rows {
        assert_eq!(one(schema).kind, kind, "{name}");
    }
}

#[test]
fn a_single_link_is_indexed_and_other_links_only_when_marked() {
    let rec = json!({"type": "string", "pattern": "^rec"});
    assert!(one(json!({"type": "array", "items": rec, "maxItems": 1})).indexed);
    assert!(!one(json!({"type": "array", "items": rec})).indexed);
    assert!(one(json!({"type": "array", "items": rec, "indexed": true})).indexed);
    assert!(!one(json!({"type": "array", "items": rec, "maxItems": 1, "indexed": false})).indexed);
    assert!(!one(json!({"type": "string", "pattern": "^rec"})).indexed);
}

#[test]
fn marks_count_wherever_in_the_branches_they_stand() {
    let rows = [
        ("outside", json!({"type": "string", "indexed": true})),
        (
            "in anyOf",
            json!({"anyOf": [{"type": "string", "indexed": true}, {"type": "null"}]}),
        ),
        (
            "in allOf",
            json!({"allOf": [{"type": "string"}, {"indexed": true}]}),
        ),
        (
            "in items",
            json!({"type": "array", "items": {"type": "string", "indexed": true}}),
        ),
        ("behind a reference", json!({"$ref": "#/$defs/M"})),
        (
            "behind a reference in a branch",
            json!({"oneOf": [{"type": "null"}, {"$ref": "#/$defs/M"}]}),
        ),
    ];
    for (name, property) in rows {
        let s = spec(
            json!({"properties": {"f": property}, "$defs": {"M": {"type": "string", "indexed": true}}}),
        );
        assert!(s.fields()[0].indexed, "{name}");
    }
    let f = one(
        json!({"anyOf": [{"type": "string", "sortable": true, "normalize": ["trim", "upper"], "airtable": "F 1"}, {"type": "null"}]}),
    );
    assert!(f.sortable && !f.indexed);
    assert_eq!(
        (f.normalize, f.airtable.as_str()),
        (vec![Normal::Trim, Normal::Upper], "F 1")
    );
}

#[test]
fn a_default_counts_if_it_satisfies_its_own_schema() {
    let fill = |f: Field| f.fill.unwrap_or_else(|| "left out".into());
    let rows = [
        (
            "a good default",
            json!({"type": "integer", "default": 3}),
            "3",
            "3",
        ),
        (
            "a bad one",
            json!({"type": "integer", "default": "x"}),
            "left out",
            "left out",
        ),
        (
            "a bad one, nullable",
            json!({"type": ["integer", "null"], "minimum": 1, "default": 0}),
            "left out",
            "null",
        ),
        (
            "null",
            json!({"anyOf": [{"type": "string"}, {"type": "null"}], "default": null}),
            "null",
            "null",
        ),
        (
            "null where it is not allowed",
            json!({"type": "string", "default": null}),
            "left out",
            "\"\"",
        ),
        (
            "in a branch",
            json!({"anyOf": [{"type": "string", "default": "x"}, {"type": "null"}]}),
            "\"x\"",
            "\"x\"",
        ),
        (
            "behind a reference's sibling",
            json!({"allOf": [{"type": "string", "enum": ["a"]}], "default": "a"}),
            "\"a\"",
            "\"a\"",
        ),
        (
            "of the elements, not of the array",
            json!({"type": "array", "items": {"default": "x"}}),
            "left out",
            "[]",
        ),
        ("boolean", json!({"type": "boolean"}), "false", "false"),
        (
            "nullable boolean",
            json!({"type": ["boolean", "null"]}),
            "false",
            "false",
        ),
        (
            "checked by default",
            json!({"type": "boolean", "default": true}),
            "false",
            "false",
        ),
        (
            "nullable, checked by default",
            json!({"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": true}),
            "false",
            "false",
        ),
        (
            "nullable, null by default",
            json!({"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": null}),
            "null",
            "null",
        ),
        (
            "always checked",
            json!({"const": true, "default": true}),
            "left out",
            "left out",
        ),
        (
            "checked by default and read-only",
            json!({"type": "boolean", "default": true, "readOnly": true}),
            "left out",
            "left out",
        ),
        ("array", json!({"type": "array"}), "left out", "[]"),
        (
            "array of at least one",
            json!({"type": "array", "minItems": 1}),
            "left out",
            "left out",
        ),
        (
            "nullable array of at least one",
            json!({"type": "array", "minItems": 1, "nullable": true}),
            "left out",
            "null",
        ),
        ("text", json!({"type": "string"}), "left out", "\"\""),
        (
            "text of at least one",
            json!({"type": "string", "minLength": 1}),
            "left out",
            "left out",
        ),
        (
            "address",
            json!({"type": "string", "format": "email"}),
            "left out",
            "left out",
        ),
        (
            "date",
            json!({"type": "string", "format": "date"}),
            "left out",
            "left out",
        ),
        (
            "choice",
            json!({"enum": ["a", "b"]}),
            "left out",
            "left out",
        ),
        (
            "pattern",
            json!({"type": "string", "pattern": "^rec"}),
            "left out",
            "left out",
        ),
        (
            "a pattern that engines read differently",
            json!({"type": "string", "pattern": r"^\w+$", "default": "José"}),
            "\"José\"",
            "\"José\"",
        ),
        (
            "a pattern that no engine finds",
            json!({"type": "string", "pattern": "^[a-z]+$", "default": "José"}),
            "left out",
            "left out",
        ),
        (
            "the opposite of such a pattern",
            json!({"type": "string", "not": {"pattern": r"^\W+$"}, "default": "é"}),
            "\"é\"",
            "\"é\"",
        ),
        (
            "as long as JavaScript counts",
            json!({"type": "string", "minLength": 2, "default": "😀"}),
            "\"😀\"",
            "\"😀\"",
        ),
        (
            "a pattern we cannot read",
            json!({"type": "string", "pattern": "^(?!x)y"}),
            "left out",
            "\"\"",
        ),
        ("number", json!({"type": "number"}), "left out", "left out"),
        ("anything", json!({}), "left out", "null"),
        (
            "read-only",
            json!({"type": "string", "default": "x", "readOnly": true}),
            "left out",
            "left out",
        ),
    ];
    for (name, schema, optional, demanded) in rows {
        assert_eq!(fill(one(schema.clone())), optional, "{name}, optional");
        assert_eq!(fill(required(schema)), demanded, "{name}, required");
    }
}

#[test]
fn a_default_is_normalised_like_a_cell() {
    let f = one(json!({"type": "string", "default": " Draft ", "normalize": ["trim", "lower"]}));
    assert_eq!(f.fill.as_deref(), Some("\"draft\""));
}

#[test]
fn links_are_asked_for_through_their_lookup() {
    let link = json!({"type": "array", "items": {"type": "string", "pattern": "^rec"}, "maxItems": 1, "airtable": "Voter"});
    let schema = json!({"properties": {"voter": link, "n": {"type": "integer"}}});
    assert_eq!(
        spec(json!({ "schema": schema })).fields()[0]
            .lookup
            .as_deref(),
        Some("voter_id")
    );
    let s = spec(json!({"schema": schema, "index_to_airtable": {"voter": "user_id"}}));
    assert_eq!(s.fields()[0].lookup.as_deref(), Some("user_id"));
    assert_eq!(s.fields()[1].lookup, None);
    assert_eq!(s.link_fields().collect::<Vec<_>>(), [0]);
}
