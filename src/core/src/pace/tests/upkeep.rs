//! The month, clocks, restarts, entities that go.

use super::*;

#[test]
fn the_allowance_is_counted_and_ends() {
    let mut s = Sched::new(Limits {
        monthly: Some(3),
        ..Limits::default()
    });
    s.set_clock(T0, NOV_21);
    for n in 0..4 {
        s.submit(0, Class::Read, n, T0);
    }
    for _ in 0..3 {
        let c = call(&mut s, T0);
        s.done(c.id, Outcome::Ok, T0, 0);
    }
    assert_eq!(wait(&mut s, T0), Some(T0 + 10 * DAY_MS));
    let busy = s.busy_for(0, T0).unwrap();
    assert_eq!((busy.why, busy.ms_left), (Why::MonthSpent, 10 * DAY_MS));
    assert_eq!(s.month_calls(), 3);
    call(&mut s, T0 + 10 * DAY_MS);
    assert_eq!(s.month_calls(), 1);
}

#[test]
fn background_work_is_spread_and_does_not_hold_up_reads() {
    let mut s = Sched::new(Limits {
        monthly: Some(900),
        ..Limits::default()
    });
    s.set_clock(T0, NOV_21);
    let mut now = T0;
    let mut sent = 0;
    while now < T0 + DAY_MS {
        s.submit(0, Class::Background, 1, now);
        match s.next(now) {
            Next::Call(c) => {
                sent += 1;
                s.done(c.id, Outcome::Ok, now, 0);
            }
            Next::Wait(wake) => now = wake.unwrap(),
        }
    }
    // 45 saved up, and a tenth of a quarter.
    assert!((45..75).contains(&sent), "{sent}");
    s.submit(0, Class::Read, 2, now);
    assert_eq!(solo(&call(&mut s, now)), 2);
}

#[test]
fn a_clock_that_jumps_neither_bursts_nor_stalls() {
    let mut s = Sched::new(many_threads());
    for n in 0..30 {
        s.submit(0, Class::Read, n, T0);
    }
    for _ in 0..4 {
        call(&mut s, T0);
    }
    // Threads read the clock in another order than they come: no time is gained by that.
    for _ in 0..1000 {
        wait(&mut s, T0 + 5);
        wait(&mut s, T0);
    }
    assert_eq!(wait(&mut s, T0 + 5), Some(T0 + 1010));
    // Two hours back.
    let back = T0 - 7_200_000;
    let wake = wait(&mut s, back).unwrap();
    assert!(wake > back && wake <= back + 1010, "{wake}");
    call(&mut s, wake);
    assert!(wait(&mut s, wake).is_some());
    // The wall clock may jump as it likes.
    s.set_clock(wake, NOV_21);
    s.set_clock(wake, 0);
    s.set_clock(wake, u64::MAX);
    assert!(wait(&mut s, wake).unwrap() <= wake + 1010);
}

#[test]
fn a_restart_does_not_burst_and_knows_the_lock_out_and_the_count() {
    let limits = Limits {
        monthly: Some(900),
        ..many_threads()
    };
    let mut s = Sched::new(limits.clone());
    s.set_clock(T0, NOV_21);
    for base in 0..3 {
        s.submit(base, Class::Read, 1, T0);
    }
    let calls = [call(&mut s, T0), call(&mut s, T0), call(&mut s, T0)];
    for c in calls {
        let outcome = match c.base {
            0 => failed(Fault::RateLimited),
            1 => failed(Fault::PlanSpent),
            _ => Outcome::Ok,
        };
        s.done(c.id, outcome, T0, 0);
    }
    let saved = s.state(T0 + 1000);
    assert_eq!((saved.calls, saved.bases.len()), (3, 2));

    // Another process, whose monotonic clock begins anew, four seconds later.
    let mut s = Sched::new(limits);
    s.set_clock(500, NOV_21 + 5000);
    s.restore(saved, 500);
    assert_eq!(s.month_calls(), 3);
    let busy = s.busy_for(0, 500).unwrap();
    assert_eq!((busy.why, busy.ms_left), (Why::RateLimited, 25_000));
    assert_eq!(s.busy_for(1, 500).map(|b| b.why), Some(Why::PlanSpent));
    for n in 0..3 {
        s.submit(2, Class::Read, n, 500);
    }
    call(&mut s, 500);
    // Four of the process before may arrive until 550, and in that second no other but the one.
    assert_eq!(wait(&mut s, 500), Some(1550));
}

