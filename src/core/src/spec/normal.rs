//! Normalisation of texts.

use alloc::borrow::Cow;
use alloc::string::String;
use serde_json::Value;

/// What is done to a text before it is stored or asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Normal {
    Trim,
    Lower,
    Upper,
}

impl Normal {
    /// The name in a spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Normal::Trim => "trim",
            Normal::Lower => "lower",
            Normal::Upper => "upper",
        }
    }
    pub(crate) fn named(name: &str) -> Option<Normal> {
        [Normal::Trim, Normal::Lower, Normal::Upper]
            .into_iter()
            .find(|n| n.as_str() == name)
    }
    fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Normal::Trim => Cow::Borrowed(text.trim()),
            Normal::Lower
                if text
                    .chars()
                    .all(|c| c.is_ascii() && !c.is_ascii_uppercase()) =>
            {
                Cow::Borrowed(text)
            }
            Normal::Upper
                if text
                    .chars()
                    .all(|c| c.is_ascii() && !c.is_ascii_lowercase()) =>
            {
                Cow::Borrowed(text)
            }
            Normal::Lower => Cow::Owned(text.to_lowercase()),
            Normal::Upper => Cow::Owned(text.to_uppercase()),
        }
    }
    /// All of them, applied to a text or to the texts of an array in place.
    pub(crate) fn apply_to(all: &[Normal], value: &mut Value) {
        match value {
            Value::String(s) => {
                let changed = match Normal::apply_all(all, s) {
                    Cow::Owned(changed) => Some(changed),
                    // What is borrowed may be shorter: a trimmed text.
                    Cow::Borrowed(t) => (t.len() != s.len()).then(|| String::from(t)),
                };
                if let Some(changed) = changed {
                    *s = changed;
                }
            }
            Value::Array(values) => values
                .iter_mut()
                .filter(|v| v.is_string())
                .for_each(|v| Normal::apply_to(all, v)),
            _ => {}
        }
    }
    /// All of them, one after the other.
    pub(crate) fn apply_all<'a>(all: &[Normal], text: &'a str) -> Cow<'a, str> {
        let mut out = Cow::Borrowed(text);
        for n in all {
            out = match out {
                Cow::Borrowed(t) => n.apply(t),
                Cow::Owned(t) => Cow::Owned(n.apply(&t).into_owned()),
            };
        }
        out
    }
}
