//! Podium: a read-through cache for Airtable inside Valkey.
//!
//! Layers, each knowing only those before it:
//!
//! - `podium-core` (`src/core`): decisions. No server, no HTTP, no clock, no chance.
//! - `podium-airtable` (`src/airtable`): Airtable's Web API over HTTP.
//! - [`server`]: the Valkey module: commands, stored keys, waiting clients, workers.

#[cfg(not(test))]
mod alloc;
mod server;

#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: alloc::ServerAlloc = alloc::ServerAlloc;
