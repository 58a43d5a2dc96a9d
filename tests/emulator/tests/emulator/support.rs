//! A small HTTP client that shows what came over the wire, and a seed.

use airtable_emulator::{Emulator, Options};
use flate2::read::GzDecoder;
use serde_json::{json, Value as Json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const BASE: &str = "appK3xT9vQ2mWb7Rd";
pub(crate) const ADA: &str = "recU5s6E7r8A9b0C1";
pub(crate) const BOB: &str = "recU5s6E7r8A9b0C2";
pub(crate) const APOLLO: &str = "recA1b2C3d4E5f6G7";
pub(crate) const ZOND: &str = "recH8i9J0k1L2m3N4";
/// Every wait in these tests ends by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// People and Projects: a link with both ends, an honest lookup and one that lies, a rollup, a count.
pub(crate) fn seed() -> Json {
    json!({"bases": [{"id": BASE, "name": "Space", "tables": [
        {"name": "People", "id": "tblU7eN3wQa9ZdH1y", "primary": "Name", "fields": [
            {"name": "Name", "id": "fldPeopleName0001", "type": "singleLineText"},
            {"name": "id", "type": "formula", "options": {"formula": "RECORD_ID()"}},
            {"name": "Projects", "type": "multipleRecordLinks", "options": {"linkedTable": "Projects", "inverseLinkField": "Owner"}},
            {"name": "Count", "type": "count", "options": {"recordLinkField": "Projects"}},
            {"name": "Total", "type": "rollup", "options": {"recordLinkField": "Projects", "fieldInLinkedTable": "Points"}},
        ], "records": [{"id": ADA, "fields": {"Name": "Ada"}}, {"id": BOB, "fields": {"Name": "Bob"}}]},
        {"name": "Projects", "id": "tblP4rJ8sLm2XcV6k", "primary": "Name", "fields": [
            {"name": "Name", "type": "singleLineText"},
            {"name": "Points", "id": "fldProjPoints0001", "type": "number"},
            {"name": "Done", "type": "checkbox"},
            {"name": "Stage", "type": "singleSelect", "options": {"choices": ["Open", "Closed"]}},
            {"name": "Files", "type": "multipleAttachments"},
            {"name": "Owner", "type": "multipleRecordLinks", "options": {"linkedTable": "People", "prefersSingleRecordLink": true}},
            {"name": "owner_id", "id": "fldProjOwnerId001", "type": "multipleLookupValues", "options": {"recordLinkField": "Owner", "fieldInLinkedTable": "id"}},
            {"name": "owner_lies", "type": "multipleLookupValues", "options": {"recordLinkField": "Owner", "fieldInLinkedTable": "Name"}},
            {"name": "Shout", "type": "formula", "options": {"formula": "UPPER({Owner})"}},
        ], "views": [{"name": "Rich", "filter": "{Points}>5"}],
        "records": [
            {"id": APOLLO, "fields": {"Name": "Apollo", "Points": 8, "Stage": "Open", "Owner": [ADA], "Files": [{"filename": "a.png", "type": "image/png"}]}},
            {"id": ZOND, "fields": {"Name": "Zond", "Done": false, "Owner": []}},
        ]},
    ]}]})
}

/// An emulator with [`seed`] and no rate limits.
pub(crate) fn emulator() -> Emulator {
    let options = Options {
        limits: false,
        seed: Some(seed()),
        ..Options::default()
    };
    Emulator::start(options).unwrap()
}

/// A reply as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// As sent: still compressed if it was.
    pub(crate) raw: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        if self.header("content-encoding") != Some("gzip") {
            return self.raw.clone();
        }
        let mut plain = Vec::new();
        GzDecoder::new(self.raw.as_slice())
            .read_to_end(&mut plain)
            .unwrap();
        plain
    }

    pub(crate) fn json(&self) -> Json {
        let body = self.body();
        serde_json::from_slice(&body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&body)))
    }

    /// The error's type, in whichever of the three shapes.
    pub(crate) fn error_type(&self) -> String {
        let body = self.json();
        let found = [
            &body["errors"][0]["error"],
            &body["error"]["type"],
            &body["error"],
        ];
        found
            .iter()
            .find_map(|v| v.as_str())
            .unwrap_or_default()
            .to_owned()
    }

    /// The ids of `records`.
    pub(crate) fn ids(&self) -> Vec<String> {
        let body = self.json();
        let records = body["records"]
            .as_array()
            .unwrap_or_else(|| panic!("no records in {body}"));
        records
            .iter()
            .map(|r| r["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// One keep-alive connection with a valid token.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    pub(crate) token: Option<String>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
            token: Some("patTEST.secret".to_owned()),
        }
    }

    pub(crate) fn set_timeout(&self, timeout: Duration) {
        self.stream
            .get_ref()
            .set_read_timeout(Some(timeout))
            .unwrap();
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<Reply> {
        let token = self
            .token
            .as_ref()
            .map(|t| format!("Authorization: Bearer {t}\r\n"))
            .unwrap_or_default();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: emulator\r\n{token}{headers}Content-Length: {}\r\n\r\n", body.len());
        // In one piece: two small writes would wait for the peer's delayed acknowledgement.
        self.send(&[head.as_bytes(), body].concat())?;
        self.receive()
    }

    pub(crate) fn receive(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => break,
            }
        }
        let mut reply = Reply {
            status,
            headers,
            raw: Vec::new(),
        };
        let length: usize = reply.header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        reply.raw = body;
        Ok(reply)
    }

    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.request("GET", path, "", b"").unwrap()
    }

    pub(crate) fn send_json(&mut self, method: &str, path: &str, body: &Json) -> Reply {
        self.request(
            method,
            path,
            "Content-Type: application/json\r\n",
            body.to_string().as_bytes(),
        )
        .unwrap()
    }

    /// The ids that a filter lets through.
    pub(crate) fn filter(&mut self, table: &str, formula: &str) -> Reply {
        self.send_json(
            "POST",
            &format!("/v0/{BASE}/{table}/listRecords"),
            &json!({ "filterByFormula": formula }),
        )
    }
}
