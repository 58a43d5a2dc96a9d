//! The control plane under `/_emulator`: not counted, not limited, without authentication.

use crate::data::commit::{commit, Operation};
use crate::data::input::Cells;
use crate::data::model::Base;
use crate::data::reader::Reader;
use crate::data::schema_edit;
use crate::data::show::{self, Shape};
use crate::data::{input, model::Table};
use crate::faults::Fault;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::ids::Id;
use crate::shared::Shared;
use crate::webhooks;
use serde_json::{json, Value as Json};
use std::sync::atomic::Ordering;

/// Answers a control request: 200 with what it gives, else 400 and `{"error": sentence}`.
pub(crate) fn answer(shared: &Shared, request: &Request) -> Response {
    let body = if request.body.is_empty() {
        Ok(Json::Null)
    } else {
        serde_json::from_slice(&request.body).map_err(|e| e.to_string())
    };
    let path: Vec<&str> = request
        .segments
        .iter()
        .skip(1)
        .map(String::as_str)
        .collect();
    let query = |name: &str| request.parameter(name).map(str::to_owned);
    match body.and_then(|body| run(shared, &request.method, &path, &query, &body)) {
        Ok(reply) => Response::json(200, &reply),
        Err(error) => Response::json(400, &json!({ "error": error })),
    }
}

/// Runs one control command.
///
/// # Errors
/// A sentence naming what was wrong with it.
pub(crate) fn run(
    shared: &Shared,
    method: &str,
    path: &[&str],
    query: &dyn Fn(&str) -> Option<String>,
    body: &Json,
) -> Result<Json, String> {
    let done = || Ok(json!({"ok": true}));
    match (method, path) {
        ("GET", ["calls"]) => {
            let since = query("since").and_then(|s| s.parse().ok()).unwrap_or(0);
            let calls = shared.calls.lock();
            let shown: Vec<Json> = calls.since(since).map(crate::Call::to_json).collect();
            Ok(json!({"count": calls.count(), "calls": shown}))
        }
        ("DELETE", ["calls"]) => {
            shared.calls.lock().clear();
            done()
        }
        ("POST", ["seed"]) => shared.seed(body).and_then(|()| done()),
        ("POST", ["reset"]) => shared.reset().and_then(|()| done()),
        ("GET", ["latency"]) => Ok(shared.latency.lock().show()),
        ("POST", ["latency"]) => shared.latency.lock().set(body).and_then(|()| done()),
        ("GET", ["faults"]) => {
            Ok(json!({"faults": shared.faults.lock().iter().map(Fault::show).collect::<Vec<_>>()}))
        }
        ("POST", ["faults"]) => {
            let one = std::slice::from_ref(body);
            let wanted = body
                .as_array()
                .or_else(|| body.get("faults").and_then(Json::as_array))
                .map_or(one, Vec::as_slice);
            let faults = wanted
                .iter()
                .map(Fault::parse)
                .collect::<Result<Vec<_>, _>>()?;
            shared.faults.lock().extend(faults);
            done()
        }
        ("DELETE", ["faults"]) => {
            shared.faults.lock().clear();
            done()
        }
        ("GET", ["records", base, table]) => records(shared, base, table, query("ids").is_some()),
        ("POST", ["write"]) => write(shared, body),
        ("POST", ["schema"]) => {
            let switches = shared.switches.read().clone();
            let at = shared.circumstances(&switches, "client");
            let mut world = shared.world.write();
            let base = base_mut(&mut world.bases, body)?;
            schema_edit::apply(base, body, at).and_then(|()| done())
        }
        ("GET", ["clock"]) => Ok(clock(shared)),
        ("POST", ["clock"]) => {
            shared.clock.advance(
                body.get("advance_ms")
                    .and_then(Json::as_i64)
                    .ok_or("clock needs \"advance_ms\"")?,
            );
            Ok(clock(shared))
        }
        ("POST", ["monthly"]) => {
            let mut meter = shared.meter.lock();
            meter.limits.monthly = body.get("limit").and_then(Json::as_u64);
            if let Some(used) = body.get("used").and_then(Json::as_u64) {
                // Counted from the next call on, whatever month the counter last saw.
                let _ = meter.admit(None, "", shared.clock.now_ms());
                meter.month_calls = used;
            }
            done()
        }
        ("POST", ["limits"]) => limits(shared, body).and_then(|()| done()),
        ("GET", ["switches"]) => Ok(shared.switches.read().show()),
        ("POST", ["switches"]) => shared.switches.write().set(body).and_then(|()| done()),
        ("POST", ["offsets"]) => {
            shared.iterators.lock().clear();
            done()
        }
        ("GET", ["stats"]) => Ok(stats(shared)),
        ("GET", ["webhooks"]) => Ok(hooks(shared)),
        ("POST", ["webhooks"]) => change_hook(shared, body).and_then(|()| done()),
        _ => Err(format!("no control route {method} {}", path.join("/"))),
    }
}

