//! Webhooks: what ours watches, and which of those that a base has are ours.

use alloc::string::String;
use core::fmt;
use serde_json::Value;

/// The webhook that is polled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook {
    pub id: String,
    /// Key of its pings' MAC, as given at its creation; an adopted webhook's is not known.
    pub secret: Option<MacSecret>,
    /// Number of the first payload not applied yet.
    pub cursor: u64,
}

/// The key of a webhook's MAC, base64. It is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct MacSecret(String);

impl MacSecret {
    pub fn new(base64: impl Into<String>) -> MacSecret {
        MacSecret(base64.into())
    }
    /// The secret itself: to be stored, or to check a MAC.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MacSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The webhook's specification: everything in the base, no cells beyond the changed ones, and these as they were before too:
/// a link cell tells what it lost.
pub fn specification(notify: Option<&str>) -> Value {
    let mut body = serde_json::json!({"specification": {"options": {
        "filters": {"dataTypes": DATA_TYPES},
        "includes": {PREVIOUS: true},
    }}});
    if let (Some(url), Some(o)) = (notify, body.as_object_mut()) {
        o.insert("notificationUrl".into(), url.into());
    }
    body
}

const PREVIOUS: &str = "includePreviousCellValues";
const DATA_TYPES: [&str; 3] = ["tableData", "tableFields", "tableMetadata"];

pub(super) fn id_of(listed: &Value) -> Option<&str> {
    listed.get("id").and_then(Value::as_str)
}

/// The number that its next payload will have.
pub(super) fn next_of(listed: &Value) -> Option<u64> {
    listed
        .get("cursorForNextPayload")
        .and_then(Value::as_u64)
        .filter(|n| *n > 0)
}

pub(super) fn is_alive(listed: &Value) -> bool {
    listed.get("isHookEnabled").and_then(Value::as_bool) == Some(true)
}

/// Does a listed webhook see what one of our own would?
pub(super) fn is_ours(listed: &Value, notify: Option<&str>) -> bool {
    let Some(options) = listed.pointer("/specification/options") else {
        return false;
    };
    let filters = options.get("filters");
    let narrows = |v: &Value| match v {
        Value::Null => false,
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
        _ => true,
    };
    let types = filters
        .and_then(|f| f.get("dataTypes"))
        .and_then(Value::as_array);
    let sees_all = types.is_some_and(|t| DATA_TYPES.iter().all(|d| t.iter().any(|v| v == d)));
    let others = filters
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .any(|(k, v)| k != "dataTypes" && narrows(v));
    // Those of earlier releases did not ask for former cells.
    let includes = options
        .get("includes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .any(|(k, v)| k != PREVIOUS && *v != Value::Bool(false) && narrows(v));
    sees_all
        && !others
        && !includes
        && listed.get("notificationUrl").and_then(Value::as_str) == notify
}
