//! Webhooks: what is told, when, for how long.

use crate::support::*;
use airtable_emulator::Emulator;
use serde_json::{json, Value as Json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

const DAY_MS: i64 = 86_400_000;
const PROJECTS: &str = "tblP4rJ8sLm2XcV6k";
const PEOPLE: &str = "tblU7eN3wQa9ZdH1y";

fn hooks() -> String {
    format!("/v0/bases/{BASE}/webhooks")
}

/// A webhook without pings: its id.
fn create(client: &mut Client, filters: Json, includes: Json) -> String {
    let specification = json!({"options": {"filters": filters, "includes": includes}});
    let reply = client.send_json("POST", &hooks(), &json!({ "specification": specification }));
    assert_eq!(reply.status, 200, "{}", reply.json());
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn data() -> Json {
    json!({"dataTypes": ["tableData"]})
}

fn payloads(client: &mut Client, hook: &str, cursor: u64) -> Json {
    client
        .get(&format!("{}/{hook}/payloads?cursor={cursor}", hooks()))
        .json()
}

fn update(emulator: &Emulator, table: &str, id: &str, fields: Json) {
    emulator
        .write(&json!({"base": BASE, "table": table, "update": [{"id": id, "fields": fields}]}))
        .unwrap();
}

#[test]
fn changes_come_with_rich_cells_and_what_they_changed_elsewhere() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let hook = create(
        &mut client,
        data(),
        json!({"includePreviousCellValues": true, "includeCellValuesInFieldIds": ["fldProjPoints0001"]}),
    );
    update(&emulator, "People", ADA, json!({"Name": "Ada L"}));
    let page = payloads(&mut client, &hook, 1);
    assert_eq!(
        (&page["cursor"], &page["mightHaveMore"]),
        (&json!(3), &json!(false))
    );
    let (direct, consequence) = (&page["payloads"][0], &page["payloads"][1]);
    assert_eq!(
        direct["baseTransactionNumber"],
        consequence["baseTransactionNumber"]
    );
    let person = &direct["changedTablesById"][PEOPLE]["changedRecordsById"][ADA];
    assert_eq!(
        person["current"]["cellValuesByFieldId"]["fldPeopleName0001"],
        "Ada L"
    );
    assert_eq!(
        person["previous"]["cellValuesByFieldId"]["fldPeopleName0001"],
        "Ada"
    );
    let project = &consequence["changedTablesById"][PROJECTS]["changedRecordsById"][APOLLO];
    let cells = project["current"]["cellValuesByFieldId"]
        .as_object()
        .unwrap();
    assert_eq!(
        cells.len(),
        2,
        "the formula over the link and the lookup of the name: {cells:?}"
    );
    assert!(cells.values().any(
        |v| *v == json!({"linkedRecordIds": [ADA], "valuesByLinkedRecordId": {ADA: ["Ada L"]}})
    ));
    assert_eq!(
        project["unchanged"]["cellValuesByFieldId"],
        json!({"fldProjPoints0001": 8})
    );

    update(
        &emulator,
        "Projects",
        APOLLO,
        json!({"Owner": [BOB], "Stage": null}),
    );
    let page = payloads(&mut client, &hook, 3);
    let tables = &page["payloads"][0]["changedTablesById"];
    let cells = tables[PROJECTS]["changedRecordsById"][APOLLO]["current"]["cellValuesByFieldId"]
        .as_object()
        .unwrap();
    assert!(
        cells
            .values()
            .any(|v| *v == json!([{"id": BOB, "name": "Bob"}])),
        "{cells:?}"
    );
    assert!(cells.values().any(Json::is_null), "an emptied cell is null");
    let people = tables[PEOPLE]["changedRecordsById"].as_object().unwrap();
    assert_eq!(people.len(), 2, "both other ends changed");
}

#[test]
fn a_write_that_changes_nothing_tells_nothing() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let hook = create(&mut client, data(), json!({}));
    update(
        &emulator,
        "Projects",
        APOLLO,
        json!({"Points": 8, "Owner": [ADA]}),
    );
    assert_eq!(
        payloads(&mut client, &hook, 1),
        json!({"payloads": [], "cursor": 1, "mightHaveMore": false})
    );
}

