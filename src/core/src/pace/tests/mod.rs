//! What the scheduler promises, in virtual time.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod failures;
mod gathering;
mod plan;
mod priorities;
mod storm;
mod upkeep;

use alloc::vec;
use alloc::vec::Vec;

use compact_str::{format_compact, CompactString};

use super::*;

/// Well past zero, so that nothing passes for "long ago" by accident.
const T0: u64 = 10_000_000;
/// 2026-11-21T00:00:00Z: ten days before the month turns.
const NOV_21: u64 = 1_795_219_200_000;
const DAY_MS: u64 = 86_400_000;

type Sched = Scheduler<u32>;

fn rec(n: usize) -> CompactString {
    format_compact!("rec{n:014}")
}

fn many_threads() -> Limits {
    Limits {
        max_in_flight: 100,
        ..Limits::default()
    }
}

fn want(s: &mut Sched, lane: LaneKey, ids: core::ops::Range<usize>, class: Class, now: u64) {
    for n in ids {
        s.want(0, lane, rec(n), class, now);
    }
    s.flush(now);
}

fn call(s: &mut Sched, now: u64) -> Call<u32> {
    match s.next(now) {
        Next::Call(call) => call,
        Next::Wait(wake) => panic!("nothing to send at {now}, wake {wake:?}"),
    }
}

fn wait(s: &mut Sched, now: u64) -> Option<u64> {
    match s.next(now) {
        Next::Call(call) => panic!("sent at {now}: {call:?}"),
        Next::Wait(wake) => wake,
    }
}

fn ids(call: &Call<u32>) -> Vec<CompactString> {
    match &call.what {
        What::Batch { ids, .. } => ids.clone(),
        What::Solo(_) => panic!("a solo call: {call:?}"),
    }
}

fn solo(call: &Call<u32>) -> u32 {
    match &call.what {
        What::Solo(payload) => *payload,
        What::Batch { .. } => panic!("a batch: {call:?}"),
    }
}

fn failed(class: Fault) -> Outcome {
    Outcome::Failed {
        class,
        retry_after_ms: None,
    }
}

/// Answers every call at once and moves time from wake to wake until nothing is left: the time of each call and what it
/// carried.
fn run_dry(s: &mut Sched, mut now: u64) -> Vec<(u64, Call<u32>)> {
    let mut calls = Vec::new();
    loop {
        match s.next(now) {
            Next::Call(call) => {
                s.done(call.id, Outcome::Ok, now, 0);
                calls.push((now, call));
            }
            Next::Wait(Some(wake)) => {
                assert!(wake > now);
                now = wake;
            }
            Next::Wait(None) => return calls,
        }
        assert!(calls.len() < 10_000);
    }
}
