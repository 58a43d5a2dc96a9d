//! What the pure layer costs: reading a stored record, cutting a view, shaping a fetched record, a herd on one flight.
//!
//! `cargo bench --bench core`. Figures are ns per operation, and the ratio to reading a stored record's header, which is all
//! that a hit does of ours; only the ratios travel between machines.

use compact_str::CompactString;
use podium_core::entry::{self, Entry, Header};
use podium_core::flight::{Flights, Joined};
use podium_core::record::{self, Source};
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

fn main() {
    let schema = json!({
        "schema": {"type": "object", "properties": {
            "name": {"type": "string", "indexed": true},
            "points": {"type": "integer", "default": 0, "sortable": true},
            "tags": {"type": "array", "items": {"type": "string"}},
            "event": {"type": "array", "maxItems": 1, "items": {"type": "string", "pattern": "^rec"}},
            "owner": {"type": "array", "maxItems": 1, "items": {"type": "string", "pattern": "^rec"}},
            "description": {"type": "string"},
        }},
        "views": {"card": ["name", "points"]},
    });
    let Ok(spec) = Spec::parse("projects", schema.to_string().as_bytes()) else {
        return eprintln!("the spec is refused");
    };
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
    let Some(view) = spec.view("card") else {
        return eprintln!("no view");
    };

    let read = time(1_000_000, || {
        black_box(Entry::read(black_box(&stored), name).map(|e| e.answer().len()));
    });
    let show = |what: &str, ns: f64| println!("{what:<44} {ns:>12.1} ns {:>10.1} x", ns / read);
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
        "1,000 join a flight, and it lands",
        time(500, || {
            let mut flights: Flights<CompactString, u32> = Flights::default();
            let thing = CompactString::new(id);
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
