//! Everything that knows the server: loading and unloading, and the wiring of all parts.

pub(crate) mod changes;
pub(crate) mod commands;
pub(crate) mod desk;
pub(crate) mod events;
pub(crate) mod feed;
pub(crate) mod fetching;
pub(crate) mod jobs;
pub(crate) mod reads;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod upkeep;
pub(crate) mod upstream;
pub(crate) mod valkey;
pub(crate) mod writes;

use crate::server::valkey::ffi::{rm, Argv, Ctx, Level};
use podium_core::spec::{self, Spec};
use redis_module::raw;
use std::ffi::{c_char, c_int};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// The module's version as the server shows it: major, minor and patch of the crate, two digits each.
fn version() -> c_int {
    let mut parts = env!("CARGO_PKG_VERSION")
        .split('.')
        .map(|p| p.parse::<c_int>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    next() * 10_000 + next() * 100 + next()
}

/// Called by the server at MODULE LOAD.
///
/// # Safety
/// The server's context and arguments.
#[no_mangle]
pub unsafe extern "C" fn RedisModule_OnLoad(ctx: Ctx, _: Argv, argc: c_int) -> c_int {
    // Nothing may be allocated before this call: it hands over the server's allocator.
    if raw::Export_RedisModule_Init(
        ctx,
        c"podium".as_ptr().cast::<c_char>(),
        version(),
        raw::REDISMODULE_APIVER_1 as c_int,
    ) != crate::server::valkey::ffi::OK
    {
        return crate::server::valkey::ffi::ERR;
    }
    crate::server::valkey::lock::init(ctx);
    let loaded = catch_unwind(AssertUnwindSafe(|| load(ctx, argc)));
    match loaded {
        Ok(Ok(())) => crate::server::valkey::ffi::OK,
        Ok(Err(why)) => {
            crate::server::valkey::ffi::log(Level::Warning, &why);
            crate::server::valkey::ffi::ERR
        }
        Err(_) => crate::server::valkey::ffi::ERR,
    }
}

fn load(ctx: Ctx, argc: c_int) -> Result<(), String> {
    if let Some(name) = crate::server::valkey::ffi::missing_api() {
        return Err(format!(
            "this server lacks {name}: Podium needs Valkey 8.0 or later"
        ));
    }
    if argc > 0 {
        return Err("podium takes no module arguments: settings are podium.<name>, in valkey.conf or MODULE LOADEX … CONFIG".into());
    }
    panics_to_log();
    commands::table::register(ctx)?;
    crate::server::valkey::settings::register(ctx)
        .map_err(|name| format!("the setting podium.{name} was refused"))?;
    let from_file = spec_file()?;
    if !events::subscribe(ctx)
        || rm!(RedisModule_RegisterInfoFunc(
            ctx,
            Some(crate::server::upkeep::info::handler)
        )) != crate::server::valkey::ffi::OK
    {
        return Err("the server refused the module's event or INFO handlers".into());
    }
    // NO_IMPLICIT_SIGNAL_MODIFIED: fills tell those who wait for them nothing (changes are signalled by hand).
    // HANDLE_ATOMIC_SLOT_MIGRATION: all state is in native keys of the slot.
    let all = rm!(RedisModule_GetModuleOptionsAll());
    rm!(RedisModule_SetModuleOptions(
        ctx,
        ((1 << 1) | (1 << 5)) & all
    ));
    // The library may have stayed mapped over an UNLOAD: what it knew then is not so any more.
    crate::server::desk::deletes::forget();
    crate::server::valkey::acl::forget();
    crate::server::desk::reset();
    crate::server::state::cell::enter(|st| {
        crate::server::valkey::ffi::slot::init(ctx);
        *st = crate::server::state::entities::State::default();
        st.replica = crate::server::valkey::ffi::is_replica(ctx);
        st.from_file = from_file;
        let detached = crate::server::valkey::lock::detached();
        rm!(RedisModule_SelectDb(detached, 0));
        crate::server::upkeep::rebuild::rebuild(detached, st);
    });
    // Threads last: a load that fails after them would unmap the code they run.
    upkeep::start()?;
    if let Err(why) = crate::server::reads::computed::hands::start()
        .and_then(|()| crate::server::feed::start())
        .and_then(|()| crate::server::desk::start(crate::server::fetching::workers::work))
    {
        let _ = crate::server::feed::stop();
        let _ = crate::server::reads::computed::hands::stop();
        let _ = upkeep::stop();
        return Err(why);
    }
    crate::server::valkey::ffi::log(
        Level::Notice,
        concat!("podium ", env!("CARGO_PKG_VERSION"), " is ready"),
    );
    Ok(())
}

/// Specs from `podium.spec-file`. Err: the file and the place that is broken.
fn spec_file() -> Result<Vec<(String, Spec)>, String> {
    let path = crate::server::valkey::settings::SPEC_FILE.get();
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let broken = |why: String| format!("podium.spec-file {path}: {why}");
    let text = std::fs::read_to_string(&path).map_err(|e| broken(e.to_string()))?;
    let all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)
        .map_err(|e| broken(format!("not a JSON object of specs: {e}")))?;
    all.into_iter()
        .map(|(name, spec)| {
            if !spec::entity_name_ok(name.as_bytes()) {
                return Err(broken(format!(
                    "'{}' is no entity's name",
                    podium_core::key::shown(name.as_bytes())
                )));
            }
            let parsed = Spec::parse(&name, spec.to_string().as_bytes())
                .map_err(|why| broken(format!("{name}: {why}")))?;
            Ok((name, parsed))
        })
        .collect()
}

