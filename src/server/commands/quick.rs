//! The short way of reads whose answer is in the cache as it stands: no query is made, nothing is allocated that the next
//! read does not use again. Whatever is not plain (another option, something stale, in doubt, near its end or lacking) goes
//! the general way, which decides alone.

use crate::server::commands::rights;
use crate::server::reads::ahead;
use crate::server::reads::judge::scan::view::{self, Wish};
use crate::server::reads::sorted;
use crate::server::state::cell;
use crate::server::state::clock;
use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::lane::ttl_s;
use crate::server::state::sorted::BY_ID;
use crate::server::state::standing::Standing;
use crate::server::store;
use crate::server::valkey::ffi::{self, bytes, cached_now_ms, rm, Argv, Ctx, Key, NameSlot};
use crate::server::valkey::reply;
use crate::server::valkey::settings;
use crate::server::valkey::tracking;
use podium_core::entry::{Entry, Header, Sentinel};
use podium_core::key::{self, Name};
use podium_core::record::Span;
use podium_core::spec::{FieldIx, ViewIx};
use podium_core::{outside, question, record, refresh};
use std::cell::RefCell;
use std::ffi::c_int;

/// Members of a set that is answered the short way.
const MOST_MEMBERS: usize = 256;

/// Fewer members are looked up as fast.
const FEWEST_KEPT: usize = 8;
/// How often an entity's sets are looked at for one more to be kept in order.
const WISH_PAUSE_MS: u64 = 20;

/// What is made for one read and used again by the next.
#[derive(Default)]
struct Scratch {
    /// Answers that are not stored as such, one behind the other.
    made: Vec<u8>,
    /// Where a record's fields lie.
    spans: Vec<Span>,
    /// The name of a member's key.
    name: Vec<u8>,
    answers: Vec<Answer>,
}

struct Room(RefCell<Scratch>);
// SAFETY: touched by commands alone, which run on the main thread.
unsafe impl Sync for Room {}

static ROOM: Room = Room(RefCell::new(Scratch {
    made: Vec::new(),
    spans: Vec::new(),
    name: Vec::new(),
    answers: Vec::new(),
}));

/// Where an answer lies.
#[derive(Clone, Copy)]
enum Answer {
    /// In the keyspace, which nothing changes before the command is over.
    Stored(*const u8, usize),
    /// In what was made: from where, and how long.
    Made(usize, usize),
}

/// A larger one is given back.
const KEPT: usize = 64 * 1024;

#[derive(Clone, Copy)]
enum View<'a> {
    Default,
    Whole,
    Named(&'a [u8]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Records,
    Ids,
    Count,
}

/// The options that are known here.
#[derive(Clone, Copy)]
struct Shape<'a> {
    view: View<'a>,
    meta: bool,
    output: Output,
}

/// Options from `from` on; `index`: INDEX's too. `None`: others, or not well-formed.
unsafe fn shape<'a>(argv: Argv, from: c_int, argc: c_int, index: bool) -> Option<Shape<'a>> {
    let mut shape = Shape {
        view: View::Default,
        meta: false,
        output: Output::Records,
    };
    let mut at = from;
    while at < argc {
        let word = bytes(*argv.add(at as usize));
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let plain = matches!(shape.view, View::Default);
        let records = shape.output == Output::Records;
        at += 1;
        match word.len() {
            4 if plain && at < argc && is(b"VIEW") => {
                let name = bytes(*argv.add(at as usize));
                at += 1;
                shape.view = if name == b"*" {
                    View::Whole
                } else {
                    View::Named(name)
                };
            }
            4 if !shape.meta && !index && is(b"META") => shape.meta = true,
            3 if index && records && is(b"IDS") => shape.output = Output::Ids,
            5 if index && records && is(b"COUNT") => shape.output = Output::Count,
            _ => return None,
        }
    }
    Some(shape)
}

/// Which part of a stored record answers.
#[derive(Clone, Copy)]
enum Part {
    Answer,
    Whole,
    Cut(ViewIx),
}

/// The part that a view is, if the caller may see it. `None`: the general way says what is wrong.
fn part(ctx: Ctx, e: &Entity, view: View) -> Option<Part> {
    let (ix, part) = match view {
        View::Default => return Some(Part::Answer),
        View::Whole => (None, Part::Whole),
        View::Named(name) => {
            let ix = e.spec.view(std::str::from_utf8(name).ok()?)?;
            (Some(ix), Part::Cut(ix))
        }
    };
    match e.spec.default_view() {
        // Without a default view the whole record is anybody's.
        None => Some(part),
        Some(default) if ix == Some(default) => Some(Part::Answer),
        Some(_) => rights::sees(ctx, e, ix).then_some(part),
    }
}

