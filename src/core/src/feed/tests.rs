#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use alloc::vec;
use serde_json::Value;

const INTERVAL: u64 = 30_000;

/// A feed with a clock; every call is answered as the test says.
struct Bench {
    feed: Feed,
    now: u64,
    read: u64,
    seq: u64,
}

impl Bench {
    fn new(feed: Feed) -> Bench {
        Bench {
            feed,
            now: 1_000_000_000,
            read: 0,
            seq: 1000,
        }
    }
    fn step(&mut self) -> Step {
        self.feed.next(self.now, self.read, INTERVAL)
    }
    fn action(&mut self) -> Action {
        match self.step() {
            Step::Do(a) => a,
            other => panic!("{other:?}"),
        }
    }
    fn answer(&mut self, outcome: Outcome) -> Reaction {
        self.now += 50;
        self.seq += 1;
        let at = Landing {
            ticket: self.feed.ticket(),
            asked: self.now - 40,
            sent: self.now - 40,
            now: self.now,
            seq: self.seq,
            interval: INTERVAL,
        };
        let r = self.feed.landed(outcome, at);
        if let Some(p) = &r.apply {
            self.feed.applied(p);
        }
        r
    }
    fn polled(&mut self, next: u64, count: u64) -> Reaction {
        assert!(matches!(self.action(), Action::Poll { .. }));
        self.answer(Outcome::Polled(Page {
            next,
            count,
            ..Page::default()
        }))
    }
    /// List, create, schema, first poll.
    fn started() -> Bench {
        let mut b = Bench::new(Feed::new(None));
        assert_eq!(b.action(), Action::List);
        b.answer(Outcome::Listed(vec![]));
        assert_eq!(b.action(), Action::Create);
        b.answer(Outcome::Created {
            id: "achNew".into(),
            secret: MacSecret::new("c2VjcmV0"),
        });
        assert_eq!(b.action(), Action::Schema);
        b.answer(Outcome::Schema);
        b.polled(1, 0);
        b
    }
    fn view(&self) -> View {
        self.feed.view(INTERVAL)
    }
}

fn refused() -> Outcome {
    Outcome::Failed(Failed {
        refused: true,
        line: "UPSTREAM 404".into(),
    })
}

fn passing() -> Outcome {
    Outcome::Failed(Failed {
        refused: false,
        line: "UPSTREAMTIMEOUT".into(),
    })
}

fn hook(id: &str, alive: bool, next: u64) -> Value {
    let mut v = specification(None);
    let o = v.as_object_mut().unwrap();
    o.insert("id".into(), id.into());
    o.insert("isHookEnabled".into(), alive.into());
    o.insert("cursorForNextPayload".into(), next.into());
    o.insert("notificationUrl".into(), Value::Null);
    v
}

#[test]
fn it_vouches_for_what_was_fetched_since_the_webhook_was_there() {
    let b = Bench::started();
    let v = b.view();
    assert_eq!(b.feed.state(), "following");
    assert!(
        !alloc::format!("{:?}", b.feed).contains("c2VjcmV0"),
        "secrets are not shown"
    );
    assert!(
        v.vouches(1003, b.now) && !v.vouches(1002, b.now),
        "the webhook was created as number 1002"
    );
    let end = b.feed.polled + 3 * INTERVAL;
    assert!(
        v.vouches(1003, end - 1) && !v.vouches(1003, end),
        "three intervals of silence end it"
    );
}

#[test]
fn an_own_webhook_is_adopted_and_others_are_left_alone() {
    let mut b = Bench::new(Feed::new(None));
    b.action();
    let mut narrow = hook("achNarrow", true, 5);
    narrow["specification"]["options"]["filters"]["recordChangeScope"] = "tblA".into();
    let mut pinged = hook("achPinged", true, 5);
    pinged["notificationUrl"] = "https://example.com".into();
    let r = b.answer(Outcome::Listed(vec![
        narrow,
        pinged,
        hook("achDead", false, 9),
        hook("achOurs", true, 12),
    ]));
    assert!(r.save && r.gap.is_none());
    assert_eq!(
        b.feed.hook,
        Some(Hook {
            id: "achOurs".into(),
            secret: None,
            cursor: 12
        })
    );
    assert_eq!(
        b.action(),
        Action::Delete {
            webhook: "achDead".into()
        },
        "a base holds ten at most"
    );
    b.answer(refused());
    assert_eq!(b.feed.failures(), 0);
    assert_eq!(b.action(), Action::Schema);
}

