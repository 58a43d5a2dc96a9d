//! One event each.

use super::super::answers::{Answers, Fill, Filled, Named, Refused, Seen};
use super::super::cut::{Cut, News};
use super::super::index::{Check, Doubtful, Place};
use super::super::lease::{Ask, Got, Token};
use super::super::thing::{digest, known, Content, Dep, Kind, Thing, ABSENT, UNKNOWN};
use super::super::uses::Used;
use super::world::{own, tag, whole};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::{format, vec};

type A = Answers<u32>;

fn use_of(thing: Thing, kind: Kind, content: Content) -> Named {
    let dep = Dep {
        thing,
        kind,
        content,
        name: None,
    };
    Named::Thing(Used {
        dep,
        entity: (kind != Kind::Tag).then_some(0),
    })
}
fn rec(n: u64, content: Content) -> Named {
    use_of(1_000 + n, Kind::Record, content)
}
fn set(n: u64, members: &[u64]) -> Named {
    use_of(2_000 + n, Kind::Set, digest(members.iter().copied()))
}
fn fill<'a>(key: &'a str, content: u64, named: Vec<Named>, seq: u64) -> Fill<'a> {
    Fill {
        key: key.as_bytes(),
        thing: own(key),
        content: known(content),
        named,
        now_ms: 0,
        seq,
    }
}
fn put(a: &mut A, key: &str, named: Vec<Named>, seq: u64) -> Place {
    a.put(fill(key, 5, named, seq), whole).unwrap().place
}
fn answer(a: &A, key: &str) -> Named {
    Named::Answer {
        own: Dep {
            thing: own(key),
            kind: Kind::Computed,
            content: known(5),
            name: Some(Arc::from(key.as_bytes())),
        },
        at: a.index().place(key.as_bytes()),
    }
}
fn seen(a: &mut A, n: u64, content: Content, seq: u64, groups: &[Thing]) -> bool {
    see(a, n, content, seq, groups, true)
}
fn see(a: &mut A, n: u64, content: Content, seq: u64, groups: &[Thing], told: bool) -> bool {
    let seen = Seen {
        thing: 1_000 + n,
        content,
        before: UNKNOWN,
        told,
        entity: 0,
        as_of: seq,
        seq,
    };
    a.seen(&seen, groups.iter().copied()) == News::Changed
}
fn lease(a: &mut A, key: &str, seq: u64) -> Token {
    let ask = Ask {
        client: 1,
        now_ms: 0,
        seq,
        lease_ms: 100,
        chance: seq,
    };
    a.take(key.as_bytes(), &ask)
}
fn filled(a: &mut A, t: Token, key: &str, named: Vec<Named>, seq: u64) -> Result<Filled, Refused> {
    a.fill(t, fill(key, 5, named, seq), whole)
}
fn doubt(a: &mut A, n: u64, seq: u64) {
    a.doubt(Doubtful {
        thing: 1_000 + n,
        kind: Kind::Record,
        entity: 0,
        key: "events:rec".into(),
        seq,
    });
}

#[test]
fn a_change_of_a_popular_record_is_in_force_before_anything_is_marked() {
    let mut a = A::default();
    let all: Vec<Place> = (0..100)
        .map(|n| put(&mut a, &format!("page:{n}"), vec![rec(1, known(7))], 1))
        .collect();
    let other = put(&mut a, "page:other", vec![rec(2, known(7))], 1);
    assert!(!seen(&mut a, 1, known(7), 2, &[]), "the same is no change");
    assert!(seen(&mut a, 1, known(8), 3, &[]));
    assert!(a.has_work());
    assert!(all.iter().all(|at| a.check(*at) == Check::Dropped));
    assert_eq!(a.check(other), Check::Hit);
    let new = put(&mut a, "page:1", vec![rec(1, known(8))], 4);
    while a.work(5) {
        assert_eq!(a.check(new), Check::Hit, "what came after is not concerned");
    }
    assert_eq!(a.check(new), Check::Hit);
    assert_eq!(a.take_gone(1000).len(), 99, "one was overwritten");
    assert_eq!(a.index().len(), 2);
}

