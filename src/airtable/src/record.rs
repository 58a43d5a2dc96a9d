//! Records as Airtable sends them, checked: what is not shaped like one is not Airtable's answer.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::address::is_id;

/// A record as answered: only cells that are not empty are in `fields`.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// `rec…`
    pub id: String,
    /// RFC 3339 in UTC, as sent.
    pub created_time: Option<String>,
    /// Cells by field name, or by field id where that was asked for, in Airtable's order.
    pub fields: Map<String, Value>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In Airtable's order, each id once: of a record that came twice the later copy is kept.
    pub records: Vec<Record>,
    /// Where the next page begins; `None` on the last. Short-lived and opaque.
    pub offset: Option<String>,
    /// Size of the answer in bytes, after decompression.
    pub bytes: u64,
}

/// Parses JSON text; nesting beyond 128 levels is an error, not a stack overflow.
pub(crate) fn parse_object(body: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("the answer is JSON, but not an object".to_string()),
        // The parser's text holds a position and never a piece of the input.
        Err(error) => Err(format!("the answer is not JSON: {error}")),
    }
}

pub(crate) fn parse_page(body: &[u8]) -> Result<Page, String> {
    let mut object = parse_object(body)?;
    let offset = match object.remove("offset") {
        None | Some(Value::Null) => None,
        Some(Value::String(offset)) => Some(offset).filter(|offset| !offset.is_empty()),
        Some(_) => return Err("the answer's offset is not text".to_string()),
    };
    let records = last_of_each(take_records(&mut object)?);
    Ok(Page {
        records,
        offset,
        bytes: body.len() as u64,
    })
}

/// The answer to a create or an update, in the order of the answer.
pub(crate) fn parse_written(body: &[u8]) -> Result<Vec<Record>, String> {
    take_records(&mut parse_object(body)?)
}

/// The answer to a delete: the ids that are really gone.
pub(crate) fn parse_deleted(body: &[u8]) -> Result<Vec<String>, String> {
    let mut ids = Vec::new();
    for value in take_array(&mut parse_object(body)?, "records")? {
        let Value::Object(mut object) = value else {
            return Err("a deleted record in the answer is not an object".to_string());
        };
        let id = take_id(&mut object)?;
        match object.get("deleted") {
            Some(Value::Bool(true)) => ids.push(id),
            Some(Value::Bool(false)) => {}
            _ => return Err("the answer does not say whether a record was deleted".to_string()),
        }
    }
    Ok(ids)
}

pub(crate) fn take_array(
    object: &mut Map<String, Value>,
    name: &str,
) -> Result<Vec<Value>, String> {
    match object.remove(name) {
        Some(Value::Array(values)) => Ok(values),
        _ => Err(format!("the answer lacks the array \"{name}\"")),
    }
}

fn take_records(object: &mut Map<String, Value>) -> Result<Vec<Record>, String> {
    take_array(object, "records")?
        .into_iter()
        .map(record)
        .collect()
}

fn record(value: Value) -> Result<Record, String> {
    let Value::Object(mut object) = value else {
        return Err("a record in the answer is not an object".to_string());
    };
    let id = take_id(&mut object)?;
    let fields = match object.remove("fields") {
        Some(Value::Object(fields)) => fields,
        _ => return Err(format!("record {id} in the answer has no fields")),
    };
    let created_time = match object.remove("createdTime") {
        Some(Value::String(time)) => Some(time),
        _ => None,
    };
    Ok(Record {
        id,
        created_time,
        fields,
    })
}

fn take_id(object: &mut Map<String, Value>) -> Result<String, String> {
    match object.remove("id") {
        Some(Value::String(id)) if is_id("rec", &id) => Ok(id),
        _ => Err("a record in the answer has no id of the form rec…".to_string()),
    }
}

/// Airtable may repeat a record within a listing; the later copy is the newer one.
fn last_of_each(records: Vec<Record>) -> Vec<Record> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(records.len());
    let mut kept: Vec<Record> = Vec::with_capacity(records.len());
    for record in records {
        match places
            .get(&record.id)
            .and_then(|place| kept.get_mut(*place))
        {
            Some(earlier) => *earlier = record,
            None => {
                places.insert(record.id.clone(), kept.len());
                kept.push(record);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
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
            let page =
                parse_page(format!(r#"{{"records":[],"offset":{offset}}}"#).as_bytes()).unwrap();
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
        let deep = format!(
            r#"{{"records":[{{"id":"recA","fields":{{"x":{}1{}}}}}]}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        for body in [
            "",
            "nul",
            "[]",
            "{}",
            r#"{"records":{}}"#,
            r#"{"records":[1]}"#,
            r#"{"records":[{}]}"#,
            r#"{"records":[{"id":"recA"}]}"#,
            r#"{"records":[{"id":"recA","fields":[]}]}"#,
            r#"{"records":[{"id":"tblA","fields":{}}]}"#,
            r#"{"records":[{"id":"rec/../x","fields":{}}]}"#,
            r#"{"records":[{"id":7,"fields":{}}]}"#,
            r#"{"records":[],"offset":7}"#,
            r#"{"records":[]} x"#,
            r#"{"records":[{"id":"recA","fields":{"n":1e999}}]}"#,
            "{\"records\":[\u{0}]}",
            &deep,
        ] {
            assert!(
                parse_page(body.as_bytes()).is_err(),
                "{}",
                body.get(..40).unwrap_or(body)
            );
        }
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
            assert!(parse_deleted(body.as_bytes()).is_err(), "{body}");
        }
    }
}
