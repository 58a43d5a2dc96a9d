//! What Pydantic, zod, zod-to-json-schema and schemars really print.

use crate::spec::{Field, Kind, Spec};
use serde_json::Value;
use std::string::ToString;
use std::vec::Vec;

const FILES: [(&str, &str); 6] = [
    (
        "pydantic-validation",
        include_str!("../../../../../tests/fixtures/schemas/pydantic-validation.json"),
    ),
    (
        "pydantic-serialization",
        include_str!("../../../../../tests/fixtures/schemas/pydantic-serialization.json"),
    ),
    (
        "zod4",
        include_str!("../../../../../tests/fixtures/schemas/zod4.json"),
    ),
    (
        "zod-to-json-schema",
        include_str!("../../../../../tests/fixtures/schemas/zod-to-json-schema.json"),
    ),
    (
        "schemars1",
        include_str!("../../../../../tests/fixtures/schemas/schemars1.json"),
    ),
    (
        "schemars08-openapi3",
        include_str!("../../../../../tests/fixtures/schemas/schemars08-openapi3.json"),
    ),
];

fn models(file: &str) -> Value {
    let (_, text) = FILES.iter().find(|(name, _)| *name == file).unwrap();
    serde_json::from_str(text).unwrap()
}

fn model(file: &str, name: &str) -> Spec {
    Spec::parse("things", models(file)[name].to_string().as_bytes())
        .unwrap_or_else(|e| panic!("{file} {name}: {e}"))
}

fn field(file: &str, name: &str, field: &str) -> Field {
    let s = model(file, name);
    s.get(
        s.field(field)
            .unwrap_or_else(|| panic!("{file} {name} has no {field}")),
    )
    .unwrap()
    .clone()
}

#[test]
fn every_printed_schema_is_taken_and_persists() {
    for (file, _) in FILES {
        let all = models(file);
        for name in all.as_object().unwrap().keys() {
            let s = model(file, name);
            assert!(!s.open() && !s.fields().is_empty(), "{file} {name}");
            assert!(s.field("id").is_none(), "{file} {name}");
            assert!(
                s.same_effect(&Spec::parse("things", s.to_json().as_bytes()).unwrap()),
                "{file} {name}"
            );
        }
    }
}

#[test]
fn links_are_recognised_in_every_tool_s_spelling() {
    let rows = [
        ("pydantic-validation", "Event", "owner", Kind::Link),
        ("pydantic-validation", "Event", "attendees", Kind::Links),
        ("pydantic-validation", "Vote", "voter", Kind::Link),
        ("pydantic-validation", "Vote", "event", Kind::Link),
        ("pydantic-validation", "Referral", "event", Kind::Link),
        ("pydantic-serialization", "Project", "event", Kind::Link),
        ("pydantic-serialization", "Vote", "voter", Kind::Link),
        ("zod4", "Vote", "event", Kind::Link),
        ("zod4", "Project", "owner", Kind::Link),
        ("zod4", "Project", "collaborators", Kind::Links),
        ("zod4", "Referral", "event", Kind::Link),
        ("zod-to-json-schema", "Vote", "project", Kind::Link),
        ("zod-to-json-schema", "Vote", "event", Kind::Link),
        ("zod-to-json-schema", "Project", "owner", Kind::Link),
        ("zod-to-json-schema", "User", "referrals", Kind::Links),
        ("schemars1", "Event", "owner", Kind::Link),
        ("schemars1", "Event", "attendees", Kind::Links),
        ("schemars1", "Project", "owner", Kind::Link),
        ("schemars1", "Project", "event", Kind::Link),
        ("schemars1", "Project", "lead", Kind::Link),
        ("schemars08-openapi3", "Project", "lead", Kind::Link),
    ];
    for (file, name, f, kind) in rows {
        let field = field(file, name, f);
        assert_eq!(field.kind, kind, "{file} {name}.{f}");
        assert_eq!(field.indexed, kind == Kind::Link, "{file} {name}.{f}");
    }
}

