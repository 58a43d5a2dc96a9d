//! What a formula computes with.

use crate::datetime;
use serde_json::{json, Value as Json};
use std::cmp::Ordering;
use std::sync::Arc;

/// No text grows beyond this many bytes: REPT and SUBSTITUTE must not eat the machine.
pub(crate) const JOIN_LIMIT: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Blank,
    Text(Arc<str>),
    Number(f64),
    Bool(bool),
    /// Milliseconds since the epoch; `true` when the field shows days only.
    Date(i64, bool),
    /// Links (as primary text), lookups, multiple selects.
    Array(Vec<Value>),
    Error,
}

impl Value {
    pub(crate) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// Whether a record with this result passes a filter.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Blank | Self::Error => false,
            Self::Text(text) => !text.is_empty(),
            Self::Number(n) => *n != 0.0 && !n.is_nan(),
            Self::Bool(b) => *b,
            Self::Date(..) => true,
            Self::Array(items) => !items.is_empty(),
        }
    }

    /// The text form: dates as ISO, arrays joined by `separator`.
    pub(crate) fn to_text(&self, separator: &str) -> Arc<str> {
        match self {
            Self::Text(text) => text.clone(),
            Self::Blank | Self::Error => Arc::from(""),
            Self::Number(n) => Arc::from(number_text(*n)),
            Self::Bool(b) => Arc::from(if *b { "1" } else { "0" }),
            Self::Date(ms, true) => Arc::from(datetime::iso_date(*ms)),
            Self::Date(ms, false) => Arc::from(datetime::iso(*ms)),
            Self::Array(items) => match items.as_slice() {
                [only] => only.to_text(separator),
                _ => Arc::from(join(items, separator)),
            },
        }
    }

    /// The number form; `None` where Airtable shows `#ERROR!`.
    pub(crate) fn to_number(&self) -> Option<f64> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Bool(b) => Some(f64::from(u8::from(*b))),
            Self::Blank => Some(0.0),
            Self::Array(items) => match items.as_slice() {
                [] => Some(0.0),
                [only] => only.to_number(),
                _ => None,
            },
            Self::Text(_) | Self::Date(..) | Self::Error => None,
        }
    }

    /// The moment: a date, or text that reads as one.
    pub(crate) fn to_date(&self) -> Option<i64> {
        match self {
            Self::Date(ms, _) => Some(*ms),
            Self::Text(text) => datetime::parse(text),
            Self::Array(items) => match items.as_slice() {
                [only] => only.to_date(),
                _ => None,
            },
            _ => None,
        }
    }

    /// A single value where an array stands for its one element or its joined text.
    fn scalar(&self, separator: &str) -> Value {
        match self {
            Self::Array(items) => match items.as_slice() {
                [] => Self::Blank,
                [only] => only.scalar(separator),
                _ => Self::Text(self.to_text(separator)),
            },
            other => other.clone(),
        }
    }

    /// Equality as `=` sees it: blank equals empty text, zero and false; case counts; a number never equals text.
    pub(crate) fn equals(&self, other: &Value, separator: &str) -> bool {
        match (self.scalar(separator), other.scalar(separator)) {
            (Self::Blank, Self::Blank) => true,
            (Self::Blank, Self::Text(t)) | (Self::Text(t), Self::Blank) => t.is_empty(),
            (Self::Blank, Self::Date(..)) | (Self::Date(..), Self::Blank) => false,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Date(a, _), Self::Date(b, _)) => a == b,
            // No text is a date, not even its own.
            (Self::Date(..), Self::Text(_)) | (Self::Text(_), Self::Date(..)) => false,
            (a, b) => matches!((a.to_number(), b.to_number()), (Some(a), Some(b)) if a == b),
        }
    }

    /// Order for `< <= > >=` and for sorting; `None` where the two cannot be compared.
    pub(crate) fn order(&self, other: &Value, separator: &str) -> Option<Ordering> {
        match (self.scalar(separator), other.scalar(separator)) {
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(&b)),
            (Self::Date(a, _), Self::Date(b, _)) => Some(a.cmp(&b)),
            (Self::Date(a, _), Self::Text(t)) => datetime::parse(&t).map(|b| a.cmp(&b)),
            (Self::Text(t), Self::Date(b, _)) => datetime::parse(&t).map(|a| a.cmp(&b)),
            (a, b) => a.to_number()?.partial_cmp(&b.to_number()?),
        }
    }

    /// The cell a formula field shows: null is an empty cell.
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Blank => Json::Null,
            Self::Text(text) if text.is_empty() => Json::Null,
            Self::Text(text) => Json::String(text.to_string()),
            Self::Number(n) if n.is_nan() => json!({"specialValue": "NaN"}),
            Self::Number(n) if n.is_infinite() => {
                json!({"specialValue": if *n > 0.0 { "Infinity" } else { "-Infinity" }})
            }
            Self::Number(n) => number_json(*n),
            Self::Bool(true) => Json::Bool(true),
            Self::Bool(false) => Json::Null,
            Self::Date(ms, true) => Json::String(datetime::iso_date(*ms)),
            Self::Date(ms, false) => Json::String(datetime::iso(*ms)),
            Self::Array(items) if items.is_empty() => Json::Null,
            Self::Array(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Error => json!({"error": "#ERROR!"}),
        }
    }

    /// Reads a cell whose field type says nothing more than its JSON does.
    pub(crate) fn from_json(cell: &Json) -> Self {
        match cell {
            Json::Null => Self::Blank,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => Self::Number(n.as_f64().unwrap_or(f64::NAN)),
            Json::String(s) => Self::text(s.as_str()),
            Json::Array(items) => Self::Array(items.iter().map(Self::from_json).collect()),
            Json::Object(map) if map.contains_key("error") => Self::Error,
            Json::Object(map) if map.contains_key("specialValue") => Self::Number(f64::NAN),
            Json::Object(map) => {
                let words = ["name", "text", "label", "filename", "value", "email", "id"];
                words
                    .iter()
                    .find_map(|w| map.get(*w).and_then(Json::as_str))
                    .map_or(Self::Blank, Self::text)
            }
        }
    }
}

/// Joins the text forms, up to [`JOIN_LIMIT`].
pub(crate) fn join(items: &[Value], separator: &str) -> String {
    let mut out = String::new();
    for (place, item) in items.iter().enumerate() {
        if out.len() > JOIN_LIMIT {
            break;
        }
        if place > 0 {
            out.push_str(separator);
        }
        out.push_str(&item.to_text(separator));
    }
    out
}

/// Whole numbers without a fraction, as Airtable prints them.
pub(crate) fn number_text(n: f64) -> String {
    if n.fract() == 0.0 && n.abs() < 1e15 {
        format!("{n:.0}")
    } else {
        n.to_string()
    }
}

/// Whole numbers as JSON integers.
#[allow(clippy::cast_possible_truncation)] // Within ±2^53 and without a fraction: exact.
pub(crate) fn number_json(n: f64) -> Json {
    if n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0 {
        Json::from(n as i64)
    } else {
        Json::from(n)
    }
}
