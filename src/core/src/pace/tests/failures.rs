//! Retries, split batches, lock-outs, the breaker.

use super::*;

#[test]
fn what_may_pass_is_tried_again_within_the_budget() {
    let mut s = Sched::new(Limits::default());
    s.submit(0, Class::Read, 1, T0);
    let c = call(&mut s, T0);
    assert_eq!(
        s.done(c.id, failed(Fault::Transient), T0 + 50, 200),
        Verdict::Retrying
    );
    assert_eq!(s.pending(), 1);
    assert_eq!(wait(&mut s, T0 + 50), Some(T0 + 250));
    let again = call(&mut s, T0 + 250);
    assert_eq!((again.id, solo(&again), again.attempt), (c.id, 1, 2));
    // One a minute is free, the next would have to be earned.
    assert_eq!(
        s.done(c.id, failed(Fault::Transient), T0 + 300, 0),
        Verdict::GiveUp
    );
    assert_eq!((s.pending(), s.in_flight()), (0, 0));
    assert_eq!(
        s.counts(),
        Counts {
            calls: 2,
            retries: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn a_503_waits_as_long_as_it_was_told() {
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..3, Class::Read, T0);
    let c = call(&mut s, T0);
    let outcome = Outcome::Failed {
        class: Fault::Transient,
        retry_after_ms: Some(2000),
    };
    assert_eq!(s.done(c.id, outcome, T0, 17), Verdict::Retrying);
    // Asked for again meanwhile, and no longer wanted: one stays, one goes.
    assert!(!s.want(0, 1, rec(0), Class::Read, T0 + 10));
    s.unwant(1, &rec(1));
    assert_eq!(wait(&mut s, T0 + 10), Some(T0 + 2000));
    assert_eq!(ids(&call(&mut s, T0 + 2000)), [rec(0), rec(2)]);
}

#[test]
fn an_uncertain_write_is_never_repeated() {
    let mut s = Sched::new(Limits::default());
    for fault in [
        Fault::Uncertain,
        Fault::Timeout,
        Fault::Refused,
        Fault::Poison,
    ] {
        s.submit(0, Class::Read, 1, T0);
        let c = call(&mut s, T0);
        assert_eq!(
            s.done(c.id, failed(fault), T0, 0),
            Verdict::GiveUp,
            "{fault:?}"
        );
    }
    assert_eq!(s.pending(), 0);
}

/// Runs until nothing is left, with a call failing when its ids hold one of `bad`; the ids answered, given up, and the
/// calls.
fn with_poison(
    fault: Fault,
    bad: &[usize],
    batch: usize,
) -> (Vec<CompactString>, Vec<CompactString>, usize) {
    let bad: Vec<CompactString> = bad.iter().copied().map(rec).collect();
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..batch, Class::Read, T0);
    let (mut answered, mut given_up, mut calls, mut now) = (Vec::new(), Vec::new(), 0, T0);
    loop {
        match s.next_with(now, |_, _| vec![rec(5000)]) {
            Next::Call(c) => {
                calls += 1;
                let asked = ids(&c);
                if asked.iter().any(|id| bad.contains(id)) {
                    let verdict = s.done(c.id, failed(fault), now, 0);
                    if verdict == Verdict::GiveUp {
                        given_up.extend(asked);
                    }
                } else {
                    s.done(c.id, Outcome::Ok, now, 0);
                    answered.extend(asked);
                }
            }
            Next::Wait(Some(wake)) => now = wake,
            Next::Wait(None) => break,
        }
        assert!(calls < 500);
    }
    assert_eq!((s.pending(), s.in_flight()), (0, 0));
    (answered, given_up, calls)
}

#[test]
fn a_poisonous_id_does_not_fail_its_neighbours() {
    for at in [0, 1, 49, 50, 63, 99] {
        let (answered, given_up, calls) = with_poison(Fault::Poison, &[at], 100);
        assert_eq!(given_up, [rec(at)], "{at}");
        assert_eq!(answered.len(), 99, "{at}");
        assert!(calls <= 15, "{at}: {calls} calls");
    }
    let (answered, given_up, _) = with_poison(Fault::Poison, &[10, 70, 71], 100);
    assert_eq!((answered.len(), given_up.len()), (97, 3));
}

#[test]
fn a_poisonous_filler_fails_nobody() {
    let (answered, given_up, calls) = with_poison(Fault::Poison, &[5000], 40);
    assert_eq!((answered.len(), given_up.len(), calls), (40, 0, 2));
}

#[test]
fn what_fails_in_every_part_is_given_up_soon() {
    let all: Vec<usize> = (0..100).collect();
    let (answered, given_up, calls) = with_poison(Fault::Poison, &all, 100);
    assert_eq!((answered.len(), given_up.len()), (0, 100));
    assert!(calls <= 13, "{calls} calls");
}

#[test]
fn a_batch_that_fails_twice_is_halved_as_far_as_the_budget_goes() {
    let mut s = Sched::new(Limits::default());
    // A healthy past earns retries.
    for n in 0..100 {
        s.submit(0, Class::Read, n, T0);
    }
    let (_, now) = (run_dry(&mut s, T0), T0 + 26_000);
    want(&mut s, 1, 0..100, Class::Read, now);
    let c = call(&mut s, now);
    assert_eq!(
        s.done(c.id, failed(Fault::Transient), now, 0),
        Verdict::Retrying
    );
    let c = call(&mut s, now);
    assert_eq!((ids(&c).len(), c.attempt), (100, 2));
    assert_eq!(
        s.done(c.id, failed(Fault::Transient), now, 0),
        Verdict::Split
    );
    let c = call(&mut s, now);
    assert_eq!(ids(&c).len(), 50);
    assert_eq!(s.done(c.id, failed(Fault::Timeout), now, 0), Verdict::Split);
    assert_eq!(s.pending(), 100);
}

#[test]
fn a_lock_out_silences_its_base_alone_and_ends_with_one_call() {
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..100, Class::Read, T0);
    s.submit(0, Class::Read, 1, T0);
    let (batch, solo_call) = (call(&mut s, T0), call(&mut s, T0));
    assert_eq!(
        s.done(batch.id, failed(Fault::RateLimited), T0 + 100, 0),
        Verdict::Retrying
    );
    assert_eq!(
        s.done(solo_call.id, failed(Fault::RateLimited), T0 + 200, 0),
        Verdict::Retrying
    );
    assert_eq!(s.pending(), 101);
    let busy = s.busy_for(0, T0 + 1200).unwrap();
    assert_eq!((busy.why, busy.ms_left), (Why::RateLimited, 29_000));
    assert_eq!(s.busy_for(1, T0 + 1200), None);
    s.submit(1, Class::Read, 7, T0 + 1200);
    assert_eq!(call(&mut s, T0 + 1200).base, 1);
    assert_eq!(wait(&mut s, T0 + 1200), Some(T0 + 30_200));
    let probe = call(&mut s, T0 + 30_200);
    assert_eq!(wait(&mut s, T0 + 30_200), None);
    s.done(probe.id, Outcome::Ok, T0 + 30_300, 0);
    call(&mut s, T0 + 30_300);
    assert_eq!(s.breaker(0, T0 + 30_300), Breaker::Closed);
}