/// Is a copy fresh for a while, so that nothing but its bytes is needed? Past that the general way decides.
#[inline]
fn plainly_fresh(h: &Header, now: u64) -> bool {
    now < h.fresh_until
        && now < h.dead_at
        && !refresh::near_end(h.fresh_until.wrapping_sub(h.asked_ms), h.fresh_until - now)
}

/// PODIUM.GET with VIEW and META. False: the general way decides.
///
/// # Safety
/// `argv` holds `argc` strings, as the server passes them.
pub(super) unsafe fn get(ctx: Ctx, argv: Argv, argc: c_int) -> bool {
    let Some(shape) = shape(argv, 2, argc, false) else {
        return false;
    };
    let raw_name = *argv.add(1);
    let name = bytes(raw_name);
    let key = Key::read(ctx, raw_name);
    let Some(body) = key.body() else { return false };
    ffi::ahead(body);
    let Some(entry) = Entry::read(body, name) else {
        return false;
    };
    let now = cached_now_ms();
    let h = entry.header;
    if now >= h.fresh_until || now >= h.dead_at {
        return false;
    }
    let Ok(mut scratch) = ROOM.0.try_borrow_mut() else {
        return false;
    };
    let Scratch { made, spans, .. } = &mut *scratch;
    let room = (made, spans);
    let answer = cell::enter(|st| answer(ctx, st, &shape, &entry, name, now, room)).flatten();
    let Some(answer) = answer else { return false };
    if tracking::somebody_waits() {
        tracking::read(name);
    }
    if shape.meta {
        let age = now.saturating_sub(h.as_of()) / 1000;
        let ttl = (h.fresh_until - now) / 1000;
        reply::hit_with_meta(ctx, answer, name, age, ttl);
    } else {
        reply::bulk(ctx, answer);
    }
    if scratch.made.capacity() > KEPT {
        scratch.made = Vec::new();
    }
    if !plainly_fresh(&h, now) {
        ahead::refresh(ctx, name, &h, now);
    }
    true
}

/// The answer, counted as a hit; one that is not stored in one piece is made in `made`.
fn answer<'a>(
    ctx: Ctx,
    st: &mut State,
    shape: &Shape,
    entry: &Entry<'a>,
    name: &[u8],
    now: u64,
    (made, spans): (&'a mut Vec<u8>, &mut Vec<Span>),
) -> Option<&'a [u8]> {
    let generation = entry.header.generation;
    let e = st.of_generation(generation)?;
    // What the feed says is part of META.
    if shape.meta && e.feed.from > 0 {
        return None;
    }
    let answer: &[u8] = match part(ctx, e, shape.view)? {
        Part::Answer => entry.answer(),
        Part::Whole => match entry.pieces() {
            (whole, []) => whole,
            (first, rest) => {
                made.clear();
                made.extend_from_slice(first);
                made.extend_from_slice(rest);
                made
            }
        },
        // Without a schema the record must be parsed.
        Part::Cut(_) if e.spec.open() => return None,
        Part::Cut(view) => {
            let id = std::str::from_utf8(name.get(e.name.len() + 1..)?).ok()?;
            entry.spans_into(&e.spec, spans);
            record::project_into(&e.spec, view, id, entry.cells(), spans, made).ok()?;
            made
        }
    };
    st.hit(generation, now, None).then_some(answer)
}

/// PODIUM.INDEX of a small set that is known, whose members are all there and fresh. False: the general way decides.
///
/// # Safety
/// `argv` holds `argc` strings, as the server passes them.
pub(super) unsafe fn index(ctx: Ctx, argv: Argv, argc: c_int) -> bool {
    let Some(shape) = shape(argv, 2, argc, true) else {
        return false;
    };
    let raw_name = *argv.add(1);
    let Ok(mut scratch) = ROOM.0.try_borrow_mut() else {
        return false;
    };
    scratch.answers.clear();
    scratch.made.clear();
    let found = cell::enter(|st| {
        let asked = asked(ctx, st, &shape, raw_name)?;
        match shape.output {
            Output::Records => members(ctx, st, &asked, &mut scratch).map(Found::Collected),
            output => kept(ctx, st, &asked, output).or_else(|| {
                let n = members(ctx, st, &asked, &mut scratch)?;
                keep(ctx, st, &asked, n);
                Some(Found::Collected(n))
            }),
        }
    });
    let Some(found) = found.flatten() else {
        return false;
    };
    if tracking::somebody_waits() {
        tracking::read(bytes(raw_name));
    }
    let n = match found {
        Found::Replied => return true,
        Found::Collected(n) => n as i64,
    };
    if shape.output == Output::Count {
        rm!(RedisModule_ReplyWithLongLong(ctx, n));
        return true;
    }
    rm!(RedisModule_ReplyWithArray(ctx, n));
    for answer in &scratch.answers {
        match *answer {
            Answer::Stored(at, len) => {
                rm!(RedisModule_ReplyWithStringBuffer(ctx, at.cast(), len));
            }
            Answer::Made(at, len) => {
                reply::bulk(ctx, scratch.made.get(at..at + len).unwrap_or(&[]));
            }
        }
    }
    if scratch.made.capacity() > KEPT {
        scratch.made = Vec::new();
    }
    true
}

