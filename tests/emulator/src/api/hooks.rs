//! The six webhook routes.

use super::errors::ApiError;
use super::{Reply, Visit};
use crate::data::model::{Base, World};
use crate::datetime;
use crate::http::response::Response;
use crate::ids::is_shaped;
use crate::webhooks::{Spec, Webhook, PAGE, PER_BASE};
use base64::Engine;
use serde_json::{json, Value as Json};

const SCOPE: &str = "webhook:manage";

pub(super) fn create(visit: &Visit<'_>, base: &str) -> Reply {
    let now_ms = visit.shared.clock.now_ms();
    let mut world = visit.shared.world.write();
    let specification = visit
        .body
        .get("specification")
        .ok_or_else(ApiError::invalid_request)?;
    authorize_contents(visit, &world, base, specification)?;
    let base = visit.base_mut(&mut world, base, SCOPE)?;
    base.webhooks.retain(|hook| !hook.is_gone(now_ms));
    if base.webhooks.len() >= PER_BASE {
        let message = "You have reached the maximum number of webhooks for this base.";
        return Err(ApiError::invalid("TOO_MANY_WEBHOOKS_IN_BASE", message).with_status(403));
    }
    let spec = Spec::parse(specification, base)?;
    let url = match visit.body.get("notificationUrl") {
        None | Some(Json::Null) => None,
        Some(Json::String(url)) if crate::webhooks::pings::target(url).is_some() => {
            Some(url.clone())
        }
        // The emulator stays on this machine.
        Some(_) => {
            return Err(ApiError::invalid(
                "INVALID_NOTIFICATION_URL",
                "Only http URLs on the loopback interface are notified",
            ))
        }
    };
    let id = base.mint("ach");
    let secret = format!("{id}:{now_ms}:emulated-mac-secret").into_bytes();
    let hook = Webhook::new(id, url, secret, spec, now_ms);
    let reply = json!({
        "id": &*hook.id,
        "macSecretBase64": base64::engine::general_purpose::STANDARD.encode(&hook.secret),
        "expirationTime": datetime::iso(hook.expires_ms),
    });
    base.webhooks.push(hook);
    Ok(Response::json(200, &reply))
}

/// Watching data or schema needs the right to read them as well.
fn authorize_contents(
    visit: &Visit<'_>,
    world: &World,
    base: &str,
    specification: &Json,
) -> Result<(), ApiError> {
    let types = specification
        .pointer("/options/filters/dataTypes")
        .and_then(Json::as_array);
    for kind in types.into_iter().flatten().filter_map(Json::as_str) {
        let scope = if kind == "tableData" {
            "data.records:read"
        } else {
            "schema.bases:read"
        };
        visit.authorize(world, base, scope)?;
    }
    Ok(())
}

pub(super) fn list(visit: &Visit<'_>, base: &str) -> Reply {
    let now_ms = visit.shared.clock.now_ms();
    let mut world = visit.shared.world.write();
    let base = visit.base_mut(&mut world, base, SCOPE)?;
    base.webhooks.retain(|hook| !hook.is_gone(now_ms));
    let shown: Vec<Json> = base
        .webhooks
        .iter_mut()
        .map(|hook| {
            hook.settle(now_ms);
            hook.show(now_ms)
        })
        .collect();
    Ok(Response::json(200, &json!({ "webhooks": shown })))
}

pub(super) fn payloads(visit: &Visit<'_>, base: &str, hook: &str) -> Reply {
    let now_ms = visit.shared.clock.now_ms();
    let number = |key: &str, default: u64| {
        visit.text(key).map_or(Ok(default), |t| {
            t.parse().map_err(|_| ApiError::invalid_request())
        })
    };
    let cursor = number("cursor", 1)?;
    let limit = number("limit", PAGE as u64)?;
    if cursor == 0 || limit == 0 || limit > PAGE as u64 {
        return Err(ApiError::invalid_request());
    }
    let mut world = visit.shared.world.write();
    let base = visit.base_mut(&mut world, base, SCOPE)?;
    let hook = find(base, hook, now_ms)?;
    hook.settle(now_ms);
    // Listing while it lives keeps it alive.
    hook.refresh(now_ms);
    let page = hook.page(cursor, usize::try_from(limit).unwrap_or(PAGE));
    let mut response = Response::json(
        200,
        &json!({"payloads": page.payloads, "cursor": page.cursor, "mightHaveMore": page.might_have_more}),
    );
    response.records = Some(page.payloads.len());
    Ok(response)
}

pub(super) fn refresh(visit: &Visit<'_>, base: &str, hook: &str) -> Reply {
    let now_ms = visit.shared.clock.now_ms();
    let mut world = visit.shared.world.write();
    let hook = find(visit.base_mut(&mut world, base, SCOPE)?, hook, now_ms)?;
    if now_ms >= hook.expires_ms {
        return Err(ApiError::invalid(
            "WEBHOOK_EXPIRED",
            "The webhook has expired and cannot be refreshed",
        ));
    }
    hook.refresh(now_ms);
    Ok(Response::json(
        200,
        &json!({"expirationTime": datetime::iso(hook.expires_ms)}),
    ))
}

pub(super) fn toggle(visit: &Visit<'_>, base: &str, hook: &str) -> Reply {
    let enable = visit
        .body
        .get("enable")
        .and_then(Json::as_bool)
        .ok_or_else(ApiError::invalid_request)?;
    let mut world = visit.shared.world.write();
    let hook = find(
        visit.base_mut(&mut world, base, SCOPE)?,
        hook,
        visit.shared.clock.now_ms(),
    )?;
    hook.notifications_enabled = enable;
    if !enable {
        hook.ping_due = None;
    }
    Ok(Response::json(200, &json!({})))
}

pub(super) fn delete(visit: &Visit<'_>, base: &str, hook: &str) -> Reply {
    let mut world = visit.shared.world.write();
    let base = visit.base_mut(&mut world, base, SCOPE)?;
    let id = find(base, hook, visit.shared.clock.now_ms())?.id.clone();
    base.webhooks.retain(|hook| hook.id != id);
    Ok(Response::json(200, &json!({})))
}

fn find<'b>(base: &'b mut Base, hook: &str, now_ms: i64) -> Result<&'b mut Webhook, ApiError> {
    if !is_shaped("ach", hook) {
        return Err(ApiError::not_found());
    }
    base.webhooks
        .iter_mut()
        .find(|h| &*h.id == hook && !h.is_gone(now_ms))
        .ok_or_else(ApiError::not_found)
}
