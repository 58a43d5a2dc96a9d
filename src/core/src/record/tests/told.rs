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
        format!("{{\"id\":\"{ID}\",\"stage\":\"Shut\",\"open\":false,\"note\":\"x\"}}")
    );
}

#[test]
fn what_satisfies_the_schema_as_it_stands_is_kept_as_it_stands() {
    let object = json!({"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}, "required": ["id", "name"]});
    let team = json!([{"id": "ugpA1", "name": "Design"}]);
    let choice = json!({"id": "selA1", "name": "Open", "color": "red"});
    let linked = json!([{"id": "recA1b2C3d4E5f6G7", "name": "Ada"}]);
    let list = json!({"type": "array", "items": object});
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let either = json!({"anyOf": [object, {"type": "string"}]});
    let links = json!({"type": "array", "items": {"type": "string", "pattern": "^rec"}});
    // What is told, what UPSERT keeps of it, what is kept of a script's.
    let rows = [
        (
            "a group",
            list.clone(),
            team.clone(),
            team.clone(),
            team.clone(),
        ),
        (
            "choices",
            list.clone(),
            json!([choice]),
            json!([choice]),
            json!([choice]),
        ),
        (
            "linked records",
            list,
            linked.clone(),
            linked.clone(),
            linked.clone(),
        ),
        (
            "one choice",
            object,
            choice.clone(),
            choice.clone(),
            choice.clone(),
        ),
        (
            "any objects",
            json!({"type": "array", "items": {}}),
            team.clone(),
            team.clone(),
            team.clone(),
        ),
        (
            "names",
            texts.clone(),
            json!([choice]),
            json!(["Open"]),
            json!(["Open"]),
        ),
        (
            "names of links",
            texts,
            linked.clone(),
            json!(["recA1b2C3d4E5f6G7"]),
            json!(["recA1b2C3d4E5f6G7"]),
        ),
        (
            "either",
            either,
            choice.clone(),
            choice.clone(),
            json!("Open"),
        ),
        (
            "links",
            links,
            linked,
            json!(["recA1b2C3d4E5f6G7"]),
            json!(["recA1b2C3d4E5f6G7"]),
        ),
        (
            "null",
            json!({"type": ["string", "null"], "default": "x"}),
            json!(null),
            json!(null),
            json!("x"),
        ),
        (
            "normalised all the same",
            json!({"type": "string", "normalize": ["lower"]}),
            json!("A"),
            json!("a"),
            json!("a"),
        ),
    ];
    for (name, schema, told, kept, scripts) in rows {
        let s = spec_of(json!({"schema": {"properties": {"f": schema}}}));
        for (source, expected) in [(Source::Told, &kept), (Source::Script, &scripts)] {
            let out = shaped(&s, json!({"f": told}), source);
            let whole: Value = serde_json::from_slice(&out.whole).unwrap();
            assert_eq!(
                (&whole["f"], out.violations),
                (expected, 0),
                "{name}, {source:?}"
            );
        }
    }
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
