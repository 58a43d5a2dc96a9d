#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::spec::Spec;
use alloc::format;
use alloc::vec;

fn schema() -> Value {
    json!({"tables": [
        {"id": "tblP", "name": "projects", "fields": [
            {"id": "fldN", "name": "name", "type": "singleLineText"},
            {"id": "fldS", "name": "stage", "type": "singleSelect"},
            {"id": "fldP", "name": "points", "type": "number"},
            {"id": "fldD", "name": "due", "type": "date"},
            {"id": "fldT", "name": "tags", "type": "multipleSelects"},
            {"id": "fldF", "name": "files", "type": "multipleAttachments"},
            {"id": "fldO", "name": "open", "type": "checkbox"},
            {"id": "fldE", "name": "event", "type": "multipleRecordLinks", "options": {"linkedTableId": "tblE"}},
            {"id": "fldL", "name": "event_id", "type": "multipleLookupValues", "options": {"isValid": true, "recordLinkFieldId": "fldE", "fieldIdInLinkedTable": "fldR"}},
            {"id": "fldM", "name": "event_name", "type": "multipleLookupValues", "options": {"isValid": true, "recordLinkFieldId": "fldE", "fieldIdInLinkedTable": "fldEN"}},
            {"id": "fldX", "name": "parent", "type": "multipleRecordLinks", "options": {"linkedTableId": "tblP"}},
            {"id": "fldU", "name": "double", "type": "formula", "options": {"result": {"type": "number"}}},
            {"id": "fldV", "name": "whatever", "type": "formula"}]},
        {"id": "tblE", "name": "events", "fields": [
            {"id": "fldEN", "name": "name", "type": "singleLineText"},
            {"id": "fldR", "name": "id", "type": "formula", "options": {"formula": "RECORD_ID()"}}]},
        {"id": "tblZ", "name": "other", "fields": []}]})
}

/// The schema with one name changed, of a table or a column.
fn renamed(id: &str, name: &str) -> Value {
    let mut s = schema();
    for t in s["tables"].as_array_mut().unwrap() {
        if t["id"] == id {
            t["name"] = name.into();
        }
        for f in t["fields"].as_array_mut().unwrap() {
            if f["id"] == id {
                f["name"] = name.into();
            }
        }
    }
    s
}

fn without(id: &str) -> Value {
    let mut s = schema();
    let tables = s["tables"].as_array_mut().unwrap();
    tables.retain(|t| t["id"] != id);
    for t in tables {
        t["fields"]
            .as_array_mut()
            .unwrap()
            .retain(|f| f["id"] != id);
    }
    s
}

fn projects(schema: &Value) -> Table {
    tables(schema).into_iter().find(|t| t.id == "tblP").unwrap()
}

fn spec(properties: Value) -> Spec {
    let json = json!({"table": "projects", "schema": {"type": "object", "properties": properties}});
    Spec::parse("projects", json.to_string().as_bytes()).unwrap()
}

/// What is wrong with one spec beside `now`, where `before` was read earlier.
fn wrong(spec: &Spec, before: Option<&Value>, now: &Value) -> Vec<Problem> {
    let fresh = tables(now).into_iter().find(|t| t.id == "tblP");
    let old = before.map(projects);
    let known = match (fresh, &old) {
        (Some(fresh), Some(old)) => Some(fresh.after(old)),
        (fresh, old) => fresh.or(old.clone()),
    };
    let subject = Subject {
        spec,
        known: known.as_ref(),
    };
    check(now, &[subject], &["projects", "events"])
}

fn link(single: bool) -> Value {
    let mut v = json!({"type": "array", "items": {"type": "string", "pattern": "^rec"}});
    if single {
        v["maxItems"] = 1.into();
    }
    v
}