#[test]
fn a_retry_after_replaces_the_thirty_seconds_within_reason() {
    for (told, silence) in [(7000, 7000), (u64::MAX, 600_000)] {
        let mut s = Sched::new(Limits::default());
        s.submit(0, Class::Read, 1, T0);
        let c = call(&mut s, T0);
        let outcome = Outcome::Failed {
            class: Fault::RateLimited,
            retry_after_ms: Some(told),
        };
        s.done(c.id, outcome, T0, 0);
        assert_eq!(wait(&mut s, T0), Some(T0 + silence));
    }
}

#[test]
fn while_the_breaker_is_open_one_probe_goes_every_five_seconds() {
    let mut s = Sched::new(Limits::default());
    let mut starts = Vec::new();
    for now in (T0..T0 + 120_000).step_by(10) {
        if s.busy_for(0, now).is_none() && s.pending() < 3 {
            s.submit(0, Class::Read, 1, now);
        }
        while let Next::Call(c) = s.next(now) {
            starts.push(now);
            s.done(c.id, failed(Fault::Transient), now, now);
        }
    }
    let Counts { calls, retries, .. } = s.counts();
    assert!(
        starts[5..].windows(2).all(|w| w[1] - w[0] >= 5000),
        "{starts:?}"
    );
    assert!((25..=30).contains(&calls), "{calls}");
    assert!(retries * 10 <= calls - retries, "{retries} of {calls}");
    let now = T0 + 120_000;
    assert_eq!(s.busy_for(0, now).map(|b| b.why), Some(Why::BreakerOpen));
    // Recovery without help: the next probe is answered.
    let due = now + s.busy_for(0, now).unwrap().ms_left;
    assert_eq!(s.busy_for(0, due), None);
    s.submit(0, Class::Read, 1, due);
    let c = call(&mut s, due);
    s.done(c.id, Outcome::Ok, due, 0);
    assert_eq!(s.breaker(0, due), Breaker::Closed);
    assert_eq!(s.busy_for(0, due), None);
}

