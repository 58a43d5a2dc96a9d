//! Misbehaviour, as a client sees it on the socket.

use crate::support::*;
use serde_json::{json, Value as Json};
use std::io;
use std::time::{Duration, Instant};

fn list() -> String {
    format!("/v0/{BASE}/Projects")
}

#[test]
fn errors_come_in_every_status_and_shape() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    for (shape, expected) in [
        ("object", r#"{"error":{"type":"T","message":"M"}}"#),
        ("string", r#"{"error":"T"}"#),
        ("plural", r#"{"errors":[{"error":"T","message":"M"}]}"#),
        ("empty", ""),
    ] {
        let fault = json!({"kind": "status", "status": 503, "shape": shape, "type": "T", "message": "M", "retry_after": 2});
        emulator.fault(&fault).unwrap();
        let reply = client.get(&list());
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (503, Some("2"))
        );
        assert_eq!(String::from_utf8(reply.raw).unwrap(), expected);
    }
    emulator
        .fault(&json!({"kind": "status", "status": 502, "shape": "html"}))
        .unwrap();
    let reply = client.get(&list());
    assert!(reply.status == 502 && reply.raw.starts_with(b"<html>"));
    assert_eq!(client.get(&list()).status, 200, "each is played once");
}

#[test]
fn faults_choose_their_calls() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    emulator
        .fault(&json!({"kind": "status", "times": 2, "match": {"formula_contains": "Points"}}))
        .unwrap();
    emulator.fault(&json!({"kind": "html", "times": -1, "match": {"method": "DELETE", "path_contains": "People"}})).unwrap();
    assert_eq!(client.get(&list()).status, 200);
    let statuses: Vec<u16> = (0..3)
        .map(|_| client.filter("Projects", "{Points}=8").status)
        .collect();
    assert_eq!(statuses, [500, 500, 200]);
    for _ in 0..3 {
        let reply = client
            .request("DELETE", &format!("/v0/{BASE}/People/{ADA}"), "", b"")
            .unwrap();
        assert_eq!(reply.header("content-type"), Some("text/html"));
    }
    assert_eq!(
        emulator.records(BASE, "People").unwrap().len(),
        2,
        "the calls were not carried out"
    );
    let faults: Vec<_> = emulator
        .calls()
        .into_iter()
        .filter_map(|c| c.fault)
        .collect();
    assert_eq!(faults, ["status", "status", "html", "html", "html"]);
    emulator.clear_faults();
    assert!(emulator
        .fault(&json!({"kind": "nonsense"}))
        .unwrap_err()
        .contains("nonsense"));
}

#[test]
fn a_write_can_be_carried_out_and_its_answer_lost() {
    let emulator = emulator();
    for (fault, carried_out) in [
        (json!({"kind": "reset_before_headers"}), false),
        (json!({"kind": "reset_before_headers", "apply": true}), true),
    ] {
        emulator.fault(&fault).unwrap();
        let mut client = Client::new(emulator.addr());
        let body = json!({"fields": {"Points": 99}}).to_string();
        let outcome = client.request("PATCH", &format!("{}/{ZOND}", list()), "", body.as_bytes());
        assert!(outcome.is_err(), "{outcome:?}");
        let records = emulator.records(BASE, "Projects").unwrap();
        let written = records.iter().any(|r| r["fields"]["Points"] == 99);
        assert_eq!(written, carried_out, "{fault}");
    }
}

#[test]
fn connections_break_where_told() {
    let emulator = emulator();
    for (kind, expected) in [
        ("reset_before_headers", io::ErrorKind::ConnectionReset),
        ("reset_in_body", io::ErrorKind::ConnectionReset),
    ] {
        emulator.fault(&json!({ "kind": kind })).unwrap();
        let outcome = Client::new(emulator.addr()).request("GET", &list(), "", b"");
        assert_eq!(outcome.unwrap_err().kind(), expected, "{kind}");
    }
    emulator.fault(&json!({"kind": "hang"})).unwrap();
    let mut client = Client::new(emulator.addr());
    client.set_timeout(Duration::from_millis(300));
    let error = client.request("GET", &list(), "", b"").unwrap_err();
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ),
        "{error}"
    );
}

