//! Memory comes from the server, so that it counts in `used_memory` and eviction sees it.

use redis_module::alloc::RedisAlloc;
use redis_module::raw;
use std::alloc::{GlobalAlloc, Layout, System};

/// The server's allocator, with what its wrapper lacks: alignment beyond 16, growing in place, zeroed memory.
pub(crate) struct ServerAlloc;

// SAFETY: every block goes back to the allocator it came from, told apart by its alignment alone.
unsafe impl GlobalAlloc for ServerAlloc {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        if l.align() > 16 {
            System.alloc(l)
        } else {
            RedisAlloc.alloc(l)
        }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        if l.align() > 16 {
            System.dealloc(p, l)
        } else {
            RedisAlloc.dealloc(p, l)
        }
    }
    unsafe fn realloc(&self, p: *mut u8, l: Layout, n: usize) -> *mut u8 {
        match raw::RedisModule_Realloc {
            Some(f) if l.align() <= 16 => f(p.cast(), n).cast(),
            _ => System.realloc(p, l, n),
        }
    }
    unsafe fn alloc_zeroed(&self, l: Layout) -> *mut u8 {
        match raw::RedisModule_Calloc {
            Some(f) if l.align() <= 16 => f(1, l.size()).cast(),
            _ => System.alloc_zeroed(l),
        }
    }
}
