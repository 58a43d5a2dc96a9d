//! What commands are given: keys and options, checked whole before anything is done.

use crate::server::reads::computed;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::query;
use crate::server::state::query::{Condition, Options, Output, RecordKey, View};
use crate::server::store::cluster;
use crate::server::valkey::reply;
use compact_str::CompactString;
use podium_core::key::{self, Name};

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
            b"FOR" => {
                once("FOR")?;
                let t = rest.next().ok_or_else(|| syntax(word, "needs a token"))?;
                // A token that never was one is as one that is over.
                o.for_token = Some(computed::token(t).unwrap_or(0));
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
    st.by_name(name).ok_or_else(|| cluster::no_entity(name))
}

/// A record's key.
pub(crate) fn record_key(st: &State, name: &[u8]) -> Result<RecordKey, String> {
    if let Some(k) = computed::key_of(st, name) {
        return Ok(k);
    }
    match key::parse(name) {
        Some(Name::Record { entity: e, id }) => {
            let e = entity(st, e)?;
            Ok(RecordKey {
                ix: e.ix,
                id: CompactString::new(id),
                name: name.into(),
            })
        }
        _ => Err(cluster::unsettled_key(name)
            .filter(|_| key::split(name).is_some_and(|(e, _)| st.by_name(e).is_none()))
            .unwrap_or_else(|| reply::bad_record_key(name))),
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
            Ok((e.ix, Some(query::condition(e, field, value)?)))
        }
        _ => Err(reply::bad_index_key(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&[u8]> {
        text.split_whitespace().map(str::as_bytes).collect()
    }
    fn read(text: &str, index: bool) -> Result<Options, String> {
        options(&words(text), index)
    }

    #[test]
    fn options_stand_in_any_order_and_case() -> Result<(), String> {
        let a = read("VIEW public META LIMIT 5 -1 sort points desc IDS", true)?;
        let b = read("ids Sort points DESC limit 5 -1 meta view public", true)?;
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
        assert_eq!(a.sort, Some(("points".into(), true)));
        assert_eq!(a.limit, Some((5, -1)));
        assert_eq!(a.output, Output::Ids);
        assert_eq!(read("VIEW *", false)?.view, View::Whole);
        assert_eq!(read("MAXAGE 0", false)?.max_age, Some(0));
        assert_eq!(
            read("SORT points", true)?.sort,
            Some(("points".into(), false))
        );
        Ok(())
    }

    #[test]
    fn what_is_unknown_repeated_or_contradictory_is_refused() {
        for (text, index) in [
            ("NOPE", true),
            ("SORT points", false),
            ("IDS", false),
            ("META META", false),
            ("VIEW a VIEW b", false),
            ("NOCACHE CACHEONLY", false),
            ("MAXAGE 3 NOCACHE", false),
            ("NOWAIT CACHEONLY", false),
            ("IDS COUNT", true),
            ("VIEW", false),
            ("MAXAGE", false),
            ("MAXAGE -1", false),
            ("MAXAGE 01", false),
            ("MAXAGE 1.5", false),
            ("LIMIT 1", true),
            ("LIMIT -1 1", true),
            ("LIMIT 0 -2", true),
            ("SORT", true),
        ] {
            let got = read(text, index);
            assert!(
                got.as_ref().is_err_and(|why| why.starts_with(SYNTAX)),
                "{text}: {got:?}"
            );
        }
    }

    #[test]
    fn a_number_is_plain_decimals() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"1000"), Some(1000));
        for bad in [
            "",
            "00",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1e3",
            "9999999999999999999",
        ] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn keys_are_as_many_as_announced() {
        let all = words("2 a b META");
        assert_eq!(
            counted(&all, 10),
            Ok((&words("a b")[..], &words("META")[..]))
        );
        for bad in ["", "0 a", "3 a b", "x a", "11 a", "01 a"] {
            assert!(counted(&words(bad), 10).is_err(), "{bad:?}");
        }
    }
}
