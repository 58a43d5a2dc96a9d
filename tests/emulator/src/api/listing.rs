//! Get and List: filters, order, pages.

use super::errors::ApiError;
use super::{Reply, Visit};
use crate::data::model::{Base, Table, TableNames};
use crate::data::reader::{Reader, Row};
use crate::data::show::{self, Shape};
use crate::formula::{self, Expr, FormulaError, Value};
use crate::http::response::Response;
use crate::ids::{is_shaped, Id};
use crate::iterators::Iteration;
use serde_json::{json, Value as Json};
use std::cmp::Ordering;
use std::sync::Arc;

/// Records on a page, at most and by default.
const PAGE: usize = 100;

/// `GET …/{table}/{record}`: the table must exist, but the record may be in any.
pub(super) fn get(visit: &Visit<'_>, base: &str, table: &str, record: &str) -> Reply {
    let world = visit.shared.world.read();
    let base = visit.base(&world, base, "data.records:read")?;
    if !is_shaped("rec", record) {
        return Err(ApiError::not_found());
    }
    base.table_named(table)
        .ok_or_else(|| ApiError::missing_table(visit.switches, table, &base.id))?;
    let (table, id, record) = base
        .locate(record)
        .ok_or_else(|| ApiError::missing_record(visit.switches))?;
    let reader = reader(visit, base);
    let mut response = Response::json(
        200,
        &show::record(&reader, Row { table, id, record }, &shape(visit, table)?),
    );
    response.records = Some(1);
    Ok(response)
}

/// `GET …/{table}` and `POST …/{table}/listRecords`.
pub(super) fn list(visit: &Visit<'_>, base: &str, table: &str) -> Reply {
    let world = visit.shared.world.read();
    let base = visit.base(&world, base, "data.records:read")?;
    let table = base
        .table_named(table)
        .ok_or_else(|| ApiError::missing_table(visit.switches, table, &base.id))?;
    let reader = reader(visit, base);
    let mut shape = shape(visit, table)?;
    shape.only = only_fields(visit, table)?;
    shape.comment_count = names(visit, "recordMetadata").any(|name| name == "commentCount");
    let page_size = bounded(visit, "pageSize", PAGE, PAGE)?;
    let max_records = bounded(visit, "maxRecords", usize::MAX, usize::MAX)?;
    // Parameters are checked on every page, as they are repeated on every page.
    let filter = filter(visit, table)?;
    let order = order(visit, table)?;
    let view = match visit.text("view") {
        Some(name) => {
            let unknown =
                || ApiError::invalid("VIEW_NAME_NOT_FOUND", &format!("View {name} not found"));
            Some(table.view_named(&name).ok_or_else(unknown)?)
        }
        None => None,
    };
    let (iteration, start) = match visit.text("offset") {
        Some(offset) => resume(visit, &offset, table)?,
        None => {
            let filters = [filter.as_ref(), view.and_then(|v| v.filter.as_ref())];
            let mut ids = matching(&reader, table, &filters, &order)?;
            ids.truncate(max_records);
            (Arc::new(Iteration::new(table.id.clone(), ids)), 0)
        }
    };
    let page_size = page_size.min(visit.switches.longest_page);
    let end = start.saturating_add(page_size).min(iteration.ids.len());
    let page = iteration.ids.get(start..end).unwrap_or_default();
    // A record deleted since the listing began is left out.
    let records: Vec<Json> = page
        .iter()
        .filter_map(|id| reader.row(table, id))
        .map(|row| show::record(&reader, row, &shape))
        .collect();
    let count = records.len();
    let mut body = json!({ "records": records });
    if end < iteration.ids.len() {
        let now_ms = visit.shared.clock.now_ms();
        let offset = visit.shared.iterators.lock().keep(&iteration, end, now_ms);
        if let Some(body) = body.as_object_mut() {
            body.insert("offset".to_owned(), json!(offset));
        }
    }
    let mut response = Response::json(200, &body);
    response.records = Some(count);
    Ok(response)
}

fn reader<'w>(visit: &'w Visit<'_>, base: &'w Base) -> Reader<'w> {
    let mut reader = Reader::new(
        base,
        visit.shared.clock.now_ms(),
        &visit.switches.arrayjoin_sep,
    );
    reader.evaluator.be_strict(visit.switches.strict_formulas);
    reader
}

/// How this request wants records shown; a table is named so that callers cannot forget to check it.
pub(super) fn shape(visit: &Visit<'_>, _table: &Table) -> Result<Shape, ApiError> {
    let as_text = match visit.text("cellFormat").as_deref() {
        None | Some("json") => false,
        Some("string")
            if visit.text("timeZone").is_some() && visit.text("userLocale").is_some() =>
        {
            true
        }
        Some(_) => return Err(ApiError::invalid_request()),
    };
    Ok(Shape {
        by_field_id: visit.flag("returnFieldsByFieldId"),
        as_text,
        reply_serial: Some(visit.shared.next_reply()),
        ..Shape::default()
    })
}

/// A list parameter from body and query.
fn names<'v>(visit: &'v Visit<'_>, key: &'v str) -> impl Iterator<Item = &'v str> {
    let in_body = visit
        .body
        .get(key)
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str);
    in_body.chain(visit.request.parameters(key))
}

fn only_fields(
    visit: &Visit<'_>,
    table: &Table,
) -> Result<Option<std::collections::HashSet<Id>>, ApiError> {
    let mut only = None;
    for name in names(visit, "fields") {
        let field = table
            .field_named(name)
            .ok_or_else(|| ApiError::unknown_field(name))?;
        only.get_or_insert_with(std::collections::HashSet::new)
            .insert(field.id.clone());
    }
    Ok(only)
}

