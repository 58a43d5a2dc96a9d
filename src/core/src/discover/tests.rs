#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::question::Column;
use crate::spec::{Kind, Spec};
use alloc::vec;
use proptest::prelude::*;

const BASE: &str = "appK3xT9vQ2mWb7Rd";

/// Projects with an owner among People, by a lookup that is not called owner_id.
fn schema() -> Value {
    json!({"tables": [
        {"id": "tblP", "name": "Projects", "primaryFieldId": "fld1", "fields": [
            {"id": "fld1", "name": "Name", "type": "singleLineText"},
            {"id": "fld2", "name": "Stage", "type": "singleSelect", "options": {"choices": []}},
            {"id": "fld3", "name": "Points", "type": "number", "options": {"precision": 0}},
            {"id": "fld4", "name": "Owner", "type": "multipleRecordLinks", "options": {"linkedTableId": "tblU", "prefersSingleRecordLink": true, "inverseLinkFieldId": "fldI"}},
            {"id": "fld5", "name": "Whose", "type": "multipleLookupValues", "options": {"isValid": true, "recordLinkFieldId": "fld4", "fieldIdInLinkedTable": "fldR"}},
            {"id": "fld6", "name": "Owner Name", "type": "multipleLookupValues", "options": {"recordLinkFieldId": "fld4", "fieldIdInLinkedTable": "fldN"}},
            {"id": "fld7", "name": "Double", "type": "formula", "options": {"formula": "{fld3}*2", "referencedFieldIds": ["fld3"], "result": {"type": "number"}}},
            {"id": "fld8", "name": "Greeting", "type": "formula", "options": {"formula": "x", "referencedFieldIds": ["fld6"], "result": {"type": "singleLineText"}}},
            {"id": "fld9", "name": "Done", "type": "checkbox"},
            {"id": "flda", "name": "Due", "type": "date"},
            {"id": "fldb", "name": "Tags", "type": "multipleSelects"},
            {"id": "fldc", "name": "Files", "type": "multipleAttachments"},
            {"id": "fldd", "name": "id", "type": "formula", "options": {"formula": "RECORD_ID()", "referencedFieldIds": []}},
            {"id": "flde", "name": "Shiny", "type": "somethingNew"}]},
        {"id": "tblU", "name": "Our People!", "fields": [
            {"id": "fldN", "name": "Name", "type": "singleLineText"},
            {"id": "fldR", "name": "RID", "type": "formula", "options": {"formula": " record_id() "}},
            {"id": "fldI", "name": "Projects", "type": "multipleRecordLinks", "options": {"linkedTableId": "tblP", "inverseLinkFieldId": "fld4"}}]},
        {"id": "tblV", "name": "our people?", "fields": []},
        {"id": "tblT", "name": "Tomb", "fields": [{"id": "fldx", "name": "a:b", "type": "singleLineText"}]}]})
}

fn of<'a>(all: &'a [Planned], name: &str) -> &'a Planned {
    all.iter()
        .find(|p| p.name == name)
        .unwrap_or_else(|| panic!("no {name}"))
}

fn parsed(p: &Planned) -> Spec {
    Spec::parse(&p.name, p.found.made.to_string().as_bytes())
        .unwrap_or_else(|e| panic!("{}: {e}", p.name))
}

#[test]
fn an_entity_for_each_table() {
    let all = plan(&schema(), BASE, "", &[]);
    let names: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        names,
        ["projects", "our_people_", "our_people__2", "tomb_2"]
    );
    for p in &all {
        let spec = parsed(p);
        assert_eq!(
            (spec.base(), spec.table()),
            (Some(BASE), p.found.table_id.as_str())
        );
    }
    let tagged = plan(&schema(), BASE, "{shop}", &[]);
    assert_eq!(tagged[0].name, "{shop}projects");
}