#[test]
fn doubt_is_settled_by_what_is_seen() {
    let mut a = A::default();
    let (one, two) = (
        put(&mut a, "p:1", vec![rec(1, known(7))], 1),
        put(&mut a, "p:2", vec![rec(2, known(7)), set(1, &[2])], 1),
    );
    doubt(&mut a, 1, 10);
    a.entity_doubt(0, 10);
    assert_eq!(
        (a.check(one), a.check(two)),
        (Check::Suspended, Check::Suspended)
    );
    assert_eq!(a.index().doubts(one).things[0].key, "events:rec");
    assert_eq!(a.index().doubts(two).entities, [0]);
    let newer = put(&mut a, "p:3", vec![set(1, &[2])], 11);
    assert_eq!(
        a.check(newer),
        Check::Hit,
        "its set was read after the doubt"
    );
    seen(&mut a, 1, known(7), 9, &[]);
    assert_eq!(a.check(one), Check::Suspended, "sent before the doubt");
    seen(&mut a, 1, known(7), 12, &[]);
    a.entity_doubt(0, 0);
    assert_eq!((a.check(one), a.check(two)), (Check::Hit, Check::Hit));
    doubt(&mut a, 1, 20);
    seen(&mut a, 1, known(8), 21, &[]);
    assert_eq!((a.check(one), a.check(two)), (Check::Dropped, Check::Hit));
}

#[test]
fn who_joins_a_set_or_is_created_ends_what_used_its_lack() {
    let mut a = A::default();
    let empty = put(&mut a, "p:1", vec![set(1, &[])], 1);
    let absent = put(&mut a, "p:2", vec![rec(1, ABSENT)], 1);
    let other = put(&mut a, "p:3", vec![set(2, &[])], 1);
    assert!(seen(&mut a, 1, known(7), 2, &[2_001, 3_000]));
    assert_eq!(a.check(empty), Check::Dropped);
    assert_eq!(a.check(absent), Check::Dropped);
    assert_eq!(a.check(other), Check::Hit);
}

#[test]
fn an_answer_made_of_one_that_was_evicted_since_follows_what_that_used() {
    let mut a = A::default();
    let part = put(&mut a, "part:1", vec![rec(1, known(7))], 1);
    let named = vec![answer(&a, "part:1")];
    let page = put(&mut a, "page:1", named, 2);
    a.remove(part);
    assert_eq!((a.check(part), a.check(page)), (Check::Dropped, Check::Hit));
    // Filled again with the same bytes: no change.
    put(&mut a, "part:1", vec![rec(1, known(7))], 3);
    assert_eq!(a.check(page), Check::Hit);
    seen(&mut a, 1, known(8), 4, &[]);
    assert_eq!(a.check(page), Check::Dropped);
}

#[test]
fn prefixes_and_tags_end_what_was_made_of_answers_and_are_counted() {
    let mut a = A::default();
    put(
        &mut a,
        "part:1",
        vec![use_of(tag(1), Kind::Tag, UNKNOWN)],
        1,
    );
    let named = vec![answer(&a, "part:1")];
    let page = put(&mut a, "page:1", named, 2);
    let other = put(&mut a, "page:2", vec![], 2);
    let ticket = a.cut(&[Cut::Prefix(b"part:"), Cut::Thing(tag(1))], 3);
    assert_eq!(
        (a.check(page), a.check(other)),
        (Check::Dropped, Check::Hit)
    );
    while a.work(1) {}
    assert_eq!(a.take_finished(), [(ticket, 2)]);
    let nothing = a.cut(
        &[Cut::Key {
            key: b"none",
            thing: own("none"),
        }],
        4,
    );
    assert_eq!(a.take_finished(), [(nothing, 0)]);
}

#[test]
fn what_changes_between_lease_and_fill_counts_read_or_not() {
    let over = Err(Refused::Changed);
    let mut a = A::default();
    // Named only: since the lease.
    let t = lease(&mut a, "p:1", 10);
    seen(&mut a, 1, known(8), 11, &[]);
    assert_eq!(filled(&mut a, t, "p:1", vec![rec(1, known(8))], 12), over);
    // Read after the change; and before it.
    for (change, read, stored) in [(21, 22, true), (22, 21, false)] {
        let mut a = A::default();
        let t = lease(&mut a, "p:1", 20);
        let now = if stored { known(8) } else { known(7) };
        if change < read {
            seen(&mut a, 1, known(8), change, &[]);
        }
        assert!(a.used(t, vec![rec(1, now)], read, 0));
        if change > read {
            seen(&mut a, 1, known(8), change, &[]);
        }
        assert_eq!(filled(&mut a, t, "p:1", vec![], 23).is_ok(), stored);
    }
    // Read, evicted and fetched again: the same, and another.
    for (content, stored) in [(7, true), (8, false)] {
        let mut a = A::default();
        let t = lease(&mut a, "p:1", 20);
        a.used(t, vec![rec(1, known(7))], 21, 0);
        seen(&mut a, 1, known(content), 22, &[]);
        assert_eq!(filled(&mut a, t, "p:1", vec![], 23).is_ok(), stored);
    }
    // An empty set that gains its first member, an entity, everything.
    type Event = fn(&mut A);
    let events: [Event; 3] = [
        |a| {
            seen(a, 1, known(8), 22, &[2_001]);
        },
        |a| {
            a.cut(&[Cut::Entity(0)], 22);
        },
        |a| {
            a.cut(&[Cut::All], 22);
        },
    ];
    for event in events {
        let mut a = A::default();
        let t = lease(&mut a, "p:1", 20);
        a.used(t, vec![set(1, &[])], 21, 0);
        event(&mut a);
        assert!(filled(&mut a, t, "p:1", vec![], 23).is_err());
    }
}

