//! A view, cut out of a stored record.

use super::cell::fit_rule;
use super::{open, opening, push_json, BadRecord, Span};
use crate::spec::Fitted;
use crate::spec::{Alternatives, FieldIx, Spec, View, ViewIx};
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// JSON of a view. A record with a schema is cut without being parsed; `whole` is then whatever the spans lie in.
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
    let mut out = Vec::new();
    project_into(spec, view, id, whole, spans, &mut out)?;
    Ok(out)
}

/// The same, in place of what `out` holds.
///
/// # Errors
/// As [`project`].
pub fn project_into(
    spec: &Spec,
    view: ViewIx,
    id: &str,
    whole: &[u8],
    spans: &[Span],
    out: &mut Vec<u8>,
) -> Result<(), BadRecord> {
    let view = spec
        .view_at(view)
        .ok_or_else(|| BadRecord(String::from("the spec has no such view")))?;
    if spec.open() {
        *out = select(view, id, whole)?;
        return Ok(());
    }
    let broken = || BadRecord(String::from("the stored record does not fit its spec"));
    if spans.len() != spec.fields().len() {
        return Err(broken());
    }
    if let Some(union) = view.union() {
        let cells = view.columns().iter().map(|c| {
            let at = usize::from(c.field.ok_or_else(broken)?);
            let (field, span) = spec
                .fields()
                .get(at)
                .zip(spans.get(at))
                .ok_or_else(broken)?;
            if span.filled || span.start == span.end {
                return Ok(None);
            }
            let value = (span.start as usize).checked_add(field.key.len());
            let value = value.and_then(|from| whole.get(from..span.end as usize));
            let value = value.ok_or_else(broken)?;
            serde_json::from_slice(value)
                .map(Some)
                .map_err(|_| broken())
        });
        let cells: Vec<Option<Value>> = cells.collect::<Result<_, BadRecord>>()?;
        *out = of_union(view, union, id, &cells);
        return Ok(());
    }
    out.clear();
    out.reserve(whole.len());
    open(out, id);
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
    Ok(())
}

/// Without a schema nothing tells where a column lies: the record is parsed.
fn select(view: &View, id: &str, whole: &[u8]) -> Result<Vec<u8>, BadRecord> {
    let cells: Map<String, Value> = serde_json::from_slice(whole)
        .map_err(|_| BadRecord(String::from("the stored record is not JSON")))?;
    if let Some(union) = view.union() {
        let own = view.columns().iter().map(|c| cells.get(&c.name).cloned());
        return Ok(of_union(view, union, id, &own.collect::<Vec<_>>()));
    }
    let mut out = opening(id);
    for column in view.columns() {
        let fitted = match (cells.get(&column.name), &column.rule) {
            (None, _) => Fitted::Lacking,
            (Some(v), None) => Fitted::Holds(v.clone()),
            (Some(v), Some(rule)) => fit_rule(rule, v.clone()),
        };
        put(&mut out, &column.key, fitted, column.fill.as_deref());
    }
    out.push(b'}');
    Ok(out)
}

/// A view that is a union: the columns of the first alternative that the record's own cells satisfy. `cells` are those of
/// the columns, in their order.
fn of_union(view: &View, union: &Alternatives, id: &str, cells: &[Option<Value>]) -> Vec<u8> {
    let own: Vec<(FieldIx, bool)> = (0..)
        .zip(cells)
        .filter_map(|(ix, cell)| Some((ix, !cell.as_ref()?.is_null())))
        .collect();
    let of = |ix: FieldIx| cells.get(usize::from(ix)).cloned().flatten();
    let alternative = union.of_record(&own, |ix, rule| match of(ix) {
        Some(v) => fit_rule(rule, v),
        None => Fitted::Lacking,
    });
    let mut out = opening(id);
    for (ix, column) in (0..).zip(view.columns()) {
        let member = alternative.map(|a| a.member(ix));
        let (rule, fill) = match member {
            Some(None) => continue,
            Some(Some(m)) => (Some(&*m.rule), m.fill_json.as_deref()),
            None => (column.rule.as_ref(), None),
        };
        let fitted = match (of(ix), rule) {
            (Some(v), Some(rule)) => fit_rule(rule, v),
            _ => Fitted::Lacking,
        };
        put(&mut out, &column.key, fitted, fill);
    }
    out.push(b'}');
    out
}

/// A column as its schema has it, or filled where its cell is lacking. `key`: `"name":`
fn put(out: &mut Vec<u8>, key: &str, fitted: Fitted, fill: Option<&str>) {
    let value = match fitted {
        Fitted::Holds(v) | Fitted::Misfit(v) => Some(v),
        Fitted::Lacking => None,
    };
    if value.is_none() && fill.is_none() {
        return;
    }
    out.push(b',');
    out.extend_from_slice(key.as_bytes());
    match value {
        Some(v) => push_json(out, &v),
        None => out.extend_from_slice(fill.unwrap_or_default().as_bytes()),
    }
}
