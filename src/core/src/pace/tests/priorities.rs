//! Rates, threads and priorities.

use super::*;

#[test]
fn bases_have_their_own_rate_and_share_the_tokens() {
    let mut s = Sched::new(many_threads());
    for base in 0..20 {
        for n in 0..5 {
            s.submit(base, Class::Read, n, T0);
        }
    }
    let mut per_base = [0; 20];
    for _ in 0..50 {
        per_base[call(&mut s, T0).base as usize] += 1;
    }
    assert!(per_base.iter().all(|n| (2..=4).contains(n)), "{per_base:?}");
    assert!(wait(&mut s, T0).unwrap() >= T0 + 1000);
}

#[test]
fn no_more_are_under_way_than_there_are_threads() {
    let mut s = Sched::new(Limits {
        max_in_flight: 2,
        ..Limits::default()
    });
    for n in 0..3 {
        s.submit(0, Class::Read, n, T0);
    }
    let first = call(&mut s, T0);
    call(&mut s, T0);
    assert_eq!(wait(&mut s, T0), None);
    s.done(first.id, Outcome::Ok, T0 + 5, 0);
    call(&mut s, T0 + 5);
}

#[test]
fn a_base_that_hangs_leaves_a_thread_to_the_others() {
    let mut s = Sched::new(Limits::default());
    s.submit(1, Class::Read, 0, T0);
    let c = call(&mut s, T0);
    s.done(c.id, Outcome::Ok, T0, 0);
    for n in 0..9 {
        s.submit(0, Class::Read, n, T0);
    }
    for _ in 0..3 {
        assert_eq!(call(&mut s, T0).base, 0);
    }
    assert_eq!(wait(&mut s, T0), None);
    s.submit(1, Class::Read, 9, T0);
    assert_eq!(call(&mut s, T0).base, 1);
}

#[test]
fn background_calls_leave_a_thread_to_reads() {
    let mut s = Sched::new(Limits::default());
    for n in 0..9 {
        s.submit(0, Class::Background, n, T0);
    }
    for _ in 0..3 {
        call(&mut s, T0);
    }
    assert_eq!(wait(&mut s, T0), None);
    s.submit(0, Class::Read, 9, T0);
    assert_eq!(solo(&call(&mut s, T0)), 9);
}

/// The classes of the next calls with everything queued in plenty.
fn order(classes: &[Class], calls: usize) -> Vec<Class> {
    let mut s = Sched::new(Limits::default());
    for class in classes {
        for n in 0..calls {
            s.submit(0, *class, n as u32, T0);
        }
    }
    let mut now = T0;
    let mut order = Vec::new();
    while order.len() < calls {
        match s.next(now) {
            Next::Call(c) => {
                s.done(c.id, Outcome::Ok, now, 0);
                order.push(c.class);
            }
            Next::Wait(wake) => now = wake.unwrap(),
        }
    }
    order
}

#[test]
fn the_urgent_go_first_and_nobody_starves() {
    let order = order(&Class::ALL, 400);
    assert_eq!(order[..3], [Class::Poll; 3]);
    let longest_without = |class: Class| {
        let at: Vec<usize> = (0..order.len()).filter(|i| order[*i] == class).collect();
        assert!(!at.is_empty(), "{class:?}");
        at.windows(2)
            .map(|w| w[1] - w[0])
            .max()
            .unwrap_or(0)
            .max(at[0])
    };
    assert!(longest_without(Class::Read) <= 6);
    assert!(longest_without(Class::Refresh) <= 12);
    assert!(longest_without(Class::Background) <= 22);
}

#[test]
fn reads_get_most_of_a_saturated_budget() {
    let order = order(&[Class::Read, Class::Refresh, Class::Background], 400);
    let share = |class: Class| order.iter().filter(|c| **c == class).count();
    assert!(share(Class::Read) >= 400 * 8 / 10, "{}", share(Class::Read));
    assert!(share(Class::Refresh) >= 400 / 12);
    assert!(share(Class::Background) >= 400 / 22);
}

#[test]
fn in_a_lane_with_endless_reads_its_background_ids_go_too() {
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..1, Class::Background, T0);
    let mut now = T0;
    for n in 1.. {
        want(&mut s, 1, n * 1000..n * 1000 + 150, Class::Read, now);
        match s.next(now) {
            Next::Call(c) => {
                s.done(c.id, Outcome::Ok, now, 0);
                if ids(&c).contains(&rec(0)) {
                    break;
                }
            }
            Next::Wait(wake) => now = wake.unwrap(),
        }
        assert!(n < 100);
    }
}

#[test]
fn a_long_listing_and_misses_take_turns_and_its_pages_go_before_new_questions() {
    let mut s = Sched::new(Limits::default());
    s.submit(0, Class::Read, 0, T0);
    let page = call(&mut s, T0);
    s.submit(0, Class::Read, 100, T0);
    want(&mut s, 1, 0..400, Class::Read, T0);
    assert!(s.call_more(page.id, 1, T0).is_some());
    assert_eq!(s.call_more(page.id, 1, T0), None, "it is over");
    let mut now = T0;
    let mut sent = Vec::new();
    loop {
        match s.next(now) {
            Next::Call(c) => match c.what {
                What::Solo(n @ 1..=2) => {
                    sent.push(Some(n));
                    s.call_more(c.id, n + 1, now);
                }
                What::Solo(n) => {
                    sent.push(Some(n));
                    s.done(c.id, Outcome::Ok, now, 0);
                }
                What::Batch { .. } => {
                    sent.push(None);
                    s.done(c.id, Outcome::Ok, now, 0);
                }
            },
            Next::Wait(Some(wake)) => now = wake,
            Next::Wait(None) => break,
        }
    }
    let solos: Vec<u32> = sent.iter().flatten().copied().collect();
    assert_eq!(solos, [1, 2, 3, 100]);
    assert!(
        sent.windows(2).all(|w| w[0].is_some() != w[1].is_some()),
        "{sent:?}"
    );
}

