//! One exchange: a request goes out, an answer or a [`Failure`] comes back, within the deadline.

use crate::call::Call;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{header, HeaderValue, Request, Response};
use ureq::{Agent, AsSendBody, Body};

use crate::clean;
use crate::failure::{Failure, FailureKind, Phase};
use crate::fault::Fault;
use crate::progress;
use crate::refusal::{parse_retry_after, Refusal};
use crate::resolver::Names;

/// Bytes read of a body that explains a failure.
const EXPLANATION_BYTES: u64 = 64 * 1024;
/// An explanation that trickles is not worth waiting for: the status has decided already.
const EXPLANATION_PATIENCE: Duration = Duration::from_millis(500);

/// No call takes longer, whatever its deadline: instants cannot be computed with just any span.
const LONGEST: Duration = Duration::from_secs(3600);

/// A 2xx answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    is_json: bool,
    content_type: Option<String>,
}

impl Answer {
    /// The body as JSON text, or why it is not Airtable's.
    pub(crate) fn json(&self) -> Result<&[u8], String> {
        if self.body.is_empty() {
            return Err("the answer is empty".to_string());
        }
        if !self.is_json {
            let content_type = self.content_type.as_deref().unwrap_or_default();
            return Err(format!("the answer is {content_type}, not JSON"));
        }
        Ok(&self.body)
    }
}

/// The way to one upstream: connections, names and bounds that all calls share.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) agent: Agent,
    pub(crate) names: Names,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_response_bytes: u64,
}

/// Which connection to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    /// A pooled one if there is one.
    Any,
    /// A new one.
    Fresh,
}

impl Wire {
    /// Sends `call` and reads the answer to its end.
    ///
    /// A read that lost a *pooled* connection before the first byte of an answer is sent once more
    /// on a fresh connection: the server had closed it while it lay idle. Nothing else is
    /// repeated, a write never.
    pub(crate) fn exchange(&self, call: &Call) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let deadline = call.deadline.min(LONGEST);
        let result = match self.attempt(call, deadline, Connection::Any) {
            Err(failure) if !call.is_write && lost_idle_connection(&failure) => {
                let left = deadline.saturating_sub(begun.elapsed());
                self.attempt(call, left, Connection::Fresh)
            }
            other => other,
        };
        let no_connection =
            |failure: &Failure| matches!(failure.phase, Phase::Connect | Phase::Tls);
        if result.as_ref().is_err_and(no_connection) {
            self.names.forget();
        }
        result
    }

    fn attempt(
        &self,
        call: &Call,
        deadline: Duration,
        connection: Connection,
    ) -> Result<Answer, Failure> {
        progress::begin();
        if deadline.is_zero() {
            return Err(Failure::new(
                FailureKind::Timeout,
                Phase::Prepare,
                "no time was left to send the call",
            ));
        }
        let fault = Fault {
            call,
            deadline,
            connecting: self.connect_timeout.min(deadline),
        };
        let mut response = self
            .send(call, deadline, connection)
            .map_err(|error| fault.to_failure(&error))?;
        progress::enter(Phase::Body);
        let status = response.status().as_u16();
        if !response.status().is_success() {
            let retry_after = header_text(&response, header::RETRY_AFTER)
                .and_then(|text| parse_retry_after(&text, SystemTime::now()));
            let body = explanation(&mut response);
            let refusal = Refusal {
                status,
                retry_after,
                body: &body,
            };
            return Err(refusal.into_failure(call.is_write, call.token));
        }
        let content_type = header_text(&response, header::CONTENT_TYPE);
        let limit = self.max_response_bytes;
        let body = read_body(&mut response, limit).map_err(|error| {
            let failure = match error {
                BodyError::TooLarge => Failure::new(
                    FailureKind::TooLarge,
                    Phase::Body,
                    format!("the answer is larger than max-response-bytes ({limit})"),
                ),
                BodyError::Failed(error) => fault.to_failure(&error),
            };
            failure
                .with_status(status)
                .with_may_have_applied(call.is_write)
        })?;
        Ok(Answer {
            status,
            body,
            // Absent is let pass: the shape is checked in any case.
            is_json: content_type.as_deref().is_none_or(is_json),
            content_type: content_type.map(|text| clean::message(&text, call.token)),
        })
    }

    fn send(
        &self,
        call: &Call,
        deadline: Duration,
        connection: Connection,
    ) -> Result<Response<Body>, ureq::Error> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", call.token.reveal()))
            .map_err(|error| ureq::Error::Http(error.into()))?;
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(call.method.clone())
            .uri(&call.url)
            .header(header::AUTHORIZATION, bearer);
        match call.body.as_deref() {
            None => self.run(request.body(()), deadline, connection),
            Some([]) => self.run(request.body(&[][..]), deadline, connection),
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                self.run(request.body(body), deadline, connection)
            }
        }
    }

    fn run(
        &self,
        request: Result<Request<impl AsSendBody>, ureq::http::Error>,
        deadline: Duration,
        connection: Connection,
    ) -> Result<Response<Body>, ureq::Error> {
        let connecting = self.connect_timeout.min(deadline);
        let mut config = self
            .agent
            .configure_request(request.map_err(ureq::Error::Http)?)
            .timeout_global(Some(deadline))
            .timeout_resolve(Some(connecting))
            .timeout_connect(Some(connecting));
        if connection == Connection::Fresh {
            // Whatever lies in the pool is older than this.
            config = config.max_idle_age(Duration::ZERO);
        }
        self.agent.run(config.build())
    }
}

fn lost_idle_connection(failure: &Failure) -> bool {
    let progress = progress::current();
    failure.kind == FailureKind::Unreachable
        && progress.sent
        && !progress.fresh
        && !progress.answered
}

fn header_text(response: &Response<Body>, name: header::HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json"
        || essence.starts_with("application/") && essence.ends_with("+json")
}

enum BodyError {
    TooLarge,
    Failed(ureq::Error),
}

/// Reads to the end, but never more than `limit` bytes after decompression: what a gzip bomb would
/// become is not made.
fn read_body(response: &mut Response<Body>, limit: u64) -> Result<Vec<u8>, BodyError> {
    let announced = response.body().content_length().unwrap_or(0);
    if announced > limit {
        return Err(BodyError::TooLarge);
    }
    // An announcement is not yet a body: no more than this is set aside on its word.
    let capacity = usize::try_from(announced.min(1 << 20)).unwrap_or(0);
    let mut body = Vec::with_capacity(capacity);
    let mut reader = response
        .body_mut()
        .as_reader()
        .take(limit.saturating_add(1));
    reader
        .read_to_end(&mut body)
        .map_err(|error| BodyError::Failed(error.into()))?;
    if body.len() as u64 > limit {
        return Err(BodyError::TooLarge);
    }
    Ok(body)
}

/// What can be had of the body of a refusal without ado.
fn explanation(response: &mut Response<Body>) -> Vec<u8> {
    let begun = Instant::now();
    let mut reader = response.body_mut().as_reader().take(EXPLANATION_BYTES);
    let mut body = Vec::new();
    let mut chunk = [0; 4096];
    while begun.elapsed() < EXPLANATION_PATIENCE {
        match reader.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(n) => body.extend_from_slice(chunk.get(..n).unwrap_or_default()),
        }
    }
    body
}
