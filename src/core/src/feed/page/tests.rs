#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use alloc::format;
use serde_json::json;

fn page(payloads: Value, cursor: u64) -> Page {
    Page::parse(&json!({"payloads": payloads, "cursor": cursor, "mightHaveMore": false})).unwrap()
}

#[test]
fn created_changed_and_destroyed_are_told_apart_and_the_last_fate_counts() {
    let p = page(
        json!([
            {"changedTablesById": {"tblA": {
                "createdRecordsById": {"recNew": {"cellValuesByFieldId": {}}},
                "changedRecordsById": {"recOld": {"current": {"cellValuesByFieldId": {"fldX": null}}}},
                "destroyedRecordIds": ["recGone"]}}},
            {"changedTablesById": {"tblA": {
                "changedRecordsById": {"recNew": {"current": {"cellValuesByFieldId": {"fldY": 1}}}},
                "createdRecordsById": {"recGone": {}},
                "destroyedRecordIds": ["recOld"]}, "tblB": {}}}
        ]),
        3,
    );
    let (name, a) = &p.tables[0];
    assert_eq!(name, "tblA");
    let fates: Vec<_> = a.records.iter().map(|(id, f)| (id.as_str(), *f)).collect();
    assert_eq!(
        fates,
        [
            ("recNew", Fate::Created),
            ("recOld", Fate::Destroyed),
            ("recGone", Fate::Created)
        ]
    );
    assert!(a.fields.contains("fldX") && a.fields.contains("fldY") && a.all_fields && !a.reshaped);
    assert!(!p.reschema && p.error.is_none() && p.tables.len() == 2);
}

#[test]
fn the_last_fate_counts_however_many_records_lie_between() {
    let others: Map<String, Value> = (0..1_000)
        .map(|n| (format!("rec{n:014}"), json!({})))
        .collect();
    let p = page(
        json!([
            {"changedTablesById": {"tblA": {"destroyedRecordIds": ["recBack"]}}},
            {"changedTablesById": {"tblA": {"createdRecordsById": others}}},
            {"changedTablesById": {"tblA": {"createdRecordsById": {"recBack": {}}}}}
        ]),
        4,
    );
    let told: Vec<_> = p.tables[0].1.records.iter().collect();
    assert_eq!(told.len(), 1_001);
    assert_eq!(told[0], &("recBack".into(), Fate::Created));
}

