//! What bases' schemas said of the names of their columns, and when one may be asked again.

use crate::server::state::clock;
use crate::server::valkey::settings;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use podium_core::columns::Names;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A token that may not read the schema is tried again so much later.
const REFUSED_MS: u64 = 600_000;
/// A schema is read again for an unknown column at most so often.
const AGAIN_MS: u64 = 5_000;
/// What is known of one base.
#[derive(Default)]
pub(super) struct OfBase {
    /// By what specs call them: what tables' columns are called.
    pub(super) tables: BTreeMap<String, Arc<Names>>,
    pub(super) schema: Arc<Value>,
    pub(super) read_ms: Option<u64>,
    pub(super) refused_ms: Option<u64>,
}

/// What is known of bases, as the Airtable at this URL told it.
struct Known {
    url: String,
    bases: BTreeMap<String, OfBase>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known {
    url: String::new(),
    bases: BTreeMap::new(),
});

/// What is known of bases; nothing, if another Airtable is asked by now.
pub(super) fn bases() -> MappedMutexGuard<'static, BTreeMap<String, OfBase>> {
    let mut known = KNOWN.lock();
    let url = settings::AIRTABLE_URL.get();
    if known.url != url {
        known.url = url;
        known.bases.clear();
    }
    MutexGuard::map(known, |k| &mut k.bases)
}

/// A base's schema was read, by whomever.
pub(crate) fn learn(base: &str, schema: &Value) {
    let slim = slim(schema);
    let mut known = bases();
    let b = known.entry(base.to_string()).or_default();
    b.tables.clear();
    b.schema = Arc::new(slim);
    b.read_ms = Some(clock::mono_ms());
    b.refused_ms = None;
}

/// Names and ids alone.
fn slim(schema: &Value) -> Value {
    let part = |v: &Value, more: Option<Value>| {
        let mut out = Map::new();
        for key in ["id", "name"] {
            if let Some(text) = v.get(key) {
                out.insert(key.into(), text.clone());
            }
        }
        if let Some(fields) = more {
            out.insert("fields".into(), fields);
        }
        Value::Object(out)
    };
    let list = |v: &Value, key: &str| {
        v.get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let table = |t: &Value| {
        let fields: Vec<Value> = list(t, "fields").iter().map(|f| part(f, None)).collect();
        part(t, Some(fields.into()))
    };
    let tables: Vec<Value> = list(schema, "tables").iter().map(table).collect();
    serde_json::json!({ "tables": tables })
}

pub(super) fn known(base: &str, table: &str) -> Option<Arc<Names>> {
    let mut known = bases();
    let b = known.get_mut(base)?;
    if let Some(names) = b.tables.get(table) {
        return Some(names.clone());
    }
    let names = Arc::new(Names::of(&b.schema, table)?);
    b.tables.insert(table.to_string(), names.clone());
    Some(names)
}

/// Is nothing to be expected of asking for the schema now?
pub(super) fn is_futile(base: &str) -> bool {
    let now = clock::mono_ms();
    let known = bases();
    known.get(base).is_some_and(|b| {
        b.refused_ms.is_some_and(|at| now < at + REFUSED_MS)
            || b.read_ms.is_some_and(|at| now < at + AGAIN_MS)
    })
}
