//! The routes under `/v0`: limits and faults first, then authentication, then the route.

pub(crate) mod errors;
mod hooks;
mod listing;
mod meta;
mod writes;

use crate::calls::Call;
use crate::data::model::{Base, Token, World};
use crate::faults;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::ids::is_shaped;
use crate::limits::Verdict;
use crate::shared::Shared;
use crate::switches::Switches;
use errors::ApiError;
use serde_json::{Map, Value as Json};
use std::time::Duration;

/// Who every token belongs to.
pub(crate) const USER_ID: &str = "usrC4v5B6n7M8l9K0";
pub(crate) const USER_EMAIL: &str = "ada@example.com";
pub(crate) const USER_NAME: &str = "Ada";

/// From this length on a URL is refused.
const MAX_URL: usize = 16_000;

type Reply = Result<Response, ApiError>;

/// Answers one call, logs it, and plays the faults that match.
pub(crate) fn answer(shared: &Shared, request: &Request) -> Response {
    let body = serde_json::from_slice::<Json>(&request.body).ok();
    let from_body = body
        .as_ref()
        .and_then(|b| b.get("filterByFormula"))
        .and_then(Json::as_str);
    let formula = request
        .parameter("filterByFormula")
        .or(from_body)
        .map(str::to_owned);
    let seq = shared.calls.lock().push(Call {
        seq: 0,
        t_ms: shared.clock.since_start_ms(),
        real_ms: shared.clock.real_ms(),
        method: request.method.clone(),
        path: request.path.clone(),
        query: request
            .target
            .split_once('?')
            .map(|(_, query)| query.to_owned())
            .unwrap_or_default(),
        formula: formula.clone(),
        body: body.clone().unwrap_or(Json::Null),
        status: 0,
        records: None,
        fault: None,
    });
    let (mut response, fault) = with_faults(shared, request, body, formula.as_deref());
    response.delay_ms += shared.latency.lock().for_path(&request.path);
    shared
        .calls
        .lock()
        .finish(seq, response.status, response.records, fault);
    response
}

fn with_faults(
    shared: &Shared,
    request: &Request,
    body: Option<Json>,
    formula: Option<&str>,
) -> (Response, Option<String>) {
    let switches = shared.switches.read().clone();
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    let base = match segments.as_slice() {
        ["v0", "meta", "bases", base, ..] | ["v0", "bases", base, ..] => Some(*base),
        ["v0", "meta", ..] => None,
        ["v0", base, ..] => Some(*base),
        _ => None,
    };
    if let Some(token) = request
        .bearer()
        .filter(|token| find_token(&shared.world.read(), token).is_ok())
    {
        match shared
            .meter
            .lock()
            .admit(base, token, shared.clock.now_ms())
        {
            Verdict::Allowed => {}
            Verdict::RateLimited => return (errors::too_many(&switches, false), None),
            Verdict::MonthSpent => return (errors::too_many(&switches, true), None),
        }
    }
    let from_body = body
        .as_ref()
        .and_then(|b| b.get("offset"))
        .and_then(Json::as_str);
    let offset = request
        .parameter("offset")
        .or(from_body)
        .filter(|o| !o.is_empty())
        .map(str::to_owned);
    let seen = faults::Seen {
        method: &request.method,
        target: &request.target,
        formula,
        has_offset: offset.is_some(),
    };
    let fault = faults::take(&mut shared.faults.lock(), &seen);
    let before_ms = fault.as_ref().map_or(0, faults::Fault::before_ms);
    if before_ms > 0 {
        shared.stop.wait(Duration::from_millis(before_ms));
    }
    let response = match &fault {
        Some(fault) if fault.replaces() => {
            Response::bytes(200, "application/json; charset=utf-8", b"{}".to_vec())
        }
        _ => authenticate_and_route(shared, request, &segments, body, &switches)
            .unwrap_or_else(|error| error.response()),
    };
    match fault {
        None => (response, None),
        Some(fault) => {
            let foreign = foreign_record(&shared.world.read(), &segments);
            let spoilt = fault.spoil(response, offset.as_deref(), foreign);
            (spoilt, Some(fault.name().to_owned()))
        }
    }
}

/// A record of another table of the base that the path names.
fn foreign_record(world: &World, segments: &[&str]) -> Option<Json> {
    let ["v0", base, table, ..] = segments else {
        return None;
    };
    let base = world.bases.get(*base)?;
    let other = base
        .tables
        .iter()
        .find(|t| &*t.id != *table && t.name != *table && !t.records.is_empty())?;
    let reader = crate::data::reader::Reader::new(base, 0, ", ");
    let row = reader.row(other, other.records.keys().next()?)?;
    Some(crate::data::show::record(
        &reader,
        row,
        &crate::data::show::Shape::default(),
    ))
}

/// The token's entry; `None` when the seed names no tokens, so that any will do.
fn find_token<'w>(world: &'w World, secret: &str) -> Result<Option<&'w Token>, ApiError> {
    if world.tokens.is_empty() {
        return Ok(None);
    }
    world
        .tokens
        .iter()
        .find(|t| t.secret == secret)
        .map(Some)
        .ok_or_else(ApiError::invalid_token)
}

/// A call whose token is known, on its way to a route.
pub(crate) struct Visit<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) request: &'a Request,
    pub(crate) switches: &'a Switches,
    /// The JSON object of the body; empty when there was none.
    pub(crate) body: Map<String, Json>,
    token: &'a str,
}

