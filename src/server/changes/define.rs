//! A spec that a client or a schema defines: in force, and kept.

use crate::server::state::entities::State;
use crate::server::store::change;
use crate::server::store::own_keys;
use crate::server::store::specs::{put_in_force, Effect};
use crate::server::valkey::ffi::Ctx;
use podium_core::spec::Spec;

/// Puts a spec in force. One that is equal in effect changes nothing.
pub(crate) fn define(st: &mut State, ctx: Ctx, name: &str, spec: Spec) {
    match put_in_force(st, name, spec, None) {
        Effect::None(_) => return,
        Effect::Changed(ix) => change::entity_written(st, ctx, ix),
        Effect::New(_) => {}
    }
    if let Some(e) = st.by_name(name) {
        own_keys::save_spec(ctx, e);
    }
}
