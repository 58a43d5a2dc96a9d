//! A command is declared to the server: its name, rights and keys, and what COMMAND DOCS shows of it.

use crate::server::commands::table::{Access, Arg, Command, Keys};
use crate::server::valkey::ffi::{rm, Ctx, OK};
use redis_module::raw;
use std::ffi::{c_int, CString};
use std::ptr;

pub(super) fn declare(ctx: Ctx, c: &Command) -> Result<(), ()> {
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
