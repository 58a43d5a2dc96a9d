//! Calls that got no whole answer: what the HTTP client's error means, given how far the call had
//! come.

use std::io;
use std::time::Duration;

use ureq::{Error, Timeout};

use crate::call::Call;
use crate::clean;
use crate::failure::{Failure, FailureKind, Phase};
use crate::progress;

/// What an error must be seen against.
pub(crate) struct Fault<'a> {
    pub(crate) call: &'a Call<'a>,
    /// What was left for the whole attempt.
    pub(crate) deadline: Duration,
    /// What of it was allowed for name lookup, and again for connecting.
    pub(crate) connecting: Duration,
}

impl Fault<'_> {
    pub(crate) fn to_failure(&self, error: &Error) -> Failure {
        let progress = progress::current();
        let (kind, message) = self.meaning(error, progress.phase);
        Failure::new(
            kind,
            progress.phase,
            clean::message(&message, self.call.token),
        )
        .with_may_have_applied(self.call.is_write && progress.sent)
    }

    fn meaning(&self, error: &Error, phase: Phase) -> (FailureKind, String) {
        use FailureKind::{Bad, Refused, Timeout as Late, Unreachable};
        match error {
            Error::Timeout(which) => (Late, self.timeout_text(*which, phase)),
            Error::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                (Late, self.timeout_text(Timeout::Global, phase))
            }
            Error::HostNotFound => (Unreachable, "the host's name does not resolve".to_string()),
            Error::Io(e) if phase < Phase::Body => (Unreachable, io_text(e, phase)),
            error if phase == Phase::Prepare => {
                (Refused, format!("the request cannot be formed: {error}"))
            }
            error if phase <= Phase::Tls => (Unreachable, format!("{phase} failed: {error}")),
            Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                (Bad, "the answer broke off before its end".to_string())
            }
            Error::Io(e) => (Bad, format!("reading the answer failed: {}", e.kind())),
            Error::Decompress(_, _) => (
                Bad,
                "the answer is broken gzip or broke off before its end".to_string(),
            ),
            Error::LargeResponseHeader(_, _) => {
                (Bad, "the answer's headers have no end".to_string())
            }
            error => (
                Bad,
                format!("the answer is not HTTP as it should be: {error}"),
            ),
        }
    }

    fn timeout_text(&self, which: Timeout, phase: Phase) -> String {
        let what = match phase {
            Phase::Resolve => "the host's name was not resolved",
            Phase::Connect => "no connection was made",
            Phase::Tls => "the TLS handshake did not end",
            Phase::Prepare | Phase::Send => "the call could not be sent",
            Phase::Headers => "no answer came",
            Phase::Body | Phase::Parse => "the answer did not end",
        };
        let limit = match which {
            Timeout::Resolve | Timeout::Connect => self.connecting,
            _ => self.deadline,
        };
        format!("{what} within {} ms", limit.as_millis())
    }
}

fn io_text(error: &io::Error, phase: Phase) -> String {
    match error.kind() {
        // In the handshake the kind says nothing and the error all.
        io::ErrorKind::InvalidData | io::ErrorKind::Other => format!("{phase} failed: {error}"),
        io::ErrorKind::UnexpectedEof => format!("the connection was closed ({phase})"),
        kind => format!("{kind} ({phase})"),
    }
}
