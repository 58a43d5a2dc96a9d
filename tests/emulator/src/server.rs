//! Accepts connections, a thread each, and carries requests to the API or the control plane.

use crate::http::delivery;
use crate::http::request::{self, Refusal, Request};
use crate::http::response::Response;
use crate::shared::Shared;
use crate::webhooks::pings;
use crate::{api, control};
use parking_lot::Mutex;
use std::io::BufReader;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

/// Enough for formulas nested as deeply as the parser lets them, in unoptimised builds too.
const STACK_BYTES: usize = 8 << 20;

/// The threads and sockets of a running emulator.
pub(crate) struct Server {
    accepting: Option<JoinHandle<()>>,
    connections: Arc<Mutex<Vec<Weak<TcpStream>>>>,
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
}

impl Server {
    pub(crate) fn start(listener: TcpListener, shared: Arc<Shared>) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let connections = Arc::new(Mutex::new(Vec::new()));
        let accepting = {
            let (shared, connections) = (shared.clone(), connections.clone());
            thread::Builder::new()
                .name("accept".to_owned())
                .spawn(move || accept(&listener, &shared, &connections))?
        };
        {
            // Not waited for at the end: it may be waiting for somebody's answer to a ping.
            let shared = shared.clone();
            thread::Builder::new()
                .name("pings".to_owned())
                .spawn(move || pings::run(&shared))?;
        }
        Ok(Self {
            accepting: Some(accepting),
            connections,
            shared,
            address,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.set();
        // Wakes the thread in accept(); connections end by being shut down, whatever they wait for.
        drop(TcpStream::connect(self.address));
        for connection in self
            .connections
            .lock()
            .drain(..)
            .filter_map(|c| c.upgrade())
        {
            let _ = connection.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, connections: &Mutex<Vec<Weak<TcpStream>>>) {
    for stream in listener.incoming() {
        if shared.stop.is_set() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let stream = Arc::new(stream);
        {
            let mut connections = connections.lock();
            connections.retain(|c| c.strong_count() > 0);
            connections.push(Arc::downgrade(&stream));
        }
        let shared = shared.clone();
        let serving = move || {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            serve(&stream, &shared);
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        };
        // Without a thread the connection is closed: the client sees an overloaded server.
        let _ = thread::Builder::new()
            .name("connection".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(serving);
    }
}

fn serve(stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    loop {
        let request = match request::read(&mut reader, &mut &*stream) {
            Ok(request) => request,
            Err(Refusal::Closed) => return,
            Err(Refusal::Status(status)) => {
                let _ = delivery::send(stream, Response::html(status), false, false, &shared.stop);
                return;
            }
        };
        let (keep_alive, gzip) = (request.keep_alive, request.accepts_gzip());
        match delivery::send(
            stream,
            respond(shared, &request),
            keep_alive,
            gzip,
            &shared.stop,
        ) {
            Ok(true) if !shared.stop.is_set() => {}
            _ => return,
        }
    }
}

fn respond(shared: &Shared, request: &Request) -> Response {
    if request
        .segments
        .first()
        .is_some_and(|first| first == "_emulator")
    {
        control::answer(shared, request)
    } else {
        api::answer(shared, request)
    }
}
