//! Airtable as the module sees it: the client in force, secrets, faults in the words of the contract, figures.

pub(crate) mod client;
pub(crate) mod fault;
pub(crate) mod figures;
pub(crate) mod secrets;
