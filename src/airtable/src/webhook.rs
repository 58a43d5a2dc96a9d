//! The calls on webhooks: Airtable's change feed. All count against the base's quota; `Ask::table`
//! is not used.

use serde_json::{json, Map, Value};
use ureq::http::Method;

use crate::address::check_id;
use crate::client::{call, parse, write, Ask, Client};
use crate::failure::Failure;
use podium_json as text;

use crate::record::{parse_members, parse_object, parts};
use crate::token::Secret;

/// Most payloads in one page.
const MAX_PAYLOADS: u8 = 50;

/// A webhook just created. The secret is told this once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// `ach…`
    pub id: String,
    /// Key of the pings' MAC.
    pub mac_secret: Secret,
    /// RFC 3339; absent where the webhook does not expire.
    pub expiration_time: Option<String>,
}

impl Client {
    /// Creates a webhook from Airtable's own JSON: `{"specification":{"options":{…}}}`, with
    /// `notificationUrl` where pings are wanted.
    ///
    /// # Errors
    /// Needs the scope `webhook:manage` and the creator role; a base has at most 10 webhooks.
    pub fn webhook_create(&self, ask: &Ask, specification: &Value) -> Result<NewWebhook, Failure> {
        let call = write(ask, Method::POST, self.webhooks(ask)?, Some(specification));
        let answer = self.exchange(&call)?;
        parse(&call, &answer, |body| {
            let mut object = parse_object(body)?;
            Ok(NewWebhook {
                id: take_text(&mut object, "id")?,
                mac_secret: Secret::new(take_text(&mut object, "macSecretBase64")?),
                expiration_time: take_text(&mut object, "expirationTime").ok(),
            })
        })
    }

    /// The base's webhooks, each as sent.
    ///
    /// # Errors
    /// Needs the scope `webhook:manage`.
    pub fn webhook_list(&self, ask: &Ask) -> Result<Vec<Value>, Failure> {
        let call = call(ask, Method::GET, self.webhooks(ask)?, None);
        let answer = self.exchange(&call)?;
        parse(&call, &answer, |body| {
            match parse_object(body)?.remove("webhooks") {
                Some(Value::Array(webhooks)) => Ok(webhooks),
                _ => Err("the answer lacks the array \"webhooks\"".to_string()),
            }
        })
    }

    /// A page of payloads from number `cursor` (the first is 1) on, at most `limit` (1 to 50), as
    /// sent: `{"payloads":[…],"cursor":n,"mightHaveMore":b}`. Reading also puts the webhook's
    /// expiry off.
    ///
    /// What cannot be read in a payload is [`podium_json::MARK`] there, and a payload of which
    /// nothing can be read is that whole. A cursor that cannot be read is the one that so many
    /// payloads lead to: the feed goes on.
    ///
    /// # Errors
    /// As [`Client::webhook_list`].
    pub fn webhook_payloads(
        &self,
        ask: &Ask,
        webhook: &str,
        cursor: u64,
        limit: u8,
    ) -> Result<Value, Failure> {
        if !(1..=MAX_PAYLOADS).contains(&limit) {
            return Err(Failure::refused(format!(
                "{limit} payloads in one page: 1 to {MAX_PAYLOADS} are possible"
            )));
        }
        let url = format!(
            "{}/payloads?cursor={cursor}&limit={limit}",
            self.webhook(ask, webhook)?
        );
        let call = call(ask, Method::GET, url, None);
        let answer = self.exchange(&call)?;
        parse(&call, &answer, |body| payloads(body, cursor, limit))
    }

    /// Puts the webhook's expiry off by 7 days and returns when it is now (RFC 3339).
    ///
    /// # Errors
    /// As [`Client::webhook_create`]. Harmless to repeat, so no failure says that it may have been
    /// applied.
    pub fn webhook_refresh(&self, ask: &Ask, webhook: &str) -> Result<Option<String>, Failure> {
        let url = format!("{}/refresh", self.webhook(ask, webhook)?);
        let mut call = call(ask, Method::POST, url, None);
        call.body = Some(Vec::new());
        let answer = self.exchange(&call)?;
        parse(&call, &answer, |body| {
            Ok(take_text(&mut parse_object(body)?, "expirationTime").ok())
        })
    }

