//! What an Airtable automation posts: which record of which table was created, changed or deleted, and when.

use crate::key::record_id_ok;
use crate::record::BadRecord;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use serde_json::{Map, Value};

/// What happened to the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It was created or changed: the payload holds it whole.
    Upsert,
    /// It is gone.
    Delete,
}

/// A payload, read.
#[derive(Clone, PartialEq, Debug)]
pub struct Notice {
    /// An entity's name, or its table's name or id, in any case.
    pub table: String,
    /// The record's id.
    pub id: String,
    /// What happened.
    pub action: Action,
    /// When, unix ms; `None`: now.
    pub at: Option<u64>,
    /// Its cells in the shapes that scripts see.
    pub cells: Cells,
}

/// A record as a payload holds it.
#[derive(Clone, PartialEq, Debug)]
pub enum Cells {
    /// Not told.
    None,
    /// Told, and not to be read.
    Unreadable,
    Told(Map<String, Value>),
}

/// Numbers below are seconds: in ms they would lie in 1973.
const SECONDS_BELOW: u64 = 100_000_000_000;

/// Reads `{"table","record","record_id","timestamp","action"}`.
///
/// # Errors
/// Names the member that is lacking or is not what it should be.
pub fn read(payload: &[u8]) -> Result<Notice, BadRecord> {
    let bad = |what: &str| BadRecord(what.to_owned());
    let parts = podium_json::members(payload).map_err(|why| match podium_json::read(payload) {
        Ok(_) => bad("the payload must be a JSON object"),
        Err(_) => BadRecord(format!("the payload is not JSON: {why}")),
    })?;
    // Each by itself: a record that cannot be read still has a name.
    let read = |text| podium_json::read(text).unwrap_or_else(|_| podium_json::MARK.into());
    let member = |name| parts.get(name).map(read);
    let table = match member("table") {
        Some(Value::String(t)) if !t.trim().is_empty() => t.trim().to_owned(),
        _ => {
            return Err(bad(
                "the payload lacks \"table\", the name of an entity or table",
            ))
        }
    };
    let id = match member("record_id") {
        Some(Value::String(id)) if record_id_ok(id.as_bytes()) => id,
        Some(_) => return Err(bad("\"record_id\" must be the id of a record, rec…")),
        None => return Err(bad("the payload lacks \"record_id\"")),
    };
    let action = match member("action") {
        None | Some(Value::Null) => Action::Upsert,
        Some(Value::String(a)) => match a.trim().to_ascii_lowercase().as_str() {
            "" | "create" | "update" => Action::Upsert,
            "delete" => Action::Delete,
            _ => return Err(bad("\"action\" must be create, update or delete")),
        },
        Some(_) => return Err(bad("\"action\" must be create, update or delete")),
    };
    let at = match member("timestamp") {
        None | Some(Value::Null) => None,
        Some(t) => Some(time(&t).ok_or_else(|| {
            bad("\"timestamp\" must be unix ms or a time such as 2026-03-04T05:06:07.000Z")
        })?),
    };
    let cells = match parts.get("record").map(podium_json::read) {
        None | Some(Ok(Value::Null)) => Cells::None,
        Some(Ok(Value::Object(record))) => Cells::Told(cells(&id, record)?),
        Some(_) => Cells::Unreadable,
    };
    Ok(Notice {
        table,
        id,
        action,
        at,
        cells,
    })
}

/// The cells of a record, flat or under `fields`.
fn cells(id: &str, mut record: Map<String, Value>) -> Result<Map<String, Value>, BadRecord> {
    // A column of that name holds something else; only an id of another record is a contradiction.
    if let Some(Value::String(own)) = record.get("id") {
        if own != id && record_id_ok(own.as_bytes()) {
            return Err(BadRecord(format!(
                "\"record\" holds the id {own}, \"record_id\" says {id}"
            )));
        }
    }
    let shaped = record.get("fields").is_some_and(Value::is_object)
        && record
            .keys()
            .all(|k| matches!(k.as_str(), "fields" | "id" | "name" | "createdTime"));
    if shaped {
        if let Some(Value::Object(cells)) = record.shift_remove("fields") {
            return Ok(cells);
        }
    }
    record.shift_remove("id");
    Ok(record)
}

/// Unix ms of a number, a number in quotes or an RFC 3339 time.
fn time(v: &Value) -> Option<u64> {
    let number = |n: u64| {
        if n < SECONDS_BELOW {
            n.saturating_mul(1000)
        } else {
            n
        }
    };
    match v {
        Value::Number(n) => n
            .as_u64()
            .or_else(|| {
                n.as_f64()
                    .filter(|f| *f >= 0.0 && *f < 1e16)
                    .map(|f| f as u64)
            })
            .map(number),
        Value::String(s) => s
            .trim()
            .parse()
            .ok()
            .map(number)
            .or_else(|| rfc3339_ms(s.trim())),
        _ => None,
    }
}

/// Unix ms of `2026-03-04T05:06:07.890Z`, the offset `+01:00` for `Z` allowed; nothing before 1970.
pub fn rfc3339_ms(text: &str) -> Option<u64> {
    let b = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = b.get(from..to)?;
        digits.iter().all(u8::is_ascii_digit).then(|| {
            digits
                .iter()
                .fold(0i64, |n, d| n * 10 + i64::from(d - b'0'))
        })
    };
    let is = |at: usize, c: &[u8]| b.get(at).is_some_and(|x| c.contains(x));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut at = 19;
    let mut ms = 0;
    if is(at, b".") {
        at += 1;
        let begun = at;
        let mut scale = 100;
        while is(at, b"0123456789") {
            ms += number(at, at + 1)? * scale;
            scale /= 10;
            at += 1;
        }
        if at == begun {
            return None;
        }
    }
    let offset = if is(at, b"Zz") {
        at += 1;
        0
    } else {
        let sign = if is(at, b"+") {
            1
        } else if is(at, b"-") {
            -1
        } else {
            return None;
        };
        let minutes = number(at + 1, at + 3)? * 60 + number(at + 4, at + 6)?;
        if !is(at + 3, b":") {
            return None;
        }
        at += 6;
        sign * minutes
    };
    if at != b.len() {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    u64::try_from(seconds * 1000 + ms).ok()
}

