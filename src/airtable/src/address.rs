//! Addresses of calls: path segments and query strings in which no argument can be more than
//! itself.

use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};

/// All but RFC 3986's unreserved characters is encoded, so `/`, `?`, `#`, `%`, spaces and line
/// breaks stay inside their segment.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Airtable refuses addresses of 16,000 characters; its own client turns to POST at this length.
pub(crate) const URL_LIMIT: usize = 15_000;

/// Longest argument that is put into a path or a query, in bytes: far above any name, far below a
/// nuisance.
const ARGUMENT_BYTES: usize = 1_000;

/// An address under construction, beginning with the configured one.
#[derive(Debug)]
pub(crate) struct Address {
    url: String,
    has_query: bool,
}

impl Address {
    pub(crate) fn new(root: &str) -> Self {
        Self {
            url: root.to_string(),
            has_query: false,
        }
    }

    /// Adds fixed path text such as `/v0/meta`.
    pub(crate) fn fixed(mut self, path: &str) -> Self {
        self.url.push_str(path);
        self
    }

    /// Adds one path segment; `what` names it in the error.
    pub(crate) fn segment(mut self, what: &str, value: &str) -> Result<Self, String> {
        check(what, value)?;
        // Dots are unreserved, and `..` means "one up" even when it is percent-encoded.
        if value == "." || value == ".." {
            return Err(format!("the {what} is \"{value}\""));
        }
        self.url.push('/');
        self.url.extend(utf8_percent_encode(value, ENCODED));
        Ok(self)
    }

    /// Adds `name=value` to the query.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.url.extend(utf8_percent_encode(name, ENCODED));
        self.url.push('=');
        self.url.extend(utf8_percent_encode(value, ENCODED));
        self
    }

    pub(crate) fn into_url(self) -> String {
        self.url
    }
}

/// Refuses what no name, id or offset is: empty, overlong, holding control characters.
pub(crate) fn check(what: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    if value.len() > ARGUMENT_BYTES {
        return Err(format!(
            "the {what} has {} bytes, at most {ARGUMENT_BYTES} make sense",
            value.len()
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("the {what} holds a control character"));
    }
    Ok(())
}

/// As [`check`], for ids that Airtable gave out: `prefix` and then letters, digits and `_`.
pub(crate) fn check_id(what: &str, prefix: &str, value: &str) -> Result<(), String> {
    if is_id(prefix, value) {
        return Ok(());
    }
    check(what, value)?;
    Err(format!("the {what} is not of the form {prefix}…"))
}

/// Whether `value` is `prefix` followed by 1 to 61 of `[A-Za-z0-9_]`.
pub(crate) fn is_id(prefix: &str, value: &str) -> bool {
    value.strip_prefix(prefix).is_some_and(|rest| {
        (1..=61).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_stays_one_segment() {
        for (name, encoded) in [
            ("My Table/α", "My%20Table%2F%CE%B1"),
            ("a?b#c&d=e%2F", "a%3Fb%23c%26d%3De%252F"),
            ("...", "..."),
            ("tblP4rJ8sLm2XcV6k", "tblP4rJ8sLm2XcV6k"),
        ] {
            let url = Address::new("http://h")
                .segment("table", name)
                .unwrap()
                .into_url();
            assert_eq!(url, format!("http://h/{encoded}"));
        }
    }

    #[test]
    fn what_would_leave_its_segment_is_refused() {
        for name in [
            "",
            ".",
            "..",
            "a\r\nHost: evil",
            "a\0b",
            "a\u{85}b",
            &"x".repeat(1_001),
        ] {
            let why = Address::new("http://h").segment("table", name).unwrap_err();
            assert!(why.starts_with("the table "), "{why}");
            assert!(!why.chars().any(char::is_control), "{why:?}");
        }
    }

    #[test]
    fn a_query_is_encoded_on_both_sides() {
        let url = Address::new("http://h")
            .query("records[]", "a b")
            .query("offset", "itr1/rec&x=1")
            .into_url();
        assert_eq!(
            url,
            "http://h?records%5B%5D=a%20b&offset=itr1%2Frec%26x%3D1"
        );
    }

    #[test]
    fn ids_have_their_prefix_and_alphabet() {
        for (id, ok) in [
            ("recA1b2C3d4E5f6G7", true),
            ("rec_", true),
            ("rec", false),
            ("REC1", false),
            ("recé", false),
            ("rec a", false),
            ("tblA1b2", false),
        ] {
            assert_eq!(is_id("rec", id), ok, "{id}");
        }
        assert!(is_id("rec", &format!("rec{}", "a".repeat(61))));
        assert!(!is_id("rec", &format!("rec{}", "a".repeat(62))));
    }
}
