#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::server::state::lane::Lane;
use crate::server::upstream::fault::Fault;
use crate::server::upstream::figures::Cause;
use crate::server::writes::step::{calls_of, plan, After, Step};
use crate::server::writes::{Cells, Place, Request, Shape};
use compact_str::CompactString;
use podium_airtable::{Failure, FailureKind, Phase, MAX_WRITE};
use podium_core::spec::Spec;
use std::collections::VecDeque;

fn lane(entity: &str) -> Lane {
    let spec = format!(
        r#"{{"table":"{entity}","base":"app1","schema":{{"type":"object","properties":{{}}}}}}"#
    );
    Lane {
        ix: 0,
        entity: entity.into(),
        spec: Spec::parse(entity, spec.as_bytes()).unwrap().into(),
        generation: 1,
        base: "app1".into(),
        table: entity.into(),
        cause: Cause::Write,
    }
}

fn ids(range: std::ops::Range<usize>) -> Vec<CompactString> {
    range
        .map(|n| CompactString::new(format!("rec{n}")))
        .collect()
}

fn cells(n: usize) -> Cells {
    Cells::from_iter([("n".to_string(), n.into())])
}

fn create(n: usize) -> Request {
    Request::Create {
        lane: lane("user"),
        records: (0..n).map(cells).collect(),
        typecast: true,
    }
}

/// Entity, places and kind of each step.
fn shown(steps: &VecDeque<Step>) -> Vec<(String, Vec<Place>, &'static str)> {
    let one = |s: &Step| (s.lane().entity.to_string(), s.places(), s.what());
    steps.iter().map(one).collect()
}

#[test]
fn records_are_created_ten_to_a_call_each_in_its_own_place() {
    for (n, calls) in [(0, 0), (1, 1), (10, 1), (11, 2), (25, 3)] {
        assert_eq!(calls_of(&create(n)), calls, "{n}");
        let (steps, names, _) = plan(create(n));
        assert_eq!((steps.len(), names.len()), (calls, n));
        let places: Vec<Place> = steps.iter().flat_map(Step::places).collect();
        assert_eq!(places, (0..n).collect::<Vec<_>>());
        for step in &steps {
            let Step::Create {
                records, typecast, ..
            } = step
            else {
                panic!("no create");
            };
            assert!(*typecast && !records.is_empty() && records.len() <= MAX_WRITE);
            assert!(records.iter().all(|(at, c)| *c == cells(*at)));
        }
    }
}

#[test]
fn an_update_is_one_call() {
    let update = Request::Update {
        lane: lane("user"),
        id: "recA".into(),
        cells: cells(1),
        typecast: false,
    };
    assert_eq!(calls_of(&update), 1);
    let (steps, names, shape) = plan(update);
    assert_eq!(shown(&steps), [("user".into(), vec![0], "an update")]);
    assert_eq!(names, [b"user:recA"]);
    assert!(shape == Shape::One);
}

#[test]
fn a_call_deletes_of_one_table_and_places_go_on_through_the_tables() {
    let tables = vec![(lane("user"), ids(0..12)), (lane("team"), ids(20..21))];
    let delete = Request::Delete(tables);
    assert_eq!(calls_of(&delete), 3);
    let (steps, names, _) = plan(delete);
    let of = |entity: &str, places: std::ops::Range<usize>| {
        (entity.to_string(), places.collect::<Vec<_>>(), "a delete")
    };
    let told = [of("user", 0..10), of("user", 10..12), of("team", 12..13)];
    assert_eq!(shown(&steps), told);
    assert_eq!(
        names[11..],
        [b"user:rec11".to_vec(), b"team:rec20".to_vec()]
    );
}

#[test]
fn asking_whether_records_are_there_needs_no_right_to_write() {
    let at = |n: usize| (n, CompactString::new(format!("rec{n}")));
    let confirm = Step::Confirm {
        lane: lane("user"),
        ids: vec![at(2)],
        known: vec![at(0)],
        refusal: Fault::new("ERR"),
    };
    assert_eq!(confirm.scope(), "data.records:read");
    assert_eq!(
        confirm.places(),
        [2, 0],
        "those that are known to be there too"
    );
    let (steps, ..) = plan(create(1));
    assert_eq!(steps[0].scope(), "data.records:write");
}

fn failure(status: Option<u16>, kind: FailureKind, error_type: Option<&str>) -> Failure {
    Failure {
        kind,
        status,
        error_type: error_type.map(str::to_string),
        message: String::new(),
        retry_after: None,
        phase: Phase::Prepare,
        may_have_applied: false,
    }
}

#[test]
fn what_comes_after_a_failure() {
    let two = plan(create(2)).0.remove(0).unwrap();
    let one = plan(create(1)).0.remove(0).unwrap();
    let update = Step::Update {
        lane: lane("user"),
        id: "recA".into(),
        cells: cells(1),
        typecast: false,
    };
    let delete = Step::Delete {
        lane: lane("user"),
        ids: vec![(0, "recA".into())],
    };
    let confirm = Step::Confirm {
        lane: lane("user"),
        ids: vec![(0, "recA".into())],
        known: Vec::new(),
        refusal: Fault::new("ERR"),
    };
    use After::{Confirmed, Divided, Over, Uncertain};
    let steps = [&one, &two, &update, &delete, &confirm];
    let after = |f: Option<&Failure>| steps.map(|s| s.after(f));

    assert_eq!(after(None), [Over; 5]);
    let refused = failure(Some(422), FailureKind::Refused, None);
    assert_eq!(
        after(Some(&refused)),
        [Over, Divided, Over, Confirmed, Over]
    );
    let gone = failure(Some(422), FailureKind::Refused, Some("ROW_DOES_NOT_EXIST"));
    assert_eq!(
        after(Some(&gone)),
        [Over, Divided, Uncertain, Confirmed, Over]
    );
    for unknown in [
        failure(Some(404), FailureKind::NotFound, None),
        failure(Some(403), FailureKind::Auth, None),
    ] {
        assert_eq!(
            after(Some(&unknown)),
            [Over, Over, Uncertain, Confirmed, Over]
        );
    }
    // Airtable is busy, or did not answer: nothing is known of the records.
    for outage in [
        failure(Some(429), FailureKind::RateLimited, None),
        failure(None, FailureKind::Timeout, None),
        failure(None, FailureKind::Refused, None),
    ] {
        assert_eq!(after(Some(&outage)), [Over; 5], "{:?}", outage.kind);
    }
    let perhaps = Failure {
        may_have_applied: true,
        ..failure(Some(500), FailureKind::Server, None)
    };
    let doubt = [Uncertain, Uncertain, Uncertain, Uncertain, Over];
    assert_eq!(after(Some(&perhaps)), doubt);
}
