//! UPSERT, WEBHOOK, CREATE and UPDATE.

use super::{shaped, spec_of, text, ID};
use crate::record::{cells_of_upsert, cells_to_write, fits, read_upsert, Source};
use alloc::format;
use alloc::string::ToString;
use serde_json::{json, Value};

#[test]
fn an_upsert_is_flat_or_airtable_shaped() {
    let rows = [
        (
            "flat",
            json!({"id": ID, "a": 1}),
            Some((json!({"a": 1}), Source::Told)),
        ),
        (
            "flat, without id",
            json!({"a": 1}),
            Some((json!({"a": 1}), Source::Told)),
        ),
        (
            "shaped",
            json!({"id": ID, "createdTime": "x", "fields": {"a": 1}}),
            Some((json!({"a": 1}), Source::ToldCells)),
        ),
        (
            "a column named fields",
            json!({"fields": {"a": 1}, "b": 2}),
            Some((json!({"fields": {"a": 1}, "b": 2}), Source::Told)),
        ),
        (
            "fields that are none",
            json!({"fields": "x"}),
            Some((json!({"fields": "x"}), Source::Told)),
        ),
        ("another id", json!({"id": "recOther", "a": 1}), None),
        ("an id that is none", json!({"id": 1, "fields": {}}), None),
        ("no object", json!([1]), None),
    ];
    for (name, given, expected) in rows {
        let got = read_upsert(ID, given.to_string().as_bytes()).ok();
        assert_eq!(
            got.clone().map(|(c, s)| (Value::Object(c), s)),
            expected,
            "{name}"
        );
        assert_eq!(
            cells_of_upsert(ID, given.to_string().as_bytes()).ok(),
            got.map(|(c, _)| c),
            "{name}"
        );
    }
    assert!(read_upsert(ID, b"{").is_err());
}

#[test]
fn cells_told_by_field_or_column_name_become_what_a_fetch_gives() {
    let s = spec_of(json!({"properties": {
        "stage": {"type": "string", "airtable": "Stage"}, "tags": {"type": "array", "items": {"type": "string"}},
        "who": {"type": "object"}, "open": {"type": "boolean", "default": true}, "note": {"type": "string", "default": "x"}}}));
    let choice = json!({"id": "selQ1", "name": "Open", "color": "blueLight2"});
    let person = json!({"id": "usrC4", "email": "a@b.c", "name": "Ada"});
    let out = shaped(
        &s,
        json!({"Stage": choice, "tags": [choice], "who": person, "open": false, "note": ""}),
        Source::Told,
    );
    let whole: Value = serde_json::from_slice(&out.whole).unwrap();
    assert_eq!(
        whole,
        json!({"id": ID, "stage": "Open", "tags": ["Open"], "who": person, "open": false, "note": ""})
    );
    let cells = shaped(
        &s,
        json!({"stage": "Shut", "open": null, "note": ""}),
        Source::ToldCells,
    );
    assert_eq!(
        text(&cells.whole),
        format!("{{\"id\":\"{ID}\",\"stage\":\"Shut\",\"open\":true,\"note\":\"x\"}}")
    );
}

#[test]
fn a_flat_record_must_hold_what_is_required() {
    let s = spec_of(
        json!({"properties": {"a": {"type": "string"}, "n": {"type": "integer"}, "d": {"type": "integer", "default": 1}, "c": {"type": "string", "readOnly": true}},
        "required": ["a", "n", "d", "c"]}),
    );
    let rows = [
        ("all there", json!({"a": "x", "n": 1}), Source::Told, false),
        ("a fillable one lacks", json!({"n": 1}), Source::Told, true),
        (
            "an empty one",
            json!({"a": "", "n": 1}),
            Source::Told,
            false,
        ),
        (
            "Airtable leaves empty cells out",
            json!({"n": 1}),
            Source::ToldCells,
            false,
        ),
        (
            "an unfillable one lacks",
            json!({"a": "x"}),
            Source::ToldCells,
            true,
        ),
    ];
    for (name, cells, source, lacks) in rows {
        assert_eq!(shaped(&s, cells, source).lacks_required, lacks, "{name}");
    }
}

#[test]
fn a_script_s_cells_fit_or_do_not() {
    let s = spec_of(
        json!({"properties": {"n": {"type": "integer"}, "l": {"type": "array", "items": {"pattern": "^rec", "type": "string"}, "maxItems": 1}}, "required": ["n"]}),
    );
    let rows = [
        (json!({"n": 1, "l": [{"id": "recA", "name": "x"}]}), true),
        (json!({"n": null}), true),
        (json!({}), true),
        (json!({"n": "one"}), false),
        (json!({"n": 1, "l": ["recA", "recB"]}), false),
        (json!({"n": 1, "other": {}}), true),
    ];
    for (cells, expected) in rows {
        assert_eq!(fits(&s, cells.as_object().unwrap()), expected, "{cells}");
    }
    assert!(fits(
        &spec_of(json!({})),
        json!({"n": "one"}).as_object().unwrap()
    ));
}

#[test]
fn what_is_written_goes_by_column_names_without_what_is_computed() {
    let s = spec_of(json!({"schema": {"properties": {
        "id": {}, "name": {"type": "string", "airtable": "Name"}, "n": {"type": ["integer", "null"]}, "full": {"readOnly": true}, "who": {},
        "owner": {"type": "array", "items": {"pattern": "^rec"}, "maxItems": 1}}}, "depends": {"who": "users"}}));
    let write = |v: Value| cells_to_write(&s, v.to_string().as_bytes()).map(Value::Object);
    assert_eq!(
        write(json!({"id": "recX", "name": "a", "n": null, "full": 1, "who": 2, "owner": "recO"}))
            .unwrap(),
        json!({"Name": "a", "n": null, "owner": ["recO"]})
    );
    assert_eq!(
        write(json!({"Name": "b", "owner": null})).unwrap(),
        json!({"Name": "b", "owner": null})
    );
    assert!(write(json!({"nmae": "b"}))
        .unwrap_err()
        .0
        .contains("\"nmae\""));
    assert!(write(json!([])).is_err());
    let open = spec_of(json!({}));
    assert_eq!(
        Value::Object(cells_to_write(&open, br#"{"id":"recX","any":[1]}"#).unwrap()),
        json!({"any": [1]})
    );
}
