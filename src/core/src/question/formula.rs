//! Airtable formulas: the question as asked upstream.

use crate::record::texts;
use crate::spec::{self, Field, FieldIx, Kind, Normal, Spec};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;

/// What is known of a link field's lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// No record was seen in which it holds the ids of the link: the question brings such records out, if there are any.
    Unproven,
    /// It held the ids of its link wherever both were seen.
    Proven,
}

/// The `filterByFormula` for "`field` has `value`", where `value` is [canonical](super::canonical).
///
/// It may match more records than have the value and never fewer. `None`: no formula can ask this, the whole table has
/// to be read.
pub fn formula(spec: &Spec, field: FieldIx, value: &[u8], trust: Lookup) -> Option<String> {
    let ix = field;
    let field = spec.get(ix)?;
    let value = core::str::from_utf8(value).ok()?;
    let column = column(field);
    let asked = match field.kind {
        Kind::Link | Kind::Links => linked(field, &lookup(field)?, value, trust),
        Kind::Any | Kind::Array if may_be_link(field, value) => {
            linked(field, &lookup(field)?, value, trust)
        }
        Kind::Boolean if value == "true" => format!("{column}=TRUE()"),
        Kind::Boolean => format!("NOT({column})"),
        Kind::Integer | Kind::Number => format!("{column}={}", super::canonical_number(value)?),
        Kind::Date | Kind::DateTime => same_time(&column, value),
        Kind::Text => text(field, &column, value),
        Kind::Array => contained(field, &column, value),
        Kind::Any => anything(field, &column, value),
        Kind::Object => return None,
    };
    // A box that is not checked is blank already.
    if field.kind == Kind::Boolean || !matches_blank(spec, ix, value) {
        return Some(asked);
    }
    Some(match field.kind {
        // A comparison of a blank date is an error, which would spread to the whole OR.
        Kind::Date | Kind::DateTime => format!("IF({column}=BLANK(),TRUE(),{asked})"),
        Kind::Integer | Kind::Number => format!("OR({asked},{column}=BLANK())"),
        Kind::Link | Kind::Links => format!("OR({asked},{}='')", name(&field.airtable)),
        _ => format!("OR({asked},{column}='')"),
    })
}

/// The formula for records by their ids.
pub fn ids_formula(ids: &[impl AsRef<str>]) -> String {
    let mut out = String::with_capacity(ids.len() * 33 + 4);
    for id in ids {
        if !out.is_empty() {
            out.push(',');
        }
        // Writing to a string cannot fail.
        let _ = write!(out, "RECORD_ID()={}", literal(id.as_ref()));
    }
    match ids.len() {
        0 => "FALSE()".into(),
        1 => out,
        _ => format!("OR({out})"),
    }
}

/// The value is what a lacking cell is filled with.
fn matches_blank(spec: &Spec, ix: FieldIx, value: &str) -> bool {
    let kind = spec.get(ix).map_or(Kind::Any, |f| f.kind);
    spec.fills(ix)
        .any(|fill| texts(kind, fill).iter().any(|t| t == value.as_bytes()))
}

/// The Airtable field that holds the ids of the records that `field` links to, if it links to any.
pub(super) fn lookup(field: &Field) -> Option<Cow<'_, str>> {
    match (&field.lookup, field.kind) {
        (Some(lookup), _) => Some(Cow::Borrowed(lookup)),
        // A model may say of its links no more than that they are texts; a field of ids is its own lookup.
        (None, Kind::Any | Kind::Array) if !field.name.ends_with("_id") => {
            Some(Cow::Owned(format!("{}_id", field.name)))
        }
        _ => None,
    }
}

/// Is the value, in a field of which we do not know that it links, the id of a linked record? Where there is a schema,
/// only what looks exactly like one is taken for it: `recipe` may be a tag.
pub(super) fn may_be_link(field: &Field, value: &str) -> bool {
    let id = value.as_bytes();
    spec::record_id_ok(id)
        && match field.rule {
            None => field.lookup.is_some(),
            Some(_) => {
                id.len() == 17
                    && !id.contains(&b'_')
                    && field.lookup.is_none()
                    && lookup(field).is_some()
            }
        }
}

fn linked(field: &Field, lookup: &str, value: &str, trust: Lookup) -> String {
    let lookup = name(lookup);
    let found = format!("FIND({},ARRAYJOIN({lookup}))", literal(value));
    match trust {
        Lookup::Proven => found,
        // A link whose lookup holds no id at all shows itself in the answer.
        Lookup::Unproven => format!(
            "OR({found},AND(NOT({link}=''),NOT(FIND('rec',ARRAYJOIN({lookup})))))",
            link = name(&field.airtable)
        ),
    }
}

