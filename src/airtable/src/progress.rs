//! How far a call has come, watched from inside the HTTP client.
//!
//! The HTTP client reports *that* a call failed, not where: a deadline for the whole call fires in
//! any phase, and a lost connection reads the same whether the request was on its way or not. So
//! the connector chain and the transport note their steps here. A call runs on its caller's thread
//! from beginning to end, hence a thread-local note per call.

use std::cell::Cell;

use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector,
    TcpConnector, Transport,
};
use ureq::Error;

use crate::failure::Phase;

/// What is known of the call under way on this thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) phase: Phase,
    /// Some of the request was handed to a connection to the server (not to a proxy on the way).
    pub(crate) sent: bool,
    /// At least one byte came back.
    pub(crate) answered: bool,
    /// The connection was made for this call rather than taken from the pool.
    pub(crate) fresh: bool,
    /// Connectors under way: two while a tunnel through a proxy is being set up.
    connecting: u32,
}

const NOTHING_DONE: Progress = Progress {
    phase: Phase::Prepare,
    sent: false,
    answered: false,
    fresh: false,
    connecting: 0,
};

thread_local! {
    static PROGRESS: Cell<Progress> = const { Cell::new(NOTHING_DONE) };
}

/// Begins the notes of a new call on this thread.
pub(crate) fn begin() {
    PROGRESS.set(NOTHING_DONE);
}

/// The notes of the call under way, or last made, on this thread.
pub(crate) fn current() -> Progress {
    PROGRESS.get()
}

/// Notes that the call has come to `phase`; phases only advance within one connection.
pub(crate) fn enter(phase: Phase) {
    note(|p| p.phase = phase);
}

fn note(change: impl FnOnce(&mut Progress)) {
    let mut progress = PROGRESS.get();
    change(&mut progress);
    PROGRESS.set(progress);
}

/// The connector chain: proxy tunnel if configured, TCP, TLS, with a note at every step.
pub(crate) fn connector() -> impl Connector {
    Begin
        .chain(ConnectProxyConnector::default())
        .chain(TcpConnector::default())
        .chain(Handshake::default())
        .chain(Watch)
}

#[derive(Debug)]
struct Begin;

impl Connector for Begin {
    type Out = ();

    fn connect(&self, _: &ConnectionDetails, chained: Option<()>) -> Result<Option<()>, Error> {
        note(|p| {
            p.phase = Phase::Connect;
            p.fresh = true;
            p.connecting += 1;
        });
        Ok(chained)
    }
}

/// TLS, noting when the handshake begins.
#[derive(Debug, Default)]
struct Handshake(RustlsConnector);

impl<In: Transport> Connector<In> for Handshake {
    type Out = <RustlsConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if details.needs_tls() {
            enter(Phase::Tls);
        }
        // A call's deadline makes its configuration a request's own, for which the connector would
        // parse the roots anew and forget sessions. All our calls share one TLS configuration.
        let shared = ConnectionDetails {
            uri: details.uri,
            addrs: details.resolver.empty(),
            config: details.config,
            request_level: false,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        self.0.connect(&shared, chained)
    }
}

#[derive(Debug)]
struct Watch;

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Watched<In>>, Error> {
        note(|p| {
            p.connecting = p.connecting.saturating_sub(1);
            p.phase = if p.connecting == 0 {
                Phase::Send
            } else {
                Phase::Connect
            };
        });
        Ok(chained.map(Watched))
    }
}

/// A connection that notes what passes through it.
#[derive(Debug)]
struct Watched<T>(T);

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        note(|p| {
            if p.connecting == 0 {
                p.phase = Phase::Send;
                p.sent = true;
            }
        });
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        note(|p| {
            if p.connecting == 0 && p.phase == Phase::Send {
                p.phase = Phase::Headers;
            }
        });
        let has_input = self.0.await_input(timeout)?;
        note(|p| p.answered |= has_input && p.connecting == 0);
        Ok(has_input)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
