//! Pings to notification URLs: one thread that posts what is due, with Airtable's MAC, retries and back-off.

use crate::datetime;
use crate::shared::Shared;
use hmac::{Hmac, Mac};
use serde_json::{json, Value as Json};
use sha2::Sha256;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Airtable waits so long for the answer to a ping.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
const MAX_RETRIES: u32 = 13;
const FIRST_RETRY_MS: i64 = 10_000;
/// How often due pings are looked for; the clock may be moved under the waiting thread.
const TICK: Duration = Duration::from_millis(20);

/// A ping that is owed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    /// On the emulator's clock.
    pub(crate) at_ms: i64,
    pub(crate) retry: u32,
}

/// Host, address and path of a URL that may be pinged: plain HTTP to the loopback interface.
pub(crate) fn target(url: &str) -> Option<(String, SocketAddr, String)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest
        .split_once('/')
        .map_or((rest, String::from("/")), |(host, path)| {
            (host, format!("/{path}"))
        });
    let with_port = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = with_port
        .to_socket_addrs()
        .ok()?
        .next()
        .filter(|a| a.ip().is_loopback())?;
    Some((host.to_owned(), address, path))
}

/// The value of `X-Airtable-Content-MAC`: HMAC-SHA-256 of the body, keyed by the decoded secret.
pub(crate) fn mac(secret: &[u8], body: &[u8]) -> String {
    let mut hex = String::from("hmac-sha256=");
    // Any key length is accepted.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) {
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            hex.push_str(&format!("{byte:02x}"));
        }
    }
    hex
}

/// Posts pings until the emulator stops.
pub(crate) fn run(shared: &Shared) {
    while !shared.stop.wait(TICK) {
        for ping in collect(shared) {
            let started = Instant::now();
            let outcome = post(&ping);
            record(shared, &ping, &outcome, started.elapsed());
        }
    }
}

struct Ping {
    base: String,
    hook: String,
    url: String,
    body: String,
    mac: String,
    retry: u32,
}

fn collect(shared: &Shared) -> Vec<Ping> {
    let now_ms = shared.clock.now_ms();
    let is_due = |due: &Option<Due>| due.is_some_and(|d| d.at_ms <= now_ms);
    if !shared
        .world
        .read()
        .bases
        .values()
        .flat_map(|b| &b.webhooks)
        .any(|h| is_due(&h.ping_due))
    {
        return Vec::new();
    }
    let mut world = shared.world.write();
    let mut pings = Vec::new();
    for base in world.bases.values_mut() {
        for hook in base.webhooks.iter_mut().filter(|h| is_due(&h.ping_due)) {
            let (Some(due), Some(url)) = (hook.ping_due.take(), hook.notification_url.clone())
            else {
                continue;
            };
            let body = json!({"base": {"id": &*base.id}, "webhook": {"id": &*hook.id}, "timestamp": datetime::iso(now_ms)}).to_string();
            let mac = mac(&hook.secret, body.as_bytes());
            pings.push(Ping {
                base: base.id.to_string(),
                hook: hook.id.to_string(),
                url,
                body,
                mac,
                retry: due.retry,
            });
        }
    }
    pings
}

fn post(ping: &Ping) -> io::Result<u16> {
    let (host, address, path) = target(&ping.url).ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nX-Airtable-Content-MAC: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        ping.mac,
        ping.body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(ping.body.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn record(shared: &Shared, ping: &Ping, outcome: &io::Result<u16>, took: Duration) {
    let now_ms = shared.clock.now_ms();
    let mut world = shared.world.write();
    let base = world.bases.get_mut(ping.base.as_str());
    let Some(hook) = base.and_then(|b| b.webhooks.iter_mut().find(|h| *h.id == *ping.hook)) else {
        return;
    };
    let success = matches!(outcome, Ok(200 | 204));
    let mut result = json!({
        "success": success, "completionTimestamp": datetime::iso(now_ms), "retryNumber": ping.retry,
        "durationMs": took.as_secs_f64() * 1000.0,
    });
    if success {
        hook.last_success = json!(datetime::iso(now_ms));
    } else {
        let message = match outcome {
            Ok(status) => {
                format!("The HTTP request returned a {status} status code instead of 200 or 204")
            }
            Err(error) => format!("The HTTP request failed: {error}"),
        };
        let retried = ping.retry < MAX_RETRIES && hook.notifications_enabled;
        if let Some(result) = result.as_object_mut() {
            result.insert("error".to_owned(), json!({ "message": message }));
            result.insert("willBeRetried".to_owned(), Json::Bool(retried));
        }
        if retried {
            let at_ms = now_ms + (FIRST_RETRY_MS << ping.retry.min(10));
            hook.ping_due = Some(Due {
                at_ms,
                retry: ping.retry + 1,
            });
        } else {
            hook.notifications_enabled = false;
        }
    }
    hook.last_result = result;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use base64::Engine;

    #[test]
    fn the_mac_is_the_documented_one() {
        let secret = base64::engine::general_purpose::STANDARD
            .decode("YWlydGFibGUtY2FjaGUtZGVtby1zZWNyZXQtMDAwMSE=")
            .unwrap();
        let body = r#"{"base":{"id":"appK3xT9vQ2mWb7Rd"},"webhook":{"id":"achZ8nP1cYt5LqE4s"},"timestamp":"2026-03-04T05:06:07.890Z"}"#;
        assert_eq!(body.len(), 111);
        let expected =
            "hmac-sha256=a7c4f421c3af86f27aa6b8645c979af61da9b119fe00578160210676892bc76b";
        assert_eq!(mac(&secret, body.as_bytes()), expected);
    }

    #[test]
    fn only_the_loopback_interface_is_pinged() {
        for (url, allowed) in [
            ("http://127.0.0.1:8080/ping", true),
            ("https://127.0.0.1:8080/ping", false),
            ("http://192.0.2.1/ping", false),
            ("nonsense", false),
        ] {
            assert_eq!(target(url).is_some(), allowed, "{url}");
        }
    }
}
