//! The stored form of a record, a tombstone and an index set's sentinel: versioned, self-naming, readable without parsing JSON.
//!
//! A record's value is a fixed header, its key's own name, the default view's JSON (if it differs from the whole), the
//! whole record's JSON, where each field lies in it, and the values by which it is indexed, sorted and linked. A body
//! under another name than the one inside it (RENAME, COPY, somebody's SET) is not ours.

use crate::record::{FieldValues, Shaped, Span};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A record in its stored form.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// As [`Entry::read`] takes them.
    pub bytes: Arc<[u8]>,
    /// When the server may drop it, unix ms; 0: never.
    pub expire_at: u64,
    /// Cells that are not as the model says.
    pub violations: u32,
}

/// Bytes in front of the name.
pub const HEADER: usize = 88;
const RECORD: [u8; 4] = *b"\x01PR1";
const TOMB: [u8; 4] = *b"\x01PT1";
const SET: [u8; 4] = *b"\x01PS1";
/// A sentinel's size. Below 64, so that small sets keep their compact form.
pub const SENTINEL: usize = 46;

/// The header of a stored record or tombstone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The entity's generation it was stored under; another one: it is not there any more.
    pub generation: u64,
    /// When it was asked for (a fetch) or told, unix ms.
    pub asked_ms: u64,
    /// End of freshness, unix ms.
    pub fresh_until: u64,
    /// Never served from here on, unix ms (`u64::MAX`: no such end).
    pub dead_at: u64,
    /// Its place in the order of sends and changes ([`crate::token`]).
    pub seq: u64,
    /// When a client said this was so, unix ms; 0 for what was fetched, [`WRITTEN`] for what Airtable answered to a write.
    pub told_at: u64,
}

/// [`Header::told_at`] of a record that was written: as true as a fetched one, but lists may lack it yet.
pub const WRITTEN: u64 = 1;

impl Header {
    /// As of when it was so, unix ms: what its age is counted from, and what is told later is compared with.
    pub fn as_of(&self) -> u64 {
        if self.is_told() {
            self.told_at
        } else {
            self.asked_ms
        }
    }
    /// Is it known from a client alone?
    pub fn is_told(&self) -> bool {
        self.told_at > WRITTEN
    }
    /// May Airtable's lists lack it yet? No fetch has brought it since it was told or written.
    pub fn is_unlisted(&self) -> bool {
        self.told_at > 0
    }
    fn words(&self) -> [u64; 6] {
        [
            self.generation,
            self.asked_ms,
            self.fresh_until,
            self.dead_at,
            self.seq,
            self.told_at,
        ]
    }
}

/// A stored value, taken apart lazily.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    buf: &'a [u8],
    pub header: Header,
    answer: (usize, usize),
    whole: (usize, usize),
    spans: (usize, usize),
    values: (usize, usize),
}

#[inline]
pub(crate) fn u64_at(b: &[u8], at: usize) -> u64 {
    match b.get(at..at + 8).and_then(|s| s.try_into().ok()) {
        Some(s) => u64::from_le_bytes(s),
        None => 0,
    }
}
#[inline]
fn u32_at(b: &[u8], at: usize) -> usize {
    match b.get(at..at + 4).and_then(|s| s.try_into().ok()) {
        Some(s) => u32::from_le_bytes(s) as usize,
        None => 0,
    }
}

#[inline]
fn header(buf: &[u8]) -> Header {
    Header {
        generation: u64_at(buf, 8),
        asked_ms: u64_at(buf, 16),
        fresh_until: u64_at(buf, 24),
        dead_at: u64_at(buf, 32),
        seq: u64_at(buf, 40),
        told_at: u64_at(buf, 48),
    }
}

#[inline]
fn named(buf: &[u8], magic: [u8; 4], name: &[u8]) -> bool {
    buf.len() >= HEADER
        && buf.get(..4) == Some(&magic)
        && u32_at(buf, 4) == name.len()
        && buf.get(HEADER..HEADER + name.len()) == Some(name)
}

