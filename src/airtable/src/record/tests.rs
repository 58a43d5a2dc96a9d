#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

#[test]
fn a_page_is_read_whatever_else_is_in_it() {
    let body = br#"{"new":1,"records":[
        {"id":"recA","createdTime":"2026-03-04T05:06:07.000Z","commentCount":3,"fields":{"Points":0.1,"Name":"A"}},
        {"fields":{},"id":"recB"}],"offset":"itr1/recB"}"#;
    let page = parse_page(body).unwrap();
    assert_eq!(page.offset.as_deref(), Some("itr1/recB"));
    assert_eq!(page.bytes, body.len() as u64);
    let ids: Vec<_> = page.records.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids, ["recA", "recB"]);
    let first = &page.records.first().unwrap();
    assert_eq!(
        first.created_time.as_deref(),
        Some("2026-03-04T05:06:07.000Z")
    );
    assert_eq!(
        serde_json::to_string(&first.fields).unwrap(),
        r#"{"Points":0.1,"Name":"A"}"#
    );
}

#[test]
fn an_empty_offset_is_none() {
    for offset in [r#""""#, "null"] {
        let page = parse_page(format!(r#"{{"records":[],"offset":{offset}}}"#).as_bytes()).unwrap();
        assert_eq!(page.offset, None);
    }
}

#[test]
fn of_a_repeated_record_the_last_copy_stays() {
    let body = br#"{"records":[{"id":"recA","fields":{"n":1}},{"id":"recB","fields":{}},{"id":"recA","fields":{"n":2}}]}"#;
    let records = parse_page(body).unwrap().records;
    assert_eq!(records.len(), 2);
    assert_eq!(
        records
            .iter()
            .find(|r| r.id == "recA")
            .unwrap()
            .fields
            .get("n"),
        Some(&json!(2))
    );
}

#[test]
fn wrong_shapes_are_errors() {
    for body in [
        "",
        "nul",
        "[]",
        "{}",
        r#"{"records":{}}"#,
        r#"{"records":[{"id":"recA","fields":{}}"#,
        r#"{"records":[],"offset":7}"#,
        r#"{"records":[],"offset":tru}"#,
        r#"{"records":[]} x"#,
    ] {
        assert!(
            parse_page(body.as_bytes()).is_err(),
            "{}",
            body.get(..40).unwrap_or(body)
        );
    }
}

#[test]
fn a_record_that_cannot_be_read_spoils_none_beside_it() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (damaged, id, cells) in [
        ("1", None, None),
        ("null", None, None),
        ("tru", None, None),
        ("\u{0}", None, None),
        ("{}", None, None),
        ("[[]]", None, None),
        (deep.as_str(), None, None),
        (r#"{"id":"tblA","fields":{}}"#, None, None),
        (r#"{"id":"rec/../x","fields":{}}"#, None, None),
        (r#"{"id":7,"fields":{}}"#, None, None),
        (r#"{"id":"recX"}"#, Some("recX"), None),
        (r#"{"id":"recX","fields":[]}"#, Some("recX"), None),
        (r#"{"id":"recX","fields":null}"#, Some("recX"), None),
        (
            r#"{"id":"recX","fields":{"a":1,7,"b":2}}"#,
            Some("recX"),
            None,
        ),
        (
            &format!(r#"{{"id":"recX","fields":{{"a":1,"x":{deep},"b":"\ud83c"}}}}"#),
            Some("recX"),
            Some(r#"{"a":1,"b":"\ufffd"}"#),
        ),
        (
            r#"{"id":"recX","fields":{"a":1,"x":nul}}"#,
            Some("recX"),
            Some(r#"{"a":1}"#),
        ),
    ] {
        let body = format!(
            r#"{{"records":[{{"id":"recA","fields":{{"n":1}}}},{damaged},{{"id":"recB","fields":{{}}}}],"offset":"itr/x"}}"#
        );
        let page = parse_page(body.as_bytes()).unwrap();
        let shown = damaged.get(..40).unwrap_or(damaged);
        assert_eq!(page.records.len(), 2, "{shown}");
        assert_eq!(page.offset.as_deref(), Some("itr/x"), "{shown}");
        assert_eq!(page.nameless, u64::from(id.is_none()), "{shown}");
        assert_eq!(
            page.damaged.first().and_then(|d| d.id.as_deref()),
            id,
            "{shown}"
        );
        let read = page.damaged.first().and_then(|d| d.fields.clone());
        assert_eq!(
            read,
            cells.map(|c| serde_json::from_str(c).unwrap()),
            "{shown}"
        );
    }
}

#[test]
fn a_damaged_text_is_mended_and_a_number_beyond_a_float_keeps_its_digits() {
    let body = br#"{"records":[{"id":"recA","createdTime":"t","fields":{"\ud83c":"\udf89\ud83c","n":1e999}}]}"#;
    let page = parse_page(body).unwrap();
    let record = page.records.first().unwrap();
    assert_eq!(record.created_time.as_deref(), Some("t"));
    assert_eq!(
        Value::Object(record.fields.clone()),
        json!({"\u{fffd}": "\u{fffd}\u{fffd}", "n": "1e999"})
    );
    assert!(page.damaged.is_empty() && page.nameless == 0);
}

#[test]
fn a_later_copy_counts_whether_it_can_be_read_or_not() {
    let page = |first, second| {
        parse_page(format!(r#"{{"records":[{first},{second}]}}"#).as_bytes()).unwrap()
    };
    let (whole, damaged) = (
        r#"{"id":"recA","fields":{}}"#,
        r#"{"id":"recA","fields":7}"#,
    );
    let worse = page(whole, damaged);
    assert!(worse.records.is_empty() && worse.damaged.len() == 1 && worse.count() == 1);
    let better = page(damaged, whole);
    assert!(better.records.len() == 1 && better.damaged.is_empty());
    assert_eq!(better.ids().collect::<Vec<_>>(), ["recA"]);
}

#[test]
fn many_small_values_take_no_memory_beyond_the_answers_size() {
    let zeros = |n: usize| "0,".repeat(n) + "0";
    let page = parse_page(format!(r#"{{"records":[{}]}}"#, zeros(3_000_000)).as_bytes());
    let page = match page {
        Ok(page) => page.records.len() + page.damaged.len(),
        Err(why) => {
            assert_eq!(why, NoPage::TooLarge);
            0
        }
    };
    assert_eq!(page, 0);
    let one = format!(
        r#"{{"records":[{{"id":"recA","fields":{{"x":[{}]}}}},{{"id":"recB","fields":{{}}}}]}}"#,
        zeros(1_000_000)
    );
    let page = parse_page(one.as_bytes()).unwrap();
    assert_eq!((page.records.len(), page.damaged.len()), (1, 1));
    let record = format!(r#"{{"id":"recA","fields":{{"x":[{}]}}}}"#, zeros(60_000));
    let many = format!(r#"{{"records":[{}]}}"#, vec![record; 20].join(","));
    assert_eq!(parse_page(many.as_bytes()), Err(NoPage::TooLarge));
}

#[test]
fn of_a_write_each_place_says_what_came() {
    let written = parse_written(
        br#"{"records":[{"id":"recA","fields":{}},7,{"id":"recB","fields":{"x":nul}}]}"#,
    )
    .unwrap();
    let shown: Vec<_> = written
        .iter()
        .map(|w| {
            w.as_ref()
                .map(|r| r.id.as_str())
                .map_err(|d| d.id.as_deref())
        })
        .collect();
    assert_eq!(shown, [Ok("recA"), Err(None), Err(Some("recB"))]);
}

#[test]
fn numbers_survive_the_round_trip() {
    let numbers = "[5e-324,0.1,1.7976931348623157e308,2.2250738585072014e-308,31.2456789012345678,9007199254740993]";
    let body = format!(r#"{{"records":[{{"id":"recA","fields":{{"x":{numbers}}}}}]}}"#);
    let page = parse_page(body.as_bytes()).unwrap();
    let again: Vec<f64> = serde_json::from_value(
        page.records
            .first()
            .unwrap()
            .fields
            .get("x")
            .unwrap()
            .clone(),
    )
    .unwrap();
    let exact: Vec<f64> = numbers
        .trim_matches(['[', ']'])
        .split(',')
        .map(|n| n.parse().unwrap())
        .collect();
    assert_eq!(again, exact);
}

#[test]
fn only_what_was_deleted_counts() {
    let ids = parse_deleted(
        br#"{"records":[{"id":"recA","deleted":true},{"deleted":false,"id":"recB"}]}"#,
    );
    assert_eq!(ids.unwrap(), ["recA"]);
    for body in [
        r#"{"records":[{"id":"recA"}]}"#,
        r#"{"records":[{"deleted":true}]}"#,
        r#"{"records":["recA"]}"#,
    ] {
        let with = body.replace("]}", r#",{"id":"recB","deleted":true}]}"#);
        assert_eq!(parse_deleted(with.as_bytes()).unwrap(), ["recB"], "{body}");
    }
    assert!(parse_deleted(b"{}").is_err());
}
