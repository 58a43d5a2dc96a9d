//! A page of payloads: which records of which tables were created, changed and destroyed.
//!
//! Cells in payloads differ in shape from those of reads and come by field id, so a payload is taken as a list of what
//! changed, never as the new content.
//!
//! A payload of a shape never seen, or one that cannot be read in part, says that something changed and not what: all that it
//! may concern counts as changed.

use crate::automation::rfc3339_ms;
use crate::key::record_id_ok;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use serde_json::{Map, Value};

/// What became of a record, as far as a page tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is new, or back from the trash: it may belong to any index set.
    Created,
    Changed,
    /// It changed, in cells that the payload does not name: it entered a view, or left one.
    Unclear,
    Destroyed,
}

/// A cell of a payload that holds ids of records, or holds nothing now: a link cell, if the schema says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkCell {
    pub record: CompactString,
    /// The field's id.
    pub field: String,
    pub now: Vec<CompactString>,
    /// What it held before; `None`: the payload does not say.
    pub before: Option<Vec<CompactString>>,
}

/// What a page says of one table.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TableChanges {
    /// In the order in which the page first names them, each with its last fate.
    pub records: Vec<(CompactString, Fate)>,
    /// Where in `records` each is.
    places: HashMap<CompactString, usize>,
    /// Ids of the fields whose cells changed in some record.
    pub fields: HashSet<String>,
    /// When records were destroyed, unix ms, by the last payload that says so.
    pub ended: HashMap<CompactString, u64>,
    /// A record came or went: every field counts as changed.
    pub all_fields: bool,
    /// In the order of the payloads; a cell that changed twice is named twice.
    pub links: Vec<LinkCell>,
    /// Something of it changed, and the payload does not say what.
    pub unclear: bool,
    /// Its fields changed: stored records may have another shape.
    pub reshaped: bool,
    /// The table is gone.
    pub destroyed: bool,
}

/// A page of payloads, understood.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Page {
    /// Table ids and what happened there, in the order in which the page first names them.
    pub tables: Vec<(String, TableChanges)>,
    /// Number of the first payload of the next page.
    pub next: u64,
    pub count: u64,
    /// There is more to be listed at once.
    pub more: bool,
    /// Something of the base changed, and a payload does not say what.
    pub unclear: bool,
    /// Names of tables or fields changed: the schema is to be read again.
    pub reschema: bool,
    /// The webhook is dead: the code of its error payload.
    pub error: Option<String>,
}

impl Page {
    /// Reads `{"payloads": […], "cursor": n, "mightHaveMore": b}`; `None`: it is not that.
    pub fn parse(body: &Value) -> Option<Page> {
        let payloads = body.get("payloads")?.as_array()?;
        let mut page = Page {
            next: body.get("cursor")?.as_u64()?,
            more: body.get("mightHaveMore")?.as_bool()?,
            count: payloads.len() as u64,
            ..Page::default()
        };
        let mut tables = Tables::default();
        for payload in payloads {
            page.payload(payload, &mut tables);
        }
        page.tables = tables.list;
        Some(page)
    }

    /// Were payloads dropped between the one asked for and the first that came? Numbers rise by one each; a number that
    /// falls back belongs to another webhook.
    pub fn gap(&self, asked: u64) -> bool {
        self.next < asked || self.next - asked > self.count
    }

