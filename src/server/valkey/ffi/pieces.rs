//! Several elements of a reply, sent as one piece.
//!
//! The module API writes a reply element by element, each of which costs some per cent of a read; META's fourteen cost as
//! much as the read itself. What the server does send whole is the reply to a call (RM_ReplyWithCallReply), as the bytes of
//! the protocol that it consists of. So a reply of ECHO is kept for each length that occurs, and its bytes, which are this
//! module's own until it is freed, are written over. Bulk strings and integers are the same on both versions of the protocol.

use crate::server::valkey::ffi::{rm, Ctx};
use crate::server::valkey::lock;
use redis_module::raw;
use std::cell::RefCell;
use std::ptr;

/// Pieces are shorter.
const LONGEST: usize = 512;

/// Replies by their length.
struct Kept(RefCell<Vec<*mut raw::RedisModuleCallReply>>);
// SAFETY: touched under the server's lock only.
unsafe impl Send for Kept {}
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept(RefCell::new(Vec::new()));

/// How many bytes ECHO is given so that its reply (`$<n>\r\n<bytes>\r\n`) has this length; `None`: no number does that.
fn echoed(length: usize) -> Option<usize> {
    (1..=4usize).find_map(|digits| {
        let n = length.checked_sub(5 + digits)?;
        (n.checked_ilog10().unwrap_or(0) as usize + 1 == digits).then_some(n)
    })
}

fn new(length: usize) -> *mut raw::RedisModuleCallReply {
    let Some(n) = echoed(length) else {
        return ptr::null_mut();
    };
    let bytes = vec![b'x'; n];
    // In the module's own context, which outlives the reply.
    let ctx = lock::detached();
    let reply: *mut raw::RedisModuleCallReply = unsafe {
        let call = raw::RedisModule_Call.unwrap_unchecked();
        call(ctx, c"ECHO".as_ptr(), c"b".as_ptr(), bytes.as_ptr(), n)
    };
    if reply.is_null() {
        return reply;
    }
    // Taken apart once, while it is what it says.
    let is_text = rm!(RedisModule_CallReplyType(reply)) == raw::REDISMODULE_REPLY_STRING as i32;
    let mut has = 0usize;
    let at = rm!(RedisModule_CallReplyProto(reply, &mut has));
    if is_text && !at.is_null() && has == length {
        return reply;
    }
    rm!(RedisModule_FreeCallReply(reply));
    ptr::null_mut()
}

/// The reply that is kept for a length, made if there is none yet; null: there can be none.
fn kept(length: usize) -> *mut raw::RedisModuleCallReply {
    let Ok(mut kept) = KEPT.0.try_borrow_mut() else {
        return ptr::null_mut();
    };
    if length >= LONGEST {
        return ptr::null_mut();
    }
    if kept.len() <= length {
        kept.resize(LONGEST, ptr::null_mut());
    }
    match kept.get_mut(length) {
        Some(reply) => {
            if reply.is_null() {
                *reply = new(length);
            }
            *reply
        }
        None => ptr::null_mut(),
    }
}

/// Elements being written down.
pub(crate) struct Piece {
    bytes: [u8; LONGEST],
    /// Beyond the room: something was left out.
    length: usize,
}

impl Piece {
    pub(crate) fn push(&mut self, b: &[u8]) {
        let end = self.length + b.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(b);
        }
        self.length = end;
    }
}

/// Digits of the largest number.
pub(crate) const DIGITS: usize = 20;

/// A number in decimal.
pub(crate) fn decimal(room: &mut [u8; DIGITS], mut n: u64) -> &[u8] {
    let mut at = DIGITS;
    for place in room.iter_mut().rev() {
        *place = b'0' + (n % 10) as u8;
        n /= 10;
        at -= 1;
        if n == 0 {
            break;
        }
    }
    room.get(at..).unwrap_or(&[])
}

/// Sends elements of a reply as they stand in the protocol; false, with nothing sent: they are to be sent one by one. What
/// comes before them (an array's or a map's head) is `head`'s to send.
pub(crate) fn send(ctx: Ctx, write: impl FnOnce(&mut Piece), head: impl FnOnce()) -> bool {
    let mut piece = Piece {
        bytes: [0; LONGEST],
        length: 0,
    };
    write(&mut piece);
    let Some(elements) = piece.bytes.get(..piece.length) else {
        return false;
    };
    let reply = kept(elements.len());
    if reply.is_null() {
        return false;
    }
    let mut has = 0usize;
    let at = rm!(RedisModule_CallReplyProto(reply, &mut has));
    if at.is_null() || has != elements.len() {
        return false;
    }
    // SAFETY: the server's allocation of `has` bytes, which belongs to the reply, and the reply to this module.
    unsafe { ptr::copy_nonoverlapping(elements.as_ptr(), at.cast_mut().cast(), has) };
    head();
    rm!(RedisModule_ReplyWithCallReply(ctx, reply));
    true
}

/// Gives all replies back. On the main thread, while unloading.
pub(crate) fn forget() {
    if let Ok(mut kept) = KEPT.0.try_borrow_mut() {
        for reply in kept.drain(..).filter(|r| !r.is_null()) {
            rm!(RedisModule_FreeCallReply(reply));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_to_what_is_echoed_has_the_length_asked_for() {
        let without: Vec<usize> = (6..1000).filter(|l| echoed(*l).is_none()).collect();
        assert_eq!(without, [16, 107], "one number of digits ends there");
        for length in (6..1000).filter(|l| !without.contains(l)) {
            let n = echoed(length).unwrap_or(0);
            assert_eq!(format!("${n}\r\n{}\r\n", "x".repeat(n)).len(), length);
        }
        assert_eq!(echoed(0), None);
    }

    #[test]
    fn numbers_are_printed_as_they_are_everywhere() {
        for n in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX - 1, u64::MAX] {
            assert_eq!(decimal(&mut [0; DIGITS], n), n.to_string().as_bytes());
        }
    }

    #[test]
    fn a_piece_that_is_too_long_says_so() {
        let mut piece = Piece {
            bytes: [0; LONGEST],
            length: 0,
        };
        piece.push(&[b'x'; LONGEST - 1]);
        piece.push(b"yz");
        assert!(piece.bytes.get(..piece.length).is_none());
    }
}
