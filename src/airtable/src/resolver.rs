//! Name resolution that remembers: a lookup for every call would cost more than the call on a warm
//! connection.

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
/// How long the last answer goes on being used before a failing name service is asked again.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Looks hosts up with a deadline and remembers them for a minute, or until [`Names::forget`].
/// While the name service fails, the last addresses stay in use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Arc<Mutex<HashMap<String, Known>>>);

#[derive(Debug, Clone)]
struct Known {
    addrs: Vec<SocketAddr>,
    good_until: Instant,
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
        let before = self.known().get(host_and_port).cloned();
        if let Some(known) = before.as_ref().filter(|k| Instant::now() < k.good_until) {
            return Ok(known.addrs.clone());
        }
        let (addrs, good_for) = match (look_up(host_and_port, timeout), before) {
            (Ok(addrs), _) => (addrs, REMEMBERED),
            (Err(_), Some(before)) => (before.addrs, AFTER_FAILURE),
            (Err(error), None) => return Err(error),
        };
        let known = Known {
            addrs: addrs.clone(),
            good_until: Instant::now() + good_for,
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

/// The system's lookup has no deadline of its own, so it runs on a thread that may outlive our
/// patience.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ADDR: &str = "127.0.0.9:443";

    /// A label beyond 63 characters fails in the resolver itself: nothing leaves the machine.
    fn unknown_host() -> String {
        format!("{}.invalid:443", "x".repeat(64))
    }

    fn remembering(host: &str, good_until: Instant) -> Names {
        let names = Names::default();
        let known = Known {
            addrs: vec![ADDR.parse().unwrap()],
            good_until,
        };
        names.known().insert(host.to_string(), known);
        names
    }

    #[test]
    fn a_remembered_name_is_not_looked_up_until_forgotten() {
        let host = unknown_host();
        let names = remembering(&host, Instant::now() + REMEMBERED);
        let found = names.addresses(&host, NextTimeout::default());
        assert_eq!(found.unwrap(), [ADDR.parse().unwrap()]);
        names.forget();
        let found = names.addresses(&host, NextTimeout::default());
        assert!(matches!(found, Err(Error::HostNotFound)), "{found:?}");
    }

    #[test]
    fn the_last_answer_is_used_while_lookups_fail() {
        let host = unknown_host();
        let names = remembering(&host, Instant::now());
        let found = names.addresses(&host, NextTimeout::default());
        assert_eq!(found.unwrap(), [ADDR.parse().unwrap()]);
        let good_until = names.known().get(&host).unwrap().good_until;
        assert!(
            good_until > Instant::now(),
            "the next call does not wait for a lookup"
        );
    }

    #[test]
    fn a_name_found_is_remembered_and_an_address_needs_no_lookup() {
        let names = Names::default();
        names
            .addresses("localhost:80", NextTimeout::default())
            .unwrap();
        assert!(names.known().contains_key("localhost:80"));
        let found = names.addresses("[::1]:80", NextTimeout::default());
        assert_eq!(found.unwrap(), ["[::1]:80".parse().unwrap()]);
        assert!(!names.known().contains_key("[::1]:80"));
    }
}