    fn payload(&mut self, payload: &Value, tables: &mut Tables) {
        let Value::Object(members) = payload else {
            self.unclear = true;
            return;
        };
        if members.get("error") == Some(&Value::Bool(true)) {
            let code = members
                .get("code")
                .and_then(Value::as_str)
                .unwrap_or("unknown");
            self.error = Some(
                code.chars()
                    .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .take(60)
                    .collect(),
            );
            return;
        }
        for (key, value) in members {
            match key.as_str() {
                "timestamp"
                | "baseTransactionNumber"
                | "payloadFormat"
                | "actionMetadata"
                | "error"
                | "code" => {}
                "changedTablesById" | "createdTablesById" => {
                    self.unclear |= !is_object(value);
                }
                "destroyedTableIds" => self.unclear |= !is_list(value),
                _ => self.unclear |= holds_something(value),
            }
        }
        let at = members.get("timestamp").and_then(Value::as_str);
        let at = at.and_then(rfc3339_ms);
        for (table, what) in object(payload, "changedTablesById") {
            let Some(changes) = tables.of(table) else {
                continue;
            };
            if !is_object(what) {
                self.unclear = true;
                continue;
            }
            // What left a view may have been destroyed: that is said beside the views, and counts.
            for (_, view) in object(what, "changedViewsById") {
                self.unclear |= changes.take_view(view);
            }
            self.reschema |= changes.take(what, at);
            self.unclear |= changes.odd(what);
        }
        for (table, _) in object(payload, "createdTablesById") {
            self.reschema |= tables.of(table).is_some();
        }
        for table in list(payload, "destroyedTableIds") {
            if let Some(changes) = tables.of(table) {
                changes.destroyed = true;
                self.reschema = true;
            }
        }
    }
}

#[derive(Default)]
struct Tables {
    list: Vec<(String, TableChanges)>,
    at: HashMap<String, usize>,
}

impl Tables {
    fn of(&mut self, table: &str) -> Option<&mut TableChanges> {
        let next = self.list.len();
        let at = *self.at.entry_ref(table).or_insert(next);
        if at == next {
            self.list.push((table.to_string(), TableChanges::default()));
        }
        self.list.get_mut(at).map(|(_, c)| c)
    }
}

impl TableChanges {
    /// Does what was known of a record `as_of` (unix ms, by our clock) survive its end, as far as its payload tells? It may
    /// have been restored since, with the same id: then the record is to be read again, not taken for gone.
    pub fn outlived(&self, id: &str, as_of: u64) -> bool {
        let ended = self.ended.get(id);
        ended.is_some_and(|at| as_of > *at)
    }
    /// Adds one payload's part, which happened `at` that time (unix ms); true if the schema is to be read again.
    fn take(&mut self, what: &Value, at: Option<u64>) -> bool {
        for (id, record) in object(what, "createdRecordsById") {
            self.note(id, Fate::Created);
            self.all_fields = true;
            for (field, cell) in object(record, "cellValuesByFieldId") {
                self.link(id, field, cell, Some(&Value::Null));
            }
        }
        self.changed(what);
        for id in list(what, "destroyedRecordIds") {
            self.note(id, Fate::Destroyed);
            if let Some(at) = at {
                self.ended.insert(CompactString::new(id), at);
            }
            self.all_fields = true;
        }
        let fields = [
            "createdFieldsById",
            "changedFieldsById",
            "destroyedFieldIds",
        ];
        let reshaped = fields.iter().any(|k| what.get(*k).is_some());
        self.reshaped |= reshaped;
        reshaped || what.get("changedMetadata").is_some()
    }

    fn changed(&mut self, what: &Value) {
        for (id, change) in object(what, "changedRecordsById") {
            let previous = change
                .get("previous")
                .and_then(|p| p.get("cellValuesByFieldId"));
            let cells = change
                .get("current")
                .and_then(|c| c.get("cellValuesByFieldId"))
                .and_then(Value::as_object);
            let Some(cells) = cells else {
                self.note(id, Fate::Unclear);
                self.all_fields = true;
                continue;
            };
            self.note(id, Fate::Changed);
            for (field, cell) in cells {
                self.fields.insert(field.to_string());
                self.link(id, field, cell, previous.and_then(|p| p.get(field)));
            }
        }
    }

    /// Adds what happened in a view: its records entered it or left it, and were there before and after. True if it does not
    /// say all of what changed.
    fn take_view(&mut self, view: &Value) -> bool {
        for (id, record) in object(view, "createdRecordsById") {
            self.note(id, Fate::Unclear);
            self.all_fields = true;
            for (field, cell) in object(record, "cellValuesByFieldId") {
                self.link(id, field, cell, None);
            }
        }
        self.changed(view);
        for id in list(view, "destroyedRecordIds") {
            self.note(id, Fate::Unclear);
            self.all_fields = true;
        }
        !is_object(view) || self.odd(view)
    }