#[test]
fn filters_choose_tables_changes_sources_and_fields() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let mut make = |filter: (&str, Json)| {
        let mut filters = data();
        filters[filter.0] = filter.1;
        create(&mut client, filters, json!({}))
    };
    let made = [
        make(("recordChangeScope", json!(PEOPLE))),
        make(("changeTypes", json!(["remove"]))),
        make(("fromSources", json!(["publicApi"]))),
        make(("watchDataInFieldIds", json!(["fldProjPoints0001"]))),
        make(("watchDataInFieldIds", json!(["fldProjOwnerId001"]))),
    ];
    update(
        &emulator,
        "Projects",
        APOLLO,
        json!({"Points": 9, "Name": "X"}),
    );
    client.send_json(
        "PATCH",
        &format!("/v0/{BASE}/Projects/{ZOND}"),
        &json!({"fields": {"Owner": [BOB]}}),
    );
    emulator
        .write(&json!({"base": BASE, "table": "Projects", "delete": [ZOND]}))
        .unwrap();
    let counts = made.map(|hook| {
        payloads(&mut client, &hook, 1)["payloads"]
            .as_array()
            .unwrap()
            .len()
    });
    // People: rollup, then link and count with their own payloads, twice. Removal: one. API: the change and its consequence.
    // Points: its change and the removal. The lookup: its change and the removal.
    assert_eq!(counts, [5, 1, 2, 2, 2]);
    let unknown = json!({"specification": {"options": {"filters": {"dataTypes": ["tableData"], "recordChangeScope": "tblNowhere"}}}});
    assert_eq!(client.send_json("POST", &hooks(), &unknown).status, 422);
}

#[test]
fn pages_hold_fifty_and_the_cursor_never_resets() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let hook = create(
        &mut client,
        json!({"dataTypes": ["tableData"], "recordChangeScope": PROJECTS, "watchDataInFieldIds": ["fldProjPoints0001"]}),
        json!({}),
    );
    for points in 100..170 {
        update(&emulator, "Projects", APOLLO, json!({ "Points": points }));
    }
    let page = payloads(&mut client, &hook, 1);
    assert_eq!(
        (
            page["payloads"].as_array().unwrap().len(),
            &page["cursor"],
            &page["mightHaveMore"]
        ),
        (50, &json!(51), &json!(true))
    );
    let page = payloads(&mut client, &hook, 51);
    assert_eq!(
        (
            page["payloads"].as_array().unwrap().len(),
            &page["cursor"],
            &page["mightHaveMore"]
        ),
        (20, &json!(71), &json!(false))
    );
    // A week of silence: the old payloads are gone, and the numbers show the gap.
    emulator.advance_clock(6 * DAY_MS);
    payloads(&mut client, &hook, 71);
    emulator.advance_clock(DAY_MS);
    update(&emulator, "Projects", APOLLO, json!({"Points": 1}));
    let page = payloads(&mut client, &hook, 1);
    assert_eq!(
        (page["payloads"].as_array().unwrap().len(), &page["cursor"]),
        (1, &json!(72))
    );
    let listed = client.get(&hooks()).json();
    assert_eq!(listed["webhooks"][0]["cursorForNextPayload"], 72);
    assert_eq!(
        client
            .get(&format!("{}/{hook}/payloads?limit=51", hooks()))
            .status,
        422
    );
}

#[test]
fn a_webhook_dies_after_a_week_unless_it_is_used() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let hook = create(&mut client, data(), json!({}));
    let is_enabled =
        |client: &mut Client| client.get(&hooks()).json()["webhooks"][0]["isHookEnabled"] == true;
    for _ in 0..2 {
        emulator.advance_clock(6 * DAY_MS);
        assert!(is_enabled(&mut client));
        payloads(&mut client, &hook, 1);
    }
    emulator.advance_clock(6 * DAY_MS);
    let refreshed = client
        .request("POST", &format!("{}/{hook}/refresh", hooks()), "", b"")
        .unwrap();
    assert_eq!(refreshed.status, 200);
    emulator.advance_clock(7 * DAY_MS);
    assert!(!is_enabled(&mut client));
    update(&emulator, "Projects", APOLLO, json!({"Points": 1}));
    assert_eq!(
        payloads(&mut client, &hook, 1)["payloads"],
        json!([]),
        "an expired webhook gets nothing new"
    );
    assert_eq!(
        client
            .request("POST", &format!("{}/{hook}/refresh", hooks()), "", b"")
            .unwrap()
            .status,
        422
    );
    emulator.advance_clock(7 * DAY_MS);
    assert_eq!(client.get(&hooks()).json()["webhooks"], json!([]));
    for _ in 0..10 {
        create(&mut client, data(), json!({}));
    }
    let eleventh = client.send_json(
        "POST",
        &hooks(),
        &json!({"specification": {"options": {"filters": data()}}}),
    );
    assert_eq!(eleventh.status, 403);
}

#[test]
fn payloads_and_computed_cells_can_come_late() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let hook = create(&mut client, data(), json!({}));
    emulator
        .set_switches(&json!({"payload_delay_ms": 1000, "linked_computed_lag_ms": 2000}))
        .unwrap();
    let made = emulator.write(&json!({"base": BASE, "table": "Projects", "create": [{"fields": {"Name": "New", "Owner": [ADA]}}]})).unwrap();
    let new = made["created"][0].as_str().unwrap();
    let count = |client: &mut Client| {
        payloads(client, &hook, 1)["payloads"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count(&mut client), 0);
    emulator.advance_clock(1000);
    assert_eq!(count(&mut client), 1);
    // A later change is listed before the consequence that lags: numbers follow the order of becoming visible.
    update(&emulator, "Projects", APOLLO, json!({"Done": true}));
    emulator.advance_clock(1000);
    emulator.advance_clock(1000);
    let page = payloads(&mut client, &hook, 1);
    let list = page["payloads"].as_array().unwrap();
    assert_eq!(list.len(), 3);
    let lookup = &list[2]["changedTablesById"][PROJECTS]["changedRecordsById"][new]["current"]
        ["cellValuesByFieldId"]["fldProjOwnerId001"];
    assert_eq!(
        lookup["linkedRecordIds"],
        json!([ADA]),
        "what a new record shows of others is told when it shows"
    );
}

