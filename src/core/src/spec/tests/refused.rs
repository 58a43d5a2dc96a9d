//! What `PODIUM.SPEC SET` refuses: each names the place.

use crate::spec::Spec;

#[test]
fn what_is_wrong_is_named_by_its_place() {
    let rows = [
        ("no JSON", "{", "", "not JSON"),
        ("no object", "[]", "", "must be an object"),
        (
            "a member twice",
            r#"{"views":{"v":[],"v":[]}}"#,
            "",
            "\"v\" is given twice",
        ),
        (
            "an unknown member",
            r#"{"tabel":"x"}"#,
            "/tabel",
            "\"tabel\" is no member",
        ),
        (
            "a schema beside members",
            r#"{"properties":{},"ttl":5}"#,
            "/properties",
            "under \"schema\"",
        ),
        ("a table that is none", r#"{"table":""}"#, "/table", "name"),
        (
            "a base that is none",
            r#"{"base":"app/x"}"#,
            "/base",
            "id of a base",
        ),
        (
            "a schema that is none",
            r#"{"schema":[]}"#,
            "/schema",
            "JSON Schema",
        ),
        (
            "a schema of a text",
            r#"{"type":"string"}"#,
            "",
            "no object",
        ),
        (
            "a schema without properties",
            r#"{"schema":{}}"#,
            "/schema",
            "no object",
        ),
        (
            "a dangling reference",
            r##"{"schema":{"properties":{"a":{"$ref":"#/$defs/A"}}}}"##,
            "/schema/properties/a/$ref",
            "points to nothing",
        ),
        (
            "a dangling reference, bare",
            r##"{"properties":{"a":{"items":{"$ref":"#/x"}}}}"##,
            "/properties/a/items/$ref",
            "points to nothing",
        ),
        (
            "a remote reference",
            r#"{"properties":{"a":{"$ref":"http://e.org/x"}}}"#,
            "/properties/a/$ref",
            "points to nothing",
        ),
        (
            "an unknown normalisation",
            r#"{"properties":{"a":{"normalize":["trim","x"]}}}"#,
            "/properties/a/normalize/1",
            "\"trim\"",
        ),
        (
            "a mark of the wrong type",
            r#"{"properties":{"a":{"indexed":"yes"}}}"#,
            "/properties/a/indexed",
            "true or false",
        ),
        (
            "a column of the wrong type",
            r#"{"properties":{"a":{"airtable":1}}}"#,
            "/properties/a/airtable",
            "column",
        ),
        (
            "an index of an unknown field",
            r#"{"schema":{"properties":{"a":{}}},"indexed":["b"]}"#,
            "/indexed/0",
            "no property \"b\"",
        ),
        (
            "an index given twice",
            r#"{"indexed":["b","b"]}"#,
            "/indexed/1",
            "given twice",
        ),
        (
            "an index of the id",
            r#"{"indexed":["id"]}"#,
            "/indexed/0",
            "own key",
        ),
        (
            "an index that fits no key",
            r#"{"properties":{"a:b":{"indexed":true}}}"#,
            "/indexed/a:b",
            "cannot be indexed",
        ),
        (
            "indexed, of the wrong type",
            r#"{"indexed":"b"}"#,
            "/indexed",
            "list",
        ),
        (
            "normalize, unknown",
            r#"{"normalize":{"b":["tirm"]}}"#,
            "/normalize/b/0",
            "\"trim\"",
        ),
        (
            "an override of the wrong type",
            r#"{"index_to_airtable":{"b":1}}"#,
            "/index_to_airtable/b",
            "field in Airtable",
        ),
        (
            "an entity that is none",
            r#"{"depends":{"b":"tomb"}}"#,
            "/depends/b",
            "entity",
        ),
        (
            "a view's unknown field",
            r#"{"schema":{"properties":{"a":{}}},"views":{"v":["id","c"]}}"#,
            "/views/v/1",
            "no property \"c\"",
        ),
        (
            "a view schema's unknown field",
            r#"{"schema":{"properties":{"a":{}}},"views":{"v":{"properties":{"c":{}}}}}"#,
            "/views/v/properties/c",
            "no property \"c\"",
        ),
        (
            "a view's field twice",
            r#"{"views":{"v":["a","a"]}}"#,
            "/views/v/1",
            "given twice",
        ),
        (
            "a view named *",
            r#"{"views":{"*":["a"]}}"#,
            "/views/*",
            "whole record",
        ),
        (
            "a default view that is none",
            r#"{"views":{"v":[]},"default_view":"w"}"#,
            "/default_view",
            "\"w\" is none",
        ),
        ("a lifetime of nothing", r#"{"ttl":0}"#, "/ttl", "seconds"),
        (
            "a lifetime in words",
            r#"{"tombstone_ttl":"6h"}"#,
            "/tombstone_ttl",
            "seconds",
        ),
        ("jitter in percent", r#"{"jitter":5}"#, "/jitter", "0.5"),
    ];
    for (name, json, place, what) in rows {
        match Spec::parse("things", json.as_bytes()) {
            Ok(_) => panic!("{name}: taken"),
            Err(e) => {
                assert_eq!(e.place, place, "{name}: {e}");
                assert!(e.what.contains(what), "{name}: {e}");
            }
        }
    }
}

#[test]
fn unknown_keywords_of_a_schema_are_no_error() {
    let json = r#"{"x-own": 1, "properties": {"a": {"type": "string", "x-widget": {"$note": []}, "contentEncoding": "base64"}}, "unevaluatedProperties": false}"#;
    assert!(Spec::parse("things", json.as_bytes()).is_ok());
}

#[test]
fn a_link_whose_name_fits_no_key_is_no_error_as_nobody_asked_for_the_index() {
    let json = r#"{"properties": {"a:b": {"type": "array", "items": {"pattern": "^rec"}, "maxItems": 1}}}"#;
    assert!(!Spec::parse("things", json.as_bytes()).unwrap().fields()[0].indexed);
}
