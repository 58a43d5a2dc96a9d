//! The calls on webhooks: Airtable's change feed. All count against the base's quota; `Ask::table`
//! is not used.

use serde_json::{Map, Value};
use ureq::http::Method;

use crate::address::check_id;
use crate::client::{call, parse, write, Ask, Client};
use crate::failure::Failure;
use crate::record::{parse_object, take_array};
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
            take_array(&mut parse_object(body)?, "webhooks")
        })
    }

    /// A page of payloads from number `cursor` (the first is 1) on, at most `limit` (1 to 50), as
    /// sent: `{"payloads":[…],"cursor":n,"mightHaveMore":b}`, these three checked. Reading also
    /// puts the webhook's expiry off.
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
        parse(&call, &answer, |body| {
            let object = parse_object(body)?;
            let is_whole = object.get("payloads").is_some_and(Value::is_array)
                && object.get("cursor").is_some_and(Value::is_u64)
                && object.get("mightHaveMore").is_some_and(Value::is_boolean);
            if !is_whole {
                return Err("the answer lacks payloads, cursor or mightHaveMore".to_string());
            }
            Ok(Value::Object(object))
        })
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

fn take_text(object: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    match object.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("the answer lacks \"{name}\"")),
    }
}
