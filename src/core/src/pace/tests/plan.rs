//! Airtable refuses: the plan's calls of the month are used up.

use super::*;

fn allowing(monthly: u64) -> Limits {
    Limits {
        monthly: Some(monthly),
        ..Limits::default()
    }
}

/// A base that Airtable refused at `T0`.
fn refused() -> Sched {
    let mut s = Sched::new(allowing(1000));
    s.set_clock(T0, NOV_21);
    s.submit(0, Class::Read, 1, T0);
    let c = call(&mut s, T0);
    s.done(c.id, failed(Fault::PlanSpent), T0, 0);
    s
}

#[test]
fn a_refused_plan_silences_the_base_until_it_turns() {
    let mut s = Sched::new(Limits::default());
    s.set_clock(T0, NOV_21);
    s.submit(0, Class::Read, 1, T0);
    let c = call(&mut s, T0);
    assert_eq!(
        s.done(c.id, failed(Fault::PlanSpent), T0, 0),
        Verdict::GiveUp
    );
    assert_eq!(s.busy_for(0, T0 + 1).map(|b| b.why), Some(Why::PlanSpent));
    // An hour later one call may find out whether somebody bought more.
    assert_eq!(s.busy_for(0, T0 + 3_600_000), None);
    s.submit(0, Class::Read, 1, T0 + 3_600_000);
    let c = call(&mut s, T0 + 3_600_000);
    s.done(c.id, failed(Fault::PlanSpent), T0 + 3_600_000, 0);
    // Minutes before the month's end, its end comes first.
    let late = T0 + 10 * DAY_MS - 60_000;
    s.submit(0, Class::Read, 1, late);
    let c = call(&mut s, late);
    s.done(c.id, failed(Fault::PlanSpent), late, 0);
    assert_eq!(s.busy_for(0, late).map(|b| b.ms_left), Some(60_000));
    s.submit(0, Class::Read, 2, late);
    assert_eq!(wait(&mut s, late), Some(late + 60_000));
    call(&mut s, late + 60_000);
    assert_eq!(s.month_calls(), 1);
}

#[test]
fn a_plan_that_was_bought_is_noticed() {
    let mut s = Sched::new(Limits::default());
    s.set_clock(T0, NOV_21);
    s.submit(0, Class::Read, 1, T0);
    let c = call(&mut s, T0);
    s.done(c.id, failed(Fault::PlanSpent), T0, 0);
    let probe_at = T0 + 3_600_000;
    s.submit(0, Class::Read, 2, probe_at);
    let c = call(&mut s, probe_at);
    assert_eq!(s.busy_for(0, probe_at).map(|b| b.why), Some(Why::PlanSpent));
    s.done(c.id, Outcome::Ok, probe_at, 0);
    assert_eq!(s.busy_for(0, probe_at), None);
    s.submit(0, Class::Read, 3, probe_at);
    call(&mut s, probe_at);
}

#[test]
fn another_allowance_lifts_it_at_once() {
    for monthly in [Some(1001), Some(1), None] {
        let mut s = refused();
        assert_eq!(
            s.busy_for(0, T0 + 5).map(|b| (b.why, b.ms_left)),
            Some((Why::PlanSpent, 3_599_995))
        );
        s.set_limits(allowing(1000));
        assert!(s.busy_for(0, T0 + 5).is_some(), "nothing changed");
        s.submit(0, Class::Poll, 2, T0 + 5);
        assert!(wait(&mut s, T0 + 5).is_some());
        s.set_limits(Limits {
            monthly,
            ..Limits::default()
        });
        if monthly == Some(1) {
            assert_eq!(
                s.busy_for(0, T0 + 5).map(|b| b.why),
                Some(Why::MonthSpent),
                "our own allowance is another matter"
            );
            continue;
        }
        assert_eq!(s.busy_for(0, T0 + 5), None);
        assert_eq!(solo(&call(&mut s, T0 + 5)), 2);
    }
}

#[test]
fn what_a_smaller_allowance_left_to_polls_does_not_slow_them_down_under_a_larger_one() {
    let mut s = Sched::new(allowing(1));
    s.set_clock(T0, NOV_21);
    s.submit(0, Class::Poll, 1, T0);
    assert!(wait(&mut s, T0).is_some(), "the last call is a read's");
    s.set_limits(allowing(90_000));
    call(&mut s, T0 + 1);
}

