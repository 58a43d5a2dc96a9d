//! redis-rs against Podium. PODIUM_PORT names the server.

use redis::{Client, Connection, ErrorKind, RedisResult, Value};
use serde_json::{json, Value as Json};
use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

struct Checks {
    label: &'static str,
    passed: u32,
    failed: u32,
}

impl Checks {
    fn check(&mut self, what: &str, holds: bool, seen: &dyn std::fmt::Debug) {
        if holds {
            self.passed += 1;
        } else {
            self.failed += 1;
            println!("FAILED {}: {what}; got {seen:?}", self.label);
        }
    }
}

fn record(number: u32) -> String {
    format!("items:recitm{number:011}")
}

fn call<T: redis::FromRedisValue>(connection: &mut Connection, words: &[&str]) -> RedisResult<T> {
    let (name, rest) = words
        .split_first()
        .ok_or((ErrorKind::ClientError, "no command"))?;
    let mut command = redis::cmd(name);
    for word in rest {
        command.arg(*word);
    }
    command.query(connection)
}

fn parse(body: &str) -> Json {
    serde_json::from_str(body).unwrap_or(Json::Null)
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn conversation(connection: &mut Connection, checks: &mut Checks, resp3: bool) -> RedisResult<()> {
    let spec = json!({"schema": {"type": "object", "properties": {
        "id": {"type": "string"}, "name": {"type": "string"}, "n": {"type": "integer", "default": 0, "sortable": true},
        "group": {"type": "string", "default": "", "indexed": true}}}})
    .to_string();
    let _: String = call(connection, &["FLUSHALL"])?;
    let ok: String = call(connection, &["PODIUM.SPEC", "SET", "items", &spec])?;
    checks.check("SPEC SET", ok == "OK", &ok);
    let names: Vec<String> = call(connection, &["PODIUM.SPEC", "LIST"])?;
    checks.check("SPEC LIST", names == ["items"], &names);

    let (body, meta): (String, Value) = call(connection, &["PODIUM.GET", &record(1), "META"])?;
    checks.check("the record", parse(&body)["n"] == 1, &body);
    checks.check(
        "META's shape",
        matches!(meta, Value::Map(_)) == resp3,
        &meta,
    );
    let pairs: HashMap<String, Value> = redis::from_owned_redis_value(meta)?;
    checks.check(
        "a miss",
        pairs.get("cache").map(text).as_deref() == Some("MISS"),
        &pairs,
    );
    let (_, hit): (String, HashMap<String, Value>) =
        call(connection, &["PODIUM.GET", &record(1), "META"])?;
    checks.check(
        "a hit",
        hit.get("cache").map(text).as_deref() == Some("HIT"),
        &hit,
    );
    let absent: Option<String> = call(connection, &["PODIUM.GET", "items:recDoesNotExist01"])?;
    checks.check("null", absent.is_none(), &absent);

    let several: Vec<Option<String>> = call(
        connection,
        &[
            "PODIUM.MGET",
            "3",
            &record(1),
            "items:recDoesNotExist01",
            &record(2),
        ],
    )?;
    let numbers: Vec<Option<Json>> = several
        .iter()
        .map(|one| one.as_ref().map(|body| parse(body)["n"].clone()))
        .collect();
    checks.check(
        "MGET",
        numbers == [Some(json!(1)), None, Some(json!(2))],
        &several,
    );
    let top: Vec<String> = call(
        connection,
        &[
            "PODIUM.INDEX",
            "items:group:g1",
            "SORT",
            "n",
            "DESC",
            "LIMIT",
            "0",
            "2",
        ],
    )?;
    let numbers: Vec<Json> = top.iter().map(|body| parse(body)["n"].clone()).collect();
    checks.check("INDEX", numbers == [json!(391), json!(381)], &top);
    let count: i64 = call(connection, &["PODIUM.INDEX", "items:group:g1", "COUNT"])?;
    checks.check("INDEX COUNT", count == 40, &count);
    let members: Vec<String> = call(connection, &["PODIUM.INTER", "1", "items:group:g1", "IDS"])?;
    checks.check("INTER IDS", members.len() == 40, &members);

    let mut pipe = redis::pipe();
    for number in 10..60 {
        pipe.cmd("PODIUM.GET").arg(record(number));
    }
    let piped: Vec<String> = pipe.query(connection)?;
    let in_order = piped
        .iter()
        .zip(10..60)
        .all(|(body, number)| parse(body)["n"] == number);
    checks.check("a pipeline", piped.len() == 50 && in_order, &piped.first());

    let mut multi = redis::pipe();
    multi.atomic();
    multi.cmd("PODIUM.GET").arg(record(10));
    multi
        .cmd("PODIUM.UPSERT")
        .arg(record(11))
        .arg(r#"{"name":"told"}"#);
    let (body, stored): (String, i64) = multi.query(connection)?;
    checks.check("MULTI: a hit", parse(&body)["n"] == 10, &body);
    checks.check("MULTI: UPSERT", stored == 1, &stored);
    let mut multi = redis::pipe();
    multi.atomic();
    multi.cmd("PODIUM.GET").arg(record(300));
    let refused: RedisResult<Vec<Value>> = multi.query(connection);
    checks.check(
        "MULTI: a miss",
        format!("{refused:?}").contains("WOULDBLOCK"),
        &refused,
    );
    let fetched: String = call(connection, &["PODIUM.GET", &record(300)])?;
    checks.check(
        "read what MULTI started to fetch",
        parse(&fetched)["n"] == 300,
        &fetched,
    );
    let told: String = call(connection, &["PODIUM.GET", &record(11)])?;
    checks.check("read what was told", parse(&told)["name"] == "told", &told);

    let refused: RedisResult<String> = call(connection, &["PODIUM.GET", "items:nonsense"]);
    let code = refused
        .as_ref()
        .err()
        .and_then(|error| error.code().map(str::to_owned));
    checks.check("BADKEY", code.as_deref() == Some("BADKEY"), &refused);
    let dropped: i64 = call(connection, &["PODIUM.INVALIDATE", &record(10), &record(11)])?;
    checks.check("INVALIDATE", dropped == 2, &dropped);
    Ok(())
}

fn connect(port: &str, query: &str) -> RedisResult<Connection> {
    let connection = Client::open(format!("redis://127.0.0.1:{port}/{query}"))?
        .get_connection_with_timeout(Duration::from_secs(5))?;
    connection.set_read_timeout(Some(Duration::from_secs(15)))?;
    Ok(connection)
}

fn main() -> ExitCode {
    let port = std::env::var("PODIUM_PORT").unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for (label, query, resp3) in [
        ("redis-rs on RESP2", "", false),
        ("redis-rs on RESP3", "?protocol=resp3", true),
    ] {
        let mut checks = Checks {
            label,
            passed: 0,
            failed: 0,
        };
        let ended = connect(&port, query)
            .and_then(|mut connection| conversation(&mut connection, &mut checks, resp3));
        if let Err(error) = ended {
            checks.check("the conversation ends", false, &error);
        }
        passed += checks.passed;
        failed += checks.failed;
    }
    println!("redis-rs: {passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0 || passed == 0))
}
