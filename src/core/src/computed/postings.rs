//! The answers that used a thing, by their slots. Few as they are, many packed ([`super::packed`]) in pieces that are read and
//! swept one at a time.

use super::packed::{self, Numbers};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// More than so many are packed.
const FEW: usize = if cfg!(test) { 2 } else { 16 };
/// Slots in a piece.
const PIECE: usize = if cfg!(test) { 4 } else { 512 };

#[derive(Clone, Default)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    len: u32,
    last: u32,
}

impl Piece {
    fn push(&mut self, slot: u32) {
        packed::push(&mut self.bytes, self.last, slot);
        self.last = slot;
        self.len += 1;
    }
    fn iter(&self) -> Numbers<'_> {
        Numbers::of(&self.bytes)
    }
}

/// Slots in the order in which they came. Dead ones are swept out now and then ([`super::sweep`]).
#[derive(Clone, Default)]
pub(super) enum Postings {
    #[default]
    None,
    One(u32),
    // (A Vec in place would make every node with a single answer larger by half.)
    #[allow(clippy::box_collection)]
    Few(Box<Vec<u32>>),
    #[allow(clippy::box_collection)]
    Many(Box<Vec<Piece>>),
}

/// Those of a piece.
#[derive(Clone)]
pub(super) enum Slots<'a> {
    Plain(core::slice::Iter<'a, u32>),
    Packed(Numbers<'a>),
}

impl Iterator for Slots<'_> {
    type Item = u32;
    #[inline]
    fn next(&mut self) -> Option<u32> {
        match self {
            Slots::Plain(slots) => slots.next().copied(),
            Slots::Packed(slots) => slots.next(),
        }
    }
}

impl Postings {
    pub(super) fn push(&mut self, slot: u32) {
        match self {
            Postings::None => *self = Postings::One(slot),
            Postings::One(first) => *self = Postings::Few(Box::new(alloc::vec![*first, slot])),
            Postings::Few(few) if few.len() < FEW => {
                if few.len() == few.capacity() {
                    few.reserve_exact((few.len() / 4).max(2));
                }
                few.push(slot);
            }
            Postings::Few(few) => {
                let mut many = Postings::Many(Box::default());
                few.iter().for_each(|s| many.push(*s));
                many.push(slot);
                *self = many;
            }
            Postings::Many(pieces) => {
                if let Some(last) = pieces.last_mut().filter(|p| p.len < PIECE as u32) {
                    return last.push(slot);
                }
                if pieces.len() == pieces.capacity() {
                    pieces.reserve_exact((pieces.len() / 8).max(1));
                }
                let mut piece = Piece::default();
                piece.push(slot);
                pieces.push(piece);
            }
        }
    }
    pub(super) fn len(&self) -> usize {
        match self {
            Postings::None => 0,
            Postings::One(_) => 1,
            Postings::Few(few) => few.len(),
            Postings::Many(pieces) => pieces.iter().map(|p| p.len as usize).sum(),
        }
    }
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// How many pieces there are to read.
    pub(super) fn pieces(&self) -> usize {
        match self {
            Postings::None => 0,
            Postings::One(_) | Postings::Few(_) => 1,
            Postings::Many(pieces) => pieces.len(),
        }
    }
    pub(super) fn piece(&self, at: usize) -> Slots<'_> {
        let all: &[u32] = match self {
            Postings::One(one) => core::slice::from_ref(one),
            Postings::Few(few) => few,
            Postings::None => &[],
            Postings::Many(pieces) => {
                let piece = pieces.get(at).map_or(Numbers::of(&[]), Piece::iter);
                return Slots::Packed(piece);
            }
        };
        Slots::Plain(if at == 0 { all.iter() } else { [].iter() })
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        (0..self.pieces()).flat_map(|at| self.piece(at))
    }
    /// Takes the last piece away.
    pub(super) fn pop_piece(&mut self) -> Option<Vec<u32>> {
        let at = self.pieces().checked_sub(1)?;
        let slots = self.piece(at).collect();
        match self {
            Postings::Many(pieces) if at > 0 => {
                pieces.pop();
            }
            _ => *self = Postings::None,
        }
        Some(slots)
    }
    /// Of a piece only those stay that are to be kept. How many went, and which piece is the next: where little is left of two,
    /// they become one, and what was behind them moves up.
    pub(super) fn retain(&mut self, at: usize, keep: impl FnMut(&u32) -> bool) -> (usize, usize) {
        let before: Vec<u32> = self.piece(at).collect();
        let mut left = before.clone();
        left.retain(keep);
        let gone = before.len() - left.len();
        let Postings::Many(pieces) = self else {
            if gone > 0 {
                *self = Postings::of(&left);
            }
            return (gone, 1);
        };
        let joined = at
            .checked_sub(1)
            .and_then(|p| pieces.get_mut(p))
            .filter(|p| p.len as usize + left.len() <= PIECE);
        if let Some(previous) = joined {
            left.iter().for_each(|slot| previous.push(*slot));
            previous.bytes.shrink_to_fit();
            pieces.remove(at);
            return (gone, at);
        }
        if gone > 0 {
            let mut piece = Piece::default();
            left.iter().for_each(|slot| piece.push(*slot));
            piece.bytes.shrink_to_fit();
            if let Some(place) = pieces.get_mut(at) {
                *place = piece;
            }
        }
        (gone, at + 1)
    }
    /// After removals: no more memory than is needed.
    pub(super) fn shrink(&mut self) {
        let Postings::Many(pieces) = self else { return };
        if pieces.len() <= 1 && pieces.iter().all(|p| p.len as usize <= FEW) {
            let few: Vec<u32> = self.iter().collect();
            *self = Postings::of(&few);
        } else if pieces.capacity() > pieces.len() + pieces.len() / 4 + 4 {
            pieces.shrink_to_fit();
        }
    }
    fn of(slots: &[u32]) -> Postings {
        match slots {
            [] => Postings::None,
            [one] => Postings::One(*one),
            few => Postings::Few(Box::new(few.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Slots are pushed, and swept piece by piece, while others are pushed: against a plain list.
        #[test]
        fn they_are_a_list(steps in proptest::collection::vec((0u8..4, 0u32..1000), 0..120)) {
            let (mut list, mut plain) = (Postings::default(), Vec::new());
            let mut at = 0;
            for (what, n) in steps {
                if what < 3 {
                    list.push(n);
                    plain.push(n);
                } else if at < list.pieces() {
                    let keep = |s: &u32| s % 3 != n % 3;
                    let swept: Vec<u32> = list.piece(at).filter(|s| !keep(s)).collect();
                    let (gone, next) = list.retain(at, keep);
                    prop_assert_eq!(gone, swept.len());
                    prop_assert!(next == at || next == at + 1);
                    for s in swept {
                        let first = plain.iter().rposition(|p| *p == s);
                        first.map(|first| plain.remove(first));
                    }
                    at = next;
                } else {
                    list.shrink();
                    at = 0;
                }
                let sorted = |mut all: Vec<u32>| { all.sort_unstable(); all };
                prop_assert_eq!(sorted(list.iter().collect()), sorted(plain.clone()));
                prop_assert_eq!(list.len(), plain.len());
            }
            let mut popped = Vec::new();
            while let Some(piece) = list.pop_piece() {
                popped.extend(piece);
            }
            prop_assert!(list.is_empty());
            popped.sort_unstable();
            plain.sort_unstable();
            prop_assert_eq!(popped, plain);
        }
    }
}
