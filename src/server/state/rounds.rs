//! The upkeep thread, which whoever leaves it something to do wakes.

use crate::server::valkey::thread::Thread;

pub(crate) static THREAD: Thread<()> = Thread::new();

/// There is something to do.
pub(crate) fn wake() {
    THREAD.wake();
}