#[test]
fn fields_follow_from_their_types() {
    let all = plan(&schema(), BASE, "", &[]);
    let s = parsed(of(&all, "projects"));
    let kind = |name: &str| s.get(s.field(name).unwrap()).unwrap().kind;
    for (name, expected) in [
        ("Name", Kind::Text),
        ("Stage", Kind::Text),
        ("Points", Kind::Number),
        ("Owner", Kind::Link),
        ("Done", Kind::Boolean),
        ("Due", Kind::Date),
        ("Tags", Kind::Array),
        ("Double", Kind::Number),
        ("Greeting", Kind::Text),
        ("Shiny", Kind::Any),
        ("Files", Kind::Array),
    ] {
        assert_eq!(kind(name), expected, "{name}");
    }
    let field = |name: &str| s.get(s.field(name).unwrap()).unwrap();
    assert!(
        field("Owner").indexed
            && field("Stage").indexed
            && field("Done").indexed
            && field("Points").sortable
    );
    assert_eq!(field("Done").default, Some(json!(false)));
    assert_eq!(field("Points").default, Some(Value::Null));
    for computed in ["Whose", "Owner Name", "Double", "Greeting"] {
        assert!(
            field(computed).read_only && field(computed).fill.is_none(),
            "{computed}"
        );
    }
    assert_eq!(s.field("id"), None, "an id is the record's own");
    assert_eq!(
        parsed(of(&all, "our_people_")).get(2).map(|f| f.kind),
        Some(Kind::Links)
    );
}

#[test]
fn lookups_and_ways_back_are_found_by_the_schema() {
    let all = plan(&schema(), BASE, "", &[]);
    let p = of(&all, "projects");
    let s = parsed(p);
    assert_eq!(
        s.get(s.field("Owner").unwrap()).unwrap().lookup.as_deref(),
        Some("Whose")
    );
    assert!(p.found.proves("Owner", "Whose"));
    assert!(
        !p.found.proves("Owner", "owner_id"),
        "another lookup than the schema's"
    );
    assert!(!p.found.proves("Name", "Whose"));
    assert_eq!(
        (
            p.found.column("Owner"),
            p.found.column("Name"),
            p.found.column("nobody")
        ),
        (Column::Link, Column::Plain, Column::Unknown)
    );
    assert_eq!(
        p.found.link("Owner"),
        Some(&LinkTo {
            column: "Owner".into(),
            entity: "our_people_".into(),
            table: "tblU".into(),
            inverse: Some("fldI".into())
        })
    );
    let depends = |name: &str| s.get(s.field(name).unwrap()).unwrap().depends.clone();
    assert_eq!(depends("Owner Name").as_deref(), Some("our_people_"));
    assert_eq!(
        depends("Greeting").as_deref(),
        Some("our_people_"),
        "through the lookup it is made of"
    );
    assert_eq!(
        depends("Double").as_deref(),
        Some("projects"),
        "of its own cells"
    );
    assert_eq!(
        Found::parse(p.found.to_json().as_bytes()).as_ref(),
        Some(&p.found)
    );
}

fn existing(p: &Planned) -> Existing {
    Existing {
        name: p.name.clone(),
        base: BASE.into(),
        table: p.found.table_id.clone(),
        found: Some(p.found.clone()),
    }
}

#[test]
fn a_table_keeps_its_entity_when_it_is_renamed() {
    let before = plan(&schema(), BASE, "", &[]);
    let mut changed = schema();
    changed["tables"][0]["name"] = json!("Missions");
    let all = plan(
        &changed,
        BASE,
        "",
        &before.iter().map(existing).collect::<Vec<_>>(),
    );
    let names: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        names,
        ["projects", "our_people_", "our_people__2", "tomb_2"]
    );
    assert!(all[0].found.is_table("missions") && all[0].found.is_table("TBLP"));
}

#[test]
fn names_of_others_are_left_alone() {
    let foreign = Existing {
        name: "projects".into(),
        base: "appOther".into(),
        table: "projects".into(),
        found: None,
    };
    assert_eq!(plan(&schema(), BASE, "", &[foreign])[0].name, "projects_2");
    let own = Existing {
        name: "projects".into(),
        base: BASE.into(),
        table: "projects".into(),
        found: None,
    };
    let p = &plan(&schema(), BASE, "", &[own])[0];
    assert_eq!(
        (p.name.as_str(), p.users_own, &p.found.made),
        ("projects", true, &Value::Null)
    );
    assert_eq!(
        p.found.links.len(),
        1,
        "what is known of its links is noted all the same"
    );
}