fn text(field: &Field, column: &str, value: &str) -> String {
    let wrapped = wrapped(field, column);
    let cased = field.normalize.iter().any(|n| *n != Normal::Trim);
    if is_plain(value, cased) {
        return format!("{wrapped}={}", literal(value));
    }
    holding(&wrapped, column, value, cased)
}

/// An array's joined text holds its elements, each as it is or in quotes.
fn contained(field: &Field, column: &str, value: &str) -> String {
    if field.item != Kind::Text && (field.item != Kind::Any || is_formatted(value)) {
        return format!("NOT({column}='')");
    }
    let cased = field.normalize.iter().any(|n| *n != Normal::Trim);
    holding(
        &cased_only(field, &format!("ARRAYJOIN({column})")),
        column,
        value,
        cased,
    )
}

/// Nothing is known of the column: its text is searched, which finds it in texts and in joined arrays.
fn anything(field: &Field, column: &str, value: &str) -> String {
    let cased = field.normalize.iter().any(|n| *n != Normal::Trim);
    if spec::is_date_time(value) || value.starts_with(['{', '[']) {
        return format!("NOT({column}='')");
    }
    let found = holding(
        &cased_only(field, &format!("({column}&'')")),
        column,
        value,
        cased,
    );
    match (super::canonical_number(value), value) {
        (Some(n), _) => format!("OR({found},{column}={n})"),
        (None, "true") => format!("OR({found},{column}=TRUE())"),
        _ => found,
    }
}

/// "`hay` holds the value": by the longest part of it that means the same to Airtable and to us.
fn holding(hay: &str, column: &str, value: &str, cased: bool) -> String {
    let odd = |c: char| !is_plain_char(c, cased) || c == '"';
    match value.split(odd).max_by_key(|run| run.len()) {
        Some(run) if !run.is_empty() => format!("FIND({},{hay})", literal(run)),
        _ if value.is_empty() => format!("{column}=''"),
        _ => format!("NOT({column}='')"),
    }
}

/// A value whose text in a cell depends on how the column is formatted.
fn is_formatted(value: &str) -> bool {
    super::canonical_number(value).is_some()
        || matches!(value, "true" | "false")
        || spec::is_date_time(value)
        || value.starts_with(['{', '['])
}

/// Dates compare by the day, times by the second: what lies below is checked here.
fn same_time(column: &str, value: &str) -> String {
    let unit = if spec::is_date(value) {
        "day"
    } else {
        "second"
    };
    format!(
        "IS_SAME({column},DATETIME_PARSE({}),'{unit}')",
        literal(value)
    )
}

/// The field that is asked, in the formula language.
fn column(field: &Field) -> String {
    match (&field.lookup, field.kind) {
        (Some(asked), Kind::Link | Kind::Links) => name(asked),
        (Some(asked), kind) if kind != Kind::Any => name(asked),
        _ => name(&field.airtable),
    }
}

/// The normalisations around it, the first one innermost.
fn wrapped(field: &Field, column: &str) -> String {
    field
        .normalize
        .iter()
        .fold(column.to_string(), |inner, n| match n {
            Normal::Trim => format!("TRIM({inner})"),
            Normal::Lower => format!("LOWER({inner})"),
            Normal::Upper => format!("UPPER({inner})"),
        })
}

/// Without TRIM, which makes no difference to a search.
fn cased_only(field: &Field, column: &str) -> String {
    field
        .normalize
        .iter()
        .fold(column.to_string(), |inner, n| match n {
            Normal::Trim => inner,
            Normal::Lower => format!("LOWER({inner})"),
            Normal::Upper => format!("UPPER({inner})"),
        })
}

/// Does it mean the same to Airtable as to us? Control characters may have no spelling there, and letters beyond ASCII
/// may change case by other rules.
fn is_plain(value: &str, cased: bool) -> bool {
    value.chars().all(|c| is_plain_char(c, cased))
}

fn is_plain_char(c: char, cased: bool) -> bool {
    !c.is_control() && (!cased || c.is_ascii())
}

/// `{name}`
fn name(field: &str) -> String {
    format!("{{{}}}", field.replace('}', "\\}"))
}

/// A string literal that holds exactly `text`.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}
