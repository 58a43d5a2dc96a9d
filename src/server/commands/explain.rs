//! PODIUM.EXPLAIN: why a key is as it is, and what a read of it would cost.
//!
//! ```text
//! PODIUM.EXPLAIN <entity>:<id>|<entity>:<field>:<value>|<entity>:*|<resource>:<key>
//! ```

use crate::server::commands::tell::answer;
use crate::server::commands::{args, entry, words};
use crate::server::reads::computed;
use crate::server::reads::explain::{answer as an_answer, record, set};
use crate::server::state::cell;
use crate::server::state::entities::State;
use crate::server::valkey::ffi::{Argv, Ctx};
use crate::server::valkey::reply::Body;
use podium_core::key::{self, Name};
use std::ffi::c_int;
use std::sync::Arc;

entry!(explain, explain_inner);

unsafe fn explain_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, 2..=2) else {
        return 0;
    };
    let name = a.get(1).copied().unwrap_or(b"");
    let r = cell::enter(|st| explained(st, ctx, name));
    answer(ctx, r)
}

fn explained(st: &mut State, ctx: Ctx, name: &[u8]) -> Result<Body, String> {
    let explained = if st.resources.of_key(name).is_some() {
        computed::check_key(st, name)?;
        an_answer::explain(st, ctx, name)
    } else {
        match key::parse(name) {
            Some(Name::Record { .. }) => record::explain(st, ctx, &args::record_key(st, name)?),
            Some(Name::All { .. } | Name::Index { .. }) => {
                let (ix, condition) = args::index_key(st, name)?;
                let all = || Arc::from(&b"*"[..]);
                let suffix = condition.map_or_else(all, |c| c.suffix);
                set::explain(st, ctx, ix, &suffix)
            }
            _ => {
                return Err(format!(
                    "BADKEY '{}' names neither a record (<entity>:<id>), an index (<entity>:<field>:<value>, <entity>:*) nor a computed answer (<resource>:<key>)",
                    key::shown(name)
                ))
            }
        }
    };
    let explained = explained.ok_or("ERR internal error")?;
    Ok(explained.into_body())
}