#[test]
fn what_a_computation_fetches_first_is_no_change_to_what_it_names() {
    let mut a = A::default();
    let t = lease(&mut a, "p:1", 10);
    // Cold: a set and its member are fetched, not FOR the token, and named.
    see(&mut a, 1, known(7), 11, &[2_001, 3_000], false);
    let named = vec![set(1, &[1]), rec(1, known(7))];
    assert!(filled(&mut a, t, "p:1", named, 12).is_ok());
    // What read the set before the record was met did not see it.
    let t = lease(&mut a, "p:2", 20);
    a.used(t, vec![set(2, &[])], 21, 0);
    see(&mut a, 2, known(7), 22, &[2_002, 3_000], false);
    assert!(filled(&mut a, t, "p:2", vec![], 23).is_err());
    // A record whose copy was evicted left sets that nobody can name.
    let t = lease(&mut a, "p:3", 30);
    seen(&mut a, 3, ABSENT, 31, &[3_000]);
    assert!(filled(&mut a, t, "p:3", vec![set(3, &[])], 32).is_err());
    // Expiry and a different refetch.
    let t = lease(&mut a, "p:4", 40);
    a.leaving(1_004, known(7), 41);
    see(&mut a, 4, known(8), 42, &[], false);
    assert!(filled(&mut a, t, "p:4", vec![rec(4, known(8))], 43).is_err());
}

#[test]
fn doubt_raised_during_a_computation_suspends_what_it_fills() {
    let mut a = A::default();
    let t = lease(&mut a, "p:1", 20);
    a.used(t, vec![rec(1, known(7))], 21, 0);
    assert!(!a.in_doubt(t, &[], 0));
    doubt(&mut a, 1, 22);
    assert!(a.in_doubt(t, &[], 0));
    assert!(!a.in_doubt(t + 1, &[], 0));
    let at = filled(&mut a, t, "p:1", vec![], 23).unwrap().place;
    assert_eq!(a.check(at), Check::Suspended);
    seen(&mut a, 1, known(7), 24, &[]);
    assert_eq!(a.check(at), Check::Hit);
}

#[test]
fn a_refused_fill_gives_the_next_in_line_a_lease() {
    let mut a = A::default();
    let t = lease(&mut a, "p:1", 10);
    let ask = Ask {
        client: 2,
        now_ms: 0,
        seq: 11,
        lease_ms: 100,
        chance: 0,
    };
    a.wait(b"p:1", 2, &ask, 50);
    seen(&mut a, 1, known(8), 12, &[]);
    assert!(filled(&mut a, t, "p:1", vec![rec(1, known(8))], 13).is_err());
    let handed = a.hand_out(10, 1, 14, |_| 99);
    assert_eq!((handed[0].waiter, handed[0].got), (2, Got::Lease(99)));
    assert!(filled(&mut a, 99, "p:1", vec![rec(1, known(8))], 15).is_ok());
}

#[test]
fn more_changes_than_are_remembered_refuse_the_oldest_computations_only() {
    let mut a = A::default();
    let old = lease(&mut a, "p:1", 1);
    for n in 0..=100_000 {
        seen(&mut a, 10 + n, known(8), 2 + n, &[]);
    }
    assert_eq!(
        filled(&mut a, old, "p:1", vec![], 200_000).map(|_| ()),
        Err(Refused::Changed)
    );
    let new = lease(&mut a, "p:1", 200_001);
    assert!(filled(&mut a, new, "p:1", vec![], 200_002).is_ok());
}

#[test]
fn what_is_loaded_against_what_is_known_is_outdated() {
    let mut a = A::default();
    let old = put(&mut a, "p:1", vec![rec(1, known(7))], 1);
    let (deps, uses) = a.index().export(old).unwrap();
    seen(&mut a, 1, known(8), 2, &[]);
    assert!(a.index().export(old).is_none());
    put(&mut a, "p:2", vec![rec(1, known(8))], 3);
    assert!(a.load(b"p:1", &deps, &uses).is_err());
    let mut b = A::default();
    assert!(b.load(b"p:1", &deps, &uses).is_ok());
}

