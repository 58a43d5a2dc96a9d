//! The calls against an Airtable stand-in that checks what it is sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::Duration;

use airtable_emulator::{Emulator, Options};
use podium_airtable::{
    Ask, Client, Config, Damaged, Failure, FailureKind, ListQuery, Phase, Record, Token,
};
use serde_json::{json, Map, Value};

const BASE: &str = "appK3xT9vQ2mWb7Rd";
const TABLE: &str = "My Table/α";
const SCOPES: [&str; 4] = [
    "data.records:read",
    "data.records:write",
    "schema.bases:read",
    "webhook:manage",
];

struct World {
    emulator: Emulator,
    client: Client,
    token: Token,
}

impl World {
    /// A base with one table of `records` records, named `n0`, `n1`, …
    fn new(records: usize) -> Self {
        let records: Vec<Value> = (0..records)
            .map(|n| json!({"fields": {"Name": format!("n{n}"), "Points": n}}))
            .collect();
        let emulator = Emulator::start(Options {
            limits: false,
            seed: Some(json!({
                "tokens": [
                    {"token": "patAllRights00000.1", "scopes": SCOPES, "bases": [BASE]},
                    {"token": "patNoRights000000.1", "scopes": [], "bases": []},
                ],
                "bases": [{"id": BASE, "name": "Base", "tables": [{
                    "name": TABLE,
                    "fields": [
                        {"name": "Name", "type": "singleLineText"},
                        {"name": "Points", "type": "number", "options": {"precision": 1}},
                    ],
                    "records": records,
                }]}],
            })),
            ..Options::default()
        })
        .expect("an emulator");
        let client = Client::new(Config {
            url: emulator.url(),
            ..Config::default()
        })
        .expect("a client");
        Self {
            emulator,
            client,
            token: Token::new("patAllRights00000.1").unwrap(),
        }
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            base: BASE,
            table: TABLE,
            token: &self.token,
            deadline: Duration::from_secs(10),
        }
    }

    fn list(&self, formula: &str) -> Result<Vec<String>, Failure> {
        let query = ListQuery {
            formula: Some(formula),
            ..ListQuery::default()
        };
        let page = self.client.list(&self.ask(), &query)?;
        Ok(page
            .records
            .iter()
            .map(|r| r.fields["Name"].as_str().unwrap().to_string())
            .collect())
    }
}

