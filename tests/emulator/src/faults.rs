//! Faults: a queue of misbehaviours, each for the calls that match it.

use crate::api::errors::ApiError;
use crate::http::delivery::Delivery;
use crate::http::response::Response;
use serde_json::{json, Value as Json};

/// One misbehaviour, played so many times.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    method: Option<String>,
    path_contains: Option<String>,
    formula_contains: Option<String>,
    /// Calls left; negative is without end.
    times: i64,
    /// The request is carried out although the reply does not say so.
    pub(crate) apply: bool,
    kind: Kind,
    name: String,
}

#[derive(Debug, Clone)]
enum Kind {
    Status {
        status: u16,
        shape: Shape,
        error_type: String,
        message: Option<String>,
        retry_after: Option<String>,
    },
    Deliver(Delivery),
    TruncatedJson,
    ContentType,
    Html(u16),
    EmptyBody,
    DeepJson(usize),
    Redirect(u16, String),
    OffsetExpired,
    OffsetRepeats,
    DuplicateRecord,
    ForeignRecord,
    /// Bytes of the reply, and what stands in their place.
    Replace(Vec<u8>, Vec<u8>),
    /// Waits before the request is carried out, and before it is answered.
    Slow {
        before_ms: u64,
        ms: u64,
    },
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Object,
    Bare,
    Plural,
    Html,
    Empty,
}

/// What a call looks like to a fault.
pub(crate) struct Seen<'a> {
    pub(crate) method: &'a str,
    /// The path and query as sent.
    pub(crate) target: &'a str,
    pub(crate) formula: Option<&'a str>,
    pub(crate) has_offset: bool,
}

