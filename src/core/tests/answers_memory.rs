//! What the index of computed answers costs, by a counting allocator: memory for everything used, and time of a slice.
#![allow(clippy::unwrap_used, unsafe_code)]

use podium_core::computed::cut::{Cut, News};
use podium_core::computed::index::{Check, Index};
use podium_core::computed::thing::{known, Dep, EntityUse, Kind};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

struct Counting;
static HELD: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        // As an allocator rounds.
        HELD.fetch_add(l.size().next_multiple_of(16), Ordering::Relaxed);
        System.alloc(l)
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        HELD.fetch_sub(l.size().next_multiple_of(16), Ordering::Relaxed);
        System.dealloc(p, l)
    }
}

#[global_allocator]
static A: Counting = Counting;

fn dep(thing: u64, kind: Kind) -> Dep {
    Dep {
        thing: thing.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        kind,
        content: known(thing),
        name: None,
    }
}

const USES: [EntityUse; 1] = [EntityUse {
    entity: 0,
    index_as_of: Some(1),
}];

fn filled(
    answers: u64,
    records: u64,
    used: u64,
) -> (Index, Vec<podium_core::computed::index::Place>) {
    let mut index = Index::default();
    let mut places = Vec::new();
    for n in 0..answers {
        let mut deps: Vec<Dep> = (0..used)
            .map(|d| dep((n * 7 + d * 13) % records, Kind::Record))
            .collect();
        deps.extend((0..4).map(|s| dep(1_000_000 + (n + s) % 50, Kind::Set)));
        let key = format!("page:leaderboard:{n}");
        places.push(index.insert(key.as_bytes(), &deps, &USES).unwrap());
    }
    (index, places)
}

// One test: what another allocates meanwhile would count here.
#[test]
fn a_dependency_costs_little_and_no_slice_is_long() {
    let before = HELD.load(Ordering::Relaxed);
    let (mut index, places) = filled(5_000, 2_000, 300);
    let held = HELD.load(Ordering::Relaxed) - before - places.capacity() * 8;
    let each = held as f64 / (5_000.0 * 304.0);
    println!("{each:.2} bytes a dependency");
    assert!(each <= 12.0, "{each} bytes a dependency");

    // Churn: the same keys again and again, and in the end nothing is left.
    for round in 0..3u64 {
        for n in 0..5_000u64 {
            let deps: Vec<Dep> = (0..300)
                .map(|d| dep((n * 11 + d * 17 + round) % 2_000, Kind::Record))
                .collect();
            let key = format!("page:leaderboard:{n}");
            index.insert(key.as_bytes(), &deps, &USES).unwrap();
            index.work(50_000);
        }
    }
    let churned = HELD.load(Ordering::Relaxed) - before;
    assert!(
        churned <= held * 3,
        "{churned} bytes after churn, {held} before"
    );
    for n in 0..5_000 {
        let at = index
            .place(format!("page:leaderboard:{n}").as_bytes())
            .unwrap();
        index.remove(at);
    }
    while index.work(100_000) {}
    let left = HELD.load(Ordering::Relaxed) - before;
    println!("{churned} bytes after churn, {left} in the end, {held} before");
    assert!(left <= held / 4, "{left} bytes in the end");
    drop(index);

    // A record that 100,000 answers used changes.
    let mut index = Index::default();
    let all: Vec<_> = (0..100_000u64)
        .map(|n| {
            let deps = [dep(1, Kind::Record), dep(100 + n % 1_000, Kind::Record)];
            index
                .insert(format!("page:{n}").as_bytes(), &deps, &USES)
                .unwrap()
        })
        .collect();
    assert!(all.iter().all(|at| index.check(*at) == Check::Hit));
    let mut longest = 0;
    let mut timed = |what: &str, f: &mut dyn FnMut() -> bool| {
        let start = Instant::now();
        let more = f();
        longest = longest.max(start.elapsed().as_micros());
        println!("{what}: {:?}", start.elapsed());
        more
    };
    timed("change", &mut || {
        index.seen(dep(1, Kind::Record).thing, known(77), 0, true) == News::None
    });
    assert!(all.iter().all(|at| index.check(*at) == Check::Dropped));
    let mut slices = 0;
    while timed("slice", &mut || index.work(50_000)) {
        slices += 1;
    }
    let mut gone = 0;
    loop {
        let some = index.take_gone(1_000).len();
        if some == 0 {
            break;
        }
        gone += some;
    }
    assert_eq!(gone, 100_000);
    assert!(slices > 50);
    println!("longest {longest} us in {slices} slices");
    // (Times are for who reads them: what a busy machine does is no verdict.)
    index.cut([Cut::All]);
}
