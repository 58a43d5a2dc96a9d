//! What changes mean to computed answers: what the gate ([`super::super::change`]) passes on, in the names and contents of the core.

use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::store::answers::{content, content_of_set, cut, stir, thing};
use crate::server::store::{self, change::Change, By, Copy, Set};
use crate::server::valkey::ffi::slot;
use crate::server::valkey::ffi::Ctx;
use compact_str::CompactString;
use hashbrown::HashSet;
use podium_core::computed::answers::Seen;
use podium_core::computed::cut::Cut;
use podium_core::computed::index::Doubtful;
use podium_core::computed::thing::{Kind, ABSENT, UNKNOWN};
use podium_core::entry::Entry;
use podium_core::key;

/// A record's cells, or its end, became known. `doubted`: it was in doubt.
pub(crate) fn record(st: &mut State, c: &Change, doubted: bool) {
    if st.answers.idle() {
        return;
    }
    let Some(e) = st.get(c.ix) else { return };
    let name = e.name.clone();
    let own = thing(Kind::Record, &key::record(&name, c.id));
    let mut groups = vec![thing(Kind::Whole, &key::all(&name))];
    for entry in c.old.iter().chain(c.new.iter()) {
        for suffix in store::set_suffixes(st, c.ix, entry) {
            groups.push(thing(Kind::Set, &[name.as_bytes(), b":", &suffix].concat()));
        }
    }
    let core = &st.answers.core;
    if !core.concerns(own) && !groups.iter().any(|group| core.concerns(*group)) {
        // Nobody's business: the cells need not be hashed.
        return;
    }
    let seen = Seen {
        thing: own,
        content: c.new.map_or(ABSENT, content),
        before: match c.old {
            Some(old) => content(old),
            None if c.was_gone => ABSENT,
            None => UNKNOWN,
        },
        told: c.by == By::Told || doubted,
        entity: c.ix,
        as_of: c.seq,
        seq: clock::next(),
    };
    st.answers.core.seen(&seen, groups);
    stir(st);
}

/// A whole index set was stored, or one that nobody may read any more.
pub(crate) fn set(st: &mut State, ctx: Ctx, ix: EntityIx, suffix: &[u8], seq: u64) {
    let Some(e) = st.get(ix).filter(|_| !st.answers.idle()) else {
        return;
    };
    let own = thing(Kind::Set, &[e.name.as_bytes(), b":", suffix].concat());
    if !st.answers.core.concerns(own) {
        return;
    }
    let Set::Complete { ids, .. } = store::read_set(ctx, e, suffix) else {
        return;
    };
    let seen = Seen {
        thing: own,
        content: content_of_set(&ids),
        before: UNKNOWN,
        told: false,
        entity: ix,
        as_of: seq,
        seq: clock::next(),
    };
    st.answers.core.seen(&seen, []);
    stir(st);
}

/// An index set was answered with these members, as it is now: unless it has others that may belong.
pub(crate) fn set_answered(
    st: &mut State,
    ctx: Ctx,
    ix: EntityIx,
    suffix: &[u8],
    members: &[CompactString],
    seq: u64,
) {
    let Some(e) = st.get(ix) else { return };
    let Set::Complete { ids, .. } = store::read_set(ctx, e, suffix) else {
        return;
    };
    let answered: HashSet<&str> = members.iter().map(|id| id.as_str()).collect();
    let belongs = |id: &CompactString| match store::copy(ctx, e, id, false) {
        Copy::Record(b) => Entry::read(b, &key::record(&e.name, id)).is_none_or(|entry| {
            let sets = store::set_suffixes(st, ix, &entry);
            sets.iter().any(|s| **s == *suffix)
        }),
        Copy::Tomb(_) => false,
        Copy::Absent | Copy::Foreign => true,
    };
    let (all_there, others): (Vec<&CompactString>, Vec<_>) =
        ids.iter().partition(|id| answered.contains(id.as_str()));
    if all_there.len() != answered.len() || others.into_iter().any(belongs) {
        return;
    }
    let seen = Seen {
        thing: thing(Kind::Set, &[e.name.as_bytes(), b":", suffix].concat()),
        content: content_of_set(members),
        before: UNKNOWN,
        told: false,
        entity: ix,
        as_of: seq,
        seq: clock::next(),
    };
    st.answers.core.seen(&seen, []);
}