fn authenticate_and_route(
    shared: &Shared,
    request: &Request,
    segments: &[&str],
    body: Option<Json>,
    switches: &Switches,
) -> Reply {
    if request.target.len() >= MAX_URL {
        return Ok(Response::html(switches.url_too_long_status));
    }
    let token = request
        .bearer()
        .ok_or_else(ApiError::authentication_required)?;
    find_token(&shared.world.read(), token)?;
    let body = match body {
        Some(Json::Object(map)) => map,
        None if request.body.iter().all(u8::is_ascii_whitespace) => Map::new(),
        None => return Err(ApiError::bad_json()),
        Some(_) => return Err(ApiError::invalid_request()),
    };
    let visit = Visit {
        shared,
        request,
        switches,
        body,
        token,
    };
    match (request.method.as_str(), segments) {
        ("GET", ["v0", "meta", "whoami"]) => meta::whoami(&visit),
        ("GET", ["v0", "meta", "bases"]) => meta::bases(&visit),
        ("GET", ["v0", "meta", "bases", base, "tables"]) => meta::tables(&visit, base),
        ("POST", ["v0", "bases", base, "webhooks"]) => hooks::create(&visit, base),
        ("GET", ["v0", "bases", base, "webhooks"]) => hooks::list(&visit, base),
        ("GET", ["v0", "bases", base, "webhooks", hook, "payloads"]) => {
            hooks::payloads(&visit, base, hook)
        }
        ("POST", ["v0", "bases", base, "webhooks", hook, "refresh"]) => {
            hooks::refresh(&visit, base, hook)
        }
        ("POST", ["v0", "bases", base, "webhooks", hook, "enableNotifications"]) => {
            hooks::toggle(&visit, base, hook)
        }
        ("DELETE", ["v0", "bases", base, "webhooks", hook]) => hooks::delete(&visit, base, hook),
        (_, ["v0", "meta" | "bases", ..]) => Err(ApiError::not_found()),
        ("GET", ["v0", base, table]) => listing::list(&visit, base, table),
        ("POST", ["v0", base, table, "listRecords"]) => listing::list(&visit, base, table),
        ("GET", ["v0", base, table, record]) => listing::get(&visit, base, table, record),
        ("POST", ["v0", base, table]) => writes::create(&visit, base, table),
        ("PATCH", ["v0", base, table]) => {
            writes::update_many(&visit, base, table, writes::Style::Patch)
        }
        ("PUT", ["v0", base, table]) => {
            writes::update_many(&visit, base, table, writes::Style::Replace)
        }
        ("PATCH", ["v0", base, table, record]) => {
            writes::update_one(&visit, base, table, record, writes::Style::Patch)
        }
        ("PUT", ["v0", base, table, record]) => {
            writes::update_one(&visit, base, table, record, writes::Style::Replace)
        }
        ("DELETE", ["v0", base, table]) => writes::delete_many(&visit, base, table),
        ("DELETE", ["v0", base, table, record]) => writes::delete_one(&visit, base, table, record),
        _ => Err(ApiError::not_found()),
    }
}

impl Visit<'_> {
    /// Refuses what the token may not do: 404 for an id that is none, else 403 whatever is wrong.
    pub(crate) fn authorize(&self, world: &World, base: &str, scope: &str) -> Result<(), ApiError> {
        if !is_shaped("app", base) {
            return Err(ApiError::not_found());
        }
        let Some(token) = find_token(world, self.token)? else {
            return Ok(());
        };
        if token
            .bases
            .as_ref()
            .is_some_and(|bases| !bases.contains(base))
        {
            return Err(ApiError::missing_base(self.switches));
        }
        if token
            .scopes
            .as_ref()
            .is_some_and(|scopes| !scopes.contains(scope))
        {
            return Err(ApiError::forbidden());
        }
        Ok(())
    }

    /// Whether the token may see a base at all.
    pub(crate) fn may_see(&self, world: &World, base: &str) -> bool {
        self.authorize(world, base, "schema.bases:read").is_ok()
    }

    /// Whether the token holds a scope.
    pub(crate) fn scopes(&self, world: &World) -> Option<Vec<String>> {
        let mut scopes: Vec<String> = find_token(world, self.token)
            .ok()??
            .scopes
            .as_ref()?
            .iter()
            .cloned()
            .collect();
        scopes.sort();
        Some(scopes)
    }

    /// A base that the token may use so.
    pub(crate) fn base<'w>(
        &self,
        world: &'w World,
        base: &str,
        scope: &str,
    ) -> Result<&'w Base, ApiError> {
        self.authorize(world, base, scope)?;
        world
            .bases
            .get(base)
            .ok_or_else(|| ApiError::missing_base(self.switches))
    }

    /// A base that the token may change so.
    pub(crate) fn base_mut<'w>(
        &self,
        world: &'w mut World,
        base: &str,
        scope: &str,
    ) -> Result<&'w mut Base, ApiError> {
        self.authorize(world, base, scope)?;
        world
            .bases
            .get_mut(base)
            .ok_or_else(|| ApiError::missing_base(self.switches))
    }

    /// A flag in query or body: `true`, `"true"`, `1`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let in_body = self.body.get(name).is_some_and(|v| match v {
            Json::Bool(b) => *b,
            Json::Number(n) => n.as_i64() == Some(1),
            Json::String(s) => is_true(s),
            _ => false,
        });
        in_body || self.request.parameter(name).is_some_and(is_true)
    }

    /// A text in query or body; numbers count as their digits, empty texts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let in_body = self.body.get(name).and_then(|v| match v {
            Json::String(s) => Some(s.clone()),
            Json::Number(n) => Some(n.to_string()),
            _ => None,
        });
        in_body
            .or_else(|| self.request.parameter(name).map(str::to_owned))
            .filter(|text| !text.is_empty())
    }
}

fn is_true(text: &str) -> bool {
    matches!(text, "true" | "1")
}
