//! Connections: kept, replaced when the server closed them, and never used to say something twice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod scripted;

use std::sync::Barrier;
use std::thread;

use podium_airtable::{FailureKind, ListQuery, Phase};

use scripted::{ask, json, token, Server, EMPTY_PAGE};
use serde_json::Map;

const CREATED: &str = r#"{"records":[{"id":"recA","fields":{}}]}"#;

#[test]
fn one_connection_serves_many_calls() {
    let server = Server::answering(json("200 OK", EMPTY_PAGE));
    let (token, client) = (token(), server.client());
    for _ in 0..5 {
        client
            .clone()
            .list(&ask(&token), &ListQuery::default())
            .unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn refusals_and_gzip_leave_the_connection_usable() {
    let server = Server::start(|_, mut conn| {
        for answer in [
            json("422 X", r#"{"error":"X"}"#).into_bytes(),
            scripted::gzip(EMPTY_PAGE.as_bytes(), 0),
        ] {
            conn.request();
            conn.send(answer);
        }
        conn.request();
        conn.send(json("200 OK", EMPTY_PAGE));
        conn.hang();
    });
    let (token, client) = (token(), server.client());
    assert!(client.list(&ask(&token), &ListQuery::default()).is_err());
    assert!(client.list(&ask(&token), &ListQuery::default()).is_ok());
    assert!(client.list(&ask(&token), &ListQuery::default()).is_ok());
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_connection_closed_while_idle_costs_nothing_reads_and_writes_alike() {
    let server = Server::start(|number, mut conn| {
        let body = if number == 1 { CREATED } else { EMPTY_PAGE };
        conn.request();
        conn.send(json("200 OK", body));
    });
    let (token, client) = (token(), server.client());
    client.list(&ask(&token), &ListQuery::default()).unwrap();
    server.wait_for_close();
    client.create(&ask(&token), &[Map::new()], false).unwrap();
    server.wait_for_close();
    client.list(&ask(&token), &ListQuery::default()).unwrap();
    assert_eq!((server.connections(), server.seen().len()), (3, 3));
}

/// The first request of every connection is answered, the second is read and met with silence and a
/// close.
fn losing_the_second() -> Server {
    Server::start(|_, mut conn| {
        conn.request();
        conn.send(json("200 OK", EMPTY_PAGE));
        conn.request();
        conn.reset();
    })
}

#[test]
fn a_read_that_lost_a_kept_connection_is_repeated_once_on_a_fresh_one() {
    let server = losing_the_second();
    let (token, client) = (token(), server.client());
    client.list(&ask(&token), &ListQuery::default()).unwrap();
    client.list(&ask(&token), &ListQuery::default()).unwrap();
    assert_eq!((server.connections(), server.seen().len()), (2, 3));
}

#[test]
fn a_write_that_lost_a_kept_connection_is_not_repeated() {
    let server = losing_the_second();
    let (token, client) = (token(), server.client());
    client.list(&ask(&token), &ListQuery::default()).unwrap();
    let failure = client
        .create(&ask(&token), &[Map::new()], false)
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(failure.may_have_applied && !failure.is_safe_to_retry(true));
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_fresh_connection_lost_is_a_failure_at_once() {
    let server = Server::start(|_, mut conn| {
        conn.request();
        conn.reset();
    });
    let (token, client) = (token(), server.client());
    let failure = client
        .list(&ask(&token), &ListQuery::default())
        .unwrap_err();
    assert_eq!(
        (&failure.kind, failure.phase),
        (&FailureKind::Unreachable, Phase::Headers)
    );
    assert!(!failure.may_have_applied && failure.is_safe_to_retry(false));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn the_repetition_itself_is_not_repeated() {
    let server = Server::start(|number, mut conn| {
        if number == 0 {
            conn.request();
            conn.send(json("200 OK", EMPTY_PAGE));
        }
        conn.request();
        conn.reset();
    });
    let (token, client) = (token(), server.client());
    client.list(&ask(&token), &ListQuery::default()).unwrap();
    let failure = client
        .list(&ask(&token), &ListQuery::default())
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert_eq!((server.connections(), server.seen().len()), (2, 3));
}

#[test]
fn calls_from_many_threads_do_not_mix() {
    const THREADS: usize = 8;
    // Each answer is the formula that was asked, so a mixed-up answer shows.
    let server = Server::start(|_, mut conn| {
        while let Some(seen) = conn.request() {
            let asked = seen
                .line
                .split(['=', ' '])
                .nth(2)
                .unwrap_or_default()
                .to_string();
            let body = format!(r#"{{"records":[{{"id":"rec{asked}","fields":{{}}}}]}}"#);
            if !conn.send(json("200 OK", &body)) {
                return;
            }
        }
    });
    let (token, client) = (token(), server.client());
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (token, client, start) = (&token, &client, &start);
            scope.spawn(move || {
                start.wait();
                for call in 0..50 {
                    let formula = format!("{thread}x{call}");
                    let query = ListQuery {
                        formula: Some(&formula),
                        ..ListQuery::default()
                    };
                    let page = client.list(&ask(token), &query).unwrap();
                    assert_eq!(page.records[0].id, format!("rec{formula}"));
                }
            });
        }
    });
    assert_eq!(server.seen().len(), THREADS * 50);
    assert!(
        server.connections() <= THREADS,
        "{} connections",
        server.connections()
    );
}
