//! What can go wrong with a call, and what may be done about it.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::clean;
use crate::token::Token;

/// How a call failed. The variants are what a caller decides by; the rest of [`Failure`] is for telling people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// 401 or 403: the token is not valid, or lacks the scope, the base or the role; a 403 may also be a missing record.
    Auth,
    /// 404: no such base, table, record or route. Proves nothing by itself: an id of the wrong shape gives it too.
    NotFound,
    /// Any other 4xx: the request cannot be carried out as it is. Also an argument refused before anything was sent (no status).
    Refused,
    /// 4xx naming fields that the table lacks, as Airtable spells them (in a formula's error: lower-cased).
    UnknownField(Vec<String>),
    /// The `offset` of a listing has died: begin the listing anew.
    IteratorGone,
    /// 429: too many requests. Nothing succeeds for `retry_after`, or 30 s where that is unknown.
    RateLimited,
    /// 429 of the other kind: the workspace's calls of this month are spent.
    MonthSpent,
    /// 503: Airtable asks to try again.
    Retriable,
    /// Any other 5xx.
    Server,
    /// The deadline of the call, or the one for connecting, passed; `phase` says where.
    Timeout,
    /// No connection, or one lost before any answer: name lookup, connect, TLS, reset.
    Unreachable,
    /// What came back is not Airtable's API: a redirect, HTML, no JSON, JSON of another shape, an answer cut short.
    Bad,
    /// The answer is larger than `max_response_bytes` after decompression.
    TooLarge,
}

/// How far a call had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Arguments were being checked; nothing was sent.
    Prepare,
    /// Looking up the host's name.
    Resolve,
    /// Opening the connection, through a proxy if there is one.
    Connect,
    /// Shaking hands.
    Tls,
    /// Sending the request.
    Send,
    /// Waiting for the status and headers; also failures that the status alone decides.
    Headers,
    /// Reading the body.
    Body,
    /// Making sense of the body.
    Parse,
}

impl Phase {
    /// The phase as a word for messages and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Send => "send",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Parse => "parse",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed call. Cloneable, because one call may answer many askers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// The HTTP status, if one came.
    pub status: Option<u16>,
    /// Airtable's error type, such as `INVALID_FILTER_BY_FORMULA`: letters, digits and `_.-` only.
    pub error_type: Option<String>,
    /// Airtable's message or our own, on one line, at most 200 characters, without anything that looks like a credential.
    pub message: String,
    /// What a `Retry-After` header asked for, as sent: the caller bounds it.
    pub retry_after: Option<Duration>,
    pub phase: Phase,
    /// For writes: Airtable may have carried it out all the same. Always false for reads.
    pub may_have_applied: bool,
}

impl Failure {
    /// Whether sending the same call again is safe and has a chance (after `retry_after`, where given).
    ///
    /// A read: whenever the fault may pass. A write: only if it surely was not applied, that is nothing had been sent yet, or
    /// Airtable says so (429, and 503 of type `RETRIABLE_ERROR`). A 502 to a write is left alone, since a gateway on the way
    /// answers 502 as well.
    pub fn is_safe_to_retry(&self, write: bool) -> bool {
        if write && self.may_have_applied {
            return false;
        }
        match self.kind {
            FailureKind::RateLimited
            | FailureKind::Retriable
            | FailureKind::Server
            | FailureKind::Timeout
            | FailureKind::Unreachable => true,
            // Cut short on the way; any other bad answer would only come again.
            FailureKind::Bad => self.phase == Phase::Body,
            _ => false,
        }
    }

