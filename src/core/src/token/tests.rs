#![allow(clippy::indexing_slicing)]

use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

#[test]
fn what_changed_after_the_send_wins() {
    let mut t = Tokens::default();
    let sent = t.sent(100);
    assert!(t.current(1, "recA", sent));
    let seq = t.next(100);
    t.note(1, "recA", seq);
    assert!(!t.current(1, "recA", sent));
    assert!(t.current(1, "recB", sent) && t.current(2, "recA", sent));
    let later = t.sent(100);
    assert!(t.current(1, "recA", later));
}

#[test]
fn a_fill_sent_later_but_landed_first_wins() {
    let mut t = Tokens::default();
    let (early, late) = (t.sent(1), t.sent(1));
    t.note(1, "recA", late);
    t.landed(late);
    assert!(!t.current(1, "recA", early));
    assert!(t.current(1, "recA", late), "its own number is no change");
}

#[test]
fn entity_and_global_changes_outdate_what_is_under_way_only() {
    let mut t = Tokens::default();
    let sent = t.sent(1);
    let seq = t.next(1);
    t.note_entity(1, seq);
    assert!(!t.current(1, "recA", sent) && t.current(2, "recA", sent));
    let seq = t.next(1);
    t.note_all(seq);
    assert!(!t.current(2, "recA", sent));
    let later = t.sent(1);
    assert!(t.current(1, "recA", later) && t.current(2, "recA", later));
}

#[test]
fn nothing_is_remembered_once_nothing_is_under_way() {
    let mut t = Tokens::default();
    let sent = t.sent(1);
    let seq = t.next(1);
    t.note(1, "recA", seq);
    t.landed(sent);
    assert_eq!(t.remembered(), 0);
    let seq = t.next(1);
    t.note(1, "recB", seq);
    assert_eq!(t.remembered(), 0);
}

/// One slow fetch, and what is told meanwhile of as many records as are remembered: each step on the way is a small one.
#[test]
fn what_is_remembered_of_many_is_forgotten_bit_by_bit() {
    let mut t = Tokens::default();
    let slow = t.sent(1);
    for i in 0..50_000u32 {
        let seq = t.next(1);
        t.told(1, &alloc::format!("rec{i}"), seq);
    }
    let seq = t.next(1);
    assert!(!t.current(1, "rec77", slow) && t.current(1, "rec77", seq));
    assert_eq!(t.told_between(1, slow, seq).count(), 50_000);
    let next = t.sent(1);
    t.landed(slow);
    let left = t.remembered();
    assert!(left < 50_000 && left > 49_000, "{left} after one landing");
    for _ in 0..200 {
        let other = t.sent(1);
        t.landed(other);
    }
    assert_eq!(t.remembered(), 0, "nothing under way was sent before them");
    let seq = t.next(1);
    t.note(1, "rec77", seq);
    assert!(!t.current(1, "rec77", next));
    t.landed(next);
    let over = t.over.len();
    t.next(1);
    assert_eq!(t.over.len(), over - 1);
}

#[test]
fn a_long_listings_own_fills_are_not_remembered() {
    let mut t = Tokens::default();
    let sent = t.sent(1);
    for n in 0..MOST + 10 {
        t.note(1, &alloc::format!("rec{n}"), sent);
    }
    assert_eq!(t.remembered(), 0);
    assert!(
        t.current(1, "rec1", sent),
        "more records than are remembered outdate nothing"
    );
}

#[test]
fn a_number_that_never_was_one_ends_no_order() {
    let now = 1_800_000_000_000_000;
    let mut t = Tokens::default();
    for never in [u64::MAX, u64::MAX - 1, crate::outside::latest(now) + 1] {
        assert!(!t.observe(never, now), "{never}");
    }
    let sent = t.sent(now);
    let seq = t.next(now);
    t.note(1, "recA", seq);
    assert!(!t.current(1, "recA", sent) && t.current(1, "recB", sent));
    let ahead = crate::outside::latest(now);
    assert!(t.observe(ahead, now), "of a clock that ran ahead");
    assert!(t.next(now) > ahead);
    let own = t.next(now);
    assert!(t.observe(own, 5), "a clock that was put back");
}

proptest! {
    /// Against a model that forgets nothing: forgetting never lets an outdated fill through.
    #[test]
    fn forgetting_changes_no_verdict(steps in proptest::collection::vec((0u8..4, 0u8..3), 1..200)) {
        let mut t = Tokens::default();
        let mut under: Vec<u64> = Vec::new();
        let mut changes: Vec<(u8, u64)> = Vec::new();
        for (what, id) in steps {
            let name = ["a", "b", "c"][id as usize];
            match what {
                0 => under.push(t.sent(0)),
                1 => { let s = t.next(0); t.note(1, name, s); changes.push((id, s)); }
                2 => if let Some(s) = under.pop() {
                    let expected = !changes.iter().any(|(c, at)| *c == id && *at > s);
                    prop_assert_eq!(t.current(1, name, s), expected);
                    t.landed(s);
                },
                _ => if !under.is_empty() {
                    let s = under.remove(0);
                    let expected = !changes.iter().any(|(c, at)| *c == id && *at > s);
                    prop_assert_eq!(t.current(1, name, s), expected);
                    t.landed(s);
                },
            }
        }
    }
}

