//! The commands as they are declared to the server: arity, flags, key specs, categories, documentation.

use super::{discover, read, spec, stats, sweep, sync, tell, warm, webhook, write};
use crate::server::ffi::{rm, Argv, Ctx, OK};
use redis_module::raw;
use std::ffi::{c_int, CString};
use std::ptr;

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

fn declare(ctx: Ctx, c: &Command) -> Result<(), ()> {
    let name = CString::new(c.name).map_err(drop)?;
    let flags = CString::new(c.flags).map_err(drop)?;
    let categories = CString::new(c.categories).map_err(drop)?;
    let (first, last, step) = match c.keys {
        Keys::One(_) => (1, 1, 1),
        Keys::All(_) => (1, -1, 1),
        _ => (0, 0, 0),
    };
    let command = match c.parent {
        None => {
            if rm!(RedisModule_CreateCommand(
                ctx,
                name.as_ptr(),
                c.handler.map(|h| h as _),
                flags.as_ptr(),
                first,
                last,
                step
            )) != OK
            {
                return Err(());
            }
            rm!(RedisModule_GetCommand(ctx, name.as_ptr()))
        }
        Some(parent) => {
            let parent_name = CString::new(parent).map_err(drop)?;
            let parent_command = rm!(RedisModule_GetCommand(ctx, parent_name.as_ptr()));
            if parent_command.is_null()
                || rm!(RedisModule_CreateSubcommand(
                    parent_command,
                    name.as_ptr(),
                    c.handler.map(|h| h as _),
                    flags.as_ptr(),
                    first,
                    last,
                    step
                )) != OK
            {
                return Err(());
            }
            let full = CString::new(format!("{parent}|{}", c.name)).map_err(drop)?;
            rm!(RedisModule_GetCommand(ctx, full.as_ptr()))
        }
    };
    if command.is_null()
        || rm!(RedisModule_SetCommandACLCategories(
            command,
            categories.as_ptr()
        )) != OK
    {
        return Err(());
    }
    describe(command, c)
}

/// Strings and arrays that must live while the server copies them.
#[derive(Default)]
struct Scratch {
    strings: Vec<CString>,
    arrays: Vec<Vec<raw::RedisModuleCommandArg>>,
}

impl Scratch {
    fn text(&mut self, s: &str) -> *const std::ffi::c_char {
        let c = CString::new(s).unwrap_or_default();
        let p = c.as_ptr();
        self.strings.push(c);
        p
    }
    fn list(&mut self, args: &[Arg]) -> *mut raw::RedisModuleCommandArg {
        if args.is_empty() {
            return ptr::null_mut();
        }
        let mut list: Vec<raw::RedisModuleCommandArg> = args.iter().map(|a| self.arg(a)).collect();
        // SAFETY: an argument of zeroes ends the list, as the server asks for.
        list.push(unsafe { std::mem::zeroed() });
        let p = list.as_mut_ptr();
        self.arrays.push(list);
        p
    }
    fn arg(&mut self, a: &Arg) -> raw::RedisModuleCommandArg {
        // SAFETY: plain C data, for which all zeroes is the documented default.
        let mut out: raw::RedisModuleCommandArg = unsafe { std::mem::zeroed() };
        out.key_spec_index = -1;
        match a {
            Arg::Key(name) => {
                out.name = self.text(name);
                out.type_ = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY;
                out.key_spec_index = 0;
            }
            Arg::Text(name) => {
                out.name = self.text(name);
                out.type_ = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING;
            }
            Arg::Int(name) => {
                out.name = self.text(name);
                out.type_ = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER;
            }
            Arg::Word(token) => {
                out.name = self.text(&token.to_ascii_lowercase());
                out.token = self.text(token);
                out.type_ = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN;
            }
            Arg::With(name, token, kind) => {
                out.name = self.text(name);
                out.token = self.text(token);
                out.type_ = *kind;
            }
            Arg::Choice(name, of) => {
                out.name = self.text(name);
                out.type_ = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF;
                out.subargs = self.list(of);
            }
            Arg::Block(name, token, of) => {
                out.name = self.text(name);
                if let Some(t) = token {
                    out.token = self.text(t);
                }
                out.type_ = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK;
                out.subargs = self.list(of);
            }
            Arg::Optional(inner) => {
                out = self.arg(inner);
                out.flags |= raw::REDISMODULE_CMD_ARG_OPTIONAL as c_int;
            }
            Arg::Many(inner) => {
                out = self.arg(inner);
                out.flags |= raw::REDISMODULE_CMD_ARG_MULTIPLE as c_int;
            }
        }
        out
    }
}

fn describe(command: *mut raw::RedisModuleCommand, c: &Command) -> Result<(), ()> {
    let version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: std::mem::size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: std::mem::size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: std::mem::size_of::<raw::RedisModuleCommandArg>(),
    };
    let mut scratch = Scratch::default();
    // SAFETY: plain C data; two key specs of which the second, all zeroes, ends the list.
    let mut specs: [raw::RedisModuleCommandKeySpec; 2] = unsafe { std::mem::zeroed() };
    let [key, _] = &mut specs;
    let mut has_keys = true;
    let mut range = |pos: c_int, last: c_int, flags: u64| {
        key.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
        key.bs.index.pos = pos;
        key.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
        key.fk.range.lastkey = last;
        key.fk.range.keystep = 1;
        key.fk.range.limit = 0;
        key.flags = flags;
    };
    match c.keys {
        Keys::None => has_keys = false,
        Keys::One(access) => range(1, 0, access.flags()),
        Keys::All(access) => range(1, -1, access.flags()),
        Keys::Entity(at) => range(
            at,
            0,
            u64::from(raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_NOT_KEY),
        ),
        Keys::Counted => {
            key.begin_search_type =
                raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
            key.bs.index.pos = 1;
            key.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_KEYNUM;
            key.fk.keynum.keynumidx = 0;
            key.fk.keynum.firstkey = 1;
            key.fk.keynum.keystep = 1;
            key.flags = Access::Read.flags();
        }
    }
    // SAFETY: plain C data.
    let mut info: raw::RedisModuleCommandInfo = unsafe { std::mem::zeroed() };
    info.version = &version;
    info.summary = scratch.text(c.summary);
    info.complexity = scratch.text(c.complexity);
    info.since = scratch.text("0.1.0");
    info.arity = c.arity;
    info.key_specs = if has_keys {
        specs.as_mut_ptr()
    } else {
        ptr::null_mut()
    };
    info.args = scratch.list(&c.args);
    if rm!(RedisModule_SetCommandInfo(command, &info)) == OK {
        Ok(())
    } else {
        Err(())
    }
}
