//! A read as it was asked: keys and options, checked whole before anything is done.

use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::valkey::ffi::{self, rm, Ctx, RString};
use crate::server::valkey::reply;
use crate::server::valkey::tracking::Alias;
use compact_str::CompactString;
use podium_core::key::{self, Name};
use podium_core::question;
use redis_module::raw;
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
            Ask::Get(k) => k.name.to_vec(),
            Ask::Many(ks) => ks.first().map(|k| k.name.to_vec()).unwrap_or_default(),
            Ask::Index { names, .. } => {
                names.iter().map(|n| &n[..]).collect::<Vec<_>>().join(&b' ')
            }
        }
    }
}

const SYNTAX: &str = "ERR syntax error";

pub(crate) fn syntax(what: &[u8], why: &str) -> String {
    format!("{SYNTAX}: {} {why}", key::shown(what))
}

/// Reads options; `index`: those of INDEX and INTER too.
pub(crate) fn options(args: &[&[u8]], index: bool) -> Result<Options, String> {
    let mut o = Options::default();
    let mut seen: Vec<&'static str> = Vec::new();
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        let upper = word.to_ascii_uppercase();
        let mut once = |name: &'static str| {
            if seen.contains(&name) {
                Err(syntax(word, "is given twice"))
            } else {
                seen.push(name);
                Ok(())
            }
        };
        match &upper[..] {
            b"VIEW" => {
                once("VIEW")?;
                let v = rest
                    .next()
                    .ok_or_else(|| syntax(word, "needs a view's name or *"))?;
                o.view = if *v == b"*" {
                    View::Whole
                } else {
                    View::Named(
                        std::str::from_utf8(v)
                            .map_err(|_| syntax(v, "is no view's name"))?
                            .into(),
                    )
                };
            }
            b"NOCACHE" => {
                once("NOCACHE")?;
                o.no_cache = true;
            }
            b"CACHEONLY" => {
                once("CACHEONLY")?;
                o.cache_only = true;
            }
            b"NOWAIT" => {
                once("NOWAIT")?;
                o.no_wait = true;
            }
            b"META" => {
                once("META")?;
                o.meta = true;
            }
            b"MAXAGE" => {
                once("MAXAGE")?;
                let v = rest
                    .next()
                    .ok_or_else(|| syntax(word, "needs a number of seconds"))?;
                o.max_age =
                    Some(decimal(v).ok_or_else(|| syntax(v, "is no number of seconds (MAXAGE)"))?);
            }
            b"SORT" if index => {
                once("SORT")?;
                let f = rest.next().ok_or_else(|| syntax(word, "needs a field"))?;
                let field = std::str::from_utf8(f).map_err(|_| syntax(f, "is no field's name"))?;
                let mut descending = false;
                if let Some(dir) = rest.as_slice().first() {
                    if dir.eq_ignore_ascii_case(b"ASC") || dir.eq_ignore_ascii_case(b"DESC") {
                        descending = dir.eq_ignore_ascii_case(b"DESC");
                        rest.next();
                    }
                }
                o.sort = Some((field.into(), descending));
            }
            b"LIMIT" if index => {
                once("LIMIT")?;
                let (Some(a), Some(b)) = (rest.next(), rest.next()) else {
                    return Err(syntax(word, "needs an offset and a count (-1: all)"));
                };
                let offset = decimal(a).ok_or_else(|| syntax(a, "is no offset (LIMIT)"))?;
                let count = if *b == b"-1" {
                    -1
                } else {
                    decimal(b)
                        .and_then(|n| i64::try_from(n).ok())
                        .ok_or_else(|| syntax(b, "is no count (LIMIT; -1: all)"))?
                };
                o.limit = Some((offset, count));
            }
            b"IDS" if index => {
                once("IDS")?;
                o.output = Output::Ids;
            }
            b"COUNT" if index => {
                once("COUNT")?;
                o.output = Output::Count;
            }
            _ => return Err(syntax(word, "is no option of this command")),
        }
    }
    let both = |a: &str, b: &str| seen.contains(&a) && seen.contains(&b);
    for (a, b) in [
        ("NOCACHE", "CACHEONLY"),
        ("NOCACHE", "MAXAGE"),
        ("CACHEONLY", "NOWAIT"),
        ("IDS", "COUNT"),
    ] {
        if both(a, b) {
            return Err(format!("{SYNTAX}: {a} and {b} contradict each other"));
        }
    }
    Ok(o)
}

/// A plain decimal number: no sign, no blank, no leading zeros.
pub(crate) fn decimal(b: &[u8]) -> Option<u64> {
    let plain = !b.is_empty()
        && b.len() <= 18
        && b.iter().all(u8::is_ascii_digit)
        && (b.len() == 1 || b.first() != Some(&b'0'));
    if !plain {
        return None;
    }
    std::str::from_utf8(b).ok()?.parse().ok()
}

/// Keys, and what follows them.
type Split<'a, 'b> = (&'b [&'a [u8]], &'b [&'a [u8]]);

/// `numkeys key … options`: the keys and the rest.
pub(crate) fn counted<'a, 'b>(args: &'b [&'a [u8]], most: u64) -> Result<Split<'a, 'b>, String> {
    let n = args.first().copied().unwrap_or(b"");
    let count = decimal(n).filter(|n| *n >= 1).ok_or_else(|| {
        format!(
            "ERR the number of keys must be a plain number from 1 to {most}, not '{}'",
            key::shown(n)
        )
    })?;
    if count > most {
        return Err(format!(
            "ERR at most {most} keys in one command, not {count}"
        ));
    }
    let rest = args.get(1..).unwrap_or(&[]);
    let count = count as usize;
    if count > rest.len() {
        return Err(format!(
            "{SYNTAX}: {count} keys are announced and {} given",
            rest.len()
        ));
    }
    Ok(rest.split_at(count))
}

