//! What the pure layer costs: stored records, index sets, sorted views, flights, what answers used, leases, the scheduler.
//!
//! `cargo bench --bench core`. Figures are ns per operation, and the ratio to reading a stored record's header, which is all
//! that a hit does of ours; only the ratios travel between machines.

use compact_str::{format_compact, CompactString};
use podium_core::computed::answers::{Answers, Fill, Named};
use podium_core::computed::index::Index;
use podium_core::computed::lease::{Ask, Leases};
use podium_core::computed::thing::{known, Dep, EntityUse, Kind};
use podium_core::computed::uses::Used;
use podium_core::entry::{self, Entry, Header};
use podium_core::flight::{Flights, Joined};
use podium_core::index;
use podium_core::pace::{Class, Limits, Next, Outcome, Scheduler};
use podium_core::question::SortKey;
use podium_core::record::{self, Source};
use podium_core::sorted::{Life, Seen, View};
use podium_core::spec::Spec;
use serde_json::{json, Map, Value};
use std::hint::black_box;
use std::time::Instant;

/// Median of 9 rounds, ns per operation.
fn time(rounds: u32, mut f: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..rounds {
                f();
            }
            begun.elapsed().as_nanos() as f64 / f64::from(rounds)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(4).copied().unwrap_or(0.0)
}

fn cells() -> Map<String, Value> {
    let v = json!({
        "name": "Apollo", "points": 8, "tags": ["web", "ai"], "event": ["recEventxxxxx0001"], "owner": ["recUserxxxxxx0001"],
        "description": "x".repeat(800),
    });
    v.as_object().cloned().unwrap_or_default()
}

/// Prints a line, with the ratio to the first.
struct Table {
    read: f64,
}

impl Table {
    fn show(&self, what: &str, ns: f64) {
        println!("{what:<58} {ns:>12.1} ns {:>10.1} x", ns / self.read);
    }
}

fn main() {
    let Some((table, spec)) = records() else {
        return eprintln!("the spec is refused");
    };
    sorted(&table, &spec);
    flights(&table);
    used(&table);
    leases(&table);
    scheduler(&table);
}

/// A record: its stored form read, made, cut and asked for its sets.
fn records() -> Option<(Table, Spec)> {
    let schema = json!({
        "schema": {"type": "object", "properties": {
            "name": {"type": "string", "indexed": true},
            "points": {"type": "integer", "default": 0, "sortable": true},
            "tags": {"type": "array", "items": {"type": "string"}},
            "event": {"type": "array", "maxItems": 1, "items": {"type": "string", "pattern": "^rec"}},
            "owner": {"type": "array", "maxItems": 1, "items": {"type": "string", "pattern": "^rec"}},
            "description": {"type": "string"},
        }},
        "views": {"public": ["id", "name", "points", "tags", "event", "description"], "card": ["name", "points"]},
    });
    let spec = Spec::parse("projects", schema.to_string().as_bytes()).ok()?;
    let (id, name) = ("recProjectxxx0001", b"projects:recProjectxxx0001");
    let cells = cells();
    let shaped = record::shape(&spec, id, &cells, Source::Airtable);
    let header = Header {
        generation: 1,
        asked_ms: 2,
        fresh_until: 3,
        dead_at: u64::MAX,
        seq: 4,
        told_at: 0,
    };
    let stored = entry::encode(name, &header, &shaped);
    let view = spec.view("card")?;

    let read = time(1_000_000, || {
        black_box(Entry::read(black_box(&stored), name).map(|e| e.answer().len()));
    });
    let table = Table { read };
    let show = |what: &str, ns: f64| table.show(what, ns);
    show("read a stored record", read);
    show(
        "does it hold an index value",
        time(1_000_000, || {
            black_box(Entry::read(black_box(&stored), name).map(|e| e.has(0, b"Apollo")));
        }),
    );
    show(
        "cut a view out of it",
        time(100_000, || {
            if let Some(e) = Entry::read(&stored, name) {
                black_box(e.view(&spec, view, id).is_ok());
            }
        }),
    );
    show(
        "shape and encode a fetched record",
        time(20_000, || {
            let s = record::shape(&spec, id, black_box(&cells), Source::Airtable);
            black_box(entry::encode(name, &header, &s).len());
        }),
    );
    show(
        "the names of its index sets",
        time(100_000, || {
            if let Some(e) = Entry::read(&stored, name) {
                black_box(index::sets(&spec, &e).count());
            }
        }),
    );
    show(
        "does it belong to a set",
        time(500_000, || {
            if let Some(e) = Entry::read(&stored, name) {
                black_box(index::belongs(&spec, &e, b"event:recEventxxxxx0001"));
            }
        }),
    );
    Some((table, spec))
}

/// The order of a set of 10,000 members by a number.
fn sorted(table: &Table, spec: &Spec) {
    let field = spec
        .field("points")
        .and_then(|at| spec.fields().get(usize::from(at)));
    let header = Header {
        generation: 1,
        asked_ms: 2,
        fresh_until: 3,
        dead_at: u64::MAX,
        seq: 4,
        told_at: 0,
    };
    let (Some(field), Some(life)) = (field, Life::of(&header, u64::MAX)) else {
        return eprintln!("nothing to sort by");
    };
    let ids: Vec<CompactString> = (0..10_000).map(|n| format_compact!("rec{n:014}")).collect();
    let mut view = View::with_capacity(ids.len());
    let seen = |n: usize| Seen::In(SortKey::of(field, format_compact!("{n}").as_bytes()), life);
    for (n, id) in ids.iter().enumerate() {
        view.settle(id, seen(n * 7919 % 9973));
    }
    table.show(
        "the ten best of a sorted view of 10,000",
        time(20_000, || {
            black_box(view.window(true, 0, 10).len());
        }),
    );
    let mut n = 0usize;
    table.show(
        "a member of it changes its place",
        time(20_000, || {
            n += 1;
            if let Some(id) = ids.get(n * 31 % 10_000) {
                view.mark(id);
                view.settle(id, seen(n * 13 % 9973));
            }
        }),
    );
}

