//! Renewing copies before they end: which hit starts a refresh, and which records ride along in a call that has room.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use compact_str::CompactString;
use hashbrown::HashMap;

/// Copies that live shorter than this are not renewed early: it would cost nearly as many calls as there are ends.
const SHORTEST_MS: u64 = 5_000;

/// -ln of a uniformly random number in (0, 1], in thousandths, within 6 %: leading zeros give the power of two, the bits
/// after them interpolate.
fn exponential_milli(chance: u64) -> u64 {
    let zeros = u64::from(chance.leading_zeros().min(40));
    let fraction = (chance << zeros) >> 53 & 0x3ff;
    zeros * 693 + (1023 - fraction) * 693 / 1023
}

/// Could a hit so close to the copy's end start a refresh? What a hit checks; nearly always false.
#[inline]
pub fn near_end(lifetime_ms: u64, left_ms: u64) -> bool {
    // Below, the scale is at most a sixteenth of a short life and a two-hundredth of a long one.
    left_ms < lifetime_ms >> if lifetime_ms > 240_000 { 5 } else { 2 }
}

/// Does this hit start a refresh, so that a record that is read often is renewed before anybody has to wait?
///
/// Each hit decides by itself, the likelier the closer the end is: (XFetch: Vattani, Chierichetti, Lowenstein). The scale
/// is a few times what a fetch takes, and for long lives half a per cent of the life, so that a record read now and then
/// is renewed in time too.
pub fn early(lifetime_ms: u64, left_ms: u64, fetch_ms: u64, chance: u64) -> bool {
    if lifetime_ms < SHORTEST_MS {
        return false;
    }
    left_ms * 1000 <= scale_ms(lifetime_ms, fetch_ms) * exponential_milli(chance)
}

fn scale_ms(lifetime_ms: u64, fetch_ms: u64) -> u64 {
    (fetch_ms * 2).max(lifetime_ms / 200).min(lifetime_ms / 16)
}

/// No copy that lives up to twice as long as this is near its end so long before it, in ms.
pub fn horizon_ms(lifetime_ms: u64) -> u64 {
    (lifetime_ms / 16).max(60_000)
}

/// Of many copies that one answer is made of, those near their end are looked for at most so often, in ms: often enough that
/// each would be found in time by itself.
pub fn pause_ms(lifetime_ms: u64, fetch_ms: u64) -> u64 {
    (scale_ms(lifetime_ms, fetch_ms) / 8).clamp(20, 1_000)
}

/// Width of a slot of [`Soon`], in ms.
const SLOT_MS: u64 = 4_096;
/// Ids kept at most; later ends are forgotten first.
pub const NOTED: usize = 1_000;
/// Taken, and not seen again so much later: it may be taken once more.
const AGAIN_MS: u64 = 60_000;

/// Ids by the end of their freshness, coarsely: what a call with room is filled with.
#[derive(Debug, Default)]
pub struct Soon {
    slot_of: HashMap<CompactString, u64>,
    /// May hold ids that moved to another slot since.
    slots: BTreeMap<u64, Vec<CompactString>>,
    held: usize,
}

impl Soon {
    /// The record is fresh until then (unix ms).
    pub fn note(&mut self, id: &str, fresh_until: u64) {
        let slot = fresh_until / SLOT_MS;
        if self.slot_of.get(id) == Some(&slot) {
            return;
        }
        if self.slot_of.len() >= NOTED && !self.slot_of.contains_key(id) && !self.make_room(slot) {
            return;
        }
        let id = CompactString::new(id);
        self.slot_of.insert(id.clone(), slot);
        self.slots.entry(slot).or_default().push(id);
        self.held += 1;
        if self.held > 2 * self.slot_of.len() + 256 {
            self.tidy();
        }
    }

    /// Forgets the latest end if it is later than `slot`.
    fn make_room(&mut self, slot: u64) -> bool {
        while let Some(mut last) = self.slots.last_entry() {
            let at = *last.key();
            if at <= slot {
                return false;
            }
            let Some(id) = last.get_mut().pop() else {
                last.remove();
                continue;
            };
            self.held -= 1;
            if self.slot_of.get(&id) == Some(&at) {
                self.slot_of.remove(&id);
                return true;
            }
        }
        false
    }

    fn tidy(&mut self) {
        let slot_of = &self.slot_of;
        self.slots.retain(|slot, ids| {
            ids.retain(|id| slot_of.get(id) == Some(slot));
            !ids.is_empty()
        });
        self.held = self.slots.values().map(Vec::len).sum();
    }

    /// Up to `room` ids whose freshness ends between `now` and `until`, the next first. They stay noted, for later: what
    /// comes back is noted anew.
    pub fn take(&mut self, room: usize, now: u64, until: u64) -> Vec<CompactString> {
        let mut out = Vec::new();
        while out.len() < room {
            let Some(mut first) = self.slots.first_entry() else {
                break;
            };
            let slot = *first.key();
            if slot.saturating_mul(SLOT_MS) >= until {
                break;
            }
            let Some(id) = first.get_mut().pop() else {
                first.remove();
                continue;
            };
            self.held -= 1;
            if self.slot_of.get(&id) != Some(&slot) {
                continue;
            }
            self.slot_of.remove(&id);
            // It ended, and nobody asked for it since: who does will fetch it.
            if (slot + 1).saturating_mul(SLOT_MS) > now {
                out.push(id);
            }
        }
        // Beyond the horizon, which moves on with the time.
        for id in &out {
            self.note(id, until.saturating_add(AGAIN_MS));
        }
        out
    }