#[test]
fn answers_that_are_recomputed_again_and_again_take_no_more_places() {
    let mut a = A::default();
    for n in 1..2_000 {
        put(&mut a, "page:1", vec![rec(1, known(n))], n * 10);
        assert!(seen(&mut a, 1, known(n + 1), n * 10 + 1, &[]));
        while a.work(100) {}
        let (things, slots, postings) = a.index().sizes();
        assert!(
            things <= 1 && slots <= 20 && postings <= 20,
            "after {n}: {things} things, {slots} slots, {postings} postings"
        );
    }
}

#[test]
fn the_place_of_a_dropped_answer_is_no_place_of_another() {
    let mut a = A::default();
    let mut places = Vec::new();
    for n in 1..200 {
        places.push(put(&mut a, "page:1", vec![rec(1, known(n))], n * 10));
        a.changed(1_001, n * 10 + 1);
        while a.work(100) {}
        // (Every slot is free by now, and given anew.)
        assert!(places.iter().all(|at| a.check(*at) == Check::Dropped));
    }
    let slots: Vec<u32> = places.iter().map(|at| at.slot).collect();
    assert!(slots
        .iter()
        .any(|s| slots.iter().filter(|t| *t == s).count() > 1));
}

#[test]
fn what_changes_while_answers_come_outdates_them_when_they_are_learned() {
    let mut old = A::default();
    let deps_of = |a: &A, key: &str| {
        let at = a.index().place(key.as_bytes()).unwrap();
        a.index().export(at).unwrap()
    };
    put(&mut old, "r", vec![rec(1, known(7))], 1);
    put(&mut old, "s", vec![set(1, &[1, 2])], 2);
    put(&mut old, "t", vec![use_of(tag(1), Kind::Tag, UNKNOWN)], 3);
    put(&mut old, "k", vec![rec(2, known(8))], 4);
    let of = answer(&old, "k");
    put(&mut old, "of", vec![of], 5);
    let mine = |key: &str| Dep {
        thing: own(key),
        kind: Kind::Computed,
        content: known(5),
        name: Some(Arc::from(key.as_bytes())),
    };
    let comes = |a: &mut A, key: &str| {
        let (deps, uses) = deps_of(&old, key);
        let loaded = a.load_since(mine(key), deps, &uses);
        loaded.is_some_and(|l| l.is_ok())
    };
    let all = ["r", "s", "t", "k", "of"];
    let here = |a: &mut A| all.map(|key| comes(a, key));

    let mut a = A::default();
    assert!(!comes(&mut a, "r"), "nobody knows what changed");
    a.watch(10);
    assert_eq!(here(&mut a), [true; 5]);

    let told = |f: &dyn Fn(&mut A)| {
        let mut a = A::default();
        a.watch(10);
        f(&mut a);
        here(&mut a)
    };
    let as_it_was = |a: &mut A| assert!(!see(a, 1, known(7), 11, &[], false));
    assert_eq!(told(&as_it_was), [true; 5]);
    let another = |a: &mut A| assert!(seen(a, 1, known(9), 11, &[2_001]));
    assert_eq!(told(&another), [false, false, true, true, true]);
    let cut = |cut: Cut<'static>| {
        told(&move |a: &mut A| {
            a.cut(&[cut], 11);
        })
    };
    assert_eq!(cut(Cut::Thing(tag(1))), [true, true, false, true, true]);
    let (key, thing) = (&b"k"[..], own("k"));
    let by_key = cut(Cut::Key { key, thing });
    assert_eq!(by_key, [true, true, true, false, false]);
    assert_eq!(cut(Cut::Prefix(key)), [true, true, true, false, false]);
    assert_eq!(cut(Cut::Entity(0)), [false, false, true, false, false]);
    assert_eq!(cut(Cut::All), [false; 5]);

    // What was told before they began to come is in what they used, and what is told later finds them.
    let mut a = A::default();
    a.watch(20);
    assert_eq!(here(&mut a), [true; 5]);
    a.unwatch();
    assert!(!a.is_watching() && !a.computing());
    assert!(seen(&mut a, 2, known(9), 21, &[]));
    let at = |a: &A, key: &str| a.index().place(key.as_bytes());
    let worth = |a: &mut A, key: &str| at(a, key).map_or(Check::Dropped, |at| a.check(at));
    assert_eq!(worth(&mut a, "r"), Check::Hit);
    assert_eq!(worth(&mut a, "k"), Check::Dropped);
    assert_eq!(worth(&mut a, "of"), Check::Dropped);
}
