//! Get, List, Schema: shapes, filters, pages, errors.

use crate::support::*;
use airtable_emulator::{Emulator, Options};
use serde_json::{json, Value as Json};
use std::time::{Duration, Instant};

#[test]
fn a_record_shows_computed_cells_and_leaves_empty_ones_out() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let record = client.get(&format!("/v0/{BASE}/Projects/{APOLLO}")).json();
    assert_eq!(record["fields"]["owner_id"], json!([ADA]));
    assert_eq!(
        record["fields"]["owner_lies"],
        json!(["Ada"]),
        "a lookup may be of another field"
    );
    assert_eq!(record["fields"]["Shout"], json!("ADA"));
    let bare = client.get(&format!("/v0/{BASE}/Projects/{ZOND}")).json();
    assert_eq!(bare["fields"], json!({"Name": "Zond"}));
    let ada = client
        .get(&format!("/v0/{BASE}/tblU7eN3wQa9ZdH1y/{ADA}"))
        .json();
    assert_eq!(
        ada["fields"]["Projects"],
        json!([APOLLO]),
        "the seed named one end, both are there"
    );
    assert_eq!(
        (&ada["fields"]["Count"], &ada["fields"]["Total"]),
        (&json!(1), &json!(8))
    );
}

#[test]
fn get_crosses_tables_and_list_does_not() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    assert_eq!(
        client.get(&format!("/v0/{BASE}/People/{APOLLO}")).json()["id"],
        APOLLO
    );
    let formula = format!(
        "OR(RECORD_ID()='{APOLLO}',RECORD_ID()='{BOB}',RECORD_ID()='nonsense',RECORD_ID()='{BOB}')"
    );
    assert_eq!(client.filter("People", &formula).ids(), [BOB]);
}

#[test]
fn attachment_urls_are_of_one_reply() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let mut url = || {
        let record = client.get(&format!("/v0/{BASE}/Projects/{APOLLO}")).json();
        let file = &record["fields"]["Files"][0];
        (
            file["id"].clone(),
            file["url"].clone(),
            file["thumbnails"]["small"]["url"].clone(),
        )
    };
    let (first, second) = (url(), url());
    assert_eq!(first.0, second.0, "the attachment is the same");
    assert_ne!(first.1, second.1);
    assert_ne!(first.2, second.2);
}

#[test]
fn parameters_come_by_query_or_body_in_all_spellings() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    for (place, path) in [
        ("/?", format!("/v0/{BASE}/Projects/?")),
        (
            "+",
            format!("/v0/{BASE}/Projects?filterByFormula=%7BName%7D+%3D+'Apollo'+%26+''"),
        ),
        (
            "%20",
            format!("/v0/{BASE}/Projects?filterByFormula=%7BName%7D%20%3D%20'Apollo'"),
        ),
        ("view", format!("/v0/{BASE}/Projects?view=Rich")),
        (
            "unknown key",
            format!("/v0/{BASE}/Projects?whatever=1&maxRecords=1"),
        ),
    ] {
        let reply = client.get(&path);
        assert_eq!(
            (reply.status, reply.ids().first().map(String::as_str)),
            (200, Some(APOLLO)),
            "{place}"
        );
    }
    for flag in ["1", "true"] {
        let reply = client
            .get(&format!(
                "/v0/{BASE}/Projects/{APOLLO}?returnFieldsByFieldId={flag}"
            ))
            .json();
        assert_eq!(reply["fields"]["fldProjPoints0001"], json!(8));
    }
    let reply = client
        .get(&format!(
            "/v0/{BASE}/Projects?fields%5B%5D=Name&fields[]=Points&maxRecords=1"
        ))
        .json();
    assert_eq!(
        reply["records"][0]["fields"],
        json!({"Name": "Apollo", "Points": 8})
    );
    let sorted = client.get(&format!(
        "/v0/{BASE}/Projects?sort%5B0%5D%5Bfield%5D=Name&sort%5B0%5D%5Bdirection%5D=desc"
    ));
    assert_eq!(sorted.ids(), [ZOND, APOLLO]);
    let text = client
        .get(&format!(
            "/v0/{BASE}/Projects/{APOLLO}?cellFormat=string&timeZone=utc&userLocale=en-gb"
        ))
        .json();
    assert_eq!(
        (&text["fields"]["Points"], &text["fields"]["Owner"]),
        (&json!("8"), &json!("Ada"))
    );
    assert_eq!(
        client
            .get(&format!("/v0/{BASE}/Projects?cellFormat=string"))
            .status,
        422
    );
}

