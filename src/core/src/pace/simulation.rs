//! An hour at saturation against a simulated Airtable, in virtual time: the budget is spent and never overspent.
#![allow(clippy::unwrap_used)]

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;
use std::println;

use compact_str::{format_compact, CompactString};

use super::*;

const HOUR_MS: u64 = 3_600_000;

/// Optimised builds run the thousand; others so many that the run stays short.
const SEEDS: u64 = if cfg!(debug_assertions) { 25 } else { 1000 };

/// SplitMix64: small, and good enough to shake a simulation.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `below` − 1.
    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.next() % below
    }
}

/// Counts arrivals per second, in seconds that begin when it likes.
struct Airtable {
    limit: u32,
    phase: u64,
    /// The seconds counted last, by number modulo their number: arrivals overtake each other.
    seconds: [(u64, u32); 4],
    locked_out: u64,
}

impl Airtable {
    fn arrive(&mut self, at: u64) {
        let number = (at + self.phase) / 1000;
        for second in &mut self.seconds {
            if second.0 % 4 == number % 4 {
                if second.0 != number {
                    *second = (number, 0);
                }
                second.1 += 1;
                self.locked_out += u64::from(second.1 > self.limit);
                return;
            }
        }
    }
}

struct Ran {
    calls: u64,
    records: u64,
    locked_out: u64,
}

/// What keeps the scheduler busy.
trait Load {
    /// Queues more, so that there is always more than can be sent.
    fn top_up(&mut self, scheduler: &mut Scheduler<u32>, now: u64);
}

/// Calls that cannot be merged, a page of records each.
struct Solos;

impl Load for Solos {
    fn top_up(&mut self, scheduler: &mut Scheduler<u32>, now: u64) {
        if scheduler.pending() < 4 {
            for n in 0..4 {
                scheduler.submit(0, Class::Read, n, now);
            }
        }
    }
}

/// Misses on the records of a few tables, each with more than a page at any time.
struct Misses {
    chance: Chance,
    lanes: u64,
    last: u64,
}

impl Load for Misses {
    fn top_up(&mut self, scheduler: &mut Scheduler<u32>, now: u64) {
        if (scheduler.pending() as u64) < 400 * self.lanes {
            for _ in 0..100 * self.lanes {
                self.last += 1;
                let lane = self.chance.below(self.lanes);
                let id: CompactString = format_compact!("rec{:014}", self.last);
                let class = match self.chance.below(10) {
                    0 => Class::Background,
                    1 => Class::Refresh,
                    _ => Class::Read,
                };
                scheduler.want(0, lane, id, class, now);
            }
            scheduler.flush(now);
        }
    }
}

/// Runs for a while at saturation. Every call takes up to `jitter` ms to arrive and its answer a while longer, and the
/// timer that wakes the scheduler is up to 4 ms late.
fn run(seed: u64, limits: Limits, limit: u32, span_ms: u64, load: &mut impl Load) -> Ran {
    let mut chance = Chance(seed);
    let jitter = limits.network_jitter_ms;
    // Evenly spread, or all or nothing: the worst for a window.
    let extremes = chance.below(3) == 0;
    let mut airtable = Airtable {
        limit,
        phase: chance.below(1000),
        seconds: [(0, 0), (1, 0), (2, 0), (3, 0)],
        locked_out: 0,
    };
    let mut scheduler: Scheduler<u32> = Scheduler::new(limits);
    let mut under_way: BinaryHeap<Reverse<(u64, CallId)>> = BinaryHeap::new();
    let begin = 1_000_000 + chance.below(1000);
    let mut now = begin;
    let (mut calls, mut records) = (0, 0);
    while now < begin + span_ms {
        while let Some(Reverse((at, id))) = under_way.peek().copied() {
            if at > now {
                break;
            }
            under_way.pop();
            assert_eq!(scheduler.done(id, Outcome::Ok, now, 0), Verdict::Settled);
        }
        load.top_up(&mut scheduler, now);
        match scheduler.next(now) {
            Next::Call(call) => {
                calls += 1;
                records += match call.what {
                    What::Batch { ids, .. } => ids.len() as u64,
                    What::Solo(_) => 100,
                };
                let way = match (extremes, chance.below(jitter + 1)) {
                    (true, way) => (way % 2) * jitter,
                    (false, way) => way,
                };
                airtable.arrive(now + way);
                under_way.push(Reverse((now + way + 40 + chance.below(400), call.id)));
            }
            Next::Wait(wake) => {
                assert!(
                    wake.is_none_or(|at| at > now),
                    "a wake in the past: {wake:?} at {now}"
                );
                let wake = wake.map(|at| at + chance.below(5));
                let answer = under_way.peek().map(|Reverse((at, _))| *at);
                now = [wake, answer].into_iter().flatten().min().unwrap();
            }
        }
    }
    Ran {
        calls,
        records,
        locked_out: airtable.locked_out,
    }
}

fn spent(ran: &Ran, rate: u64, span_ms: u64) -> f64 {
    ran.records as f64 / (rate * span_ms / 10) as f64
}

#[test]
fn an_hour_at_saturation_spends_the_budget_and_is_never_locked_out() {
    let mut worst: f64 = 1.0;
    for seed in 0..SEEDS {
        let ran = run(seed, Limits::default(), 5, HOUR_MS, &mut Solos);
        let share = spent(&ran, 4, HOUR_MS);
        assert_eq!(ran.locked_out, 0, "seed {seed}: {} calls", ran.calls);
        assert!(share >= 0.98, "seed {seed}: {share}");
        // More than the rate is no merit either: the burst at the beginning is all there may be.
        assert!(ran.calls <= 4 * HOUR_MS / 1000 + 4, "seed {seed}");
        worst = worst.min(share);
    }
    println!("{SEEDS} seeds, worst share of the budget {worst:.4}");
}

#[test]
fn batches_of_several_tables_and_classes_spend_it_in_records() {
    for seed in 0..SEEDS.div_ceil(50) {
        let mut load = Misses {
            chance: Chance(!seed),
            lanes: 1 + seed % 5,
            last: 0,
        };
        let ran = run(seed, Limits::default(), 5, HOUR_MS / 6, &mut load);
        let share = spent(&ran, 4, HOUR_MS / 6);
        assert_eq!(ran.locked_out, 0, "seed {seed}");
        assert!(share >= 0.98, "seed {seed}: {share}");
    }
}

#[test]
fn other_rates_keep_to_theirs() {
    // (calls a second, what Airtable accepts, how far the ways may differ)
    for (rate, limit, jitter) in [(1, 5, 50), (2, 5, 50), (3, 5, 50), (5, 5, 8), (20, 20, 8)] {
        for seed in 0..SEEDS.div_ceil(25) {
            let limits = Limits {
                rate_milli: rate * 1000,
                network_jitter_ms: jitter,
                max_in_flight: 32,
                token_rate_per_s: 1000,
                ..Limits::default()
            };
            let ran = run(seed, limits, limit, HOUR_MS / 12, &mut Solos);
            let share = spent(&ran, rate, HOUR_MS / 12);
            assert_eq!(ran.locked_out, 0, "rate {rate}, seed {seed}");
            assert!(share >= 0.98, "rate {rate}, seed {seed}: {share}");
        }
    }
}
