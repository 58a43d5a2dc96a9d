//! Whatever an upstream does, a call ends within its deadline with a failure that names what
//! happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod scripted;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use podium_airtable::{Ask, FailureKind, ListQuery, Phase};
use scripted::{
    answer, ask, client, create, gzip, json, list, reply, token, Conn, Server, EMPTY_PAGE,
    JSON_HEAD, TOKEN,
};

const DRIP: Duration = Duration::from_millis(30);
const CASES: u32 = 500;
/// For a busy machine; a call without bound would take far longer.
const SLACK: Duration = Duration::from_secs(1);

/// A fault, what the client is to say of it, and whether a write may have been applied.
struct Row {
    name: &'static str,
    serve: fn(Conn),
    kind: FailureKind,
    phase: Phase,
    may_have_applied: bool,
}

fn row(
    name: &'static str,
    kind: FailureKind,
    phase: Phase,
    may_have_applied: bool,
    serve: fn(Conn),
) -> Row {
    Row {
        name,
        serve,
        kind,
        phase,
        may_have_applied,
    }
}

/// No list of records (one that held such a thing would be a page with a record that cannot be read).
fn deep_json() -> String {
    format!(
        "{{\"records\":{{\"a\":{}{}}}}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    )
}

fn rows() -> Vec<Row> {
    use FailureKind::{Bad, Refused, Retriable, Server as Broken, Timeout, TooLarge, Unreachable};
    use Phase::{Body, Headers, Parse};
    vec![
        row(
            "closed before an answer",
            Unreachable,
            Headers,
            true,
            |mut c| {
                c.request();
            },
        ),
        row(
            "reset before an answer",
            Unreachable,
            Headers,
            true,
            |mut c| {
                c.request();
                c.reset();
            },
        ),
        row(
            "reset inside the headers",
            Unreachable,
            Headers,
            true,
            |mut c| {
                c.request();
                c.send("HTTP/1.1 200 OK\r\nContent-");
                c.reset();
            },
        ),
        row("reset inside the body", Bad, Body, true, |mut c| {
            c.request();
            c.send(format!("{JSON_HEAD}Content-Length: 99\r\n\r\n{{\"rec"));
            c.reset();
        }),
        row("closed inside the body", Bad, Body, true, |c| {
            reply(c, format!("{JSON_HEAD}Content-Length: 99\r\n\r\n{{\"rec"));
        }),
        row("closed inside a chunk", Bad, Body, true, |c| {
            reply(
                c,
                format!("{JSON_HEAD}Transfer-Encoding: chunked\r\n\r\nff\r\n{{\"rec"),
            );
        }),
        row(
            "closed inside a body without length",
            Bad,
            Parse,
            true,
            |c| {
                reply(
                    c,
                    format!("{JSON_HEAD}Connection: close\r\n\r\n{{\"records\":["),
                );
            },
        ),
        row("hangs before headers", Timeout, Headers, true, |mut c| {
            c.request();
            c.hang();
        }),
        row("hangs inside the body", Timeout, Body, true, |mut c| {
            c.request();
            c.send(format!("{JSON_HEAD}Content-Length: 99\r\n\r\n{{"));
            c.hang();
        }),
        row("drips the headers", Timeout, Headers, true, |mut c| {
            c.request();
            c.drip(
                format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(10_000)),
                DRIP,
            );
        }),
        row("drips the body", Timeout, Body, true, |mut c| {
            c.request();
            c.send(format!("{JSON_HEAD}Content-Length: 9999\r\n\r\n"));
            c.drip(" ".repeat(9_999), DRIP);
        }),
        row("drips gzip", Timeout, Body, true, |mut c| {
            let noise: String = (0..5_000_u32)
                .map(|n| format!("{},", n.wrapping_mul(2_654_435_761)))
                .collect();
            let whole = gzip(noise.as_bytes(), 0);
            let body = whole
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .expect("a head")
                + 4;
            c.request();
            c.send(&whole[..body]);
            c.drip(&whole[body..], DRIP);
        }),
        row("truncated JSON", Bad, Parse, true, |c| {
            reply(c, json("200 OK", r#"{"records":[{"id""#))
        }),
        row("truncated gzip", Bad, Body, true, |c| {
            reply(c, gzip(EMPTY_PAGE.as_bytes(), 9))
        }),
        row("broken gzip", Bad, Body, true, |c| {
            reply(
                c,
                answer(
                    "200 OK",
                    "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
                    EMPTY_PAGE,
                ),
            );
        }),
        row("wrong content type", Bad, Parse, true, |c| {
            reply(
                c,
                answer("200 OK", "Content-Type: text/plain\r\n", EMPTY_PAGE),
            );
        }),
        row("HTML", Bad, Parse, true, |c| {
            reply(
                c,
                answer(
                    "200 OK",
                    "Content-Type: text/html\r\n",
                    "<html>Welcome to this hotel</html>",
                ),
            );
        }),
        row("empty body", Bad, Parse, true, |c| {
            reply(c, json("200 OK", ""))
        }),
        row("no content", Bad, Parse, true, |c| {
            reply(c, "HTTP/1.1 204 No Content\r\n\r\n")
        }),
        row("a large body, announced", TooLarge, Body, true, |mut c| {
            c.request();
            c.send(format!("{JSON_HEAD}Content-Length: 99999999999\r\n\r\n"));
            c.hang();
        }),
        row("deep JSON", Bad, Parse, true, |c| {
            reply(c, json("200 OK", &deep_json()))
        }),
        row("JSON of another shape", Bad, Parse, true, |c| {
            reply(c, json("200 OK", r#"{"records":7}"#))
        }),
        row("not HTTP", Bad, Headers, true, |c| {
            reply(c, "SSH-2.0-OpenSSH_9.2\r\n\r\n")
        }),
        row("endless headers", Bad, Headers, true, |mut c| {
            c.request();
            while c.send("X-Filler: 0123456789\r\n".repeat(100)) {}
        }),
        row("500", Broken, Headers, true, |c| {
            reply(c, json("500 X", r#"{"error":{"type":"SERVER_ERROR"}}"#))
        }),
        row("502 in HTML", Broken, Headers, true, |c| {
            reply(
                c,
                answer(
                    "502 X",
                    "Content-Type: text/html\r\n",
                    "<html>Bad Gateway</html>",
                ),
            );
        }),
        row("503", Retriable, Headers, false, |c| {
            reply(
                c,
                json(
                    "503 X",
                    r#"{"error":{"type":"RETRIABLE_ERROR","message":"safe"}}"#,
                ),
            );
        }),
        row("400", Refused, Headers, false, |c| {
            reply(c, json("400 X", "{}"))
        }),
        row("413", Refused, Headers, false, |c| {
            reply(c, answer("413 X", "", "too large"))
        }),
        row("a refusal cut short", Refused, Headers, false, |mut c| {
            c.request();
            c.send("HTTP/1.1 422 X\r\nContent-Length: 99\r\n\r\n{\"err");
        }),
    ]
}

/// Every row as a read and as a write, each on a client of its own, then one good call by the same
/// client.
#[test]
fn each_fault_is_named_within_the_deadline_and_leaves_the_client_usable() {
    const DEADLINE: Duration = Duration::from_millis(300);
    for row in rows() {
        let serve = row.serve;
        let server = Server::start(move |number, mut conn| match number {
            0 | 1 => serve(conn),
            _ => {
                conn.request();
                conn.send(json("200 OK", EMPTY_PAGE));
            }
        });
        let client = server.client();
        for is_write in [false, true] {
            let begun = Instant::now();
            let failure = if is_write {
                create(&client, DEADLINE)
            } else {
                list(&client, DEADLINE)
            };
            let took = begun.elapsed();
            // A kept connection would otherwise be closed while the next call is on it.
            server.wait_for_close();
            let name = row.name;
            assert_eq!(
                (&failure.kind, failure.phase),
                (&row.kind, row.phase),
                "{name}: {failure:?}"
            );
            assert_eq!(
                failure.may_have_applied,
                is_write && row.may_have_applied,
                "{name}: {failure:?}"
            );
            assert!(took < DEADLINE + SLACK, "{name} took {took:?}");
            if failure.kind == FailureKind::Timeout {
                assert!(took >= DEADLINE, "{name} gave up after {took:?}");
                assert!(
                    failure.message.contains("within 300 ms"),
                    "{name}: {}",
                    failure.message
                );
            }
        }
        let token = token();
        let page = client.list(&ask(&token), &ListQuery::default());
        assert!(page.is_ok(), "after {}: {page:?}", row.name);
        assert_eq!(server.connections(), 3, "{}", row.name);
    }
}

#[test]
fn a_refused_connection_was_never_sent() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let failure = create(
        &client(&format!("http://127.0.0.1:{port}")),
        scripted::PATIENCE,
    );
    assert_eq!(
        (&failure.kind, failure.phase),
        (&FailureKind::Unreachable, Phase::Connect)
    );
    assert!(
        !failure.may_have_applied && failure.is_safe_to_retry(true),
        "{failure:?}"
    );
}

#[test]
fn a_name_that_does_not_resolve_was_never_sent() {
    // A label beyond 63 characters fails in the resolver itself: nothing leaves the machine.
    let failure = create(
        &client(&format!("http://{}.invalid", "x".repeat(64))),
        scripted::PATIENCE,
    );
    assert_eq!(
        (&failure.kind, failure.phase),
        (&FailureKind::Unreachable, Phase::Resolve)
    );
    assert!(
        !failure.may_have_applied && failure.is_safe_to_retry(true),
        "{failure:?}"
    );
}

#[test]
fn a_connection_that_does_not_open_times_out_by_connect_timeout() {
    // Nobody accepts, and once the queue is full the system ignores further connects.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 64, "the queue never fills");
    }
    let begun = Instant::now();
    let failure = create(&client(&format!("http://{addr}")), scripted::PATIENCE);
    assert_eq!(
        (&failure.kind, failure.phase),
        (&FailureKind::Timeout, Phase::Connect)
    );
    assert!(
        failure.message.contains("within 800 ms"),
        "{}",
        failure.message
    );
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(!failure.may_have_applied && failure.is_safe_to_retry(true));
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Server::answering(json("200 OK", EMPTY_PAGE));
    for status in [301, 302, 303, 307, 308] {
        let to = format!("Location: {}/v0/x\r\n", elsewhere.url());
        let server = Server::answering(answer(&format!("{status} X"), &to, ""));
        for failure in [
            list(&server.client(), scripted::PATIENCE),
            create(&server.client(), scripted::PATIENCE),
        ] {
            assert_eq!(
                (&failure.kind, failure.status),
                (&FailureKind::Bad, Some(status))
            );
            assert!(failure.message.contains("redirect"), "{}", failure.message);
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn retry_after_is_passed_on() {
    for (header, seconds) in [
        ("Retry-After: 7\r\n", Some(7)),
        ("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Some(0)),
        ("Retry-After: soon\r\n", None),
        ("", None),
    ] {
        for status in ["429 X", "503 X"] {
            let server = Server::answering(answer(status, header, ""));
            let failure = list(&server.client(), scripted::PATIENCE);
            assert_eq!(
                failure.retry_after,
                seconds.map(Duration::from_secs),
                "{status} {header}"
            );
        }
    }
}

#[test]
fn the_token_is_never_quoted() {
    let server = Server::start(|_, mut conn| {
        while let Some(seen) = conn.request() {
            let token = seen.header("authorization").unwrap().to_string();
            let body = format!(r#"{{"error":{{"type":"{token}","message":"no such {token}"}}}}"#);
            if !conn.send(json("403 X", &body)) {
                return;
            }
        }
    });
    let failure = list(&server.client(), scripted::PATIENCE);
    assert_eq!(failure.kind, FailureKind::Auth);
    let shown = format!(
        "{failure} {failure:?} {:?} {:?}",
        server.client(),
        ask(&token())
    );
    for part in TOKEN.split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
}

#[test]
fn tls_against_a_server_that_has_none_was_never_sent() {
    let server = Server::start(|_, mut conn| {
        conn.wait_for_bytes();
        conn.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = conn.stream().read(&mut [0; 4096]);
    });
    let failure = create(
        &client(&format!("https://127.0.0.1:{}", server.port())),
        scripted::PATIENCE,
    );
    assert_eq!(
        (&failure.kind, failure.phase),
        (&FailureKind::Unreachable, Phase::Tls)
    );
    assert!(
        !failure.may_have_applied && failure.is_safe_to_retry(true),
        "{failure:?}"
    );
}

#[test]
fn a_handshake_that_hangs_times_out_by_connect_timeout() {
    let server = Server::start(|_, mut conn| {
        // Reads the greeting and says nothing until the client has gone.
        while conn.stream().read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
    });
    let begun = Instant::now();
    let failure = create(
        &client(&format!("https://127.0.0.1:{}", server.port())),
        scripted::PATIENCE,
    );
    assert_eq!(
        (&failure.kind, failure.phase),
        (&FailureKind::Timeout, Phase::Tls)
    );
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(!failure.may_have_applied);
}

/// Answers with a few bytes changed: most are failures of some kind, all end in time and none ends
/// the process.
#[test]
fn damaged_answers_are_failures_or_pages_and_nothing_else() {
    let good = [
        json("200 OK", r#"{"records":[{"id":"recA","fields":{"a":[1,2]}}],"offset":"itr/rec"}"#).into_bytes(),
        gzip(EMPTY_PAGE.as_bytes(), 0),
        format!("{JSON_HEAD}Transfer-Encoding: chunked\r\n\r\n8\r\n{{\"record\r\n7\r\ns\":[]}} \r\n0\r\n\r\n").into_bytes(),
        json("429 X", r#"{"errors":[{"error":"RATE_LIMIT_REACHED","message":"m"}]}"#).into_bytes(),
        answer("302 X", "Location: /x\r\nRetry-After: 5\r\n", "").into_bytes(),
    ];
    let server = Server::start(move |number, conn| {
        // A multiplicative generator seeded with the connection's number: the same damage in every
        // run.
        let mut state = number as u64 * 2 + 1;
        let mut next = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut bytes = good[number % good.len()].clone();
        for _ in 0..1 + next(4) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.insert(at, next(256) as u8),
                2 => bytes[at] = b"\r\n:0\0 \xff{"[next(8)],
                _ => bytes[at] = next(256) as u8,
            }
        }
        reply(conn, bytes);
    });
    let (token, mut pages) = (token(), 0);
    for _ in 0..CASES {
        // A client of its own for each answer: no kept connection.
        let ask = Ask {
            deadline: Duration::from_millis(300),
            ..ask(&token)
        };
        let begun = Instant::now();
        pages += u32::from(server.client().list(&ask, &ListQuery::default()).is_ok());
        assert!(begun.elapsed() < Duration::from_millis(300) + SLACK);
    }
    assert!(pages > 0 && pages < CASES, "{pages} of {CASES} were whole");
}