#[test]
fn only_a_webhook_whose_secret_is_known_takes_pings() {
    let mut b = Bench::new(Feed::new(Some("https://example.com".into())));
    b.action();
    let mut pinged = hook("achPinged", true, 5);
    pinged["notificationUrl"] = "https://example.com".into();
    b.answer(Outcome::Listed(vec![pinged]));
    assert_eq!(b.action(), Action::Create);
}

#[test]
fn a_base_that_is_read_is_polled_each_interval_and_another_once_a_day() {
    let mut b = Bench::started();
    let tried = b.now - 50;
    assert_eq!(b.step(), Step::Wait(tried + INTERVAL - 1_000));
    b.now = tried + INTERVAL - 1_000;
    assert_eq!(b.step(), Step::Wait(tried + INTERVAL));
    b.now = tried + INTERVAL;
    assert_eq!(b.step(), Step::Wait(tried + IDLE_MS));
    b.read = b.now;
    b.polled(1, 0);
    let tried = b.now - 50;
    b.read = b.now;
    b.now = tried + INTERVAL;
    b.polled(1, 0);
    b.feed.checked = u64::MAX / 2;
    let tried = b.now - 50;
    b.now = tried + IDLE_MS;
    b.feed.checked = b.now;
    b.polled(1, 0);
}

#[test]
fn the_first_read_after_a_pause_waits_for_one_poll() {
    let mut b = Bench::started();
    let tried = b.now - 50;
    assert!(!b.view().unsettled(tried + INTERVAL));
    assert!(
        b.view().unsettled(tried + INTERVAL + 1),
        "no poll comes by itself: nobody read"
    );
    b.now += 10 * INTERVAL;
    assert!(b.view().unsettled(b.now));
    b.feed.wanted(b.now);
    assert!(matches!(b.action(), Action::Poll { .. }));
    assert!(b.view().unsettled(b.now), "others wait for the same poll");
    assert!(!b.feed.releases(b.now, INTERVAL));
    b.answer(Outcome::Polled(Page {
        next: 1,
        ..Page::default()
    }));
    assert!(b.feed.releases(b.now, INTERVAL) && !b.view().unsettled(b.now));
    assert!(
        b.view().vouches(1003, b.now),
        "nothing was missed meanwhile"
    );
}

#[test]
fn a_poll_that_is_due_because_of_reads_is_not_waited_for() {
    let mut b = Bench::started();
    let tried = b.now - 50;
    b.read = b.now;
    b.now = tried + INTERVAL - 1_000;
    assert_eq!(b.step(), Step::Wait(tried + INTERVAL));
    assert!(!b.view().unsettled(tried + INTERVAL + 1_000));
    assert!(b.view().unsettled(tried + 2 * INTERVAL), "it never came");
    b.now = tried + INTERVAL + 300;
    assert!(matches!(b.action(), Action::Poll { .. }));
    assert!(!b.view().unsettled(b.now + 1_000), "it is under way");
}

#[test]
fn it_does_not_wait_long() {
    let mut b = Bench::started();
    b.now += 10 * INTERVAL;
    b.feed.wanted(b.now);
    b.action();
    assert_eq!(b.step(), Step::Wait(b.now + PATIENCE_MS));
    b.now += PATIENCE_MS;
    assert_eq!(b.step(), Step::Rest);
    assert!(b.feed.releases(b.now, INTERVAL) && b.view().behind);
    assert!(
        !b.view().unsettled(b.now + 100 * INTERVAL),
        "until Airtable answers again nobody waits"
    );
    b.answer(Outcome::Polled(Page {
        next: 1,
        ..Page::default()
    }));
    assert!(!b.view().behind && b.view().unsettled(b.now + 10 * INTERVAL));
}

#[test]
fn more_pages_are_asked_for_at_once_and_count_as_heard_only_with_the_last() {
    let mut b = Bench::started();
    b.now += INTERVAL;
    b.read = b.now;
    let before = b.feed.polled;
    b.action();
    b.answer(Outcome::Polled(Page {
        next: 51,
        count: 50,
        more: true,
        ..Page::default()
    }));
    assert_eq!(b.feed.polled, before);
    assert_eq!(
        b.action(),
        Action::Poll {
            webhook: "achNew".into(),
            cursor: 51
        }
    );
    b.answer(Outcome::Polled(Page {
        next: 60,
        count: 9,
        ..Page::default()
    }));
    assert!(b.feed.polled > before && b.feed.payloads == 59);
    assert!(matches!(b.step(), Step::Wait(_)));
}

