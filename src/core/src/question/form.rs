//! The one text by which a value is indexed, sorted and asked for: what a cell's value and a client's argument are both
//! brought to, so that they agree or differ as the values do.

use super::instant::{self, Written};
use super::number::{as_cell, canonical_number};
use crate::spec::{Field, Kind};
use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use hashbrown::HashSet;
use serde_json::Value;

/// The canonical text of a text, normalised before: of what may be a number by its number, of what is a moment by its
/// instant; any other as it is.
pub(super) fn of_text<'a>(field: &Field, text: &'a str) -> Cow<'a, str> {
    let own = match field.kind {
        // An id is what it is, and true is no other word.
        Kind::Link | Kind::Links | Kind::Boolean => None,
        Kind::Date | Kind::DateTime => moment(field.kind, text),
        _ => number(field, text).or_else(|| moment(field.holds(), text)),
    };
    match own {
        Some(own) if own != text => Cow::Owned(own),
        _ => Cow::Borrowed(text),
    }
}

/// The canonical text of a number, where the field may hold numbers.
pub(super) fn number(field: &Field, text: &str) -> Option<String> {
    if !field.may_be_number() {
        return None;
    }
    let n = canonical_number(text)?;
    if field.may_be_text() {
        return Some(n);
    }
    // All its cells are JSON numbers, and rounded as such.
    Some(as_cell(&n).unwrap_or(n))
}

/// The canonical text of a moment: of a date its day, where it is the start of one.
pub(super) fn moment(kind: Kind, text: &str) -> Option<String> {
    let (normal, written) = instant::read(text)?;
    match kind {
        Kind::Date => match normal.strip_suffix("T00:00:00.000Z") {
            Some(day) => Some(day.to_string()),
            None => Some(normal),
        },
        Kind::DateTime => Some(normal),
        // Elsewhere a day or a clock without its offset is a text that looks like one.
        _ => (written == Written::Zoned).then_some(normal),
    }
}

/// The canonical texts of a value; each once.
pub(crate) fn texts(field: &Field, value: &Value) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    let all = match value {
        Value::Array(all) => all.as_slice(),
        one => core::slice::from_ref(one),
    };
    for v in all {
        let text = match v {
            Value::Null => continue,
            Value::String(s) => of_text(field, s).into_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Number(n) => match (field.kind, n.as_f64()) {
                (Kind::Boolean, Some(x)) => (x != 0.0).to_string(),
                _ => canonical_number(&n.to_string()).unwrap_or_else(|| n.to_string()),
            },
            Value::Array(_) | Value::Object(_) => v.to_string(),
        };
        let text = text.into_bytes();
        if all.len() == 1 || seen.insert(text.clone()) {
            out.push(text);
        }
    }
    out
}
