//! The schemas of bases: read behind the first fetch of a spec, when the change feed tells of a change, once a day, and by
//! PODIUM.SPEC CHECK and DISCOVER. Specs are compared with them, and what they say of tables is kept with the entities.
//!
//! A schema is asked for behind everybody's reads. Only a read that must know of which table a record in doubt is waits for
//! it, and not for long. A token that may not read schemas is not tried again before a day has passed.

pub(crate) mod ask;

pub(crate) use crate::server::fetching::schema::ask::ask;

use crate::server::desk;
use crate::server::fetching::columns;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::schemas::{of_base, OfBase};
use crate::server::state::waiting;
use crate::server::state::waiting::Op;
use crate::server::store::own_keys;
use crate::server::valkey::ffi::{self, Ctx, Level};
use crate::server::valkey::lock;
use crate::server::valkey::settings;
use compact_str::CompactString;
use podium_core::known::when::{self, Read};
use podium_core::known::{self, Problem, Subject, Table};
use podium_core::pace::Class;
use podium_core::spec::Spec;
use serde_json::Value;
use std::sync::Arc;

/// A read waits for a schema no longer than this.
const PATIENCE_MS: u64 = 1_000;

/// Problems logged of one check; what is beyond is counted, and told by PODIUM.SPEC CHECK.
const MOST_LOGGED: usize = 200;

/// A read waits until the schema of its base was read.
pub(crate) fn await_schema(st: &mut State, ix: EntityIx, op: &Arc<Op>) {
    let Some(base) = st.get(ix).map(Entity::base) else {
        return release(vec![op.clone()]);
    };
    let b = of_base(st, &base);
    b.readers.push((clock::mono_ms() + PATIENCE_MS, op.clone()));
    if !b.asking {
        by_itself(b, &base, Class::Read);
    }
    crate::server::state::rounds::wake();
}

/// From a thread that holds the server's lock: those who waited go on elsewhere.
fn release(ops: Vec<Arc<Op>>) {
    if !ops.is_empty() {
        desk::spawn(Box::new(move || waiting::learned(ops)));
    }
}

/// From the upkeep thread: asks for the schemas that are due, and lets go who waited long enough.
pub(crate) fn tick() {
    let mut late: Vec<Arc<Op>> = Vec::new();
    let now = clock::mono_ms();
    {
        let held = lock::lock();
        cell::enter(|st| late.append(&mut st.released));
        let idle = ffi::is_replica(held.ctx()) || !settings::enabled();
        cell::enter(|st| {
            let idle = idle || st.loading;
            for (base, b) in &mut st.schemas {
                if !idle && !b.asking && b.due.is_some_and(|at| at <= now) {
                    by_itself(b, base, Class::Background);
                }
                b.readers.retain(|(until, op)| {
                    let waits = now < *until;
                    if !waits {
                        late.push(op.clone());
                    }
                    waits
                });
            }
        });
    }
    if !late.is_empty() {
        waiting::learned(late);
    }
}

/// Asks for a schema that no command asked for.
fn by_itself(b: &mut OfBase, base: &str, class: Class) {
    b.asking = true;
    b.due = None;
    let of: Arc<str> = base.into();
    ask(base.into(), class, move |result| {
        let mut readers = Vec::new();
        cell::with(|st, _| {
            let Some(b) = st.schemas.get_mut(&*of) else {
                return;
            };
            b.asking = false;
            readers.append(&mut b.readers);
            if let Err((refused, line)) = &result {
                failed(b, &of, *refused, line);
            }
        });
        waiting::learned(readers.into_iter().map(|(_, op)| op).collect());
    });
}

fn failed(b: &mut OfBase, base: &str, refused: bool, line: &str) {
    let before = b.failures;
    let pause = when::pause_ms(if refused {
        Read::Refused
    } else {
        Read::Failed { before }
    });
    b.due = Some(clock::mono_ms() + pause);
    if b.failures == 0 && !b.refused {
        let again = pause / 60_000;
        ffi::log(
            Level::Notice,
            &format!("the specs of {base} are not compared with its schema, which cannot be read (again in {again} min): {line}"),
        );
    }
    b.refused = refused;
    b.failures = b.failures.saturating_add(1);
}