#[test]
fn what_is_wrong_is_named_as_airtable_names_it() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let missing = "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND";
    let rows: [(String, u16, &str); 14] = [
        (
            format!("/v0/{BASE}/Projects/recMissing0000001"),
            403,
            missing,
        ),
        (format!("/v0/{BASE}/Projects/recNope"), 404, "NOT_FOUND"),
        (format!("/v0/{BASE}/Nowhere"), 403, missing),
        ("/v0/appMissing0000001/Projects".to_owned(), 403, missing),
        ("/v0/junk/Projects".to_owned(), 404, "NOT_FOUND"),
        ("/v0/meta/bases/junk/tables".to_owned(), 404, "NOT_FOUND"),
        ("/v1/what".to_owned(), 404, "NOT_FOUND"),
        (
            format!("/v0/{BASE}/Projects?fields[]=Stagee"),
            422,
            "UNKNOWN_FIELD_NAME",
        ),
        (
            format!("/v0/{BASE}/Projects?sort[0][field]=Stagee"),
            422,
            "UNKNOWN_FIELD_NAME",
        ),
        (
            format!("/v0/{BASE}/Projects?view=None"),
            422,
            "VIEW_NAME_NOT_FOUND",
        ),
        (
            format!("/v0/{BASE}/Projects?pageSize=101"),
            422,
            "INVALID_REQUEST_UNKNOWN",
        ),
        (
            format!("/v0/{BASE}/Projects?filterByFormula=BAD(1)"),
            422,
            "INVALID_FILTER_BY_FORMULA",
        ),
        (
            format!("/v0/{BASE}/Projects?offset=itrJunk0000000000%2FrecJunk"),
            422,
            "LIST_RECORDS_ITERATOR_NOT_AVAILABLE",
        ),
        (
            format!("/v0/{BASE}/Projects?offset=junk"),
            422,
            "INVALID_OFFSET_VALUE",
        ),
    ];
    for (path, status, error_type) in rows {
        let reply = client.get(&path);
        assert_eq!(
            (reply.status, reply.error_type().as_str()),
            (status, error_type),
            "{path}"
        );
    }
    emulator.set_switches(&json!({"legacy_404": true})).unwrap();
    for (path, error_type) in [
        (
            format!("/v0/{BASE}/Projects/recMissing0000001"),
            "MODEL_ID_NOT_FOUND",
        ),
        (format!("/v0/{BASE}/Nowhere"), "TABLE_NOT_FOUND"),
        (
            "/v0/meta/bases/appMissing0000001/tables".to_owned(),
            "NOT_FOUND",
        ),
    ] {
        let reply = client.get(&path);
        assert_eq!(
            (reply.status, reply.error_type().as_str()),
            (404, error_type),
            "{path}"
        );
    }
}

#[test]
fn tokens_have_scopes_and_bases() {
    let emulator = emulator();
    let mut with_tokens = seed();
    with_tokens["tokens"] = json!([
        {"token": "patREAD.x", "scopes": ["data.records:read"], "bases": [BASE]},
        {"token": "patELSEWHERE.x", "bases": ["appElsewhere00001"]},
    ]);
    emulator.seed(&with_tokens).unwrap();
    let mut client = Client::new(emulator.addr());
    for (token, method, path, status) in [
        (None, "GET", format!("/v0/{BASE}/People"), 401),
        (
            Some("patUNKNOWN.x"),
            "GET",
            format!("/v0/{BASE}/People"),
            401,
        ),
        (Some("patREAD.x"), "GET", format!("/v0/{BASE}/People"), 200),
        (Some("patREAD.x"), "GET", "/v0/meta/whoami".to_owned(), 200),
        (
            Some("patREAD.x"),
            "GET",
            format!("/v0/meta/bases/{BASE}/tables"),
            403,
        ),
        (
            Some("patREAD.x"),
            "DELETE",
            format!("/v0/{BASE}/People/{ADA}"),
            403,
        ),
        (
            Some("patELSEWHERE.x"),
            "GET",
            format!("/v0/{BASE}/People"),
            403,
        ),
    ] {
        client.token = token.map(str::to_owned);
        assert_eq!(
            client.request(method, &path, "", b"").unwrap().status,
            status,
            "{token:?} {method} {path}"
        );
    }
}

