//! Copies fetched anew before they end: hits that start a refresh, and calls with room that take along what ends next.

use crate::server::reads;
use crate::server::state::cell;
use crate::server::upstream::figures;
use crate::server::valkey::ffi::{self, Ctx};
use compact_str::CompactString;
use podium_core::entry::Header;
use podium_core::refresh::{self};

/// Should a hit on a copy that is fresh from `asked_ms` to `fresh_until` start a refresh?
#[inline]
pub(crate) fn is_due(asked_ms: u64, fresh_until: u64, now: u64) -> bool {
    let (life, left) = (
        fresh_until.saturating_sub(asked_ms),
        fresh_until.saturating_sub(now),
    );
    refresh::near_end(life, left) && refresh::early(life, left, figures::fetch_ms(), ffi::chance())
}

/// A hit found a copy near its end. On the main thread, outside the state.
#[cold]
pub(crate) fn refresh(ctx: Ctx, name: &[u8], h: &Header, now: u64) {
    if !is_due(h.asked_ms, h.fresh_until, now) {
        return;
    }
    let Some(podium_core::key::Name::Record { entity, id }) = podium_core::key::parse(name) else {
        return;
    };
    cell::enter(|st| {
        let Some(ix) = st
            .by_name(entity)
            .filter(|e| !e.base().is_empty() && !e.feed.renews(h, now))
            .map(|e| e.ix)
        else {
            return;
        };
        reads::order_refresh(
            ctx,
            st,
            vec![crate::server::reads::judge::Want::Record(
                ix,
                CompactString::new(id),
            )],
        );
    });
}