/// The entity that a key names.
pub(crate) fn entity<'a>(st: &'a State, name: &str) -> Result<&'a Entity, String> {
    st.by_name(name).ok_or_else(|| reply::no_entity(name))
}

/// A record's key.
pub(crate) fn record_key(st: &State, name: &[u8]) -> Result<RecordKey, String> {
    match key::parse(name) {
        Some(Name::Record { entity: e, id }) => {
            let e = entity(st, e)?;
            Ok(RecordKey {
                ix: e.ix,
                id: CompactString::new(id),
                name: name.into(),
            })
        }
        _ => Err(reply::bad_record_key(name)),
    }
}

/// An index's key: `None` for `<entity>:*`, else its condition, the value in normal form.
pub(crate) fn index_key(st: &State, name: &[u8]) -> Result<(EntityIx, Option<Condition>), String> {
    match key::parse(name) {
        Some(Name::All { entity: e }) => Ok((entity(st, e)?.ix, None)),
        Some(Name::Index {
            entity: e,
            field,
            value,
        }) => {
            let e = entity(st, e)?;
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
            let suffix = [field.as_bytes(), b":", &canonical].concat();
            Ok((
                e.ix,
                Some(Condition {
                    field: f,
                    value: canonical.as_ref().into(),
                    suffix: suffix.into(),
                }),
            ))
        }
        _ => Err(reply::bad_index_key(name)),
    }
}

/// May the caller read a key of this name?
fn may_read(ctx: Ctx, name: &[u8]) -> bool {
    let user_name = rm!(RedisModule_GetCurrentUserName(ctx));
    if user_name.is_null() {
        // Called by another module, or by the primary's link: unrestricted.
        return true;
    }
    let user = rm!(RedisModule_GetModuleUserFromUserName(user_name));
    rm!(RedisModule_FreeString(ctx, user_name));
    if user.is_null() {
        return false;
    }
    let key = RString::new(name);
    let allowed = rm!(RedisModule_ACLCheckKeyPermissions(
        user,
        key.raw(),
        raw::REDISMODULE_CMD_KEY_ACCESS as i32
    )) == ffi::OK;
    rm!(RedisModule_FreeModuleUser(user));
    allowed
}

/// Checks the view that is asked for: it exists, and the caller may see what lies beyond the default view.
pub(crate) fn check_view(ctx: Ctx, e: &Entity, view: &View) -> Result<(), String> {
    let default = e.spec.default_view();
    match view {
        View::Default => Ok(()),
        View::Whole => match default {
            None => Ok(()),
            Some(_) if may_read(ctx, &key::view_right(&e.name, "*")) => Ok(()),
            Some(_) => Err(no_perm(e, "the whole record", "*")),
        },
        View::Named(name) => {
            let ix = e.spec.view(name).ok_or_else(|| {
                let have: Vec<&str> = e.spec.views().iter().map(|v| v.name()).collect();
                format!(
                    "NOVIEW {} has no view '{}' (it has: {})",
                    e.name,
                    key::shown(name.as_bytes()),
                    if have.is_empty() {
                        "none".to_string()
                    } else {
                        have.join(", ")
                    }
                )
            })?;
            // Without a default view the whole record is anybody's: there is no line to cross.
            if default.is_none()
                || Some(ix) == default
                || may_read(ctx, &key::view_right(&e.name, name))
            {
                Ok(())
            } else {
                Err(no_perm(e, &format!("the view {name}"), name))
            }
        }
    }
}

/// Checks that a field may be asked about: it is in the default view, or in a view that the caller has the right to.
pub(crate) fn check_field(ctx: Ctx, e: &Entity, field: u16) -> Result<(), String> {
    let Some(default) = e.spec.default_view() else {
        return Ok(());
    };
    if e.spec.view_holds(default, field) || may_read(ctx, &key::view_right(&e.name, "*")) {
        return Ok(());
    }
    let name = e
        .spec
        .fields()
        .get(field as usize)
        .map_or("", |f| f.name.as_str());
    for v in e.spec.views() {
        if e.spec
            .view(v.name())
            .is_some_and(|ix| e.spec.view_holds(ix, field))
            && may_read(ctx, &key::view_right(&e.name, v.name()))
        {
            return Ok(());
        }
    }
    Err(no_perm(
        e,
        &format!("the field {name}, which is outside the default view,"),
        "<a view that holds it>",
    ))
}

fn no_perm(e: &Entity, what: &str, view: &str) -> String {
    format!("NOPERM {what} of {} needs a key pattern that matches {}/{view}, e.g. ACL SETUSER <user> %R~{}/{view}", e.name, e.name, e.name)
}

/// Checks that the caller may read the normal form of the key it gave.
pub(crate) fn check_normal_form(ctx: Ctx, given: &[u8], normal: &[u8]) -> Result<(), String> {
    if given == normal || may_read(ctx, normal) {
        Ok(())
    } else {
        Err(format!(
            "NOPERM the key given means {}, which this user may not read",
            key::shown(normal)
        ))
    }
}
