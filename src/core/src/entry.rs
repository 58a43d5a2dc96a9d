//! The stored form of a record, a tombstone and an index set's sentinel: versioned, self-naming, readable without parsing JSON.
//!
//! A record's value is a header, what cannot be had from its JSON, and the JSON, once, its default view first: that view's
//! JSON, and behind it the rest of the whole, in which it lacks its last brace. Where the view is no such part of the whole
//! (it has fills of its own, say), it stands in front of it. In between: where each field's index values are spelled in the
//! JSON, or the values where they are spelled otherwise there; and how long each field is, if views are cut from it.
//!
//! Reading order: [`Entry`] here, `encode` (how it comes to be), `head` (the header), `owner` (whose a body is), `cell`
//! (values as they are spelled), `number`, `sentinel` (of index sets). A body under another name than its own (RENAME, COPY, somebody's SET) is not ours.

mod cell;
mod encode;
mod head;
mod number;
mod owner;
mod sentinel;

pub use encode::encode;
pub(crate) use number::u64_at;
pub use sentinel::{hash, hash_all, Sentinel, SENTINEL};

use crate::record::{self, BadRecord, Span};
use crate::spec::{Spec, ViewIx};
use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use cell::Spelled;
use owner::Owner;

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

/// What a stored body begins with: no text in UTF-8 begins so.
const RECORD: u8 = 0xfa;
const TOMB: u8 = 0xfb;
/// How earlier forms of both began.
const FORMER: [[u8; 4]; 2] = [*b"\x01PR1", *b"\x01PT1"];

/// A record's JSON is that of its default view with the rest behind it.
const VIEW_FIRST: u8 = 1 << 4;
/// Its default view is not a part of the whole and stands in front of it.
const VIEW_APART: u8 = 1 << 5;
/// Where its index values lie.
const VALUES: u8 = 1 << 6;
/// How long each field is.
const LENGTHS: u8 = 1 << 7;

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
}

/// A stored record, taken apart lazily.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    buf: &'a [u8],
    pub header: Header,
    flags: u8,
    /// What is between the header and the JSON and not read yet.
    between: &'a [u8],
    /// All JSON.
    json: &'a [u8],
    /// Where the default view's ends.
    split: usize,
}

/// Length of a default view, too long for its two bytes.
const LONG_VIEW: u16 = u16::MAX;

#[cold]
fn long_view(mut rest: &[u8]) -> Option<(usize, &[u8])> {
    Some((number::take_len(&mut rest)?, rest))
}

/// Is this a record or a tombstone in an earlier form? Then it is there no more: what it was is fetched again.
pub fn is_former(buf: &[u8]) -> bool {
    FORMER.iter().any(|f| buf.starts_with(f))
}

/// Length of an id as Airtable makes them.
const USUAL: usize = 17;

/// A record's name: whose it is, and its id.
#[inline]
fn parts(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some((front, id)) = name.split_last_chunk::<USUAL>() {
        if let Some((b':', entity)) = front.split_last() {
            return Some((entity, id));
        }
    }
    let colon = name.iter().rposition(|b| *b == b':')?;
    Some((name.get(..colon)?, name.get(colon + 1..)?))
}

/// Does a record's JSON begin with its id?
#[inline]
fn is_of(json: &[u8], id: &[u8]) -> bool {
    let Some((opening, rest)) = json.split_first_chunk() else {
        return false;
    };
    if opening != OPENING {
        return false;
    }
    // Two of a known length are compared without a call.
    if let (Ok(id), Some((own, rest))) = (<&[u8; USUAL]>::try_from(id), rest.split_first_chunk()) {
        return id == own && rest.first() == Some(&b'"');
    }
    rest.strip_prefix(id)
        .is_some_and(|rest| rest.first() == Some(&b'"'))
}

/// The JSON of every record and view begins with this, and its id.
const OPENING: &[u8; 7] = b"{\"id\":\"";

