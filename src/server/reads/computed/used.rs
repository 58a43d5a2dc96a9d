//! What a read FOR a token answers is used by the computation that holds it.

use crate::server::state::clock;
use crate::server::state::entities::{EntityIx, State};
use crate::server::store::answers::{self, content, content_of_set};
use crate::server::valkey::ffi::Ctx;
use compact_str::CompactString;
use podium_core::computed::answers::Named;
use podium_core::computed::lease::Token;
use podium_core::computed::stored::Stored;
use podium_core::computed::thing::{Content, Dep, Kind, ABSENT, UNKNOWN};
use podium_core::computed::uses::Used as OneUse;
use podium_core::entry::Entry;
use podium_core::key;

/// Members that a set is used with, at most; a larger one counts as the whole entity.
pub(crate) const MOST_MEMBERS: usize = 10_000;

/// What one read used so far.
pub(crate) struct Used {
    /// The number under which what is answered was looked at; what it waited for had come.
    pub(crate) began: u64,
    pub(crate) named: Vec<Named>,
    /// The first of its parts to end, unix ms.
    pub(crate) fresh_until: Option<u64>,
    /// The index sets among them, with who is in them.
    sets: Vec<(EntityIx, Box<[u8]>, Vec<CompactString>)>,
}

impl Used {
    /// Of a read that begins to look at what is there.
    pub(crate) fn begin() -> Used {
        Used {
            began: clock::next(),
            named: Vec::new(),
            fresh_until: None,
            sets: Vec::new(),
        }
    }
    pub(crate) fn until(&mut self, fresh_until: u64) {
        let known = self.fresh_until.unwrap_or(u64::MAX);
        self.fresh_until = Some(known.min(fresh_until));
    }
    fn thing(&mut self, kind: Kind, name: &[u8], content: Content, ix: EntityIx) {
        let dep = Dep {
            thing: answers::thing(kind, name),
            kind,
            content,
            name: None,
        };
        self.named.push(Named::Thing(OneUse {
            dep,
            entity: Some(ix),
        }));
    }
    /// A record as it was answered; `None`: that it does not exist. `vouched`: the feed says when that changes.
    pub(crate) fn record(
        &mut self,
        ix: EntityIx,
        name: &[u8],
        entry: Option<&Entry>,
        fresh_until: u64,
        vouched: bool,
    ) {
        self.thing(Kind::Record, name, entry.map_or(ABSENT, content), ix);
        if !vouched {
            self.until(fresh_until);
        }
    }
    /// An index set, with the ids that are in it.
    pub(crate) fn set(&mut self, st: &State, ix: EntityIx, suffix: &[u8], ids: &[CompactString]) {
        let Some(e) = st.get(ix) else { return };
        let name = [e.name.as_bytes(), b":", suffix].concat();
        if ids.len() > MOST_MEMBERS {
            return self.thing(Kind::Whole, &key::all(&e.name), UNKNOWN, ix);
        }
        self.sets.push((ix, suffix.into(), ids.to_vec()));
        self.thing(Kind::Set, &name, content_of_set(ids), ix);
    }
    /// A member of a set that was answered. `until`: when it ends, unless the feed says when it changes.
    pub(crate) fn member(
        &mut self,
        ix: EntityIx,
        name: &[u8],
        content: Content,
        until: Option<u64>,
    ) {
        self.thing(Kind::Record, name, content, ix);
        if let Some(until) = until {
            self.until(until);
        }
    }
    /// An index set by what it was like, or `UNKNOWN`: which of its records belong to the answer their own cells say. `as_of`: the
    /// number under which that was looked at, if it was current then.
    pub(crate) fn set_as_of(
        &mut self,
        st: &State,
        ix: EntityIx,
        suffix: &[u8],
        content: Content,
        as_of: Option<u64>,
    ) {
        if let Some(e) = st.get(ix) {
            let name = [e.name.as_bytes(), b":", suffix].concat();
            self.thing_as_of(Kind::Set, &name, content, ix, as_of);
        }
    }
    /// All of an entity.
    pub(crate) fn whole(&mut self, st: &State, ix: EntityIx, as_of: Option<u64>) {
        if let Some(e) = st.get(ix) {
            self.thing_as_of(Kind::Whole, &key::all(&e.name), UNKNOWN, ix, as_of);
        }
    }
    fn thing_as_of(
        &mut self,
        kind: Kind,
        name: &[u8],
        content: Content,
        ix: EntityIx,
        as_of: Option<u64>,
    ) {
        self.thing(kind, name, content, ix);
        if let (Some(as_of), Some(Named::Thing(used))) = (as_of, self.named.last()) {
            let read = Named::AsOf(used.clone(), as_of);
            self.named.pop();
            self.named.push(read);
        }
    }
    /// A computed answer; `None`: that there is none.
    pub(crate) fn answer(&mut self, st: &State, name: &[u8], answer: Option<&Stored>) {
        let own = Dep {
            thing: answers::thing(Kind::Computed, name),
            kind: Kind::Computed,
            content: answer.map_or(ABSENT, |a| a.header.content),
            name: Some(name.into()),
        };
        let at = answer.and_then(|a| a.place(st.answers.process));
        if let Some(a) = answer {
            self.until(a.header.fresh_until);
        }
        self.named.push(Named::Answer { own, at });
    }
}

/// It was used by a computation, as of the number under which the read began. A token that is over: nothing happens.
/// `waited`: meanwhile it was looked at what was in doubt. What that changed the answer says already.
pub(crate) fn note(
    st: &mut State,
    ctx: Ctx,
    token: Token,
    used: Used,
    as_of: u64,
    now_ms: u64,
    waited: bool,
) {
    are_used(st, &used.named);
    // First what is known now, against which the core holds what was answered.
    if waited {
        for (ix, suffix, ids) in &used.sets {
            answers::set_answered(st, ctx, *ix, suffix, ids, as_of);
        }
    }
    if !st.answers.core.used(token, used.named, as_of, now_ms) {
        return;
    }
    if let Some(until) = used.fresh_until {
        let known = st.answers.fresh_until.entry(token).or_insert(until);
        *known = (*known).min(until);
    }
}

/// From here on doubt about the records of these entities matters, whether they have index sets or not.
pub(crate) fn are_used(st: &mut State, named: &[Named]) {
    let mut known: Option<EntityIx> = None;
    for n in named {
        let (Named::Thing(OneUse {
            entity: Some(ix), ..
        })
        | Named::AsOf(
            OneUse {
                entity: Some(ix), ..
            },
            _,
        )) = n
        else {
            continue;
        };
        // (What is used together is mostly of one entity.)
        if known.replace(*ix) == Some(*ix) {
            continue;
        }
        let Some(e) = st.get_mut(*ix) else { continue };
        e.answers_use_it = true;
        let latest = e.doubts.iter().map(|(_, seq)| seq).max();
        if let Some(latest) = latest {
            st.answers.core.entity_doubt(*ix, latest);
        }
    }
}
