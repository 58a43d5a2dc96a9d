//! Specs that stand for more than they say, and large ones: neither may hold anybody up.

use super::spec;
use crate::spec::{Kind, Spec, SpecError};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use serde_json::{json, Map, Value};
use std::time::{Duration, Instant};

fn timed<T>(what: &str, most: Duration, f: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let out = f();
    let took = begun.elapsed();
    assert!(took < most, "{what} took {took:?}");
    out
}

/// `A0` refers to `A1` as `keyword` and `each` times, and so on; the last is `last`.
fn ladder(keyword: &str, rungs: usize, each: usize, last: &Value) -> Value {
    let mut defs = Map::new();
    for i in 0..rungs {
        let next = json!({"$ref": format!("#/$defs/A{}", i + 1)});
        defs.insert(format!("A{i}"), json!({ keyword: vec![next; each] }));
    }
    defs.insert(format!("A{rungs}"), last.clone());
    Value::Object(defs)
}

fn parse(v: &Value) -> Result<Spec, SpecError> {
    Spec::parse("things", v.to_string().as_bytes())
}

#[test]
fn a_schema_that_refers_to_itself_many_times_ends() {
    let three = |key: &str| json!({key: [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}]});
    for key in ["allOf", "anyOf", "oneOf"] {
        let schema =
            json!({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": three(key)}});
        let s = timed(key, Duration::from_secs(1), || spec(schema));
        assert_eq!(s.fields()[0].kind, Kind::Any, "{key}");
    }
}

#[test]
fn a_schema_that_stands_for_too_much_is_refused_by_its_place() {
    let most = Duration::from_secs(2);
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let defs = ladder(keyword, 25, 3, &json!({"type": "string"}));
        let whole = json!({"properties": {"a": {"$ref": "#/$defs/A0"}}, "$defs": defs});
        let item = json!({"properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/A0"}}}, "$defs": defs});
        let root = json!({"$ref": "#/$defs/A0", "$defs": ladder(keyword, 25, 3, &json!({"properties": {"a": {}}}))});
        for schema in [whole.clone(), item, root] {
            let why = timed(keyword, most, || parse(&schema)).unwrap_err();
            assert!(
                why.place.contains("/$defs/A") || why.place.contains("/properties/a"),
                "{keyword}: {why}"
            );
            let view = json!({"views": {"v": schema}});
            let why = timed(keyword, most, || parse(&view)).unwrap_err();
            assert!(why.place.starts_with("/views/v"), "{keyword}: {why}");
        }
    }
}

#[test]
fn many_properties_take_time_by_their_number() {
    let n = 20_000;
    let names: Vec<String> = (0..n).map(|i| format!("p{i}")).collect();
    let each =
        |f: &dyn Fn(&str) -> Value| -> Value { names.iter().map(|p| (p.clone(), f(p))).collect() };
    let properties =
        each(&|_| json!({"anyOf": [{"type": "string"}, {"type": "null"}], "default": null}));
    let given = json!({
        "schema": {"properties": properties, "required": names},
        "views": {"public": {"properties": properties, "required": names}, "names": names},
        "indexed": names, "sortable": names, "normalize": each(&|_| json!(["trim"])),
        "index_to_airtable": each(&|p| json!(format!("{p}_id"))), "depends": each(&|_| json!("users"))});
    // Quadratic it would be minutes; unoptimised builds on a busy machine are allowed for.
    let s = timed("parsing", Duration::from_secs(6), || parse(&given)).unwrap();
    assert_eq!(s.fields().len(), n);
    let mut other = given.clone();
    other["schema"]["properties"]["p19999"] = json!({"type": "string"});
    let other = parse(&other).unwrap();
    assert!(!timed("comparing", Duration::from_secs(6), || s
        .same_effect(&other)));
}

#[test]
fn a_property_in_very_many_parts_is_taken() {
    let parts: Vec<Value> = (0..4_000)
        .map(|i| json!({"properties": {"a": {"minLength": i % 3, "type": "string"}, format!("b{i}"): {}}}))
        .collect();
    let s = timed("parts", Duration::from_secs(6), || {
        spec(json!({ "allOf": parts }))
    });
    assert_eq!(s.fields().len(), 4_001);
}

#[test]
fn specs_whose_references_run_deep_are_compared_without_running_out_of_stack() {
    let chain = |last: Value| {
        let defs: Map<String, Value> = (0..20_000)
            .map(|i| {
                (
                    format!("A{i}"),
                    json!({"items": {"$ref": format!("#/$defs/A{}", i + 1)}}),
                )
            })
            .chain([("A20000".into(), last)])
            .collect();
        spec(json!({"properties": {"a": {"$ref": "#/$defs/A0"}}, "$defs": defs}))
    };
    let (a, b) = (
        chain(json!({"type": "string"})),
        chain(json!({"type": "integer"})),
    );
    assert!(a.same_effect(&a) && !a.same_effect(&b));
}

#[test]
fn a_record_under_many_recursive_schemas_is_checked_in_a_bounded_time() {
    let again = json!({"items": {"$ref": "#/$defs/A"}, "minItems": 1});
    let a = json!({"anyOf": [again, again, again, {"type": "boolean"}]});
    let names: Vec<String> = (0..2_000).map(|i| format!("p{i}")).collect();
    let properties: Map<String, Value> = names
        .iter()
        .map(|n| (n.clone(), json!({"$ref": "#/$defs/A"})))
        .collect();
    let s = spec(json!({"properties": properties, "$defs": {"A": a}}));
    let deep = (0..12).fold(json!(1), |v, _| json!([v]));
    let cells: Map<String, Value> = names.iter().map(|n| (n.clone(), deep.clone())).collect();
    // Unbounded it is a step for each of 3^12 ways through each of 2,000 cells.
    timed("shaping", Duration::from_secs(6), || {
        crate::record::shape(&s, "recA", &cells, crate::record::Source::Told)
    });
}
