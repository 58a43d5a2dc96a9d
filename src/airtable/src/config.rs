//! Settings of a client, checked, and the HTTP agent made from them.
//!
//! TLS trusts the webpki roots; where the environment names a PEM file in `SSL_CERT_FILE`, it
//! trusts exactly the certificates in that file instead, as OpenSSL does.
//!
//! A proxy is used if `HTTPS_PROXY` (or `https_proxy`) names one, the upstream is https, not on
//! this machine and not excepted by `NO_PROXY`; it tunnels TLS and never sees the token.
//! `HTTP_PROXY` and `ALL_PROXY` are not looked at: an upstream over plain http would hand the token
//! to the proxy.

use std::net::IpAddr;
use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::{parse_pem, Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use crate::progress;
use crate::resolver::Names;

/// A pooled connection idle for longer is not used again: load balancers drop them silently after a
/// minute.
const IDLE: Duration = Duration::from_secs(50);
/// As many idle connections as there may be worker threads.
const POOLED: usize = 64;

/// Settings of a [`Client`](crate::Client).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address of the API without `/v0`, such as `https://api.airtable.com`; a path in front of
    /// `/v0` is allowed.
    pub url: String,
    /// For name lookup, and again for opening a connection with its TLS handshake; never beyond a
    /// call's own deadline.
    pub connect_timeout: Duration,
    /// Largest answer accepted, in bytes after decompression.
    pub max_response_bytes: u64,
    /// Sent as `User-Agent`: printable ASCII.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "https://api.airtable.com".to_string(),
            connect_timeout: Duration::from_secs(2),
            max_response_bytes: 16 * 1024 * 1024,
            user_agent: concat!("podium/", env!("CARGO_PKG_VERSION")).to_string(),
        }
    }
}

/// What the environment adds to a [`Config`]. Separate, so that tests need not change the
/// environment of their process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    pub(crate) certificates: Option<String>,
    pub(crate) https_proxy: Option<String>,
    pub(crate) no_proxy: Option<String>,
}

impl Environment {
    pub(crate) fn of_process() -> Self {
        let var = |names: &[&str]| {
            names.iter().find_map(|name| {
                std::env::var(name)
                    .ok()
                    .filter(|value| !value.trim().is_empty())
            })
        };
        Self {
            certificates: var(&["SSL_CERT_FILE"]),
            https_proxy: var(&["HTTPS_PROXY", "https_proxy"]),
            no_proxy: var(&["NO_PROXY", "no_proxy"]),
        }
    }
}

/// The agent for `config` and the address to which `/v0/…` is appended.
pub(crate) fn build(
    config: &Config,
    environment: &Environment,
    names: Names,
) -> Result<(Agent, String), String> {
    let (uri, root) = check_url(&config.url)?;
    if config
        .user_agent
        .bytes()
        .any(|b| b != b' ' && !b.is_ascii_graphic())
    {
        return Err("the user agent must be printable ASCII".to_string());
    }
    let is_https = uri.scheme_str() == Some("https");
    let agent = Agent::config_builder()
        // A status is data here: Airtable says in the body what is wrong.
        .http_status_as_error(false)
        // The token must not travel to where a redirect points.
        .max_redirects(0)
        .proxy(if is_https {
            proxy_for(&uri, environment)?
        } else {
            None
        })
        .tls_config(
            TlsConfig::builder()
                .root_certs(roots(is_https, environment)?)
                .build(),
        )
        .user_agent(config.user_agent.as_str())
        .accept("application/json")
        .max_idle_connections(POOLED)
        .max_idle_connections_per_host(POOLED)
        .max_idle_age(IDLE)
        .build();
    Ok((Agent::with_parts(agent, progress::connector(), names), root))
}

