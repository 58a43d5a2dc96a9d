//! The bases: what they hold, how cells are computed, shown and changed.

pub(crate) mod commit;
pub(crate) mod dependents;
pub(crate) mod input;
pub(crate) mod model;
pub(crate) mod reader;
pub(crate) mod schema_edit;
pub(crate) mod seed;
mod seed_fields;
pub(crate) mod show;