#[test]
fn after_a_burst_what_queues_goes_evenly() {
    let mut s = Sched::new(many_threads());
    for n in 0..24 {
        s.submit(0, Class::Read, n, T0);
    }
    let starts: Vec<u64> = run_dry(&mut s, T0).into_iter().map(|(at, _)| at).collect();
    assert_eq!(starts[..4], [T0; 4]);
    assert!(
        starts[4..].windows(2).all(|w| w[1] - w[0] >= 200),
        "{starts:?}"
    );
    // With nothing queued for a while, a burst is possible again.
    let later = T0 + 60_000;
    for n in 0..4 {
        s.submit(0, Class::Read, n, later);
    }
    assert!(run_dry(&mut s, later).iter().all(|(at, _)| *at == later));
}

#[test]
fn full_pages_go_before_others_for_a_while() {
    for (class, patience) in [(Class::Read, 1000), (Class::Background, 30_000)] {
        let mut s = Sched::new(Limits::default());
        want(&mut s, 1, 0..3, class, T0);
        let (mut now, mut n) = (T0 + 300, 1);
        let gone = loop {
            // Another lane always has more than a page, but younger.
            want(&mut s, 2, n * 1000..n * 1000 + 200, class, now);
            n += 1;
            match s.next(now) {
                Next::Call(c) => {
                    s.done(c.id, Outcome::Ok, now, 0);
                    if matches!(c.what, What::Batch { lane: 1, .. }) {
                        break now - T0;
                    }
                    assert_eq!(ids(&c).len(), 100);
                }
                Next::Wait(wake) => now = wake.unwrap(),
            }
        };
        assert!(
            (patience..patience + 1100).contains(&gone),
            "{class:?}: {gone}"
        );
    }
}

#[test]
fn a_base_whose_background_is_due_does_not_lose_its_turn_to_another() {
    let mut s = Sched::new(Limits {
        token_rate_per_s: 4,
        ..Limits::default()
    });
    let (mut now, mut calls, mut background) = (T0, [0, 0], 0);
    while now < T0 + 120_000 {
        for (base, class) in [(0, Class::Read), (0, Class::Background), (1, Class::Read)] {
            s.submit(base, class, 0, now);
        }
        match s.next(now) {
            Next::Call(c) => {
                calls[c.base as usize] += 1;
                background += u32::from(c.class == Class::Background);
                s.done(c.id, Outcome::Ok, now, 0);
            }
            Next::Wait(wake) => now = wake.unwrap(),
        }
    }
    assert!(calls[0] > 200 && calls[1] > 200, "{calls:?}");
    assert!(background > 8, "{background}");
}

#[test]
fn a_solo_call_takes_the_class_of_who_waits_for_it() {
    let mut s = Sched::new(Limits {
        monthly: Some(100),
        ..Limits::default()
    });
    s.set_clock(T0, NOV_21);
    // What refreshes may take of the month is spent.
    let mut now = T0;
    loop {
        s.submit(0, Class::Refresh, 1, now);
        let Next::Call(c) = s.next(now) else { break };
        s.done(c.id, Outcome::Ok, now, 0);
        now += 1000;
        assert!(now < T0 + DAY_MS);
    }
    now += 5000;
    assert_eq!(s.pending(), 1);
    let waiting = s.submit(0, Class::Refresh, 2, now);
    s.promote(waiting, Class::Background);
    assert!(wait(&mut s, now).is_some_and(|at| at > now + 60_000));
    s.promote(waiting, Class::Read);
    let c = call(&mut s, now);
    assert_eq!((solo(&c), c.class), (2, Class::Read));
    // Its next page and its retry are as urgent.
    let next = s.call_more(c.id, 3, now).unwrap();
    let c = call(&mut s, now);
    assert_eq!((c.id, c.class), (next, Class::Read));
    s.done(c.id, Outcome::Ok, now, 0);
}

#[test]
fn a_call_under_way_or_to_be_repeated_is_promoted_too() {
    let mut s = Sched::new(Limits::default());
    let id = s.submit(0, Class::Refresh, 1, T0);
    let c = call(&mut s, T0);
    s.promote(c.id, Class::Read);
    s.done(c.id, failed(Fault::Transient), T0, 0);
    assert_eq!(call(&mut s, T0).class, Class::Read);
    assert_eq!(s.cancel(id), None, "it is under way");

    let mut s = Sched::new(Limits::default());
    let id = s.submit(0, Class::Background, 1, T0);
    let c = call(&mut s, T0);
    s.done(c.id, failed(Fault::Transient), T0, 0);
    s.promote(id, Class::Read);
    assert_eq!(call(&mut s, T0).class, Class::Read);
}