/// What an index question came to.
enum Found {
    /// So many answers are in the scratch.
    Collected(usize),
    /// It is answered.
    Replied,
}

/// A question about one index set.
struct Asked<'a> {
    raw_name: ffi::RawString,
    ix: EntityIx,
    /// The set's key.
    name: &'a [u8],
    entity: &'a str,
    /// `<field>:<value>` or `*`.
    suffix: &'a [u8],
    condition: Option<(FieldIx, &'a [u8])>,
    takes: Takes,
    /// Unix ms.
    now: u64,
}

/// The question, if its set is in the register and the caller may ask it.
fn asked<'a>(ctx: Ctx, st: &State, shape: &Shape, raw_name: ffi::RawString) -> Option<Asked<'a>> {
    // SAFETY: the command's own argument.
    let name: &'a [u8] = unsafe { bytes(raw_name) };
    let (entity, about) = match key::parse(name)? {
        Name::All { entity } => (entity, None),
        Name::Index {
            entity,
            field,
            value,
        } => (entity, Some((field, value))),
        Name::Record { .. } | Name::Tomb { .. } | Name::Own { .. } => return None,
    };
    let now = cached_now_ms();
    let e = st.by_name(entity)?;
    let suffix = name.get(entity.len() + 1..)?;
    if !e.sets.contains(suffix) || e.feed.unsettled(now) {
        return None;
    }
    let condition = match about {
        None => None,
        Some((field, value)) => {
            let field = e.spec.field(field)?;
            e.spec.get(field).filter(|f| f.indexed)?;
            // A cell that does not fit its model may be in a set that nobody can ask for.
            question::canonical(&e.spec, field, value)
                .ok()
                .filter(|normal| **normal == *value)?;
            rights::check_field(ctx, e, field).ok()?;
            Some((field, value))
        }
    };
    let takes = match (shape.output, part(ctx, e, shape.view)?) {
        (Output::Ids | Output::Count, _) => Takes::Id,
        (_, Part::Answer) => Takes::Answer,
        (_, Part::Whole) => Takes::Whole,
        (_, Part::Cut(_)) => return None,
    };
    Some(Asked {
        raw_name,
        ix: e.ix,
        name,
        entity,
        suffix,
        condition,
        takes,
        now,
    })
}

/// Is a set fresh for a while, and nothing in doubt that may belong to it?
fn serves(e: &Entity, head: &Sentinel, now: u64) -> bool {
    let life = head.fresh_until.wrapping_sub(head.asked_ms);
    head.generation == e.sets_generation
        && now < head.fresh_until
        && !refresh::near_end(life, head.fresh_until - now)
        && !e.doubts.any_since(head.seq)
        && clock::believes(outside::of_sentinel(head))
}

/// Ids or their number of a set that is kept in the order of ids, if nothing about any member is open: no member is looked up.
fn kept(ctx: Ctx, st: &mut State, asked: &Asked, output: Output) -> Option<Found> {
    if st.replica || st.loading {
        return None;
    }
    let now = asked.now;
    let e = st.get_mut(asked.ix).filter(|e| !e.sorted.is_empty())?;
    let mut s = e.sorted.take(asked.suffix, BY_ID)?;
    s.asked_ms = now;
    let ttl_ms = settings::windows(ttl_s(&e.spec), None).ttl_ms;
    // (As a read of it would: so that the server sees that it is in use.)
    let len = Key::read(ctx, asked.raw_name).len();
    let lives = s.view.lives();
    let serves = s.is_of(e)
        && s.ready
        && e.standing == Standing::Home
        && s.view.marks() == 0
        && s.view.len() + 1 == len
        && serves(e, &s.head, now)
        && lives.fresh_until(&e.feed, now).is_some()
        && lives.first_end() >= now + refresh::horizon_ms(ttl_ms);
    let n = s.view.total();
    // (A long list is written by a worker.)
    let serves = serves && (output == Output::Count || n <= view::IDS_AT_ONCE);
    if serves {
        view::touch(ctx, e, &mut s);
        match output {
            Output::Count => {
                rm!(RedisModule_ReplyWithLongLong(ctx, n as i64));
            }
            _ => {
                rm!(RedisModule_ReplyWithArray(ctx, n as i64));
                for (id, _) in s.view.window(false, 0, n) {
                    reply::bulk(ctx, id.as_bytes());
                }
            }
        }
        e.read_ms.set(now);
        e.figures.hits += 1;
        e.figures.sorted_hits += 1;
    }
    e.sorted.put(s);
    serves.then_some(Found::Replied)
}

