//! A stored record in a view, without copying where the view is stored as such.

use crate::server::state::entities::Entity;
use crate::server::state::query::View;
use crate::server::valkey::reply::{Body, InPlace};
use podium_core::entry::Entry;
use podium_core::key;
use podium_core::spec::Spec;
use std::borrow::Cow;
use std::sync::Arc;

/// A stored record in a view.
pub(super) fn render(e: &Entity, view: &View, entry: &Entry, id: &str) -> Body {
    match view {
        View::Default => Body::InPlace(InPlace::new(entry.answer())),
        View::Whole => match entry.whole() {
            Cow::Borrowed(whole) => Body::InPlace(InPlace::new(whole)),
            Cow::Owned(whole) => Body::Bytes(whole),
        },
        View::Named(v) => cut(&e.spec, v, entry, id),
    }
}

pub(super) fn render_shared(
    spec: &Spec,
    view: &View,
    bytes: &Arc<[u8]>,
    entry: &Entry,
    id: &str,
) -> Body {
    let within = |part: &[u8]| {
        let at = part.as_ptr() as usize - bytes.as_ptr() as usize;
        Body::Shared(bytes.clone(), at, part.len())
    };
    match view {
        View::Default => within(entry.answer()),
        View::Whole => match entry.whole() {
            Cow::Borrowed(whole) => within(whole),
            Cow::Owned(whole) => Body::Bytes(whole),
        },
        View::Named(v) => cut(spec, v, entry, id),
    }
}

fn cut(spec: &Spec, view: &str, entry: &Entry, id: &str) -> Body {
    let Some(ix) = spec.view(view) else {
        return Body::error(format!(
            "NOVIEW there is no view '{}' any more",
            key::shown(view.as_bytes())
        ));
    };
    match entry.view(spec, ix, id) {
        Ok(json) => Body::Bytes(json.into_owned()),
        Err(why) => Body::error(format!(
            "BADRECORD {id} cannot be shown in the view {view}: {why}"
        )),
    }
}