#[test]
fn slow_replies_take_their_time_and_old_data() {
    let emulator = emulator();
    emulator.fault(&json!({"kind": "slow", "ms": 300})).unwrap();
    let started = Instant::now();
    let address = emulator.addr();
    let waiting = std::thread::spawn(move || {
        Client::new(address)
            .get(&format!("{}/{APOLLO}", list()))
            .json()
    });
    while emulator.calls().iter().all(|c| c.status == 0) {
        assert!(started.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    emulator.write(&json!({"base": BASE, "table": "Projects", "update": [{"id": APOLLO, "fields": {"Points": 1}}]})).unwrap();
    assert_eq!(
        waiting.join().unwrap()["fields"]["Points"],
        8,
        "the data were read before the wait"
    );
    assert!(started.elapsed() >= Duration::from_millis(300));

    emulator
        .fault(&json!({"kind": "drip", "interval_ms": 2}))
        .unwrap();
    let started = Instant::now();
    let reply = Client::new(emulator.addr()).get(&list());
    assert!(started.elapsed() >= Duration::from_millis(2 * reply.raw.len() as u64));
}

#[test]
fn requests_that_arrive_late_see_what_is_true_then() {
    let emulator = emulator();
    emulator
        .fault(&json!({"kind": "slow", "before_ms": 300}))
        .unwrap();
    let started = Instant::now();
    let address = emulator.addr();
    let waiting = std::thread::spawn(move || {
        Client::new(address)
            .get(&format!("{}/{APOLLO}", list()))
            .json()
    });
    while emulator.calls().is_empty() {
        assert!(started.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    emulator.write(&json!({"base": BASE, "table": "Projects", "update": [{"id": APOLLO, "fields": {"Points": 1}}]})).unwrap();
    assert_eq!(waiting.join().unwrap()["fields"]["Points"], 1);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[test]
fn bodies_are_spoilt_in_every_way() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    let gzip = "Accept-Encoding: gzip\r\n";
    let mut play = |fault: Json, headers: &str| {
        emulator.fault(&fault).unwrap();
        client.request("GET", &list(), headers, b"").unwrap()
    };
    let is_json = |bytes: &[u8]| serde_json::from_slice::<Json>(bytes).is_ok();

    assert!(!is_json(&play(json!({"kind": "truncated_json"}), "").raw));
    let truncated = play(json!({"kind": "truncated_gzip"}), gzip);
    let mut plain = Vec::new();
    let outcome = io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(truncated.raw.as_slice()),
        &mut plain,
    );
    assert!(outcome.is_err() && truncated.raw.starts_with(&[0x1f, 0x8b]));
    assert_eq!(
        play(json!({"kind": "wrong_content_type"}), "").header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(play(json!({"kind": "html"}), "").raw.starts_with(b"<html>"));
    assert!(play(json!({"kind": "empty_body"}), "").raw.is_empty());
    assert!(
        play(json!({"kind": "deep_json", "depth": 5000}), "")
            .raw
            .len()
            > 10_000
    );
    let redirect = play(
        json!({"kind": "redirect", "location": "http://127.0.0.1:1/"}),
        "",
    );
    assert_eq!(
        (redirect.status, redirect.header("location")),
        (302, Some("http://127.0.0.1:1/"))
    );
    let huge = play(json!({"kind": "huge_body", "bytes": 3_000_000}), "");
    assert!(huge.raw.len() == 3_000_000 && is_json(&huge.raw));
    let bomb = play(json!({"kind": "gzip_bomb", "bytes": 20_000_000}), gzip);
    assert!(bomb.raw.len() < 100_000 && bomb.body().len() == 20_000_000);
    let text = |reply: &Reply| String::from_utf8_lossy(&reply.raw).into_owned();
    let replaced = text(&play(
        json!({"kind": "replace", "old": "\"id\"", "new": "\"\\ud83c\""}),
        "",
    ));
    assert!(replaced.contains(r#"{"\ud83c":"rec"#) && !replaced.contains(r#""id""#));
    let bytes = play(
        json!({"kind": "replace", "old": "fields", "new_hex": "ff"}),
        "",
    );
    assert!(bytes.raw.contains(&0xff) && !text(&bytes).contains("fields"));
    for odd in [
        json!({"kind": "replace"}),
        json!({"kind": "replace", "old": ""}),
        json!({"kind": "replace", "old": "a", "new_hex": "f"}),
        json!({"kind": "replace", "old": "a", "new_hex": "zz"}),
    ] {
        assert!(emulator.fault(&odd).is_err(), "{odd}");
    }
    let billing = play(json!({"kind": "billing_limit"}), "");
    assert_eq!(
        (billing.status, billing.error_type().as_str()),
        (429, "PUBLIC_API_BILLING_LIMIT_EXCEEDED")
    );
}

#[test]
fn listings_go_wrong() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    emulator
        .fault(&json!({"kind": "duplicate_record"}))
        .unwrap();
    assert_eq!(client.get(&list()).ids(), [APOLLO, ZOND, APOLLO]);
    emulator.fault(&json!({"kind": "foreign_record"})).unwrap();
    assert_eq!(client.get(&list()).ids(), [APOLLO, ZOND, ADA]);

    let first = client.get(&format!("{}?pageSize=1", list())).json();
    let next = format!(
        "{}?pageSize=1&offset={}",
        list(),
        first["offset"].as_str().unwrap().replace('/', "%2F")
    );
    emulator
        .fault(&json!({"kind": "offset_repeats", "times": 2}))
        .unwrap();
    for _ in 0..2 {
        let reply = client.get(&next);
        assert_eq!(
            (reply.ids(), &reply.json()["offset"]),
            (vec![ZOND.to_owned()], &first["offset"])
        );
    }
    emulator.fault(&json!({"kind": "offset_expired"})).unwrap();
    assert_eq!(
        client.get(&list()).status,
        200,
        "it waits for a call with an offset"
    );
    assert_eq!(
        client.get(&next).error_type(),
        "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"
    );
    assert_eq!(client.get(&next).status, 200);
}

#[test]
fn latency_is_set_for_all_or_for_some() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    emulator
        .control("POST", "latency", &json!({"ms": 120, "table": "Projects"}))
        .unwrap();
    let mut time = |path: &str| {
        let started = Instant::now();
        client.get(path);
        started.elapsed()
    };
    let quick = time(&format!("/v0/{BASE}/People"));
    let slow = time(&list());
    assert!(
        slow >= Duration::from_millis(120) && quick < slow,
        "{quick:?} {slow:?}"
    );
}
