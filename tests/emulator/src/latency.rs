//! How long replies take: for all calls, or for those whose path matches.

use regex::Regex;
use serde_json::{json, Value as Json};

/// Waits before a reply's first byte, in real milliseconds. The data are read before the wait.
#[derive(Default)]
pub(crate) struct Latency {
    pub(crate) default_ms: u64,
    /// Later rules win.
    rules: Vec<(Regex, u64)>,
}

impl Latency {
    pub(crate) fn new(default_ms: u64) -> Self {
        Self {
            default_ms,
            rules: Vec::new(),
        }
    }

    /// `{"ms": N}` for all (and no more rules), `{"ms": N, "path_regex": …}` or `{"ms": N, "table": …}` for some.
    ///
    /// # Errors
    /// A sentence when `ms` is missing or the pattern does not compile.
    pub(crate) fn set(&mut self, change: &Json) -> Result<(), String> {
        let ms = change
            .get("ms")
            .and_then(Json::as_u64)
            .ok_or("latency needs \"ms\"")?;
        let pattern = match (
            change.get("path_regex").and_then(Json::as_str),
            change.get("table").and_then(Json::as_str),
        ) {
            (Some(pattern), _) => pattern.to_owned(),
            (None, Some(table)) => format!(
                "^/v0/[^/]+/{}(/|$)",
                regex::escape(&crate::http::url::encode(table))
            ),
            (None, None) => {
                *self = Self::new(ms);
                return Ok(());
            }
        };
        self.rules
            .push((Regex::new(&pattern).map_err(|e| e.to_string())?, ms));
        Ok(())
    }

    pub(crate) fn for_path(&self, path: &str) -> u64 {
        self.rules
            .iter()
            .rev()
            .find(|(pattern, _)| pattern.is_match(path))
            .map_or(self.default_ms, |(_, ms)| *ms)
    }

    pub(crate) fn show(&self) -> Json {
        let rules: Vec<Json> = self
            .rules
            .iter()
            .map(|(pattern, ms)| json!({"path_regex": pattern.as_str(), "ms": ms}))
            .collect();
        json!({"ms": self.default_ms, "rules": rules})
    }
}
