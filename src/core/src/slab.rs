//! Places that keep their number, in chunks: however many there are, taking one more never copies the others.

use alloc::vec::Vec;

const CHUNK: usize = 1024;

pub(crate) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
    len: u32,
    /// Chunks of which nothing is taken any more: to be freed one by one.
    rest: Vec<Vec<T>>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            chunks: Vec::new(),
            free: Vec::new(),
            len: 0,
            rest: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// A place that was given back, if there is one.
    pub(crate) fn reuse(&mut self) -> Option<u32> {
        self.free.pop()
    }
    /// A new place.
    pub(crate) fn push(&mut self, value: T) -> u32 {
        let at = self.len;
        if self.chunks.last().is_none_or(|c| c.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(value);
        }
        self.len += 1;
        at
    }
    #[inline]
    pub(crate) fn get(&self, at: u32) -> Option<&T> {
        let at = at as usize;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }
    #[inline]
    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        let at = at as usize;
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }
    /// Nobody refers to the place any more.
    pub(crate) fn give_back(&mut self, at: u32) {
        self.free.push(at);
        if self.free.len() == self.len as usize {
            // (Of many that are gone no memory is kept.)
            (self.free, self.len) = (Vec::new(), 0);
            self.rest.append(&mut self.chunks);
        }
    }
    /// Frees a part of what is not taken any more; true: there is more.
    pub(super) fn free_some(&mut self) -> bool {
        self.rest.pop();
        self.has_rest()
    }
    pub(super) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }
    /// Places taken so far, given back or not.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }
    pub(crate) fn in_use(&self) -> usize {
        self.len as usize - self.free.len()
    }
}