fn flights(table: &Table) {
    table.show(
        "1,000 join a flight, and it lands",
        time(500, || {
            let mut flights: Flights<CompactString, u32> = Flights::default();
            let thing = CompactString::new("recProjectxxx0001");
            let mut lead = 0;
            for w in 0..1000 {
                if let Joined::Lead(f) = flights.join(&thing, Some(w), |_| true) {
                    lead = f;
                }
            }
            black_box(flights.land(lead).len());
        }),
    );
}

/// What an answer used: a hundred records and a set, a new number a thing so that none is used by two.
fn deps(from: u64) -> Vec<Dep> {
    let dep = |n: u64| Dep {
        thing: known(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        kind: if n % 101 == 100 {
            Kind::Set
        } else {
            Kind::Record
        },
        content: known(n),
        name: None,
    };
    (from * 101..(from + 1) * 101).map(dep).collect()
}

const OF_ENTITY: [EntityUse; 1] = [EntityUse {
    entity: 1,
    index_as_of: Some(1),
}];

/// From things to the answers that used them, with 10,000 answers there.
fn used(table: &Table) {
    let mut index = Index::default();
    let mut places = Vec::new();
    for n in 0..10_000u64 {
        if let Ok(place) = index.insert(format!("page:{n:06}").as_bytes(), &deps(n), &OF_ENTITY) {
            places.push(place);
        }
    }
    let mut at = 0usize;
    let mut hit = || {
        at = (at + 7919) % places.len().max(1);
        black_box(places.get(at).map(|place| index.check(*place)));
    };
    table.show(
        "is an answer still good (a hit's look, 10,000 there)",
        time(200_000, &mut hit),
    );
    let own = deps(20_000);
    table.show(
        "an answer that used 101 things comes in the place of its old",
        time(1_000, || {
            black_box(index.insert(b"page:own", &own, &OF_ENTITY).is_ok());
        }),
    );
    let unused = known(7);
    table.show(
        "a change of what no answer used",
        time(200_000, || index.changed(black_box(unused))),
    );
    let firsts: Vec<u64> = (0..10_000)
        .filter_map(|n| deps(n).first().map(|dep| dep.thing))
        .collect();
    let mut things = firsts.iter();
    table.show(
        "a change drops the one answer that used the thing",
        time(1_000, || {
            if let Some(thing) = things.next() {
                index.changed(*thing);
            }
            black_box(index.take_gone(8).len());
        }),
    );
    while index.work(1_000) {}
}

/// Who computes and who waits, and a whole computation: lease, a read for it, fill.
fn leases(table: &Table) {
    let ask = |n: u64| Ask {
        client: n,
        now_ms: n,
        seq: n,
        lease_ms: 10_000,
        chance: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
    };
    let (mut table_of, mut n) = (Leases::<u64>::default(), 0u64);
    table.show(
        "a lease is taken, 10 wait, it is filled",
        time(5_000, || {
            n += 1;
            let token = table_of.take(b"page:1", &ask(n));
            for waiter in 0..10 {
                table_of.wait(b"page:1", waiter, &ask(n), 5_000);
            }
            black_box(table_of.end(token, b"page:1", n).is_some());
            table_of.filled(b"page:1", n);
            black_box(table_of.hand_out(100, n, n, |_| 0).len());
        }),
    );
    let mut answers = Answers::<u64>::default();
    let named: Vec<Named> = deps(1)
        .into_iter()
        .map(|dep| {
            Named::Thing(Used {
                dep,
                entity: Some(1),
            })
        })
        .collect();
    table.show(
        "a computation: lease, a read of 101 things for it, fill",
        time(1_000, || {
            n += 1;
            let token = answers.take(b"page:2", &ask(n));
            answers.used(token, named.clone(), n, n);
            let fill = Fill {
                key: b"page:2",
                thing: known(2),
                content: known(n),
                named: Vec::new(),
                now_ms: n,
                seq: n,
            };
            black_box(answers.fill(token, fill, |_| known(3)).is_ok());
            black_box(answers.take_gone(8).len());
        }),
    );
}

/// A hundred ids are wanted, gathered into a call, and it is done.
fn scheduler(table: &Table) {
    let ids: Vec<CompactString> = (0..100).map(|n| format_compact!("rec{n:014}")).collect();
    let mut scheduler: Scheduler<()> = Scheduler::new(Limits::default());
    let mut now = 1_000u64;
    table.show(
        "100 ids are wanted, make one call, and it is done",
        time(2_000, || {
            now += 1_000;
            for id in &ids {
                scheduler.want(0, 1, id.clone(), Class::Read, now);
            }
            scheduler.flush(now);
            while let Next::Call(call) = scheduler.next(now) {
                scheduler.done(call.id, Outcome::Ok, now, 42);
            }
        }),
    );
    table.show(
        "a step with nothing to do",
        time(200_000, || {
            now += 1;
            black_box(matches!(scheduler.next(now), Next::Wait(_)));
        }),
    );
}
