//! A page of a table for a thread that waits for it: a sweep's, or a warming's.

use super::Errand;
use crate::server::columns;
use crate::server::engine::{self, desk, Lane};
use crate::server::fault::Fault;
use crate::server::ffi;
use crate::server::gil;
use parking_lot::{Condvar, Mutex};
use podium_airtable::{Ask, Failure, FailureKind, ListQuery, Page};
use podium_core::pace::Class;
use std::sync::Arc;
use std::time::Duration;

/// A page, and the call that brought it.
pub(crate) struct Got {
    pub(crate) page: Page,
    /// The number it was sent under: to be given back once the page has landed.
    pub(crate) sent: u64,
    /// When the call was made, unix ms.
    pub(crate) asked_ms: u64,
}

/// What waiting for a page came to.
pub(crate) struct Waited {
    /// Calls made, failed ones included.
    pub(crate) calls: u64,
    pub(crate) result: Result<Got, (Fault, FailureKind)>,
}

#[derive(Default)]
struct Shared {
    page: Mutex<Option<(Page, u64)>>,
    failure: Mutex<Option<Failure>>,
    calls: Mutex<u64>,
    done: Mutex<Option<(u64, Result<(), Fault>)>>,
    bell: Condvar,
}

/// Asks for one page, through the scheduler in the background class, and waits for it. `what`: who asks, for errors.
/// A number whose call failed has been given back.
pub(crate) fn page(
    lane: &Lane,
    what: &'static str,
    formula: Option<String>,
    offset: Option<String>,
) -> Waited {
    {
        let _held = gil::lock();
        crate::server::del::watch();
    }
    let shared = Arc::new(Shared::default());
    order(lane, what, formula, offset, &shared);
    let (sent, result) = {
        let mut over = shared.done.lock();
        loop {
            if let Some(d) = over.take() {
                break d;
            }
            shared.bell.wait_for(&mut over, Duration::from_millis(500));
            if over.is_none() && engine::stopping() {
                return Waited {
                    calls: 0,
                    result: Err((
                        Fault::new("ERR the module is being unloaded"),
                        FailureKind::Refused,
                    )),
                };
            }
        }
    };
    let calls = *shared.calls.lock();
    let page = shared.page.lock().take();
    let result = match (result, page) {
        (Ok(()), Some((page, asked_ms))) => Ok(Got {
            page,
            sent,
            asked_ms,
        }),
        (result, _) => {
            desk().tokens.landed(sent);
            let fault = result
                .err()
                .unwrap_or_else(|| Fault::new("ERR internal error: a page was lost"));
            let kind = shared
                .failure
                .lock()
                .take()
                .map_or(FailureKind::Refused, |f| f.kind);
            Err((fault, kind))
        }
    };
    Waited { calls, result }
}

fn order(
    lane: &Lane,
    what: &'static str,
    formula: Option<String>,
    offset: Option<String>,
    shared: &Arc<Shared>,
) {
    let (s1, s2) = (shared.clone(), shared.clone());
    let of = lane.clone();
    let errand = Errand {
        base: lane.base.clone(),
        cause: lane.cause,
        write: false,
        run: Box::new(move |client, token, deadline| {
            let ask = Ask {
                base: &of.base,
                table: &of.table,
                token,
                deadline,
            };
            let asked_ms = ffi::now_ms();
            *s1.calls.lock() += 1;
            match columns::list(
                client,
                &ask,
                &of,
                &ListQuery {
                    formula: formula.as_deref(),
                    offset: offset.as_deref(),
                    page_size: 100,
                    ..ListQuery::default()
                },
            ) {
                Ok(page) => {
                    let n = page.records.len();
                    *s1.page.lock() = Some((page, asked_ms));
                    Ok(n)
                }
                Err(f) => {
                    *s1.failure.lock() = Some(f.clone());
                    Err(f)
                }
            }
        }),
        done: Box::new(move |sent, r| {
            *s2.done.lock() = Some((sent, r));
            s2.bell.notify_all();
        }),
        what,
        scope: "data.records:read",
    };
    errand.order(Class::Background);
}
