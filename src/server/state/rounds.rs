//! The upkeep thread, which whoever leaves it something to do wakes.

use crate::server::valkey::thread::Thread;

pub(crate) static THREAD: Thread<()> = Thread::new();

/// There is something to do.
pub(crate) fn wake() {
    THREAD.wake();
}

/// The thread of computed answers: it marks and deletes what was thrown away, and answers those who wait.
pub(crate) static ANSWERS: Thread<()> = Thread::new();

/// There is something to do for it.
pub(crate) fn answers_wake() {
    ANSWERS.wake();
}