fn bounded(visit: &Visit<'_>, key: &str, default: usize, most: usize) -> Result<usize, ApiError> {
    match visit.text(key) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=most).contains(n))
            .ok_or_else(ApiError::invalid_request),
    }
}

fn filter(visit: &Visit<'_>, table: &Table) -> Result<Option<Expr>, ApiError> {
    let Some(text) = visit.text("filterByFormula") else {
        return Ok(None);
    };
    let names = TableNames {
        table,
        accept_ids: visit.switches.formula_field_ids,
    };
    formula::compile(&text, &names)
        .map(|compiled| Some(compiled.expr))
        .map_err(|e| ApiError::bad_formula(&e))
}

/// A field to sort by, and whether downwards.
type Key = (Id, bool);

fn order(visit: &Visit<'_>, table: &Table) -> Result<Vec<Key>, ApiError> {
    let mut wanted: Vec<(String, String)> = Vec::new();
    for key in visit
        .body
        .get("sort")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
    {
        let part = |name: &str| {
            key.get(name)
                .and_then(Json::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        wanted.push((part("field"), part("direction")));
    }
    for place in 0.. {
        let Some(field) = visit.request.parameter(&format!("sort[{place}][field]")) else {
            break;
        };
        let direction = visit
            .request
            .parameter(&format!("sort[{place}][direction]"))
            .unwrap_or_default();
        wanted.push((field.to_owned(), direction.to_owned()));
    }
    wanted
        .into_iter()
        .map(|(name, direction)| {
            let field = table
                .field_named(&name)
                .ok_or_else(|| ApiError::unknown_field(&name))?;
            match direction.as_str() {
                "" | "asc" => Ok((field.id.clone(), false)),
                "desc" => Ok((field.id.clone(), true)),
                _ => Err(ApiError::invalid_request()),
            }
        })
        .collect()
}

fn resume(
    visit: &Visit<'_>,
    offset: &str,
    table: &Table,
) -> Result<(Arc<Iteration>, usize), ApiError> {
    let shaped = offset
        .split_once('/')
        .is_some_and(|(iterator, record)| iterator.starts_with("itr") && record.starts_with("rec"));
    if !shaped {
        return Err(ApiError::invalid(
            "INVALID_OFFSET_VALUE",
            &format!("The value of offset {offset} is invalid"),
        ));
    }
    let life_ms = visit.switches.offset_life_ms;
    let found = visit
        .shared
        .iterators
        .lock()
        .resume(offset, visit.shared.clock.now_ms(), life_ms);
    found
        .filter(|(iteration, _)| iteration.table == table.id)
        .ok_or_else(ApiError::iterator_gone)
}

/// The ids that pass all filters, in order.
fn matching<'a>(
    reader: &Reader<'a>,
    table: &'a Table,
    filters: &[Option<&Expr>],
    order: &[Key],
) -> Result<Vec<Id>, ApiError> {
    let candidates = filters
        .iter()
        .flatten()
        .filter_map(|f| f.record_ids())
        .min_by_key(Vec::len);
    let passes = |row: Row<'a>| {
        filters
            .iter()
            .flatten()
            .all(|filter| reader.evaluate(filter, row).passes())
    };
    let mut rows: Vec<Row<'a>> = match candidates {
        Some(ids) => {
            let mut places: Vec<usize> = ids
                .iter()
                .filter_map(|id| table.records.get_index_of(&**id))
                .collect();
            places.sort_unstable();
            places.dedup();
            let named = places
                .into_iter()
                .filter_map(|place| table.records.get_index(place));
            named
                .map(|(id, record)| Row { table, id, record })
                .filter(|row| passes(*row))
                .collect()
        }
        None => table
            .records
            .iter()
            .map(|(id, record)| Row { table, id, record })
            .filter(|row| passes(*row))
            .collect(),
    };
    if reader.evaluator.is_exhausted() {
        return Err(ApiError::bad_formula(&FormulaError::TooComplex));
    }
    if !order.is_empty() {
        let key = |row: &Row<'a>| -> Vec<Value> {
            order
                .iter()
                .filter_map(|(field, _)| table.fields.get(field))
                .map(|field| reader.value(*row, field))
                .collect()
        };
        let mut keyed: Vec<(Vec<Value>, Row<'a>)> =
            rows.iter().map(|row| (key(row), *row)).collect();
        keyed.sort_by(|(a, _), (b, _)| {
            let parts = a.iter().zip(b).zip(order).map(|((a, b), (_, descending))| {
                let order = compare(a, b, reader.separator);
                if *descending {
                    order.reverse()
                } else {
                    order
                }
            });
            parts
                .into_iter()
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        rows = keyed.into_iter().map(|(_, row)| row).collect();
    }
    Ok(rows.into_iter().map(|row| row.id.clone()).collect())
}

/// Blanks first, then by kind and value: a total order.
fn compare(a: &Value, b: &Value, separator: &str) -> Ordering {
    let rank = |v: &Value| match v {
        Value::Blank => 0,
        Value::Bool(_) | Value::Number(_) => 1,
        Value::Date(..) => 2,
        Value::Text(_) | Value::Array(_) => 3,
        Value::Error => 4,
    };
    rank(a).cmp(&rank(b)).then_with(|| match (a, b) {
        (Value::Array(_), _) | (_, Value::Array(_)) => {
            a.to_text(separator).cmp(&b.to_text(separator))
        }
        _ => a.order(b, separator).unwrap_or(Ordering::Equal),
    })
}
