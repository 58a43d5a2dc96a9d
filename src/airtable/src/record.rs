//! Records as Airtable sends them, checked: what is not shaped like one is not Airtable's answer.
//!
//! Each is read by itself: one that cannot be read is told apart and spoils none beside it, and memory is taken for one
//! answer's records, not for what else it may hold.

use std::collections::HashMap;

use podium_json::{self as text, Members, Unreadable};
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

/// A record that came and cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Damaged {
    /// `rec…`; `None`: which one it is cannot be read either.
    pub id: Option<String>,
    /// What is wrong with it; holds no piece of it but the names of fields.
    pub why: String,
    /// The cells that can be read, all but those that `why` names; `None`: none can, and there may be any.
    pub fields: Option<Map<String, Value>>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In Airtable's order, each id once: of a record that came twice the later copy is kept.
    pub records: Vec<Record>,
    /// Those that cannot be read but say which they are, each id once and none of those above.
    pub damaged: Vec<Damaged>,
    /// What cannot be read and does not say which record it is.
    pub nameless: u64,
    /// Where the next page begins; `None` on the last. Short-lived and opaque.
    pub offset: Option<String>,
    /// Size of the answer in bytes, after decompression.
    pub bytes: u64,
}

impl Page {
    /// Records that came, readable or not.
    pub fn count(&self) -> u64 {
        (self.records.len() + self.damaged.len()) as u64 + self.nameless
    }
    /// The ids that came, of records that can be read and of those that cannot.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let damaged = self.damaged.iter().filter_map(|d| d.id.as_deref());
        self.records.iter().map(|r| r.id.as_str()).chain(damaged)
    }
}

/// A page that is none.
#[derive(Debug, PartialEq)]
pub(crate) enum NoPage {
    /// It is not Airtable's answer.
    Bad(String),
    /// It would take more memory than its bytes allow.
    TooLarge,
}

impl From<String> for NoPage {
    fn from(why: String) -> NoPage {
        NoPage::Bad(why)
    }
}

/// Values that an answer, and a record, may hold however small they are; above that, one for so many bytes. A value takes
/// tens of bytes once it is read, whatever it took as text.
const VALUES: usize = 262_144;
const RECORD_VALUES: usize = 65_536;
const BYTES_A_VALUE: usize = 8;

/// Reads a whole answer; parts that cannot be read are [`podium_json::MARK`].
pub(crate) fn parse_object(body: &[u8]) -> Result<Map<String, Value>, String> {
    if text::values(body) > VALUES + body.len() / BYTES_A_VALUE {
        return Err("the answer holds too many values".to_string());
    }
    match text::salvage(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("the answer is JSON, but not an object".to_string()),
        // The text holds no piece of the input.
        Err(why) => Err(format!("the answer is not JSON: {why}")),
    }
}

/// The members of an answer, unread.
pub(crate) fn parse_members(body: &[u8]) -> Result<Members<'_>, String> {
    text::members(body).map_err(|why| match text::salvage(body) {
        Ok(_) => "the answer is JSON, but not an object".to_string(),
        Err(_) => format!("the answer is not JSON: {why}"),
    })
}

pub(crate) fn parse_page(body: &[u8]) -> Result<Page, NoPage> {
    let members = parse_members(body)?;
    let offset = match members.get("offset").map(text::read) {
        None | Some(Ok(Value::Null)) => None,
        Some(Ok(Value::String(offset))) => Some(offset).filter(|offset| !offset.is_empty()),
        Some(_) => return Err(NoPage::Bad("the answer's offset is not text".to_string())),
    };
    let mut read: Vec<Result<Record, Damaged>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut nameless = 0;
    let mut left = VALUES + body.len() / BYTES_A_VALUE;
    for part in parts(&members, "records")? {
        let result = record(part, &mut left).ok_or(NoPage::TooLarge)?;
        let id = match &result {
            Ok(record) => record.id.clone(),
            Err(Damaged { id: Some(id), .. }) => id.clone(),
            Err(_) => {
                nameless += 1;
                continue;
            }
        };
        // Airtable may repeat a record within a listing; the later copy is the newer one.
        match places.get(&id).and_then(|place| read.get_mut(*place)) {
            Some(earlier) => *earlier = result,
            None => {
                places.insert(id, read.len());
                read.push(result);
            }
        }
    }
    let mut page = Page {
        records: Vec::with_capacity(read.len()),
        damaged: Vec::new(),
        nameless,
        offset,
        bytes: body.len() as u64,
    };
    for result in read {
        match result {
            Ok(record) => page.records.push(record),
            Err(damaged) => page.damaged.push(damaged),
        }
    }
    Ok(page)
}