    /// Takes note of members that nobody knows; true if one that is known is not what it should be, or cannot be read.
    fn odd(&mut self, what: &Value) -> bool {
        let mut odd = false;
        for (key, value) in what.as_object().into_iter().flatten() {
            odd |= match key.as_str() {
                "createdRecordsById" | "changedRecordsById" => {
                    !is_object(value) || {
                        let mut records = object(what, key);
                        records.any(|(id, r)| !record_id_ok(id.as_bytes()) || unread(r))
                    }
                }
                "destroyedRecordIds" => {
                    !is_list(value) || !list(what, key).all(|id| record_id_ok(id.as_bytes()))
                }
                "changedViewsById" | "createdFieldsById" | "changedFieldsById"
                | "changedMetadata" => !is_object(value),
                "destroyedFieldIds" => !is_list(value),
                _ => {
                    self.unclear |= holds_something(value);
                    false
                }
            };
        }
        odd
    }

    /// Takes note of a cell that may be a link's. `before`: what it was, if the payload says so.
    fn link(&mut self, record: &str, field: &str, cell: &Value, before: Option<&Value>) {
        let (Some(now), Some(before)) = (
            linked(cell),
            before.map_or(Some(None), |b| linked(b).map(Some)),
        ) else {
            return;
        };
        if !record_id_ok(record.as_bytes())
            || (now.is_empty() && before.as_ref().is_some_and(Vec::is_empty))
        {
            return;
        }
        self.links.push(LinkCell {
            record: CompactString::new(record),
            field: field.to_string(),
            now,
            before,
        });
    }

    fn note(&mut self, id: &str, fate: Fate) {
        if !record_id_ok(id.as_bytes()) {
            return;
        }
        let next = self.records.len();
        let at = *self.places.entry_ref(id).or_insert(next);
        match self.records.get_mut(at) {
            Some((_, last)) => {
                *last = match (*last, fate) {
                    (Fate::Created, Fate::Changed | Fate::Unclear) => Fate::Created,
                    (Fate::Unclear, Fate::Changed) => Fate::Unclear,
                    (_, later) => later,
                }
            }
            None => self.records.push((CompactString::new(id), fate)),
        }
    }
}

/// The ids of `[{"id": "rec…", …}, …]`; none in an empty cell. `None`: no link cell looks so.
fn linked(cell: &Value) -> Option<Vec<CompactString>> {
    match cell {
        Value::Null => Some(Vec::new()),
        Value::Array(a) => a
            .iter()
            .map(|v| {
                let id = v.get("id").unwrap_or(v).as_str()?;
                record_id_ok(id.as_bytes()).then(|| CompactString::new(id))
            })
            .collect(),
        _ => None,
    }
}

fn is_object(v: &Value) -> bool {
    v.is_object() || v.is_null() || v.as_array().is_some_and(Vec::is_empty)
}

/// A list of texts.
fn is_list(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Array(list) => list.iter().all(Value::is_string),
        Value::Object(o) => o.is_empty(),
        _ => false,
    }
}

fn holds_something(v: &Value) -> bool {
    match v {
        Value::Array(list) => !list.is_empty(),
        Value::Object(o) => !o.is_empty(),
        other => *other == podium_json::MARK,
    }
}

/// Is there a part of it that cannot be read?
fn unread(v: &Value) -> bool {
    match v {
        Value::Array(list) => list.iter().any(unread),
        Value::Object(o) => o.values().any(unread),
        other => *other == podium_json::MARK,
    }
}

fn object<'a>(v: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    v.get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
        .map(|(k, v)| (k.as_str(), v))
}

fn list<'a>(v: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    v.get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests;
