//! TLS: certificates that are trusted and ones that are not, and a proxy that tunnels.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod scripted;

use std::io::{copy, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use podium_airtable::{Failure, FailureKind, ListQuery, Phase};
use rcgen::{generate_simple_self_signed, CertifiedKey, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use scripted::{ask, client, json, token, Conn, Server, EMPTY_PAGE, PATIENCE, TOKEN};

/// The environment of this test process: which certificates are trusted, and a proxy for what is
/// not on this machine.
struct World {
    trusted: Arc<ServerConfig>,
    proxy: Server,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (trusted, pem) = certificate(&["127.0.0.1", "api.test"]);
    let upstream = tls_server(trusted.clone());
    let port = upstream.port();
    // Lives as long as the process.
    std::mem::forget(upstream);
    let proxy = Server::start(move |_, conn| tunnel(conn, port));
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/podium-airtable-roots.pem");
    std::fs::write(file, pem).unwrap();
    std::env::set_var("SSL_CERT_FILE", file);
    std::env::set_var("HTTPS_PROXY", proxy.url());
    std::env::set_var("HTTP_PROXY", "http://127.0.0.1:1");
    std::env::set_var("ALL_PROXY", "http://127.0.0.1:1");
    std::env::remove_var("NO_PROXY");
    std::env::remove_var("no_proxy");
    World { trusted, proxy }
});

fn certificate(names: &[&str]) -> (Arc<ServerConfig>, String) {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let key: PrivateKeyDer = PrivatePkcs8KeyDer::from(KeyPair::serialize_der(&signing_key)).into();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
    (Arc::new(config), cert.pem())
}

/// Answers every request over TLS with an empty page.
fn tls_server(config: Arc<ServerConfig>) -> Server {
    Server::start(move |_, mut conn| {
        let mut tls = ServerConnection::new(config.clone()).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, conn.stream());
        loop {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut byte) {
                    Ok(1) => head.push(byte[0]),
                    _ => return,
                }
            }
            assert!(String::from_utf8(head).unwrap().contains(TOKEN));
            if stream
                .write_all(json("200 OK", EMPTY_PAGE).as_bytes())
                .is_err()
            {
                return;
            }
        }
    })
}

/// A proxy with one opinion about each host: `api.test` is let through, `slow.test` waits, all else
/// is forbidden.
fn tunnel(mut conn: Conn, port: u16) {
    let Some(seen) = conn.request() else { return };
    if seen.line.contains("slow.test") {
        return conn.hang();
    }
    if seen.line != "CONNECT api.test:443 HTTP/1.1" {
        conn.send("HTTP/1.1 403 Forbidden\r\n\r\n");
        return;
    }
    conn.send("HTTP/1.1 200 Connected\r\n\r\n");
    let upstream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut from, mut to) = (
        upstream.try_clone().unwrap(),
        conn.stream().try_clone().unwrap(),
    );
    let answers = thread::spawn(move || copy(&mut from, &mut to));
    let _ = copy(conn.stream(), &mut &upstream);
    let _ = upstream.shutdown(Shutdown::Both);
    let _ = answers.join();
}

fn create(url: &str) -> Failure {
    let token = token();
    client(url)
        .create(&ask(&token), &[serde_json::Map::new()], false)
        .expect_err("a failure")
}

#[test]
fn a_trusted_certificate_is_accepted_and_the_connection_kept() {
    let server = tls_server(WORLD.trusted.clone());
    let client = client(&format!("https://127.0.0.1:{}", server.port()));
    for _ in 0..3 {
        client.list(&ask(&token()), &ListQuery::default()).unwrap();
    }
    assert_eq!(server.connections(), 1);
    assert!(WORLD
        .proxy
        .seen()
        .iter()
        .all(|seen| !seen.line.contains("127.0.0.1")));
}

#[test]
fn a_new_connection_resumes_the_session_of_an_earlier_one() {
    let (config, resumed) = (WORLD.trusted.clone(), Arc::new(Mutex::new(Vec::new())));
    let kinds = resumed.clone();
    let server = Server::start(move |_, mut conn| {
        let mut tls = ServerConnection::new(config.clone()).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, conn.stream());
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(json("200 OK", EMPTY_PAGE).as_bytes());
        kinds.lock().unwrap().push(tls.handshake_kind());
    });
    let client = client(&format!("https://127.0.0.1:{}", server.port()));
    for _ in 0..2 {
        client.list(&ask(&token()), &ListQuery::default()).unwrap();
        server.wait_for_close();
    }
    let resumed = resumed.lock().unwrap().clone();
    assert_eq!(
        resumed,
        [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]
    );
}

#[test]
fn a_certificate_of_unknown_origin_or_for_another_name_is_not_accepted() {
    let unknown = tls_server(certificate(&["127.0.0.1"]).0);
    let trusted = tls_server(WORLD.trusted.clone());
    for url in [
        format!("https://127.0.0.1:{}", unknown.port()),
        format!("https://localhost:{}", trusted.port()),
    ] {
        let failure = create(&url);
        assert_eq!(
            (&failure.kind, failure.phase),
            (&FailureKind::Unreachable, Phase::Tls),
            "{url}"
        );
        assert!(
            failure.message.contains("certificate"),
            "{}",
            failure.message
        );
        assert!(!failure.may_have_applied && failure.is_safe_to_retry(true));
    }
}

#[test]
fn a_proxy_tunnels_and_never_sees_the_token() {
    LazyLock::force(&WORLD);
    let client = client("https://api.test");
    for _ in 0..2 {
        client.list(&ask(&token()), &ListQuery::default()).unwrap();
    }
    let seen = WORLD.proxy.seen();
    let tunnels: Vec<_> = seen
        .iter()
        .filter(|seen| seen.line.contains("api.test"))
        .collect();
    assert_eq!(tunnels.len(), 1, "the second call used the kept tunnel");
    assert!(!format!("{seen:?}").contains(TOKEN));
}

#[test]
fn a_proxy_that_refuses_or_hangs_is_a_connection_that_was_not_made() {
    LazyLock::force(&WORLD);
    let begun = Instant::now();
    for (url, kind) in [
        ("https://other.test", FailureKind::Unreachable),
        ("https://slow.test", FailureKind::Timeout),
    ] {
        let failure = create(url);
        assert_eq!(
            (&failure.kind, failure.phase),
            (&kind, Phase::Connect),
            "{failure:?}"
        );
        assert!(
            !failure.may_have_applied && failure.is_safe_to_retry(true),
            "{failure:?}"
        );
    }
    assert!(begun.elapsed() < PATIENCE.min(Duration::from_secs(2)));
}

#[test]
fn plain_http_uses_no_proxy() {
    LazyLock::force(&WORLD);
    let server = Server::answering(json("200 OK", EMPTY_PAGE));
    server
        .client()
        .list(&ask(&token()), &ListQuery::default())
        .unwrap();
    assert_eq!(server.connections(), 1);
}