fn clock(shared: &Shared) -> Json {
    let now_ms = shared.clock.now_ms();
    json!({"now_ms": now_ms, "now": crate::datetime::iso(now_ms), "t_ms": shared.clock.since_start_ms()})
}

fn base_mut<'w>(
    bases: &'w mut indexmap::IndexMap<Id, Base>,
    body: &Json,
) -> Result<&'w mut Base, String> {
    let name = body
        .get("base")
        .and_then(Json::as_str)
        .ok_or("\"base\" is missing")?;
    bases.get_mut(name).ok_or_else(|| format!("no base {name}"))
}

fn records(shared: &Shared, base: &str, table: &str, by_field_id: bool) -> Result<Json, String> {
    let switches = shared.switches.read().clone();
    let world = shared.world.read();
    let base = world
        .bases
        .get(base)
        .ok_or_else(|| format!("no base {base}"))?;
    let table = base
        .table_named(table)
        .ok_or_else(|| format!("no table {table}"))?;
    // The truth does not lag: a moment when every lag is over.
    let reader = Reader::new(base, i64::MAX, &switches.arrayjoin_sep);
    let shape = Shape {
        by_field_id,
        ..Shape::default()
    };
    let shown: Vec<Json> = table
        .records
        .keys()
        .filter_map(|id| reader.row(table, id))
        .map(|row| show::record(&reader, row, &shape))
        .collect();
    Ok(json!({"table": &*table.id, "name": table.name, "records": shown}))
}