#[test]
fn a_question_is_relied_on_while_what_was_told_since_is_known() {
    let mut t = Tokens::default();
    let sent = t.sent(1);
    let told = t.next(1);
    t.told(1, "recA", told);
    let asked = t.next(1);
    assert!(t.relies(1, sent, asked));
    t.lost(1, "recA");
    assert!(!t.relies(1, sent, asked));
    assert!(t.relies(1, sent, sent), "who asked before may get either");
    assert!(t.relies(2, sent, asked));
    let again = t.next(1);
    t.told(1, "recA", again);
    assert!(t.relies(1, sent, asked), "seen again");
}

#[test]
fn a_doubt_counts_for_who_asked_after_it() {
    let mut t = Tokens::default();
    let sent = t.sent(1);
    let told = t.next(1);
    t.told(1, "recA", told);
    let before = t.next(1);
    let seq = t.next(1);
    t.lost(1, "recA");
    t.doubted(1, "recA", seq, seq);
    let after = t.next(1);
    assert!(!t.relies(1, sent, before) && t.relies(1, sent, after));
    let seq = t.next(1);
    t.note_entity(1, seq);
    assert!(!t.relies(1, sent, after));
}

#[test]
fn too_much_to_remember_is_nothing_to_rely_on() {
    let mut t = Tokens::default();
    let sent = t.sent(1);
    for n in 0..=MOST {
        let seq = t.next(1);
        t.told(1, &alloc::format!("rec{n}"), seq);
    }
    let asked = t.next(1);
    assert!(!t.relies(1, sent, asked));
    let later = t.sent(1);
    assert!(t.relies(1, later, asked));
}

/// A model that forgets nothing: of each record when it was told or put in doubt, and what is known of it now.
#[derive(Default, Clone)]
struct Naive {
    told: Vec<u64>,
    held: bool,
    doubt: Option<(u64, u64)>,
}

proptest! {
    /// Against that model: of those who may join a question at all, exactly those rely on it who miss nothing. (After the
    /// whole entity changed nobody relies on what was sent before, seen again or not.)
    #[test]
    fn who_relies_misses_nothing_and_who_misses_nothing_relies(steps in proptest::collection::vec((0u8..9, 0usize..3), 1..120)) {
        let ids = ["a", "b", "c"];
        let mut t = Tokens::default();
        let mut records = [Naive::default(), Naive::default(), Naive::default()];
        let mut under: Vec<u64> = Vec::new();
        let mut readers: Vec<(u64, u64)> = Vec::new();
        let mut emptied = 0;
        for (what, n) in steps {
            let r = &mut records[n];
            match what {
                0 => under.push(t.sent(0)),
                1 => {
                    let s = t.next(0);
                    t.told(1, ids[n], s);
                    r.told.push(s);
                    (r.held, r.doubt) = (true, None);
                }
                2 => {
                    let s = t.next(0);
                    t.note(1, ids[n], s);
                    t.lost(1, ids[n]);
                    t.doubted(1, ids[n], s, s);
                    r.told.push(s);
                    r.held = false;
                    r.doubt = Some((r.doubt.map_or(s, |d| d.0), s));
                }
                3 => {
                    t.lost(1, ids[n]);
                    r.held = false;
                }
                4 if n == 0 => {
                    let s = t.next(0);
                    t.note_entity(1, s);
                    emptied = s;
                    for r in &mut records {
                        (r.held, r.doubt) = (false, None);
                    }
                }
                5 => {
                    let asked = t.next(0);
                    for sent in &under {
                        if t.entity_current(1, *sent) && t.relies(1, *sent, asked) {
                            readers.push((*sent, asked));
                        }
                    }
                }
                6 if !under.is_empty() => {
                    let s = under.remove(n % under.len());
                    readers.retain(|(sent, _)| *sent != s);
                    t.landed(s);
                }
                _ => {}
            }
            for (sent, asked) in &readers {
                let misses = records.iter().any(|r| {
                    let told = r.told.iter().any(|at| at > sent && at <= asked);
                    let doubted = r.doubt.is_some_and(|(first, latest)| first <= *asked && latest > *sent);
                    told && !r.held && !doubted
                });
                let relies = t.relies(1, *sent, *asked);
                prop_assert!(!(misses && relies));
                prop_assert!(misses || relies || emptied > *sent);
            }
        }
    }
}
