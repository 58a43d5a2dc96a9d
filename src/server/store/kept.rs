//! What an entity keeps of its base's schema, in memory and in fields of its key `podium:spec:<entity>`: what a discovery
//! found, what is known of its table, and where its links were seen to lead.

use crate::server::state::entities::Entity;
use crate::server::state::schemas::Through;
use crate::server::store::own_keys::{self, SPEC};
use crate::server::valkey::ffi::Ctx;
use hashbrown::HashMap;
use podium_core::discover::Found;
use podium_core::key;
use podium_core::known::Table;
use serde_json::Value;
use std::sync::Arc;

const FOUND: &[u8] = b"found";
const TABLE: &[u8] = b"table";
const SEEN: &[u8] = b"links";

impl Entity {
    /// The id of its table, where that is known.
    pub(crate) fn table_id(&self) -> Option<&str> {
        let found = || self.found.as_ref().map(|f| f.table_id.as_str());
        let named = || Some(self.spec.table()).filter(|t| t.starts_with("tbl"));
        let known = self.table.as_ref().map(|t| t.id.as_str());
        known.or_else(found).or_else(named)
    }
    /// Another spec is in force: what was learned of its table stays if that is still the one it names.
    pub(crate) fn respecified(&mut self, base_before: &str, table_before: &str) {
        self.trust.clear();
        self.unchecked = true;
        let same_base = self.base() == base_before;
        let named = self.spec.table();
        self.table = self
            .table
            .take()
            .filter(|t| same_base && t.is_called(named));
        self.found = self.found.take().filter(|f| same_base && f.is_table(named));
        if !same_base || named != table_before {
            self.seen_links.clear();
        }
    }
    /// Could an index question be answered otherwise because of a record that got into doubt through these links? Its
    /// own link cells hold those whose links lead to it, and what it computes may follow from them.
    pub(crate) fn follows(&self, field: u16, value: &[u8], links: &[Through]) -> bool {
        let Some(f) = self.spec.get(field) else {
            return true;
        };
        f.read_only || f.depends.is_some() || links.iter().any(|l| l.from.as_bytes() == value)
    }
}

/// Writes all of it to the entity's key, and takes away what it does not know.
pub(crate) fn save(ctx: Ctx, e: &Entity, name: &[u8]) {
    let found = e.found.as_ref().map(|f| f.to_json());
    let table = e.table.as_ref().map(|t| t.to_json());
    let seen = Some(seen_links(e)).filter(|_| !e.seen_links.is_empty());
    let mut there: Vec<&[u8]> = vec![name];
    let mut gone: Vec<&[u8]> = vec![name];
    for (field, json) in [(FOUND, &found), (TABLE, &table), (SEEN, &seen)] {
        match json {
            Some(json) => there.extend([field, json.as_bytes()]),
            None => gone.push(field),
        }
    }
    if there.len() > 1 {
        own_keys::write(ctx, c"HSET", &there);
    }
    if gone.len() > 1 {
        own_keys::write(ctx, c"HDEL", &gone);
    }
}

/// Takes over what the fields of its key say.
pub(crate) fn load(e: &mut Entity, fields: &[(Vec<u8>, Vec<u8>)]) {
    let field = |name: &[u8]| fields.iter().find(|(k, _)| k == name).map(|(_, v)| v);
    e.found = field(FOUND).and_then(|v| Found::parse(v)).map(Arc::new);
    e.table = field(TABLE).and_then(|v| Table::parse(v)).map(Arc::new);
    e.seen_links = field(SEEN).map_or_else(HashMap::new, |v| read_seen_links(v));
}

/// Writes what is known of an entity's table.
pub(crate) fn save_table(ctx: Ctx, e: &Entity) {
    if let Some(t) = &e.table {
        let json = t.to_json();
        let name = key::own(SPEC, &e.name);
        write(ctx, &[&name, TABLE, json.as_bytes()]);
    }
}

/// Writes where links were seen to lead.
pub(crate) fn save_seen_links(ctx: Ctx, e: &Entity) {
    let json = seen_links(e);
    let name = key::own(SPEC, &e.name);
    write(ctx, &[&name, SEEN, json.as_bytes()]);
}

/// Sets a field of the entity's key; of one that was evicted everything is written together.
fn write(ctx: Ctx, args: &[&[u8]; 3]) {
    if !own_keys::evicted::is_missing(args[0]) {
        own_keys::write(ctx, c"HSET", args);
    }
}

fn seen_links(e: &Entity) -> String {
    let all = e.seen_links.iter();
    let all = all.map(|(column, table)| (column.clone(), Value::from(&**table)));
    Value::Object(all.collect()).to_string()
}

fn read_seen_links(json: &[u8]) -> HashMap<String, Arc<str>> {
    let Ok(Value::Object(all)) = serde_json::from_slice(json) else {
        return HashMap::new();
    };
    let all = all.into_iter();
    all.filter_map(|(column, table)| Some((column, table.as_str()?.into())))
        .collect()
}
