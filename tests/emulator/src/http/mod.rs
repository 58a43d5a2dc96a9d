//! HTTP/1.1 by hand: a stand-in that must misbehave at the socket level cannot leave the socket to a library.

pub(crate) mod delivery;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod url;
