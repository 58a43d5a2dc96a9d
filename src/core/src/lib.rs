//! Podium's decisions: what is fresh, what may be stored, what an index set becomes, what goes upstream next.
//!
//! The standard library is left out on purpose: without it there is no clock, no socket, no thread and no random
//! number to reach for, so time and chance can only be passed in. The compiler keeps it so.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod pace;
pub mod question;
pub mod record;
pub mod spec;
