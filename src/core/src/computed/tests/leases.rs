//! The lease table: never lost, never doubled, whatever happens.

use super::super::lease::{Ask, Got, Leases, Token, BACK_OFF_MS};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use proptest::prelude::*;

fn ask(client: u64, now_ms: u64, seq: u64) -> Ask {
    Ask {
        client,
        now_ms,
        seq,
        lease_ms: 100,
        chance: seq * 1_000 + 1,
    }
}

fn out(l: &mut Leases<u32>, now: u64) -> Vec<(u32, Got)> {
    let mut chance = now * 1_000_000;
    let all = l.hand_out(usize::MAX, now, now + 1_000, |_| {
        chance += 1;
        chance
    });
    all.into_iter().map(|h| (h.waiter, h.got)).collect()
}

fn lease_of(got: &[(u32, Got)]) -> Token {
    match got {
        [(_, Got::Lease(token))] => *token,
        other => panic!("{other:?}"),
    }
}

/// One computes (its token), two and three wait.
fn queue() -> (Leases<u32>, Token) {
    let mut l = Leases::default();
    let token = l.take(b"k", &ask(1, 0, 1));
    assert!(l.is_taken(b"k"));
    l.wait(b"k", 2, &ask(2, 0, 2), 50);
    l.wait(b"k", 3, &ask(3, 0, 3), 500);
    (l, token)
}

#[test]
fn who_waits_gets_the_value_at_once() {
    let (mut l, token) = queue();
    assert!(l.end(token, b"other", 10).is_none(), "another key's lease");
    let lease = l.end(token, b"k", 10).unwrap();
    l.filled(b"k", lease.seq);
    assert_eq!(out(&mut l, 10), [(2, Got::Value), (3, Got::Value)]);
    assert!(!l.is_taken(b"k") && l.len() == (0, 0) && l.next_end().is_none());
    assert!(l.end(token, b"k", 10).is_none(), "it is over");
}

#[test]
fn a_lease_that_ends_passes_to_who_waited_longest() {
    type End = fn(&mut Leases<u32>, Token) -> u64;
    let ends: [(&str, End); 6] = [
        ("closed", |l, _| {
            l.closed(1);
            10
        }),
        ("released", |l, t| {
            assert!(l.release(t, b"k", 10, false));
            10
        }),
        ("refused", |l, t| {
            l.end(t, b"k", 10);
            l.pass(b"k");
            10
        }),
        ("invalidated", |l, _| {
            l.invalidated(b"k");
            10
        }),
        ("flushed", |l, _| {
            l.invalidated_prefix(b"");
            10
        }),
        ("out of time", |l, _| {
            l.give_up(1);
            assert_eq!(l.tick(99, 10).len(), 0);
            assert_eq!(l.tick(100, 10).len(), 1);
            100
        }),
    ];
    for (what, end) in ends {
        let (mut l, token) = queue();
        let now = end(&mut l, token);
        assert!(l.is_taken(b"k"), "{what}: nobody slips in between");
        let got = out(&mut l, now);
        let got: Vec<_> = got.into_iter().filter(|g| g.1 != Got::Nothing).collect();
        let next = lease_of(&got);
        assert_ne!(next, token, "{what}");
        assert!(
            !l.release(token, b"k", now, false),
            "{what}: the old one is over"
        );
        assert!(l.lease(next, now).is_some(), "{what}");
        assert!(out(&mut l, now).is_empty(), "{what}: and nobody else");
    }
}

#[test]
fn the_time_to_wait_ends_and_others_wait_on() {
    let (mut l, _) = queue();
    assert_eq!(l.next_end(), Some(50));
    l.tick(50, 10);
    assert_eq!(out(&mut l, 50), [(2, Got::Nothing)]);
    l.closed(3);
    assert_eq!(
        out(&mut l, 50),
        [(3, Got::Nothing)],
        "to be unblocked all the same"
    );
    assert_eq!(l.of_key(b"k"), (1, 0));
}

