//! Writes: both ends of links, all or nothing, replace, upsert, delete; the schema under them.

use crate::support::*;
use serde_json::{json, Value as Json};

fn fields(emulator: &airtable_emulator::Emulator, table: &str, id: &str) -> Json {
    let records = emulator.records(BASE, table).unwrap();
    records
        .into_iter()
        .find(|r| r["id"] == id)
        .map_or(Json::Null, |r| r["fields"].clone())
}

#[test]
fn a_link_is_written_at_both_ends() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let reply = client.send_json(
        "PATCH",
        &format!("/v0/{BASE}/Projects/{APOLLO}"),
        &json!({"fields": {"Owner": [BOB]}}),
    );
    assert_eq!(reply.json()["fields"]["owner_id"], json!([BOB]));
    assert_eq!(fields(&emulator, "People", ADA).get("Projects"), None);
    assert_eq!(fields(&emulator, "People", BOB)["Total"], json!(8));
    // From the other end.
    client.send_json(
        "PATCH",
        &format!("/v0/{BASE}/People/{ADA}"),
        &json!({"fields": {"Projects": [ZOND, APOLLO]}}),
    );
    assert_eq!(fields(&emulator, "Projects", ZOND)["Owner"], json!([ADA]));
    assert_eq!(
        fields(&emulator, "Projects", APOLLO)["Owner"],
        json!([BOB, ADA]),
        "links are added, whatever the field prefers"
    );
    client
        .request("DELETE", &format!("/v0/{BASE}/People/{ADA}"), "", b"")
        .unwrap();
    assert_eq!(fields(&emulator, "Projects", APOLLO)["Owner"], json!([BOB]));
    assert_eq!(fields(&emulator, "Projects", ZOND).get("owner_id"), None);
}

#[test]
fn a_batch_with_one_bad_record_changes_nothing() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let before = emulator.records(BASE, "Projects").unwrap();
    for (bad, error_type) in [
        (json!({"Points": "8"}), "INVALID_VALUE_FOR_COLUMN"),
        (json!({"owner_id": ["x"]}), "INVALID_VALUE_FOR_COLUMN"),
        (json!({"Stage": "Later"}), "INVALID_MULTIPLE_CHOICE_OPTIONS"),
        (
            json!({"Owner": ["recMissing0000001"]}),
            "ROW_DOES_NOT_EXIST",
        ),
        (json!({"Stagee": "x"}), "UNKNOWN_FIELD_NAME"),
    ] {
        let body = json!({"records": [{"fields": {"Name": "good"}}, {"fields": bad}]});
        let reply = client.send_json("POST", &format!("/v0/{BASE}/Projects"), &body);
        assert_eq!(
            (reply.status, reply.error_type().as_str()),
            (422, error_type),
            "{bad}"
        );
    }
    let reply = client.send_json(
        "POST",
        &format!("/v0/{BASE}/Projects"),
        &json!({"typecast": true}),
    );
    assert_eq!(reply.error_type(), "INVALID_REQUEST_MISSING_FIELDS");
    let eleven: Vec<Json> = (0..11).map(|_| json!({"fields": {}})).collect();
    let reply = client.send_json(
        "POST",
        &format!("/v0/{BASE}/Projects"),
        &json!({ "records": eleven }),
    );
    assert_eq!(reply.status, 422);
    assert_eq!(emulator.records(BASE, "Projects").unwrap(), before);
}

#[test]
fn patch_leaves_put_clears_and_null_clears_one() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let path = format!("/v0/{BASE}/Projects/{APOLLO}");
    client.send_json(
        "PATCH",
        &path,
        &json!({"fields": {"Points": null, "fldProjPoints0001": null, "Done": true}}),
    );
    let after = fields(&emulator, "Projects", APOLLO);
    assert_eq!(
        (after.get("Points"), &after["Done"], &after["Stage"]),
        (None, &json!(true), &json!("Open"))
    );
    client.send_json(
        "PUT",
        &path,
        &json!({"fields": {"Name": "Only", "Points": 0}}),
    );
    assert_eq!(
        fields(&emulator, "Projects", APOLLO),
        json!({"Name": "Only", "Points": 0}),
        "zero is not empty"
    );
}

#[test]
fn upsert_matches_one_makes_none_and_refuses_several() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let path = format!("/v0/{BASE}/Projects");
    let upsert =
        |records: Json| json!({"performUpsert": {"fieldsToMergeOn": ["Name"]}, "records": records});
    let reply = client.send_json(
        "PATCH",
        &path,
        &upsert(json!([{"fields": {"Name": "Apollo", "Points": 9}}, {"fields": {"Name": "Luna"}}])),
    );
    let body = reply.json();
    assert_eq!(body["updatedRecords"], json!([APOLLO]));
    assert_eq!(body["createdRecords"], json!([body["records"][1]["id"]]));
    assert_eq!(
        body["records"][0]["fields"]["Stage"], "Open",
        "an update, not a replacement"
    );
    emulator
        .write(
            &json!({"base": BASE, "table": "Projects", "create": [{"fields": {"Name": "Luna"}}]}),
        )
        .unwrap();
    assert_eq!(
        client
            .send_json(
                "PATCH",
                &path,
                &upsert(json!([{"fields": {"Name": "Luna"}}]))
            )
            .status,
        422
    );
}

