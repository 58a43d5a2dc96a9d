//! The emulator from outside: its wire, its rules, its misbehaviour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod faults;
mod limits;
mod process;
mod reading;
mod support;
mod webhooks;
mod writing;
