//! A stand-in for Airtable's Web API: a real HTTP server that holds bases, enforces Airtable's limits and misbehaves on demand.
//!
//! It knows nothing of its callers. Tests and demos point a client's base address at it and steer it through [`Emulator`] or,
//! from other processes, through the same commands under `/_emulator`:
//!
//! | request | what |
//! | --- | --- |
//! | `GET calls[?since=seq]`, `DELETE calls` | the log of API calls |
//! | `POST seed` | new data; with `"merge": true` in it, more bases and tokens (a base of the same id is replaced) |
//! | `POST reset` | everything as after the last whole seed |
//! | `POST latency {"ms", "path_regex"?, "table"?}` | real milliseconds before each reply |
//! | `GET`, `POST`, `DELETE faults` | misbehaviours, each for the calls that match |
//! | `GET records/<base>/<table>[?ids=1]` | the truth: every record, nothing lagging, attachments without urls |
//! | `POST write {"base", "table", "create"?, "update"?, "delete"?, "source"?}` | changes as users make them in the web client |
//! | `POST schema {"base", "table", …}` | renamed, added, deleted fields and tables |
//! | `GET clock`, `POST clock {"advance_ms"}` | the clock of limits, expiry and months |
//! | `POST monthly {"limit", "used"?}`, `POST limits {…}` | the limits; `{"clear": true}` forgets lock-outs |
//! | `GET`, `POST switches {…}` | where Airtable's behaviour is not certain: each variant |
//! | `POST offsets` | every listing under way dies |
//! | `GET webhooks`, `POST webhooks {"id", "error" \| "expire" \| "forget" \| "destroy"}` | webhooks, and ways to end them |
//! | `GET stats` | counts |
//!
//! Modules in reading order: `data` (bases, cells, transactions), `formula` (the filter language), `webhooks`, `api` (routes),
//! `control`, `http` and `server` (the wire), `limits`, `faults`, `switches`, `clock`.

mod api;
mod calls;
mod clock;
mod control;
mod data;
mod datetime;
mod faults;
mod formula;
mod http;
mod ids;
mod iterators;
mod latency;
mod limits;
mod server;
mod shared;
mod switches;
mod webhooks;

pub use calls::Call;

use serde_json::{json, Value as Json};
use shared::Shared;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

/// How an emulator starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// The port on 127.0.0.1; 0 lets the system choose.
    pub port: u16,
    /// Whether the rate limits are in force.
    pub limits: bool,
    /// Real milliseconds before each reply.
    pub latency_ms: u64,
    /// The first seed: `{"tokens": […], "bases": […]}`.
    pub seed: Option<Json>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            limits: true,
            latency_ms: 0,
            seed: None,
        }
    }
}

/// A running emulator; dropping it stops it and closes its connections.
pub struct Emulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: server::Server,
}

impl Emulator {
    /// Binds to the loopback interface and starts answering.
    ///
    /// # Errors
    /// The port is taken, or the seed is wrong (the message names the place).
    pub fn start(options: Options) -> io::Result<Self> {
        let shared = Arc::new(
            Shared::new(&options).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?,
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        let address = listener.local_addr()?;
        let server = server::Server::start(listener, shared.clone())?;
        Ok(Self {
            address,
            shared,
            _server: server,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What clients use in place of `https://api.airtable.com`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs a control command, as `/_emulator/<path>` does.
    ///
    /// # Errors
    /// A sentence naming what was wrong.
    pub fn control(&self, method: &str, path: &str, body: &Json) -> Result<Json, String> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query = http::url::query(query);
        let find = |name: &str| {
            query
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        let segments: Vec<String> = path
            .split('/')
            .filter(|s| !s.is_empty())
            .map(|s| http::url::decode(s, false))
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        control::run(&self.shared, method, &segments, &find, body)
    }

    /// Replaces all data; with `"merge": true` in it, adds bases.
    ///
    /// # Errors
    /// A sentence naming the place that is wrong; nothing changes then.
    pub fn seed(&self, seed: &Json) -> Result<(), String> {
        self.shared.seed(seed)
    }

    /// Everything as after the last seed; logs, faults and lock-outs gone.
    ///
    /// # Errors
    /// None that a seed accepted before could give.
    pub fn reset(&self) -> Result<(), String> {
        self.shared.reset()
    }

    /// The calls since the log was cleared, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().since(0).cloned().collect()
    }

    /// Empties the call log.
    pub fn clear_calls(&self) {
        self.shared.calls.lock().clear();
    }

    /// Real milliseconds before every reply; the data are read before the wait.
    pub fn set_latency(&self, ms: u64) {
        *self.shared.latency.lock() = latency::Latency::new(ms);
    }

    /// Queues a fault: `{"match": {"method"?, "path_contains"?, "formula_contains"?}, "times": N or -1, "kind": …, …}`.
    ///
    /// # Errors
    /// A sentence naming an unknown kind or a missing parameter.
    pub fn fault(&self, fault: &Json) -> Result<(), String> {
        self.control("POST", "faults", fault).map(drop)
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.lock().clear();
    }

    /// The truth about a table: every record as Get would show it, nothing lagging, attachments without urls.
    ///
    /// # Errors
    /// No such base or table.
    pub fn records(&self, base: &str, table: &str) -> Result<Vec<Json>, String> {
        let mut dump = self.control(
            "GET",
            &format!("records/{base}/{}", http::url::encode(table)),
            &Json::Null,
        )?;
        match dump.get_mut("records").map(Json::take) {
            Some(Json::Array(records)) => Ok(records),
            _ => Ok(Vec::new()),
        }
    }

    /// Writes as a user in the web client does, past authentication and limits:
    /// `{"base", "table", "create"?: [{"id"?, "fields"}], "update"?: [{"id", "fields"}], "delete"?: ["rec…"]}`.
    ///
    /// # Errors
    /// A sentence or Airtable's error body; nothing is written then.
    pub fn write(&self, changes: &Json) -> Result<Json, String> {
        self.control("POST", "write", changes)
    }

    /// Moves the emulator's clock forward.
    pub fn advance_clock(&self, ms: i64) {
        self.shared.clock.advance(ms);
    }

    /// The emulator's clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }

    /// Calls allowed a month; `None` is no limit.
    pub fn set_monthly_limit(&self, limit: Option<u64>) {
        self.shared.meter.lock().limits.monthly = limit;
    }

    /// Changes limits: `{"per_second"?, "per_token"?, "lockout_ms"?, "enabled"?, "window"?, "clear"?}`.
    ///
    /// # Errors
    /// An unknown name or a value that does not fit.
    pub fn set_limits(&self, limits: &Json) -> Result<(), String> {
        self.control("POST", "limits", limits).map(drop)
    }

    /// Changes switches, see the table above.
    ///
    /// # Errors
    /// An unknown name or a value that does not fit; nothing changes then.
    pub fn set_switches(&self, switches: &Json) -> Result<(), String> {
        self.control("POST", "switches", switches).map(drop)
    }

    /// Counts: calls, statuses, limits, records.
    #[must_use]
    pub fn stats(&self) -> Json {
        self.control("GET", "stats", &Json::Null)
            .unwrap_or_else(|e| json!({ "error": e }))
    }

    /// All webhooks of all bases, as the list route shows them, with their base.
    #[must_use]
    pub fn webhooks(&self) -> Json {
        self.control("GET", "webhooks", &Json::Null)
            .unwrap_or_else(|e| json!({ "error": e }))
    }
}
