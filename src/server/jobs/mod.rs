//! Long work on threads of its own: sweeping and warming.

pub(crate) mod sweep;
pub(crate) mod warm;