/// 250 records in one table.
fn many(count: usize) -> Json {
    let records: Vec<Json> = (0..count).map(|n| json!({"id": many_id(n), "fields": {"Name": format!("n{n}"), "Peer": [many_id(n / 2)]}})).collect();
    json!({"bases": [{"id": BASE, "name": "Many", "tables": [{"name": "Rows", "fields": [
        {"name": "Name", "type": "singleLineText"},
        {"name": "id", "type": "formula", "formula": "RECORD_ID()"},
        {"name": "Peer", "type": "multipleRecordLinks", "linkedTable": "Rows"},
        {"name": "peer_id", "type": "multipleLookupValues", "recordLinkField": "Peer", "fieldInLinkedTable": "id"},
    ], "records": records}]}]})
}

fn many_id(n: usize) -> String {
    format!("recMany{n:010}")
}

#[test]
fn pages_follow_a_snapshot_and_can_be_asked_for_again() {
    let emulator = Emulator::start(Options {
        limits: false,
        seed: Some(many(250)),
        ..Options::default()
    })
    .unwrap();
    let mut client = Client::new(emulator.addr());
    let page = |client: &mut Client, offset: Option<&str>| {
        let reply = client.send_json(
            "POST",
            &format!("/v0/{BASE}/Rows/listRecords"),
            &json!({ "offset": offset }),
        );
        assert_eq!(reply.status, 200, "{}", reply.json());
        (
            reply.ids(),
            reply.json()["offset"].as_str().map(str::to_owned),
        )
    };
    let (first, offset) = page(&mut client, None);
    emulator.write(&json!({"base": BASE, "table": "Rows", "delete": [many_id(0), many_id(150)], "create": [{"fields": {"Name": "late"}}]})).unwrap();
    let (second, last) = page(&mut client, offset.as_deref());
    let (again, _) = page(&mut client, offset.as_deref());
    assert_eq!(second, again, "the same offset gives the same page");
    let (third, end) = page(&mut client, last.as_deref());
    assert_eq!(
        (first.len(), second.len(), third.len(), end),
        (100, 99, 50, None)
    );

    let expired = format!(
        "/v0/{BASE}/Rows?offset={}",
        offset.unwrap().replace('/', "%2F")
    );
    emulator.advance_clock(301_000);
    let reply = client.get(&expired);
    assert_eq!(
        (reply.status, reply.error_type().as_str()),
        (422, "LIST_RECORDS_ITERATOR_NOT_AVAILABLE")
    );
}

#[test]
fn five_hundred_ids_of_fifty_thousand_are_found_at_once() {
    let emulator = Emulator::start(Options {
        limits: false,
        seed: Some(many(50_000)),
        ..Options::default()
    })
    .unwrap();
    let mut client = Client::new(emulator.addr());
    let terms: Vec<String> = (0..500)
        .map(|n| format!("RECORD_ID()='{}'", many_id(n * 97)))
        .collect();
    let started = Instant::now();
    let reply = client.filter("Rows", &format!("OR({})", terms.join(",")));
    let took = started.elapsed();
    assert_eq!(reply.ids().len(), 100, "one page");
    assert!(took < Duration::from_millis(500), "{took:?}");
    let reply = client.filter(
        "Rows",
        &format!("FIND('{}',ARRAYJOIN({{peer_id}}))", many_id(7)),
    );
    assert_eq!(reply.ids(), [many_id(14), many_id(15)]);
}

#[test]
fn requests_come_in_chunks_and_replies_compressed() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let head = format!(
        "POST /v0/{BASE}/Projects/listRecords HTTP/1.1\r\nHost: e\r\nAuthorization: Bearer x\r\nAccept-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    client.send(head.as_bytes()).unwrap();
    client.send(b"10\r\n{\"filterByFormul\r\n").unwrap();
    client
        .send(b"f;x=y\r\na\":\"{Points}=8\"\r\n1\r\n}\r\n0\r\nTrailer: t\r\n\r\n")
        .unwrap();
    let reply = client.receive().unwrap();
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    let plain: usize = reply
        .header("airtable-uncompressed-content-length")
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(plain, reply.body().len());
    assert_eq!(reply.ids(), [APOLLO]);
    // The connection is still good.
    assert_eq!(client.get("/v0/meta/whoami").status, 200);
}

