//! Secrets: read from a file or the environment, read again when the file changes, told to nobody.

use crate::server::valkey::settings;
use parking_lot::Mutex;
use podium_airtable::Token;
use std::time::{Duration, Instant, SystemTime};

struct Held {
    from: String,
    changed: Option<SystemTime>,
    looked: Instant,
    text: Result<String, String>,
}

static TOKEN: Mutex<Option<Held>> = Mutex::new(None);
static WEBHOOK: Mutex<Option<Held>> = Mutex::new(None);

/// A file is looked at for changes at most this often.
const LOOK: Duration = Duration::from_millis(500);
/// More than any secret needs.
const LONGEST: u64 = 65_536;

fn read(
    cell: &Mutex<Option<Held>>,
    path: String,
    variable: &str,
    setting: &str,
) -> Result<String, String> {
    let mut held = cell.lock();
    if let Some(h) = held.as_ref() {
        if h.from == path && h.looked.elapsed() < LOOK {
            return h.text.clone();
        }
    }
    let (changed, text) = if path.is_empty() {
        let text = std::env::var(variable)
            .map(|v| v.trim().to_string())
            .unwrap_or_default();
        (
            None,
            if text.is_empty() {
                Err(format!(
                    "no secret: set {setting} or the environment's {variable}"
                ))
            } else {
                Ok(text)
            },
        )
    } else {
        let meta = std::fs::metadata(&path).map_err(|e| format!("{setting} {path}: {e}"));
        match meta {
            Err(why) => (None, Err(why)),
            Ok(m) => {
                let changed = m.modified().ok();
                if let Some(h) = held
                    .as_mut()
                    .filter(|h| h.from == path && h.changed == changed && h.text.is_ok())
                {
                    h.looked = Instant::now();
                    return h.text.clone();
                }
                let text = if m.len() > LONGEST {
                    Err(format!("{setting} {path}: too large for a secret"))
                } else {
                    std::fs::read_to_string(&path)
                        .map(|t| t.trim().to_string())
                        .map_err(|e| format!("{setting} {path}: {e}"))
                };
                let text = text.and_then(|t| {
                    if t.is_empty() {
                        Err(format!("{setting} {path}: empty"))
                    } else {
                        Ok(t)
                    }
                });
                (changed, text)
            }
        }
    };
    *held = Some(Held {
        from: path,
        changed,
        looked: Instant::now(),
        text: text.clone(),
    });
    text
}

/// Airtable's token, as it stands in `podium.token-file` or AIRTABLE_TOKEN now. Err: what to set.
pub(crate) fn token() -> Result<Token, String> {
    let text = read(
        &TOKEN,
        settings::TOKEN_FILE.get(),
        "AIRTABLE_TOKEN",
        "podium.token-file",
    )?;
    Token::new(&text)
}

/// The secret of the webhook endpoint.
pub(crate) fn webhook() -> Result<String, String> {
    read(
        &WEBHOOK,
        settings::WEBHOOK_SECRET_FILE.get(),
        "PODIUM_WEBHOOK_SECRET",
        "podium.webhook-secret-file",
    )
}