/// A base's schema was read: what it says of tables is noted, and specs are compared with it. What is wrong with them.
/// The server's lock is not held.
pub(crate) fn take_in(base: &str, schema: &Value) -> Vec<Problem> {
    columns::learn(base, schema);
    let tables = known::tables(schema);
    let (specs, names) = cell::with(|st, ctx| {
        if st.loading || ffi::is_replica(ctx) {
            return (Vec::new(), Vec::new());
        }
        note(st, ctx, base, tables);
        bring_home(st, ctx, base);
        let specs: Vec<(Arc<Spec>, Option<Arc<Table>>)> = st
            .entities()
            .filter(|e| e.base() == base)
            .map(|e| (e.spec.clone(), e.table.clone()))
            .collect();
        (specs, st.sorted_names())
    })
    .unwrap_or_default();
    let subjects: Vec<Subject> = specs
        .iter()
        .map(|(spec, table)| Subject {
            spec,
            known: table.as_deref(),
        })
        .collect();
    let names: Vec<&str> = names.iter().map(|n| &**n).collect();
    let problems = known::check(schema, &subjects, &names);
    cell::with(|st, _| compared(st, base, &specs, problems.clone()));
    problems
}

/// Every entity keeps what the schema says of its table, and what earlier ones said.
fn note(st: &mut State, ctx: Ctx, base: &str, tables: Vec<Table>) {
    let of_base = st.of_base(base);
    let known: Vec<Arc<Table>> = of_base
        .iter()
        .filter_map(|ix| st.get(*ix)?.table.clone())
        .collect();
    for ix in of_base {
        let Some(e) = st.get(ix) else { continue };
        let named = e.spec.table();
        let by = |pick: &dyn Fn(&Table) -> bool| tables.iter().find(|t| pick(t));
        let now = by(&|t| t.id == named)
            .or_else(|| by(&|t| t.name == named))
            .or_else(|| by(&|t| e.table_id() == Some(&*t.id)));
        let Some(now) = now else { continue };
        let before = e
            .table
            .iter()
            .chain(&known)
            .find(|before| before.id == now.id);
        let fresh = match before {
            Some(before) => now.clone().after(before),
            None => now.clone(),
        };
        if e.table.as_deref() == Some(&fresh) {
            continue;
        }
        if let Some(e) = st.get_mut(ix) {
            e.table = Some(Arc::new(fresh));
            crate::server::store::kept::save_table(ctx, e);
        }
    }
}

/// Records that were in doubt because a link led to nobody knew where: where it led elsewhere, they are no more.
fn bring_home(st: &mut State, ctx: Ctx, base: &str) {
    for ix in st.of_base(base) {
        let Some(e) = st.get(ix) else { continue };
        let foreign: Vec<CompactString> = e
            .strays
            .iter()
            .filter(|(_, links)| crate::server::store::targets::all_lead_elsewhere(st, e, links))
            .map(|(id, _)| id.clone())
            .collect();
        let Some(e) = st.get_mut(ix) else { continue };
        e.strays.clear();
        for id in foreign {
            if e.doubts.end(&id, u64::MAX) {
                own_keys::forget_doubt(ctx, e, &id);
            }
        }
    }
}

/// What is wrong is remembered, and what was not known before is logged.
fn compared(
    st: &mut State,
    base: &str,
    specs: &[(Arc<Spec>, Option<Arc<Table>>)],
    problems: Vec<Problem>,
) {
    let in_force = |st: &State, entity: &str| {
        let e = st.by_name(entity);
        e.is_some_and(|e| specs.iter().any(|(spec, _)| Arc::ptr_eq(spec, &e.spec)))
    };
    // Of a spec that was replaced meanwhile it says nothing.
    let problems: Vec<Problem> = problems
        .into_iter()
        .filter(|p| in_force(st, &p.entity))
        .collect();
    for e in st.entities_mut().filter(|e| e.base() == base) {
        e.unchecked &= !specs.iter().any(|(spec, _)| Arc::ptr_eq(spec, &e.spec));
    }
    if st.of_base(base).is_empty() {
        return;
    }
    let b = of_base(st, base);
    // Both are sorted.
    let new = problems
        .iter()
        .filter(|p| b.problems.binary_search(p).is_err());
    for p in new.take(MOST_LOGGED) {
        let field = if p.field.is_empty() {
            String::new()
        } else {
            format!(".{}", p.field)
        };
        let line = format!(
            "the spec of {}{field}: {}. To do: {}",
            p.entity, p.problem, p.todo
        );
        ffi::log(Level::Warning, &line.replace(char::is_control, "?"));
    }
    b.problems = problems;
    b.failures = 0;
    b.refused = false;
    b.due = Some(clock::mono_ms() + when::pause_ms(Read::Done));
}
