//! What is told while keys are on their way: how it reaches the copies that are not here, or keeps them from being believed.

use crate::server::state::entities::{Entity, EntityIx, State};
use crate::server::state::standing::Standing;
use crate::server::store;
use crate::server::store::change;
use crate::server::store::cluster::{is_there, unsettled, MARK};
use crate::server::valkey::ffi::slot::{self, Ground};
use crate::server::valkey::ffi::{self, Ctx, Key, KeyKind, RString};
use crate::server::valkey::lock::own_write;
use compact_str::CompactString;
use podium_core::entry::Header;
use podium_core::key::{self, Name};

/// Ids remembered of what was told while keys were coming; with more the entity is outdated as a whole.
const MOST_AMID: usize = 10_000;

/// While its keys are coming something is told of a record that was not here: what comes of it is older. `tomb`: it is gone.
pub(crate) fn told_amid(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str, tomb: Option<Header>) {
    let Some(e) = st.get_mut(ix) else { return };
    if !slot::in_cluster() || slot::ground(&key::record(&e.name, id)) != Ground::Arriving {
        return;
    }
    if e.amid.len() >= MOST_AMID {
        e.amid.clear();
        // Whatever is still to come is of a generation that is over.
        change::entity(st, ctx, ix);
        return;
    }
    e.amid.insert(CompactString::new(id), tomb);
}

/// Something is told of an entity. What it means for those of its base whose specs are still to come nobody can say then.
pub(crate) fn told(st: &mut State, ix: EntityIx) {
    if st.get(ix).is_some_and(|e| e.standing == Standing::Given) {
        // What it was is known at neither node: answers that used anything of it are not believed at the other.
        change::answers_outdated(st, ix);
    }
    let coming = st.get(ix).filter(|e| e.standing == Standing::Arriving);
    if let Some(tag) = coming.map(|e| key::tag(&e.name).to_string()) {
        st.told_amid.insert(tag);
    }
}

/// Something newer is known of a record that is not here: while its slot is moving, it may be at the other end.
pub(crate) fn told_of_absent(st: &mut State, ctx: Ctx, ix: EntityIx, id: &str) {
    if !slot::in_cluster() || st.replica {
        return;
    }
    let Some(e) = st.get_mut(ix) else { return };
    match slot::ground(&key::record(&e.name, id)) {
        Ground::Home | Ground::Away | Ground::Unknown => {}
        Ground::Arriving => told_amid(st, ctx, ix, id, None),
        Ground::Leaving => {
            if !e.departed.may_hold(id) {
                return;
            }
            // Of a base that was given away this leaves the mark.
            change::entity(st, ctx, ix);
        }
    }
}

/// An entity was outdated as a whole; the other node has to know where it decides.
pub(crate) fn outdated(st: &State, ctx: Ctx, ix: EntityIx) {
    let Some(e) = st.get(ix).filter(|e| e.standing == Standing::Given) else {
        return;
    };
    let mark = key::own(MARK, &e.name);
    if !ffi::removable(ctx) || slot::ground(&mark) != Ground::Leaving {
        return;
    }
    let at = ffi::now_ms().to_string();
    own_write(|| {
        let key = Key::write(slot::own_context(), RString::new(&mark).raw());
        if key.set_field(&RString::new(b"at"), &RString::new(at.as_bytes())) {
            ffi::replicate(ctx, c"HSET", &[&mark, b"at", at.as_bytes()]);
        }
    });
}

/// Of a base that was given away no copy is believed here; one that something is told of may not go to the other node either.
/// True if there was one.
pub(crate) fn drop_given(st: &State, ctx: Ctx, ix: EntityIx, id: &str) -> bool {
    let given = st.get(ix).filter(|e| e.standing == Standing::Given);
    given.is_some_and(|e| {
        let name = key::record(&e.name, id);
        let kind = Key::peek(slot::own_context(), RString::new(&name).raw()).kind();
        kind == KeyKind::String && store::remove_key(ctx, &name)
    })
}

/// Can what is told of this record not be made known here, because its copy may be where another node answers?
pub(crate) fn out_of_reach(st: &State, entity: &str, id: &str) -> bool {
    if !slot::in_cluster() || st.replica {
        return false;
    }
    let name = key::record(entity, id);
    match slot::ground(&name) {
        Ground::Home | Ground::Arriving | Ground::Unknown => false,
        Ground::Leaving => {
            let given = |e: &Entity| e.standing == Standing::Given;
            st.by_name(entity).is_none_or(given) && !is_there(&name)
        }
        Ground::Away => true,
    }
}

/// A record or a tombstone came to be without our doing. True if something newer was told of it here: it goes.
fn is_outdated(st: &State, entity: &str, id: &str) -> bool {
    st.by_name(entity).is_some_and(|e| e.amid.contains_key(id))
}

/// May there be a copy of a record, here or at the other end, of which the registers know nothing?
pub(crate) fn may_be_unseen(e: &Entity, id: &str) -> bool {
    e.unregistered || e.standing != Standing::Home || e.departed.may_hold(id)
}

/// A record's or tombstone's key was taken away by somebody else: perhaps to another node.
pub(crate) fn went(e: &mut Entity, id: &str) {
    if slot::in_cluster() && !slot::stays(e.name.as_bytes()) {
        e.departed.add(id);
    }
}

/// Is not all of an entity here, so that nobody knows what its index sets hold?
pub(crate) fn is_split(e: &Entity) -> bool {
    slot::in_cluster()
        && (matches!(e.standing, Standing::Given | Standing::Arriving)
            && !slot::at_home(e.name.as_bytes()))
}

/// What concerns more than one key is for who decides. Where the base was given away, the key that led here is taken away, so
/// that the command is sent on when it is tried again.
pub(crate) fn send_on(st: &State, ctx: Ctx, ix: EntityIx, suffix: &[u8]) -> Result<(), String> {
    let Some(e) = st.get(ix).filter(|e| e.standing == Standing::Given) else {
        return Ok(());
    };
    let Some(again) = unsettled(&e.name) else {
        return Ok(());
    };
    store::remove_key(ctx, &key::set(&e.name, suffix));
    Err(again)
}

/// A record or tombstone that came while something newer was told here. Its name, if it is to go.
pub(crate) fn came_late<'a>(st: &State, name: &'a [u8]) -> Option<&'a [u8]> {
    if st.replica || !slot::in_cluster() {
        return None;
    }
    match key::parse(name) {
        Some(Name::Record { entity, id } | Name::Tomb { entity, id }) => {
            is_outdated(st, entity, id).then_some(name)
        }
        _ => None,
    }
}