impl Fault {
    /// Reads `{"match": {…}, "times": N, "kind": …, …}`.
    ///
    /// # Errors
    /// A sentence naming an unknown kind or a parameter that is missing.
    pub(crate) fn parse(fault: &Json) -> Result<Self, String> {
        let name = fault
            .get("kind")
            .and_then(Json::as_str)
            .ok_or("a fault needs a kind")?
            .to_owned();
        let wanted = fault.get("match");
        let condition = |key: &str| {
            wanted
                .and_then(|m| m.get(key))
                .and_then(Json::as_str)
                .map(str::to_owned)
        };
        let text = |key: &str| fault.get(key).and_then(Json::as_str).map(str::to_owned);
        let number =
            |key: &str, default: u64| fault.get(key).and_then(Json::as_u64).unwrap_or(default);
        let status =
            |default: u16| u16::try_from(number("status", u64::from(default))).unwrap_or(default);
        let kind = match name.as_str() {
            "status" => Kind::Status {
                status: status(500),
                shape: shape(
                    fault
                        .get("shape")
                        .and_then(Json::as_str)
                        .unwrap_or("object"),
                )?,
                error_type: text("type").unwrap_or_else(|| "SERVER_ERROR".to_owned()),
                message: text("message"),
                retry_after: fault
                    .get("retry_after")
                    .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)),
            },
            "billing_limit" => Kind::Status {
                status: 429,
                shape: shape(
                    fault
                        .get("shape")
                        .and_then(Json::as_str)
                        .unwrap_or("plural"),
                )?,
                error_type: "PUBLIC_API_BILLING_LIMIT_EXCEEDED".to_owned(),
                message: Some(ApiError::MONTH_SPENT.to_owned()),
                retry_after: None,
            },
            "reset_before_headers" => Kind::Deliver(Delivery::ResetBeforeHeaders),
            "reset_in_body" => Kind::Deliver(Delivery::ResetInBody),
            "hang" => Kind::Deliver(Delivery::Hang),
            "drip" => Kind::Deliver(Delivery::Drip {
                interval_ms: number("interval_ms", 1000),
            }),
            "truncated_gzip" => Kind::Deliver(Delivery::TruncatedGzip),
            "huge_body" => Kind::Deliver(Delivery::Huge {
                bytes: number("bytes", 64 << 20),
            }),
            "gzip_bomb" => Kind::Deliver(Delivery::GzipBomb {
                bytes: number("bytes", 256 << 20),
            }),
            "truncated_json" => Kind::TruncatedJson,
            "wrong_content_type" => Kind::ContentType,
            "html" => Kind::Html(status(200)),
            "empty_body" => Kind::EmptyBody,
            "deep_json" => {
                Kind::DeepJson(usize::try_from(number("depth", 100_000)).unwrap_or(100_000))
            }
            "redirect" => Kind::Redirect(
                status(302),
                text("location").ok_or("a redirect needs a location")?,
            ),
            "offset_expired" => Kind::OffsetExpired,
            "offset_repeats" => Kind::OffsetRepeats,
            "duplicate_record" => Kind::DuplicateRecord,
            "foreign_record" => Kind::ForeignRecord,
            "replace" => {
                let new = match text("new_hex") {
                    Some(hex) => unhex(&hex).ok_or("new_hex holds pairs of hexadecimal digits")?,
                    None => text("new").unwrap_or_default().into_bytes(),
                };
                let old = text("old").filter(|old| !old.is_empty());
                Kind::Replace(old.ok_or("replace needs the old text")?.into_bytes(), new)
            }
            "slow" => {
                let before_ms = number("before_ms", 0);
                Kind::Slow {
                    before_ms,
                    ms: number("ms", if before_ms == 0 { 1000 } else { 0 }),
                }
            }
            _ => return Err(format!("unknown kind of fault {name:?}")),
        };
        Ok(Self {
            method: condition("method"),
            path_contains: condition("path_contains"),
            formula_contains: condition("formula_contains"),
            times: fault.get("times").and_then(Json::as_i64).unwrap_or(1),
            apply: fault.get("apply").and_then(Json::as_bool).unwrap_or(false),
            kind,
            name,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn matches(&self, call: &Seen<'_>) -> bool {
        self.times != 0
            && (call.has_offset || !matches!(self.kind, Kind::OffsetExpired))
            && self
                .method
                .as_ref()
                .is_none_or(|m| m.eq_ignore_ascii_case(call.method))
            && self
                .path_contains
                .as_ref()
                .is_none_or(|p| call.target.contains(p.as_str()))
            && self.formula_contains.as_ref().is_none_or(|f| {
                call.formula
                    .is_some_and(|formula| formula.contains(f.as_str()))
            })
    }

    /// How long the request waits before it is carried out: it sees what is true then.
    pub(crate) fn before_ms(&self) -> u64 {
        match self.kind {
            Kind::Slow { before_ms, .. } => before_ms,
            _ => 0,
        }
    }

    /// Whether the reply is made without carrying out the request; what only spoils a reply needs one.
    pub(crate) fn replaces(&self) -> bool {
        !self.apply
            && matches!(
                self.kind,
                Kind::Status { .. }
                    | Kind::Deliver(Delivery::ResetBeforeHeaders | Delivery::Hang)
                    | Kind::Html(_)
                    | Kind::EmptyBody
                    | Kind::DeepJson(_)
                    | Kind::Redirect(..)
                    | Kind::OffsetExpired
            )
    }

    /// Spoils a reply; `offset` is the request's, `foreign` a record of another table.
    pub(crate) fn spoil(
        &self,
        mut response: Response,
        offset: Option<&str>,
        foreign: Option<Json>,
    ) -> Response {
        match &self.kind {
            Kind::Status {
                status,
                shape,
                error_type,
                message,
                retry_after,
            } => {
                let mut spoilt = shaped(*status, *shape, error_type, message.as_deref());
                if let Some(seconds) = retry_after {
                    spoilt
                        .headers
                        .push(("Retry-After".to_owned(), seconds.clone()));
                }
                spoilt
            }
            Kind::Deliver(delivery) => {
                response.delivery = delivery.clone();
                response
            }
            Kind::TruncatedJson => {
                let keep = response.body.len() * 2 / 3;
                response.body.truncate(keep);
                response
            }
            Kind::ContentType => {
                response.content_type = "text/plain; charset=utf-8";
                response
            }
            Kind::Html(status) => Response::html(*status),
            Kind::EmptyBody => Response::bytes(200, "application/json; charset=utf-8", Vec::new()),
            Kind::DeepJson(depth) => {
                let text = format!(
                    "{{\"records\":{}{}}}",
                    "[".repeat(*depth),
                    "]".repeat(*depth)
                );
                Response::bytes(200, "application/json; charset=utf-8", text.into_bytes())
            }
            Kind::Redirect(status, location) => {
                let mut redirect = Response::bytes(*status, "text/html", Vec::new());
                redirect
                    .headers
                    .push(("Location".to_owned(), location.clone()));
                redirect
            }
            Kind::OffsetExpired => ApiError::iterator_gone().response(),
            Kind::OffsetRepeats => with_body(response, |body| {
                let Some(next) = offset
                    .map(str::to_owned)
                    .or_else(|| body.get("offset").and_then(Json::as_str).map(str::to_owned))
                else {
                    return;
                };
                if let Some(body) = body.as_object_mut() {
                    body.insert("offset".to_owned(), json!(next));
                }
            }),
            Kind::DuplicateRecord => with_body(response, |body| {
                if let Some(records) = body.get_mut("records").and_then(Json::as_array_mut) {
                    records.extend(records.first().cloned());
                }
            }),
            Kind::ForeignRecord => with_body(response, |body| {
                if let Some(records) = body.get_mut("records").and_then(Json::as_array_mut) {
                    records.extend(foreign);
                }
            }),
            Kind::Replace(old, new) => {
                response.body = replaced(&response.body, old, new);
                response
            }
            Kind::Slow { ms, .. } => {
                response.delay_ms += ms;
                response
            }
        }
    }

    pub(crate) fn show(&self) -> Json {
        json!({"kind": self.name, "times": self.times, "apply": self.apply, "match": {
            "method": self.method, "path_contains": self.path_contains, "formula_contains": self.formula_contains}})
    }
}

/// The first fault in the queue that matches; it loses one of its times, and goes with the last.
pub(crate) fn take(queue: &mut Vec<Fault>, call: &Seen<'_>) -> Option<Fault> {
    let fault = queue.iter_mut().find(|fault| fault.matches(call))?;
    if fault.times > 0 {
        fault.times -= 1;
    }
    let taken = fault.clone();
    queue.retain(|fault| fault.times != 0);
    Some(taken)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs
        .remainder()
        .is_empty()
        .then(|| pairs.map(|p| p.iter().fold(0, |n, d| n * 16 + d)).collect())
}

/// `body` with every `old` replaced by `new`.
fn replaced(body: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.windows(old.len()).position(|w| w == old) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        out.extend_from_slice(new);
        rest = rest.get(at + old.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

fn shape(name: &str) -> Result<Shape, String> {
    Ok(match name {
        "object" => Shape::Object,
        "string" => Shape::Bare,
        "plural" => Shape::Plural,
        "html" => Shape::Html,
        "empty" => Shape::Empty,
        _ => {
            return Err(format!(
                "unknown shape {name:?}: object, string, plural, html or empty"
            ))
        }
    })
}

fn shaped(status: u16, shape: Shape, error_type: &str, message: Option<&str>) -> Response {
    match shape {
        Shape::Object => Response::json(
            status,
            &match message {
                Some(message) => json!({"error": {"type": error_type, "message": message}}),
                None => json!({"error": {"type": error_type}}),
            },
        ),
        Shape::Bare => Response::json(status, &json!({ "error": error_type })),
        Shape::Plural => Response::json(
            status,
            &json!({"errors": [{"error": error_type, "message": message}]}),
        ),
        Shape::Html => Response::html(status),
        Shape::Empty => Response::bytes(status, "text/html", Vec::new()),
    }
}

fn with_body(mut response: Response, change: impl FnOnce(&mut Json)) -> Response {
    if let Some(mut body) = response.to_json() {
        change(&mut body);
        response.set_json(&body);
    }
    response
}
