#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::entry::Header;
use crate::feed::View as FeedView;
use crate::question::compare;
use crate::spec::{Field, Spec};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use proptest::prelude::*;

const SPEC: &str = r#"{"table":"t","base":"app1","schema":{"type":"object","properties":{"n":{"anyOf":[{"type":"number"},{"type":"string"}]}}}}"#;

fn field(spec: &Spec) -> &Field {
    spec.get(spec.field("n").unwrap()).unwrap()
}

/// What the naive way keeps: everybody's value and header.
type Truth = BTreeMap<String, (Option<String>, Header, u64)>;

fn header(fresh_until: u64, seq: u64, told: bool) -> Header {
    Header {
        generation: 1,
        asked_ms: fresh_until - 100,
        fresh_until,
        dead_at: u64::MAX,
        seq,
        told_at: if told { fresh_until - 90 } else { 0 },
    }
}

/// The naive way: all sorted, then cut.
fn sorted(
    field: &Field,
    truth: &Truth,
    descending: bool,
    offset: usize,
    count: usize,
) -> Vec<String> {
    let mut all: Vec<(&String, &Option<String>)> =
        truth.iter().map(|(id, (v, _, _))| (id, v)).collect();
    all.sort_by(|(a, x), (b, y)| {
        let by_value = match (x, y) {
            (Some(x), Some(y)) => {
                let o = compare(field, x.as_bytes(), y.as_bytes());
                if descending {
                    o.reverse()
                } else {
                    o
                }
            }
            (x, y) => y.is_some().cmp(&x.is_some()),
        };
        by_value.then_with(|| a.cmp(b))
    });
    all.into_iter()
        .skip(offset)
        .take(count)
        .map(|(id, _)| id.clone())
        .collect()
}

fn shown(view: &View, descending: bool, offset: usize, count: usize) -> Vec<String> {
    let window = view.window(descending, offset, count);
    window.into_iter().map(|(id, _)| id.into()).collect()
}

/// Until when all are fresh, each looked at by itself as the general way does.
fn fresh_until(truth: &Truth, feed: &FeedView, now: u64) -> Option<u64> {
    let mut least = u64::MAX;
    for (_, h, key_until) in truth.values() {
        let until = if feed.renews(h, now) {
            h.fresh_until.max(feed.vouched_until)
        } else {
            h.fresh_until
        };
        if now >= until || now >= *key_until {
            return None;
        }
        least = least.min(until);
    }
    Some(least)
}

#[derive(Clone, Debug)]
enum Step {
    Put {
        id: u16,
        value: Option<String>,
        fresh: u64,
        seq: u64,
        told: bool,
        key: u64,
    },
    Gone(u16),
    Outside(u16),
    Mark(u16),
}

fn values(few: bool) -> BoxedStrategy<Option<String>> {
    if few {
        return prop_oneof![
            Just(None),
            Just(Some("0".into())),
            Just(Some("1".into())),
            Just(Some("10".into()))
        ]
        .boxed();
    }
    prop_oneof![
        1 => Just(None),
        6 => (-50i32..50).prop_map(|n| Some(format!("{n}"))),
        1 => "[a-c]{0,30}".prop_map(Some),
    ]
    .boxed()
}

fn steps(few: bool, ids: u16) -> impl Strategy<Value = Vec<Step>> {
    let put = (
        0..ids,
        values(few),
        1_000u64..1_100,
        1u64..60,
        any::<bool>(),
        1_000u64..1_200,
    )
        .prop_map(|(id, value, fresh, seq, told, key)| Step::Put {
            id,
            value,
            fresh,
            seq,
            told,
            key,
        });
    let step = prop_oneof![
        8 => put,
        2 => (0..ids).prop_map(Step::Gone),
        1 => (0..ids).prop_map(Step::Outside),
        1 => (0..ids).prop_map(Step::Mark),
    ];
    prop::collection::vec(step, 0..900)
}

fn id(n: u16) -> String {
    format!("rec{n:014}")
}

fn play(field: &Field, steps: &[Step]) -> (View, Truth) {
    let (mut view, mut truth) = (View::with_capacity(10), Truth::new());
    for step in steps {
        match step {
            Step::Put {
                id: n,
                value,
                fresh,
                seq,
                told,
                key,
            } => {
                let h = header(*fresh, *seq, *told);
                let sort = value
                    .as_ref()
                    .map(|v| SortKey::of(field, v.as_bytes()).unwrap());
                view.settle(&id(*n), Seen::In(sort, Life::of(&h, *key).unwrap()));
                truth.insert(id(*n), (value.clone(), h, *key));
            }
            Step::Gone(n) => {
                view.settle(&id(*n), Seen::NoMember);
                truth.remove(&id(*n));
            }
            Step::Outside(n) => {
                view.settle(&id(*n), Seen::Outside(Life::outside(u64::MAX)));
                truth.remove(&id(*n));
            }
            Step::Mark(n) => view.mark(&id(*n)),
        }
    }
    (view, truth)
}

