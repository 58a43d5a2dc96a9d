//! The calls: records, schema, token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Map, Value};
use ureq::http::Method;

use crate::address::{check, check_id, Address, URL_LIMIT};
use crate::call::Call;
use crate::config::{build, Config, Environment};
use crate::exchange::{Answer, Wire};
use crate::failure::{Failure, FailureKind, Phase};
use crate::record::{
    parse_deleted, parse_object, parse_page, parse_written, Damaged, NoPage, Page, Record,
};
use crate::resolver::Names;
use crate::token::Token;

/// Most records in one write.
pub const MAX_WRITE: usize = 10;

/// Airtable's API at one address. Cheap to clone; clones share a pool of connections. A changed
/// [`Config`] needs a new client.
///
/// Every method is one call of the base's quota, runs on the caller's thread and returns within the
/// call's deadline.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    wire: Wire,
    /// What `/v0/…` is appended to.
    root: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.root).finish()
    }
}

/// Where a call goes, on whose behalf, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// `app…`; unused by `whoami`.
    pub base: &'a str,
    /// A table's name or id; used by the calls on records alone.
    pub table: &'a str,
    /// Whose rights and quota the call uses.
    pub token: &'a Token,
    /// For the whole call: name lookup, connect, request, answer.
    pub deadline: Duration,
}

/// What to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListQuery<'a> {
    /// Airtable formula; `None` lists all.
    pub formula: Option<&'a str>,
    /// From the previous page.
    pub offset: Option<&'a str>,
    /// 1 to 100; 0 leaves it to Airtable, which takes 100.
    pub page_size: u16,
    /// Over all pages.
    pub max_records: Option<u32>,
    /// Names or ids of the fields whose cells are wanted; empty: all.
    pub fields: &'a [String],
    /// Cells keyed by field id rather than name.
    pub by_field_id: bool,
}

impl Client {
    /// A client for `config`, with certificates and proxy as the environment says.
    ///
    /// Trusts the webpki roots, or the certificates in the file that `SSL_CERT_FILE` names instead.
    /// Uses the proxy that `HTTPS_PROXY` names for an https address that is neither on this machine
    /// nor in `NO_PROXY`; no other proxy variable counts.
    ///
    /// # Errors
    /// Says which setting or variable is wrong and why.
    pub fn new(config: Config) -> Result<Self, String> {
        Self::with_environment(config, &Environment::of_process())
    }

    pub(crate) fn with_environment(
        config: Config,
        environment: &Environment,
    ) -> Result<Self, String> {
        let names = Names::default();
        let (agent, root) = build(&config, environment, names.clone())?;
        let wire = Wire {
            agent,
            names,
            connect_timeout: config.connect_timeout,
            max_response_bytes: config.max_response_bytes,
        };
        Ok(Self(Arc::new(Inner { wire, root })))
    }

    /// One page of a table's records.
    ///
    /// # Errors
    /// Besides the general ones: [`FailureKind::UnknownField`], [`FailureKind::IteratorGone`].
    pub fn list(&self, ask: &Ask, query: &ListQuery) -> Result<Page, Failure> {
        let call = self.list_call(ask, query)?;
        let answer = self.exchange(&call)?;
        let failed = |kind, why| Failure::new(kind, Phase::Parse, why).with_status(answer.status);
        let body = answer.json().map_err(|why| failed(FailureKind::Bad, why))?;
        parse_page(body).map_err(|why| match why {
            NoPage::Bad(why) => failed(FailureKind::Bad, why),
            NoPage::TooLarge => {
                let why = "the answer holds more values than its size allows for";
                failed(FailureKind::TooLarge, why.to_string())
            }
        })
    }