    /// An argument that cannot be sent; nothing was.
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::new(FailureKind::Refused, Phase::Prepare, why)
    }

    pub(crate) fn new(kind: FailureKind, phase: Phase, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: None,
            error_type: None,
            message: message.into(),
            retry_after: None,
            phase,
            may_have_applied: false,
        }
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    pub(crate) fn with_may_have_applied(mut self, may_have_applied: bool) -> Self {
        self.may_have_applied = may_have_applied;
        self
    }

    /// What a status other than 2xx means. `body` may be anything, or nothing.
    pub(crate) fn from_answer(answer: &Refusal, is_write: bool, token: &Token) -> Self {
        let said = Said::parse(answer.body);
        let type_text = said.error_type.as_deref().unwrap_or_default();
        let kind = kind_of(
            answer.status,
            type_text,
            said.message.as_deref().unwrap_or_default(),
            token,
        );
        let message = match (&said.message, kind == FailureKind::Bad) {
            (_, true) => format!(
                "answered {} where Airtable answers with data",
                answer.status
            ),
            (Some(message), _) => clean::message(message, token),
            (None, _) if said.is_json => String::new(),
            (None, _) => "no error of Airtable's in the answer".to_string(),
        };
        let surely_not_applied =
            answer.status / 100 == 4 || answer.status == 503 && type_text == "RETRIABLE_ERROR";
        Self {
            kind,
            status: Some(answer.status),
            error_type: said
                .error_type
                .as_deref()
                .and_then(|t| clean::error_type(t, token)),
            message,
            retry_after: answer.retry_after,
            phase: Phase::Headers,
            may_have_applied: is_write && !surely_not_applied,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "{status} ")?;
        }
        if let Some(error_type) = &self.error_type {
            write!(f, "{error_type} ")?;
        }
        write!(f, "({}): {}", self.phase, self.message)
    }
}

impl std::error::Error for Failure {}

/// An answer that is not 2xx, as far as it matters.
pub(crate) struct Refusal<'a> {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: &'a [u8],
}

/// Status first, type second; the message only for the names it lists.
fn kind_of(status: u16, error_type: &str, message: &str, token: &Token) -> FailureKind {
    match status {
        401 | 403 => FailureKind::Auth,
        404 => FailureKind::NotFound,
        429 if error_type == "PUBLIC_API_BILLING_LIMIT_EXCEEDED" => FailureKind::MonthSpent,
        429 => FailureKind::RateLimited,
        400..=499 => match error_type {
            "LIST_RECORDS_ITERATOR_NOT_AVAILABLE" | "INVALID_OFFSET_VALUE" => {
                FailureKind::IteratorGone
            }
            "UNKNOWN_FIELD_NAME" | "INVALID_FILTER_BY_FORMULA" => {
                match unknown_fields(message, token) {
                    names if names.is_empty() => FailureKind::Refused,
                    names => FailureKind::UnknownField(names),
                }
            }
            _ => FailureKind::Refused,
        },
        503 => FailureKind::Retriable,
        500..=599 => FailureKind::Server,
        _ => FailureKind::Bad,
    }
}

/// The names in `Unknown field names: a, b` (a name that holds `, ` comes apart: Airtable does not quote them there) or
/// `Unknown field name: "A"`.
fn unknown_fields(message: &str, token: &Token) -> Vec<String> {
    /// An error lists what one request named; a longer list is noise.
    const MOST: usize = 50;
    let names: Vec<&str> = if let Some((_, list)) = message.split_once("Unknown field names: ") {
        list.split(", ").collect()
    } else if let Some((_, name)) = message.split_once("Unknown field name: ") {
        vec![name.trim().trim_matches('"')]
    } else {
        Vec::new()
    };
    names
        .into_iter()
        .take(MOST)
        .map(|name| clean::message(name, token))
        .filter(|name| !name.is_empty())
        .collect()
}

/// The three shapes of an error body, brought to one.
#[derive(Debug, Default)]
struct Said {
    is_json: bool,
    error_type: Option<String>,
    message: Option<String>,
}

impl Said {
    fn parse(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return Self::default();
        };
        let first = value.get("errors").and_then(|errors| errors.get(0));
        let error = value.get("error");
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_string);
        Self {
            is_json: true,
            error_type: text(first.and_then(|e| e.get("error")))
                .or_else(|| text(first.and_then(|e| e.get("type"))))
                .or_else(|| text(error.and_then(|e| e.get("type"))))
                .or_else(|| text(error)),
            message: text(first.and_then(|e| e.get("message")))
                .or_else(|| text(error.and_then(|e| e.get("message")))),
        }
    }
}