impl<'a> Entry<'a> {
    /// Reads a record stored under `name`; `None`: the body is not ours (or was moved here from another name).
    #[inline]
    pub fn read(buf: &'a [u8], name: &[u8]) -> Option<Entry<'a>> {
        if !named(buf, RECORD, name) {
            return None;
        }
        let part = |at: usize| (u32_at(buf, at), u32_at(buf, at + 4));
        let e = Entry {
            buf,
            header: header(buf),
            answer: part(56),
            whole: part(64),
            spans: part(72),
            values: part(80),
        };
        // One check here, so that no part can reach beyond the body.
        let fits =
            |(at, len): (usize, usize)| at.checked_add(len).is_some_and(|end| end <= buf.len());
        (fits(e.answer) && fits(e.whole) && fits(e.spans) && fits(e.values)).then_some(e)
    }
    fn part(&self, (at, len): (usize, usize)) -> &'a [u8] {
        self.buf.get(at..at + len).unwrap_or(&[])
    }
    /// JSON of the default view (of the whole record, where there is no default view).
    #[inline]
    pub fn answer(&self) -> &'a [u8] {
        self.part(self.answer)
    }
    /// JSON of the whole record.
    pub fn whole(&self) -> &'a [u8] {
        self.part(self.whole)
    }
    /// Where each field of the spec lies in the whole record.
    pub fn spans(&self) -> Vec<Span> {
        self.part(self.spans)
            .chunks_exact(8)
            .map(|c| {
                let end = u32_at(c, 4);
                Span {
                    start: u32_at(c, 0) as u32,
                    end: (end & 0x7fff_ffff) as u32,
                    filled: end & 0x8000_0000 != 0,
                }
            })
            .collect()
    }
    /// The texts stored for a field; empty if it has none.
    pub fn texts(&self, field: u16) -> Texts<'a> {
        let mut rest = self.part(self.values);
        while rest.len() >= 8 {
            let (f, len) = (u16_at(rest, 0), u32_at(rest, 4));
            let body = rest.get(8..8 + len).unwrap_or(&[]);
            if f == field {
                return Texts { rest: body };
            }
            rest = rest.get(8 + len..).unwrap_or(&[]);
        }
        Texts { rest: &[] }
    }
    /// Does the field hold this value?
    pub fn has(&self, field: u16, value: &[u8]) -> bool {
        self.texts(field).any(|t| t == value)
    }
    /// Fields for which texts are stored.
    pub fn fields(&self) -> Vec<u16> {
        let mut out = Vec::new();
        let mut rest = self.part(self.values);
        while rest.len() >= 8 {
            out.push(u16_at(rest, 0));
            rest = rest.get(8 + u32_at(rest, 4)..).unwrap_or(&[]);
        }
        out
    }
    /// The bytes as stored.
    pub fn bytes(&self) -> &'a [u8] {
        self.buf
    }
    /// Is everything but the times the same, so that nobody who holds the one need be told of the other?
    pub fn same_content(&self, other: &Entry) -> bool {
        self.whole() == other.whole()
            && self.answer() == other.answer()
            && self.part(self.values) == other.part(other.values)
    }
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    match b.get(at..at + 2).and_then(|s| s.try_into().ok()) {
        Some(s) => u16::from_le_bytes(s),
        None => 0,
    }
}

/// The texts of one field.
#[derive(Clone)]
pub struct Texts<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        // (Their number, stored in front of them, ends at 65,535; they end where their bytes do.)
        if self.rest.len() < 4 {
            return None;
        }
        let len = u32_at(self.rest, 0);
        let t = self.rest.get(4..4 + len)?;
        self.rest = self.rest.get(4 + len..).unwrap_or(&[]);
        Some(t)
    }
}

fn push_header(out: &mut Vec<u8>, magic: [u8; 4], name: &[u8], h: &Header) {
    out.extend_from_slice(&magic);
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    for n in h.words() {
        out.extend_from_slice(&n.to_le_bytes());
    }
}

