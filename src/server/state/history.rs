//! What became of things lately, and by whose word: for who asks why (PODIUM.EXPLAIN). Nothing else hangs on it.
//!
//! A table of fixed size, in which a later note takes the place of an earlier one now and then: what is noted is right,
//! what is not noted was long ago or was never known.

use podium_core::entry::hash;

/// By whose word something is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum How {
    /// A client's.
    #[default]
    Told = 1,
    Fetch,
    Write,
    /// The change feed's.
    Feed,
    /// A record at the other end of one of its links.
    Link,
    /// A user took its key away.
    Removed,
    /// A computed answer was stored.
    Fill,
    /// A computed answer was thrown away, as something that it used changed or it was invalidated.
    Dropped,
}

const ALL: [How; 8] = [
    How::Told,
    How::Fetch,
    How::Write,
    How::Feed,
    How::Link,
    How::Removed,
    How::Fill,
    How::Dropped,
];

impl How {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            How::Told => "told",
            How::Fetch => "fetch",
            How::Write => "write",
            How::Feed => "feed",
            How::Link => "link",
            How::Removed => "removed",
            How::Fill => "fill",
            How::Dropped => "dropped",
        }
    }
}

/// What is noted of a thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum About {
    /// How the copy that is there came.
    Since = 1,
    /// Its latest change.
    Change = 2,
    /// Why it is in doubt.
    Doubt = 3,
}

/// Of a thing: half the hash of its name and of what is noted of it (its place is in the other half); 56 bits of the number
/// in the order of sends and changes, which is its time in unix us; and by whose word. The last is 0 where nothing is noted.
#[derive(Clone, Copy, Default)]
struct Note([u32; 3]);

impl Note {
    fn new(of: u64, how: How, seq: u64) -> Note {
        Note([
            (of >> 32) as u32,
            (seq >> 24) as u32,
            (seq << 8) as u32 | how as u32,
        ])
    }
    fn is_of(self, of: u64) -> bool {
        self.0[0] == (of >> 32) as u32 && self.how().is_some()
    }
    fn seq(self) -> u64 {
        u64::from(self.0[1]) << 24 | u64::from(self.0[2] >> 8)
    }
    fn how(self) -> Option<How> {
        ALL.into_iter().find(|h| *h as u32 == self.0[2] & 0xff)
    }
}

/// Places in the table; a power of two. 12 bytes each.
const PLACES: usize = 16_384;

/// Notes on things, by the names of their keys.
#[derive(Default)]
pub(crate) struct History {
    notes: Vec<Note>,
}

fn mixed(about: About, name: &[u8]) -> u64 {
    let h = (hash(name) ^ about as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h ^ (h >> 29)
}

/// The name under which the doubt about a record is noted: with another generation of its entity it is over.
pub(crate) fn doubt_of(generation: u64, record: &[u8]) -> Vec<u8> {
    [record, &generation.to_le_bytes()].concat()
}

impl History {
    pub(crate) fn note(&mut self, about: About, name: &[u8], how: How, seq: u64) {
        if self.notes.is_empty() {
            self.notes.resize(PLACES, Note::default());
        }
        let of = mixed(about, name);
        if let Some(place) = self.notes.get_mut(of as usize & (PLACES - 1)) {
            *place = Note::new(of, how, seq);
        }
    }
    /// What is noted, which is over with what came under `seq`.
    pub(crate) fn settle(&mut self, about: About, name: &[u8], seq: u64) -> Option<How> {
        let of = mixed(about, name);
        let note = self.notes.get_mut(of as usize & (PLACES - 1))?;
        let over = note.is_of(of) && note.seq() <= seq;
        over.then(|| std::mem::take(note).how()).flatten()
    }
    /// By whose word, and under which number.
    pub(crate) fn of(&self, about: About, name: &[u8]) -> Option<(How, u64)> {
        let of = mixed(about, name);
        let note = self.notes.get(of as usize & (PLACES - 1))?;
        let how = note.how().filter(|_| note.is_of(of))?;
        Some((how, note.seq()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_of_one_thing_and_the_latest() {
        let mut h = History::default();
        assert_eq!(h.of(About::Change, b"a"), None);
        h.note(About::Change, b"a", How::Fetch, 5);
        h.note(About::Change, b"a", How::Feed, 7);
        assert_eq!(h.of(About::Change, b"a"), Some((How::Feed, 7)));
        assert_eq!(h.of(About::Doubt, b"a"), None);
        assert_eq!(h.of(About::Change, b"b"), None);
        h.note(About::Doubt, b"a", How::Feed, 9);
        assert_eq!(h.settle(About::Doubt, b"a", 8), None);
        assert_eq!(h.settle(About::Doubt, b"a", 9), Some(How::Feed));
        assert_eq!(h.of(About::Doubt, b"a"), None);
        for n in 0..100_000u32 {
            h.note(About::Since, &n.to_le_bytes(), How::Told, u64::from(n));
        }
        let last = 99_999u32.to_le_bytes();
        assert_eq!(h.of(About::Since, &last), Some((How::Told, 99_999)));
        assert_eq!(h.notes.len(), PLACES, "whatever their number");
    }
}