#[test]
fn a_url_has_an_end_and_a_body_must_be_json() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let long = format!("/v0/{BASE}/Projects?filterByFormula={}", "1".repeat(16_000));
    assert_eq!(client.get(&long).status, 414);
    let reply = client
        .request("POST", &format!("/v0/{BASE}/Projects"), "", b"{nonsense")
        .unwrap();
    assert_eq!(reply.status, 400);
}

#[test]
fn the_deepest_formula_that_is_accepted_is_also_evaluated() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let nested = |depth: usize| format!("{}1{}", "IF(1,-(".repeat(depth), "))".repeat(depth));
    let deepest = (1..400)
        .rev()
        .find(|depth| client.filter("Projects", &nested(*depth)).status == 200);
    assert!(deepest.is_some_and(|depth| depth > 50), "{deepest:?}");
    assert_eq!(
        client.filter("Projects", &nested(5000)).error_type(),
        "INVALID_FILTER_BY_FORMULA"
    );
}

#[test]
fn the_schema_names_ids_and_both_ends() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let bases = client.get("/v0/meta/bases").json();
    assert_eq!(
        bases["bases"][0],
        json!({"id": BASE, "name": "Space", "permissionLevel": "create"})
    );
    let schema = client
        .get(&format!(
            "/v0/meta/bases/{BASE}/tables?include=visibleFieldIds"
        ))
        .json();
    let field = |table: usize, name: &str| {
        let fields = schema["tables"][table]["fields"].as_array().unwrap();
        fields.iter().find(|f| f["name"] == name).unwrap().clone()
    };
    let (link, back) = (field(1, "Owner"), field(0, "Projects"));
    assert_eq!(link["options"]["linkedTableId"], "tblU7eN3wQa9ZdH1y");
    assert_eq!(link["options"]["inverseLinkFieldId"], back["id"]);
    assert_eq!(back["options"]["inverseLinkFieldId"], link["id"]);
    assert_eq!(
        field(1, "Shout")["options"]["formula"],
        format!("UPPER({{{}}})", link["id"].as_str().unwrap())
    );
    assert_eq!(
        field(1, "owner_id")["options"]["result"],
        json!({"type": "singleLineText"})
    );
    assert!(schema["tables"][1]["views"][0]["visibleFieldIds"].is_array());
}

#[test]
fn the_log_tells_what_was_asked() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    client.filter("Projects", "{Points}>1");
    client.get(&format!(
        "/v0/{BASE}/Projects?filterByFormula=%7BPoints%7D%3E3"
    ));
    client.get(&format!("/v0/{BASE}/Nowhere"));
    client.get("/_emulator/stats");
    let calls = emulator.calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|c| (c.seq, c.formula.as_deref(), c.status, c.records))
        .collect();
    let expected = [
        (1, Some("{Points}>1"), 200, Some(1)),
        (2, Some("{Points}>3"), 200, Some(1)),
        (3, None, 403, None),
    ];
    assert_eq!(seen, expected, "control calls are not counted");
    emulator.clear_calls();
    assert!(emulator.calls().is_empty());
}

#[test]
fn the_sample_base_is_whole() {
    let text = include_str!("../../../fixtures/sample-base.json");
    let emulator = Emulator::start(Options {
        limits: false,
        seed: Some(serde_json::from_str(text).unwrap()),
        ..Options::default()
    })
    .unwrap();
    let count = |table: &str| emulator.records("appPodiumSample001", table).unwrap().len();
    let tables = ["users", "events", "projects", "votes", "referrals"];
    assert_eq!(tables.map(count), [60, 6, 90, 240, 25]);
    for (table, links) in [
        ("votes", &["voter", "project", "event"][..]),
        ("projects", &["event", "owner"]),
        ("referrals", &["referrer", "referred"]),
    ] {
        for record in emulator.records("appPodiumSample001", table).unwrap() {
            for link in links {
                assert_eq!(
                    record["fields"][*link],
                    record["fields"][format!("{link}_id")],
                    "{table} {}",
                    record["id"]
                );
            }
        }
    }
}