fn check(
    steps: &[Step],
    descending: bool,
    offset: usize,
    count: usize,
    feed: FeedView,
    now: u64,
) -> Result<(), TestCaseError> {
    let spec = Spec::parse("t", SPEC.as_bytes()).unwrap();
    let field = field(&spec);
    let (view, truth) = play(field, steps);
    prop_assert_eq!(view.total(), truth.len());
    for (descending, offset, count) in [
        (descending, offset, count),
        (!descending, 0, usize::MAX),
        (descending, 0, 10),
    ] {
        prop_assert_eq!(
            shown(&view, descending, offset, count),
            sorted(field, &truth, descending, offset, count)
        );
    }
    if let Some(until) = view.lives().fresh_until(&feed, now) {
        prop_assert_eq!(Some(until), fresh_until(&truth, &feed, now));
    } else {
        let some_ended = fresh_until(&truth, &feed, now).is_none();
        // Of some that the feed vouches for and some that it could and does not, nothing is said.
        let renewable: Vec<&Header> = truth
            .values()
            .map(|(_, h, _)| h)
            .filter(|h| crate::feed::can_renew(h))
            .collect();
        let in_part = renewable.iter().any(|h| feed.vouches(h.seq, now))
            && !renewable.iter().all(|h| feed.vouches(h.seq, now));
        prop_assert!(some_ended || in_part);
    }
    let end = now + 20;
    let mut ending: Vec<String> = Vec::new();
    view.ending(end, |id, _| {
        ending.push(id.into());
        true
    });
    ending.sort();
    let expected: Vec<String> = truth
        .iter()
        .filter(|(_, (_, h, _))| h.fresh_until < end)
        .map(|(id, _)| id.clone())
        .collect();
    prop_assert_eq!(ending, expected);
    for n in 0..40 {
        prop_assert_eq!(
            view.holds(&id(n)),
            truth.contains_key(&id(n)) || outside(steps, n)
        );
    }
    Ok(())
}

/// Was the last that was said of it that it is outside?
fn outside(steps: &[Step], of: u16) -> bool {
    let last = steps.iter().rev().find(|s| match s {
        Step::Put { id, .. } => *id == of,
        Step::Gone(n) | Step::Outside(n) => *n == of,
        Step::Mark(_) => false,
    });
    matches!(last, Some(Step::Outside(_)))
}

fn feeds() -> impl Strategy<Value = FeedView> {
    (0u64..70, 0u64..1_200).prop_map(|(from, vouched_until)| FeedView {
        from,
        vouched_until,
        ..FeedView::OFF
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]
    #[test]
    fn a_view_is_what_sorting_all_would_be(steps in steps(false, 400), descending: bool, offset in 0usize..420, count in 0usize..60, feed in feeds(), now in 900u64..1_150) {
        check(&steps, descending, offset, count, feed, now)?;
    }
    #[test]
    fn with_many_ties_too(steps in steps(true, 700), descending: bool, offset in 0usize..720, count in 0usize..60, feed in feeds(), now in 900u64..1_150) {
        check(&steps, descending, offset, count, feed, now)?;
    }
    #[test]
    fn a_few_members_come_and_go(steps in steps(true, 12), descending: bool, offset in 0usize..14, count in 0usize..14, feed in feeds(), now in 900u64..1_150) {
        check(&steps, descending, offset, count, feed, now)?;
    }
}

#[test]
fn what_is_marked_stays_marked_until_it_is_looked_at() {
    let mut view = View::default();
    view.mark("recA");
    view.mark("recA");
    assert_eq!((view.marks(), view.marked(5).len()), (1, 1));
    view.settle("recA", Seen::Unsure);
    assert_eq!((view.marks(), view.len()), (1, 0));
    view.settle("recA", Seen::Outside(Life::outside(50)));
    assert_eq!((view.marks(), view.len(), view.total()), (0, 1, 0));
    assert_eq!(view.lives().fresh_until(&FeedView::OFF, 49), Some(u64::MAX));
    assert_eq!(
        view.lives().fresh_until(&FeedView::OFF, 50),
        None,
        "its key is over"
    );
    view.settle("recA", Seen::NoMember);
    assert!(view.is_empty() && !view.holds("recA") && view.any(3).is_none());
}

#[test]
fn thousands_of_marks_are_more_than_building_it_anew() {
    let mut view = View::default();
    for n in 0..MARKS {
        view.mark(&format!("rec{n}"));
    }
    assert!(!view.is_worn());
    view.mark("one more");
    assert!(view.is_worn());
}

#[test]
fn places_are_used_again_and_long_values_counted() {
    let spec = Spec::parse("t", SPEC.as_bytes()).unwrap();
    let mut view = View::default();
    let life = Life::of(&header(1_000, 1, false), u64::MAX).unwrap();
    let long = SortKey::of(field(&spec), "x".repeat(1_000).as_bytes());
    for n in 0..3_000 {
        view.settle(&id(n), Seen::In(long.clone(), life));
    }
    let full = view.bytes();
    assert!(full > 3_000_000);
    for n in 0..3_000 {
        view.settle(&id(n), Seen::NoMember);
    }
    assert!(view.is_empty() && view.bytes() < full / 5);
    for n in 0..3_000 {
        view.settle(&id(n), Seen::In(long.clone(), life));
    }
    assert_eq!(view.bytes(), full);
    assert_eq!(view.window(true, 2_990, 100).len(), 10);
}
