//! PODIUM.WEBHOOK: what an Airtable automation posted to an HTTP endpoint, handed on verbatim.
//!
//! ```text
//! PODIUM.WEBHOOK <payload> SECRET <secret>
//! ```

use crate::server::commands::tell::{answer, as_of, tell, tell_gone, told_at, too_late};
use crate::server::commands::{entry, in_database_0};
use crate::server::feed;
use crate::server::fetching::columns;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::query::RecordKey;
use crate::server::store;
use crate::server::store::cluster;
use crate::server::upstream::secrets;
use crate::server::valkey::ffi::{self, args, rm, Argv, Ctx};
use crate::server::valkey::reply::{self, Body};
use compact_str::CompactString;
use podium_core::automation::{self, same_name, Action, Cells, Notice};
use podium_core::key;
use podium_core::outside;
use podium_core::record::{self, Source};
use podium_core::spec::Spec;
use serde_json::{Map, Value};
use std::ffi::c_int;
use subtle::{Choice, ConstantTimeEq};

entry!(webhook, webhook_inner);

const DENIED: &str = "DENIED the secret is wrong, or none is set: podium.webhook-secret-file names the file, or the environment's PODIUM_WEBHOOK_SECRET holds it";

unsafe fn webhook_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    // Whatever stands where, SLOWLOG and MONITOR are shown no secret.
    for at in 2..argc {
        rm!(RedisModule_RedactClientCommandArgument(ctx, at));
    }
    let a = args(argv, argc);
    let [_, payload, word, secret] = a.as_slice() else {
        return rm!(RedisModule_WrongArity(ctx));
    };
    if !word.eq_ignore_ascii_case(b"SECRET") {
        return reply::error(
            ctx,
            "ERR syntax error: give PODIUM.WEBHOOK <payload> SECRET <secret>",
        );
    }
    let right = secrets::webhook().map(|right| same(right.as_bytes(), secret));
    if !right.unwrap_or(false) {
        return reply::error(ctx, DENIED);
    }
    if !in_database_0(ctx) {
        return 0;
    }
    let notice = match automation::read(payload) {
        Ok(n) => Notice {
            at: n.at.map(|ms| outside::told_ms(ms, ffi::now_ms())),
            ..n
        },
        Err(why) => return reply::error(ctx, &format!("BADRECORD {why}")),
    };
    let r = cell::enter(|st| {
        let entities = named(st, &notice.table);
        if entities.is_empty() {
            return Err(cluster::no_entity(&key::shown(notice.table.as_bytes())));
        }
        let mut applied = false;
        for ix in entities {
            applied |= as_of(st, notice.at, |st| apply(st, ctx, ix, &notice))?;
        }
        Ok(Body::Int(i64::from(applied)))
    });
    answer(ctx, r)
}

/// Compares in a time that depends on the secret's length alone.
fn same(right: &[u8], given: &[u8]) -> bool {
    let mut padded = given
        .get(..right.len().min(given.len()))
        .unwrap_or(&[])
        .to_vec();
    padded.resize(right.len(), 0);
    let long_as = Choice::from(u8::from(right.len() == given.len()));
    bool::from(right.ct_eq(&padded) & long_as) && !right.is_empty()
}

/// The entities that hold a table: the one of that name and those of the same table, else those whose table is called so.
fn named(st: &State, name: &str) -> Vec<EntityIx> {
    let by_name = |e: &&Entity| same_name(&e.name, name) || same_name(key::untagged(&e.name), name);
    let tables: Vec<(String, String)> = st
        .entities()
        .filter(by_name)
        .map(|e| (e.base(), e.spec.table().to_string()))
        .collect();
    // A spec may say the table's name and an automation its id, or the other way round.
    let is_table = |e: &Entity, name: &str| e.is_table(name) || feed::is_table(st, e, name);
    let holds = |e: &&Entity| {
        if tables.is_empty() {
            is_table(e, name)
        } else {
            let base = e.base();
            tables.iter().any(|(b, t)| *b == base && is_table(e, t))
        }
    };
    st.entities().filter(holds).map(|e| e.ix).collect()
}

/// True if the record is now stored, or known to be gone, as the notice says.
fn apply(st: &mut State, ctx: Ctx, ix: EntityIx, n: &Notice) -> Result<bool, String> {
    let Some(e) = st.get(ix) else {
        return Ok(false);
    };
    let (spec, base) = (e.spec.clone(), e.base());
    let k = RecordKey {
        ix,
        id: CompactString::new(&n.id),
        name: key::record(&e.name, &n.id).into(),
    };
    match (n.action, &n.cells) {
        (Action::Delete, _) => {
            if too_late(st, ctx, &k, n.at)? {
                return Ok(false);
            }
            let now = ffi::now_ms();
            tell_gone(st, ctx, &k, now, told_at(n.at, now));
            Ok(true)
        }
        (Action::Upsert, Cells::Told(cells)) if fits(&base, &spec, cells) => {
            tell(st, ctx, &k, cells, Source::Script, n.at)
        }
        (Action::Upsert, _) => {
            let seq = clock::next();
            store::invalidate(st, ctx, ix, &k.id, seq);
            // That it changed is all that such a payload says, and that is taken in.
            Ok(n.cells == Cells::Unreadable)
        }
    }
}

fn fits(base: &str, spec: &Spec, cells: &Map<String, Value>) -> bool {
    columns::told(base, spec, cells).is_some_and(|cells| record::fits(spec, &cells))
}