#[test]
fn who_asks_while_a_poll_is_under_way_gets_another() {
    let mut b = Bench::started();
    b.now += INTERVAL;
    b.read = b.now;
    b.action();
    let asked = b.feed.poll_now();
    b.answer(Outcome::Polled(Page {
        next: 1,
        ..Page::default()
    }));
    assert_eq!(b.feed.came_of(asked), None);
    b.polled(1, 0);
    assert_eq!(b.feed.came_of(asked), Some(Ok(())));
    assert!(matches!(b.step(), Step::Wait(_)));
}

#[test]
fn missing_payloads_are_a_gap_and_it_goes_on_from_there() {
    let mut b = Bench::started();
    b.now += INTERVAL;
    b.read = b.now;
    let r = b.polled(8, 3);
    assert!(r.gap.is_some() && r.save && r.apply.is_some());
    assert_eq!(b.view().from, b.seq);
    assert_eq!(b.feed.hook.as_ref().unwrap().cursor, 8);
    b.now += INTERVAL;
    b.read = b.now;
    assert!(b.polled(9, 1).gap.is_none());
}

#[test]
fn an_error_payload_ends_the_webhook_and_a_new_one_is_made() {
    let mut b = Bench::started();
    b.now += INTERVAL;
    b.read = b.now;
    b.action();
    let r = b.answer(Outcome::Polled(Page {
        next: 2,
        count: 1,
        error: Some("INVALID_FILTERS".into()),
        ..Page::default()
    }));
    assert!(r.gap.is_some() && r.apply.is_none());
    assert_eq!(b.view(), View::OFF);
    assert_eq!(
        b.action(),
        Action::Delete {
            webhook: "achNew".into()
        }
    );
    b.answer(Outcome::Deleted);
    assert_eq!(b.action(), Action::List);
    b.answer(Outcome::Listed(vec![]));
    assert_eq!(b.action(), Action::Create);
}

#[test]
fn a_webhook_that_is_refused_is_looked_for_before_it_is_given_up() {
    let mut b = Bench::started();
    b.now += INTERVAL;
    b.read = b.now;
    b.action();
    assert!(
        b.answer(refused()).gap.is_none(),
        "a 403 may be the token's fault"
    );
    assert!(b.view().behind && b.view().from > 0);
    b.now += INTERVAL;
    assert_eq!(b.action(), Action::List);
    let mut gone = Bench {
        feed: b.feed.clone(),
        ..b
    };
    assert!(gone.answer(Outcome::Listed(vec![])).gap.is_some());
    assert_eq!(gone.action(), Action::Create);
    let r = b.answer(Outcome::Listed(vec![hook("achNew", true, 1)]));
    assert!(r.gap.is_none());
    assert!(matches!(b.action(), Action::Poll { .. }));
}

#[test]
fn failures_back_off_up_to_the_interval_and_are_shown() {
    let mut b = Bench::started();
    b.now += INTERVAL;
    b.read = b.now;
    let mut waits = vec![];
    for _ in 0..10 {
        assert!(matches!(b.action(), Action::Poll { .. }));
        b.answer(passing());
        let Step::Wait(at) = b.step() else { panic!() };
        waits.push(at - b.now);
        b.now = at;
    }
    assert!(
        waits.windows(2).all(|w| w[0] <= w[1]) && waits[0] <= 500 && waits[9] == INTERVAL,
        "{waits:?}"
    );
    assert_eq!(b.feed.state(), "behind");
    assert!(
        !b.view().unsettled(b.now + INTERVAL),
        "reads are answered while Airtable fails"
    );
    b.polled(1, 0);
    assert!(!b.view().behind && b.feed.last_error.is_none());
}

#[test]
fn a_restart_goes_on_where_it_was_once_the_webhook_is_found() {
    let saved = Bench::started();
    let again = |pause: u64| {
        let f = Feed::restored(
            saved.feed.hook.clone(),
            saved.feed.from,
            saved.feed.polled,
            None,
        );
        Bench {
            feed: f,
            now: saved.now + pause,
            read: 0,
            seq: 2000,
        }
    };
    let mut b = again(10 * INTERVAL);
    assert!(
        b.view().unsettled(b.now),
        "what changed meanwhile is not known yet"
    );
    assert_eq!(b.action(), Action::List);
    assert!(b
        .answer(Outcome::Listed(vec![hook("achNew", true, 4)]))
        .gap
        .is_none());
    assert_eq!(b.action(), Action::Schema);
    b.answer(Outcome::Schema);
    assert!(b.view().unsettled(b.now));
    assert_eq!(b.feed.state(), "starting");
    b.polled(4, 3);
    assert_eq!(b.feed.state(), "following");
    assert!(!b.view().unsettled(b.now) && b.view().from == saved.feed.from);

    let mut expired = again(INTERVAL);
    expired.action();
    assert!(expired
        .answer(Outcome::Listed(vec![hook("achNew", false, 4)]))
        .gap
        .is_some());

    let mut silent = again(KEPT_MS + 1);
    silent.action();
    let r = silent.answer(Outcome::Listed(vec![hook("achNew", true, 4)]));
    assert!(
        r.gap.is_some(),
        "payloads may have been dropped without a trace"
    );
    assert_eq!(silent.feed.hook.as_ref().unwrap().cursor, 4);
}

