//! The feeds' calls to Airtable, through the scheduler: a poll that is due goes before all other calls.

use crate::server::desk::job::Errand;
use crate::server::feed::{Answered, THREAD};
use crate::server::upstream::fault::{is_refusal, Fault};
use crate::server::upstream::figures::Cause;
use crate::server::valkey::ffi;
use parking_lot::Mutex;
use podium_airtable::Ask;
use podium_core::feed::{self, Action, Failed, Landing, MacSecret, Outcome, Page};
use podium_core::pace::Class;
use serde_json::Value;
use std::sync::Arc;

/// Payloads in one page: as many as Airtable gives.
const PAGE: u8 = 50;

/// What a call brought, until it is told as over.
#[derive(Default)]
struct Ended {
    outcome: Option<Outcome>,
    schema: Option<Value>,
    sent: u64,
    refused: bool,
}

/// Hands a call to the scheduler; its answer goes to the thread's inbox.
pub(super) fn make(
    base: Arc<str>,
    incarnation: u64,
    ticket: u64,
    action: Action,
    notify: Option<String>,
) {
    let brought = Arc::new(Mutex::new(Ended::default()));
    let (b1, b2) = (brought.clone(), brought);
    let asked = ffi::now_ms();
    let (cause, write, what, scope) = match &action {
        Action::List => (Cause::Sync, false, "the list of webhooks", "webhook:manage"),
        Action::Create => (
            Cause::Sync,
            true,
            "creating a webhook",
            "webhook:manage, with data.records:read and schema.bases:read",
        ),
        Action::Schema => (Cause::Meta, false, "the base's schema", "schema.bases:read"),
        Action::Refresh { .. } => (
            Cause::Sync,
            false,
            "refreshing the webhook",
            "webhook:manage",
        ),
        Action::Poll { .. } => (Cause::Sync, false, "the change feed", "webhook:manage"),
        Action::Delete { .. } => (Cause::Sync, false, "deleting a webhook", "webhook:manage"),
    };
    let of = base.clone();
    let to = base.clone();
    let errand = Errand {
        base,
        cause,
        write,
        run: Box::new(move |client, token, deadline| {
            let ask = Ask {
                base: &of,
                table: "",
                token,
                deadline,
            };
            let mut b = b1.lock();
            b.sent = ffi::now_ms();
            let done = match &action {
                Action::List => client.webhook_list(&ask).map(Outcome::Listed),
                Action::Create => client
                    .webhook_create(&ask, &feed::specification(notify.as_deref()))
                    .map(|w| Outcome::Created {
                        id: w.id,
                        secret: MacSecret::new(w.mac_secret.reveal()),
                    }),
                Action::Schema => client.tables(&ask).map(|t| {
                    b.schema = Some(t);
                    Outcome::Schema
                }),
                Action::Refresh { webhook } => client
                    .webhook_refresh(&ask, webhook)
                    .map(|_| Outcome::Refreshed),
                Action::Poll { webhook, cursor } => client
                    .webhook_payloads(&ask, webhook, *cursor, PAGE)
                    .map(|v| match Page::parse(&v) {
                        Some(p) => Outcome::Polled(p),
                        None => Outcome::Failed(Failed {
                            refused: false,
                            line: "UPSTREAMBAD what came is no page of payloads".into(),
                        }),
                    }),
                Action::Delete { webhook } => client
                    .webhook_delete(&ask, webhook)
                    .map(|()| Outcome::Deleted),
            };
            match done {
                Ok(outcome) => {
                    b.outcome = Some(outcome);
                    Ok(0)
                }
                Err(f) => {
                    b.refused = is_refusal(&f);
                    Err(f)
                }
            }
        }),
        done: Box::new(move |sent, result| {
            let mut b = b2.lock();
            let outcome = match (result, b.outcome.take()) {
                (Ok(()), Some(o)) => o,
                (Ok(()), None) => Outcome::Failed(Failed {
                    refused: false,
                    line: "ERR the call was dropped".into(),
                }),
                (Err(f), _) => Outcome::Failed(Failed {
                    refused: b.refused,
                    line: f.line,
                }),
            };
            let at = Landing {
                ticket,
                asked,
                sent: if b.sent == 0 { asked } else { b.sent },
                ..Landing::default()
            };
            let landed = Answered {
                base: to.clone(),
                incarnation,
                at,
                outcome,
                schema: b.schema.take(),
                sent,
            };
            THREAD.hand(landed);
        }),
        what,
        scope,
    };
    errand.order(Class::Poll);
}

/// Deletes a webhook in Airtable; `done` is told when that is over, one way or another.
pub(super) fn delete(base: Arc<str>, webhook: String, done: impl Fn() + Send + Sync + 'static) {
    let of = base.clone();
    let errand = Errand {
        base,
        cause: Cause::Sync,
        write: false,
        run: Box::new(move |client, token, deadline| {
            client
                .webhook_delete(
                    &Ask {
                        base: &of,
                        table: "",
                        token,
                        deadline,
                    },
                    &webhook,
                )
                .map(|()| 0)
        }),
        done: Box::new(move |sent, result: Result<(), Fault>| {
            drop(sent);
            if let Err(f) = result {
                ffi::log(
                    ffi::Level::Notice,
                    &format!(
                        "a webhook could not be deleted, it ends by itself after 7 days: {}",
                        f.line
                    ),
                );
            }
            done();
        }),
        what: "deleting a webhook",
        scope: "webhook:manage",
    };
    errand.order(Class::Poll);
}