/// A panic is caught where it happens; what it said goes to the log, as a daemon has no stderr.
fn panics_to_log() {
    std::panic::set_hook(Box::new(|p| {
        let place = p
            .location()
            .map_or_else(String::new, |l| format!("{}:{}", l.file(), l.line()));
        let what = p
            .payload()
            .downcast_ref::<&str>()
            .map(|s| (*s).to_string())
            .or_else(|| p.payload().downcast_ref::<String>().cloned())
            .unwrap_or_default();
        crate::server::valkey::ffi::log(
            Level::Warning,
            &format!("internal error at {place}: {what}"),
        );
    }));
}

/// Stops all threads but the workers, or none. Who waits for a computation keeps the server from asking us at all.
fn stop_threads() -> Result<(), String> {
    use crate::server::reads::computed::hands;
    hands::stop()?;
    let stopped = upkeep::stop().and_then(|()| {
        crate::server::feed::stop().inspect_err(|_| {
            let _ = upkeep::start();
        })
    });
    stopped.inspect_err(|_| {
        let _ = hands::start();
    })
}

/// Called by the server at MODULE UNLOAD, with its lock held.
///
/// # Safety
/// The server's context.
#[no_mangle]
pub unsafe extern "C" fn RedisModule_OnUnload(ctx: Ctx) -> c_int {
    let unloaded = catch_unwind(AssertUnwindSafe(|| {
        if let Some(why) = crate::server::valkey::acl::in_the_way(ctx) {
            return Err(why);
        }
        // A thread that waits for the lock we hold cannot be joined: then the answer is "not now".
        crate::server::desk::idle()?;
        stop_threads()?;
        crate::server::desk::stop();
        crate::server::valkey::settings::forget();
        crate::server::upstream::client::forget();
        crate::server::valkey::ffi::pieces::forget();
        let _ = std::panic::take_hook();
        Ok::<(), String>(())
    }));
    match unloaded {
        Ok(Ok(())) => crate::server::valkey::ffi::OK,
        Ok(Err(why)) => {
            crate::server::valkey::ffi::log(Level::Warning, &format!("not unloaded: {why}"));
            crate::server::valkey::ffi::ERR
        }
        Err(_) => crate::server::valkey::ffi::ERR,
    }
}