fn cells(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// What was written, each record readable.
fn whole(written: Result<Vec<Result<Record, Damaged>>, Failure>) -> Vec<Record> {
    written
        .unwrap()
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn a_table_is_read_page_by_page() {
    let world = World::new(250);
    let (mut offset, mut sizes, mut names) = (None, Vec::new(), Vec::new());
    loop {
        let query = ListQuery {
            offset: offset.as_deref(),
            page_size: 100,
            ..ListQuery::default()
        };
        let page = world.client.list(&world.ask(), &query).unwrap();
        sizes.push(page.records.len());
        names.extend(page.records.into_iter().map(|r| r.fields["Name"].clone()));
        match page.offset {
            Some(next) => offset = Some(next),
            None => break,
        }
    }
    assert_eq!(sizes, [100, 100, 50]);
    names.sort_by_key(Value::to_string);
    names.dedup();
    assert_eq!(names.len(), 250);
    assert_eq!(world.emulator.calls().len(), 3);
}

#[test]
fn formulas_arrive_as_written_by_get_and_by_post() {
    let world = World::new(3);
    assert_eq!(world.list("{Name}='n1'").unwrap(), ["n1"]);
    let long = format!("OR({}{{Name}}='n2')", "{Name}='é&+#%',".repeat(1_000));
    assert_eq!(world.list(&long).unwrap(), ["n2"]);
    let calls = world.emulator.calls();
    let sent: Vec<_> = calls
        .iter()
        .map(|c| (c.method.as_str(), c.formula.as_deref()))
        .collect();
    assert_eq!(
        sent,
        [("GET", Some("{Name}='n1'")), ("POST", Some(long.as_str()))]
    );
}

#[test]
fn cells_come_by_field_id_when_asked_for() {
    let world = World::new(1);
    let query = ListQuery {
        by_field_id: true,
        ..ListQuery::default()
    };
    let page = world.client.list(&world.ask(), &query).unwrap();
    let fields = &page.records[0].fields;
    assert!(
        fields.keys().all(|key| key.starts_with("fld")),
        "{fields:?}"
    );
}

#[test]
fn records_are_created_changed_and_deleted() {
    let world = World::new(0);
    let (client, ask) = (&world.client, world.ask());
    let rows: Vec<_> = (0..10)
        .map(|n| cells(json!({"Name": format!("c{n}"), "Points": 0.5})))
        .collect();
    let created = whole(client.create(&ask, &rows, false));
    let names: Vec<_> = created
        .iter()
        .map(|r| r.fields["Name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"]
    );
    let changes: Vec<_> = created
        .iter()
        .rev()
        .map(|r| (r.id.clone(), cells(json!({"Points": null}))))
        .collect();
    let changed = whole(client.update(&ask, &changes, false));
    assert!(changed
        .iter()
        .map(|r| &r.id)
        .eq(changes.iter().map(|(id, _)| id)));
    assert!(changed
        .iter()
        .all(|r| !r.fields.contains_key("Points") && r.fields.contains_key("Name")));
    let typecast = (created[0].id.clone(), cells(json!({"Points": "7"})));
    assert_eq!(
        client
            .update(&ask, std::slice::from_ref(&typecast), false)
            .unwrap_err()
            .kind,
        FailureKind::Refused
    );
    let cast = whole(client.update(&ask, &[typecast], true));
    assert_eq!(cast[0].fields["Points"].as_f64(), Some(7.0));
    let ids: Vec<&str> = created.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(client.delete(&ask, &ids[..3]).unwrap(), &ids[..3]);
    assert_eq!(
        world
            .emulator
            .records(BASE, "My Table%2Fα")
            .map_or(7, |r| r.len()),
        7
    );
    let again = client.delete(&ask, &ids[..1]).unwrap_err();
    assert!(!again.may_have_applied, "{again:?}");
}

#[test]
fn refusals_are_told_apart() {
    let world = World::new(1);
    let powerless = Token::new("patNoRights000000.1").unwrap();
    let unknown = Token::new("patUnknown0000000.1").unwrap();
    for token in [&powerless, &unknown] {
        let ask = Ask {
            token,
            ..world.ask()
        };
        let failure = world.client.list(&ask, &ListQuery::default()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Auth, "{failure:?}");
    }
    let ask = Ask {
        base: "junk",
        ..world.ask()
    };
    assert_eq!(
        world.client.tables(&ask).unwrap_err().kind,
        FailureKind::NotFound
    );
    let unknown_field = world.list("AND({Nope}=1,{Other}=2)").unwrap_err();
    assert_eq!(
        unknown_field.kind,
        FailureKind::UnknownField(vec!["nope".to_string(), "other".to_string()])
    );
    assert_eq!(world.list("AND(").unwrap_err().kind, FailureKind::Refused);
    let written = world
        .client
        .create(&world.ask(), &[cells(json!({"Nope": 1}))], false);
    assert_eq!(
        written.unwrap_err().kind,
        FailureKind::UnknownField(vec!["Nope".to_string()])
    );
}

#[test]
fn a_dead_offset_says_so() {
    let world = World::new(3);
    let query = ListQuery {
        page_size: 1,
        ..ListQuery::default()
    };
    let offset = world.client.list(&world.ask(), &query).unwrap().offset;
    world
        .emulator
        .control("POST", "offsets", &Value::Null)
        .unwrap();
    let next = ListQuery {
        offset: offset.as_deref(),
        ..query
    };
    let failure = world.client.list(&world.ask(), &next).unwrap_err();
    assert_eq!(failure.kind, FailureKind::IteratorGone, "{failure:?}");
}

#[test]
fn both_limits_are_told_apart() {
    let world = World::new(1);
    for (fault, kind) in [
        (json!({"kind": "billing_limit"}), FailureKind::PlanSpent),
        (
            json!({"kind": "status", "status": 429, "type": "RATE_LIMIT_REACHED", "shape": "plural", "retry_after": 9}),
            FailureKind::RateLimited,
        ),
        (
            json!({"kind": "status", "status": 503, "type": "RETRIABLE_ERROR", "retry_after": 9}),
            FailureKind::Retriable,
        ),
    ] {
        world.emulator.fault(&fault).unwrap();
        let failure = world.list("1").unwrap_err();
        assert_eq!(failure.kind, kind, "{failure:?}");
        let waits = (kind != FailureKind::PlanSpent).then_some(Duration::from_secs(9));
        assert_eq!(failure.retry_after, waits, "{failure:?}");
        assert!(world.list("1").is_ok(), "the fault was played once");
    }
}

#[test]
fn misbehaviour_is_survived() {
    use FailureKind::{Bad, Server, Timeout, TooLarge, Unreachable};
    let world = World::new(100);
    let ask = Ask {
        deadline: Duration::from_millis(700),
        ..world.ask()
    };
    for (fault, kinds) in [
        (json!({"kind": "reset_before_headers"}), vec![Unreachable]),
        (json!({"kind": "reset_in_body"}), vec![Bad]),
        (json!({"kind": "hang"}), vec![Timeout]),
        (json!({"kind": "drip", "interval_ms": 100}), vec![Timeout]),
        (json!({"kind": "truncated_gzip"}), vec![Bad]),
        (json!({"kind": "truncated_json"}), vec![Bad]),
        (
            json!({"kind": "huge_body", "bytes": 4 << 20}),
            vec![TooLarge],
        ),
        (
            json!({"kind": "gzip_bomb", "bytes": 4 << 20}),
            vec![TooLarge],
        ),
        (json!({"kind": "wrong_content_type"}), vec![Bad]),
        (json!({"kind": "html"}), vec![Bad]),
        (json!({"kind": "html", "status": 502}), vec![Server]),
        (json!({"kind": "empty_body"}), vec![Bad]),
        (
            json!({"kind": "redirect", "location": "/v0/meta/whoami"}),
            vec![Bad],
        ),
    ] {
        // A reset on a kept connection is repeated once, and is to fail again.
        let mut fault = fault;
        fault["times"] = json!(-1);
        world.emulator.fault(&fault).unwrap();
        let client = Client::new(Config {
            url: world.emulator.url(),
            max_response_bytes: 1024 * 1024,
            ..Config::default()
        })
        .unwrap();
        let failure = client.list(&ask, &ListQuery::default()).unwrap_err();
        assert!(kinds.contains(&failure.kind), "{fault}: {failure:?}");
        world.emulator.clear_faults();
        assert!(world.list("1").is_ok(), "after {fault}");
    }
    world.emulator.fault(&json!({"kind": "deep_json"})).unwrap();
    let deep = world.client.list(&ask, &ListQuery::default()).unwrap();
    assert_eq!((deep.nameless, deep.count()), (1, 1));
    world
        .emulator
        .fault(&json!({"kind": "duplicate_record"}))
        .unwrap();
    let mut names = world.list("1").unwrap();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "each record once");
}

#[test]
fn a_lost_write_says_that_it_may_have_applied() {
    let world = World::new(0);
    world
        .emulator
        .fault(&json!({"kind": "reset_before_headers", "apply": true}))
        .unwrap();
    let failure = world
        .client
        .create(&world.ask(), &[cells(json!({"Name": "x"}))], false)
        .unwrap_err();
    assert!(
        failure.may_have_applied && !failure.is_safe_to_retry(true),
        "{failure:?}"
    );
    assert_eq!(world.list("1").unwrap(), ["x"], "written once");
}

#[test]
fn the_schema_and_the_token_are_known() {
    let world = World::new(0);
    let schema = world.client.tables(&world.ask()).unwrap();
    assert_eq!(schema["tables"][0]["name"], TABLE);
    let user = world.client.whoami(&world.ask()).unwrap();
    assert!(user["id"].as_str().unwrap().starts_with("usr"));
}

#[test]
fn a_webhook_lives() {
    let world = World::new(1);
    let (client, ask) = (&world.client, world.ask());
    let specification =
        json!({"specification": {"options": {"filters": {"dataTypes": ["tableData"]}}}});
    let hook = client.webhook_create(&ask, &specification).unwrap();
    assert!(!hook.mac_secret.reveal().is_empty() && hook.expiration_time.is_some());
    let listed = client.webhook_list(&ask).unwrap();
    assert_eq!(listed[0]["id"], json!(hook.id));
    client
        .create(&ask, &[cells(json!({"Name": "new"}))], false)
        .unwrap();
    let payloads = client.webhook_payloads(&ask, &hook.id, 1, 50).unwrap();
    assert_eq!(
        payloads["payloads"].as_array().unwrap().len(),
        1,
        "{payloads}"
    );
    assert_eq!(
        (&payloads["cursor"], &payloads["mightHaveMore"]),
        (&json!(2), &json!(false))
    );
    assert!(client.webhook_refresh(&ask, &hook.id).unwrap().is_some());
    client.webhook_delete(&ask, &hook.id).unwrap();
    assert!(client.webhook_list(&ask).unwrap().is_empty());
    let gone = client.webhook_payloads(&ask, &hook.id, 1, 50).unwrap_err();
    assert_eq!(gone.phase, Phase::Headers, "{gone:?}");
}
