//! What must outlive the process: specs, generations and doubt, in native keys `podium:…` that are saved, replicated and
//! migrated like any other. The truth is in memory; the keys are rewritten whenever somebody takes them away.

pub(crate) mod evicted;
pub(crate) mod write;

use crate::server::state::clock;
use crate::server::store::change;
use crate::server::store::own_keys::write::write_key;
pub(crate) use crate::server::store::own_keys::write::{write, write_unseen, Wrote};
use crate::server::store::specs::{self, Effect, Generations};

use crate::server::state::entities::{Entity, State};
use crate::server::state::standing::Standing;
use crate::server::valkey::ffi::slot;
use crate::server::valkey::ffi::{self, Ctx, Key, KeyKind, RString};
use podium_core::key::{self};
use podium_core::spec::Spec;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) const SPEC: &str = "spec";
pub(crate) const DOUBT: &str = "doubt";

/// Something could not be written when it should have been; upkeep tries again.
pub(crate) static UNSAVED: AtomicBool = AtomicBool::new(false);

/// Writes an entity's spec and generations.
pub(crate) fn save_spec(ctx: Ctx, e: &Entity) {
    let (name, json) = (key::own(SPEC, &e.name), e.spec.to_json());
    let (g, s) = (e.generation.to_string(), e.sets_generation.to_string());
    // While its slot is moving it is here or nowhere, unless it was given away.
    let decides = !matches!(e.standing, Standing::Given | Standing::New);
    write_key(
        ctx,
        c"HSET",
        &[
            &name,
            b"spec",
            json.as_bytes(),
            b"generation",
            g.as_bytes(),
            b"sets",
            s.as_bytes(),
        ],
        decides,
    );
    evicted::is_there(&name);
    crate::server::store::kept::save(ctx, e, &name);
}

/// Writes an entity's generations; before any fill that carries them.
pub(crate) fn save_generations(ctx: Ctx, e: &Entity) {
    let name = key::own(SPEC, &e.name);
    if evicted::is_missing(&name) {
        // A part of it would be no spec.
        return save_spec(ctx, e);
    }
    let (g, s) = (e.generation.to_string(), e.sets_generation.to_string());
    write(
        ctx,
        c"HSET",
        &[&name, b"generation", g.as_bytes(), b"sets", s.as_bytes()],
    );
}

pub(crate) fn delete_spec(ctx: Ctx, entity: &str) {
    // Said before its key goes, so that a replica can tell it from a key that was evicted.
    let name = key::own(SPEC, entity);
    if evicted::is_missing(&name) {
        write(ctx, c"HSET", &[&name, b"generation", b"0"]);
    } else {
        write(ctx, c"HDEL", &[&name, b"spec"]);
    }
    // One by one: while the slot is moving they may not be at the same place.
    for what in [SPEC, DOUBT] {
        write(ctx, c"UNLINK", &[&key::own(what, entity)]);
    }
}

pub(crate) fn save_doubt(ctx: Ctx, e: &Entity, id: &str, seq: u64) -> Wrote {
    write(
        ctx,
        c"HSET",
        &[
            &key::own(DOUBT, &e.name),
            id.as_bytes(),
            seq.to_string().as_bytes(),
        ],
    )
}

pub(crate) fn forget_doubt(ctx: Ctx, e: &Entity, id: &str) {
    write(ctx, c"HDEL", &[&key::own(DOUBT, &e.name), id.as_bytes()]);
}

pub(crate) fn clear_doubts(ctx: Ctx, e: &Entity) {
    let name = key::own(DOUBT, &e.name);
    if Key::peek(ctx, RString::new(&name).raw()).kind() != KeyKind::Empty {
        write(ctx, c"UNLINK", &[&name]);
    }
}

/// Doubts written by one command.
const AT_ONCE: usize = 100;

/// Writes all of an entity's doubts.
pub(crate) fn save_doubts(ctx: Ctx, e: &Entity) {
    let name = key::own(DOUBT, &e.name);
    let all: Vec<(&str, String)> = e
        .doubts
        .iter()
        .map(|(id, seq)| (id, seq.to_string()))
        .collect();
    for part in all.chunks(AT_ONCE) {
        let pairs = part
            .iter()
            .flat_map(|(id, seq)| [id.as_bytes(), seq.as_bytes()]);
        let args: Vec<&[u8]> = std::iter::once(&name[..]).chain(pairs).collect();
        write(ctx, c"HSET", &args);
    }
}

/// Upkeep writes everything anew.
pub(crate) fn save_later() {
    UNSAVED.store(true, Ordering::Relaxed);
}

/// Is there something left to write?
pub(crate) fn unsaved() -> bool {
    UNSAVED.load(Ordering::Relaxed)
}

pub(crate) fn hash_of(ctx: Ctx, name: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    // By the key API: a command would be refused while a cluster is not up yet, which is when this is read.
    let s = RString::new(name);
    let k = Key::peek(ctx, s.raw());
    (k.kind() == KeyKind::Hash).then(|| k.fields())
}

fn number(fields: &[(Vec<u8>, Vec<u8>)], name: &[u8]) -> Option<u64> {
    let (_, v) = fields.iter().find(|(k, _)| k == name)?;
    std::str::from_utf8(v).ok()?.parse().ok()
}

/// Takes over an entity's keys as they stand: after loading, or on a replica when its primary wrote them.
pub(crate) fn load_spec(ctx: Ctx, st: &mut State, entity: &str) {
    let Some(fields) = hash_of(ctx, &key::own(SPEC, entity)) else {
        return;
    };
    let Some((_, json)) = fields.iter().find(|(k, _)| k == b"spec") else {
        if st.replica {
            // Its primary takes it away.
            change::entity_removed(st, entity);
        }
        return;
    };
    evicted::spec_came(entity);
    let (Some(generation), Some(sets)) = (number(&fields, b"generation"), number(&fields, b"sets"))
    else {
        return;
    };
    match Spec::parse(entity, json) {
        Ok(spec) => {
            let stored = Generations {
                records: generation,
                sets,
            };
            let effect = specs::put_in_force(st, entity, spec, Some(stored));
            let looks = slot::in_cluster() && !st.replica;
            if let (Effect::New(ix), true) = (effect, looks) {
                if let Some(e) = st.get_mut(ix) {
                    e.standing = Standing::New;
                }
            }
        }
        Err(why) => {
            ffi::log(
                ffi::Level::Warning,
                &format!("the stored spec of entity {entity} cannot be read: {why}"),
            );
            return;
        }
    }
    if let Some(e) = st.by_name_mut(entity) {
        crate::server::store::kept::load(e, &fields);
    }
    load_doubts(ctx, st, entity);
}

pub(crate) fn load_doubts(ctx: Ctx, st: &mut State, entity: &str) {
    let fields = hash_of(ctx, &key::own(DOUBT, entity)).unwrap_or_default();
    let number = |seq: &[u8]| {
        std::str::from_utf8(seq)
            .ok()
            .map(|s| s.parse().unwrap_or(u64::MAX))
    };
    let Some(e) = st.by_name_mut(entity) else {
        return;
    };
    e.doubts.clear();
    e.strays.clear();
    for (id, seq) in &fields {
        let (Ok(id), Some(seq)) = (std::str::from_utf8(id), number(seq)) else {
            continue;
        };
        // Whatever its number says, the record is in doubt: one that is not believed is so from now on.
        let believed = clock::order().observe(seq, clock::now_us());
        let seq = if believed { seq } else { clock::next() };
        e.doubts.raise(id, seq);
    }
}
