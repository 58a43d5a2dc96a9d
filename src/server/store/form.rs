//! The stored form of a record, a tombstone: made of cells, with the ends of its life. Pure, but for the settings and chance.

use crate::server::state::lane::ttl_s;
use crate::server::state::lane::Lane;
use crate::server::valkey::{ffi, settings};
use podium_airtable::Record;
use podium_core::entry::Encoded;
use podium_core::entry::{self, Entry, Header};
use podium_core::record::{self, Source};
use podium_core::{freshness, key};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The stored form of a fetched record.
pub(crate) fn encode_record(lane: &Lane, r: &Record, sent: u64, asked_ms: u64) -> Encoded {
    encode_cells(lane, &r.id, &r.fields, sent, asked_ms, Source::Airtable)
}

/// The stored form of a record's cells.
pub(crate) fn encode_cells(
    lane: &Lane,
    id: &str,
    cells: &Map<String, Value>,
    seq: u64,
    asked_ms: u64,
    source: Source,
) -> Encoded {
    let shaped = record::shape(&lane.spec, id, cells, source);
    encode(lane, id, &shaped, seq, asked_ms, 0)
}

/// `told_at`: see [`Header`].
pub(crate) fn encode(
    lane: &Lane,
    id: &str,
    shaped: &record::Shaped,
    seq: u64,
    asked_ms: u64,
    told_at: u64,
) -> Encoded {
    let windows = settings::windows(ttl_s(&lane.spec), lane.spec.jitter());
    let ends = freshness::ends(&windows, asked_ms, shaped.attachments, ffi::chance());
    let header = Header {
        generation: lane.generation,
        asked_ms,
        fresh_until: ends.fresh_until,
        dead_at: ends.dead_at,
        seq,
        told_at,
    };
    let name = key::record(&lane.entity, id);
    Encoded {
        bytes: entry::encode(&name, &header, shaped).into(),
        expire_at: ends.expire_at,
        violations: shaped.violations,
    }
}

/// Does a stored record hold the value that a question asks for?
pub(crate) fn matches(
    lane: &Lane,
    id: &str,
    bytes: &[u8],
    asks: &Option<(u16, Arc<[u8]>)>,
) -> bool {
    let Some((field, value)) = asks else {
        return true;
    };
    let name = key::record(&lane.entity, id);
    Entry::read(bytes, &name).is_some_and(|e| e.has(*field, value))
}

/// A tombstone's header, and when its key expires.
pub(crate) fn tombstone(lane: &Lane, seq: u64, asked_ms: u64, told_at: u64) -> (Header, u64) {
    let ttl = lane.spec.tombstone_ttl().map_or_else(
        || settings::TOMBSTONE_TTL.seconds_as_ms(),
        |s| (s.max(1) as u64).saturating_mul(1000),
    );
    let until = asked_ms.saturating_add(ttl);
    (
        Header {
            generation: lane.generation,
            asked_ms,
            fresh_until: until,
            dead_at: until,
            seq,
            told_at,
        },
        until,
    )
}
