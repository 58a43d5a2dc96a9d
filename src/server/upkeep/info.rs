//! INFO podium and the figures of PODIUM.STATS: one list for both.

use crate::server::desk::desk;
use crate::server::state::cell;
use crate::server::state::entities::{Entity, Figures, State};
use crate::server::state::resources::Figures as ResourceFigures;
use crate::server::upstream::figures;
use crate::server::valkey::blocked::BLOCKED;
use crate::server::valkey::ffi::rm;
use crate::server::valkey::reply::Body;
use podium_core::pace::Breaker;
use redis_module::raw;
use std::ffi::CString;
use std::sync::atomic::Ordering;

/// A figure's value.
pub(crate) enum Value {
    Number(i64),
    Text(String),
}

impl Value {
    pub(crate) fn into_body(self) -> Body {
        match self {
            Value::Number(n) => Body::Int(n),
            Value::Text(t) => Body::Bytes(t.into_bytes()),
        }
    }
}

type List = Vec<(String, Value)>;

fn cache(f: &Figures) -> List {
    let n = |v: u64| Value::Number(v as i64);
    let asked = f.hits + f.stale_hits + f.misses;
    let rate = if asked == 0 {
        0.0
    } else {
        (f.hits + f.stale_hits) as f64 * 100.0 / asked as f64
    };
    vec![
        ("podium_hits".into(), n(f.hits)),
        ("podium_misses".into(), n(f.misses)),
        ("podium_stale_hits".into(), n(f.stale_hits)),
        ("podium_negative_hits".into(), n(f.negative_hits)),
        ("podium_bypasses".into(), n(f.bypasses)),
        (
            "podium_hit_rate_percent".into(),
            Value::Text(format!("{rate:.2}")),
        ),
        ("podium_collapsed".into(), n(f.collapsed)),
        ("podium_schema_violations".into(), n(f.schema_violations)),
        (
            "podium_stale_sets_prevented".into(),
            n(f.stale_sets_prevented),
        ),
        ("podium_sorted_hits".into(), n(f.sorted_hits)),
    ]
}

/// Index sets that are kept in order.
fn sorted(of: &[&Entity]) -> List {
    let sum =
        |f: fn(&Entity) -> usize| Value::Number(of.iter().map(|e| f(e)).sum::<usize>() as i64);
    vec![
        ("podium_sorted_views".into(), sum(|e| e.sorted.len())),
        ("podium_sorted_members".into(), sum(|e| e.sorted.members())),
        ("podium_sorted_bytes".into(), sum(|e| e.sorted.bytes())),
    ]
}

fn spec_problems(st: &State, entity: Option<&str>) -> (String, Value) {
    let n = crate::server::state::schemas::problems(st, entity).count();
    ("podium_spec_problems".into(), Value::Number(n as i64))
}

/// One entity's figures.
pub(crate) fn of_entity(st: &State, e: &Entity) -> List {
    let mut out = cache(&e.figures);
    out.push((
        "podium_records".into(),
        Value::Number(e.records.len() as i64),
    ));
    out.push((
        "podium_index_sets".into(),
        Value::Number(e.sets.len() as i64),
    ));
    out.extend(sorted(&[e]));
    out.push((
        "podium_in_doubt".into(),
        Value::Number(e.doubts.len() as i64),
    ));
    out.push(spec_problems(st, Some(&e.name)));
    out
}