/// The answer to a create or an update, in the order of the answer.
pub(crate) fn parse_written(body: &[u8]) -> Result<Vec<Result<Record, Damaged>>, String> {
    let members = parse_members(body)?;
    let mut left = VALUES + body.len() / BYTES_A_VALUE;
    let mut written = Vec::new();
    for part in parts(&members, "records")?.take(crate::MAX_WRITE + 1) {
        let too_large = || {
            Err(Damaged {
                id: None,
                why: "the answer holds too many values".to_string(),
                fields: None,
            })
        };
        written.push(record(part, &mut left).unwrap_or_else(too_large));
    }
    Ok(written)
}

/// The answer to a delete: the ids that are really gone. What is said of the others, if anything, says nothing.
pub(crate) fn parse_deleted(body: &[u8]) -> Result<Vec<String>, String> {
    let members = parse_members(body)?;
    let mut ids = Vec::new();
    for part in parts(&members, "records")?.take(crate::MAX_WRITE + 1) {
        let Ok(members) = text::members(part) else {
            continue;
        };
        let deleted = members.get("deleted").map(text::read);
        if let (Some(id), Some(Ok(Value::Bool(true)))) = (id_in(&members), deleted) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The elements of the arrays of this name, unread.
pub(crate) fn parts<'a>(
    members: &'a Members<'a>,
    name: &'static str,
) -> Result<impl Iterator<Item = &'a [u8]>, String> {
    let mut arrays = Vec::new();
    for (_, value) in members.list.iter().filter(|(n, _)| n == name) {
        let elements = text::elements(value);
        arrays.push(elements.map_err(|_| format!("the answer's \"{name}\" is no array"))?);
    }
    if arrays.is_empty() {
        return Err(format!("the answer lacks the array \"{name}\""));
    }
    Ok(arrays.into_iter().flatten())
}

/// Reads one record. `left`: values that the answer may still hold; `None`: this holds more.
fn record(part: &[u8], left: &mut usize) -> Option<Result<Record, Damaged>> {
    let most = RECORD_VALUES + part.len() / BYTES_A_VALUE;
    let values = text::values(part);
    if values > most {
        return Some(by_parts(part, most));
    }
    *left = left.checked_sub(values)?;
    Some(match serde_json::from_slice(part) {
        Ok(value) => whole(value),
        Err(_) => by_parts(part, most),
    })
}

/// Of a record that is JSON.
fn whole(value: Value) -> Result<Record, Damaged> {
    let damaged = |id: Option<String>, why: &str| Damaged {
        id,
        why: why.to_string(),
        fields: None,
    };
    let Value::Object(mut object) = value else {
        return Err(damaged(None, "it is no object"));
    };
    let id = match object.remove("id") {
        Some(Value::String(id)) if is_id("rec", &id) => id,
        _ => return Err(damaged(None, NO_ID)),
    };
    let Some(Value::Object(fields)) = object.remove("fields") else {
        return Err(damaged(Some(id), NO_FIELDS));
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

const NO_ID: &str = "it has no id of the form rec…";
const NO_FIELDS: &str = "its \"fields\" are no object";

/// Of a record that is not: cell by cell, `left` values at most.
fn by_parts(part: &[u8], mut left: usize) -> Result<Record, Damaged> {
    let damaged = |id: Option<String>, why: String, fields| Damaged { id, why, fields };
    let members = match text::members(part) {
        Ok(members) => members,
        Err(Unreadable::Outline) => {
            return Err(damaged(None, "it is no object".to_string(), None));
        }
        Err(why) => return Err(damaged(None, why.to_string(), None)),
    };
    let Some(id) = id_in(&members) else {
        return Err(damaged(None, NO_ID.to_string(), None));
    };
    let Some(cells) = members.get("fields").and_then(|f| text::members(f).ok()) else {
        return Err(damaged(Some(id), NO_FIELDS.to_string(), None));
    };
    if cells.broken {
        // Which cell it was is not known: it may have been any.
        let why = "among its cells is something that is none".to_string();
        return Err(damaged(Some(id), why, None));
    }
    let mut fields = Map::new();
    let mut why = None;
    for (name, cell) in cells.list {
        let read = match left.checked_sub(text::values(cell)) {
            Some(rest) => {
                left = rest;
                text::read(cell).map_err(|why| why.to_string())
            }
            None => Err("it holds too many values".to_string()),
        };
        match read {
            Ok(cell) => {
                fields.insert(name, cell);
            }
            Err(unreadable) => {
                fields.remove(&name);
                let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
                why.get_or_insert_with(|| format!("its cell '{shown}': {unreadable}"));
            }
        }
    }
    match why {
        Some(why) => Err(damaged(Some(id), why, Some(fields))),
        None => Ok(Record {
            id,
            created_time: members.get("createdTime").and_then(text::text),
            fields,
        }),
    }
}

fn id_in(members: &Members) -> Option<String> {
    let id = members.get("id").and_then(text::text)?;
    is_id("rec", &id).then_some(id)
}

#[cfg(test)]
mod tests;
