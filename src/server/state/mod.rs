//! What is known in memory, and what a read that waits has.

pub(crate) mod answers;
pub(crate) mod cell;
pub(crate) mod clock;
pub(crate) mod entities;
pub(crate) mod feeds;
pub(crate) mod grave;
pub(crate) mod history;
pub(crate) mod hot;
pub(crate) mod landing;
pub(crate) mod lane;
pub(crate) mod outcome;
pub(crate) mod query;
pub(crate) mod questions;
pub(crate) mod resources;
pub(crate) mod rounds;
pub(crate) mod schemas;
pub(crate) mod soon;
pub(crate) mod sorted;
pub(crate) mod standing;
pub(crate) mod waiting;
