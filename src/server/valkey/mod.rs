//! The server's own interface, wrapped: its API and lock, settings, replies, CLIENT TRACKING, threads, log.

pub(crate) mod acl;
pub(crate) mod blocked;
pub(crate) mod ffi;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod reply;
pub(crate) mod settings;
pub(crate) mod thread;
pub(crate) mod tracking;
