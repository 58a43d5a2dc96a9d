//! Replies, and how each is put on the wire.

use super::delivery::Delivery;
use flate2::write::GzEncoder;
use flate2::Compression;
use serde_json::Value as Json;
use std::io::Write;

/// Bodies shorter than this were not compressed in recorded traffic.
const MIN_COMPRESSED: usize = 200;

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) delivery: Delivery,
    /// Real milliseconds to wait before the first byte.
    pub(crate) delay_ms: u64,
    /// For the call log.
    pub(crate) records: Option<usize>,
}

impl Response {
    pub(crate) fn json(status: u16, body: &Json) -> Self {
        Self::bytes(
            status,
            "application/json; charset=utf-8",
            body.to_string().into_bytes(),
        )
    }

    pub(crate) fn bytes(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body,
            delivery: Delivery::Whole,
            delay_ms: 0,
            records: None,
        }
    }

    pub(crate) fn html(status: u16) -> Self {
        let page = format!("<html>\r\n<head><title>{status}</title></head>\r\n<body><center><h1>{status}</h1></center></body>\r\n</html>\r\n");
        Self::bytes(status, "text/html", page.into_bytes())
    }

    /// The body as JSON, when it is.
    pub(crate) fn to_json(&self) -> Option<Json> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(crate) fn set_json(&mut self, body: &Json) {
        self.body = body.to_string().into_bytes();
    }

    /// Status line and headers for a body of `length` bytes; `None` when the end of the connection ends the body.
    pub(crate) fn head(&self, length: Option<usize>, keep_alive: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\n",
            self.status,
            reason(self.status),
            self.content_type
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = length {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str(if keep_alive {
            "Connection: keep-alive\r\n\r\n"
        } else {
            "Connection: close\r\n\r\n"
        });
        head.into_bytes()
    }

    /// Compresses the body if it is worth it, or always when `forced`.
    pub(crate) fn compress(&mut self, forced: bool) {
        if !forced && self.body.len() < MIN_COMPRESSED {
            return;
        }
        let length = self.body.len();
        self.body = gzip(&self.body);
        self.headers
            .push(("Content-Encoding".to_owned(), "gzip".to_owned()));
        self.headers
            .push(("Vary".to_owned(), "Accept-Encoding".to_owned()));
        self.headers.push((
            "airtable-uncompressed-content-length".to_owned(),
            length.to_string(),
        ));
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}
