//! Everything at once, at random: whatever happens, each id and each call comes to an end exactly once.

use alloc::collections::BTreeMap;

use super::super::simulation::Chance;
use super::*;

/// Ids that fail every batch they are in.
fn poisonous(n: u64) -> bool {
    matches!(n % 97, 0)
}

/// What is out, as a caller would keep it.
#[derive(Default)]
struct Ledger {
    /// Ids waited for, with the number of fetches that will tell.
    ids: BTreeMap<(LaneKey, CompactString), u32>,
    calls: BTreeMap<CallId, u32>,
    under_way: Vec<(u64, Call<u32>)>,
    given_up: u64,
    settled: u64,
}

impl Ledger {
    fn take(&mut self, call: &Call<u32>) {
        match &call.what {
            What::Solo(payload) => assert_eq!(self.calls.remove(&call.id), Some(*payload)),
            What::Batch { lane, ids } => {
                for id in ids.iter().filter(|id| !id.starts_with("fill")) {
                    let count = self.ids.get_mut(&(*lane, id.clone())).unwrap();
                    *count -= 1;
                    if *count == 0 {
                        self.ids.remove(&(*lane, id.clone()));
                    }
                }
            }
        }
    }

    /// The scheduler holds as many as were put in and did not come out.
    fn check(&self, s: &Sched) {
        let waiting: u32 = self.ids.values().sum();
        let under_way: usize = self
            .under_way
            .iter()
            .map(|(_, call)| match &call.what {
                What::Solo(_) => 1,
                What::Batch { ids, .. } => ids.iter().filter(|id| !id.starts_with("fill")).count(),
            })
            .sum();
        assert_eq!(s.pending() + under_way, waiting as usize + self.calls.len());
        assert_eq!(s.in_flight(), self.under_way.len());
    }
}

fn storm(seed: u64) -> Ledger {
    let mut chance = Chance(seed);
    let limits = Limits {
        monthly: (chance.below(2) == 0).then_some(100_000),
        ..Limits::default()
    };
    let mut s = Sched::new(limits);
    let mut ledger = Ledger::default();
    let mut now = T0;
    s.set_clock(now, NOV_21);
    for step in 0..1000 {
        let base = chance.below(3) as BaseKey;
        let lane = u64::from(base) * 10 + chance.below(3);
        let class = Class::ALL[chance.below(4) as usize];
        match chance.below(12) {
            0..=3 => {
                for _ in 0..chance.below(120) {
                    // Numbered by the step, so that an id is asked for again only in its own pass.
                    let n = step * 1000 + chance.below(100);
                    let kind = if poisonous(n) { "bad" } else { "rec" };
                    let id = format_compact!("{kind}{n:014}");
                    if s.want(base, lane, id.clone(), class, now) {
                        *ledger.ids.entry((lane, id)).or_default() += 1;
                    }
                }
                s.flush(now);
            }
            4 => {
                let payload = chance.below(1000) as u32;
                let id = s.submit(base, class, payload, now);
                ledger.calls.insert(id, payload);
            }
            5 => {
                // Somebody's patience ends; what is under way is not withdrawn.
                let flying = |call: &Call<u32>, id: &CompactString| matches!(&call.what, What::Batch { ids, .. } if ids.contains(id));
                let some = ledger.ids.keys().nth(chance.below(50) as usize).cloned();
                if let Some((lane, id)) = some {
                    if !ledger.under_way.iter().any(|(_, call)| flying(call, &id)) {
                        s.unwant(lane, &id);
                        ledger.ids.remove(&(lane, id));
                    }
                }
                let some = ledger.calls.keys().nth(chance.below(9) as usize).copied();
                if let Some(payload) = some.and_then(|id| s.cancel(id)) {
                    assert_eq!(ledger.calls.remove(&some.unwrap()), Some(payload));
                }
            }
            6 => s.set_clock(now, NOV_21 + now - T0 + chance.below(100_000)),
            _ => now += chance.below(300),
        }
        answer(&mut s, &mut ledger, &mut chance, now);
        if step % 16 == 15 {
            ledger.check(&s);
        }
    }
    // What is left comes to its end by itself; the polls and background calls in the pace of the month.
    for _ in 0..1_000_000 {
        answer(&mut s, &mut ledger, &mut chance, now);
        if s.pending() + s.in_flight() == 0 {
            break;
        }
        let wake = match s.next_with(now, filler) {
            Next::Call(call) => {
                ledger.under_way.push((now, call));
                continue;
            }
            Next::Wait(wake) => wake,
        };
        let back = ledger.under_way.iter().map(|(at, _)| *at).min();
        now = [wake, back].into_iter().flatten().min().unwrap().max(now);
    }
    ledger.check(&s);
    assert!(
        s.families.is_empty(),
        "nothing is remembered of batches that are over"
    );
    assert!(
        ledger.ids.is_empty() && ledger.calls.is_empty(),
        "seed {seed}"
    );
    ledger
}

fn filler(_: LaneKey, room: usize) -> Vec<CompactString> {
    (0..room.min(3))
        .map(|n| format_compact!("fill{n}"))
        .collect()
}

/// Ends the calls that are due, and sends what may be sent.
fn answer(s: &mut Sched, ledger: &mut Ledger, chance: &mut Chance, now: u64) {
    while let Some(at) = ledger.under_way.iter().position(|(at, _)| *at <= now) {
        let (_, call) = ledger.under_way.swap_remove(at);
        let bad = matches!(&call.what, What::Batch { ids, .. } if ids.iter().any(|id| id.starts_with("bad")));
        let fault = match chance.below(60) {
            _ if bad => Some(Fault::Poison),
            0..=2 => Some(Fault::Transient),
            3 => Some(Fault::Timeout),
            4 => Some(Fault::Uncertain),
            5 => Some(Fault::RateLimited).filter(|_| chance.below(10) == 0),
            6 => Some(Fault::Refused),
            _ => None,
        };
        let outcome = fault.map_or(Outcome::Ok, failed);
        let random = chance.next();
        match s.done(call.id, outcome, now, random) {
            Verdict::Settled => {
                assert_eq!(outcome, Outcome::Ok);
                ledger.settled += 1;
                ledger.take(&call);
            }
            Verdict::GiveUp => {
                ledger.given_up += 1;
                ledger.take(&call);
            }
            Verdict::Retrying | Verdict::Split => assert_ne!(outcome, Outcome::Ok),
        }
    }
    while let Next::Call(call) = s.next_with(now, filler) {
        assert!(matches!(&call.what, What::Solo(_)) || !ids(&call).is_empty());
        ledger.under_way.push((now + chance.below(500), call));
    }
}

#[test]
fn whatever_happens_each_comes_to_an_end_once() {
    let seeds = if cfg!(debug_assertions) { 8 } else { 100 };
    for seed in 0..seeds {
        let ledger = storm(seed);
        assert!(ledger.settled > 100 && ledger.given_up > 0, "seed {seed}");
    }
}
