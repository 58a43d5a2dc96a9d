//! Airtable's Web API over HTTP, as Podium needs it.
//!
//! A [`Client`] makes one call at a time on the caller's thread and returns what Airtable said or a
//! [`Failure`] that says what went wrong, in which [`Phase`], whether a write may have been applied
//! and whether sending again is safe. It never waits beyond the call's deadline, never follows a
//! redirect, repeats nothing but a read whose kept connection turned out to be dead, and paces
//! nothing: budgets, retries and breakers belong to its caller.
//!
//! In reading order: [`Config`] and [`Token`], the calls ([`Client`]), one exchange (`exchange`),
//! what becomes of an answer (`record`, `refusal`, `fault`), and the helpers that watch a call's
//! progress (`progress`, `resolver`) and keep texts harmless (`clean`, `address`).

#![warn(missing_docs)]

mod address;
mod call;
mod clean;
mod client;
mod config;
mod exchange;
mod failure;
mod fault;
mod progress;
mod record;
mod redact;
mod refusal;
mod resolver;
mod token;
mod webhook;

pub use client::{Ask, Client, ListQuery, MAX_WRITE};
pub use config::Config;
pub use failure::{Failure, FailureKind, Phase};
pub use record::{Damaged, Page, Record};
pub use token::{Secret, Token};
pub use webhook::NewWebhook;
