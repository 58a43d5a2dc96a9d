//! The calls that a feed asks for, and how they end.

use super::hook::MacSecret;
use super::page::Page;
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::Value;

/// A call to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The base's webhooks.
    List,
    /// A webhook of our own; see [`super::specification`].
    Create,
    /// The base's schema.
    Schema,
    /// Is the webhook alive? Puts its end off.
    Refresh {
        webhook: String,
    },
    Poll {
        webhook: String,
        cursor: u64,
    },
    /// A webhook of ours that is dead.
    Delete {
        webhook: String,
    },
}

/// What to do now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing, until something happens.
    Rest,
    /// Nothing before this time (unix ms).
    Wait(u64),
    Do(Action),
}

/// How a call ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Listed(Vec<Value>),
    Created {
        id: String,
        secret: MacSecret,
    },
    /// Read, and kept by the caller.
    Schema,
    Refreshed,
    Polled(Page),
    Deleted,
    Failed(Failed),
}

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Airtable refused it: the webhook may be gone, or the token may lack a right.
    pub refused: bool,
    pub line: String,
}

/// When a call was made and when it ended, unix ms.
#[derive(Clone, Copy, Default, Debug)]
pub struct Landing {
    /// See [`super::Feed::ticket`].
    pub ticket: u64,
    /// When it was handed to the queue.
    pub asked: u64,
    /// When it went out.
    pub sent: u64,
    pub now: u64,
    /// The number of this moment in the order of sends and changes.
    pub seq: u64,
    /// The interval between polls.
    pub interval: u64,
}

/// What an answer comes to.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Reaction {
    /// Changes may have been missed: everything cached of the base is in doubt.
    pub gap: Option<&'static str>,
    /// To be applied; then call [`super::Feed::applied`].
    pub apply: Option<Page>,
    /// What must outlive the process changed.
    pub save: bool,
}
