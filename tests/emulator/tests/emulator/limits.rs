//! The limits on the wire, on a clock that tests move.

use crate::support::*;
use airtable_emulator::{Emulator, Options};
use serde_json::json;

fn limited() -> Emulator {
    let emulator = Emulator::start(Options {
        seed: Some(seed()),
        ..Options::default()
    })
    .unwrap();
    // With a sliding window the outcome does not hang on where the second begins.
    emulator
        .set_limits(&json!({"window": "sliding", "per_second": 5}))
        .unwrap();
    emulator
}

#[test]
fn the_sixth_call_locks_the_base_until_the_clock_has_moved() {
    let emulator = limited();
    let mut client = Client::new(emulator.addr());
    let path = format!("/v0/{BASE}/People?maxRecords=1");
    let statuses: Vec<u16> = (0..7).map(|_| client.get(&path).status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429]);
    let reply = client.get(&path);
    assert_eq!(reply.json()["errors"][0]["error"], "RATE_LIMIT_REACHED");
    assert_eq!(reply.header("retry-after"), None);
    emulator
        .set_switches(&json!({"error_shape_429": "object", "retry_after_on_429": 17}))
        .unwrap();
    let reply = client.get(&path);
    assert_eq!(reply.json()["error"]["type"], "RATE_LIMIT_REACHED");
    assert_eq!(reply.header("retry-after"), Some("17"));
    assert_eq!(
        client.get("/v0/meta/whoami").status,
        200,
        "another base, or none, is not locked"
    );
    emulator.advance_clock(30_000);
    assert_eq!(client.get(&path).status, 200);
    assert_eq!(
        emulator.stats()["limits"]["bases"][BASE]["refused"],
        json!(4)
    );
}

#[test]
fn webhook_and_schema_calls_count_too() {
    let emulator = limited();
    let mut client = Client::new(emulator.addr());
    for path in [
        format!("/v0/bases/{BASE}/webhooks"),
        format!("/v0/meta/bases/{BASE}/tables"),
    ] {
        assert_eq!(client.get(&path).status, 200);
        assert_eq!(client.get(&path).status, 200);
    }
    assert_eq!(client.get(&format!("/v0/{BASE}/People")).status, 200);
    assert_eq!(client.get(&format!("/v0/{BASE}/People")).status, 429);
}

#[test]
fn a_spent_month_answers_its_own_429_until_the_next() {
    let emulator = emulator();
    let mut client = Client::new(emulator.addr());
    emulator.set_monthly_limit(Some(2));
    let path = format!("/v0/{BASE}/People?maxRecords=1");
    assert_eq!(
        [client.get(&path).status, client.get(&path).status],
        [200, 200]
    );
    let reply = client.get(&path);
    assert_eq!(
        (reply.status, reply.error_type().as_str()),
        (429, "PUBLIC_API_BILLING_LIMIT_EXCEEDED")
    );
    emulator.advance_clock(31 * 86_400_000);
    assert_eq!(client.get(&path).status, 200);
}
