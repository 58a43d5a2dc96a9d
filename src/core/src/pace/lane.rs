//! The ids of one lane that wait for its next list call.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::call::{Class, PerClass};
use super::frame::Frame;

/// How long full pages go before others, in ms: a part of the patience of those who wait …
const PUT_OFF_READ_MS: u64 = 1000;
/// … and where nobody waits.
const PUT_OFF_LOW_MS: u64 = 30_000;

/// An id on its way: what the scheduler must know to queue it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: CompactString,
    pub(super) class: Class,
    /// Its place in the order of arrival; kept when it is queued again.
    pub(super) seq: u64,
    pub(super) queued_at: u64,
}

/// Where an id of the lane is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// In the queue.
    Queue { class: Class, seq: u64 },
    /// In a call that failed and waits to be repeated.
    Retry { group: u64 },
}

/// The queue of one lane.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// By class, in order of arrival.
    waiting: PerClass<BTreeMap<u64, Wanted>>,
    places: HashMap<CompactString, Position>,
    queued: usize,
    /// Until then a batch that is not full is gathered, for the lane was just called.
    gather_until: u64,
    /// What came up to here came with a call that had no reason to gather, and goes without delay too.
    open_through: u64,
}

impl Lane {
    pub(super) fn new() -> Self {
        Lane {
            waiting: PerClass::default(),
            places: HashMap::new(),
            queued: 0,
            gather_until: 0,
            open_through: 0,
        }
    }

    /// Ids that wait, in the queue and in retries.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Neither queue nor retries hold anything.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn gather_until(&self) -> u64 {
        self.gather_until
    }

    pub(super) fn place(&self, id: &str) -> Option<Position> {
        self.places.get(id).copied()
    }

    /// Queues an id; if it is queued already, it takes the more urgent class and the earlier place.
    pub(super) fn push(&mut self, mut wanted: Wanted) -> bool {
        let known = self.remove(&wanted.id.clone());
        let new = known.is_none();
        if let Some(known) = known {
            wanted.class = wanted.class.min(known.class);
            wanted.seq = wanted.seq.min(known.seq);
            wanted.queued_at = wanted.queued_at.min(known.queued_at);
        }
        let (class, seq) = (wanted.class, wanted.seq);
        self.places
            .insert(wanted.id.clone(), Position::Queue { class, seq });
        self.waiting.get_mut(class).insert(seq, wanted);
        self.queued += 1;
        new
    }

    /// Takes an id out of the queue.
    pub(super) fn remove(&mut self, id: &str) -> Option<Wanted> {
        let Some(Position::Queue { class, seq }) = self.place(id) else {
            return None;
        };
        self.places.remove(id);
        self.queued -= 1;
        self.waiting.get_mut(class).remove(&seq)
    }

    /// Notes that an id waits in a retry.
    pub(super) fn note_retry(&mut self, id: CompactString, group: u64) {
        self.places.insert(id, Position::Retry { group });
    }

    /// Notes that an id no longer waits in that retry.
    pub(super) fn forget_retry(&mut self, id: &str, group: u64) {
        if self.place(id) == Some(Position::Retry { group }) {
            self.places.remove(id);
        }
    }

    /// The order of lanes within a class, the smallest first: who waits longest, but for a while full pages come before
    /// others. After a busy lane's batch a few ids may be left that are older than all the rest.
    pub(super) fn rank(&self, class: Class, frame: &Frame<'_>) -> Option<(bool, u64)> {
        let (seq, oldest) = self.waiting.get(class).first_key_value()?;
        let patience = match class {
            Class::Poll => 0,
            Class::Read => PUT_OFF_READ_MS,
            Class::Refresh | Class::Background => PUT_OFF_LOW_MS,
        };
        let put_off = self.queued < frame.limits.page
            && frame.now < oldest.queued_at.saturating_add(patience);
        Some((put_off, *seq))
    }

    /// From when on a batch led by the class may go. `None`: there is nothing of that class, or the event loop's pass
    /// that queued it is not over.
    ///
    /// A full page goes when the limiter lets it. One that is not full goes at once if the lane was quiet, else it is
    /// gathered until the time of one call has passed since the last: so misses that trickle in share calls.
    pub(super) fn ready_at(&self, class: Class, frame: &Frame<'_>) -> Option<u64> {
        let (seq, oldest) = self.waiting.get(class).first_key_value()?;
        if self.queued >= frame.limits.page.max(1) {
            return Some(0);
        }
        if *seq > frame.sealed {
            return None;
        }
        if class > Class::Read {
            // Nobody waits: room for what else may come.
            return Some(
                self.gather_until
                    .max(oldest.queued_at + frame.limits.gather_ms()),
            );
        }
        Some(if *seq <= self.open_through {
            0
        } else {
            self.gather_until
        })
    }

    /// Takes the next batch: ids of the leading class first, then the others by urgency, each in order of arrival.
    pub(super) fn take(&mut self, lead: Class, page: usize) -> Vec<Wanted> {
        let mut batch = Vec::with_capacity(self.queued.min(page));
        for class in core::iter::once(lead).chain(Class::ALL) {
            let waiting = self.waiting.get_mut(class);
            while batch.len() < page {
                let Some((_, wanted)) = waiting.pop_first() else {
                    break;
                };
                self.places.remove(&wanted.id);
                self.queued -= 1;
                batch.push(wanted);
            }
        }
        batch
    }

    /// A batch that somebody waits for starts.
    pub(super) fn started(&mut self, frame: &Frame<'_>) {
        if frame.now >= self.gather_until {
            self.open_through = frame.sealed;
        }
        self.gather_until = frame.now + frame.limits.gather_ms();
    }
}
