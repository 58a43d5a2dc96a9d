//! The pieces that formulas are made of.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// `{name}`
pub(super) fn name(field: &str) -> String {
    format!("{{{}}}", field.replace('}', "\\}"))
}

/// One of them.
pub(super) fn either(mut parts: Vec<String>) -> String {
    match parts.len() {
        1 => parts.pop().unwrap_or_default(),
        _ => format!("OR({})", parts.join(",")),
    }
}

/// No where it fails.
pub(super) fn safe(part: &str) -> String {
    failing_is("FALSE()", part)
}

/// `instead` where it fails.
pub(super) fn failing_is(instead: &str, part: &str) -> String {
    format!("IF(ISERROR({part}),{instead},{part})")
}

/// A string literal that holds exactly `text`.
pub(in crate::question) fn literal(text: &str) -> String {
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
