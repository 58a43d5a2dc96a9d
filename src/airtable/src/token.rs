//! Secrets: an Airtable token and a webhook's MAC secret, which no formatting gives away.

use std::fmt;
use std::sync::Arc;

/// A credential for Airtable, opaque, as it goes behind `Authorization: Bearer`. Cheap to clone.
///
/// `Debug` and `Display` print `(token)`; the text leaves this crate in the request header and
/// nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// Takes the text of a token file or an environment variable; white space around it is dropped.
    ///
    /// # Errors
    /// Says what is wrong (never quoting the text) when it is empty or could not stand in a header:
    /// white space inside, control characters, anything beyond ASCII.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err("the token is empty".to_string());
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(
                "the token holds a space, a line break or a character beyond ASCII: it must be one word"
                    .to_string(),
            );
        }
        Ok(Self(text.into()))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(token)")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(token)")
    }
}

/// A webhook's MAC secret, base64 as Airtable sent it. `Debug` prints `(secret)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The base64 text, for checking pings and for storing; not for logs or replies.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_trimmed_and_never_printed() {
        let token = Token::new("\u{feff}  patAbCdEfGhIjKlMn.0123abcd\r\n").unwrap();
        assert_eq!(token.reveal(), "patAbCdEfGhIjKlMn.0123abcd");
        assert_eq!(
            format!("{token} {token:?} {:#?}", Some(&token)),
            "(token) (token) Some(\n    (token),\n)"
        );
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused_unquoted() {
        for text in ["", " \n", "pat one", "pat\r\nX-Evil: 1", "pat\0", "pät"] {
            let why = Token::new(text).unwrap_err();
            assert!(why.contains("token"), "{text:?}: {why}");
            assert!(
                !why.contains("pat") && !why.contains("pät"),
                "{text:?}: {why}"
            );
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(
            format!("{:?}", Secret::new("c2VjcmV0".to_string())),
            "(secret)"
        );
    }
}