/// A `Retry-After` header: seconds, or a date (the past counts as zero).
pub(crate) fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u32 holds mean "never" in any case.
        return Some(Duration::from_secs(
            text.parse::<u32>().unwrap_or(u32::MAX).into(),
        ));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn failure(status: u16, body: &str, is_write: bool) -> Failure {
        let token = Token::new("patAbCdEfGhIjKlMn.0123456789abcdef").unwrap();
        let answer = Refusal {
            status,
            retry_after: None,
            body: body.as_bytes(),
        };
        Failure::from_answer(&answer, is_write, &token)
    }

    /// Every status of the table, in every shape it is known in.
    #[test]
    fn statuses_and_types_decide_the_kind() {
        use FailureKind::*;
        let unknown = |names: &[&str]| UnknownField(names.iter().map(|n| n.to_string()).collect());
        let rows = [
            (400, "not json", Refused, None),
            (400, "", Refused, None),
            (
                401,
                r#"{"error":{"type":"AUTHENTICATION_REQUIRED","message":"Authentication required"}}"#,
                Auth,
                Some("AUTHENTICATION_REQUIRED"),
            ),
            (
                403,
                r#"{"error":"INVALID_PERMISSIONS"}"#,
                Auth,
                Some("INVALID_PERMISSIONS"),
            ),
            (
                403,
                r#"{"errors":[{"error":"INVALID_PERMISSIONS","message":"no"}]}"#,
                Auth,
                Some("INVALID_PERMISSIONS"),
            ),
            (404, r#"{"error":"NOT_FOUND"}"#, NotFound, Some("NOT_FOUND")),
            (
                404,
                r#"{"error":{"type":"NOT_FOUND"}}"#,
                NotFound,
                Some("NOT_FOUND"),
            ),
            (413, "<html>too large</html>", Refused, None),
            (
                422,
                r#"{"error":{"type":"INVALID_RECORDS","message":"x"}}"#,
                Refused,
                Some("INVALID_RECORDS"),
            ),
            (
                422,
                r#"{"error":{"type":"LIST_RECORDS_ITERATOR_NOT_AVAILABLE"}}"#,
                IteratorGone,
                Some("LIST_RECORDS_ITERATOR_NOT_AVAILABLE"),
            ),
            (
                422,
                r#"{"error":"LIST_RECORDS_ITERATOR_NOT_AVAILABLE"}"#,
                IteratorGone,
                Some("LIST_RECORDS_ITERATOR_NOT_AVAILABLE"),
            ),
            (
                422,
                r#"{"errors":[{"error":"LIST_RECORDS_ITERATOR_NOT_AVAILABLE"}]}"#,
                IteratorGone,
                Some("LIST_RECORDS_ITERATOR_NOT_AVAILABLE"),
            ),
            (
                422,
                r#"{"error":{"type":"INVALID_OFFSET_VALUE","message":"The value of offset itrX is invalid"}}"#,
                IteratorGone,
                Some("INVALID_OFFSET_VALUE"),
            ),
            (
                422,
                r#"{"error":{"type":"UNKNOWN_FIELD_NAME","message":"Unknown field name: \"Stagee\""}}"#,
                unknown(&["Stagee"]),
                Some("UNKNOWN_FIELD_NAME"),
            ),
            (
                422,
                r#"{"error":{"type":"INVALID_FILTER_BY_FORMULA","message":"The formula for filtering records is invalid: Unknown field names: stagee, foo"}}"#,
                unknown(&["stagee", "foo"]),
                Some("INVALID_FILTER_BY_FORMULA"),
            ),
            (
                422,
                r#"{"error":{"type":"INVALID_FILTER_BY_FORMULA","message":"The formula for filtering records is invalid: Invalid formula. Please check your formula text."}}"#,
                Refused,
                Some("INVALID_FILTER_BY_FORMULA"),
            ),
            (
                429,
                r#"{"errors":[{"error":"RATE_LIMIT_REACHED","message":"Rate limit exceeded. Please try again later"}]}"#,
                RateLimited,
                Some("RATE_LIMIT_REACHED"),
            ),
            (
                429,
                r#"{"error":{"type":"RATE_LIMIT_REACHED"}}"#,
                RateLimited,
                Some("RATE_LIMIT_REACHED"),
            ),
            (429, "", RateLimited, None),
            (
                429,
                r#"{"errors":[{"error":"PUBLIC_API_BILLING_LIMIT_EXCEEDED","message":"API billing plan limit exceeded."}]}"#,
                MonthSpent,
                Some("PUBLIC_API_BILLING_LIMIT_EXCEEDED"),
            ),
            (
                429,
                r#"{"error":{"type":"PUBLIC_API_BILLING_LIMIT_EXCEEDED"}}"#,
                MonthSpent,
                Some("PUBLIC_API_BILLING_LIMIT_EXCEEDED"),
            ),
            (
                429,
                r#"{"error":"PUBLIC_API_BILLING_LIMIT_EXCEEDED"}"#,
                MonthSpent,
                Some("PUBLIC_API_BILLING_LIMIT_EXCEEDED"),
            ),
            (500, "{}", Server, None),
            (502, "<html>Bad Gateway</html>", Server, None),
            (
                503,
                r#"{"error":{"type":"RETRIABLE_ERROR","message":"safe"}}"#,
                Retriable,
                Some("RETRIABLE_ERROR"),
            ),
            (504, "", Server, None),
            (302, "", Bad, None),
            (304, "", Bad, None),
        ];
        for (status, body, kind, error_type) in rows {
            let failure = failure(status, body, false);
            assert_eq!(failure.kind, kind, "{status} {body}");
            assert_eq!(failure.error_type.as_deref(), error_type, "{status} {body}");
            assert_eq!(failure.status, Some(status));
            assert!(!failure.may_have_applied, "a read applies nothing");
        }
    }

    #[test]
    fn odd_error_bodies_decide_nothing() {
        for body in [
            "[]",
            "null",
            "3",
            r#"{"error":7}"#,
            r#"{"error":{"type":{"a":1}}}"#,
            r#"{"errors":[]}"#,
            r#"{"errors":{}}"#,
            "\u{0}",
            "[[[[",
        ] {
            let failure = failure(422, body, false);
            assert_eq!(
                (failure.kind, failure.error_type),
                (FailureKind::Refused, None),
                "{body}"
            );
        }
    }

    #[test]
    fn a_write_is_retried_only_where_it_surely_was_not_applied() {
        let retriable = r#"{"error":{"type":"RETRIABLE_ERROR"}}"#;
        for (status, body, may_have_applied, safe_read, safe_write) in [
            (422, "", false, false, false),
            (429, "", false, true, true),
            (500, "", true, true, false),
            (502, "", true, true, false),
            (503, "", true, true, false),
            (503, retriable, false, true, true),
            (303, "", true, false, false),
        ] {
            let failure = failure(status, body, true);
            assert_eq!(
                failure.may_have_applied, may_have_applied,
                "{status} {body}"
            );
            assert_eq!(
                failure.is_safe_to_retry(false),
                safe_read || safe_write && !may_have_applied,
                "{status} {body}"
            );
            assert_eq!(
                failure.is_safe_to_retry(true),
                safe_write,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (text, seconds) in [
            ("30", Some(30)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Sun Nov  6 08:50:07 1994", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999999999999", Some(u32::MAX.into())),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(
                parse_retry_after(text, now),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
    }

    #[test]
    fn what_airtable_says_is_quoted_cleaned() {
        let failure = failure(
            422,
            r#"{"error":{"type":"X\r\nY","message":"bad\r\npatAbCdEfGhIjKlMn.0123456789abcdef"}}"#,
            false,
        );
        assert_eq!(failure.message, "bad (redacted)");
        assert_eq!(failure.error_type.as_deref(), Some("XY"));
        assert_eq!(failure.to_string(), "422 XY (headers): bad (redacted)");
    }
}