    /// Deletes the webhook, its payloads included.
    ///
    /// # Errors
    /// As [`Client::webhook_create`].
    pub fn webhook_delete(&self, ask: &Ask, webhook: &str) -> Result<(), Failure> {
        let call = write(ask, Method::DELETE, self.webhook(ask, webhook)?, None);
        // Whether the answer is `{}` or nothing is not documented.
        let answer = self.exchange(&call)?;
        if answer.body.is_empty() {
            return Ok(());
        }
        parse(&call, &answer, |body| parse_object(body).map(drop))
    }

    fn webhooks(&self, ask: &Ask) -> Result<String, Failure> {
        let address = self
            .address("/v0/bases")
            .segment("base", ask.base)
            .map_err(Failure::refused)?;
        Ok(address.fixed("/webhooks").into_url())
    }

    fn webhook(&self, ask: &Ask, webhook: &str) -> Result<String, Failure> {
        check_id("webhook id", "ach", webhook).map_err(Failure::refused)?;
        Ok(format!("{}/{webhook}", self.webhooks(ask)?))
    }
}

/// Values that a payload may hold however small they are; above that, one for so many bytes.
const VALUES: usize = 65_536;
const BYTES_A_VALUE: usize = 8;

/// Reads a page of at most `limit` payloads that was asked for from number `asked` on, each payload by itself.
fn payloads(body: &[u8], asked: u64, limit: u8) -> Result<Value, String> {
    let members = parse_members(body)?;
    let mut payloads = Vec::new();
    for part in parts(&members, "payloads")? {
        if payloads.len() >= usize::from(MAX_PAYLOADS) * 2 {
            return Err("the answer holds more payloads than were asked for".to_string());
        }
        let few = text::values(part) <= VALUES + part.len() / BYTES_A_VALUE;
        let payload = few.then(|| text::salvage(part).ok()).flatten();
        payloads.push(payload.unwrap_or_else(|| text::MARK.into()));
    }
    let member = |name| members.get(name).and_then(|value| text::read(value).ok());
    let next = member("cursor").filter(Value::is_u64);
    let next = next.unwrap_or_else(|| (asked + payloads.len() as u64).into());
    let more = member("mightHaveMore").filter(Value::is_boolean);
    let more = more.unwrap_or_else(|| (payloads.len() >= usize::from(limit)).into());
    Ok(json!({ "payloads": payloads, "cursor": next, "mightHaveMore": more }))
}

fn take_text(object: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    match object.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("the answer lacks \"{name}\"")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_payload_that_cannot_be_read_stops_no_other_and_not_the_cursor() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        let body = format!(
            r#"{{"payloads":[{{"a":"\ud83c","x":{deep}}},tru,{{"b":1,2}},{{"c":3}}],"cursor":9,"mightHaveMore":false}}"#
        );
        let page = payloads(body.as_bytes(), 5, 50).unwrap();
        let mark = text::MARK;
        let list = page.get("payloads").and_then(Value::as_array).unwrap();
        assert_eq!(
            list.get(1..),
            Some(&[json!(mark), json!(mark), json!({"c": 3})][..])
        );
        assert_eq!(
            list.first().and_then(|p| p.get("a")),
            Some(&json!("\u{fffd}"))
        );
        assert_eq!(page.get("cursor"), Some(&json!(9)));
        for odd in [
            r#""cursor":tru"#,
            r#""cursor":-1"#,
            r#""x":1"#,
            r#""cursor":1e999"#,
        ] {
            let body = format!(r#"{{"payloads":[7,8],{odd}}}"#);
            let page = payloads(body.as_bytes(), 5, 2).unwrap();
            assert_eq!(
                page,
                json!({"payloads": [7, 8], "cursor": 7, "mightHaveMore": true}),
                "{odd}"
            );
        }
        for none in [
            "",
            "[]",
            "{}",
            r#"{"payloads":7,"cursor":1}"#,
            r#"{"payloads":[1"#,
        ] {
            assert!(payloads(none.as_bytes(), 1, 50).is_err(), "{none}");
        }
        let zeros = format!(
            r#"{{"payloads":[{{"x":[{}0]}}],"cursor":2}}"#,
            "0,".repeat(1_000_000)
        );
        assert_eq!(
            payloads(zeros.as_bytes(), 1, 50).unwrap().get("payloads"),
            Some(&json!([mark]))
        );
    }
}