#[test]
fn a_spec_that_fits_has_no_problems() {
    let s = spec(json!({
        "id": {"type": "string"}, "name": {"type": "string"}, "stage": {"type": ["string", "null"], "indexed": true}, "points": {"type": "integer"},
        "due": {"type": "string", "format": "date"}, "tags": {"type": "array", "items": {"type": "string"}}, "files": {"type": "array", "items": {"type": "object"}},
        "open": {"type": "boolean"}, "event": link(true), "parent": link(false), "event_name": {"type": ["string", "null"]}, "double": {"type": "number"},
        "whatever": {"type": "boolean"}}));
    assert_eq!(wrong(&s, None, &schema()), []);
    let by_id = spec(json!({"state": {"type": "string", "airtable": "fldS"}}));
    assert_eq!(wrong(&by_id, None, &renamed("fldS", "Phase")), []);
    let open = Spec::parse("projects", br#"{"indexed": ["stage", "event"]}"#).unwrap();
    assert_eq!(wrong(&open, None, &schema()), []);
}

#[test]
fn a_renamed_column_is_told_with_its_id_and_its_name_now() {
    let s = spec(json!({"stage": {"type": "string", "indexed": true}}));
    let now = renamed("fldS", "Phase of it");
    let all = wrong(&s, Some(&schema()), &now);
    assert_eq!(all.len(), 1);
    let p = &all[0];
    assert_eq!((p.entity.as_str(), p.field.as_str()), ("projects", "stage"));
    assert!(
        p.problem.contains("fldS") && p.problem.contains("\"Phase of it\""),
        "{p:?}"
    );
    assert!(p.todo.contains("\"airtable\": \"fldS\""), "{p:?}");
    // Renamed twice, and read in between or not.
    let history = projects(&now).after(&projects(&schema()));
    let later = projects(&renamed("fldS", "Third")).after(&history);
    assert_eq!(later.column("stage").unwrap().name, "Third");
    assert_eq!(later.column("Phase of it").unwrap().id, "fldS");
}

#[test]
fn without_a_history_the_nearest_name_is_guessed() {
    let s = spec(json!({"stage": {"type": "string"}, "points": {"type": "number"}}));
    let all = wrong(&s, None, &renamed("fldS", "Stage 2"));
    assert!(
        all[0].problem.contains("perhaps") && all[0].problem.contains("\"Stage 2\""),
        "{all:?}"
    );
    // A name that comes near is of no use where the type cannot fit.
    let s = spec(json!({"doubl": {"type": "boolean"}}));
    assert!(!wrong(&s, None, &renamed("fldD", "dooubl"))[0]
        .problem
        .contains("dooubl"));
}

#[test]
fn a_deleted_column_is_not_taken_for_a_renamed_one() {
    let s = spec(json!({"stage": {"type": "string"}}));
    let mut now = without("fldS");
    now["tables"][0]["fields"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": "fldQ", "name": "stages", "type": "singleLineText"}));
    let p = &wrong(&s, Some(&schema()), &now)[0];
    assert!(
        p.problem.contains("fldS")
            && p.problem.contains("deleted")
            && !p.problem.contains("is called"),
        "{p:?}"
    );
    // Another column took its name: the spec means that one.
    let mut taken = renamed("fldS", "was");
    taken["tables"][0]["fields"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": "fldQ", "name": "stage", "type": "singleLineText"}));
    assert_eq!(wrong(&s, Some(&schema()), &taken), []);
}

#[test]
fn types_that_cannot_fit() {
    for (column, model) in [
        ("name", json!({"type": "number"})),
        ("name", json!({"type": "boolean"})),
        (
            "name",
            json!({"type": "array", "items": {"type": "string"}}),
        ),
        ("points", json!({"type": "string"})),
        ("points", json!({"type": "string", "format": "date"})),
        ("open", json!({"type": "string"})),
        ("open", json!({"type": "integer"})),
        ("due", json!({"type": "number"})),
        (
            "tags",
            json!({"type": "array", "items": {"type": "number"}}),
        ),
        (
            "files",
            json!({"type": "array", "items": {"type": "string"}}),
        ),
        ("files", json!({"type": "string"})),
        ("event", json!({"type": "number"})),
        ("event_name", json!({"type": "number"})),
        ("double", json!({"type": "string"})),
        ("points", link(true)),
        ("files", link(false)),
        ("stage", json!({"type": "object"})),
    ] {
        let all = wrong(&spec(json!({column: model.clone()})), None, &schema());
        assert!(
            all.iter().any(|p| p.problem.contains("the model says")),
            "{column} {model}: {all:?}"
        );
    }
    for (column, model) in [
        (
            "name",
            json!({"anyOf": [{"type": "number"}, {"type": "string"}]}),
        ),
        (
            "name",
            json!({"type": ["string", "null"], "format": "date"}),
        ),
        ("due", json!({"type": "string"})),
        ("due", json!({"type": "string", "format": "date-time"})),
        ("double", json!({"type": "boolean"})),
        ("tags", json!({"type": "string"})),
        ("event", json!({"type": ["string", "null"]})),
        (
            "event",
            json!({"type": "array", "items": {"type": "string"}}),
        ),
        ("files", json!({"type": "array"})),
        ("whatever", json!({"type": "object"})),
    ] {
        let all = wrong(&spec(json!({column: model.clone()})), None, &schema());
        assert_eq!(all, [], "{column} {model}");
    }
}

#[test]
fn lookups_that_are_missing_or_look_up_something_else() {
    let s = spec(json!({"event": link(true)}));
    let told = |now: &Value| wrong(&s, Some(&schema()), now);
    let p = &told(&without("fldL"))[0];
    assert_eq!(p.field, "event");
    assert!(
        p.problem.contains("event_id")
            && p.problem.contains("deleted")
            && p.todo.contains("RECORD_ID()"),
        "{p:?}"
    );
    let p = &told(&renamed("fldL", "Whose"))[0];
    assert!(
        p.problem.contains("\"Whose\"")
            && p.todo
                .contains("\"index_to_airtable\": {\"event\": \"Whose\"}"),
        "{p:?}"
    );
    let mut other = schema();
    other["tables"][0]["fields"][8]["options"]["fieldIdInLinkedTable"] = "fldEN".into();
    assert!(
        told(&other)[0]
            .problem
            .contains("shows the column \"name\""),
        "{:?}",
        told(&other)
    );
    other = schema();
    other["tables"][0]["fields"][8]["options"]["recordLinkFieldId"] = "fldX".into();
    assert!(told(&other)[0]
        .problem
        .contains("follows the link \"parent\""));
    other = schema();
    other["tables"][0]["fields"][8]["type"] = "number".into();
    assert!(told(&other)[0].problem.contains("holds no ids"));
    other = schema();
    other["tables"][0]["fields"][8]["options"]["isValid"] = false.into();
    assert!(told(&other)[0].problem.contains("broken"));
}

#[test]
fn tables_and_names_that_lead_nowhere() {
    let s = spec(json!({"name": {"type": "string"}}));
    let p = &wrong(&s, Some(&schema()), &renamed("tblP", "Missions"))[0];
    assert_eq!(p.field, "");
    assert!(
        p.problem.contains("tblP")
            && p.problem.contains("\"Missions\"")
            && p.todo.contains("\"table\": \"tblP\""),
        "{p:?}"
    );
    let p = &wrong(&s, None, &renamed("tblP", "Projects 2026"))[0];
    assert!(p.todo.contains("\"Projects 2026\""), "{p:?}");
    assert!(wrong(&s, Some(&schema()), &without("tblP"))[0]
        .problem
        .contains("deleted"));
    let s = Spec::parse(
        "projects",
        br#"{"depends": {"event_name": "evnts"}, "views": {"public": ["id", "stage", "nowhere"]}}"#,
    )
    .unwrap();
    let all = wrong(&s, None, &schema());
    let fields: Vec<&str> = all.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(fields, ["event_name", "nowhere"]);
    assert!(
        all[0].problem.contains("\"evnts\"") && all[0].problem.contains("\"events\""),
        "{all:?}"
    );
    assert!(all[1].problem.contains("public"));
}

#[test]
fn what_is_known_is_read_back_as_it_was_written() {
    let now = renamed("fldS", "Phase");
    let t = projects(&now).after(&projects(&schema()));
    assert_eq!(Table::parse(t.to_json().as_bytes()), Some(t.clone()));
    let gone = projects(&without("fldS")).after(&t);
    let back = Table::parse(gone.to_json().as_bytes()).unwrap();
    assert!(back.column("stage").unwrap().gone() && back.column("Phase").unwrap().gone());
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"id":1,"name":"x","columns":[]}"#,
        r#"{"id":"tblP","name":"x"}"#,
    ] {
        assert_eq!(Table::parse(bad.as_bytes()), None, "{bad}");
    }
    let odd = Table::parse(
        br#"{"id":"tblP","name":"x","columns":[7,{"id":"fldA"},{"id":"fldB","name":"b","to":5}]}"#,
    )
    .unwrap();
    assert!(odd.column("fldB").is_some() && odd.leads("b").is_none());
}

#[test]
fn where_columns_lead() {
    let t = projects(&schema());
    let to = |column: &str| t.leads(column).map(|to| to.table.as_str());
    assert_eq!(to("event"), Some("tblE"));
    assert_eq!(to("fldX"), Some("tblP"), "to its own table");
    assert_eq!(to("event_id"), Some("tblE"), "a lookup of their ids");
    assert_eq!(to("event_name"), None);
    assert_eq!(to("nowhere"), None);
    let later = projects(&renamed("fldE", "Which")).after(&t);
    assert_eq!(
        later.leads("event").map(|to| to.name.as_str()),
        Some("events"),
        "a spec may still say so"
    );
}

#[test]
fn a_spec_of_another_table_altogether_is_checked_in_no_time() {
    let properties: serde_json::Map<String, Value> = (0..5_000)
        .map(|n| {
            (
                format!("a rather long name of a column, number {n}"),
                json!({"type": "string"}),
            )
        })
        .collect();
    let mut now = schema();
    for n in 0..500 {
        let fields = now["tables"][0]["fields"].as_array_mut().unwrap();
        fields.push(json!({"id": format!("fldB{n}"), "name": format!("another long name of a column, {n}"), "type": "singleLineText"}));
    }
    let s = spec(Value::Object(properties));
    let begun = std::time::Instant::now();
    assert_eq!(wrong(&s, None, &now).len(), 5_000);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn columns_that_are_gone_are_not_kept_without_end() {
    let mut t = projects(&schema());
    for n in 0..2_000 {
        let fields: Vec<Value> =
            vec![json!({"id": format!("fldG{n}"), "name": format!("g{n}"), "type": "number"})];
        let s = json!({"tables": [{"id": "tblP", "name": format!("p{n}"), "fields": fields}]});
        t = projects(&s).after(&t);
    }
    assert!(t.to_json().len() < 60_000 && t.column("g1999").is_some() && t.column("g3").is_none());
    assert!(t.is_called("p1998") && !t.is_called("p3"));
}
