//! What one decision is made under.

use super::call::PerClass;
use super::limiter::Shape;
use super::limits::Limits;

/// What the scheduler as a whole adds to a base's own constraints, for one decision.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) now: u64,
    pub(super) limits: &'a Limits,
    pub(super) shape: &'a Shape,
    /// The last arrival of the event loop's passes that are over.
    pub(super) sealed: u64,
    /// From when on the month lets a class call.
    pub(super) month: &'a PerClass<u64>,
    /// Calls of this base that may be under way at once.
    pub(super) cap: usize,
    /// Refreshes and background work have all the threads they may have.
    pub(super) low_full: bool,
}
