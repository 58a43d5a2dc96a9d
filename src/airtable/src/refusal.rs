//! Answers other than 2xx: what their status, type and message mean.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::clean;
use crate::failure::{Failure, FailureKind, Phase};
use crate::token::Token;

/// An answer that is not 2xx, as far as it matters.
pub(crate) struct Refusal<'a> {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: &'a [u8],
}

impl Refusal<'_> {
    /// What a status other than 2xx means. `body` may be anything, or nothing.
    pub(crate) fn into_failure(self, is_write: bool, token: &Token) -> Failure {
        let said = Said::parse(self.body);
        let type_text = said.error_type.as_deref().unwrap_or_default();
        let message_text = said.message.as_deref().unwrap_or_default();
        let surely_not_applied =
            self.status / 100 == 4 || self.status == 503 && type_text == "RETRIABLE_ERROR";
        let error_type = said.error_type.as_deref();
        Failure {
            kind: kind_of(self.status, type_text, message_text, token),
            status: Some(self.status),
            error_type: error_type.and_then(|text| clean::error_type(text, token)),
            message: match said.message {
                _ if self.status / 100 == 3 => "a redirect, which is not followed".to_string(),
                Some(message) => clean::message(&message, token),
                None if error_type.is_some() => String::new(),
                None => "no error of Airtable's in the answer".to_string(),
            },
            retry_after: self.retry_after,
            phase: Phase::Headers,
            may_have_applied: is_write && !surely_not_applied,
        }
    }
}

/// Status first, type second; the message only for the names it lists.
fn kind_of(status: u16, error_type: &str, message: &str, token: &Token) -> FailureKind {
    match status {
        401 | 403 => FailureKind::Auth,
        404 => FailureKind::NotFound,
        429 if error_type == "PUBLIC_API_BILLING_LIMIT_EXCEEDED" => FailureKind::PlanSpent,
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

/// The names in `Unknown field names: a, b` (a name that holds `, ` comes apart: Airtable does not
/// quote them there) or `Unknown field name: "A"`.
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
    error_type: Option<String>,
    message: Option<String>,
}

impl Said {
    fn parse(body: &[u8]) -> Self {
        let Ok(value) = podium_json::salvage(body) else {
            return Self::default();
        };
        let first = value.get("errors").and_then(|errors| errors.get(0));
        let error = value.get("error");
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_string);
        Self {
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
        answer.into_failure(is_write, &token)
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
                PlanSpent,
                Some("PUBLIC_API_BILLING_LIMIT_EXCEEDED"),
            ),
            (
                429,
                r#"{"error":{"type":"PUBLIC_API_BILLING_LIMIT_EXCEEDED"}}"#,
                PlanSpent,
                Some("PUBLIC_API_BILLING_LIMIT_EXCEEDED"),
            ),
            (
                429,
                r#"{"error":"PUBLIC_API_BILLING_LIMIT_EXCEEDED"}"#,
                PlanSpent,
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