#[test]
fn a_late_answer_to_an_earlier_call_is_ignored() {
    let mut b = Bench::started();
    b.now += INTERVAL;
    b.read = b.now;
    b.action();
    let ticket = b.feed.ticket();
    b.feed.look_again();
    assert_eq!(b.action(), Action::List);
    let at = Landing {
        ticket,
        sent: b.now,
        now: b.now,
        seq: 5000,
        interval: INTERVAL,
        asked: b.now,
    };
    let r = b.feed.landed(
        Outcome::Polled(Page {
            next: 90,
            count: 1,
            ..Page::default()
        }),
        at,
    );
    assert_eq!(r, Reaction::default());
    assert_eq!(b.step(), Step::Rest, "the list is still under way");
}

#[test]
fn the_webhook_is_kept_alive_long_before_its_end() {
    let mut b = Bench::started();
    let checked = b.now;
    let mut refreshed = 0;
    while b.now < checked + 3 * CHECK_MS {
        b.read = b.now;
        match b.step() {
            Step::Do(Action::Refresh { webhook }) => {
                assert_eq!(webhook, "achNew");
                refreshed += 1;
                b.answer(Outcome::Refreshed);
            }
            Step::Do(_) => drop(b.answer(Outcome::Polled(Page {
                next: 1,
                ..Page::default()
            }))),
            Step::Wait(at) => b.now = at,
            Step::Rest => panic!(),
        }
    }
    assert!((2..=3).contains(&refreshed), "{refreshed}");
}

#[test]
fn a_changed_schema_is_read_again_before_the_next_page() {
    let mut b = Bench::started();
    b.now += INTERVAL;
    b.read = b.now;
    let asked = b.feed.poll_now();
    b.action();
    b.answer(Outcome::Polled(Page {
        next: 2,
        count: 1,
        reschema: true,
        ..Page::default()
    }));
    assert_eq!(b.feed.came_of(asked), None);
    assert_eq!(b.action(), Action::Schema);
    b.answer(Outcome::Schema);
    b.polled(2, 0);
    assert_eq!(b.feed.came_of(asked), Some(Ok(())));
}

#[test]
fn who_asks_is_answered_by_a_later_poll_though_the_clock_stands_still() {
    let mut b = Bench::started();
    let first = b.feed.poll_now();
    b.polled(1, 0);
    assert_eq!(b.feed.came_of(first), Some(Ok(())));
    let second = b.feed.poll_now();
    assert_eq!(b.feed.came_of(second), None);
    assert!(matches!(b.action(), Action::Poll { .. }));
    b.answer(passing());
    assert_eq!(b.feed.came_of(second), Some(Err("UPSTREAMTIMEOUT")));
    // What failed before somebody asked says nothing to them.
    let third = b.feed.poll_now();
    assert_eq!(b.feed.came_of(third), None);
    b.polled(1, 0);
    assert_eq!(b.feed.came_of(third), Some(Ok(())));
}

#[test]
fn a_copy_seen_after_a_records_end_outlives_it() {
    let body = serde_json::json!({"payloads": [
        {"timestamp": "2026-03-04T06:00:00.000Z", "changedTablesById": {"tblA": {"destroyedRecordIds": ["recA"]}}},
        {"timestamp": "no time", "changedTablesById": {"tblA": {"destroyedRecordIds": ["recC"]}}}
    ], "cursor": 3, "mightHaveMore": true});
    let page = Page::parse(&body).unwrap();
    let (_, changes) = page.tables.first().unwrap();
    let end = 1_772_604_000_000;
    assert!(!changes.outlived("recA", end) && changes.outlived("recA", end + 1));
    assert!(
        !changes.outlived("recC", end + 1),
        "of when its end was nothing is known"
    );
}
