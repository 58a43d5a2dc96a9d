#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod events;
mod leases;
mod oracle;
mod world;
