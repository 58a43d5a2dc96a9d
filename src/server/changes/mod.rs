//! What follows from a change that was made.

pub(crate) mod define;
pub(crate) mod later;
pub(crate) mod referrers;
pub(crate) mod written;
