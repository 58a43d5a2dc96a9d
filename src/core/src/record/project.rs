//! A view, cut out of a stored record.

use super::cell::{fit_rule, Fitted};
use super::{opening, push_json, BadRecord, Span};
use crate::spec::{Spec, View, ViewIx};
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// JSON of a view. A record with a schema is cut without being parsed.
///
/// # Errors
/// The view is none of the spec's, or the stored record is not what the spans say.
pub fn project(
    spec: &Spec,
    view: ViewIx,
    id: &str,
    whole: &[u8],
    spans: &[Span],
) -> Result<Vec<u8>, BadRecord> {
    let view = spec
        .view_at(view)
        .ok_or_else(|| BadRecord(String::from("the spec has no such view")))?;
    if spec.open() {
        return select(view, id, whole);
    }
    let broken = || BadRecord(String::from("the stored record does not fit its spec"));
    if spans.len() != spec.fields().len() {
        return Err(broken());
    }
    let mut out = opening(id);
    out.reserve(whole.len());
    for column in view.columns() {
        let span = column
            .field
            .and_then(|f| spans.get(usize::from(f)))
            .ok_or_else(broken)?;
        let lacking = span.filled || span.start == span.end;
        if lacking && view.own_schema() {
            if let Some(fill) = &column.fill {
                out.push(b',');
                out.extend_from_slice(column.key.as_bytes());
                out.extend_from_slice(fill.as_bytes());
            }
        } else if span.start != span.end {
            let cut = whole
                .get(span.start as usize..span.end as usize)
                .ok_or_else(broken)?;
            out.push(b',');
            out.extend_from_slice(cut);
        }
    }
    out.push(b'}');
    Ok(out)
}

/// Without a schema nothing tells where a column lies: the record is parsed.
fn select(view: &View, id: &str, whole: &[u8]) -> Result<Vec<u8>, BadRecord> {
    let cells: Map<String, Value> = serde_json::from_slice(whole)
        .map_err(|_| BadRecord(String::from("the stored record is not JSON")))?;
    let mut out = opening(id);
    for column in view.columns() {
        let fitted = match (cells.get(&column.name), &column.rule) {
            (None, _) => Fitted::Lacking,
            (Some(v), None) => Fitted::Holds(v.clone()),
            (Some(v), Some(rule)) => fit_rule(rule, v.clone()),
        };
        match (fitted, &column.fill) {
            (Fitted::Holds(v) | Fitted::Misfit(v), _) => {
                out.push(b',');
                out.extend_from_slice(column.key.as_bytes());
                push_json(&mut out, &v);
            }
            (Fitted::Lacking, Some(fill)) => {
                out.push(b',');
                out.extend_from_slice(column.key.as_bytes());
                out.extend_from_slice(fill.as_bytes());
            }
            (Fitted::Lacking, None) => {}
        }
    }
    out.push(b'}');
    Ok(out)
}
