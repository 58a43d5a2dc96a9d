//! Podium's decisions: what is fresh, what may be stored, what an index set becomes, what goes upstream next.
//!
//! The standard library is left out on purpose: without it there is no clock, no socket, no thread and no random
//! number to reach for, so time and chance can only be passed in. The compiler keeps it so.
//!
//! Reading order: [`key`] (names of keys), [`spec`] and [`record`] (what an entity is and how a record is stored),
//! [`entry`] (the stored form), [`index`] (the sets that it belongs to), [`question`] (index values and what is asked
//! upstream), [`sorted`] (sets in the order of a field), [`missing`] (what did not come), [`token`], [`doubt`], [`before`] and [`flight`] (correct under interleaving),
//! [`outside`] (numbers that are believed), [`register`] (which records are there), [`slot`] (in a cluster), [`feed`], [`sweep`], [`pace`] (what goes upstream, and
//! when).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod automation;
pub mod before;
pub mod columns;
pub mod computed;
pub mod discover;
pub mod doubt;
pub mod entry;
pub mod feed;
pub mod flight;
pub mod freshness;
pub mod index;
pub mod key;
pub mod known;
pub mod missing;
pub mod outside;
pub mod pace;
pub mod question;
pub mod record;
pub mod refresh;
pub mod register;
mod slab;
pub mod slot;
pub mod sorted;
pub mod spec;
pub mod sweep;
pub mod token;
pub mod transaction;
