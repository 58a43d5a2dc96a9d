//! A read as it was asked: keys and options, as data.

use crate::server::state::entities::Entity;
use crate::server::state::entities::EntityIx;
use crate::server::valkey::tracking::Alias;
use compact_str::CompactString;
use podium_core::computed::lease::Token;
use podium_core::key;
use podium_core::question;
use std::sync::Arc;

/// Which view a read returns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum View {
    Default,
    Whole,
    Named(Arc<str>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Output {
    Records,
    Ids,
    Count,
}

/// The options of the reading commands.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) view: View,
    pub(crate) no_cache: bool,
    pub(crate) cache_only: bool,
    /// Seconds.
    pub(crate) max_age: Option<u64>,
    pub(crate) no_wait: bool,
    pub(crate) meta: bool,
    /// Field name, descending.
    pub(crate) sort: Option<(Arc<str>, bool)>,
    /// Offset, count (-1: all).
    pub(crate) limit: Option<(u64, i64)>,
    pub(crate) output: Output,
    /// The computation that uses what is answered.
    pub(crate) for_token: Option<Token>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            view: View::Default,
            no_cache: false,
            cache_only: false,
            max_age: None,
            no_wait: false,
            meta: false,
            sort: None,
            limit: None,
            output: Output::Records,
            for_token: None,
        }
    }
}

/// One record asked for.
#[derive(Clone, Debug)]
pub(crate) struct RecordKey {
    pub(crate) ix: EntityIx,
    pub(crate) id: CompactString,
    pub(crate) name: Arc<[u8]>,
}

/// One condition of an index question.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) field: u16,
    pub(crate) value: Arc<[u8]>,
    /// `<field>:<value>`, the value in normal form.
    pub(crate) suffix: Arc<[u8]>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Get(RecordKey),
    Many(Vec<RecordKey>),
    /// A computed answer, or the lease to compute it.
    Lease {
        key: RecordKey,
        /// The connection: when it is closed its leases are over.
        client: u64,
    },
    /// No conditions: every record of the entity.
    Index {
        ix: EntityIx,
        conditions: Vec<Condition>,
        /// The keys of their sets.
        names: Vec<Arc<[u8]>>,
        /// Of those that were given by another name (a value that is not in normal form): the key, and the name given.
        given: Vec<Alias>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) ask: Ask,
    pub(crate) options: Options,
}

impl Query {
    /// The name to quote in errors and META.
    pub(crate) fn shown_name(&self) -> Vec<u8> {
        match &self.ask {
            Ask::Get(k) | Ask::Lease { key: k, .. } => k.name.to_vec(),
            Ask::Many(ks) => ks.first().map(|k| k.name.to_vec()).unwrap_or_default(),
            Ask::Index { names, .. } => {
                names.iter().map(|n| &n[..]).collect::<Vec<_>>().join(&b' ')
            }
        }
    }
}

/// What an index key of an entity asks for, the value in normal form. The error is the whole reply: NOINDEX, BADKEY.
pub(crate) fn condition(e: &Entity, field: &str, value: &[u8]) -> Result<Condition, String> {
    let f = e.spec.field(field).filter(|f| e.spec.fields().get(*f as usize).is_some_and(|f| f.indexed)).ok_or_else(|| {
        let have: Vec<&str> = e.spec.fields().iter().filter(|f| f.indexed).map(|f| f.name.as_str()).collect();
        format!(
            "NOINDEX '{}' is not an indexed field of {}: add it to \"indexed\" in the spec (indexed now: {})",
            key::shown(field.as_bytes()),
            e.name,
            if have.is_empty() { "none".to_string() } else { have.join(", ") }
        )
    })?;
    if value.len() > key::MAX_VALUE {
        return Err(format!(
            "BADKEY the value of {}:{field} is longer than {} bytes",
            e.name,
            key::MAX_VALUE
        ));
    }
    let canonical = question::canonical(&e.spec, f, value).map_err(|why| {
        format!(
            "BADKEY '{}' is no value of {}:{field}: {why}",
            key::shown(value),
            e.name
        )
    })?;
    let suffix = key::suffix(field, &canonical);
    Ok(Condition {
        field: f,
        value: canonical.as_ref().into(),
        suffix: suffix.into(),
    })
}