#[test]
fn after_a_failed_computation_the_old_copy_serves_for_a_while() {
    let (mut l, token) = queue();
    assert!(l.release(token, b"k", 10, true));
    assert_eq!(out(&mut l, 10), [(2, Got::Old), (3, Got::Old)]);
    assert!(l.backs_off(b"k", 10 + BACK_OFF_MS - 1));
    assert!(!l.backs_off(b"k", 10 + BACK_OFF_MS) && !l.is_taken(b"k"));
    // What is filled or thrown away meanwhile ends it.
    l.filled(b"k", 5);
    let (mut m, token) = queue();
    m.release(token, b"k", 10, true);
    m.invalidated(b"k");
    assert!(!m.backs_off(b"k", 11));
}

#[test]
fn an_older_computation_never_replaces_a_newer() {
    let mut l: Leases<u32> = Leases::default();
    let old = l.take(b"k", &ask(1, 0, 1));
    let new = l.take(b"k", &ask(2, 0, 2));
    let lease = l.end(new, b"k", 1).unwrap();
    l.filled(b"k", lease.seq);
    assert!(l.end(old, b"k", 1).is_none());
    let old = l.take(b"k", &ask(1, 0, 3));
    let new = l.take(b"k", &ask(2, 0, 4));
    let lease = l.end(old, b"k", 1).unwrap();
    l.filled(b"k", lease.seq);
    assert!(l.end(new, b"k", 1).is_some(), "the newer may follow");
}

#[test]
fn ten_thousand_are_answered_in_slices() {
    let mut l = Leases::default();
    let token = l.take(b"k", &ask(1, 0, 1));
    for n in 0..10_000u32 {
        l.wait(b"k", n, &ask(2 + u64::from(n), 0, 2), 500);
    }
    let lease = l.end(token, b"k", 10).unwrap();
    l.filled(b"k", lease.seq);
    let (mut slices, mut next) = (0, 0);
    while l.has_answers() {
        for handed in l.hand_out(100, 10, 9, |_| 1) {
            assert_eq!((handed.waiter, handed.got), (next, Got::Value));
            next += 1;
        }
        slices += 1;
    }
    assert_eq!((slices, next), (100, 10_000));
}

#[test]
fn who_waits_for_what_is_no_more_is_told() {
    let (mut l, token) = queue();
    l.ended(b"");
    assert_eq!(out(&mut l, 10), [(2, Got::Ended), (3, Got::Ended)]);
    assert!(l.end(token, b"k", 10).is_none() && !l.is_taken(b"k"));
}

#[derive(Clone, Debug)]
enum Op {
    Ask(u8, u8, bool),
    Fill(u8, bool),
    Put(u8),
    Release(u8, bool),
    Closed(u8),
    GiveUp(u8),
    Invalidated(u8),
    Flush,
    Pass(u8),
    HandOut(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u8..3, 0u8..12, any::<bool>()).prop_map(|(k, c, n)| Op::Ask(k, c, n && c < 3)),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(t, ok)| Op::Fill(t, ok)),
        1 => (0u8..3).prop_map(Op::Put),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(t, old)| Op::Release(t, old)),
        2 => (0u8..12).prop_map(Op::Closed),
        1 => any::<u8>().prop_map(Op::GiveUp),
        1 => (0u8..3).prop_map(Op::Invalidated),
        1 => Just(Op::Flush),
        3 => (1u8..60).prop_map(Op::Pass),
        6 => (1u8..4).prop_map(Op::HandOut),
    ]
}