impl<'a> Entry<'a> {
    /// Reads a record stored under `name`; `None`: the body is not ours (or was moved here from another name).
    ///
    /// The name is not stored: its id stands in the JSON, and whose it is in the header.
    #[inline(always)] // A hit looks at a part of it: what it does not look at is not even worked out.
    pub fn read(buf: &'a [u8], name: &[u8]) -> Option<Entry<'a>> {
        let (entity, id) = parts(name)?;
        let p = head::read(buf, RECORD, Owner::of(entity))?;
        if !is_of(p.json, id) {
            return None;
        }
        let (mut split, mut between) = (p.json.len(), p.between);
        if p.flags & (VIEW_FIRST | VIEW_APART) != 0 {
            let (len, rest) = between.split_first_chunk()?;
            (split, between) = match u16::from_le_bytes(*len) {
                LONG_VIEW => long_view(rest)?,
                len => (usize::from(len), rest),
            };
            if split > p.json.len() {
                return None;
            }
        }
        Some(Entry {
            buf,
            header: p.header,
            flags: p.flags,
            between,
            json: p.json,
            split,
        })
    }
    /// JSON of the default view (of the whole record, where there is no default view).
    #[inline]
    pub fn answer(&self) -> &'a [u8] {
        self.json.get(..self.split).unwrap_or(&[])
    }
    /// JSON of the whole record; copied together, if the default view is a part of it.
    pub fn whole(&self) -> Cow<'a, [u8]> {
        match self.pieces() {
            (all, []) => Cow::Borrowed(all),
            (first, rest) => Cow::Owned([first, rest].concat()),
        }
    }
    /// JSON of the whole record in the two pieces in which it is stored; the second may be empty.
    #[inline]
    pub fn pieces(&self) -> (&'a [u8], &'a [u8]) {
        if self.flags & VIEW_FIRST == 0 {
            return (self.cells(), &[]);
        }
        let (view, rest) = self.json.split_at_checked(self.split).unwrap_or_default();
        // The brace that ends the view is not the whole's.
        (view.split_last().map_or(&[], |(_, open)| open), rest)
    }
    /// The cells as they are stored: the whole record's JSON, or that of its default view with the rest behind it. The same
    /// for the same record and spec, and [`spans`](Self::spans) say where its fields lie.
    pub fn cells(&self) -> &'a [u8] {
        if self.flags & VIEW_APART == 0 {
            return self.json;
        }
        self.json.get(self.split..).unwrap_or(&[])
    }
    /// Where each field of its spec lies in the [`cells`](Self::cells). Empty: no view is cut from records of this spec.
    pub fn spans(&self, spec: &Spec) -> Vec<Span> {
        let mut out = Vec::new();
        self.spans_into(spec, &mut out);
        out
    }
    /// The same, in place of what `out` holds.
    pub fn spans_into(&self, spec: &Spec, out: &mut Vec<Span>) {
        out.clear();
        if self.flags & LENGTHS == 0 {
            return;
        }
        let Some(mut lengths) = self.lengths() else {
            return;
        };
        out.reserve(spec.fields().len());
        while let Some(n) = number::take(&mut lengths) {
            out.push(Span {
                start: 0,
                end: record::offset((n >> 1) as usize),
                filled: n & 1 != 0,
            });
        }
        let brace = match self.flags & VIEW_FIRST {
            0 => usize::MAX,
            _ => self.split.saturating_sub(1),
        };
        // Behind the id.
        let id = self
            .cells()
            .iter()
            .skip(OPENING.len())
            .position(|b| *b == b'"');
        let mut at = OPENING.len() + id.unwrap_or(0) + 1;
        for ix in spec.stored_order() {
            let Some(span) = out.get_mut(usize::from(*ix)) else {
                return out.clear();
            };
            let len = span.end as usize;
            if len == 0 {
                span.filled = true;
                continue;
            }
            at += usize::from(at == brace);
            let start = at + 1;
            at = start.saturating_add(len);
            span.start = record::offset(start);
            span.end = record::offset(at);
        }
    }
    /// A view of it; without a copy, where it is stored as such.
    ///
    /// # Errors
    /// The view is none of the spec's, or the record is not of this spec.
    pub fn view(&self, spec: &Spec, view: ViewIx, id: &str) -> Result<Cow<'a, [u8]>, BadRecord> {
        if spec.default_view() == Some(view) {
            return Ok(Cow::Borrowed(self.answer()));
        }
        let cut = match spec.open() {
            true => record::project(spec, view, id, &self.whole(), &[]),
            false => record::project(spec, view, id, self.cells(), &self.spans(spec)),
        };
        cut.map(Cow::Owned)
    }
    fn values(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut rest = self.between;
        match (self.flags & VALUES, self.flags & LENGTHS) {
            (0, _) => Some((&[], rest)),
            // They are the last.
            (_, 0) => Some((rest, &[])),
            _ => {
                let len = number::take_len(&mut rest)?;
                rest.split_at_checked(len)
            }
        }
    }
    fn lengths(&self) -> Option<&'a [u8]> {
        self.values().map(|(_, lengths)| lengths)
    }
    /// The texts of an indexed, sortable or link field; empty if it has none.
    pub fn texts(&self, field: u16) -> Texts<'a> {
        let none = Texts(Stand::Kept(&[]));
        let Some((mut rest, _)) = self.values() else {
            return none;
        };
        let mut at = 0;
        while let (Some(of), Some(n)) = (number::take(&mut rest), number::take(&mut rest)) {
            let found = of >> 1 == u64::from(field);
            if of & 1 == 0 {
                at = number::at(n, at);
                if found {
                    let cell = self.cells().get(at as usize..).unwrap_or(&[]);
                    return Texts(Stand::Cell(Spelled::new(cell)));
                }
                continue;
            }
            let Some((kept, behind)) = rest.split_at_checked(n as usize) else {
                return none;
            };
            if found {
                return Texts(Stand::Kept(kept));
            }
            rest = behind;
        }
        none
    }
    /// Does the field hold this value?
    pub fn has(&self, field: u16, value: &[u8]) -> bool {
        let mut texts = self.texts(field);
        match &texts.0 {
            Stand::Cell(cell) if cell.first_is(value) => true,
            _ => texts.any(|t| t == value),
        }
    }
    /// The bytes as stored.
    pub fn bytes(&self) -> &'a [u8] {
        self.buf
    }
    /// Is everything but the times the same, so that nobody who holds the one need be told of the other?
    pub fn same_content(&self, other: &Entry) -> bool {
        // (Which cells were lacking and are filled shows in no view that tells them apart, but in the JSON of those.)
        self.json == other.json
            && self.split == other.split
            && self.values().map(|v| v.0) == other.values().map(|v| v.0)
    }
}

/// The texts of one field.
#[derive(Clone)]
pub struct Texts<'a>(Stand<'a>);

/// Where they are.
#[derive(Clone)]
enum Stand<'a> {
    /// As its cell spells them.
    Cell(Spelled<'a>),
    /// Beside it, each behind its length.
    Kept(&'a [u8]),
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];
    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        match &mut self.0 {
            Stand::Cell(s) => s.next(),
            Stand::Kept(rest) => {
                let len = number::take_len(rest)?;
                let (text, behind) = rest.split_at_checked(len)?;
                *rest = behind;
                Some(text)
            }
        }
    }
}

/// The value of a tombstone stored under `name`.
pub fn encode_tomb(name: &[u8], h: &Header) -> Vec<u8> {
    head::write(TOMB, Owner::of(name), h, 0, &[], &[])
}

/// Reads a tombstone stored under `name`.
pub fn read_tomb(buf: &[u8], name: &[u8]) -> Option<Header> {
    head::read(buf, TOMB, Owner::of(name)).map(|p| p.header)
}

#[cfg(test)]
mod tests;
