//! What goes to a client, and how it is written: the only place that spells reply maps and error texts.

use crate::server::valkey::ffi::{pieces, rm, Ctx};
use compact_str::CompactString;
use std::ffi::{c_int, CString};
use std::sync::Arc;

/// A reply, or a part of one.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Null,
    Ok,
    Int(i64),
    Bytes(Vec<u8>),
    /// A record's id.
    Id(CompactString),
    /// A range of a shared body: one fetched record serves all who waited for it.
    Shared(Arc<[u8]>, usize, usize),
    /// Bytes that belong to the keyspace: replied before the command returns, or sealed.
    InPlace(InPlace),
    List(Vec<Body>),
    Map(Vec<(String, Body)>),
    Error(String),
    WithMeta(Box<Body>, Box<Meta>),
    /// It is written already.
    Written,
}

/// A slice of the keyspace's own memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InPlace(*const u8, usize);
// SAFETY: a `InPlace` is read only by the thread that holds the server's lock, before it lets go (see `seal`).
unsafe impl Send for InPlace {}
unsafe impl Sync for InPlace {}

impl InPlace {
    pub(crate) fn new(b: &[u8]) -> InPlace {
        InPlace(b.as_ptr(), b.len())
    }
    fn bytes(&self) -> &[u8] {
        // SAFETY: see the type.
        unsafe { std::slice::from_raw_parts(self.0, self.1) }
    }
}

/// Parts of a list that the main thread writes by itself.
const LONG: usize = 500;

impl Body {
    pub(crate) fn error(text: impl Into<String>) -> Body {
        Body::Error(text.into())
    }
    /// Copies what belongs to the keyspace, so that the reply may outlive the lock.
    pub(crate) fn seal(self) -> Body {
        match self {
            Body::InPlace(s) => Body::Bytes(s.bytes().to_vec()),
            Body::List(l) => Body::List(l.into_iter().map(Body::seal).collect()),
            Body::WithMeta(b, m) => Body::WithMeta(Box::new(b.seal()), m),
            other => other,
        }
    }
    /// Would writing it hold up the main thread?
    pub(crate) fn is_long(&self) -> bool {
        match self {
            Body::List(l) => l.len() > LONG,
            Body::WithMeta(b, _) => b.is_long(),
            _ => false,
        }
    }
    pub(crate) fn with_meta(self, meta: Option<Meta>) -> Body {
        match (self, meta) {
            (Body::Error(e), _) => Body::Error(e),
            (body, Some(m)) => Body::WithMeta(Box::new(body), Box::new(m)),
            (body, None) => body,
        }
    }
    /// Writes the reply.
    pub(crate) fn send(&self, ctx: Ctx) -> c_int {
        match self {
            Body::Null => rm!(RedisModule_ReplyWithNull(ctx)),
            Body::Ok => rm!(RedisModule_ReplyWithSimpleString(ctx, c"OK".as_ptr())),
            Body::Int(n) => rm!(RedisModule_ReplyWithLongLong(ctx, *n)),
            Body::Bytes(b) => bulk(ctx, b),
            Body::Id(id) => bulk(ctx, id.as_bytes()),
            Body::Shared(b, at, len) => bulk(ctx, b.get(*at..at + len).unwrap_or(&[])),
            Body::InPlace(s) => bulk(ctx, s.bytes()),
            Body::Error(e) => error(ctx, e),
            Body::List(l) => {
                rm!(RedisModule_ReplyWithArray(ctx, l.len() as i64));
                for b in l {
                    b.send(ctx);
                }
                0
            }
            Body::Map(m) => {
                rm!(RedisModule_ReplyWithMap(ctx, m.len() as i64));
                for (k, v) in m {
                    bulk(ctx, k.as_bytes());
                    v.send(ctx);
                }
                0
            }
            Body::WithMeta(b, m) => {
                rm!(RedisModule_ReplyWithArray(ctx, 2));
                b.send(ctx);
                m.send(ctx)
            }
            Body::Written => crate::server::valkey::ffi::OK,
        }
    }
}

/// Bytes as a bulk string.
pub(crate) fn bulk(ctx: Ctx, b: &[u8]) -> c_int {
    rm!(RedisModule_ReplyWithStringBuffer(
        ctx,
        b.as_ptr().cast(),
        b.len()
    ))
}

/// An error line: what the protocol cannot carry is replaced, whatever the text was made of.
pub(crate) fn error(ctx: Ctx, text: &str) -> c_int {
    let clean: Vec<u8> = text
        .bytes()
        .map(|b| if b < 0x20 || b == 0x7f { b' ' } else { b })
        .collect();
    let c = CString::new(clean).unwrap_or_default();
    rm!(RedisModule_ReplyWithError(ctx, c.as_ptr()))
}

/// How the cache took part in a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CacheWord {
    Hit,
    Miss,
    Stale,
    Bypass,
}

impl CacheWord {
    fn as_str(self) -> &'static str {
        match self {
            CacheWord::Hit => "HIT",
            CacheWord::Miss => "MISS",
            CacheWord::Stale => "STALE",
            CacheWord::Bypass => "BYPASS",
        }
    }
}

/// Why the upstream was asked (RFC 9211).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fwd {
    /// It was not.
    Not,
    UriMiss,
    Bypass,
}

/// What META adds to a reply.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) cache: CacheWord,
    /// Seconds since the oldest part was asked for.
    pub(crate) age: i64,
    /// Seconds until the shortest-lived part is stale; below 0 when it is.
    pub(crate) ttl: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) airtable_hits: i64,
    pub(crate) detail: &'static str,
    pub(crate) fwd: Fwd,
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
}