#[test]
fn link_cells_tell_what_they_gained_and_lost() {
    let p = page(
        json!([{"changedTablesById": {"tblA": {
            "createdRecordsById": {"recNew": {"cellValuesByFieldId": {"fldL": [{"id": "recB", "name": "B"}], "fldN": 5, "fldE": []}}},
            "changedRecordsById": {
                "recOld": {
                    "current": {"cellValuesByFieldId": {"fldL": [{"id": "recC"}], "fldS": {"id": "selX"}, "fldA": [{"id": "attX"}], "fldT": null}},
                    "previous": {"cellValuesByFieldId": {"fldL": [{"id": "recB"}, {"id": "recD"}], "fldS": null, "fldA": null, "fldT": "x"}}},
                "recBare": {"current": {"cellValuesByFieldId": {"fldL": null}}}}}}}]),
        2,
    );
    let told: Vec<_> = p.tables[0]
        .1
        .links
        .iter()
        .map(|l| {
            (
                &*l.record,
                &*l.field,
                l.now.join(" "),
                l.before.as_ref().map(|b| b.join(" ")),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("recNew", "fldL", "recB".into(), Some(String::new())),
            ("recOld", "fldL", "recC".into(), Some("recB recD".into())),
            ("recBare", "fldL", String::new(), None),
        ]
    );
}

#[test]
fn dropped_payloads_show_by_the_numbers() {
    let three = page(json!([{}, {}, {}]), 8);
    assert!(!three.gap(5), "5, 6 and 7 came");
    assert!(three.gap(4) && three.gap(1), "4 is missing");
    assert!(
        three.gap(9),
        "a number that falls back is another webhook's"
    );
    let none = page(json!([]), 8);
    assert!(!none.gap(8) && none.gap(9) && none.gap(7));
}

#[test]
fn changes_of_the_schema_are_noticed() {
    let rename = page(
        json!([{"changedTablesById": {"tblA": {"changedMetadata": {}}}}]),
        2,
    );
    assert!(rename.reschema && !rename.tables[0].1.reshaped);
    for key in [
        "createdFieldsById",
        "changedFieldsById",
        "destroyedFieldIds",
    ] {
        let p = page(json!([{"changedTablesById": {"tblA": {key: {}}}}]), 2);
        assert!(p.reschema && p.tables[0].1.reshaped, "{key}");
    }
    let gone = page(
        json!([{"destroyedTableIds": ["tblA"], "createdTablesById": {"tblB": {}}}]),
        2,
    );
    assert!(gone.reschema && !gone.tables[0].1.destroyed && gone.tables[1].1.destroyed);
}

#[test]
fn an_error_payload_names_its_code() {
    let p = page(json!([{"error": true, "code": "INVALID_FILTERS\r\n"}]), 2);
    assert_eq!(p.error.as_deref(), Some("INVALID_FILTERS"));
}

#[test]
fn what_is_no_page_is_refused_and_empty_members_say_nothing() {
    for bad in [
        json!({}),
        json!([]),
        json!({"payloads": {}, "cursor": 1, "mightHaveMore": false}),
        json!({"payloads": [], "cursor": -1, "mightHaveMore": false}),
    ] {
        assert_eq!(Page::parse(&bad), None);
    }
    for empty in [
        json!({}),
        json!({"changedTablesById": [], "destroyedTableIds": {}, "new": 7, "newer": {}}),
        json!({"changedTablesById": {"tblA": {}}, "createdTablesById": null}),
        json!({"changedTablesById": {"tblA": {"changedViewsById": {"viwA": {}}, "new": "x"}}}),
    ] {
        let p = page(json!([empty]), 5);
        assert!(!p.unclear, "{empty}");
        let unclear = |(_, t): &(String, TableChanges)| *t != TableChanges::default();
        assert!(!p.tables.iter().any(unclear), "{empty}");
    }
}

#[test]
fn a_payload_of_a_shape_never_seen_concerns_all_that_it_may() {
    let in_table = |what: Value| json!({"changedTablesById": {"tblA": what}});
    let mark = podium_json::MARK;
    for odd in [
        json!(7),
        json!(null),
        json!(mark),
        json!([1]),
        json!({"restoredTablesById": {"tblA": {}}}),
        json!({"changedTablesById": ["tblA"]}),
        json!({"changedTablesById": mark}),
        json!({"changedTablesById": {"tblA": 5}}),
        json!({"destroyedTableIds": [7]}),
        in_table(json!({"changedRecordsById": ["recA"]})),
        in_table(
            json!({"changedRecordsById": {"recA": {"current": {"cellValuesByFieldId": {"fldA": mark}}}}}),
        ),
        in_table(json!({"createdRecordsById": {"A": {}}})),
        in_table(json!({"destroyedRecordIds": ["recA", 7]})),
        in_table(json!({"destroyedRecordIds": ["nope"]})),
        in_table(json!({"changedViewsById": {"viwA": {"destroyedRecordIds": {"recA": 1}}}})),
    ] {
        assert!(page(json!([{}, odd, {}]), 5).unclear, "{odd}");
    }
    let new = page(
        json!([in_table(json!({"restoredRecordsById": {"recA": {}}}))]),
        5,
    );
    assert!(!new.unclear && new.tables[0].1.unclear);
    let bare = page(
        json!([in_table(
            json!({"changedRecordsById": {"recA": {}, "recB": 7}})
        )]),
        5,
    );
    let fates: Vec<_> = bare.tables[0].1.records.iter().map(|(_, f)| *f).collect();
    assert_eq!(fates, [Fate::Unclear, Fate::Unclear]);
    assert!(bare.tables[0].1.all_fields);
}

#[test]
fn a_record_that_left_a_view_is_not_gone() {
    let p = page(
        json!([{"changedTablesById": {"tblA": {
            "destroyedRecordIds": ["recGone"],
            "changedViewsById": {"viwA": {
                "destroyedRecordIds": ["recLeft", "recGone"],
                "createdRecordsById": {"recCame": {"cellValuesByFieldId": {"fldL": [{"id": "recB"}]}}},
                "changedRecordsById": {"recIn": {"current": {"cellValuesByFieldId": {"fldX": 1}}}}}}}}}]),
        2,
    );
    let a = &p.tables[0].1;
    let mut fates: Vec<_> = a.records.iter().map(|(id, f)| (id.as_str(), *f)).collect();
    fates.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(
        fates,
        [
            ("recCame", Fate::Unclear),
            ("recGone", Fate::Destroyed),
            ("recIn", Fate::Changed),
            ("recLeft", Fate::Unclear)
        ]
    );
    assert_eq!(a.links[0].before, None);
    assert!(a.all_fields && !p.unclear);
}
