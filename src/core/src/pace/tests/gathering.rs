//! What goes out together, and when.

use super::*;

#[test]
fn a_single_miss_on_an_idle_base_goes_at_once() {
    let mut s = Sched::new(Limits::default());
    assert_eq!(wait(&mut s, T0), None);
    want(&mut s, 7, 1..2, Class::Read, T0);
    let c = call(&mut s, T0);
    assert_eq!(
        (ids(&c), c.base, c.class, c.attempt),
        (vec![rec(1)], 0, Class::Read, 1)
    );
    assert_eq!((s.pending(), s.in_flight()), (0, 1));
    assert_eq!(s.done(c.id, Outcome::Ok, T0 + 80, 0), Verdict::Settled);
    assert_eq!(s.in_flight(), 0);
}

#[test]
fn nothing_goes_before_the_pass_is_over_unless_a_page_is_full() {
    let mut s = Sched::new(Limits::default());
    for n in 0..99 {
        s.want(0, 1, rec(n), Class::Read, T0);
    }
    assert_eq!(wait(&mut s, T0), None);
    s.want(0, 1, rec(99), Class::Read, T0);
    assert_eq!(ids(&call(&mut s, T0)).len(), 100);
}

#[test]
fn the_misses_of_one_pass_cost_a_call_a_hundred() {
    for (misses, calls) in [(1, 1), (100, 1), (101, 2), (300, 3), (350, 4)] {
        let mut s = Sched::new(Limits::default());
        want(&mut s, 1, 0..misses, Class::Read, T0);
        let sent = run_dry(&mut s, T0);
        assert_eq!(sent.len(), calls, "{misses}");
        assert!(
            sent.iter().all(|(at, _)| *at == T0),
            "{misses}: from idle without delay"
        );
    }
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..1000, Class::Read, T0);
    let sent = run_dry(&mut s, T0);
    assert_eq!(sent.len(), 10);
    assert!(sent[9].0 <= T0 + 2300, "{}", sent[9].0);
}

#[test]
fn misses_that_trickle_in_cost_one_call_more() {
    for (misses, every, at_a_time) in [
        (300, 1, 3),
        (300, 1, 1),
        (404, 1, 101),
        (50, 2, 1),
        (120, 0, 1),
    ] {
        let mut s = Sched::new(Limits::default());
        let mut calls = 0;
        let mut now = T0;
        let mut under_way: Vec<(u64, CallId)> = Vec::new();
        let mut first = 0;
        loop {
            if first < misses {
                want(
                    &mut s,
                    1,
                    first..(first + at_a_time).min(misses),
                    Class::Read,
                    now,
                );
                first += at_a_time;
            }
            under_way.retain(|(at, id)| {
                if *at <= now {
                    s.done(*id, Outcome::Ok, now, 0);
                }
                *at > now
            });
            while let Next::Call(c) = s.next(now) {
                calls += 1;
                under_way.push((now + 2, c.id));
            }
            if first >= misses && s.pending() == 0 {
                break;
            }
            now += if first < misses { every } else { 1 };
            assert!(now < T0 + 5000);
        }
        assert!(
            calls <= misses.div_ceil(100) + 1,
            "{misses} misses every {every} ms: {calls} calls"
        );
    }
}

#[test]
fn while_calls_are_held_back_pages_fill() {
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..400, Class::Read, T0);
    assert_eq!(
        (0..4).map(|_| ids(&call(&mut s, T0)).len()).sum::<usize>(),
        400
    );
    for id in 1..=4 {
        s.done(id, Outcome::Ok, T0 + 100, 0);
    }
    for n in 0..60 {
        want(
            &mut s,
            1,
            400 + n..401 + n,
            Class::Read,
            T0 + 200 + n as u64,
        );
    }
    let wake = wait(&mut s, T0 + 300).unwrap();
    assert_eq!(wake, T0 + 1010);
    assert_eq!(ids(&call(&mut s, wake)).len(), 60);
}

#[test]
fn lanes_do_not_mix_and_do_not_wait_for_each_other() {
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..2, Class::Read, T0);
    assert_eq!(ids(&call(&mut s, T0)).len(), 2);
    want(&mut s, 2, 0..3, Class::Read, T0 + 1);
    let c = call(&mut s, T0 + 1);
    assert!(matches!(c.what, What::Batch { lane: 2, ref ids } if ids.len() == 3));
}

#[test]
fn an_id_is_queued_once_and_takes_the_more_urgent_class() {
    let mut s = Sched::new(Limits::default());
    assert!(s.want(0, 1, rec(1), Class::Background, T0));
    assert!(!s.want(0, 1, rec(1), Class::Read, T0));
    assert!(!s.want(0, 1, rec(1), Class::Refresh, T0));
    s.flush(T0);
    assert_eq!(s.pending(), 1);
    let c = call(&mut s, T0);
    assert_eq!((c.class, ids(&c)), (Class::Read, vec![rec(1)]));
    // Under way is not queued: who needs a fetch that begins now gets one.
    assert!(s.want(0, 1, rec(1), Class::Read, T0));
}

#[test]
fn what_nobody_wants_any_more_is_not_asked_for() {
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..3, Class::Read, T0);
    s.unwant(1, &rec(1));
    s.unwant(1, &rec(77));
    s.unwant(99, &rec(1));
    assert_eq!(s.pending(), 2);
    assert_eq!(ids(&call(&mut s, T0)), [rec(0), rec(2)]);
    let id = s.submit(0, Class::Read, 5, T0);
    assert_eq!(s.cancel(id), Some(5));
    assert_eq!(s.cancel(id), None);
    assert_eq!(s.pending(), 0);
}

#[test]
fn a_batch_takes_reads_first_then_its_own_others_then_what_fill_names() {
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..10, Class::Background, T0);
    want(&mut s, 1, 10..20, Class::Refresh, T0);
    want(&mut s, 1, 20..30, Class::Read, T0);
    let mut asked = Vec::new();
    let next = s.next_with(T0, |lane, room| {
        asked.push((lane, room));
        // One that is in the batch already, and more than there is room for.
        (25..200).map(rec).collect()
    });
    let Next::Call(c) = next else { panic!() };
    assert_eq!(asked, [(1, 70)]);
    let ids = ids(&c);
    assert_eq!(
        ids[..30],
        [20..30, 10..20, 0..10]
            .into_iter()
            .flatten()
            .map(rec)
            .collect::<Vec<_>>()
    );
    assert!(ids.len() > 90 && ids.len() <= 100);
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
    assert_eq!(s.pending(), 0);
}

#[test]
fn refreshes_alone_gather_for_the_time_of_a_call() {
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..1, Class::Refresh, T0);
    assert_eq!(wait(&mut s, T0), Some(T0 + 250));
    want(&mut s, 1, 1..40, Class::Refresh, T0 + 200);
    assert_eq!(ids(&call(&mut s, T0 + 250)).len(), 40);
}

#[test]
fn beyond_the_bound_only_waiting_reads_are_taken_in() {
    let mut s = Sched::new(Limits {
        max_queued: 10,
        ..Limits::default()
    });
    want(&mut s, 1, 0..20, Class::Background, T0);
    assert_eq!(s.pending(), 10);
    assert!(!s.want(0, 1, rec(50), Class::Refresh, T0));
    assert!(s.want(0, 1, rec(50), Class::Read, T0));
}
