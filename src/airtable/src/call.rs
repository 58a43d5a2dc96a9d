//! A request as it goes to Airtable.

use crate::token::Token;
use std::time::Duration;
use ureq::http::Method;

/// A request ready to be sent.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: String,
    /// JSON text; `Some` and empty for a POST without content.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) token: &'a Token,
    /// For the whole exchange, connecting included.
    pub(crate) deadline: Duration,
    /// Whether it changes anything at Airtable.
    pub(crate) is_write: bool,
}
