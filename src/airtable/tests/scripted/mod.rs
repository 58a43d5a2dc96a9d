//! A server that does exactly what a test tells it, byte by byte, and remembers what it was asked.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use podium_airtable::{Ask, Client, Config, Failure, ListQuery, Token};
use serde_json::Map;

/// No wait in these tests is longer.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const TOKEN: &str = "patAbCdEfGhIjKlMn.0123456789abcdef0123456789abcdef";
pub const BASE: &str = "appK3xT9vQ2mWb7Rd";
/// The head of an answer up to its framing.
pub const JSON_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
pub const EMPTY_PAGE: &str = r#"{"records":[]}"#;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method, target and version.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// A connection accepted by a [`Server`].
pub struct Conn {
    stream: TcpStream,
    log: Arc<Mutex<Vec<Seen>>>,
    closed: Sender<()>,
    is_reset: bool,
}

impl Conn {
    /// Reads one whole request; `None` when the client has gone.
    pub fn request(&mut self) -> Option<Seen> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return None,
            }
        }
        let head = String::from_utf8(head).expect("ASCII headers");
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default().to_string();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
            .collect();
        let mut seen = Seen {
            line,
            headers,
            body: Vec::new(),
        };
        let length = seen
            .header("content-length")
            .map_or(0, |n| n.parse().expect("a length"));
        seen.body = vec![0; length];
        self.stream.read_exact(&mut seen.body).ok()?;
        self.log.lock().unwrap().push(seen.clone());
        Some(seen)
    }

    /// Waits for the first byte and leaves it unread.
    pub fn wait_for_bytes(&mut self) {
        let _ = self.stream.peek(&mut [0]);
    }

    /// False once the client no longer listens.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends one byte at a time, with a pause after each, until the client gives up.
    pub fn drip(&mut self, bytes: impl AsRef<[u8]>, pause: Duration) {
        for byte in bytes.as_ref() {
            if !self.send([*byte]) {
                return;
            }
            thread::sleep(pause);
        }
    }

    /// Says nothing until the client gives up.
    pub fn hang(&mut self) {
        let _ = self.stream.read(&mut [0; 64]);
    }

    /// Ends the connection as a crashed server does.
    pub fn reset(mut self) {
        self.is_reset = true;
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if !self.is_reset {
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        }
        let _ = self.closed.send(());
    }
}

pub struct Server {
    addr: SocketAddr,
    log: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    closed: Mutex<Receiver<()>>,
}

impl Server {
    /// Runs `serve` on a thread of its own for every connection, with the connection's number from
    /// 0.
    pub fn start(serve: impl Fn(usize, Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (closed, was_closed) = channel();
        let server = Self {
            addr: listener.local_addr().expect("an address"),
            log: Arc::default(),
            connections: Arc::default(),
            stop: Arc::default(),
            closed: Mutex::new(was_closed),
        };
        let (log, connections) = (server.log.clone(), server.connections.clone());
        let (stop, serve) = (server.stop.clone(), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
                stream.set_nodelay(true).expect("no delay");
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let conn = Conn {
                    stream,
                    log: log.clone(),
                    closed: closed.clone(),
                    is_reset: false,
                };
                let serve = serve.clone();
                thread::spawn(move || serve(number, conn));
            }
        });
        server
    }

    /// Answers every request on every connection with the same bytes.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, mut conn| while conn.request().is_some() && conn.send(&answer) {})
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    pub fn client(&self) -> Client {
        client(&self.url())
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until the server's end of a connection is closed.
    pub fn wait_for_close(&self) {
        self.closed
            .lock()
            .unwrap()
            .recv_timeout(PATIENCE)
            .expect("a closed connection");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread so that it sees the flag.
        let _ = TcpStream::connect(self.addr);
    }
}

pub fn client(url: &str) -> Client {
    client_with(url, 1024 * 1024)
}

pub fn client_with(url: &str, max_response_bytes: u64) -> Client {
    Client::new(Config {
        url: url.to_string(),
        connect_timeout: Duration::from_millis(800),
        max_response_bytes,
        ..Config::default()
    })
    .expect("a client")
}

pub fn token() -> Token {
    Token::new(TOKEN).expect("a token")
}

/// On table "Projects", with a deadline longer than any test.
pub fn ask(token: &Token) -> Ask<'_> {
    Ask {
        base: BASE,
        table: "Projects",
        token,
        deadline: PATIENCE,
    }
}

/// A whole answer with a JSON body.
pub fn json(status: &str, body: &str) -> String {
    answer(
        status,
        "Content-Type: application/json; charset=utf-8\r\n",
        body,
    )
}

/// A whole answer; `headers` end in CR LF each.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An answer in gzip; `cut` bytes of it are left out and the connection ends.
pub fn gzip(body: &[u8], cut: usize) -> Vec<u8> {
    let packed = pack(body);
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\
         Content-Length: {}\r\n\r\n",
        packed.len() - cut
    )
    .into_bytes();
    bytes.extend_from_slice(&packed[..packed.len() - cut]);
    bytes
}

pub fn pack(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).expect("compressed");
    encoder.finish().expect("compressed")
}

/// A listing that fails.
pub fn list(client: &Client, deadline: Duration) -> Failure {
    let token = token();
    let ask = Ask {
        deadline,
        ..ask(&token)
    };
    client
        .list(&ask, &ListQuery::default())
        .expect_err("a failure")
}

/// A creation of one record that fails.
pub fn create(client: &Client, deadline: Duration) -> Failure {
    let token = token();
    let ask = Ask {
        deadline,
        ..ask(&token)
    };
    client
        .create(&ask, &[Map::new()], false)
        .expect_err("a failure")
}

/// Answers one request with `bytes`, then ends the connection.
pub fn reply(mut conn: Conn, bytes: impl AsRef<[u8]>) {
    conn.request();
    conn.send(bytes);
}
