//! The Airtable client in force: built anew when a setting changes, shared by all workers.

use crate::server::upstream::secrets;
use crate::server::valkey::settings;
use parking_lot::Mutex;
use podium_airtable::{Client, Config, Failure, FailureKind, Phase, Token};
use std::sync::atomic::Ordering;
use std::time::Duration;

struct Built {
    settings: u64,
    url: String,
    client: Client,
}

static BUILT: Mutex<Option<Built>> = Mutex::new(None);

fn settings() -> Config {
    Config {
        url: settings::AIRTABLE_URL.get(),
        connect_timeout: Duration::from_millis(settings::CONNECT_TIMEOUT_MS.get().max(1) as u64),
        max_response_bytes: settings::MAX_RESPONSE_BYTES.get().max(1) as u64,
        user_agent: concat!("podium/", env!("CARGO_PKG_VERSION")).to_string(),
    }
}

/// Would a client for this URL be possible?
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    Client::new(Config {
        url: url.to_string(),
        ..settings()
    })
    .map(drop)
}

fn client() -> Result<Client, String> {
    let now = settings::CHANGES.load(Ordering::Relaxed);
    let mut built = BUILT.lock();
    if let Some(b) = built.as_ref().filter(|b| b.settings == now) {
        return Ok(b.client.clone());
    }
    let settings = settings();
    let url = settings.url.clone();
    let client = Client::new(settings)?;
    if built.as_ref().is_some_and(|b| b.url != url) {
        crate::server::fetching::columns::forget();
    }
    *built = Some(Built {
        url,
        settings: now,
        client: client.clone(),
    });
    Ok(client)
}

/// Runs `f` with the client and token in force; without them it fails as Airtable would without a token.
pub(crate) fn with<T>(f: impl FnOnce(&Client, &Token) -> Result<T, Failure>) -> Result<T, Failure> {
    let client = client().map_err(|why| local(FailureKind::Refused, why))?;
    let token = secrets::token().map_err(|why| local(FailureKind::Auth, why))?;
    f(&client, &token)
}

/// A failure before anything was sent.
fn local(kind: FailureKind, message: String) -> Failure {
    Failure {
        kind,
        status: None,
        error_type: None,
        message,
        retry_after: None,
        phase: Phase::Prepare,
        may_have_applied: false,
    }
}

/// Lets the connections go, before the module does.
pub(crate) fn forget() {
    *BUILT.lock() = None;
}