/// Somebody said that a record changed, and its cells are not seen yet.
pub(crate) fn doubt(st: &mut State, ix: EntityIx, id: &str, seq: u64) {
    if st.answers.idle() {
        return;
    }
    let Some(e) = st.get(ix) else { return };
    let name = key::record(&e.name, id);
    let doubtful = Doubtful {
        thing: thing(Kind::Record, &name),
        kind: Kind::Record,
        entity: ix,
        key: CompactString::from_utf8_lossy(&name),
        seq,
    };
    st.answers.core.doubt(doubtful);
    stir(st);
}

/// A user took a record's key away: the same, and kept if an answer used it.
pub(crate) fn removed(st: &mut State, ix: EntityIx, id: &str, seq: u64) {
    if st.answers.idle() {
        return;
    }
    let Some(e) = st.get(ix) else { return };
    let own = thing(Kind::Record, &key::record(&e.name, id));
    // (To another node, most likely, where it is the same.)
    let stays = slot::stays(&key::record(&e.name, id));
    if stays && st.answers.core.index().is_used(own) {
        st.answers.removed.push((ix, id.into()));
    }
    doubt(st, ix, id, seq);
}

/// A record is in doubt since before its answers were loaded.
pub(crate) fn doubted(st: &mut State, ix: EntityIx, id: &str, seq: u64) {
    doubt(st, ix, id, seq);
    entity_doubt(st, ix, seq);
}

/// Number of the latest doubt about any record of an entity; 0: none is in doubt any more.
pub(crate) fn entity_doubt(st: &mut State, ix: EntityIx, latest: u64) {
    if !st.answers.idle() {
        st.answers.core.entity_doubt(ix, latest);
    }
}

/// An index set changed, into what is not known.
pub(crate) fn set_changed(st: &mut State, ix: EntityIx, suffix: &[u8]) {
    let Some(e) = st.get(ix).filter(|_| !st.answers.idle()) else {
        return;
    };
    let own = thing(Kind::Set, &[e.name.as_bytes(), b":", suffix].concat());
    st.answers.core.changed(own, clock::next());
    stir(st);
}

/// A computed key is not there any more. `removed`: a user took it away.
pub(crate) fn left(st: &mut State, name: &[u8], removed: bool) {
    let place = st.answers.core.index().place(name);
    if let Some(at) = place {
        let resource = key::split(name).map_or("", |(r, _)| r);
        st.answers.count_gone(resource, at.slot, None);
    }
    if removed {
        let own = thing(Kind::Computed, name);
        let key = Cut::Key {
            key: name,
            thing: own,
        };
        cut(st, &[key]);
    }
    if let Some(at) = place {
        st.answers.core.remove(at);
    }
}

/// Compares what is cached of a record with what loaded answers used of it.
pub(crate) fn compare(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str) {
    let Some(e) = st.get(ix) else { return };
    let name = key::record(&e.name, id);
    let own = thing(Kind::Record, &name);
    if !st.answers.core.index().is_used(own) {
        return;
    }
    let now = match store::copy(ctx, e, id, false) {
        Copy::Record(b) => Entry::read(b, &name).map_or(UNKNOWN, |entry| content(&entry)),
        Copy::Tomb(_) => ABSENT,
        _ => UNKNOWN,
    };
    if now == UNKNOWN {
        return;
    }
    let seen = Seen {
        thing: own,
        content: now,
        before: UNKNOWN,
        told: false,
        entity: ix,
        as_of: 0,
        seq: clock::next(),
    };
    st.answers.core.seen(&seen, []);
}