#[test]
fn kinds_of_the_other_fields() {
    let rows = [
        ("pydantic-validation", "User", "email", Kind::Text),
        ("pydantic-validation", "User", "date_of_birth", Kind::Date),
        ("pydantic-validation", "Event", "starts_at", Kind::DateTime),
        ("pydantic-validation", "Event", "stage", Kind::Text),
        (
            "pydantic-validation",
            "Project",
            "hours_spent",
            Kind::Number,
        ),
        ("pydantic-validation", "Project", "image", Kind::Array),
        ("zod4", "Event", "starts_at", Kind::DateTime),
        ("zod4", "Event", "max_votes", Kind::Integer),
        ("zod4", "Comment", "thread", Kind::Array),
        ("zod-to-json-schema", "User", "last_name", Kind::Text),
        ("schemars1", "Event", "stage", Kind::Text),
        ("schemars1", "Event", "previous_stage", Kind::Text),
        ("schemars1", "Project", "parent", Kind::Object),
        ("schemars08-openapi3", "Event", "previous_stage", Kind::Text),
        (
            "schemars08-openapi3",
            "Project",
            "hours_spent",
            Kind::Number,
        ),
        ("schemars08-openapi3", "Project", "parent", Kind::Object),
    ];
    for (file, name, f, kind) in rows {
        assert_eq!(field(file, name, f).kind, kind, "{file} {name}.{f}");
    }
}

#[test]
fn lacking_cells_are_filled_as_the_models_say() {
    let rows = [
        ("pydantic-validation", "User", "last_name", Some("null")),
        ("pydantic-validation", "Event", "votable", Some("false")),
        ("pydantic-validation", "Event", "attendees", Some("[]")),
        ("pydantic-validation", "Event", "stage", Some("\"draft\"")),
        ("pydantic-validation", "Event", "name", None),
        ("pydantic-validation", "Vote", "voter", None),
        ("pydantic-validation", "Project", "readme", None),
        ("pydantic-serialization", "User", "full_name", None),
        ("zod4", "User", "website", None),
        ("zod4", "Vote", "event", Some("[]")),
        ("zod-to-json-schema", "User", "last_name", Some("null")),
        ("schemars1", "Event", "stage", Some("\"draft\"")),
        ("schemars08-openapi3", "Event", "stage", Some("\"draft\"")),
        ("schemars08-openapi3", "Event", "previous_stage", None),
    ];
    for (file, name, f, fill) in rows {
        assert_eq!(
            field(file, name, f).fill.as_deref(),
            fill,
            "{file} {name}.{f}"
        );
    }
}

#[test]
fn marks_come_through_the_printers() {
    for file in ["pydantic-validation", "pydantic-serialization", "zod4"] {
        let email = field(file, "User", "email");
        assert!(email.indexed && email.normalize.len() == 2, "{file}");
        assert!(field(file, "Project", "points").sortable, "{file}");
        assert!(field(file, "Event", "slug").indexed, "{file}");
    }
    assert!(field("pydantic-serialization", "User", "full_name").read_only);
}

#[test]
fn the_public_models_are_views_of_the_richest() {
    for file in ["pydantic-validation", "pydantic-serialization"] {
        for (rich, public) in [
            ("User", "UserPublic"),
            ("Event", "EventPublic"),
            ("Project", "ProjectPublic"),
        ] {
            let all = models(file);
            let json = serde_json::json!({"schema": all[rich], "views": {"public": all[public]}})
                .to_string();
            let s = Spec::parse("things", json.as_bytes()).unwrap();
            let view = s.default_view().unwrap();
            let held: Vec<&str> = (0u16..)
                .zip(s.fields())
                .filter(|(i, _)| s.view_holds(view, *i))
                .map(|(_, f)| f.name.as_str())
                .collect();
            assert_eq!(
                held.len(),
                all[public]["properties"].as_object().unwrap().len() - 1,
                "{file} {public}"
            );
        }
    }
}