/// The value to store for a record under `name`.
pub fn encode(name: &[u8], h: &Header, shaped: &Shaped) -> Vec<u8> {
    let mut values: Vec<u8> = Vec::new();
    for FieldValues { field, texts } in &shaped.values {
        let len: usize = texts.iter().map(|t| 4 + t.len()).sum();
        values.extend_from_slice(&field.to_le_bytes());
        values.extend_from_slice(&(texts.len().min(u16::MAX as usize) as u16).to_le_bytes());
        values.extend_from_slice(&(len as u32).to_le_bytes());
        for t in texts {
            values.extend_from_slice(&(t.len() as u32).to_le_bytes());
            values.extend_from_slice(t);
        }
    }
    let view_len = shaped.default_view.as_ref().map_or(0, Vec::len);
    let view_at = HEADER + name.len();
    let whole_at = view_at + view_len;
    let spans_at = whole_at + shaped.whole.len();
    let spans_len = shaped.spans.len() * 8;
    let values_at = spans_at + spans_len;
    let (answer_at, answer_len) = if shaped.default_view.is_some() {
        (view_at, view_len)
    } else {
        (whole_at, shaped.whole.len())
    };

    let mut out = Vec::with_capacity(values_at + values.len());
    push_header(&mut out, RECORD, name, h);
    for (at, len) in [
        (answer_at, answer_len),
        (whole_at, shaped.whole.len()),
        (spans_at, spans_len),
        (values_at, values.len()),
    ] {
        out.extend_from_slice(&(at as u32).to_le_bytes());
        out.extend_from_slice(&(len as u32).to_le_bytes());
    }
    out.extend_from_slice(name);
    if let Some(view) = &shaped.default_view {
        out.extend_from_slice(view);
    }
    out.extend_from_slice(&shaped.whole);
    for s in &shaped.spans {
        out.extend_from_slice(&s.start.to_le_bytes());
        out.extend_from_slice(&(s.end | if s.filled { 0x8000_0000 } else { 0 }).to_le_bytes());
    }
    out.extend_from_slice(&values);
    out
}

/// The value of a tombstone stored under `name`.
pub fn encode_tomb(name: &[u8], h: &Header) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + name.len());
    push_header(&mut out, TOMB, name, h);
    out.resize(HEADER, 0);
    out.extend_from_slice(name);
    out
}

/// Reads a tombstone stored under `name`.
pub fn read_tomb(buf: &[u8], name: &[u8]) -> Option<Header> {
    named(buf, TOMB, name).then(|| header(buf))
}

/// What an index set's first member says of it. Without it a set is under construction, and no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sentinel {
    /// The entity's set generation: another one, and the set is not there any more.
    pub generation: u64,
    /// When the question was asked, unix ms.
    pub asked_ms: u64,
    /// End of freshness, unix ms.
    pub fresh_until: u64,
    /// The question's place in the order of sends and changes.
    pub seq: u64,
    /// Hash of the key's own name.
    pub name: u64,
}

impl Sentinel {
    /// The member: sorts before every record id.
    pub fn member(&self) -> [u8; SENTINEL] {
        let mut out = [0u8; SENTINEL];
        let parts = [
            self.generation,
            self.asked_ms,
            self.fresh_until,
            self.seq,
            self.name,
        ];
        if let Some(m) = out.get_mut(..4) {
            m.copy_from_slice(&SET);
        }
        for (i, n) in parts.into_iter().enumerate() {
            if let Some(slot) = out.get_mut(4 + i * 8..12 + i * 8) {
                slot.copy_from_slice(&n.to_le_bytes());
            }
        }
        out
    }
    pub fn read(member: &[u8], name: &[u8]) -> Option<Sentinel> {
        if member.len() != SENTINEL || member.get(..4) != Some(&SET) {
            return None;
        }
        let s = Sentinel {
            generation: u64_at(member, 4),
            asked_ms: u64_at(member, 12),
            fresh_until: u64_at(member, 20),
            seq: u64_at(member, 28),
            name: u64_at(member, 36),
        };
        (s.name == hash(name)).then_some(s)
    }
}

/// FNV-1a, 64 bits: tells a renamed or copied set from one of ours; no secret hangs on it.
pub fn hash(b: &[u8]) -> u64 {
    b.iter().fold(0xcbf2_9ce4_8422_2325, |h, x| {
        (h ^ u64::from(*x)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
