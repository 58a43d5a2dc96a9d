//! A thread of ours that lasts as long as the module: started, woken, handed things, and stopped.

use parking_lot::{Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

/// `M`: what it is handed.
pub(crate) struct Thread<M> {
    room: Mutex<Room<M>>,
    bell: Condvar,
}

struct Room<M> {
    inbox: Vec<M>,
    woken: bool,
    stopping: bool,
    /// It is doing something for which it may want the server's lock.
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl<M> Thread<M> {
    pub(crate) const fn new() -> Thread<M> {
        Thread {
            room: Mutex::new(Room {
                inbox: Vec::new(),
                woken: false,
                stopping: false,
                busy: false,
                thread: None,
            }),
            bell: Condvar::new(),
        }
    }

    /// `run`: the whole of what it does, around [`next`](Self::next) and [`rest`](Self::rest).
    pub(crate) fn start(&self, name: &str, run: fn()) -> Result<(), String> {
        // Held while it starts: it sees that it is not to stop (an unloaded library may have stayed where it was).
        let mut r = self.room.lock();
        r.stopping = false;
        let handle = std::thread::Builder::new()
            .name(name.into())
            .spawn(run)
            .map_err(|e| e.to_string())?;
        r.thread = Some(handle);
        Ok(())
    }

    /// There is something to do.
    pub(crate) fn wake(&self) {
        self.room.lock().woken = true;
        self.bell.notify_one();
    }

    /// Puts something into its inbox.
    pub(crate) fn hand(&self, m: M) {
        self.room.lock().inbox.push(m);
        self.bell.notify_one();
    }

    /// On the thread: waits until it is woken, or handed something, or that time comes; it is busy from then on. What it
    /// was handed; `None`: it is to end.
    pub(crate) fn next(&self, until: Instant) -> Option<Vec<M>> {
        let mut r = self.room.lock();
        while !r.woken && !r.stopping && r.inbox.is_empty() && Instant::now() < until {
            self.bell.wait_until(&mut r, until);
        }
        if r.stopping {
            return None;
        }
        r.woken = false;
        r.busy = true;
        Some(std::mem::take(&mut r.inbox))
    }

    /// On the thread: it has done what there was to do.
    pub(crate) fn rest(&self) {
        self.room.lock().busy = false;
    }

    /// Is it to end as soon as it can?
    pub(crate) fn stopping(&self) -> bool {
        self.room.lock().stopping
    }

    /// Stops it, with the server's lock held: so only if it cannot be waiting for that. Err, `busy`: it may be.
    pub(crate) fn stop(&self, busy: &str) -> Result<(), String> {
        let thread = {
            let mut r = self.room.lock();
            if r.busy {
                return Err(busy.into());
            }
            r.stopping = true;
            r.thread.take()
        };
        self.bell.notify_one();
        if let Some(t) = thread {
            let _ = t.join();
        }
        Ok(())
    }
}
