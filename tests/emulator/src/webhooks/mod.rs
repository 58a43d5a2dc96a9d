//! Webhooks: what each one watches, the payloads it has, how long it lives. Pings are in `pings`.

mod payload;
pub(crate) mod pings;
mod spec;

pub(crate) use payload::{fail, report, report_schema, SchemaChange};
pub(crate) use spec::Spec;

use crate::datetime;
use crate::datetime::DAY_MS;
use crate::ids::Id;
use serde_json::{json, Value as Json};
use std::collections::VecDeque;

/// Created or refreshed with a token, a webhook lives this long.
pub(crate) const LIFE_MS: i64 = 7 * DAY_MS;
/// Payloads are kept this long, read or not; an expired webhook stays listed this long.
const RETENTION_MS: i64 = 7 * DAY_MS;
/// Airtable's own bound on a page of payloads.
pub(crate) const PAGE: usize = 50;
/// At most this many webhooks in a base.
pub(crate) const PER_BASE: usize = 10;

pub(crate) struct Webhook {
    pub(crate) id: Id,
    pub(crate) notification_url: Option<String>,
    pub(crate) secret: Vec<u8>,
    pub(crate) expires_ms: i64,
    pub(crate) notifications_enabled: bool,
    /// False after an error payload: the specification no longer fits the base.
    pub(crate) healthy: bool,
    pub(crate) spec: Spec,
    /// The number of the first payload in `listed`; the first ever is 1.
    pub(crate) first_number: u64,
    listed: VecDeque<(i64, Json)>,
    /// Not yet listed: (when it will be, payload).
    pending: Vec<(i64, Json)>,
    pub(crate) last_success: Json,
    pub(crate) last_result: Json,
    /// A ping is owed since then.
    pub(crate) ping_due: Option<pings::Due>,
}

/// A page of payloads.
pub(crate) struct Page {
    pub(crate) payloads: Vec<Json>,
    pub(crate) cursor: u64,
    pub(crate) might_have_more: bool,
}

impl Webhook {
    pub(crate) fn new(
        id: Id,
        notification_url: Option<String>,
        secret: Vec<u8>,
        spec: Spec,
        now_ms: i64,
    ) -> Self {
        Self {
            id,
            notifications_enabled: notification_url.is_some(),
            notification_url,
            secret,
            expires_ms: now_ms + LIFE_MS,
            healthy: true,
            spec,
            first_number: 1,
            listed: VecDeque::new(),
            pending: Vec::new(),
            last_success: Json::Null,
            last_result: Json::Null,
            ping_due: None,
        }
    }

    pub(crate) fn is_active(&self, now_ms: i64) -> bool {
        self.healthy && now_ms < self.expires_ms
    }

    /// Whether even its metadata are gone.
    pub(crate) fn is_gone(&self, now_ms: i64) -> bool {
        now_ms >= self.expires_ms + RETENTION_MS
    }

    /// Sets the end to seven days from now, if it is still alive.
    pub(crate) fn refresh(&mut self, now_ms: i64) {
        if now_ms < self.expires_ms {
            self.expires_ms = now_ms + LIFE_MS;
        }
    }

    /// Adds a payload that can be listed from `visible_ms` on.
    pub(crate) fn push(&mut self, payload: Json, now_ms: i64, visible_ms: i64) {
        self.pending.push((visible_ms, payload));
        self.settle(now_ms);
        if self.notification_url.is_some() && self.notifications_enabled {
            self.ping_due.get_or_insert(pings::Due {
                at_ms: visible_ms,
                retry: 0,
            });
        }
    }

    /// Moves what has become visible into the list, in that order, and drops what is too old.
    pub(crate) fn settle(&mut self, now_ms: i64) {
        if !self.pending.is_empty() {
            // Stable: payloads of one transaction keep their order.
            self.pending.sort_by_key(|(visible_ms, _)| *visible_ms);
            let due = self
                .pending
                .iter()
                .take_while(|(visible_ms, _)| *visible_ms <= now_ms)
                .count();
            self.listed.extend(self.pending.drain(..due));
        }
        while self
            .listed
            .front()
            .is_some_and(|(at_ms, _)| at_ms + RETENTION_MS <= now_ms)
        {
            self.listed.pop_front();
            self.first_number += 1;
        }
    }

    /// The number that the next payload will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.first_number + self.listed.len() as u64
    }

    /// Payloads from number `cursor` on. What is no longer kept is skipped: the caller sees it by the numbers.
    pub(crate) fn page(&self, cursor: u64, limit: usize) -> Page {
        let first = cursor.max(self.first_number);
        let skip = usize::try_from(first - self.first_number).unwrap_or(usize::MAX);
        let payloads: Vec<Json> = self
            .listed
            .iter()
            .skip(skip)
            .take(limit)
            .map(|(_, p)| p.clone())
            .collect();
        if payloads.is_empty() {
            return Page {
                payloads,
                cursor,
                might_have_more: false,
            };
        }
        let next = first + payloads.len() as u64;
        Page {
            payloads,
            cursor: next,
            might_have_more: next < self.next_number(),
        }
    }

    /// Drops all payloads kept so far, as a week of silence does.
    pub(crate) fn forget(&mut self) {
        self.first_number = self.next_number();
        self.listed.clear();
    }

    /// The entry of the webhook list.
    pub(crate) fn show(&self, now_ms: i64) -> Json {
        json!({
            "id": &*self.id,
            "areNotificationsEnabled": self.notifications_enabled,
            "isHookEnabled": self.is_active(now_ms),
            "cursorForNextPayload": self.next_number(),
            "notificationUrl": self.notification_url,
            "expirationTime": datetime::iso(self.expires_ms),
            "lastSuccessfulNotificationTime": self.last_success,
            "lastNotificationResult": self.last_result,
            "specification": self.spec.shown,
        })
    }
}
