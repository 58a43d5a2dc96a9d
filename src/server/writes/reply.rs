//! The reply to a write, as far as it is known how the write ended.

use crate::server::valkey::ffi;
use crate::server::valkey::reply::{Body, CacheWord, Fwd, Meta};
use crate::server::valkey::settings;
use crate::server::writes::{Shape, Write};
use std::sync::atomic::Ordering;
use std::sync::Arc;

impl Write {
    pub(super) fn not_in_time(&self) -> String {
        format!(
            "UPSTREAMTIMEOUT there was no call to spare within podium.fetch-timeout-ms ({} ms)",
            settings::FETCH_TIMEOUT_MS.get()
        )
    }

    /// The reply as far as it is known; `open`: what is said of places that nothing is known of.
    pub(super) fn reply(&self, open: Option<String>) -> Body {
        let mut i = self.inner.lock();
        let line = open.unwrap_or_else(|| format!("{}; nothing was written", self.not_in_time()));
        let mut bodies: Vec<Body> = i
            .places
            .iter_mut()
            .map(|p| p.take().unwrap_or_else(|| Body::error(line.clone())))
            .collect();
        let calls = i.calls;
        let (now, fresh_until, stored) = (ffi::now_ms(), i.fresh_until, i.stored);
        drop(i);
        let meta = self.meta.then(|| Meta {
            cache: CacheWord::Bypass,
            age: 0,
            ttl: if fresh_until == u64::MAX {
                0
            } else {
                (fresh_until.saturating_sub(now) / 1000) as i64
            },
            key: self.key.clone(),
            airtable_hits: i64::from(calls),
            detail: "write",
            fwd: Fwd::Bypass,
            stored,
            collapsed: false,
        });
        match self.shape {
            Shape::List => Body::List(bodies).with_meta(meta),
            Shape::One => bodies.pop().unwrap_or(Body::Null).with_meta(meta),
            Shape::Count => self.count(&bodies),
        }
    }

    /// DELETE: how many were deleted, or which were not.
    fn count(&self, bodies: &[Body]) -> Body {
        let deleted: i64 = bodies
            .iter()
            .map(|b| if let Body::Int(n) = b { *n } else { 0 })
            .sum();
        let failed: Vec<(usize, &String)> = bodies
            .iter()
            .enumerate()
            .filter_map(|(i, b)| {
                if let Body::Error(e) = b {
                    Some((i, e))
                } else {
                    None
                }
            })
            .collect();
        let Some((_, first)) = failed.first() else {
            return Body::Int(deleted);
        };
        let mut names: Vec<String> = failed
            .iter()
            .take(20)
            .filter_map(|(i, _)| self.names.get(*i))
            .map(|n| podium_core::key::shown(n))
            .collect();
        if failed.len() > names.len() {
            names.push(format!("… {} more", failed.len() - names.len()));
        }
        Body::error(format!(
            "{first}; {deleted} of {} were deleted, these were not: {}",
            bodies.len(),
            names.join(" ")
        ))
    }

    /// The client's deadline passed: what has not been sent yet never is.
    pub(super) fn late(self: Arc<Self>) -> Body {
        self.cancelled.store(true, Ordering::Release);
        let sent = self.inner.lock().sent;
        let line = if sent {
            format!(
                "UPSTREAMTIMEOUT no answer from Airtable within podium.fetch-timeout-ms ({} ms, queueing included): it may have been written",
                settings::FETCH_TIMEOUT_MS.get()
            )
        } else {
            format!("{}; nothing was written", self.not_in_time())
        };
        self.reply(Some(line))
    }
}