#[test]
fn a_specification_that_no_longer_fits_ends_in_an_error() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let watching = create(
        &mut client,
        json!({"dataTypes": ["tableData"], "watchDataInFieldIds": ["fldProjPoints0001"]}),
        json!({}),
    );
    let schema = create(
        &mut client,
        json!({"dataTypes": ["tableFields", "tableMetadata"]}),
        json!({"includePreviousFieldDefinitions": true}),
    );
    let edit = |change: Json| emulator.control("POST", "schema", &change).unwrap();
    edit(
        json!({"base": BASE, "table": "Projects", "rename_field": {"field": "Points", "name": "Score"}}),
    );
    edit(json!({"base": BASE, "table": "Projects", "rename_table": "Missions"}));
    edit(json!({"base": BASE, "table": "Missions", "delete_field": "Score"}));
    let page = payloads(&mut client, &schema, 1);
    let tables = |n: usize| page["payloads"][n]["changedTablesById"][PROJECTS].clone();
    assert_eq!(
        tables(0)["changedFieldsById"]["fldProjPoints0001"],
        json!({"current": {"name": "Score"}, "previous": {"name": "Points"}})
    );
    assert_eq!(tables(1)["changedMetadata"]["current"]["name"], "Missions");
    assert_eq!(tables(2)["destroyedFieldIds"], json!(["fldProjPoints0001"]));
    let page = payloads(&mut client, &watching, 1);
    assert_eq!(
        (&page["payloads"][0]["error"], &page["payloads"][0]["code"]),
        (&json!(true), &json!("INVALID_FILTERS"))
    );
    let listed = client.get(&hooks()).json();
    assert_eq!(listed["webhooks"][0]["isHookEnabled"], false);
}

#[test]
fn pings_carry_a_mac_and_are_tried_again() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ping", listener.local_addr().unwrap());
    let body = json!({"notificationUrl": url, "specification": {"options": {"filters": data()}}});
    let hook = client.send_json("POST", &hooks(), &body).json();
    let receive = |status: &str| {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(&stream);
        let (mut mac, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some(("X-Airtable-Content-MAC", value)) => mac = value.to_owned(),
                Some(("Content-Length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None if line.starts_with("POST") => assert_eq!(line, "POST /ping HTTP/1.1\r\n"),
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (&stream)
            .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
            .unwrap();
        (mac, serde_json::from_slice::<Json>(&body).unwrap())
    };
    update(&emulator, "Projects", APOLLO, json!({"Points": 1}));
    let (mac, ping) = receive("503 Service Unavailable");
    assert!(
        mac.starts_with("hmac-sha256=") && mac.len() == 12 + 64,
        "{mac}"
    );
    assert_eq!(
        (&ping["base"]["id"], &ping["webhook"]["id"]),
        (&json!(BASE), &hook["id"])
    );
    wait_for(|| {
        client.get(&hooks()).json()["webhooks"][0]["lastNotificationResult"]["willBeRetried"]
            == true
    });
    emulator.advance_clock(10_000);
    receive("204 No Content");
    wait_for(|| {
        client.get(&hooks()).json()["webhooks"][0]["lastSuccessfulNotificationTime"].is_string()
    });
    let off = client.send_json(
        "POST",
        &format!(
            "{}/{}/enableNotifications",
            hooks(),
            hook["id"].as_str().unwrap()
        ),
        &json!({"enable": false}),
    );
    assert_eq!(off.status, 200);
    let elsewhere = json!({"notificationUrl": "https://example.com/ping", "specification": {"options": {"filters": data()}}});
    assert_eq!(client.send_json("POST", &hooks(), &elsewhere).status, 422);
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            std::time::Instant::now() < deadline,
            "the condition did not come"
        );
        std::thread::yield_now();
    }
}

#[test]
fn control_can_break_a_feed() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let hook = create(&mut client, data(), json!({}));
    let change = |what: &str| {
        emulator
            .control("POST", "webhooks", &json!({"id": hook, what: true}))
            .unwrap()
    };
    update(&emulator, "Projects", ZOND, json!({"Points": 1}));
    change("forget");
    update(&emulator, "Projects", ZOND, json!({"Done": true}));
    let page = payloads(&mut client, &hook, 1);
    assert_eq!(
        (page["payloads"].as_array().unwrap().len(), &page["cursor"]),
        (1, &json!(3)),
        "number 1 is lost"
    );
    change("destroy");
    assert_eq!(
        client.get(&format!("{}/{hook}/payloads", hooks())).status,
        404
    );
}
