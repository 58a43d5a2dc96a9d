//! What of a table fits into one answer: a hundred whole records, unless they are so large that only the columns that are
//! needed do, or fewer records.
//!
//! A page that was too large is asked for with the columns alone that the spec names; if that is still too large, with half
//! as many records. What was found out is remembered. Airtable refuses to name a column that the base lacks: that one is left
//! out, and of too many such none is named.

use crate::server::state::lane::Lane;
use crate::server::valkey::settings;
use hashbrown::HashMap;
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use podium_airtable::{Failure, FailureKind, Page};
use podium_core::question;
use std::sync::Arc;

/// Most records that Airtable gives in one page.
const MOST: u16 = 100;
/// Tables remembered at most; one that was forgotten is found out anew.
const TABLES: usize = 1_000;
/// Columns that the base may lack before none is named: each is told by a call of its own.
const LACKING: usize = 8;

#[derive(Clone)]
enum Columns {
    All,
    /// Those of the spec, but for what the base lacks.
    Named {
        lacking: Vec<String>,
    },
    /// All, for naming them was of no use.
    AllAfterAll,
}

#[derive(Clone)]
struct Fit {
    size: u16,
    columns: Columns,
}

/// By base, table and the entity's generation, which ends with its spec; only what is not a hundred whole records.
type Key = (Arc<str>, Arc<str>, u64);
static FITS: Lazy<Mutex<HashMap<Key, Fit>>> = Lazy::new(Mutex::default);

/// How to ask for a page.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Records in it.
    pub(crate) size: u16,
    /// Columns wanted; empty: all.
    pub(crate) columns: Vec<String>,
}

/// The largest answer that is taken, bytes.
fn limit() -> u64 {
    settings::MAX_RESPONSE_BYTES.get().max(1) as u64
}

fn key(lane: &Lane) -> Key {
    (lane.base.clone(), lane.table.clone(), lane.generation)
}

/// How a page of this entity's table is best asked for.
pub(crate) fn plan(lane: &Lane) -> Plan {
    let Some(fit) = FITS.lock().get(&key(lane)).cloned() else {
        return Plan {
            size: MOST,
            columns: Vec::new(),
        };
    };
    let columns = match fit.columns {
        Columns::Named { lacking } => {
            let mut columns = question::columns(&lane.spec).unwrap_or_default();
            columns.retain(|c| !lacking.contains(c));
            columns
        }
        _ => Vec::new(),
    };
    Plan {
        size: fit.size,
        columns,
    }
}

/// Takes note of how a page that was asked for so ended. True: it is to be asked for otherwise, by the plan that is now in
/// force.
pub(crate) fn note(lane: &Lane, plan: &Plan, result: &Result<Page, Failure>) -> bool {
    match result {
        Ok(page) => {
            grow(lane, plan, page);
            false
        }
        Err(f) => columns(lane, plan, f) || smaller(lane, plan, f),
    }
}

/// As [`note`], where the number of records is not to be chosen.
pub(crate) fn note_columns(lane: &Lane, plan: &Plan, result: &Result<Page, Failure>) -> bool {
    matches!(result, Err(f) if columns(lane, plan, f))
}

fn with_fit<R>(lane: &Lane, f: impl FnOnce(&mut Fit) -> R) -> R {
    let mut fits = FITS.lock();
    if fits.len() >= TABLES {
        fits.clear();
    }
    f(fits.entry(key(lane)).or_insert(Fit {
        size: MOST,
        columns: Columns::All,
    }))
}

/// Would other columns do?
fn columns(lane: &Lane, plan: &Plan, failure: &Failure) -> bool {
    match &failure.kind {
        FailureKind::TooLarge if plan.columns.is_empty() => {
            // Without a column there would be nothing to name; an open spec needs all.
            if question::columns(&lane.spec).is_none_or(|c| c.is_empty()) {
                return false;
            }
            with_fit(lane, |fit| match fit.columns {
                Columns::All => {
                    fit.columns = Columns::Named {
                        lacking: Vec::new(),
                    };
                    true
                }
                // Somebody else found that out meanwhile.
                Columns::Named { .. } => true,
                Columns::AllAfterAll => false,
            })
        }
        FailureKind::UnknownField(names) if !plan.columns.is_empty() => {
            let named = |name: &String| plan.columns.contains(name);
            if !names.is_empty() && !names.iter().any(named) {
                // It is the formula's.
                return false;
            }
            with_fit(lane, |fit| {
                if let Columns::Named { lacking } = &mut fit.columns {
                    let new: Vec<String> = names
                        .iter()
                        .filter(|n| named(n) && !lacking.contains(n))
                        .cloned()
                        .collect();
                    lacking.extend(new);
                    if names.is_empty() || lacking.len() > LACKING {
                        fit.columns = Columns::AllAfterAll;
                    }
                }
                true
            })
        }
        _ => false,
    }
}

/// Would fewer records do?
fn smaller(lane: &Lane, plan: &Plan, failure: &Failure) -> bool {
    failure.kind == FailureKind::TooLarge
        && plan.size > 1
        && with_fit(lane, |fit| {
            // Another page may have found out as much meanwhile.
            fit.size = fit.size.min(plan.size / 2).max(1);
            true
        })
}

/// A page that is full and takes little of what it may: larger ones fit again.
fn grow(lane: &Lane, plan: &Plan, page: &Page) {
    if page.count() < u64::from(plan.size) || page.bytes.saturating_mul(4) >= limit() {
        return;
    }
    if let Some(fit) = FITS.lock().get_mut(&key(lane)) {
        fit.size = fit.size.max(plan.size.saturating_mul(2).min(MOST));
    }
}
