//! The call for a base's schema.

use crate::server::desk::job::Errand;
use crate::server::fetching::schema::take_in;
use crate::server::upstream::fault::is_refusal;
use crate::server::upstream::figures::Cause;
use parking_lot::Mutex;
use podium_airtable::Ask;
use podium_core::known::Problem;
use podium_core::pace::Class;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Asks for a base's schema and takes it in; `done` is told what is wrong with the specs of the base, on a worker. Err: whether
/// Airtable refused, and why.
pub(crate) fn ask(
    base: Arc<str>,
    class: Class,
    done: impl Fn(Result<Vec<Problem>, (bool, String)>) + Send + Sync + 'static,
) {
    let schema: Arc<Mutex<Value>> = Arc::default();
    let refused = Arc::new(AtomicBool::new(false));
    let (asked, of) = (base.clone(), base.clone());
    let (brought, was_refused) = (schema.clone(), refused.clone());
    let errand = Errand {
        base,
        cause: Cause::Meta,
        write: false,
        run: Box::new(move |client, token, deadline| {
            let ask = Ask {
                base: &asked,
                table: "",
                token,
                deadline,
            };
            match client.tables(&ask) {
                Ok(tables) => {
                    *brought.lock() = tables;
                    Ok(0)
                }
                Err(f) => {
                    was_refused.store(is_refusal(&f), Ordering::Relaxed);
                    Err(f)
                }
            }
        }),
        done: Box::new(move |sent, result| {
            drop(sent);
            done(match result {
                Ok(()) => Ok(take_in(&of, &schema.lock())),
                Err(f) => Err((refused.load(Ordering::Relaxed), f.line)),
            });
        }),
        what: "the question for the base's schema",
        scope: "schema.bases:read",
    };
    errand.order(class);
}
