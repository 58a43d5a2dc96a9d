//! The header of a stored record or tombstone: 25 bytes for all that a hit looks at, and what seldom differs behind it.
//!
//! ```text
//!  0  what it is, and in which form
//!  1  flags
//!  2  whose it is (16 bits)
//!  4  the generation, masked by whose it is
//! 12  its place in the order (56 bits), which is near a unix time in us
//! 19  end of freshness, in ms since it was asked for (32 bits)
//! 23  when it was asked for, in ms from where the order has it
//! 24  how many bytes follow before the JSON; LONG: as the next four bytes say
//! 25  when it was told, in ms from when it was asked for; then the body's own
//! ```
//! What does not fit is stored in full behind the header ([`WIDE`]).

use super::number::{apart, at, put, take, u32_at, u64_at};
use super::owner::Owner;
use super::{Header, WRITTEN};
use crate::freshness::ATTACHMENT_DEAD_MS;
use alloc::vec::Vec;

/// Bytes in front of what differs.
pub(super) const FIXED: usize = 25;
/// Length of what follows, too long for its byte.
const LONG: u8 = 0xff;

/// When it was told: never, by a write, as it was asked for, or at a time of its own.
const TOLD: u8 = 0b11;
const BY_WRITE: u8 = WRITTEN as u8;
const AS_ASKED: u8 = 2;
const AT_A_TIME: u8 = 3;
/// It holds attachments, whose urls end.
const ENDS: u8 = 1 << 2;
/// Times and numbers in full.
const WIDE: u8 = 1 << 3;
/// Flags of the body's own.
pub(super) const BODY: u8 = 0xf0;

/// The parts of a stored body.
pub(super) struct Parts<'a> {
    pub(super) header: Header,
    pub(super) flags: u8,
    /// What is between the header and the JSON.
    pub(super) between: &'a [u8],
    pub(super) json: &'a [u8],
}

/// Takes a body apart; `None`: it is not one of this kind, or not `owner`'s.
#[inline(always)]
pub(super) fn read<'a>(buf: &'a [u8], kind: u8, owner: Owner) -> Option<Parts<'a>> {
    let (fixed, rest) = buf.split_first_chunk::<FIXED>()?;
    if fixed[0] != kind || u16::from_le_bytes([fixed[2], fixed[3]]) != owner.check {
        return None;
    }
    let (mut between, json) = match fixed[24] {
        LONG => {
            let len = u32_at(rest, 0) as usize;
            rest.get(4..)?.split_at_checked(len)?
        }
        len => rest.split_at_checked(usize::from(len))?,
    };
    let flags = fixed[1];
    let seq = u64_at(fixed, 12) & (u64::MAX >> 8);
    let asked_ms = at(u64::from(fixed[23]), seq / 1000);
    let mut header = Header {
        generation: u64_at(fixed, 4) ^ owner.mask,
        asked_ms,
        fresh_until: asked_ms.wrapping_add(u64::from(u32_at(fixed, 19))),
        dead_at: match flags & ENDS {
            0 => u64::MAX,
            _ => asked_ms.wrapping_add(ATTACHMENT_DEAD_MS),
        },
        seq,
        told_at: match flags & TOLD {
            AS_ASKED => asked_ms,
            other => u64::from(other),
        },
    };
    if flags & WIDE != 0 || flags & TOLD == AT_A_TIME {
        (header, between) = more(header, flags, between)?;
    }
    Some(Parts {
        header,
        flags,
        between,
        json,
    })
}

/// With what does not stand in its fixed part; and what follows that.
#[cold]
fn more(short: Header, flags: u8, mut between: &[u8]) -> Option<(Header, &[u8])> {
    let b = &mut between;
    let header = match flags & WIDE {
        0 => Header {
            told_at: at(take(b)?, short.asked_ms),
            ..short
        },
        _ => Header {
            generation: short.generation,
            asked_ms: take(b)?,
            fresh_until: take(b)?,
            dead_at: take(b)?,
            seq: take(b)?,
            told_at: take(b)?,
        },
    };
    Some((header, between))
}

/// A body of a kind: `flags`, `between` and `json` are its own.
pub(super) fn write(
    kind: u8,
    owner: Owner,
    h: &Header,
    flags: u8,
    between: &[u8],
    json: &[&[u8]],
) -> Vec<u8> {
    let (own, asked, times) = times(h);
    let len = times.len() + between.len();
    let narrow = own & WIDE == 0;
    let body: usize = json.iter().map(|j| j.len()).sum();
    let mut out = Vec::with_capacity(FIXED + 4 + len + body);
    out.extend_from_slice(&[kind, own | flags & BODY]);
    out.extend_from_slice(&owner.check.to_le_bytes());
    out.extend_from_slice(&(h.generation ^ owner.mask).to_le_bytes());
    let (seq, life) = match narrow {
        true => (h.seq, h.fresh_until.wrapping_sub(h.asked_ms) as u32),
        false => (0, 0),
    };
    out.extend_from_slice(seq.to_le_bytes().get(..7).unwrap_or(&[]));
    out.extend_from_slice(&life.to_le_bytes());
    out.push(asked);
    match u8::try_from(len) {
        Ok(short) if short != LONG => out.push(short),
        _ => {
            out.push(LONG);
            out.extend_from_slice(&(len as u32).to_le_bytes());
        }
    }
    out.extend_from_slice(&times);
    out.extend_from_slice(between);
    for part in json {
        out.extend_from_slice(part);
    }
    out
}

/// The flags that say how times are stored, when it was asked for, and what is not in the fixed part.
fn times(h: &Header) -> (u8, u8, Vec<u8>) {
    let mut out = Vec::new();
    let ends = h.dead_at == h.asked_ms.wrapping_add(ATTACHMENT_DEAD_MS);
    let asked = u8::try_from(apart(h.asked_ms, h.seq / 1000));
    let fits = h.seq >> 56 == 0
        && u32::try_from(h.fresh_until.wrapping_sub(h.asked_ms)).is_ok()
        && (ends || h.dead_at == u64::MAX);
    let Some(asked) = asked.ok().filter(|_| fits) else {
        for n in [h.asked_ms, h.fresh_until, h.dead_at, h.seq, h.told_at] {
            put(&mut out, n);
        }
        return (WIDE, 0, out);
    };
    let told = match h.told_at {
        0 => 0,
        WRITTEN => BY_WRITE,
        t if t == h.asked_ms => AS_ASKED,
        t => {
            put(&mut out, apart(t, h.asked_ms));
            AT_A_TIME
        }
    };
    let ends = if ends && h.dead_at != u64::MAX {
        ENDS
    } else {
        0
    };
    (told | ends, asked, out)
}
