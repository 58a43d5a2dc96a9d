//! Why a fetch brought nothing, in the words of the error codes.

use podium_airtable::{Failure, FailureKind, Phase};
use podium_core::entry::Encoded;
use podium_core::pace::{Busy, Fault as PaceFault, Why};

/// Did Airtable say no, whoever asks again: for want of rights, or because there is no such thing?
pub(crate) fn is_refusal(f: &Failure) -> bool {
    matches!(
        f.kind,
        FailureKind::Auth | FailureKind::NotFound | FailureKind::Refused
    )
}

/// An error of the upstream (or of the way to it), ready to be told.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The whole line, its code first.
    pub(crate) line: String,
    /// Is it worth serving a stale copy instead? (It is Airtable's state, not the question's fault.)
    pub(crate) outage: bool,
    /// It is this one record that came and cannot be read.
    pub(crate) damage: Option<Damage>,
}

/// What can be known all the same of a record that cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    /// Its readable cells, in the stored form; what lacks there has no value that anybody could ask for. `None`: none can
    /// be read, and it may hold any value.
    pub(crate) cells: Option<Encoded>,
}

impl Fault {
    pub(crate) fn new(line: impl Into<String>) -> Fault {
        Fault {
            line: line.into(),
            outage: false,
            damage: None,
        }
    }
    pub(crate) fn outage(line: impl Into<String>) -> Fault {
        Fault {
            line: line.into(),
            outage: true,
            damage: None,
        }
    }
    /// A record came and cannot be read: its own error, and nobody else's.
    pub(crate) fn damaged(name: &str, why: &str, cells: Option<Encoded>) -> Fault {
        Fault {
            line: format!(
                "BADRECORD {name} cannot be read as Airtable sends it: {why}. Put that right in Airtable"
            ),
            outage: true,
            damage: Some(Damage { cells }),
        }
    }
    /// Something came among the records of an entity that cannot be read and does not say which record it is.
    pub(crate) fn nameless(entity: &str) -> Fault {
        Fault::outage(format!(
            "UPSTREAMBAD Airtable sent a record of {entity} that cannot be read and does not say which it is"
        ))
    }
    pub(crate) fn busy(b: Busy) -> Fault {
        let s = b.ms_left.div_ceil(1000);
        Fault::outage(match b.why {
            Why::RateLimited => format!(
                "UPSTREAMBUSY Airtable locked the base out for exceeding 5 calls a second: again in {s} s. Lower podium.rate-limit if other programs write to it"
            ),
            Why::BreakerOpen => format!("UPSTREAMBUSY Airtable keeps failing: the next attempt is in {s} s"),
            Why::MonthSpent => format!(
                "UPSTREAMBUSY the month's calls are spent, as many as podium.monthly-calls allows: again in {s} s, or raise it if the plan allows"
            ),
            Why::PlanSpent => return Fault::plan_spent(s),
        })
    }
    /// Airtable refuses by itself; one call asks again in so many s.
    fn plan_spent(s: u64) -> Fault {
        Fault::outage(format!(
            "UPSTREAMBUSY Airtable refused (429 PUBLIC_API_BILLING_LIMIT_EXCEEDED): the API calls that the workspace's plan has for this month are used up, it says. One call an hour asks again, the next in {s} s; any change of podium.monthly-calls asks at once"
        ))
    }
    pub(crate) fn timeout(ms: i64) -> Fault {
        Fault::outage(format!(
            "UPSTREAMTIMEOUT no answer from Airtable within podium.fetch-timeout-ms ({ms} ms, queueing included): the fetch goes on, ask again"
        ))
    }
    pub(crate) fn queue_full(pending: i64) -> Fault {
        Fault::outage(format!("UPSTREAMBUSY {pending} reads are waiting already (podium.max-pending): try again in about 1 s"))
    }
    /// `what`: the call, for the message ("list records of events").
    pub(crate) fn of(f: &Failure, what: &str, scope: &str) -> Fault {
        let status = f.status.map_or_else(|| "-".to_string(), |s| s.to_string());
        let kind = f.error_type.as_deref().unwrap_or("-");
        // Airtable may say nothing beyond the type.
        let said = |before: &str| {
            if f.message.is_empty() {
                String::new()
            } else {
                format!("{before}{}", f.message)
            }
        };
        match &f.kind {
            FailureKind::Auth => Fault::outage(format!(
                "UPSTREAMAUTH Airtable answered {status} {kind} to {what}: the token needs the scope {scope}, the base added to it, and a user with the needed role in that base; check the base and table names too{}",
                said(". ")
            )),
            FailureKind::NotFound => Fault::outage(format!(
                "UPSTREAM {status} {kind}: Airtable knows no such base or table ({what}){}",
                said(". ")
            )),
            FailureKind::Refused | FailureKind::UnknownField(_) | FailureKind::IteratorGone => {
                let message = if f.message.is_empty() { "refused" } else { &f.message };
                Fault::outage(format!("UPSTREAM {status} {kind}: {message} ({what})"))
            }
            FailureKind::RateLimited => Fault::outage(format!(
                "UPSTREAMBUSY Airtable answered 429 to {what}: the base is silent for {} s",
                f.retry_after.map_or(30, |d| d.as_secs().max(1))
            )),
            FailureKind::PlanSpent => Fault::plan_spent(3600),
            FailureKind::Timeout => Fault::outage(format!(
                "UPSTREAMTIMEOUT no answer from Airtable to {what} in time (while: {})",
                f.phase.as_str()
            )),
            FailureKind::Retriable | FailureKind::Server => {
                Fault::outage(format!("UPSTREAM {status} {kind}: Airtable failed at {what}{}", said(". ")))
            }
            FailureKind::Unreachable => Fault::outage(format!(
                "UPSTREAMBAD Airtable cannot be reached for {what} (while: {}){}",
                f.phase.as_str(),
                said(": ")
            )),
            FailureKind::TooLarge => Fault::outage(format!(
                "UPSTREAMBAD the answer to {what} is larger than podium.max-response-bytes: raise it{}",
                said(". ")
            )),
            _ => Fault::outage(format!("UPSTREAMBAD what answered {what} is not Airtable's API{}", said(": "))),
        }
    }
}

