//! What a caller may read: the default view is the line, views and fields beyond it need a right of their own.

use crate::server::state::entities::Entity;
use crate::server::state::query::View;
use crate::server::valkey::acl;
use crate::server::valkey::ffi::{self, rm, Ctx, RString};
use podium_core::key;
use podium_core::spec::ViewIx;
use redis_module::raw;

/// May the caller read a key of this name?
fn may_read(ctx: Ctx, name: &[u8]) -> bool {
    let user_name = rm!(RedisModule_GetCurrentUserName(ctx));
    if user_name.is_null() {
        // Called by another module, or by the primary's link: unrestricted.
        return true;
    }
    let user = rm!(RedisModule_GetModuleUserFromUserName(user_name));
    rm!(RedisModule_FreeString(ctx, user_name));
    if user.is_null() {
        return false;
    }
    let key = RString::new(name);
    let allowed = rm!(RedisModule_ACLCheckKeyPermissions(
        user,
        key.raw(),
        raw::REDISMODULE_CMD_KEY_ACCESS as i32
    )) == ffi::OK;
    rm!(RedisModule_FreeModuleUser(user));
    allowed
}

/// May the caller read a view beyond the default one? `None`: the whole record.
pub(crate) fn sees(ctx: Ctx, e: &Entity, view: Option<ViewIx>) -> bool {
    acl::remembered(ctx, e.generation, view.map_or(u16::MAX, |v| v), || {
        let named = view.and_then(|v| e.spec.view_at(v));
        may_read(
            ctx,
            &key::view_right(&e.name, named.map_or("*", |v| v.name())),
        )
    })
}

/// Checks the view that is asked for: it exists, and the caller may see what lies beyond the default view.
pub(crate) fn check_view(ctx: Ctx, e: &Entity, view: &View) -> Result<(), String> {
    let default = e.spec.default_view();
    match view {
        View::Default => Ok(()),
        View::Whole => match default {
            None => Ok(()),
            Some(_) if may_read(ctx, &key::view_right(&e.name, "*")) => Ok(()),
            Some(_) => Err(no_perm(e, "the whole record", "*")),
        },
        View::Named(name) => {
            let ix = e.spec.view(name).ok_or_else(|| {
                let have: Vec<&str> = e.spec.views().iter().map(|v| v.name()).collect();
                format!(
                    "NOVIEW {} has no view '{}' (it has: {})",
                    e.name,
                    key::shown(name.as_bytes()),
                    if have.is_empty() {
                        "none".to_string()
                    } else {
                        have.join(", ")
                    }
                )
            })?;
            // Without a default view the whole record is anybody's: there is no line to cross.
            if default.is_none()
                || Some(ix) == default
                || may_read(ctx, &key::view_right(&e.name, name))
            {
                Ok(())
            } else {
                Err(no_perm(e, &format!("the view {name}"), name))
            }
        }
    }
}

/// Checks that a field may be asked about: it is in the default view, or in a view that the caller has the right to.
pub(crate) fn check_field(ctx: Ctx, e: &Entity, field: u16) -> Result<(), String> {
    let Some(default) = e.spec.default_view() else {
        return Ok(());
    };
    if e.spec.view_holds(default, field) || may_read(ctx, &key::view_right(&e.name, "*")) {
        return Ok(());
    }
    let name = e
        .spec
        .fields()
        .get(field as usize)
        .map_or("", |f| f.name.as_str());
    for v in e.spec.views() {
        if e.spec
            .view(v.name())
            .is_some_and(|ix| e.spec.view_holds(ix, field))
            && may_read(ctx, &key::view_right(&e.name, v.name()))
        {
            return Ok(());
        }
    }
    Err(no_perm(
        e,
        &format!("the field {name}, which is outside the default view,"),
        "<a view that holds it>",
    ))
}

fn no_perm(e: &Entity, what: &str, view: &str) -> String {
    format!("NOPERM {what} of {} needs a key pattern that matches {}/{view}, e.g. ACL SETUSER <user> %R~{}/{view}", e.name, e.name, e.name)
}

/// Checks that the caller may read the normal form of the key it gave.
pub(crate) fn check_normal_form(ctx: Ctx, given: &[u8], normal: &[u8]) -> Result<(), String> {
    if given == normal || may_read(ctx, normal) {
        Ok(())
    } else {
        Err(format!(
            "NOPERM the key given means {}, which this user may not read",
            key::shown(normal)
        ))
    }
}