#[test]
fn an_open_breaker_stays_open_over_a_restart() {
    let mut s = Sched::new(many_threads());
    for n in 0..5 {
        s.submit(0, Class::Read, n, T0);
    }
    for now in [T0, T0 + 2000] {
        while let Next::Call(c) = s.next(now) {
            s.done(c.id, failed(Fault::Uncertain), now, 0);
        }
    }
    assert_eq!(s.breaker(0, T0 + 2000), Breaker::Open);
    let saved = s.state(T0 + 2000);
    let mut s = Sched::new(many_threads());
    s.restore(saved, 0);
    assert_eq!(s.breaker(0, 0), Breaker::Open);
    assert_eq!(s.breaker(0, 5000), Breaker::HalfOpen);
}

#[test]
fn limits_change_at_once() {
    let mut s = Sched::new(many_threads());
    for n in 0..30 {
        s.submit(0, Class::Read, n, T0);
    }
    for _ in 0..4 {
        call(&mut s, T0);
    }
    assert!(wait(&mut s, T0).is_some());
    s.set_limits(Limits {
        rate_milli: 10_000,
        ..many_threads()
    });
    call(&mut s, T0 + 100);
    s.set_limits(Limits {
        rate_milli: 1000,
        ..many_threads()
    });
    assert!(wait(&mut s, T0 + 200).unwrap() >= T0 + 1100);
}

#[test]
fn a_replica_that_takes_over_does_not_burst() {
    let mut s = Sched::new(many_threads());
    s.submit(0, Class::Read, 1, T0 - 5000);
    let c = call(&mut s, T0 - 5000);
    s.done(c.id, Outcome::Ok, T0 - 5000, 0);
    s.restore(Saved::default(), T0);
    for n in 0..3 {
        s.submit(0, Class::Read, n, T0);
    }
    call(&mut s, T0);
    assert_eq!(wait(&mut s, T0), Some(T0 + 1050));
}

#[test]
fn however_many_the_reads_polls_do_not_end() {
    let mut s = Sched::new(Limits {
        monthly: Some(10_000),
        ..Limits::default()
    });
    s.set_clock(T0, NOV_21);
    // At this rate the month would be spent in three days.
    let mut now = T0;
    let mut polls = 0;
    for hour in 0..24 {
        for n in 0..140 {
            now = T0 + hour * 3_600_000 + n * 20_000;
            s.submit(0, Class::Read, 0, now);
            if s.pending() < 2 {
                s.submit(0, Class::Poll, 1, now);
            }
            while let Next::Call(c) = s.next(now) {
                polls += u32::from(c.class == Class::Poll && hour >= 12);
                s.done(c.id, Outcome::Ok, now, 0);
            }
        }
    }
    // A sixteenth of what is left, spread over ten days: about fifty a day.
    assert!((15..60).contains(&polls), "{polls} until {now}");
}

#[test]
fn lanes_of_the_past_are_forgotten() {
    let mut s = Sched::new(Limits::default());
    let mut now = T0;
    for lane in 0..2000 {
        want(&mut s, lane, 0..1, Class::Read, now);
        if let Next::Call(c) = s.next(now) {
            s.done(c.id, Outcome::Ok, now, 0);
        }
        s.unwant(lane, &rec(0));
        now += 300;
    }
    assert!(s.lanes.len() <= 70, "{}", s.lanes.len());
    assert_eq!(s.pending(), 0);
}