    /// GET, or POST to `listRecords` where the address would grow too long. Both cost and answer
    /// the same.
    fn list_call<'a>(&self, ask: &Ask<'a>, query: &ListQuery) -> Result<Call<'a>, Failure> {
        if query.page_size > 100 {
            return Err(Failure::refused(format!(
                "the page size is {}, at most 100 is possible",
                query.page_size
            )));
        }
        if let Some(offset) = query.offset {
            check("offset", offset).map_err(Failure::refused)?;
        }
        if query
            .formula
            .is_some_and(|formula| formula.chars().any(is_never_in_a_formula))
        {
            return Err(Failure::refused("the formula holds a control character"));
        }
        let mut parameters = Map::new();
        if query.page_size > 0 {
            parameters.insert("pageSize".to_string(), json!(query.page_size));
        }
        if let Some(max_records) = query.max_records {
            parameters.insert("maxRecords".to_string(), json!(max_records));
        }
        if query.by_field_id {
            parameters.insert("returnFieldsByFieldId".to_string(), json!(true));
        }
        if !query.fields.is_empty() {
            parameters.insert("fields".to_string(), json!(query.fields));
        }
        if let Some(formula) = query.formula {
            parameters.insert("filterByFormula".to_string(), json!(formula));
        }
        if let Some(offset) = query.offset {
            parameters.insert("offset".to_string(), json!(offset));
        }
        let url = parameters
            .iter()
            .fold(self.table(ask)?, |address, (name, value)| match value {
                Value::String(text) => address.query(name, text),
                Value::Array(list) => {
                    let name = format!("{name}[]");
                    let texts = list.iter().filter_map(Value::as_str);
                    texts.fold(address, |address, text| address.query(&name, text))
                }
                other => address.query(name, &other.to_string()),
            })
            .into_url();
        if url.len() < URL_LIMIT {
            return Ok(call(ask, Method::GET, url, None));
        }
        let url = self.table(ask)?.fixed("/listRecords").into_url();
        Ok(call(
            ask,
            Method::POST,
            url,
            Some(&Value::Object(parameters)),
        ))
    }

    /// Creates 1 to 10 records from cells by field name or id; the created records come in the
    /// order given, one that cannot be read in its place.
    ///
    /// # Errors
    /// `may_have_applied` says whether the records may exist all the same.
    pub fn create(
        &self,
        ask: &Ask,
        records: &[Map<String, Value>],
        typecast: bool,
    ) -> Result<Vec<Result<Record, Damaged>>, Failure> {
        check_count(records.len())?;
        let records: Vec<Value> = records
            .iter()
            .map(|fields| json!({ "fields": fields }))
            .collect();
        let body = json!({ "records": records, "typecast": typecast });
        let call = write(ask, Method::POST, self.table(ask)?.into_url(), Some(&body));
        let answer = self.exchange(&call)?;
        parse(&call, &answer, |body| {
            let written = parse_written(body)?;
            if written.len() != records.len() {
                return Err(format!(
                    "{} records were created in place of {}",
                    written.len(),
                    records.len()
                ));
            }
            Ok(written)
        })
    }

    /// Changes the given cells of 1 to 10 records (PATCH: other cells stay); the records come
    /// whole, in the order given.
    ///
    /// # Errors
    /// As [`Client::create`].
    pub fn update(
        &self,
        ask: &Ask,
        records: &[(String, Map<String, Value>)],
        typecast: bool,
    ) -> Result<Vec<Result<Record, Damaged>>, Failure> {
        check_count(records.len())?;
        for (id, _) in records {
            check_id("record id", "rec", id).map_err(Failure::refused)?;
        }
        let ids: Vec<&str> = records.iter().map(|(id, _)| id.as_str()).collect();
        let records: Vec<Value> = records
            .iter()
            .map(|(id, fields)| json!({ "id": id, "fields": fields }))
            .collect();
        let body = json!({ "records": records, "typecast": typecast });
        let call = write(ask, Method::PATCH, self.table(ask)?.into_url(), Some(&body));
        let answer = self.exchange(&call)?;
        parse(&call, &answer, |body| {
            let written = parse_written(body)?;
            // One that does not say which it is stands where it was asked for.
            let is = |written: &Result<Record, Damaged>, id: &&str| match written {
                Ok(record) => record.id == *id,
                Err(damaged) => damaged.id.as_deref().is_none_or(|own| own == *id),
            };
            let agrees = written.len() == ids.len()
                && written
                    .iter()
                    .zip(&ids)
                    .all(|(written, id)| is(written, id));
            if !agrees {
                return Err("the records in the answer are not the updated ones".to_string());
            }
            Ok(written)
        })
    }

    /// Deletes 1 to 10 records and returns the ids that Airtable says are deleted.
    ///
    /// # Errors
    /// As [`Client::create`]. A record that is already gone can fail the whole call.
    pub fn delete(&self, ask: &Ask, ids: &[&str]) -> Result<Vec<String>, Failure> {
        check_count(ids.len())?;
        for id in ids {
            check_id("record id", "rec", id).map_err(Failure::refused)?;
        }
        let url = ids
            .iter()
            .fold(self.table(ask)?, |address, id| {
                address.query("records[]", id)
            })
            .into_url();
        let call = write(ask, Method::DELETE, url, None);
        let answer = self.exchange(&call)?;
        parse(&call, &answer, |body| {
            let deleted = parse_deleted(body)?;
            match deleted.iter().find(|id| !ids.contains(&id.as_str())) {
                Some(id) => Err(format!("the answer deletes {id}, which was not asked for")),
                None => Ok(deleted),
            }
        })
    }

    /// The base's schema as sent: `{"tables":[…]}`.
    ///
    /// # Errors
    /// Needs the scope `schema.bases:read`.
    pub fn tables(&self, ask: &Ask) -> Result<Value, Failure> {
        let address = self
            .address("/v0/meta/bases")
            .segment("base", ask.base)
            .map_err(Failure::refused)?;
        let call = call(ask, Method::GET, address.fixed("/tables").into_url(), None);
        let answer = self.exchange(&call)?;
        parse(&call, &answer, |body| {
            let object = parse_object(body)?;
            match object.get("tables") {
                Some(Value::Array(_)) => Ok(Value::Object(object)),
                _ => Err("the answer lacks the array \"tables\"".to_string()),
            }
        })
    }

    /// The token's user as sent: `{"id":"usr…", …}`. The cheapest check of a token; touches no
    /// base.
    ///
    /// # Errors
    /// The general ones.
    pub fn whoami(&self, ask: &Ask) -> Result<Value, Failure> {
        let call = call(
            ask,
            Method::GET,
            self.address("/v0/meta/whoami").into_url(),
            None,
        );
        let answer = self.exchange(&call)?;
        parse(&call, &answer, |body| {
            let object = parse_object(body)?;
            match object.get("id") {
                Some(Value::String(_)) => Ok(Value::Object(object)),
                _ => Err("the answer lacks the user's id".to_string()),
            }
        })
    }

    pub(crate) fn address(&self, path: &str) -> Address {
        Address::new(&self.0.root).fixed(path)
    }

    fn table(&self, ask: &Ask) -> Result<Address, Failure> {
        self.address("/v0")
            .segment("base", ask.base)
            .and_then(|address| address.segment("table", ask.table))
            .map_err(Failure::refused)
    }

    pub(crate) fn exchange(&self, call: &Call) -> Result<Answer, Failure> {
        self.0.wire.exchange(call)
    }
}