#[test]
fn in_an_outage_under_load_retries_stay_within_a_tenth() {
    // Healthy for a minute, then flapping: every third call fails, which no breaker stops.
    let mut s = Sched::new(Limits::default());
    let mut now = T0;
    let mut n = 0;
    while now < T0 + 600_000 {
        if s.pending() < 4 {
            s.submit(0, Class::Read, 1, now);
        }
        match s.next(now) {
            Next::Call(c) => {
                n += 1;
                let fails = now > T0 + 60_000 && n % 3 == 0;
                let outcome = if fails {
                    failed(Fault::Transient)
                } else {
                    Outcome::Ok
                };
                s.done(c.id, outcome, now, n * 7919);
            }
            Next::Wait(wake) => now = wake.unwrap(),
        }
    }
    let Counts { calls, retries, .. } = s.counts();
    assert!(calls > 2300, "{calls}");
    assert!(
        retries > 100 && retries * 10 <= calls - retries,
        "{retries} of {calls}"
    );
}

#[test]
fn the_failure_that_opens_the_breaker_is_not_repeated() {
    let mut s = Sched::new(Limits::default());
    for n in 0..100 {
        s.submit(0, Class::Read, n, T0);
    }
    let now = run_dry(&mut s, T0).last().unwrap().0 + 2000;
    let mut verdicts = Vec::new();
    let mut at = now;
    while s.breaker(0, at) == Breaker::Closed {
        s.submit(0, Class::Read, 1, at);
        match s.next(at) {
            Next::Call(c) => verdicts.push(s.done(c.id, failed(Fault::Transient), at, 0)),
            Next::Wait(wake) => at = wake.unwrap(),
        }
    }
    // The budget has ten, but from now on only probes go.
    assert_eq!(verdicts.len(), 5);
    assert_eq!(verdicts[0], Verdict::Retrying);
    assert_eq!(verdicts[4], Verdict::GiveUp);
}

#[test]
fn a_probe_that_is_told_to_wait_shows_that_airtable_is_back() {
    let mut s = Sched::new(Limits::default());
    let mut now = T0;
    while s.breaker(0, now) == Breaker::Closed {
        s.submit(0, Class::Read, 1, now);
        let c = call(&mut s, now);
        s.done(c.id, failed(Fault::Uncertain), now, 0);
        now += 1000;
    }
    now += 5000;
    s.submit(0, Class::Read, 1, now);
    let probe = call(&mut s, now);
    s.done(probe.id, failed(Fault::RateLimited), now, 0);
    assert_eq!(s.breaker(0, now), Breaker::Closed);
    assert_eq!(s.busy_for(0, now).map(|b| b.why), Some(Why::RateLimited));
}

#[test]
fn a_read_of_what_waits_to_be_repeated_makes_it_urgent() {
    let mut s = Sched::new(Limits::default());
    want(&mut s, 1, 0..100, Class::Background, T0);
    let c = call(&mut s, T0);
    assert_eq!(c.class, Class::Background);
    assert_eq!(
        s.done(c.id, failed(Fault::Transient), T0, 0),
        Verdict::Retrying
    );
    assert!(!s.want(0, 1, rec(5), Class::Read, T0));
    assert_eq!(call(&mut s, T0).class, Class::Read);
}

#[test]
fn what_was_not_sent_takes_nothing_and_tells_nothing() {
    let mut s = Sched::new(Limits {
        rate_milli: 1000,
        monthly: Some(100),
        ..Limits::default()
    });
    s.set_clock(T0, NOV_21);
    s.submit(0, Class::Read, 1, T0);
    s.submit(0, Class::Read, 2, T0);
    let first = call(&mut s, T0);
    assert_eq!(s.month_calls(), 1);
    assert_eq!(
        s.done(first.id, Outcome::NotSent, T0 + 1, 0),
        Verdict::GiveUp
    );
    assert_eq!((s.month_calls(), s.counts().calls), (0, 0));
    // The slot is free for the next.
    let second = call(&mut s, T0 + 1);
    assert_eq!(solo(&second), 2);
    s.done(second.id, Outcome::Ok, T0 + 1, 0);
    // Without the call that was withdrawn the next has to wait for the other alone.
    s.submit(0, Class::Read, 3, T0 + 2);
    assert_eq!(wait(&mut s, T0 + 2), Some(T0 + 1 + 1010));
}

#[test]
fn a_probe_that_was_not_sent_is_made_up_for_at_once() {
    let mut s = Sched::new(many_threads());
    let mut now = T0;
    while s.breaker(0, now) == Breaker::Closed {
        s.submit(0, Class::Read, 1, now);
        let c = call(&mut s, now);
        s.done(c.id, failed(Fault::Uncertain), now, 0);
        now += 1000;
    }
    assert_eq!(s.breaker(0, now), Breaker::Open);
    now += 5000;
    s.submit(0, Class::Read, 2, now);
    s.submit(0, Class::Read, 3, now);
    let probe = call(&mut s, now);
    s.done(probe.id, Outcome::NotSent, now + 10, 0);
    assert_ne!(s.breaker(0, now + 10), Breaker::Closed);
    let probe = call(&mut s, now + 10);
    s.done(probe.id, Outcome::Ok, now + 20, 0);
    assert_eq!(s.breaker(0, now + 20), Breaker::Closed);
}
