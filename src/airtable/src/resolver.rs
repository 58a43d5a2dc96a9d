//! Name resolution that remembers: a lookup for every call would cost more than the call on a warm connection.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::Error;

use crate::failure::Phase;
use crate::progress;

/// How long an answer of the name service is good.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Looks hosts up with a deadline and remembers them for a minute, or until [`Names::forget`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Arc<Mutex<HashMap<String, Known>>>);

#[derive(Debug, Clone)]
struct Known {
    addrs: Vec<SocketAddr>,
    since: Instant,
}

impl Names {
    /// Drops what is remembered: an address that does not connect may have moved.
    pub(crate) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn addresses(
        &self,
        host_and_port: &str,
        timeout: NextTimeout,
    ) -> Result<Vec<SocketAddr>, Error> {
        if let Ok(literal) = host_and_port.parse() {
            return Ok(vec![literal]);
        }
        if let Some(known) = self.known().get(host_and_port) {
            if known.since.elapsed() < REMEMBERED {
                return Ok(known.addrs.clone());
            }
        }
        let addrs = look_up(host_and_port, timeout)?;
        let known = Known {
            addrs: addrs.clone(),
            since: Instant::now(),
        };
        self.known().insert(host_and_port.to_string(), known);
        Ok(addrs)
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        progress::enter(Phase::Resolve);
        let host_and_port = uri
            .scheme()
            .zip(uri.authority())
            .and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority))
            .ok_or(Error::HostNotFound)?;
        let mut resolved = self.empty();
        // As many as ureq's fixed array holds.
        for addr in self
            .addresses(&host_and_port, timeout)?
            .into_iter()
            .take(16)
        {
            resolved.push(addr);
        }
        if resolved.is_empty() {
            return Err(Error::HostNotFound);
        }
        Ok(resolved)
    }
}

/// The system's lookup has no deadline of its own, so it runs on a thread that may outlive our patience.
fn look_up(host_and_port: &str, timeout: NextTimeout) -> Result<Vec<SocketAddr>, Error> {
    let (answer, answered) = sync_channel(1);
    let name = host_and_port.to_string();
    let lookup = move || {
        let addrs = name.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody listens any more when the deadline has passed.
        let _ = answer.send(addrs);
    };
    if timeout.after.is_not_happening() {
        lookup();
    } else {
        thread::Builder::new()
            .name("podium-lookup".to_string())
            .spawn(lookup)
            .map_err(Error::Io)?;
    }
    match answered.recv_timeout(*timeout.after) {
        Ok(Ok(addrs)) => Ok(addrs),
        Ok(Err(_)) => Err(Error::HostNotFound),
        Err(_) => Err(Error::Timeout(timeout.reason)),
    }
}