/// A call that changes nothing at Airtable.
pub(crate) fn call<'a>(
    ask: &Ask<'a>,
    method: Method,
    url: String,
    body: Option<&Value>,
) -> Call<'a> {
    let body = body.map(|body| body.to_string().into_bytes());
    Call {
        method,
        url,
        body,
        token: ask.token,
        deadline: ask.deadline,
        is_write: false,
    }
}

/// A call that does.
pub(crate) fn write<'a>(
    ask: &Ask<'a>,
    method: Method,
    url: String,
    body: Option<&Value>,
) -> Call<'a> {
    Call {
        is_write: true,
        ..call(ask, method, url, body)
    }
}

/// Makes sense of an answer; where there is none in it, a write has most likely been applied.
pub(crate) fn parse<T>(
    call: &Call,
    answer: &Answer,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, Failure> {
    answer.json().and_then(parse).map_err(|why| {
        Failure::new(FailureKind::Bad, Phase::Parse, why)
            .with_status(answer.status)
            .with_may_have_applied(call.is_write)
    })
}

fn check_count(records: usize) -> Result<(), Failure> {
    if (1..=MAX_WRITE).contains(&records) {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{records} records in one write: 1 to {MAX_WRITE} are possible"
    )))
}

/// Text in a formula may hold line breaks and tabs.
fn is_never_in_a_formula(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}
