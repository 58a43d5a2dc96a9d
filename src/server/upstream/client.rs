//! The Airtable client in force: built anew when a setting changes, shared by all workers.

use crate::server::upstream::secrets;
use crate::server::valkey::settings;
use parking_lot::Mutex;
use podium_airtable::{Client, Failure, FailureKind, Phase, Token};
use std::sync::atomic::Ordering;

struct Built {
    settings: u64,
    client: Client,
}

static BUILT: Mutex<Option<Built>> = Mutex::new(None);

fn client() -> Result<Client, String> {
    let now = settings::CHANGES.load(Ordering::Relaxed);
    let mut built = BUILT.lock();
    if let Some(b) = built.as_ref().filter(|b| b.settings == now) {
        return Ok(b.client.clone());
    }
    let client = Client::new(settings::client())?;
    *built = Some(Built {
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

/// A call that ended in a panic of ours: whether it was sent, and what it did, is not known.
pub(crate) fn lost() -> Failure {
    Failure {
        may_have_applied: true,
        ..local(
            FailureKind::Refused,
            "internal error: the call was dropped".into(),
        )
    }
}

/// Lets the connections go, before the module does.
pub(crate) fn forget() {
    *BUILT.lock() = None;
}
