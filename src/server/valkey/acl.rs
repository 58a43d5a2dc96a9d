//! ACL users whose rules name Podium's commands.
//!
//! When a module goes, the server goes through the rules of all users anew; on one that names a command which went with the
//! module, Valkey 8.0 aborts. So Podium stays as long as there is such a rule.
//!
//! And rights that were looked up, remembered for reads that ask for the same one over and over.

use crate::server::valkey::ffi::{self, Ctx};
use crate::server::valkey::lock;
use redis_module::raw;
use std::cell::{Cell, RefCell};
use std::ptr;

/// A right that was looked up: of a connection, to a view of an entity's records.
#[derive(Clone, Copy, Default)]
struct Right {
    /// The server's number of the connection; 0: none.
    client: u64,
    generation: u64,
    view: u16,
    /// Unix ms.
    until: u64,
}

/// Rights that were found given, remembered until a command is seen that can take one away (or give a connection to another
/// user), and no longer than a second: another module may do so by commands of its own.
struct Remembered {
    filter: Cell<*mut raw::RedisModuleCommandFilter>,
    rights: RefCell<Vec<Right>>,
    used_ms: Cell<u64>,
}
// SAFETY: touched under the server's lock only.
unsafe impl Send for Remembered {}
unsafe impl Sync for Remembered {}

static REMEMBERED: once_cell::sync::Lazy<Remembered> = once_cell::sync::Lazy::new(|| Remembered {
    filter: Cell::new(ptr::null_mut()),
    rights: RefCell::new(Vec::new()),
    used_ms: Cell::new(0),
});

/// Places for rights; a power of two.
const PLACES: usize = 256;
/// A right is looked up anew after so many ms.
const REMEMBERED_MS: u64 = 1_000;
/// Commands are looked at so long, ms, after a right was last asked for.
const LINGER_MS: u64 = 30_000;

/// Has the caller a right to a view? `find` looks it up; what it finds given is remembered.
pub(crate) fn remembered(
    ctx: Ctx,
    generation: u64,
    view: u16,
    find: impl FnOnce() -> bool,
) -> bool {
    let client = ffi::rm!(RedisModule_GetClientId(ctx));
    let now = ffi::cached_now_ms();
    let m = &*REMEMBERED;
    let at = (client ^ generation ^ u64::from(view).wrapping_mul(31)) as usize & (PLACES - 1);
    let known = m.rights.try_borrow().is_ok_and(|rights| {
        rights.get(at).is_some_and(|r| {
            r.client == client && r.generation == generation && r.view == view && now < r.until
        })
    });
    if known {
        return true;
    }
    let given = find();
    // In a transaction or a script a command that was queued before may take the right away without being seen; and
    // scripts and modules run under a connection's number that is not the caller's.
    if given && client != 0 && ffi::may_wait(ctx) {
        m.used_ms.set(now);
        if m.filter.get().is_null() {
            m.filter.set(ffi::rm!(RedisModule_RegisterCommandFilter(
                lock::detached(),
                Some(look),
                0
            )));
        }
        if let Ok(mut rights) = m.rights.try_borrow_mut() {
            rights.resize(PLACES, Right::default());
            if let Some(place) = rights.get_mut(at) {
                *place = Right {
                    client,
                    generation,
                    view,
                    until: now + REMEMBERED_MS,
                };
            }
        }
    }
    given
}

/// Stops looking at commands when no right was asked for lately. Under the server's lock.
pub(crate) fn rest() {
    let m = &*REMEMBERED;
    if !m.filter.get().is_null() && ffi::now_ms().saturating_sub(m.used_ms.get()) > LINGER_MS {
        ffi::rm!(RedisModule_UnregisterCommandFilter(
            lock::detached(),
            m.filter.get()
        ));
        forget();
    }
}

/// Nothing is looked at any more: the server drops the filter with the module that registered it.
pub(crate) fn forget() {
    REMEMBERED.filter.set(ptr::null_mut());
    if let Ok(mut rights) = REMEMBERED.rights.try_borrow_mut() {
        rights.clear();
    }
}

/// Forgets all rights before a command that may change one. What a transaction holds is run by EXEC.
unsafe extern "C" fn look(f: *mut raw::RedisModuleCommandFilterCtx) {
    let word = ffi::bytes(ffi::rm!(RedisModule_CommandFilterArgGet(f, 0)));
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    let may_change = match word.len() {
        3 => is(b"acl"),
        4 => is(b"auth") || is(b"exec"),
        5 => is(b"hello") || is(b"reset"),
        _ => false,
    };
    if may_change {
        if let Ok(mut rights) = REMEMBERED.rights.try_borrow_mut() {
            rights.clear();
        }
    }
}

/// What all our commands' names begin with.
const OURS: &str = "podium.";
/// So many are named in a message.
const NAMED: usize = 5;

/// Why the module cannot go: who names its commands, and what to do. `None`: nobody does.
pub(crate) fn in_the_way(ctx: Ctx) -> Option<String> {
    let lines = ffi::call(ctx, c"ACL", false, &[b"LIST"]).texts();
    let found: Vec<(&str, &str)> = lines.iter().flat_map(|line| naming(line)).collect();
    let (user, rule) = found.first()?;
    let shown: Vec<String> = found
        .iter()
        .take(NAMED)
        .map(|(user, rule)| format!("user {user} has {rule}"))
        .collect();
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let undo = if rule.starts_with('-') {
        "nocommands"
    } else {
        "-@all"
    };
    Some(format!(
        "ACL rules name its commands ({}{more}). Give the users' rights anew without them first, e.g. ACL SETUSER {user} {undo} +@podium (a rule on a category may stay), or ACL DELUSER {user}",
        shown.join(", ")
    ))
}

/// The rules of one line of ACL LIST that name a command of ours, with the user's name.
fn naming(line: &str) -> Vec<(&str, &str)> {
    let mut words = line.split_ascii_whitespace();
    let user = match (words.next(), words.next()) {
        (Some("user"), Some(user)) => user,
        _ => return Vec::new(),
    };
    words
        .map(|word| word.trim_start_matches('(').trim_end_matches(')'))
        .filter(|word| {
            let named = word.strip_prefix('+').or_else(|| word.strip_prefix('-'));
            named
                .and_then(|name| name.get(..OURS.len()))
                .is_some_and(|start| start.eq_ignore_ascii_case(OURS))
        })
        .map(|rule| (user, rule))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_name_a_command_of_ours_are_found() {
        for (line, rules) in [
            ("user web on #ab ~* resetchannels -@all +podium.get", &["+podium.get"][..]),
            ("user web off nopass sanitize-payload ~* &* +@all -podium.get", &["-podium.get"]),
            ("user web on -@all +podium.spec|set +get", &["+podium.spec|set"]),
            ("user web on -@all (~x resetchannels -@all +podium.get) (+PODIUM.MGET)", &["+podium.get", "+PODIUM.MGET"]),
            ("user default on nopass ~* &* +@all", &[]),
            ("user web on ~podium.get %R~+podium.get &+podium.x -@all +@podium -@podium +podiumx", &[]),
            ("user podium.get on -@all", &[]),
            ("", &[]),
            ("nonsense +podium.get", &[]),
        ] {
            let found: Vec<&str> = naming(line).into_iter().map(|(_, rule)| rule).collect();
            assert_eq!(found, rules, "{line}");
        }
    }
}