#[test]
fn deleting_many_needs_brackets() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let mut delete = |query: &str| {
        client
            .request("DELETE", &format!("/v0/{BASE}/Projects?{query}"), "", b"")
            .unwrap()
    };
    assert_eq!(
        delete(&format!("records={APOLLO}")).error_type(),
        "INVALID_RECORDS"
    );
    assert_eq!(
        delete(&format!("records[]={APOLLO}&records[]=recMissing0000001")).error_type(),
        "ROW_DOES_NOT_EXIST"
    );
    let reply = delete(&format!("records%5B%5D={APOLLO}&records[]={ZOND}")).json();
    assert_eq!(
        reply,
        json!({"records": [{"id": APOLLO, "deleted": true}, {"id": ZOND, "deleted": true}]})
    );
    assert!(emulator.records(BASE, "Projects").unwrap().is_empty());
}

#[test]
fn computed_cells_can_lag_behind_an_edit() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    emulator
        .set_switches(&json!({"linked_computed_lag_ms": 1000}))
        .unwrap();
    let path = format!("/v0/{BASE}/Projects/{APOLLO}");
    let reply = client
        .send_json("PATCH", &path, &json!({"fields": {"Owner": [BOB]}}))
        .json();
    assert_eq!(reply["fields"]["Owner"], json!([BOB]));
    assert_eq!(
        reply["fields"]["owner_id"],
        json!([ADA]),
        "still the old one"
    );
    assert_eq!(
        client
            .filter(
                "Projects",
                &format!("FIND('{ADA}',ARRAYJOIN({{owner_id}}))")
            )
            .ids(),
        [APOLLO]
    );
    assert_eq!(
        fields(&emulator, "Projects", APOLLO)["owner_id"],
        json!([BOB]),
        "the truth does not lag"
    );
    emulator.advance_clock(1000);
    assert_eq!(client.get(&path).json()["fields"]["owner_id"], json!([BOB]));
}

#[test]
fn the_schema_can_change_under_a_reader() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let edit = |change: Json| {
        let mut change = change;
        change["base"] = json!(BASE);
        emulator.control("POST", "schema", &change).unwrap();
    };
    edit(json!({"table": "Projects", "rename_field": {"field": "Points", "name": "Score"}}));
    assert_eq!(client.filter("Projects", "{Points}=8").status, 422);
    assert_eq!(client.filter("Projects", "{Score}=8").ids(), [APOLLO]);
    edit(
        json!({"table": "Projects", "add_field": {"name": "Double", "type": "formula", "formula": "{Score}*2"}}),
    );
    assert_eq!(client.filter("Projects", "{Double}=16").ids(), [APOLLO]);
    edit(json!({"table": "Projects", "rename_table": "Missions"}));
    assert_eq!(client.get(&format!("/v0/{BASE}/Projects")).status, 403);
    edit(json!({"table": "Missions", "delete_field": "owner_id"}));
    assert_eq!(client.filter("Missions", "{owner_id}=1").status, 422);
    edit(json!({"table": "People", "delete_table": true}));
    assert_eq!(fields(&emulator, "Missions", APOLLO).get("Owner"), None);
}

#[test]
fn reset_brings_everything_back() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let before = emulator.records(BASE, "Projects").unwrap();
    client
        .request("DELETE", &format!("/v0/{BASE}/Projects/{APOLLO}"), "", b"")
        .unwrap();
    emulator
        .fault(&json!({"kind": "status", "times": -1}))
        .unwrap();
    emulator.set_switches(&json!({"legacy_404": true})).unwrap();
    emulator.reset().unwrap();
    assert_eq!(emulator.records(BASE, "Projects").unwrap(), before);
    assert_eq!(
        client
            .get(&format!("/v0/{BASE}/Projects/recMissing0000001"))
            .status,
        403
    );
    assert_eq!(emulator.calls().len(), 1);
}

#[test]
fn a_wrong_seed_is_refused_with_its_place() {
    let emulator = emulator();
    for (path, value, word) in [
        (
            "/bases/0/tables/1/records/0/fields/Owner",
            json!(["recMissing0000001"]),
            "recMissing0000001",
        ),
        (
            "/bases/0/tables/1/fields/8/options/formula",
            json!("{Nope}"),
            "nope",
        ),
        (
            "/bases/0/tables/1/fields/5/options/linkedTable",
            json!("Nowhere"),
            "Nowhere",
        ),
    ] {
        let mut wrong = seed();
        *wrong.pointer_mut(path).unwrap() = value;
        let error = emulator.seed(&wrong).unwrap_err();
        assert!(error.contains(word), "{path}: {error}");
    }
    assert_eq!(
        emulator.records(BASE, "People").unwrap().len(),
        2,
        "nothing changed"
    );
}