impl Meta {
    fn cache_status(&self) -> String {
        let mut s = String::from("podium");
        match self.cache {
            CacheWord::Hit | CacheWord::Stale => {
                s.push_str("; hit");
                s.push_str(&format!("; ttl={}", self.ttl));
                if !self.detail.is_empty() {
                    s.push_str(&format!("; detail={}", self.detail));
                }
            }
            // Nothing was there and nothing was asked: neither a hit nor forwarded.
            CacheWord::Miss | CacheWord::Bypass if self.fwd == Fwd::Not => {
                s.push_str(&format!("; detail={}", self.detail));
            }
            CacheWord::Miss | CacheWord::Bypass => {
                s.push_str(match self.fwd {
                    Fwd::Not => "",
                    Fwd::UriMiss => "; fwd=uri-miss",
                    Fwd::Bypass => "; fwd=bypass",
                });
                if self.collapsed {
                    s.push_str("; collapsed");
                } else {
                    s.push_str("; fwd-status=200");
                    if self.stored {
                        s.push_str(&format!("; stored; ttl={}", self.ttl));
                    }
                }
            }
        }
        s
    }
    fn send(&self, ctx: Ctx) -> c_int {
        meta(
            ctx,
            self.cache,
            (self.age, self.ttl),
            &self.key,
            self.airtable_hits,
            self.detail,
            self.cache_status().as_bytes(),
        )
    }
}

#[allow(clippy::too_many_arguments)]
fn meta(
    ctx: Ctx,
    cache: CacheWord,
    (age, ttl): (i64, i64),
    key: &[u8],
    hits: i64,
    detail: &str,
    status: &[u8],
) -> c_int {
    rm!(RedisModule_ReplyWithMap(ctx, 7));
    bulk(ctx, b"cache");
    bulk(ctx, cache.as_str().as_bytes());
    bulk(ctx, b"age");
    rm!(RedisModule_ReplyWithLongLong(ctx, age));
    bulk(ctx, b"ttl");
    rm!(RedisModule_ReplyWithLongLong(ctx, ttl));
    bulk(ctx, b"key");
    bulk(ctx, key);
    bulk(ctx, b"airtable-hits");
    rm!(RedisModule_ReplyWithLongLong(ctx, hits));
    bulk(ctx, b"detail");
    bulk(ctx, detail.as_bytes());
    bulk(ctx, b"cache-status");
    bulk(ctx, status)
}

/// A hit on a fresh copy, with META: written without an allocation. `age`, `ttl`: seconds.
pub(crate) fn hit_with_meta(ctx: Ctx, answer: &[u8], key: &[u8], age: u64, ttl: u64) {
    rm!(RedisModule_ReplyWithArray(ctx, 2));
    bulk(ctx, answer);
    let sent = pieces::send(
        ctx,
        |piece| elements(piece, key, age, ttl),
        || {
            rm!(RedisModule_ReplyWithMap(ctx, 7));
        },
    );
    if !sent {
        let status = format!("podium; hit; ttl={ttl}");
        let times = (age as i64, ttl as i64);
        meta(ctx, CacheWord::Hit, times, key, 0, "", status.as_bytes());
    }
}

/// The elements of a hit's META as they stand in either version of the protocol.
fn elements(piece: &mut pieces::Piece, key: &[u8], age: u64, ttl: u64) {
    let (mut room, mut room_2) = ([0; pieces::DIGITS], [0; pieces::DIGITS]);
    let ttl = pieces::decimal(&mut room, ttl);
    piece.push(b"$5\r\ncache\r\n$3\r\nHIT\r\n$3\r\nage\r\n:");
    piece.push(pieces::decimal(&mut room_2, age));
    piece.push(b"\r\n$3\r\nttl\r\n:");
    piece.push(ttl);
    piece.push(b"\r\n$3\r\nkey\r\n$");
    piece.push(pieces::decimal(&mut room_2, key.len() as u64));
    piece.push(b"\r\n");
    piece.push(key);
    piece.push(
        b"\r\n$13\r\nairtable-hits\r\n:0\r\n$6\r\ndetail\r\n$0\r\n\r\n$12\r\ncache-status\r\n$",
    );
    let status = b"podium; hit; ttl=";
    let length = (status.len() + ttl.len()) as u64;
    piece.push(pieces::decimal(&mut room_2, length));
    piece.push(b"\r\n");
    piece.push(status);
    piece.push(ttl);
    piece.push(b"\r\n");
}

pub(crate) fn wrong_type(name: &[u8]) -> String {
    format!(
        "WRONGTYPE the key {} holds a value that Podium did not put there: DEL it, or give it another name",
        podium_core::key::shown(name)
    )
}
pub(crate) fn bad_record_key(name: &[u8]) -> String {
    format!(
        "BADKEY '{}' names no record: give <entity>:<id>, e.g. events:recA1b2C3d4E5f6G7",
        podium_core::key::shown(name)
    )
}
pub(crate) fn bad_index_key(name: &[u8]) -> String {
    format!(
        "BADKEY '{}' names no index: give <entity>:<field>:<value>, e.g. events:slug:spring, or <entity>:*",
        podium_core::key::shown(name)
    )
}
pub(crate) fn would_block(name: &[u8], fetched: bool) -> String {
    format!(
        "WOULDBLOCK {} is not in the cache and this command may not wait here{}",
        podium_core::key::shown(name),
        if fetched {
            "; it is being fetched: ask again"
        } else {
            ""
        }
    )
}
pub(crate) fn replica_miss(name: &[u8]) -> String {
    format!(
        "REPLICAMISS {} is not in this replica: ask the primary, which fetches it",
        podium_core::key::shown(name)
    )
}