#[test]
fn a_refusal_of_a_call_from_before_the_change_does_not_undo_it() {
    let mut s = Sched::new(allowing(1000));
    s.submit(0, Class::Read, 1, T0);
    let old = call(&mut s, T0);
    s.submit(0, Class::Read, 2, T0 + 1);
    s.set_limits(allowing(2000));
    s.done(old.id, failed(Fault::PlanSpent), T0 + 100, 0);
    assert_eq!(s.busy_for(0, T0 + 100), None);
    let new = call(&mut s, T0 + 100);
    s.done(new.id, failed(Fault::PlanSpent), T0 + 200, 0);
    assert!(s.busy_for(0, T0 + 200).is_some());
}

#[test]
fn an_answer_to_an_earlier_call_does_not_lift_it() {
    let mut s = Sched::new(allowing(1000));
    s.submit(0, Class::Read, 1, T0);
    s.submit(0, Class::Read, 2, T0);
    let (slow, refused) = (call(&mut s, T0), call(&mut s, T0));
    s.done(refused.id, failed(Fault::PlanSpent), T0 + 50, 0);
    s.done(slow.id, Outcome::Ok, T0 + 90, 0);
    assert!(s.busy_for(0, T0 + 90).is_some());
}

/// Whatever became of a probe: the next one is an hour after it.
#[test]
fn one_call_an_hour_asks_again() {
    let mut s = refused();
    let mut sent = Vec::new();
    for minute in 0..300 {
        let now = T0 + minute * 60_000;
        s.submit(0, Class::Read, 7, now);
        while let Next::Call(c) = s.next(now) {
            let outcome = match sent.len() {
                0 => failed(Fault::Transient),
                1 => failed(Fault::Timeout),
                2 => failed(Fault::RateLimited),
                _ => failed(Fault::PlanSpent),
            };
            s.done(c.id, outcome, now, u64::MAX);
            sent.push(minute);
        }
    }
    assert_eq!(sent, [60, 120, 180, 240]);
}

#[test]
fn any_other_answer_of_airtable_lifts_it() {
    for fault in [Fault::Refused, Fault::Poison] {
        let mut s = refused();
        let probe_at = T0 + 3_600_000;
        s.submit(0, Class::Read, 2, probe_at);
        let c = call(&mut s, probe_at);
        s.done(c.id, failed(fault), probe_at, 0);
        assert_eq!(s.busy_for(0, probe_at + 1), None, "{fault:?}");
    }
}

#[test]
fn a_restart_neither_forgets_it_nor_puts_off_the_next_try() {
    let saved = refused().state(T0 + 600_000);
    let started = |monthly| {
        let mut s = Sched::new(allowing(monthly));
        // Ten minutes later.
        s.set_clock(500, NOV_21 + 1_200_000);
        s.restore(saved.clone(), 500);
        s.busy_for(0, 500).map(|b| (b.why, b.ms_left))
    };
    assert_eq!(started(1000), Some((Why::PlanSpent, 2_400_000)));
    assert_eq!(started(2000), None, "another allowance");

    // What is read from a damaged key is bounded.
    let mut damaged = saved.clone();
    for base in &mut damaged.bases {
        if let Some(refusal) = &mut base.refusal {
            refusal.probe_ms = u64::MAX;
        }
    }
    let mut s = Sched::new(allowing(1000));
    s.set_clock(500, NOV_21);
    s.restore(damaged, 500);
    assert!(s.busy_for(0, 500).is_some_and(|b| b.ms_left <= 3_600_000));
}

#[test]
fn waiting_calls_are_withdrawn_by_what_they_are() {
    let mut s = refused();
    for (n, class) in [(2, Class::Background), (3, Class::Poll), (4, Class::Read)] {
        s.submit(0, class, n, T0 + 1);
    }
    s.submit(1, Class::Read, 5, T0 + 1);
    let out = s.withdraw(0, |class, n| class != Class::Poll && *n != 9);
    assert_eq!(out, [2, 4]);
    assert_eq!(s.pending(), 2);
    assert_eq!(s.withdraw(0, |_, _| true), [3]);
    assert!(s.withdraw(7, |_, _| true).is_empty());
    assert_eq!(solo(&call(&mut s, T0 + 1)), 5);
}
