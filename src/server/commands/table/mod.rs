//! The commands as they are declared to the server: arity, flags, key specs, categories, documentation.

pub(crate) mod declare;

use crate::server::commands::table::declare::declare;

use crate::server::commands::answers;
use crate::server::commands::check;
use crate::server::commands::discover;
use crate::server::commands::explain;
use crate::server::commands::read;
use crate::server::commands::spec;
use crate::server::commands::stats;
use crate::server::commands::sweep;
use crate::server::commands::sync;
use crate::server::commands::tell;
use crate::server::commands::warm;
use crate::server::commands::webhook;
use crate::server::commands::write;
use crate::server::valkey::ffi::{rm, Argv, Ctx};
use redis_module::raw;
use std::ffi::c_int;

type Handler = unsafe extern "C" fn(Ctx, Argv, c_int) -> c_int;

/// Where a command's keys are.
#[derive(Clone, Copy)]
enum Keys {
    None,
    /// One key, argument 1.
    One(Access),
    /// Every argument is a key.
    All(Access),
    /// `numkeys key …`
    Counted,
    /// An entity's name at this argument: it routes in a cluster, and is no key.
    Entity(c_int),
}

#[derive(Clone, Copy)]
enum Access {
    Read,
    Insert,
    Update,
    Delete,
}

impl Access {
    fn flags(self) -> u64 {
        u64::from(match self {
            Access::Read => raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_ACCESS,
            Access::Insert => raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_INSERT,
            Access::Update => raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_UPDATE,
            Access::Delete => raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_DELETE,
        })
    }
}

