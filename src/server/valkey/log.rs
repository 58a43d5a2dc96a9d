//! `podium.log-events`: one JSON line per event in the server's log. Keys and figures, never values or secrets.

use crate::server::valkey::ffi::{self, Level};
use crate::server::valkey::settings;
use podium_core::key;
use serde_json::{Map, Value};

/// Writes an event, if events are logged. `key` is the key or entity it is about.
pub(crate) fn event(name: &str, about: &[u8], more: &[(&str, Value)]) {
    if !settings::logging() {
        return;
    }
    let mut line = Map::new();
    line.insert("event".into(), name.into());
    line.insert("key".into(), key::shown(about).into());
    for (k, v) in more {
        line.insert((*k).into(), v.clone());
    }
    ffi::log(Level::Notice, &Value::Object(line).to_string());
}
