//! Reading JSON text that may be damaged, so that what is damaged spoils nothing beside it.
//!
//! [`read`] is for a part that is of use only as a whole. What the strict parser takes is taken as it says; else text that
//! is not well-formed Unicode (half a surrogate pair, bytes that are no UTF-8) is mended with U+FFFD, and a number beyond a
//! float is kept as the text of its digits. What nests deeper than [`DEPTH`], or is no JSON value at all, is unreadable.
//!
//! [`members`] and [`elements`] cut an object or array into its parts without looking into them: no depth and no damage in
//! one part hides another. [`salvage`] reads a whole in which unreadable parts are replaced by [`MARK`].
//!
//! Nothing here recurses deeper than [`DEPTH`], and nothing takes memory for parts that are not asked for.

#![no_std]
#![warn(missing_docs)]

extern crate alloc;

mod mend;
mod outline;

pub use outline::{elements, members, values, Elements, Members};

use alloc::string::String;
use core::fmt;
use serde_json::Value;

/// Levels of arrays and objects that are read: as many as serde_json's own parser takes, so that what was read and printed
/// once can be read again.
pub const DEPTH: usize = 127;

/// What stands in [`salvage`] for a part that cannot be read: text, which no member of a known shape but a text takes, and
/// which no mended text is.
pub const MARK: &str = "\u{fffd}\u{fffd} unreadable \u{fffd}\u{fffd}";

/// Why JSON text cannot be read. Holds no piece of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// It ends too early, or something follows it.
    Cut,
    /// A comma, colon, quote or bracket is not where it should be.
    Outline,
    /// It nests deeper than [`DEPTH`] levels.
    TooDeep,
    /// A value is none of JSON's.
    NoValue,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Cut => f.write_str("it is cut short, or something follows it"),
            Unreadable::Outline => {
                f.write_str("a comma, colon, quote or bracket is not where it should be")
            }
            Unreadable::TooDeep => write!(f, "it nests deeper than {DEPTH} levels"),
            Unreadable::NoValue => f.write_str("it holds what is no JSON value"),
        }
    }
}

impl core::error::Error for Unreadable {}

/// Reads one value; its texts are well-formed whatever they were.
///
/// # Errors
/// A part of it cannot be read.
pub fn read(text: &[u8]) -> Result<Value, Unreadable> {
    match serde_json::from_slice(text) {
        Ok(value) => Ok(value),
        Err(_) => match mend::parse(text)? {
            (value, None) => Ok(value),
            (_, Some(why)) => Err(why),
        },
    }
}

/// Reads one value; parts of it that cannot be read are replaced by [`MARK`].
///
/// # Errors
/// Its outline is broken: where its parts begin and end cannot be told.
pub fn salvage(text: &[u8]) -> Result<Value, Unreadable> {
    match serde_json::from_slice(text) {
        Ok(value) => Ok(value),
        Err(_) => mend::parse(text).map(|(value, _)| value),
    }
}

/// The text of a string literal, quotes included, mended. `None`: it is none.
pub fn text(literal: &[u8]) -> Option<String> {
    match read(literal) {
        Ok(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
