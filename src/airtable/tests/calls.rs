//! What goes over the wire for each call, and what its answer becomes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod scripted;

use podium_airtable::{Ask, FailureKind, ListQuery, Phase};
use scripted::{ask, json, token, Server, BASE, EMPTY_PAGE, TOKEN};
use serde_json::{json, Map, Value};

fn cells(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn a_list_is_a_get_with_what_was_asked_for() {
    let server = Server::answering(json(
        "200 OK",
        r#"{"records":[{"id":"recA","createdTime":"2026-03-04T05:06:07.000Z","fields":{"Name":"Apollo"}}],"offset":"itrX/recA"}"#,
    ));
    let token = token();
    let query = ListQuery {
        formula: Some("OR(RECORD_ID()='recA',{Näme}='x\n')"),
        offset: Some("itrW/recZ"),
        page_size: 50,
        max_records: Some(7),
        fields: &["Näme".to_string(), "fldA".to_string()],
        by_field_id: true,
    };
    let page = server.client().list(&ask(&token), &query).unwrap();
    assert_eq!(page.offset.as_deref(), Some("itrX/recA"));
    assert_eq!(page.records[0].id, "recA");
    assert_eq!(page.records[0].fields["Name"], "Apollo");
    let seen = &server.seen()[0];
    assert_eq!(
        seen.line,
        "GET /v0/appK3xT9vQ2mWb7Rd/Projects?pageSize=50&maxRecords=7&returnFieldsByFieldId=true\
         &fields%5B%5D=N%C3%A4me&fields%5B%5D=fldA\
         &filterByFormula=OR%28RECORD_ID%28%29%3D%27recA%27%2C%7BN%C3%A4me%7D%3D%27x%0A%27%29\
         &offset=itrW%2FrecZ HTTP/1.1"
    );
    assert_eq!(
        seen.header("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
    assert_eq!(seen.header("accept-encoding"), Some("gzip"));
    assert!(seen.header("user-agent").unwrap().starts_with("podium/"));
}

#[test]
fn nothing_is_sent_that_was_not_asked_for() {
    let server = Server::answering(json("200 OK", EMPTY_PAGE));
    server
        .client()
        .list(&ask(&token()), &ListQuery::default())
        .unwrap();
    assert_eq!(
        server.seen()[0].line,
        "GET /v0/appK3xT9vQ2mWb7Rd/Projects HTTP/1.1"
    );
}

#[test]
fn an_address_of_15000_characters_becomes_a_post() {
    let server = Server::answering(json("200 OK", EMPTY_PAGE));
    let (token, client) = (token(), server.client());
    let fixed = format!(
        "{}/v0/{BASE}/Projects?pageSize=100&filterByFormula=",
        server.url()
    )
    .len();
    for (length, method) in [(14_999, "GET "), (15_000, "POST ")] {
        let formula = "a".repeat(length - fixed);
        let query = ListQuery {
            formula: Some(&formula),
            page_size: 100,
            ..ListQuery::default()
        };
        client.list(&ask(&token), &query).unwrap();
        let seen = server.seen().pop().unwrap();
        assert!(
            seen.line.starts_with(method),
            "{length}: {}",
            &seen.line[..60]
        );
        if method == "POST " {
            assert_eq!(
                seen.line,
                format!("POST /v0/{BASE}/Projects/listRecords HTTP/1.1")
            );
            assert_eq!(
                seen.json(),
                json!({"pageSize": 100, "filterByFormula": formula})
            );
            assert_eq!(seen.header("content-type"), Some("application/json"));
        }
    }
}

#[test]
fn names_stay_within_their_segment() {
    let server = Server::answering(json("200 OK", EMPTY_PAGE));
    let token = token();
    let ask = Ask {
        base: "app/../x",
        table: "My Table/α?#%",
        ..ask(&token)
    };
    server.client().list(&ask, &ListQuery::default()).unwrap();
    assert_eq!(
        server.seen()[0].line,
        "GET /v0/app%2F..%2Fx/My%20Table%2F%CE%B1%3F%23%25 HTTP/1.1"
    );
}

#[test]
fn arguments_that_cannot_be_sent_are_refused_before_anything_is() {
    let server = Server::answering(json("200 OK", EMPTY_PAGE));
    let (token, client) = (token(), server.client());
    let fine = ask(&token);
    let list = |ask: Ask, query: ListQuery| client.list(&ask, &query).unwrap_err();
    let query = ListQuery::default();
    let rec = |id: &str| vec![(id.to_string(), Map::new())];
    for (name, failure) in [
        (
            "base",
            list(
                Ask {
                    base: "app\r\nX: 1",
                    ..fine
                },
                query,
            ),
        ),
        ("base", list(Ask { base: "", ..fine }, query)),
        ("base", list(Ask { base: "..", ..fine }, query)),
        (
            "table",
            list(
                Ask {
                    table: "a\0b",
                    ..fine
                },
                query,
            ),
        ),
        ("table", list(Ask { table: ".", ..fine }, query)),
        (
            "offset",
            list(
                fine,
                ListQuery {
                    offset: Some("itr\n"),
                    ..query
                },
            ),
        ),
        (
            "formula",
            list(
                fine,
                ListQuery {
                    formula: Some("a\0"),
                    ..query
                },
            ),
        ),
        (
            "page size",
            list(
                fine,
                ListQuery {
                    page_size: 101,
                    ..query
                },
            ),
        ),
        (
            "record id",
            client.update(&fine, &rec("rec\r\n"), false).unwrap_err(),
        ),
        ("record id", client.delete(&fine, &["../x"]).unwrap_err()),
        ("0 records", client.delete(&fine, &[]).unwrap_err()),
        (
            "11 records",
            client
                .create(&fine, &vec![Map::new(); 11], false)
                .unwrap_err(),
        ),
        (
            "webhook id",
            client.webhook_payloads(&fine, "ach/..", 1, 50).unwrap_err(),
        ),
        (
            "51 payloads",
            client.webhook_payloads(&fine, "achA", 1, 51).unwrap_err(),
        ),
    ] {
        assert_eq!(
            (&failure.kind, failure.phase),
            (&FailureKind::Refused, Phase::Prepare)
        );
        assert!(
            failure.message.contains(name),
            "{name}: {}",
            failure.message
        );
        assert!(!failure.may_have_applied && !failure.is_safe_to_retry(true));
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn writes_send_batches_and_return_them_in_order() {
    let server = Server::answering(json(
        "200 OK",
        r#"{"records":[{"id":"recA","createdTime":"t","fields":{"Name":"A"}},{"id":"recB","fields":{}}],"details":{"message":"partialSuccess"}}"#,
    ));
    let (token, client) = (token(), server.client());
    let ask = ask(&token);
    let created = client
        .create(&ask, &[cells(json!({"Name": "A"})), Map::new()], true)
        .unwrap();
    assert_eq!(
        created
            .iter()
            .flatten()
            .map(|r| r.id.as_str())
            .collect::<Vec<_>>(),
        ["recA", "recB"]
    );
    let changes = [
        ("recA".to_string(), cells(json!({"Name": null}))),
        ("recB".to_string(), Map::new()),
    ];
    assert_eq!(client.update(&ask, &changes, false).unwrap().len(), 2);
    let seen = server.seen();
    assert_eq!(seen[0].line, format!("POST /v0/{BASE}/Projects HTTP/1.1"));
    assert_eq!(
        seen[0].json(),
        json!({"records": [{"fields": {"Name": "A"}}, {"fields": {}}], "typecast": true})
    );
    assert_eq!(seen[1].line, format!("PATCH /v0/{BASE}/Projects HTTP/1.1"));
    assert_eq!(
        seen[1].json(),
        json!({"records": [{"id": "recA", "fields": {"Name": null}}, {"id": "recB", "fields": {}}], "typecast": false})
    );
}

#[test]
fn a_written_answer_that_does_not_fit_is_bad_and_may_have_applied() {
    let server = Server::answering(json("200 OK", r#"{"records":[{"id":"recB","fields":{}}]}"#));
    let (token, client) = (token(), server.client());
    let ask = ask(&token);
    for failure in [
        client
            .create(&ask, &[Map::new(), Map::new()], false)
            .unwrap_err(),
        client
            .update(&ask, &[("recA".to_string(), Map::new())], false)
            .unwrap_err(),
    ] {
        assert_eq!(
            (&failure.kind, failure.phase),
            (&FailureKind::Bad, Phase::Parse)
        );
        assert!(failure.may_have_applied && !failure.is_safe_to_retry(true));
    }
    // Nor does it say that anything was deleted: that is asked for.
    assert!(client.delete(&ask, &["recB"]).unwrap().is_empty());
}

#[test]
fn a_delete_names_its_records_and_returns_what_is_gone() {
    let server = Server::answering(json(
        "200 OK",
        r#"{"records":[{"id":"recA","deleted":true},{"id":"recB","deleted":false}]}"#,
    ));
    let token = token();
    let gone = server
        .client()
        .delete(&ask(&token), &["recA", "recB"])
        .unwrap();
    assert_eq!(gone, ["recA"]);
    assert_eq!(
        server.seen()[0].line,
        format!("DELETE /v0/{BASE}/Projects?records%5B%5D=recA&records%5B%5D=recB HTTP/1.1")
    );
}

#[test]
fn schema_and_token_are_read_as_sent() {
    let server = Server::answering(json("200 OK", r#"{"tables":[{"id":"tblA"}],"id":"usrA"}"#));
    let (token, client) = (token(), server.client());
    assert_eq!(
        client.tables(&ask(&token)).unwrap()["tables"][0]["id"],
        "tblA"
    );
    assert_eq!(client.whoami(&ask(&token)).unwrap()["id"], "usrA");
    let seen = server.seen();
    assert_eq!(
        seen[0].line,
        format!("GET /v0/meta/bases/{BASE}/tables HTTP/1.1")
    );
    assert_eq!(seen[1].line, "GET /v0/meta/whoami HTTP/1.1");
    let other = Server::answering(json("200 OK", r#"{"records":[]}"#));
    assert_eq!(
        other.client().tables(&ask(&token)).unwrap_err().kind,
        FailureKind::Bad
    );
    assert_eq!(
        other.client().whoami(&ask(&token)).unwrap_err().kind,
        FailureKind::Bad
    );
}

#[test]
fn webhooks_are_created_read_refreshed_and_deleted() {
    let server = Server::answering(json(
        "200 OK",
        r#"{"id":"achA","macSecretBase64":"c2VjcmV0","expirationTime":"2026-03-11T05:06:07.000Z",
            "webhooks":[{"id":"achA"}],"payloads":[{}],"cursor":6,"mightHaveMore":false}"#,
    ));
    let (token, client) = (token(), server.client());
    let ask = ask(&token);
    let specification =
        json!({"specification": {"options": {"filters": {"dataTypes": ["tableData"]}}}});
    let created = client.webhook_create(&ask, &specification).unwrap();
    assert_eq!(
        (created.id.as_str(), created.mac_secret.reveal()),
        ("achA", "c2VjcmV0")
    );
    assert!(!format!("{created:?}").contains("c2VjcmV0"));
    assert_eq!(client.webhook_list(&ask).unwrap(), [json!({"id": "achA"})]);
    assert_eq!(
        client.webhook_payloads(&ask, "achA", 5, 50).unwrap()["cursor"],
        6
    );
    let expiry = client.webhook_refresh(&ask, "achA").unwrap();
    assert_eq!(expiry.as_deref(), Some("2026-03-11T05:06:07.000Z"));
    client.webhook_delete(&ask, "achA").unwrap();
    let lines: Vec<_> = server.seen().into_iter().map(|seen| seen.line).collect();
    let root = format!("/v0/bases/{BASE}/webhooks");
    assert_eq!(
        lines,
        [
            format!("POST {root} HTTP/1.1"),
            format!("GET {root} HTTP/1.1"),
            format!("GET {root}/achA/payloads?cursor=5&limit=50 HTTP/1.1"),
            format!("POST {root}/achA/refresh HTTP/1.1"),
            format!("DELETE {root}/achA HTTP/1.1"),
        ]
    );
    assert_eq!(server.seen()[0].json(), specification);
    assert_eq!(server.seen()[3].header("content-length"), Some("0"));
}

#[test]
fn a_webhook_is_deleted_whatever_the_answer_holds() {
    for answer in [
        json("200 OK", "{}"),
        json("200 OK", ""),
        "HTTP/1.1 204 No Content\r\n\r\n".to_string(),
    ] {
        let server = Server::answering(answer);
        server
            .client()
            .webhook_delete(&ask(&token()), "achA")
            .unwrap();
    }
}
