//! Requests off the wire: request line, headers, body by length or in chunks.

use super::url::{self, Query};
use std::io::{BufRead, Read, Write};

/// Generous beside Airtable's 16,000 characters, so that a longer URL gets an answer and no reset.
const MAX_HEAD: u64 = 256 * 1024;
const MAX_BODY: u64 = 8 * 1024 * 1024;

/// A request with its path split and decoded.
pub(crate) struct Request {
    pub(crate) method: String,
    /// As sent, query included.
    pub(crate) target: String,
    /// The path as sent, without the query.
    pub(crate) path: String,
    pub(crate) segments: Vec<String>,
    pub(crate) query: Query,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) keep_alive: bool,
}

/// Why there is no request.
pub(crate) enum Refusal {
    /// The peer closed or the socket failed: nothing to answer.
    Closed,
    /// Answer this status and close.
    Status(u16),
}

impl Request {
    /// A header's value; names in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The first query value of this name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All query values of this name, also spelled `name[]` or `name[0]`.
    pub(crate) fn parameters<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let matches = move |key: &str| {
            key.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('['))
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|place| place.bytes().all(|b| b.is_ascii_digit()))
        };
        self.query
            .iter()
            .filter(move |(key, _)| matches(key))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn accepts_gzip(&self) -> bool {
        self.header("accept-encoding")
            .is_some_and(|value| value.contains("gzip"))
    }

    /// The bearer token, if the header is well formed.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// Reads one request; `interim` gets `100 Continue` when it is asked for.
pub(crate) fn read(
    stream: &mut impl BufRead,
    interim: &mut impl Write,
) -> Result<Request, Refusal> {
    let mut head = stream.by_ref().take(MAX_HEAD);
    let mut line = String::new();
    // Clients may leave empty lines between requests.
    while line.trim_end().is_empty() {
        line.clear();
        next_line(&mut head, &mut line)?;
    }
    let mut words = line.trim_end().splitn(3, ' ').map(str::to_owned);
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Err(Refusal::Status(400));
    };
    let mut headers = Vec::new();
    loop {
        line.clear();
        next_line(&mut head, &mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(Refusal::Status(400))?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    if header(&headers, "expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
        interim
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .map_err(|_| Refusal::Closed)?;
    }
    let body = if header(&headers, "transfer-encoding")
        .is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
    {
        chunked(stream)?
    } else {
        let length = header(&headers, "content-length").map_or(Ok(0), |v| {
            v.parse::<u64>().map_err(|_| Refusal::Status(400))
        })?;
        sized(stream, length)?
    };
    let connection = header(&headers, "connection")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let keep_alive = if version == "HTTP/1.0" {
        connection.contains("keep-alive")
    } else {
        !connection.contains("close")
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let segments = path
        .split('/')
        .filter(|s| !s.is_empty())
        .map(|s| url::decode(s, false))
        .collect();
    Ok(Request {
        method,
        path: path.to_owned(),
        segments,
        query: url::query(query),
        headers,
        body,
        keep_alive,
        target,
    })
}

fn next_line(stream: &mut impl BufRead, line: &mut String) -> Result<(), Refusal> {
    let mut bytes = Vec::new();
    let read = stream
        .read_until(b'\n', &mut bytes)
        .map_err(|_| Refusal::Closed)?;
    if read == 0 {
        return Err(Refusal::Closed);
    }
    if !bytes.ends_with(b"\n") {
        return Err(Refusal::Status(431));
    }
    line.push_str(&String::from_utf8_lossy(&bytes));
    Ok(())
}

fn sized(stream: &mut impl BufRead, length: u64) -> Result<Vec<u8>, Refusal> {
    if length > MAX_BODY {
        return Err(Refusal::Status(413));
    }
    let mut body = Vec::new();
    stream
        .take(length)
        .read_to_end(&mut body)
        .map_err(|_| Refusal::Closed)?;
    if body.len() as u64 == length {
        Ok(body)
    } else {
        Err(Refusal::Closed)
    }
}

fn chunked(stream: &mut impl BufRead) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        next_line(stream, &mut line)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| Refusal::Status(400))?;
        if body.len() as u64 + size > MAX_BODY {
            return Err(Refusal::Status(413));
        }
        if size == 0 {
            break;
        }
        body.extend(sized(stream, size)?);
        line.clear();
        next_line(stream, &mut line)?;
    }
    // Trailers end with an empty line.
    loop {
        line.clear();
        next_line(stream, &mut line)?;
        if line.trim_end().is_empty() {
            return Ok(body);
        }
    }
}
