//! A page of a table for a thread that waits for it: a sweep's, or a warming's.

use crate::server::desk::job::Errand;
use crate::server::desk::{self};
use crate::server::fetching::columns;
use crate::server::fetching::size;
use crate::server::state::clock::Sent;
use crate::server::state::lane::Lane;
use crate::server::upstream::fault::Fault;
use crate::server::valkey::ffi;
use crate::server::valkey::lock;
use parking_lot::{Condvar, Mutex};
use podium_airtable::{Ask, Failure, FailureKind, ListQuery, Page};
use podium_core::pace::Class;
use std::sync::Arc;
use std::time::Duration;

/// Times that a page is asked for with other columns or fewer records: more than it takes to find out what fits.
const SMALLER: u32 = 20;

/// A page, and the call that brought it.
pub(crate) struct Got {
    pub(crate) page: Page,
    /// The number it was sent under: kept until the page has landed.
    pub(crate) sent: Sent,
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
    /// It is to be asked for otherwise.
    again: Mutex<bool>,
    done: Mutex<Option<(Sent, Result<(), Fault>)>>,
    bell: Condvar,
}

/// Asks for one page, by what fits into an answer ([`size`]); see [`ask`].
pub(crate) fn page(
    lane: &Lane,
    what: &'static str,
    formula: Option<String>,
    offset: Option<String>,
) -> Waited {
    {
        let _held = lock::lock();
        crate::server::desk::deletes::watch();
    }
    let mut calls = 0;
    let mut smaller = 0;
    loop {
        let plan = size::plan(lane);
        let (mut waited, again) = ask(lane, what, formula.clone(), offset.clone(), plan);
        calls += waited.calls;
        if !again || smaller >= SMALLER || desk::stopping() {
            waited.calls = calls;
            return waited;
        }
        smaller += 1;
    }
}

/// Asks for one page, through the scheduler in the background class, and waits for it. `what`: who asks, for errors.
/// A number whose call failed has been given back.
fn ask(
    lane: &Lane,
    what: &'static str,
    formula: Option<String>,
    offset: Option<String>,
    plan: size::Plan,
) -> (Waited, bool) {
    let shared = Arc::new(Shared::default());
    order(lane, what, formula, offset, plan, &shared);
    let (sent, result) = {
        let mut over = shared.done.lock();
        loop {
            if let Some(d) = over.take() {
                break d;
            }
            shared.bell.wait_for(&mut over, Duration::from_millis(500));
            if over.is_none() && desk::stopping() {
                let fault = Fault::new("ERR the module is being unloaded");
                let result = Err((fault, FailureKind::Refused));
                return (Waited { calls: 0, result }, false);
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
    let again = *shared.again.lock();
    (Waited { calls, result }, again)
}

fn order(
    lane: &Lane,
    what: &'static str,
    formula: Option<String>,
    offset: Option<String>,
    plan: size::Plan,
    shared: &Arc<Shared>,
) {
    let (s1, s2) = (shared.clone(), shared.clone());
    let lane = lane.clone();
    let (base, cause) = (lane.base.clone(), lane.cause);
    let errand = Errand {
        base,
        cause,
        write: false,
        run: Box::new(move |client, token, deadline| {
            let ask = Ask {
                base: &lane.base,
                table: &lane.table,
                token,
                deadline,
            };
            let asked_ms = ffi::now_ms();
            *s1.calls.lock() += 1;
            let result = columns::list(
                client,
                &ask,
                &lane,
                &ListQuery {
                    formula: formula.as_deref(),
                    offset: offset.as_deref(),
                    page_size: plan.size,
                    fields: &plan.columns,
                    ..ListQuery::default()
                },
            );
            *s1.again.lock() = size::note(&lane, &plan, &result);
            match result {
                Ok(page) => {
                    let n = page.count() as usize;
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