/// The base's month is spent, one way or the other: what is not under way waits for more than is worth waiting for.
pub(crate) fn hopeless(busy: &Busy) -> bool {
    matches!(busy.why, Why::PlanSpent | Why::MonthSpent)
}

/// How the scheduler takes a failure of a read.
pub(crate) fn for_pace(f: &Failure, batch: bool) -> PaceFault {
    match &f.kind {
        FailureKind::RateLimited => PaceFault::RateLimited,
        FailureKind::PlanSpent => PaceFault::PlanSpent,
        FailureKind::Timeout => PaceFault::Timeout,
        FailureKind::TooLarge | FailureKind::Refused if batch => PaceFault::Poison,
        _ if f.is_safe_to_retry(false) => PaceFault::Transient,
        _ => PaceFault::Refused,
    }
}

/// Nothing was sent: what stopped the call lies on this side.
pub(crate) fn never_sent(f: &Failure) -> bool {
    f.phase == Phase::Prepare && f.status.is_none()
}

/// As [`never_sent`], because its time was over before its turn came.
pub(crate) fn never_begun(f: &Failure) -> bool {
    never_sent(f) && f.kind == FailureKind::Timeout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_message_leaves_no_trace() {
        for kind in [
            FailureKind::Auth,
            FailureKind::NotFound,
            FailureKind::Refused,
            FailureKind::Retriable,
            FailureKind::Unreachable,
            FailureKind::TooLarge,
            FailureKind::Bad,
        ] {
            let said = |message: &str| {
                let f = Failure {
                    kind: kind.clone(),
                    status: Some(503),
                    error_type: Some("TYPE".into()),
                    message: message.into(),
                    retry_after: None,
                    phase: Phase::Headers,
                    may_have_applied: false,
                };
                Fault::of(&f, "a delete", "s").line
            };
            let line = said("");
            assert!(!line.ends_with([' ', '.', ':']), "{line}");
            assert!(!line.contains("  ") && !line.contains(": ("), "{line}");
            assert!(said("why").contains("why"));
        }
    }
}
