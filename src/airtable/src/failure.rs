//! What can go wrong with a call, and what may be done about it.

use std::fmt;
use std::time::Duration;

/// How a call failed. The variants are what a caller decides by; the rest of [`Failure`] is for
/// telling people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// 401 or 403: the token is not valid, or lacks the scope, the base or the role; a 403 may also
    /// be a missing record.
    Auth,
    /// 404: no such base, table, record or route. Proves nothing by itself: an id of the wrong
    /// shape gives it too.
    NotFound,
    /// Any other 4xx: the request cannot be carried out as it is. Also an argument refused before
    /// anything was sent (no status).
    Refused,
    /// 4xx naming fields that the table lacks, as Airtable spells them (in a formula's error:
    /// lower-cased).
    UnknownField(Vec<String>),
    /// The `offset` of a listing has died: begin the listing anew.
    IteratorGone,
    /// 429: too many requests. Nothing succeeds for `retry_after`, or 30 s where that is unknown.
    RateLimited,
    /// 429 of the other kind: the plan's calls of this month are used up, Airtable says.
    PlanSpent,
    /// 503: Airtable asks to try again.
    Retriable,
    /// Any other 5xx.
    Server,
    /// The deadline of the call, or the one for connecting, passed; `phase` says where.
    Timeout,
    /// No connection, or one lost before any answer: name lookup, connect, TLS, reset.
    Unreachable,
    /// What came back is not Airtable's API: a redirect, HTML, no JSON, JSON of another shape, an
    /// answer cut short.
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
    /// What a caller decides by.
    pub kind: FailureKind,
    /// The HTTP status, if one came.
    pub status: Option<u16>,
    /// Airtable's error type, such as `INVALID_FILTER_BY_FORMULA`: letters, digits and `_.-` only.
    pub error_type: Option<String>,
    /// Airtable's message or our own, on one line, at most 200 characters, without anything that
    /// looks like a credential.
    pub message: String,
    /// What a `Retry-After` header asked for, as sent: the caller bounds it.
    pub retry_after: Option<Duration>,
    /// How far the call had come.
    pub phase: Phase,
    /// For writes: Airtable may have carried it out all the same. Always false for reads.
    pub may_have_applied: bool,
}

impl Failure {
    /// Whether sending the same call again is safe and has a chance (after `retry_after`, where
    /// given).
    ///
    /// A read: whenever the fault may pass. A write: only if it surely was not applied, that is
    /// nothing had been sent yet, or Airtable says so (429, and 503 of type `RETRIABLE_ERROR`). A
    /// 502 to a write is left alone, since a gateway on the way answers 502 as well.
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