/// All figures.
pub(crate) fn all(st: &mut State) -> List {
    crate::server::reads::count_now(st);
    let mut out = cache(&st.figures());
    out.extend(
        figures::upstream()
            .into_iter()
            .map(|(k, v)| (k, Value::Number(v))),
    );
    let (breaker, pending, month) = {
        let d = desk();
        (
            d.worst_breaker(),
            d.pending() as i64,
            d.sched.month_calls() as i64,
        )
    };
    let word = match breaker {
        Breaker::Closed => "closed",
        Breaker::Open => "open",
        Breaker::HalfOpen => "half-open",
    };
    out.push(("podium_breaker".into(), Value::Text(word.into())));
    out.push(("podium_pending".into(), Value::Number(pending)));
    out.push((
        "podium_blocked_clients".into(),
        Value::Number(BLOCKED.load(Ordering::Relaxed).max(0)),
    ));
    out.push(("podium_month_calls".into(), Value::Number(month)));
    let (sync_state, sync_lag) = crate::server::feed::figures(st);
    out.push(("podium_sync_state".into(), Value::Text(sync_state.into())));
    out.push(("podium_sync_lag_ms".into(), Value::Number(sync_lag as i64)));
    out.push((
        "podium_sweep_last_removed".into(),
        Value::Number(st.sweep_last_removed as i64),
    ));
    let warm = crate::server::jobs::warm::progress();
    out.push(("podium_warm_entity".into(), Value::Text(warm.entity)));
    out.push((
        "podium_warm_records".into(),
        Value::Number(warm.records as i64),
    ));
    out.push(("podium_warm_calls".into(), Value::Number(warm.calls as i64)));
    out.push((
        "podium_warm_waiting".into(),
        Value::Number(warm.waiting as i64),
    ));
    out.push(("podium_warm_done".into(), Value::Number(warm.done as i64)));
    out.push((
        "podium_warm_stopped".into(),
        Value::Number(warm.stopped as i64),
    ));
    out.push(spec_problems(st, None));
    out.extend(sorted(&st.entities().collect::<Vec<_>>()));
    out.push(("podium_entities".into(), Value::Number(st.len() as i64)));
    st.resources.cool();
    out.extend(computed(st, None));
    out
}

/// The figures of computed answers, of one resource or of all.
pub(crate) fn computed(st: &State, of: Option<&str>) -> List {
    let mut sum = ResourceFigures::default();
    let chosen = st
        .resources
        .iter()
        .filter(|r| of.is_none_or(|name| *r.name == *name));
    for r in chosen {
        let f = &r.figures;
        sum.hits += f.hits;
        sum.stale_hits += f.stale_hits;
        sum.misses += f.misses;
        sum.leases += f.leases;
        sum.waits += f.waits;
        sum.timeouts += f.timeouts;
        sum.fills += f.fills;
        sum.refused += f.refused;
        sum.dropped += f.dropped;
    }
    let n = |v: u64| Value::Number(v as i64);
    let mut out: List = Vec::new();
    if of.is_some() {
        out.push(("podium_hits".into(), n(sum.hits)));
        out.push(("podium_misses".into(), n(sum.misses)));
        out.push(("podium_stale_hits".into(), n(sum.stale_hits)));
    }
    out.push(("podium_leases".into(), n(sum.leases)));
    out.push(("podium_lease_waits".into(), n(sum.waits)));
    out.push(("podium_lease_timeouts".into(), n(sum.timeouts)));
    out.push(("podium_fills".into(), n(sum.fills)));
    out.push(("podium_fills_refused".into(), n(sum.refused)));
    let (count, bytes) = st.answers.stored(of);
    out.push(("podium_computed".into(), n(count)));
    out.push(("podium_computed_bytes".into(), n(bytes)));
    out.push(("podium_computed_dropped".into(), n(sum.dropped)));
    out
}

pub(crate) unsafe extern "C" fn handler(ctx: *mut raw::RedisModuleInfoCtx, crash: i32) {
    if crash != 0 {
        // In a signal handler: no lock, no allocation.
        return;
    }
    let _ = std::panic::catch_unwind(|| {
        let Some(list) = cell::enter(all) else { return };
        rm!(RedisModule_InfoAddSection(ctx, c"".as_ptr()));
        for (name, value) in list {
            // The server puts the module's name in front.
            let Ok(name) = CString::new(name.trim_start_matches("podium_")) else {
                continue;
            };
            match value {
                Value::Number(n) => rm!(RedisModule_InfoAddFieldLongLong(ctx, name.as_ptr(), n)),
                Value::Text(t) => {
                    let t = CString::new(t).unwrap_or_default();
                    rm!(RedisModule_InfoAddFieldCString(
                        ctx,
                        name.as_ptr(),
                        t.as_ptr()
                    ))
                }
            };
        }
    });
}