/// A set of which ids or their number are asked for is to be kept in the order of ids from now on, if there is room.
fn keep(ctx: Ctx, st: &mut State, asked: &Asked, members: usize) {
    let Some(e) = st.get_mut(asked.ix) else {
        return;
    };
    if members < FEWEST_KEPT
        || asked.now.saturating_sub(e.sorted.wished_ms) < WISH_PAUSE_MS
        || e.sorted.holds(asked.suffix, BY_ID)
    {
        return;
    }
    e.sorted.wished_ms = asked.now;
    let wish = Wish {
        ix: asked.ix,
        suffix: asked.suffix.into(),
        by: BY_ID,
    };
    sorted::wish(ctx, st, wish);
}

/// The answers of a set's members, into the scratch; how many there are. Counted as a hit.
fn members(ctx: Ctx, st: &mut State, asked: &Asked, scratch: &mut Scratch) -> Option<usize> {
    let Asked {
        name,
        entity,
        condition,
        takes,
        now,
        ..
    } = *asked;
    let e = st.get(asked.ix)?;
    let set = Key::read(ctx, asked.raw_name);
    let n = set.len();
    let most = settings::MAX_ANSWER.get().max(0) as usize;
    if !(2..=MOST_MEMBERS + 1).contains(&n) || n - 1 > most || set.kind() != ffi::KeyKind::Zset {
        return None;
    }
    let head = store::sentinel(&set, name)?;
    if !serves(e, &head, now) {
        return None;
    }
    scratch.name.clear();
    scratch.name.extend_from_slice(entity.as_bytes());
    scratch.name.push(b':');
    let prefix = scratch.name.len();
    let mut slot: Option<NameSlot> = None;
    let mut first = true;
    let mut all = true;
    set.members(|id| {
        if std::mem::take(&mut first) {
            return true;
        }
        scratch.name.truncate(prefix);
        scratch.name.extend_from_slice(id);
        let slot = slot.get_or_insert_with(|| NameSlot::new(&scratch.name));
        let answer = slot.open(ctx, &scratch.name).and_then(|key| {
            member(
                e,
                &key,
                &scratch.name,
                condition,
                takes,
                now,
                &mut scratch.made,
            )
        });
        all &= answer.is_some();
        scratch.answers.extend(answer);
        all
    });
    if !all {
        return None;
    }
    e.read_ms.set(now);
    let e = st.get_mut(asked.ix)?;
    e.figures.hits += 1;
    Some(n - 1)
}

/// What is taken of a member.
#[derive(Clone, Copy)]
enum Takes {
    Id,
    Answer,
    Whole,
}

/// What is taken of a member, if its copy is fresh and says that it belongs.
fn member(
    e: &Entity,
    key: &Key,
    name: &[u8],
    condition: Option<(u16, &[u8])>,
    takes: Takes,
    now: u64,
    made: &mut Vec<u8>,
) -> Option<Answer> {
    let body = key.body()?;
    let entry = Entry::read(body, name)?;
    let belongs = condition.is_none_or(|(field, value)| entry.has(field, value));
    if !belongs || entry.header.generation != e.generation || !plainly_fresh(&entry.header, now) {
        return None;
    }
    let stored = |part: &[u8]| Answer::Stored(part.as_ptr(), part.len());
    Some(match takes {
        Takes::Id => stored(record::id_in(entry.answer())?),
        Takes::Answer => stored(entry.answer()),
        Takes::Whole => match entry.pieces() {
            (whole, []) => stored(whole),
            (first, rest) => {
                let at = made.len();
                made.extend_from_slice(first);
                made.extend_from_slice(rest);
                Answer::Made(at, made.len() - at)
            }
        },
    })
}