#[test]
fn what_changed_upstream_is_taken_over_and_what_a_user_set_is_kept() {
    let before = plan(&schema(), BASE, "", &[])[0].found.made.clone();
    let mut given = before.clone();
    given["ttl"] = json!(60);
    given["schema"]["properties"]["Points"]["indexed"] = json!(true);
    given["views"] = json!({"public": ["Name"]});
    let mut changed = schema();
    changed["tables"][0]["fields"]
        .as_array_mut()
        .unwrap()
        .retain(|f| f["name"] != "Tags");
    changed["tables"][0]["fields"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": "fldn", "name": "New", "type": "checkbox"}));
    changed["tables"][0]["fields"][3]["options"]["prefersSingleRecordLink"] = json!(false);
    let now = plan(&changed, BASE, "", &[])[0].found.made.clone();
    let out = merged(&before, &given, &now);
    assert_eq!(
        (&out["ttl"], &out["views"]["public"]),
        (&json!(60), &json!(["Name"]))
    );
    let p = &out["schema"]["properties"];
    assert_eq!(
        p["Points"],
        json!({"type": ["number", "null"], "default": null, "sortable": true, "indexed": true})
    );
    assert!(
        p.get("Tags").is_none()
            && p["New"]["type"] == json!("boolean")
            && p["Owner"].get("maxItems").is_none()
    );
    assert_eq!(
        merged(&before, &before, &now),
        now,
        "nothing set: as it is made"
    );
    assert_eq!(merged(&now, &out, &now), out, "again: no change");
}

#[test]
fn a_model_of_the_users_own_is_not_added_to() {
    let before = plan(&schema(), BASE, "", &[])[0].found.made.clone();
    let mut given = before.clone();
    given["schema"] = json!({"properties": {"Name": {"type": "string"}, "Owner": {}}});
    let out = merged(&before, &given, &before);
    assert_eq!(out["schema"], given["schema"]);
    assert_eq!(out["index_to_airtable"], json!({"Owner": "Whose"}));
    assert!(Spec::parse("projects", out.to_string().as_bytes()).is_ok());
    assert_eq!(
        merged(&Value::Null, &given, &before),
        given,
        "never made: the user's"
    );
}

#[test]
fn what_is_no_schema_gives_nothing() {
    for s in [
        json!({}),
        json!({"tables": 3}),
        json!({"tables": [1, {}, {"id": "t"}, {"id": "t", "name": "n", "fields": 3}]}),
    ] {
        assert_eq!(plan(&s, BASE, "", &[]), vec![]);
    }
    assert!(
        prefix_ok("shop_")
            && prefix_ok("{shop}")
            && prefix_ok("")
            && !prefix_ok("a b")
            && !prefix_ok("{shop")
    );
}

proptest! {
    /// Whatever a base is made of, every spec made of it is accepted.
    #[test]
    fn every_spec_made_is_a_spec(tables in proptest::collection::vec(("\\PC{0,8}", proptest::collection::vec(("\\PC{0,6}", 0usize..30), 0..8)), 0..5)) {
        const KINDS: [&str; 30] = ["aiText", "autoNumber", "barcode", "button", "checkbox", "count", "createdBy", "createdTime", "currency", "date", "dateTime",
            "duration", "email", "externalSyncSource", "formula", "lastModifiedBy", "lastModifiedTime", "multilineText", "multipleAttachments",
            "multipleCollaborators", "multipleLookupValues", "multipleRecordLinks", "multipleSelects", "number", "percent", "phoneNumber", "rating", "richText",
            "rollup", "singleLineText"];
        let tables: Vec<Value> = tables.into_iter().enumerate().map(|(i, (name, fields))| json!({"id": format!("tbl{i}"), "name": name,
            "fields": fields.into_iter().enumerate().map(|(j, (name, k))| json!({"id": format!("fld{j}"), "name": name, "type": KINDS[k],
                "options": {"linkedTableId": "tbl0", "recordLinkFieldId": "fld0", "fieldIdInLinkedTable": "fld1", "referencedFieldIds": ["fld1", "fld2"]}})).collect::<Vec<_>>()})).collect();
        let all = plan(&json!({"tables": tables}), BASE, "", &[]);
        let mut names: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), all.len());
        for p in &all {
            let spec = Spec::parse(&p.name, p.found.made.to_string().as_bytes());
            prop_assert!(spec.is_ok(), "{:?}", spec.err());
        }
    }
}
