//! Putting a reply on the wire, well or badly.

use super::response::Response;
use crate::clock::Stop;
use flate2::write::GzEncoder;
use flate2::Compression;
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How a reply travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    /// The connection is reset instead of an answer.
    ResetBeforeHeaders,
    /// Headers and half of the body, then a reset.
    ResetInBody,
    /// Nothing comes; the connection stays open until the client gives up.
    Hang,
    /// Headers at once, then one byte of body per interval.
    Drip {
        interval_ms: u64,
    },
    /// The compressed body without its last third, its length announced as what is sent.
    TruncatedGzip,
    /// The body followed by blanks until it is this many bytes long.
    Huge {
        bytes: u64,
    },
    /// A small compressed body that unpacks to this many bytes.
    GzipBomb {
        bytes: u64,
    },
}

/// Sends the reply; true when the connection can carry another request.
pub(crate) fn send(
    mut stream: &TcpStream,
    mut response: Response,
    keep_alive: bool,
    gzip: bool,
    stop: &Stop,
) -> io::Result<bool> {
    if response.delay_ms > 0 && stop.wait(Duration::from_millis(response.delay_ms)) {
        return Ok(false);
    }
    match response.delivery.clone() {
        Delivery::Whole => {
            if gzip {
                response.compress(false);
            }
            let mut message = response.head(Some(response.body.len()), keep_alive);
            message.extend_from_slice(&response.body);
            stream.write_all(&message)?;
            Ok(keep_alive)
        }
        Delivery::ResetBeforeHeaders => reset(stream),
        Delivery::ResetInBody => {
            stream.write_all(&response.head(Some(response.body.len()), keep_alive))?;
            stream.write_all(
                response
                    .body
                    .get(..response.body.len() / 2)
                    .unwrap_or_default(),
            )?;
            // The client must see the first half before the reset throws away what is in flight.
            stop.wait(Duration::from_millis(20));
            reset(stream)
        }
        Delivery::Hang => {
            let mut sink = [0_u8; 512];
            // Ends with the client, or with the emulator, which shuts its connections down.
            while stream.read(&mut sink)? > 0 {}
            Ok(false)
        }
        Delivery::Drip { interval_ms } => {
            stream.write_all(&response.head(Some(response.body.len()), keep_alive))?;
            for byte in &response.body {
                stream.write_all(std::slice::from_ref(byte))?;
                if stop.wait(Duration::from_millis(interval_ms)) {
                    return Ok(false);
                }
            }
            Ok(keep_alive)
        }
        Delivery::TruncatedGzip => {
            response.compress(true);
            let keep = response.body.len() * 2 / 3;
            response.body.truncate(keep);
            let mut message = response.head(Some(keep), keep_alive);
            message.extend_from_slice(&response.body);
            stream.write_all(&message)?;
            Ok(keep_alive)
        }
        Delivery::Huge { bytes } => {
            // Blanks after a JSON text are still JSON: only a bound on size stops a reader.
            let total = bytes.max(response.body.len() as u64);
            stream.write_all(&response.head(usize::try_from(total).ok(), keep_alive))?;
            stream.write_all(&response.body)?;
            io::copy(
                &mut io::repeat(b' ').take(total - response.body.len() as u64),
                &mut stream,
            )?;
            Ok(keep_alive)
        }
        Delivery::GzipBomb { bytes } => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&response.body)?;
            let padding = bytes.saturating_sub(response.body.len() as u64);
            io::copy(&mut io::repeat(b' ').take(padding), &mut encoder)?;
            response.body = encoder.finish()?;
            response
                .headers
                .push(("Content-Encoding".to_owned(), "gzip".to_owned()));
            let mut message = response.head(Some(response.body.len()), keep_alive);
            message.extend_from_slice(&response.body);
            stream.write_all(&message)?;
            Ok(keep_alive)
        }
    }
}

/// Makes the close that follows a reset.
fn reset(stream: &TcpStream) -> io::Result<bool> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    Ok(false)
}