proptest! {
    #[test]
    fn a_lease_is_never_lost_and_never_doubled(ops in proptest::collection::vec(op(), 1..200)) {
        let mut l: Leases<u64> = Leases::default();
        let (mut now, mut seq) = (0u64, 0u64);
        // Live tokens as clients know them: key, client, number, end, NOCACHE; and who waits: key and end.
        let mut tokens: BTreeMap<Token, (u8, u64, u64, u64, bool)> = BTreeMap::new();
        let mut waits: BTreeMap<u64, (u8, u64, u64)> = BTreeMap::new();
        let mut all: Vec<Token> = Vec::new();
        let mut answered: BTreeSet<u64> = BTreeSet::new();
        for op in ops {
            seq += 1;
            match op {
                Op::Ask(k, c, no_cache) => {
                    let a = ask(u64::from(c), now, seq);
                    if no_cache || !l.is_taken(&[k]) {
                        let other = tokens.values().any(|t| t.0 == k);
                        prop_assert!(no_cache || !other, "doubled");
                        let t = l.take(&[k], &a);
                        tokens.insert(t, (k, a.client, seq, now + 100, no_cache));
                        all.push(t);
                    } else {
                        let id = l.wait(&[k], seq, &a, 150);
                        waits.insert(seq, (k, now + 150, id));
                    }
                }
                Op::Fill(n, ok) if !all.is_empty() => {
                    let t = all[usize::from(n) % all.len()];
                    let known = tokens.remove(&t);
                    let k = known.map_or(0, |k| k.0);
                    let lease = l.end(t, &[k], now);
                    prop_assert_eq!(lease.is_some(), known.is_some());
                    if let Some(lease) = lease {
                        if ok {
                            l.filled(&[k], lease.seq);
                            tokens.retain(|_, t| t.0 != k || t.2 > lease.seq);
                        } else {
                            l.pass(&[k]);
                        }
                    }
                }
                Op::Put(k) => {
                    l.filled(&[k], u64::MAX);
                    tokens.retain(|_, t| t.0 != k);
                }
                Op::Release(n, old) if !all.is_empty() => {
                    let t = all[usize::from(n) % all.len()];
                    let known = tokens.remove(&t);
                    let k = known.map_or(0, |k| k.0);
                    prop_assert_eq!(l.release(t, &[k], now, old), known.is_some());
                }
                Op::Closed(c) => {
                    l.closed(u64::from(c));
                    tokens.retain(|_, t| t.1 != u64::from(c));
                }
                Op::GiveUp(n) => {
                    let id = waits.values().nth(usize::from(n) % waits.len().max(1)).map(|w| w.2);
                    l.give_up(id.unwrap_or(9_999));
                }
                Op::Invalidated(k) => {
                    l.invalidated(&[k]);
                    tokens.retain(|_, t| t.0 != k);
                }
                Op::Flush => {
                    l.invalidated_prefix(b"");
                    tokens.clear();
                }
                Op::Pass(ms) => {
                    now += u64::from(ms);
                    l.tick(now, usize::MAX);
                    tokens.retain(|_, t| t.3 > now);
                }
                Op::HandOut(n) => {
                    let mut chance = seq * 100_000;
                    for h in l.hand_out(usize::from(n), now, seq, |_| { chance += 1; chance }) {
                        let (k, ..) = waits.remove(&h.waiter).unwrap();
                        prop_assert!(answered.insert(h.waiter));
                        prop_assert_eq!(&*h.key, &[k][..]);
                        if let Got::Lease(t) = h.got {
                            prop_assert!(!tokens.values().any(|t| t.0 == k), "doubled");
                            let client = l.lease(t, now).unwrap().client;
                            tokens.insert(t, (k, client, seq, now + 100, false));
                            all.push(t);
                        }
                    }
                }
                _ => {}
            }
            prop_assert_eq!(l.len().0, tokens.len());
            for k in 0..3u8 {
                let (leases, waiting) = l.of_key(&[k]);
                prop_assert_eq!(leases, tokens.values().filter(|t| t.0 == k).count());
                prop_assert!(waiting == 0 || leases > 0 || l.has_answers(), "lost");
                prop_assert_eq!(l.is_taken(&[k]), leases + waiting > 0);
            }
        }
        // In the end everybody was answered, in time.
        now += 1_000;
        for _ in 0..2 {
            l.tick(now, usize::MAX);
            for h in l.hand_out(usize::MAX, now, seq + 1, |_| 77) {
                prop_assert!(waits.remove(&h.waiter).is_some());
            }
        }
        prop_assert!(waits.is_empty() && l.len().1 == 0);
    }
}
