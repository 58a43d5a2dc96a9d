//! PODIUM.STATS: the figures, of all entities or one.
//!
//! ```text
//! PODIUM.STATS [<entity>]
//! PODIUM.STATS RESET
//! ```

use crate::server::commands::args;
use crate::server::commands::tell::answer;
use crate::server::commands::{entry, words};
use crate::server::state::cell;
use crate::server::state::entities::Figures;
use crate::server::store::cluster;
use crate::server::upkeep::info;
use crate::server::upstream::figures;
use crate::server::valkey::ffi::{rm, Argv, Ctx, RString, OK};
use crate::server::valkey::reply::{self, Body};
use std::ffi::c_int;

entry!(stats, stats_inner);

unsafe fn stats_inner(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let Some(a) = words(ctx, argv, argc, ..=2) else {
        return 0;
    };
    let what = a.get(1).copied();
    if what.is_some_and(|w| w.eq_ignore_ascii_case(b"RESET")) {
        if !is_admin(ctx) {
            return reply::error(
                ctx,
                "NOPERM PODIUM.STATS RESET is @admin: this user may not run it",
            );
        }
        cell::enter(|st| {
            crate::server::reads::count_now(st);
            st.past = Figures::default();
            for e in st.entities_mut() {
                e.figures = Figures::default();
            }
            st.resources.cool();
            for r in st.resources.iter_mut() {
                r.figures = Default::default();
            }
        });
        figures::reset();
        return Body::Ok.send(ctx);
    }
    let r = cell::enter(|st| {
        let all = match what {
            None => info::all(st),
            Some(name) => {
                let text = std::str::from_utf8(name).unwrap_or("");
                crate::server::reads::count_now(st);
                if st.resources.get(text).is_some() {
                    st.resources.cool();
                    let all = info::computed(st, Some(text));
                    return Ok(Body::Map(
                        all.into_iter().map(|(k, v)| (k, v.into_body())).collect(),
                    ));
                }
                let e = args::entity(st, text)
                    .map_err(|_| cluster::no_entity(&podium_core::key::shown(name)))?;
                info::of_entity(st, e)
            }
        };
        Ok(Body::Map(
            all.into_iter().map(|(k, v)| (k, v.into_body())).collect(),
        ))
    });
    answer(ctx, r)
}

/// May the caller run what is in @admin? A command's category covers all its arguments, so RESET asks by itself.
fn is_admin(ctx: Ctx) -> bool {
    let name = rm!(RedisModule_GetCurrentUserName(ctx));
    if name.is_null() {
        return true;
    }
    let user = rm!(RedisModule_GetModuleUserFromUserName(name));
    rm!(RedisModule_FreeString(ctx, name));
    if user.is_null() {
        return false;
    }
    let words = [
        RString::new(b"PODIUM.SPEC"),
        RString::new(b"DEL"),
        RString::new(b"x"),
    ];
    let mut raws: Vec<_> = words.iter().map(RString::raw).collect();
    let allowed = rm!(RedisModule_ACLCheckCommandPermissions(
        user,
        raws.as_mut_ptr(),
        raws.len() as c_int
    )) == OK;
    rm!(RedisModule_FreeModuleUser(user));
    allowed
}