/// Days since 1970-01-01 in the Gregorian calendar: years are counted from March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Are two names of a table or entity the same, whatever the case?
pub fn same_name(a: &str, b: &str) -> bool {
    a.chars()
        .flat_map(char::to_lowercase)
        .eq(b.chars().flat_map(char::to_lowercase))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn of(v: Value) -> Result<Notice, BadRecord> {
        read(format!("{v}").as_bytes())
    }

    #[test]
    fn a_payload_is_read() {
        let n = of(json!({"table": " Projects", "record_id": "recA1", "timestamp": "2026-03-04T05:06:07.890Z", "action": "Update",
            "record": {"Name": "x", "Stage": {"id": "selA", "name": "Open", "color": "red"}}})).unwrap();
        assert_eq!(
            (n.table.as_str(), n.id.as_str(), n.action, n.at),
            ("Projects", "recA1", Action::Upsert, Some(1_772_600_767_890))
        );
        assert!(matches!(n.cells, Cells::Told(cells) if cells.len() == 2));
        let n = of(json!({"table": "t", "record_id": "recA1", "action": "delete", "record": null}))
            .unwrap();
        assert_eq!(
            (n.action, n.at, n.cells),
            (Action::Delete, None, Cells::None)
        );
        let n = of(json!({"table": "t", "record_id": "recA1", "record": {"id": "recA1", "fields": {"a": 1}}})).unwrap();
        assert!(
            matches!(n.cells, Cells::Told(cells) if Value::Object(cells.clone()) == json!({"a": 1}))
        );
    }

    #[test]
    fn what_is_lacking_is_named() {
        for (payload, named) in [
            (json!([]), "object"),
            (json!({"record_id": "recA"}), "table"),
            (json!({"table": "", "record_id": "recA"}), "table"),
            (json!({"table": "t"}), "record_id"),
            (json!({"table": "t", "record_id": "A"}), "record_id"),
            (
                json!({"table": "t", "record_id": "recA", "action": "explode"}),
                "action",
            ),
            (
                json!({"table": "t", "record_id": "recA", "action": 1}),
                "action",
            ),
            (
                json!({"table": "t", "record_id": "recA", "timestamp": "yesterday"}),
                "timestamp",
            ),
            (
                json!({"table": "t", "record_id": "recA", "timestamp": -1}),
                "timestamp",
            ),
            (
                json!({"table": "t", "record_id": "recA", "record": {"id": "recB"}}),
                "recB",
            ),
        ] {
            let why = of(payload.clone()).unwrap_err().0;
            assert!(why.contains(named), "{payload}: {why}");
        }
        assert!(read(b"{").is_err() && read(b"\xff").is_err());
    }

    #[test]
    fn cells_that_cannot_be_read_leave_the_record_its_name() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        for record in ["[]", "7", "tru", r#"{"a":1,2}"#, r#"{"a":nul}"#, &deep] {
            let payload = format!(r#"{{"table":"t","record":{record},"record_id":"recA"}}"#);
            let n = read(payload.as_bytes()).unwrap();
            assert_eq!((n.id.as_str(), n.cells), ("recA", Cells::Unreadable));
        }
        for odd in [r#""action":[1,2"#, r#""action":del"#, r#""timestamp":nul"#] {
            let payload = format!(r#"{{"table":"t","record_id":"recA",{odd}}}"#);
            assert!(read(payload.as_bytes()).is_err(), "{odd}");
        }
        let payload = br#"{"table":"t","record_id":"recA","record":{"a":"\ud83c"}}"#;
        let told = read(payload).unwrap().cells;
        assert!(matches!(told, Cells::Told(cells) if cells.get("a") == Some(&json!("\u{fffd}"))));
    }

    #[test]
    fn times_in_every_spelling() {
        for (given, ms) in [
            (json!(1_772_600_767_890u64), Some(1_772_600_767_890)),
            (json!(1_772_600_767), Some(1_772_600_767_000)),
            (json!("1772600767890"), Some(1_772_600_767_890)),
            (json!("2026-03-04T05:06:07Z"), Some(1_772_600_767_000)),
            (
                json!("2026-03-04T06:06:07.5+01:00"),
                Some(1_772_600_767_500),
            ),
            (json!("2024-02-29T00:00:00Z"), Some(1_709_164_800_000)),
            (json!("1970-01-01T00:00:00Z"), Some(0)),
            (json!("1969-12-31T23:59:59Z"), None),
            (json!("2026-13-04T05:06:07Z"), None),
            (json!("2026-03-04T05:06:07"), None),
            (json!("2026-03-04"), None),
            (json!(true), None),
        ] {
            assert_eq!(time(&given), ms, "{given}");
        }
    }

    #[test]
    fn names_agree_whatever_the_case() {
        assert!(
            same_name("Projects", "pROJECTS")
                && same_name("ÄRGER", "ärger")
                && !same_name("a", "b")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(b in proptest::collection::vec(any::<u8>(), 0..200), t in "\\PC{0,40}") {
            let _ = read(&b);
            let _ = rfc3339_ms(&t);
        }
    }
}
