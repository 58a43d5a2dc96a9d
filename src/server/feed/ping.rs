//! Is a notification really Airtable's? Its MAC is checked against the webhook's secret, in constant time.

use base64::Engine;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

/// Base and webhook that a notification names.
pub(crate) fn names(body: &[u8]) -> Option<(String, String)> {
    let v: Value = podium_json::read(body).ok()?;
    let id = |what: &str| v.get(what)?.get("id")?.as_str().map(str::to_string);
    Some((id("base")?, id("webhook")?))
}

/// Checks `hmac-sha256=<hex>` over the body as it was posted. `secret`: as Airtable gave it, base64.
pub(crate) fn genuine(secret: &str, body: &[u8], header: &[u8]) -> bool {
    let Ok(key) = base64::engine::general_purpose::STANDARD.decode(secret) else {
        return false;
    };
    let Some(claimed) = header
        .trim_ascii()
        .strip_prefix(b"hmac-sha256=")
        .and_then(unhex)
    else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else {
        return false;
    };
    mac.update(body);
    mac.verify_slice(&claimed).is_ok()
}

fn unhex(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16);
    if hex.len() % 2 != 0 || hex.len() > 128 {
        return None;
    }
    hex.chunks_exact(2)
        .map(|pair| match pair {
            [a, b] => u8::try_from(digit(*a)? * 16 + digit(*b)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "YWlydGFibGUtY2FjaGUtZGVtby1zZWNyZXQtMDAwMSE=";
    const BODY: &[u8] = br#"{"base":{"id":"appK3xT9vQ2mWb7Rd"},"webhook":{"id":"achZ8nP1cYt5LqE4s"},"timestamp":"2026-03-04T05:06:07.890Z"}"#;
    const HEADER: &[u8] =
        b"hmac-sha256=a7c4f421c3af86f27aa6b8645c979af61da9b119fe00578160210676892bc76b";

    #[test]
    fn airtables_own_mac_is_genuine_and_nothing_else_is() {
        assert_eq!(BODY.len(), 111);
        assert!(genuine(SECRET, BODY, HEADER));
        assert!(!genuine(SECRET, &BODY[..110], HEADER));
        assert!(!genuine("b3RoZXI=", BODY, HEADER));
        let mut other = HEADER.to_vec();
        other[20] ^= 1;
        for bad in [
            &other[..],
            b"",
            b"hmac-sha256=",
            b"hmac-sha256=zz",
            &HEADER[12..],
            &HEADER[..HEADER.len() - 2],
        ] {
            assert!(!genuine(SECRET, BODY, bad));
        }
        assert!(!genuine("no base64!", BODY, HEADER));
    }

    #[test]
    fn a_body_names_its_base_and_webhook() {
        assert_eq!(
            names(BODY),
            Some(("appK3xT9vQ2mWb7Rd".into(), "achZ8nP1cYt5LqE4s".into()))
        );
        for bad in [
            &b""[..],
            b"{}",
            b"[]",
            b"\xff",
            br#"{"base":"x","webhook":{"id":7}}"#,
        ] {
            assert_eq!(names(bad), None);
        }
    }
}