    /// Is there room for what ends before `until`, or is all that is noted of that kind? What ended is let go.
    pub fn has_room(&mut self, now: u64, until: u64) -> bool {
        while let Some(first) = self.slots.first_entry() {
            if first.key().saturating_add(1).saturating_mul(SLOT_MS) > now {
                break;
            }
            let (slot, ids) = first.remove_entry();
            self.held -= ids.len();
            for id in ids {
                if self.slot_of.get(&id) == Some(&slot) {
                    self.slot_of.remove(&id);
                }
            }
        }
        let last = self.slots.last_key_value();
        self.slot_of.len() < NOTED
            || last.is_some_and(|(slot, _)| slot.saturating_mul(SLOT_MS) >= until)
    }
    /// Ids noted.
    pub fn len(&self) -> usize {
        self.slot_of.len()
    }
    /// Is nothing noted?
    pub fn is_empty(&self) -> bool {
        self.slot_of.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::format;

    fn chances(n: u64) -> impl Iterator<Item = u64> {
        // Any odd multiplier spreads them over the whole range.
        (1..=n).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn the_exponential_has_its_mean_and_its_tail() {
        let n = 100_000;
        let mean = chances(n).map(exponential_milli).sum::<u64>() / n;
        assert!((950..1060).contains(&mean), "{mean}");
        let tail = chances(n).filter(|c| exponential_milli(*c) > 3000).count();
        assert!((4000..6000).contains(&tail), "{tail}");
    }

    #[test]
    fn a_record_read_every_minute_is_renewed_before_its_end_and_not_long_before() {
        let life = 28_800_000;
        let (mut missed, mut spent) = (0, 0);
        let mut draw = chances(1_000_000);
        for _ in 0..200 {
            let end = (1..=life / 60_000)
                .map(|i| life - i * 60_000 + 30_000)
                .rev()
                .find(|left| {
                    near_end(life, *left) && early(life, *left, 250, draw.next().unwrap())
                });
            match end {
                Some(left) => spent += left,
                None => missed += 1,
            }
        }
        assert!(missed < 40, "{missed}");
        assert!(spent / (200 - missed) < life / 50, "{spent}");
    }

    #[test]
    fn a_record_read_all_the_time_is_always_renewed() {
        for life in [6_000u64, 60_000, 28_800_000] {
            let mut draw = chances(10_000_000);
            for _ in 0..50 {
                let window = (life / 4).min(2_000_000);
                let renewed = (0..window / 10).map(|i| window - i * 10).any(|left| {
                    near_end(life, left) && early(life, left, 50, draw.next().unwrap())
                });
                assert!(renewed, "{life}");
            }
        }
    }

    #[test]
    fn far_from_its_end_nothing_is_renewed() {
        for life in [1_000u64, 6_000, 28_800_000] {
            assert!(!near_end(life, life / 2));
            assert!(
                chances(10_000).all(|c| !early(life, life * 15 / 16, 50, c)),
                "{life}"
            );
        }
        assert!(
            chances(10_000).all(|c| !early(4_999, 1, 50, c)),
            "short lives are left alone"
        );
    }

    #[test]
    fn nothing_is_near_its_end_before_the_horizon() {
        for life in [
            1_000u64, 6_000, 200_000, 239_999, 240_000, 240_001, 28_800_000,
        ] {
            assert!(!near_end(2 * life, horizon_ms(life) + 1));
            assert!((20..=1_000).contains(&pause_ms(life, 250)));
        }
    }

    #[test]
    fn what_ends_next_comes_first_and_only_once() {
        let mut soon = Soon::default();
        for n in 0..10u64 {
            soon.note(&format!("rec{n}"), 1_000_000 + n * 10_000);
        }
        soon.note("rec0", 9_000_000);
        assert_eq!(soon.take(2, 900_000, 2_000_000), ["rec1", "rec2"]);
        assert_eq!(soon.take(100, 900_000, 1_045_000), ["rec3", "rec4"]);
        // Those that ended are let go; those taken may come again, later.
        assert_eq!(soon.take(1, 1_080_000, 1_090_000), ["rec8"]);
        let mut again = soon.take(9, 1_080_000, 1_105_000);
        again.sort();
        assert_eq!(again, ["rec3", "rec4", "rec9"]);
        assert_eq!(soon.len(), 7);
    }

    #[test]
    fn its_size_is_bounded_and_the_latest_give_way() {
        let mut soon = Soon::default();
        assert!(soon.has_room(0, 1));
        for n in 0..NOTED as u64 + 1000 {
            soon.note(&format!("rec{n}"), 10_000_000_000 - n * SLOT_MS / 10);
        }
        assert_eq!(soon.len(), NOTED);
        for round in 0..5u64 {
            for n in 0..1000u64 {
                soon.note(
                    &format!("rec{}", NOTED as u64 + n),
                    5_000_000_000 + (round * 1000 + n) * SLOT_MS,
                );
            }
        }
        assert!(soon.held <= 2 * soon.len() + 257 && soon.len() == NOTED);
        assert!(soon.has_room(0, 1) && !soon.has_room(0, u64::MAX));
        assert_eq!(soon.take(10, 0, u64::MAX).len(), 10);
        assert!(soon.has_room(u64::MAX, u64::MAX) && soon.is_empty() && soon.held == 0);
    }
}
