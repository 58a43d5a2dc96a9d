//! A record brought into its stored form.

use super::cell::Spelled;
use super::owner::Owner;
use super::{head, number, parts, Header};
use super::{LENGTHS, LONG_VIEW, RECORD, VALUES, VIEW_APART, VIEW_FIRST};
use crate::record::{FieldValues, Shaped};
use alloc::vec::Vec;

/// The value to store for a record under `name`.
pub fn encode(name: &[u8], h: &Header, shaped: &Shaped) -> Vec<u8> {
    let (entity, _) = parts(name).unwrap_or((name, &[]));
    let whole = &shaped.whole[..];
    let mut flags = 0;
    let mut between: Vec<u8> = Vec::new();
    // Where the view's closing brace stands between the cells.
    let mut brace = usize::MAX;
    let mut json = [whole, &[]];
    if let Some(view) = &shaped.default_view {
        match u16::try_from(view.len()) {
            Ok(len) if len != LONG_VIEW => between.extend_from_slice(&len.to_le_bytes()),
            _ => {
                between.extend_from_slice(&LONG_VIEW.to_le_bytes());
                number::put(&mut between, view.len() as u64);
            }
        }
        let open = view.split_last().map_or(&[][..], |(_, open)| open);
        match whole.strip_prefix(open) {
            Some(rest) if rest.first() == Some(&b',') => {
                (flags, brace, json) = (VIEW_FIRST, open.len(), [view, rest]);
            }
            _ => (flags, json) = (VIEW_APART, [view, whole]),
        }
    }
    let lengths = shaped.cut && !shaped.spans.is_empty();
    let values = values(shaped, brace);
    if !values.is_empty() {
        flags |= VALUES;
        if lengths {
            number::put(&mut between, values.len() as u64);
        }
        between.extend_from_slice(&values);
    }
    if lengths {
        flags |= LENGTHS;
        for s in &shaped.spans {
            let len = u64::from(s.end.saturating_sub(s.start));
            number::put(&mut between, len << 1 | u64::from(s.filled && len > 0));
        }
    }
    head::write(RECORD, Owner::of(entity), h, flags, &between, &json)
}

/// For each field that has texts: where in the cells they are spelled, counted from the one before, or the texts.
fn values(shaped: &Shaped, brace: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut before = 0;
    for FieldValues { field, at, texts } in &shaped.values {
        let at = *at as usize;
        let cell = shaped.whole.get(at..).unwrap_or(&[]);
        let field = u64::from(*field) << 1;
        if Spelled::new(cell).eq(texts.iter().map(Vec::as_slice)) {
            let at = (at + usize::from(at >= brace)) as u64;
            number::put(&mut out, field);
            number::put(&mut out, number::apart(at, before));
            before = at;
            continue;
        }
        let mut kept = Vec::new();
        for t in texts {
            number::put(&mut kept, t.len() as u64);
            kept.extend_from_slice(t);
        }
        number::put(&mut out, field | 1);
        number::put(&mut out, kept.len() as u64);
        out.extend_from_slice(&kept);
    }
    out
}