fn check_url(url: &str) -> Result<(Uri, String), String> {
    let bad = |why: &str| format!("airtable-url {}: {why}", quote(url));
    let uri: Uri = url.trim().parse().map_err(|_| bad("is not an address"))?;
    let authority = uri
        .authority()
        .ok_or_else(|| bad("lacks a host: write it as https://api.airtable.com"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(bad("must begin with https:// (or http:// for an emulator)")),
    }
    if authority.as_str().contains('@') {
        return Err(
            "airtable-url: holds a user name or password; the token belongs in the token file"
                .to_string(),
        );
    }
    if authority.host().is_empty() || authority.as_str().ends_with(':') {
        return Err(bad("lacks a host or a port number"));
    }
    if let Some((_, port)) = authority
        .as_str()
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'))
    {
        if port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(bad("has a port that is not a number from 1 to 65535"));
        }
    }
    if uri.query().is_some() || url.contains('#') {
        return Err(bad("must end before any ? or #"));
    }
    let path = uri.path().trim_end_matches('/');
    if path == "/v0" || path.ends_with("/v0") {
        return Err(bad("must not end in /v0, which every call adds"));
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    let root = format!("{scheme}://{authority}{path}");
    Ok((uri, root))
}

/// At most 100 characters of `text` on one line: it may be the wrong setting pasted.
fn quote(text: &str) -> String {
    let short: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
    format!("\"{short}\"")
}

fn proxy_for(uri: &Uri, environment: &Environment) -> Result<Option<Proxy>, String> {
    let Some(proxy) = environment.https_proxy.as_deref() else {
        return Ok(None);
    };
    let host = uri.host().unwrap_or_default();
    if is_loopback(host)
        || environment
            .no_proxy
            .as_deref()
            .is_some_and(|list| is_excepted(host, list))
    {
        return Ok(None);
    }
    // Not quoted: it may hold a password.
    let proxy =
        Proxy::new(proxy).map_err(|_| "HTTPS_PROXY is not the address of a proxy".to_string())?;
    match proxy.protocol() {
        ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https => Ok(Some(proxy)),
        _ => Err("HTTPS_PROXY must be an http:// or https:// proxy".to_string()),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether `host` is on a `NO_PROXY` list: `*`, a host, or a domain with or without a leading `.`
/// or `*.`.
fn is_excepted(host: &str, list: &str) -> bool {
    let host = host.to_ascii_lowercase();
    list.split(',')
        .map(|entry| entry.trim().to_ascii_lowercase())
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            let domain = entry.trim_start_matches('*').trim_start_matches('.');
            entry == "*"
                || host == domain
                || !domain.is_empty() && host.ends_with(&format!(".{domain}"))
        })
}

fn roots(is_https: bool, environment: &Environment) -> Result<RootCerts, String> {
    let path = match environment.certificates.as_deref() {
        // Read only where it matters: a wrong file must not keep an emulator over http from
        // working.
        Some(path) if is_https => path,
        _ => return Ok(RootCerts::WebPki),
    };
    let bad = |why: &str| format!("SSL_CERT_FILE {}: {why}", quote(path));
    let pem = std::fs::read(path).map_err(|e| bad(&e.kind().to_string()))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(bad("is not PEM")),
        }
    }
    if certificates.is_empty() {
        return Err(bad("holds no certificate"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn try_url(url: &str) -> Result<String, String> {
        let config = Config {
            url: url.to_string(),
            ..Config::default()
        };
        build(&config, &Environment::default(), Names::default()).map(|(_, root)| root)
    }

    #[test]
    fn addresses_are_checked_and_normalised() {
        for (url, root) in [
            ("https://api.airtable.com", "https://api.airtable.com"),
            (" https://api.airtable.com/ ", "https://api.airtable.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            (
                "https://gate.example.com/airtable/",
                "https://gate.example.com/airtable",
            ),
        ] {
            assert_eq!(try_url(url).as_deref(), Ok(root), "{url}");
        }
    }

    #[test]
    fn a_bad_address_says_why() {
        for (url, why) in [
            ("", "address"),
            ("api.airtable.com", "https://"),
            ("/v0", "host"),
            ("ftp://api.airtable.com", "https://"),
            ("https://user:geheim@api.airtable.com", "token file"),
            ("https://api.airtable.com/v0", "/v0"),
            ("https://api.airtable.com?x=1", "?"),
            ("https://api.airtable.com/#x", "#"),
            ("https://api.airtable.com:99999", "airtable-url"),
            ("https://api.airtable.com:", "airtable-url"),
            ("https://api airtable.com", "address"),
            ("https://a\r\nb", "address"),
        ] {
            let error = try_url(url).unwrap_err();
            assert!(error.contains(why), "{url}: {error}");
            assert!(
                !error.contains("geheim") && !error.chars().any(char::is_control),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_user_agent_cannot_add_headers() {
        let config = Config {
            user_agent: "x\r\nEvil: 1".to_string(),
            ..Config::default()
        };
        assert!(build(&config, &Environment::default(), Names::default()).is_err());
    }

    #[test]
    fn a_proxy_serves_https_elsewhere_and_nothing_else() {
        let environment = Environment {
            https_proxy: Some("http://user:geheim@proxy.example.com:3128".to_string()),
            no_proxy: Some("internal.example, .corp.example,*.lab.example".to_string()),
            ..Environment::default()
        };
        for (url, is_proxied) in [
            ("https://api.airtable.com", true),
            ("https://localhost:1", false),
            ("https://api.localhost", false),
            ("https://127.0.0.9", false),
            ("https://[::1]:1", false),
            ("https://internal.example", false),
            ("https://a.corp.example", false),
            ("https://a.LAB.example", false),
            ("https://notinternal.example", true),
        ] {
            let proxy = proxy_for(&url.parse().unwrap(), &environment).unwrap();
            assert_eq!(proxy.is_some(), is_proxied, "{url}");
        }
        let bad = Environment {
            https_proxy: Some("socks5://user:geheim@p".to_string()),
            ..Environment::default()
        };
        let why = proxy_for(&"https://api.airtable.com".parse().unwrap(), &bad).unwrap_err();
        assert!(
            why.contains("HTTPS_PROXY") && !why.contains("geheim"),
            "{why}"
        );
    }

    #[test]
    fn a_certificate_file_must_hold_certificates() {
        let with = |path: &str| Environment {
            certificates: Some(path.to_string()),
            ..Environment::default()
        };
        assert!(roots(true, &with("/nowhere/roots.pem"))
            .unwrap_err()
            .contains("SSL_CERT_FILE"));
        assert!(roots(
            true,
            &with(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        )
        .unwrap_err()
        .contains("no certificate"));
        assert!(
            roots(false, &with("/nowhere/roots.pem")).is_ok(),
            "plain http reads no certificates"
        );
    }
}
