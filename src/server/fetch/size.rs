//! How many records of a table fit into one answer: a hundred, unless they are so large that fewer do.

use crate::server::config;
use crate::server::engine::Lane;
use hashbrown::HashMap;
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use podium_airtable::{Failure, FailureKind, Page};
use std::sync::Arc;

/// Most records that Airtable gives in one page.
const MOST: u16 = 100;
/// Tables remembered at most; one that was forgotten is found out anew.
const TABLES: usize = 1_000;

/// By base and table: records to a page, where it is not a hundred.
static SIZES: Lazy<Mutex<HashMap<(Arc<str>, Arc<str>), u16>>> = Lazy::new(Mutex::default);

/// The largest answer that is taken, bytes.
fn limit() -> u64 {
    config::MAX_RESPONSE_BYTES.get().max(1) as u64
}

fn key(lane: &Lane) -> (Arc<str>, Arc<str>) {
    (lane.base.clone(), lane.table.clone())
}

/// Records to ask for in one page.
pub(crate) fn of(lane: &Lane) -> u16 {
    SIZES.lock().get(&key(lane)).copied().unwrap_or(MOST)
}

/// Takes note of how a page that was asked for with so many records ended. True: it was too large, and a smaller one is to be
/// asked for in its place.
pub(crate) fn note(lane: &Lane, asked: u16, result: &Result<Page, Failure>) -> bool {
    let mut sizes = SIZES.lock();
    match result {
        Err(f) if f.kind == FailureKind::TooLarge && asked > 1 => {
            if sizes.len() >= TABLES {
                sizes.clear();
            }
            let smaller = sizes.entry(key(lane)).or_insert(MOST);
            // Another page may have found out as much meanwhile.
            *smaller = (*smaller).min(asked / 2).max(1);
            true
        }
        // A page that is full and takes little of what it may: larger ones fit again.
        Ok(page) if page.count() >= u64::from(asked) && page.bytes.saturating_mul(4) < limit() => {
            let more = asked.saturating_mul(2).min(MOST);
            if more == MOST {
                sizes.remove(&key(lane));
            } else if let Some(size) = sizes.get_mut(&key(lane)) {
                *size = more.max(*size);
            }
            false
        }
        _ => false,
    }
}
