//! Bounds on time and size hold for every setting of them.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use podium_airtable::{Ask, FailureKind, ListQuery, Phase};
use scripted::{
    ask, client_with, create, gzip, json, list, pack, reply, token, Server, EMPTY_PAGE, JSON_HEAD,
};

#[test]
fn a_deadline_of_nothing_sends_nothing() {
    let server = Server::answering(json("200 OK", EMPTY_PAGE));
    let failure = create(&server.client(), Duration::ZERO);
    assert_eq!(
        (&failure.kind, failure.phase),
        (&FailureKind::Timeout, Phase::Prepare)
    );
    assert!(!failure.may_have_applied);
    assert_eq!(server.connections(), 0);
}

#[test]
fn any_deadline_and_any_limit_can_be_set() {
    let server = Server::answering(json("200 OK", EMPTY_PAGE));
    let token = token();
    let client = client_with(&server.url(), u64::MAX);
    let ask = Ask {
        deadline: Duration::MAX,
        ..ask(&token)
    };
    assert!(client.list(&ask, &ListQuery::default()).is_ok());
    let boastful = Server::start(|_, conn| {
        reply(
            conn,
            format!("{JSON_HEAD}Content-Length: {}\r\n\r\n", u64::MAX),
        )
    });
    let failure = client_with(&boastful.url(), u64::MAX)
        .list(&ask, &ListQuery::default())
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Bad);
}

#[test]
fn a_body_that_never_ends_is_read_no_further_than_the_limit() {
    let server = Server::start(|_, mut conn| {
        conn.request();
        conn.send(format!("{JSON_HEAD}Transfer-Encoding: chunked\r\n\r\n"));
        while conn.send(format!("1000\r\n{}\r\n", " ".repeat(4096))) {}
    });
    let failure = list(&server.client(), scripted::PATIENCE);
    assert_eq!(
        (&failure.kind, failure.phase),
        (&FailureKind::TooLarge, Phase::Body)
    );
    assert!(!failure.is_safe_to_retry(false));
    server.wait_for_close();
}

#[test]
fn a_gzip_bomb_is_not_unpacked() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let server = Server::start(move |_, mut conn| {
        // Each piece becomes 16 MiB; all of them would become 16 GiB.
        let piece = pack(&vec![b' '; 16 * 1024 * 1024]);
        conn.request();
        conn.send(format!(
            "{JSON_HEAD}Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
        ));
        for _ in 0..1024 {
            if !conn.send(&piece) {
                break;
            }
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let failure = list(&server.client(), scripted::PATIENCE);
    assert_eq!(
        (&failure.kind, failure.phase),
        (&FailureKind::TooLarge, Phase::Body)
    );
    server.wait_for_close();
    assert!(
        sent.load(Ordering::SeqCst) < 1024,
        "the client read on to the end"
    );
}

#[test]
fn the_limit_is_the_last_size_accepted() {
    let server = Server::answering(json("200 OK", EMPTY_PAGE));
    let token = token();
    for (limit, is_accepted) in [
        (EMPTY_PAGE.len() as u64, true),
        (EMPTY_PAGE.len() as u64 - 1, false),
    ] {
        let page = client_with(&server.url(), limit).list(&ask(&token), &ListQuery::default());
        assert_eq!(page.is_ok(), is_accepted, "{limit}");
    }
    let packed = Server::answering(gzip(EMPTY_PAGE.as_bytes(), 0));
    let page = packed
        .client()
        .list(&ask(&token), &ListQuery::default())
        .unwrap();
    assert_eq!(page.bytes, EMPTY_PAGE.len() as u64);
    let small = client_with(&packed.url(), EMPTY_PAGE.len() as u64 - 1);
    assert_eq!(list(&small, scripted::PATIENCE).kind, FailureKind::TooLarge);
}