/// `{"base", "table", "create": [{"id"?, "fields"}], "update": [{"id", "fields"}], "delete": ["rec…"], "source"?, "typecast"?}`.
fn write(shared: &Shared, body: &Json) -> Result<Json, String> {
    let switches = shared.switches.read().clone();
    let at = shared.circumstances(
        &switches,
        body.get("source")
            .and_then(Json::as_str)
            .unwrap_or("client"),
    );
    let mut world = shared.world.write();
    let base = base_mut(&mut world.bases, body)?;
    let name = body
        .get("table")
        .and_then(Json::as_str)
        .ok_or("\"table\" is missing")?;
    let table: Id = base
        .table_named(name)
        .ok_or_else(|| format!("no table {name}"))?
        .id
        .clone();
    let list = |key: &str| {
        body.get(key)
            .and_then(Json::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let mut operations = Vec::new();
    let (mut created, mut updated, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    for entry in list("create") {
        let cells = checked(base, &table, entry, body, &mut operations)?;
        let record: Id = match entry.get("id").and_then(Json::as_str) {
            Some(id) if base.homes.contains_key(id) => {
                return Err(format!("record {id} is there already"))
            }
            Some(id) => Id::from(id),
            None => base.mint("rec"),
        };
        created.push(json!(&*record));
        operations.push(Operation::Create {
            table: table.clone(),
            record,
            cells,
        });
    }
    for entry in list("update") {
        let id = entry
            .get("id")
            .and_then(Json::as_str)
            .ok_or("an update without an id")?;
        let record = known(base.table(&table), id)?;
        let cells = checked(base, &table, entry, body, &mut operations)?;
        updated.push(json!(&*record));
        operations.push(Operation::Update {
            table: table.clone(),
            record,
            cells,
        });
    }
    for id in list("delete") {
        let record = known(base.table(&table), id.as_str().unwrap_or_default())?;
        deleted.push(json!(&*record));
        operations.push(Operation::Delete {
            table: table.clone(),
            record,
        });
    }
    commit(base, operations, at);
    Ok(
        json!({"created": created, "updated": updated, "deleted": deleted, "transaction": base.transaction, "at_ms": at.now_ms}),
    )
}

fn known(table: Option<&Table>, id: &str) -> Result<Id, String> {
    let found = table
        .and_then(|t| t.records.get_key_value(id))
        .map(|(id, _)| id.clone());
    found.ok_or_else(|| format!("no record {id}"))
}

fn checked(
    base: &mut Base,
    table: &Id,
    entry: &Json,
    body: &Json,
    operations: &mut Vec<Operation>,
) -> Result<Cells, String> {
    let empty = serde_json::Map::new();
    let fields = entry
        .get("fields")
        .and_then(Json::as_object)
        .unwrap_or(&empty);
    let typecast = body
        .get("typecast")
        .and_then(Json::as_bool)
        .unwrap_or(false);
    let checked = input::cells(base, table, fields, typecast)
        .map_err(|e| String::from_utf8_lossy(&e.response().body).into_owned())?;
    for (table, record, text) in checked.created_links {
        let cells = base
            .table(&table)
            .map(|t| Cells::from([(t.primary.clone(), json!(text))]))
            .unwrap_or_default();
        operations.push(Operation::Create {
            table,
            record,
            cells,
        });
    }
    Ok(checked.cells)
}

fn limits(shared: &Shared, body: &Json) -> Result<(), String> {
    let mut meter = shared.meter.lock();
    for (name, value) in body.as_object().ok_or("limits must be an object")? {
        let small = value.as_u64().and_then(|n| u32::try_from(n).ok());
        let limits = &mut meter.limits;
        let fits = match name.as_str() {
            "per_second" => small.map(|n| limits.per_second = n),
            "per_token" => small.map(|n| limits.per_token = n),
            "lockout_ms" => value.as_i64().map(|n| limits.lockout_ms = n),
            "enabled" => value.as_bool().map(|b| limits.enabled = b),
            "window" => value
                .as_str()
                .filter(|w| ["fixed", "sliding"].contains(w))
                .map(|w| limits.sliding = w == "sliding"),
            // Forgets windows and lock-outs.
            "clear" => {
                meter.clear();
                Some(())
            }
            _ => return Err(format!("unknown limit {name:?}")),
        };
        fits.ok_or_else(|| format!("limit {name:?} does not take {value}"))?;
    }
    Ok(())
}

fn stats(shared: &Shared) -> Json {
    let now_ms = shared.clock.now_ms();
    let mut statuses = std::collections::BTreeMap::<String, u64>::new();
    let mut records = 0;
    let calls = shared.calls.lock();
    for call in calls.since(0) {
        *statuses.entry(call.status.to_string()).or_default() += 1;
        records += call.records.unwrap_or(0);
    }
    let world = shared.world.read();
    let held: usize = world
        .bases
        .values()
        .flat_map(|b| &b.tables)
        .map(|t| t.records.len())
        .sum();
    json!({
        "calls": calls.count(), "statuses": statuses, "records_returned": records, "records_held": held,
        "limits": shared.meter.lock().show(now_ms), "iterators": shared.iterators.lock().len(),
        "connections": shared.connections.load(Ordering::Relaxed), "now_ms": now_ms,
    })
}

fn hooks(shared: &Shared) -> Json {
    let now_ms = shared.clock.now_ms();
    let mut world = shared.world.write();
    let mut shown = Vec::new();
    for base in world.bases.values_mut() {
        for hook in &mut base.webhooks {
            hook.settle(now_ms);
            let mut entry = hook.show(now_ms);
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("base".to_owned(), json!(&*base.id));
                entry.insert("firstKeptPayload".to_owned(), json!(hook.first_number));
            }
            shown.push(entry);
        }
    }
    json!({ "webhooks": shown })
}

/// `{"id", "error": code}` ends it with an error payload, `{"id", "expire": true}` lets it expire now,
/// `{"id", "forget": true}` drops its payloads, `{"id", "destroy": true}` takes it away.
fn change_hook(shared: &Shared, body: &Json) -> Result<(), String> {
    let now_ms = shared.clock.now_ms();
    let id = body
        .get("id")
        .and_then(Json::as_str)
        .ok_or("\"id\" is missing")?;
    let is_set = |key: &str| body.get(key).and_then(Json::as_bool) == Some(true);
    let mut world = shared.world.write();
    for base in world.bases.values_mut() {
        let Some(place) = base.webhooks.iter().position(|h| &*h.id == id) else {
            continue;
        };
        if is_set("destroy") {
            base.webhooks.remove(place);
            return Ok(());
        }
        let transaction = base.transaction;
        let Some(hook) = base.webhooks.get_mut(place) else {
            continue;
        };
        if is_set("forget") {
            hook.settle(now_ms);
            hook.forget();
        }
        if is_set("expire") {
            hook.expires_ms = now_ms;
        }
        if let Some(code) = body.get("error").and_then(Json::as_str) {
            webhooks::fail(hook, code, transaction, now_ms);
        }
        return Ok(());
    }
    Err(format!("no webhook {id}"))
}