/// One argument, for COMMAND DOCS.
#[derive(Clone)]
enum Arg {
    Key(&'static str),
    Text(&'static str),
    Int(&'static str),
    /// A word that stands for itself.
    Word(&'static str),
    /// `TOKEN <argument>`
    With(&'static str, &'static str, u32),
    Choice(&'static str, Vec<Arg>),
    Block(&'static str, Option<&'static str>, Vec<Arg>),
    Optional(Box<Arg>),
    Many(Box<Arg>),
}

struct Command {
    name: &'static str,
    parent: Option<&'static str>,
    handler: Option<Handler>,
    flags: &'static str,
    categories: &'static str,
    arity: c_int,
    keys: Keys,
    summary: &'static str,
    complexity: &'static str,
    args: Vec<Arg>,
}

fn optional(a: Arg) -> Arg {
    Arg::Optional(Box::new(a))
}

fn read_options() -> Vec<Arg> {
    vec![
        optional(Arg::With("view", "VIEW", 0)),
        optional(Arg::Choice(
            "freshness",
            vec![
                Arg::Word("NOCACHE"),
                Arg::Word("CACHEONLY"),
                Arg::With("max-age", "MAXAGE", 1),
            ],
        )),
        optional(Arg::Word("NOWAIT")),
        optional(Arg::Word("META")),
        optional(Arg::With("token", "FOR", 0)),
    ]
}

fn index_options() -> Vec<Arg> {
    let mut o = read_options();
    o.push(optional(Arg::Block(
        "sort",
        Some("SORT"),
        vec![
            Arg::Text("field"),
            optional(Arg::Choice(
                "order",
                vec![Arg::Word("ASC"), Arg::Word("DESC")],
            )),
        ],
    )));
    o.push(optional(Arg::Block(
        "limit",
        Some("LIMIT"),
        vec![Arg::Int("offset"), Arg::Int("count")],
    )));
    o.push(optional(Arg::Choice(
        "output",
        vec![Arg::Word("IDS"), Arg::Word("COUNT")],
    )));
    o
}

fn with(first: Vec<Arg>, rest: Vec<Arg>) -> Vec<Arg> {
    first.into_iter().chain(rest).collect()
}

fn counted() -> Vec<Arg> {
    vec![Arg::Int("numkeys"), Arg::Many(Box::new(Arg::Key("key")))]
}

fn commands() -> Vec<Command> {
    let c = |name, handler: Handler, flags, categories, arity, keys, summary, complexity, args| {
        Command {
            name,
            parent: None,
            handler: Some(handler),
            flags,
            categories,
            arity,
            keys,
            summary,
            complexity,
            args,
        }
    };
    let sub =
        |name, handler: Handler, flags, categories, arity, keys, summary, complexity, args| {
            Command {
                name,
                parent: Some("podium.spec"),
                handler: Some(handler),
                flags,
                categories,
                arity,
                keys,
                summary,
                complexity,
                args,
            }
        };
    let entity = || vec![Arg::Text("entity")];
    let feed = |name, handler: Handler, flags, arity, summary, complexity, args| Command {
        parent: Some("podium.sync"),
        ..sub(
            name,
            handler,
            flags,
            "podium admin dangerous",
            arity,
            Keys::None,
            summary,
            complexity,
            args,
        )
    };
    let base = || optional(Arg::Text("base"));
    vec![
        c("podium.get", read::get, "readonly fast", "podium read fast", -2, Keys::One(Access::Read),
          "Returns a record as JSON, fetching it from Airtable if it is not cached", "O(1) for a hit",
          with(vec![Arg::Key("key")], read_options())),
        c("podium.mget", read::mget, "readonly getkeys-api", "podium read", -3, Keys::Counted,
          "Returns records of any entities, in the order asked", "O(N) with N the number of keys",
          with(counted(), read_options())),
        c("podium.index", read::index, "readonly", "podium read", -2, Keys::One(Access::Read),
          "Returns every record whose field has a value, or every record of an entity", "O(N) with N the size of the index set, O(N*log(N)) with SORT",
          with(vec![Arg::Key("key")], index_options())),
        c("podium.inter", read::inter, "readonly getkeys-api", "podium read", -3, Keys::Counted,
          "Returns the records that are in all of the index sets", "O(N*K) with N the size of the smallest set and K the number of keys",
          with(counted(), index_options())),
        c("podium.invalidate", tell::invalidate, "write", "podium write", -2, Keys::All(Access::Delete),
          "Drops records that changed: they are fetched anew when next read", "O(N) for records and index members, O(1) for a whole entity",
          vec![Arg::Many(Box::new(Arg::Key("key")))]),
        c("podium.tombstone", tell::tombstone, "write", "podium write", -2, Keys::All(Access::Delete),
          "Notes that records no longer exist", "O(N) with N the number of keys",
          vec![Arg::Many(Box::new(Arg::Key("key")))]),
        c("podium.upsert", tell::upsert, "write", "podium write", -3, Keys::One(Access::Update),
          "Stores a whole record as somebody knows it to be now", "O(F) with F the number of its indexed values",
          vec![Arg::Key("key"), Arg::Text("json"), optional(Arg::With("unix-ms", "AT", 1))]),
        c("podium.create", write::create, "write", "podium write slow", -3, Keys::One(Access::Insert),
          "Creates records in Airtable, then in the cache", "O(N/10) calls with N the number of records",
          vec![Arg::Key("key"), Arg::Many(Box::new(Arg::Text("fields-json"))), optional(Arg::Word("TYPECAST")), optional(Arg::Word("META"))]),
        c("podium.update", write::update, "write", "podium write slow", -3, Keys::One(Access::Update),
          "Changes cells of a record in Airtable, then in the cache", "One call",
          vec![Arg::Key("key"), Arg::Text("fields-json"), optional(Arg::Word("TYPECAST")), optional(Arg::Word("META"))]),
        c("podium.delete", write::delete, "write", "podium write slow", -2, Keys::All(Access::Delete),
          "Deletes records in Airtable, then in the cache", "O(N/10) calls with N the number of records",
          vec![Arg::Many(Box::new(Arg::Key("key")))]),
        c("podium.webhook", webhook::webhook, "write no-monitor", "podium write", -2, Keys::None,
          "Takes what an Airtable automation posted: a record that was created, changed or deleted", "O(F) with F the number of its indexed values",
          vec![Arg::Text("payload"), Arg::With("secret", "SECRET", 0)]),
        c("podium.sweep", sweep::sweep, "write", "podium write admin slow", -2, Keys::One(Access::Delete),
          "Finds cached records that were deleted in Airtable, and forgets them", "O(N/100) calls with N the number of cached records, at most",
          vec![Arg::Key("key"), optional(Arg::Word("FULL")), optional(Arg::Word("DRYRUN")), optional(Arg::Word("ASYNC"))]),
        c("podium.warm", warm::warm, "write", "podium write admin slow", -2, Keys::One(Access::Update),
          "Loads a whole table and makes every index value of it complete", "O(N/100) calls with N the number of records",
          vec![Arg::Key("key"), optional(Arg::Word("ASYNC"))]),
        c("podium.lease", answers::lease, "readonly fast", "podium read fast", -2, Keys::One(Access::Read),
          "Returns a computed answer, or a lease to compute it", "O(1)",
          vec![Arg::Key("key"),
               optional(Arg::Choice("freshness", vec![Arg::Word("NOCACHE"), Arg::Word("CACHEONLY"), Arg::With("max-age", "MAXAGE", 1)])),
               optional(Arg::Word("NOWAIT")), optional(Arg::Word("META"))]),
        c("podium.fill", answers::fill, "write deny-oom", "podium write", -3, Keys::One(Access::Update),
          "Stores a computed answer, unless something that it was computed from changed", "O(U) with U the number of records and sets it used",
          vec![Arg::Key("key"), Arg::Text("value"), optional(Arg::With("token", "TOKEN", 0)), optional(Arg::With("seconds", "TTL", 1)),
               optional(Arg::Block("tags", Some("TAGS"), vec![Arg::Int("numtags"), Arg::Many(Box::new(Arg::Text("tag")))])),
               optional(Arg::Block("used", Some("USED"), vec![Arg::Int("numused"), Arg::Many(Box::new(Arg::Text("used-key")))]))]),
        c("podium.release", answers::release, "write fast", "podium write fast", 3, Keys::One(Access::Read),
          "Gives a lease back: the computation failed", "O(1)",
          vec![Arg::Key("key"), Arg::Text("token")]),
        c("podium.explain", explain::explain, "readonly", "podium admin dangerous", 2, Keys::One(Access::Read),
          "Returns what is known of a record, an index set or a computed answer, and what a read of it would do now", "O(1) but for the names it lists, which are bounded",
          vec![Arg::Key("key")]),
        c("podium.stats", stats::stats, "readonly", "podium read", -1, Keys::None,
          "Returns the figures of one entity or of all, or sets them back", "O(E) with E the number of entities",
          vec![optional(Arg::Choice("what", vec![Arg::Text("entity"), Arg::Word("RESET")]))]),
        Command {
            name: "podium.sync",
            parent: None,
            handler: None,
            flags: "",
            categories: "podium admin",
            arity: -2,
            keys: Keys::None,
            summary: "A container for the commands that follow Airtable's change feed",
            complexity: "Depends on the subcommand",
            args: Vec::new(),
        },
        feed("start", sync::start, "write", -2, "Follows a base's change feed: what changes in Airtable is known within an interval",
             "A few calls", vec![base(), optional(Arg::With("url", "NOTIFY", 0))]),
        feed("stop", sync::stop, "write", -2, "Follows a base's change feed no longer", "One call", vec![base()]),
        feed("status", sync::status, "readonly", -2, "Returns how far a base's change feed was followed", "O(E) with E the number of entities", vec![base()]),
        feed("now", sync::now, "write", -2, "Polls a base's change feed and waits until what it says is applied", "One call for 50 payloads", vec![base()]),
        feed("ping", sync::ping, "write", 4, "Takes a notification that Airtable posted, checks it, and polls at once", "O(1)",
             vec![Arg::Text("raw-body"), Arg::Text("mac-header")]),
        Command {
            name: "podium.spec",
            parent: None,
            handler: None,
            flags: "",
            categories: "podium",
            arity: -2,
            keys: Keys::None,
            summary: "A container for the commands that define entities",
            complexity: "Depends on the subcommand",
            args: Vec::new(),
        },
        sub("set", spec::set, "write", "podium admin dangerous", 4, Keys::Entity(2),
            "Defines an entity, from a spec or a bare JSON Schema", "O(1)",
            vec![Arg::Text("entity"), Arg::Text("spec-json")]),
        sub("get", spec::get, "readonly", "podium read", 3, Keys::Entity(2),
            "Returns an entity's spec as it is in force", "O(F) with F the number of fields", entity()),
        sub("list", spec::list, "readonly", "podium read", 2, Keys::None,
            "Returns the names of the entities", "O(E) with E the number of entities", Vec::new()),
        sub("check", check::run, "readonly", "podium admin dangerous", -2, Keys::None,
            "Compares specs with their base's schema: what they name that is not there, and what cannot be as they say", "One call a base, and O(F) with F the number of fields",
            vec![optional(Arg::Text("entity"))]),
        sub("discover", discover::run, "write", "podium admin dangerous", -2, Keys::None,
            "Defines an entity for each table of a base, from Airtable's metadata", "One call, and O(F) with F the number of fields",
            vec![optional(Arg::Text("base")), optional(Arg::Text("prefix"))]),
        sub("del", spec::del, "write", "podium admin dangerous", 3, Keys::Entity(2),
            "Removes an entity, its cached data included", "O(1)", entity()),
    ]
}

/// Registers every command. Err: what could not be registered.
pub(crate) fn register(ctx: Ctx) -> Result<(), String> {
    // A category outlives the module: that it is there already (MODULE LOAD after UNLOAD) is no failure.
    rm!(RedisModule_AddACLCategory(ctx, c"podium".as_ptr()));
    for c in commands() {
        declare(ctx, &c).map_err(|()| {
            format!(
                "the command {} {} could not be registered",
                c.parent.unwrap_or(""),
                c.name
            )
        })?;
    }
    Ok(())
}
