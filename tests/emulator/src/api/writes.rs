//! Create, update, replace, upsert, delete: every request is checked whole before anything is written.

use super::errors::ApiError;
use super::listing::shape;
use super::{Reply, Visit};
use crate::data::commit::{commit, Circumstances, Operation};
use crate::data::input::{self, Cells, Checked};
use crate::data::model::{Base, World};
use crate::data::reader::Reader;
use crate::data::show;
use crate::http::response::Response;
use crate::ids::{is_shaped, Id};
use serde_json::{json, Map, Value as Json};

/// Records in one request.
const BATCH: usize = 10;

/// What an update does to the cells it does not name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// PATCH: leaves them.
    Patch,
    /// PUT: clears them.
    Replace,
}

const UPDATE_RECORDS: &str =
    "You must provide an array of up to 10 record objects, each with an \"id\" ID field and a \"fields\" object for cell values.";

pub(super) fn create(visit: &Visit<'_>, base: &str, table: &str) -> Reply {
    let mut world = visit.shared.world.write();
    let (base, table) = place(visit, &mut world, base, table)?;
    let single = !visit.body.contains_key("records");
    let wanted = if single {
        vec![fields_of(&visit.body)?]
    } else {
        many_fields(&visit.body)?
    };
    let mut operations = Vec::new();
    let mut ids = Vec::new();
    for fields in wanted {
        let checked = input::cells(base, &table, fields, visit.flag("typecast"))?;
        let record = base.mint("rec");
        ids.push(record.clone());
        let cells = with_created_links(base, checked, &mut operations);
        operations.push(Operation::Create {
            table: table.clone(),
            record,
            cells,
        });
    }
    commit(base, operations, circumstances(visit));
    shown(visit, base, &table, &ids, single, None)
}

pub(super) fn update_one(
    visit: &Visit<'_>,
    base: &str,
    table: &str,
    record: &str,
    style: Style,
) -> Reply {
    let mut world = visit.shared.world.write();
    let (base, table) = place(visit, &mut world, base, table)?;
    let record = existing(visit, base, &table, record)?;
    let checked = input::cells(
        base,
        &table,
        fields_of(&visit.body)?,
        visit.flag("typecast"),
    )?;
    let mut operations = Vec::new();
    let mut cells = with_created_links(base, checked, &mut operations);
    replace(base, &table, &mut cells, style);
    operations.push(Operation::Update {
        table: table.clone(),
        record: record.clone(),
        cells,
    });
    commit(base, operations, circumstances(visit));
    shown(visit, base, &table, &[record], true, None)
}

pub(super) fn update_many(visit: &Visit<'_>, base: &str, table: &str, style: Style) -> Reply {
    let mut world = visit.shared.world.write();
    let (base, table) = place(visit, &mut world, base, table)?;
    let invalid = || ApiError::invalid("INVALID_RECORDS", UPDATE_RECORDS);
    let records = visit
        .body
        .get("records")
        .and_then(Json::as_array)
        .filter(|r| r.len() <= BATCH)
        .ok_or_else(invalid)?;
    let merge_on = match visit.body.get("performUpsert") {
        None | Some(Json::Null) => None,
        Some(upsert) => Some(merge_fields(base, &table, upsert)?),
    };
    let typecast = visit.flag("typecast");
    let (mut operations, mut ids) = (Vec::new(), Vec::new());
    let (mut created, mut updated) = (Vec::new(), Vec::new());
    for record in records {
        let record = record.as_object().ok_or_else(invalid)?;
        let fields = fields_of(record)?;
        let checked = input::cells(base, &table, fields, typecast)?;
        let known = match (record.get("id").and_then(Json::as_str), &merge_on) {
            (Some(id), _) => Some(row(base, &table, id)?),
            (None, Some(merge_on)) => matching(base, &table, merge_on, &checked.cells)?,
            (None, None) => return Err(invalid()),
        };
        let mut cells = with_created_links(base, checked, &mut operations);
        let id = match known {
            Some(id) => {
                replace(base, &table, &mut cells, style);
                updated.push(id.clone());
                operations.push(Operation::Update {
                    table: table.clone(),
                    record: id.clone(),
                    cells,
                });
                id
            }
            None => {
                let id = base.mint("rec");
                created.push(id.clone());
                operations.push(Operation::Create {
                    table: table.clone(),
                    record: id.clone(),
                    cells,
                });
                id
            }
        };
        ids.push(id);
    }
    commit(base, operations, circumstances(visit));
    shown(
        visit,
        base,
        &table,
        &ids,
        false,
        merge_on.map(|_| (created, updated)),
    )
}

pub(super) fn delete_one(visit: &Visit<'_>, base: &str, table: &str, record: &str) -> Reply {
    let mut world = visit.shared.world.write();
    let (base, table) = place(visit, &mut world, base, table)?;
    let record = existing(visit, base, &table, record)?;
    let reply = json!({"id": &*record, "deleted": true});
    commit(
        base,
        vec![Operation::Delete { table, record }],
        circumstances(visit),
    );
    Ok(Response::json(200, &reply))
}

pub(super) fn delete_many(visit: &Visit<'_>, base: &str, table: &str) -> Reply {
    let mut world = visit.shared.world.write();
    let (base, table) = place(visit, &mut world, base, table)?;
    let wanted: Vec<&str> = visit.request.parameters("records").collect();
    if wanted.is_empty() || wanted.len() > BATCH {
        return Err(ApiError::invalid(
            "INVALID_RECORDS",
            "\"records\" must be an array of up to 10 record IDs.",
        ));
    }
    let mut ids: Vec<Id> = Vec::new();
    for id in wanted {
        let id = row(base, &table, id)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let deleted: Vec<Json> = ids
        .iter()
        .map(|id| json!({"id": &**id, "deleted": true}))
        .collect();
    let operations = ids
        .into_iter()
        .map(|record| Operation::Delete {
            table: table.clone(),
            record,
        })
        .collect();
    commit(base, operations, circumstances(visit));
    Ok(Response::json(200, &json!({ "records": deleted })))
}

fn place<'w>(
    visit: &Visit<'_>,
    world: &'w mut World,
    base: &str,
    table: &str,
) -> Result<(&'w mut Base, Id), ApiError> {
    let base = visit.base_mut(world, base, "data.records:write")?;
    if matches!(base.permission_level.as_str(), "none" | "read" | "comment") {
        return Err(ApiError::not_permitted());
    }
    let table = base
        .table_named(table)
        .ok_or_else(|| ApiError::missing_table(visit.switches, table, &base.id))?
        .id
        .clone();
    Ok((base, table))
}

fn circumstances<'v>(visit: &'v Visit<'_>) -> Circumstances<'v> {
    visit.shared.circumstances(visit.switches, "publicApi")
}

/// The record that a path names.
fn existing(visit: &Visit<'_>, base: &Base, table: &Id, record: &str) -> Result<Id, ApiError> {
    if !is_shaped("rec", record) {
        return Err(ApiError::not_found());
    }
    row(base, table, record).map_err(|_| ApiError::missing_record(visit.switches))
}

/// The record that a body or query names.
fn row(base: &Base, table: &Id, record: &str) -> Result<Id, ApiError> {
    let found = base
        .table(table)
        .and_then(|t| t.records.get_key_value(record))
        .map(|(id, _)| id.clone());
    found.ok_or_else(|| {
        ApiError::invalid(
            "ROW_DOES_NOT_EXIST",
            &format!("Record ID {record} does not exist in this table"),
        )
    })
}

fn fields_of(object: &Map<String, Json>) -> Result<&Map<String, Json>, ApiError> {
    object
        .get("fields")
        .and_then(Json::as_object)
        .ok_or_else(|| {
            ApiError::invalid(
                "INVALID_REQUEST_MISSING_FIELDS",
                "Could not find field \"fields\" in the request body",
            )
        })
}

fn many_fields(body: &Map<String, Json>) -> Result<Vec<&Map<String, Json>>, ApiError> {
    let records = body
        .get("records")
        .and_then(Json::as_array)
        .ok_or_else(ApiError::invalid_request)?;
    if records.len() > BATCH {
        let message = format!(
            "A maximum of 10 records can be created per request but you have provided {}.",
            records.len()
        );
        return Err(ApiError::invalid("INVALID_REQUEST_UNKNOWN", &message));
    }
    records
        .iter()
        .map(|record| {
            record
                .as_object()
                .ok_or_else(ApiError::invalid_request)
                .and_then(fields_of)
        })
        .collect()
}

/// Records that typecast makes come first in the transaction, so that links find them.
fn with_created_links(base: &Base, checked: Checked, operations: &mut Vec<Operation>) -> Cells {
    for (table, record, text) in checked.created_links {
        let cells = base
            .table(&table)
            .map(|t| Cells::from([(t.primary.clone(), json!(text))]))
            .unwrap_or_default();
        operations.push(Operation::Create {
            table,
            record,
            cells,
        });
    }
    checked.cells
}

fn replace(base: &Base, table: &Id, cells: &mut Cells, style: Style) {
    if style == Style::Patch {
        return;
    }
    for field in base
        .table(table)
        .into_iter()
        .flat_map(|t| t.fields.values())
        .filter(|f| !f.kind.is_read_only())
    {
        cells.entry(field.id.clone()).or_insert(Json::Null);
    }
}

fn merge_fields(base: &Base, table: &Id, upsert: &Json) -> Result<Vec<Id>, ApiError> {
    let names = upsert
        .get("fieldsToMergeOn")
        .and_then(Json::as_array)
        .ok_or_else(ApiError::invalid_request)?;
    if names.is_empty() || names.len() > 3 {
        return Err(ApiError::invalid_request());
    }
    let table = base.table(table).ok_or_else(ApiError::invalid_request)?;
    let resolve = |name: &Json| {
        let name = name.as_str().ok_or_else(ApiError::invalid_request)?;
        let field = table
            .field_named(name)
            .ok_or_else(|| ApiError::unknown_field(name))?;
        if field.kind.is_read_only() {
            return Err(ApiError::invalid_request());
        }
        Ok(field.id.clone())
    };
    names.iter().map(resolve).collect()
}

/// The one record whose merge fields hold what is written; several are an error.
fn matching(
    base: &Base,
    table: &Id,
    merge_on: &[Id],
    cells: &Cells,
) -> Result<Option<Id>, ApiError> {
    let Some(table) = base.table(table) else {
        return Ok(None);
    };
    for field in merge_on {
        if !cells.contains_key(field) {
            let name = table.fields.get(field).map_or("", |f| f.name.as_str());
            let message = format!("Could not find field \"{name}\" in the record to merge on");
            return Err(ApiError::invalid(
                "INVALID_REQUEST_MISSING_FIELDS",
                &message,
            ));
        }
    }
    let same = |cells_there: &std::collections::HashMap<Id, Json>| {
        merge_on.iter().all(|field| {
            cells_there.get(field).unwrap_or(&Json::Null) == cells.get(field).unwrap_or(&Json::Null)
        })
    };
    let mut found = table
        .records
        .iter()
        .filter(|(_, record)| same(&record.cells));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "INVALID_REQUEST_UNKNOWN",
            "Cannot update more than one record with the same merge values",
        )),
        (one, _) => Ok(one.map(|(id, _)| id.clone())),
    }
}

fn shown(
    visit: &Visit<'_>,
    base: &Base,
    table: &Id,
    ids: &[Id],
    single: bool,
    upserted: Option<(Vec<Id>, Vec<Id>)>,
) -> Reply {
    let table = base.table(table).ok_or_else(ApiError::invalid_request)?;
    let reader = Reader::new(
        base,
        visit.shared.clock.now_ms(),
        &visit.switches.arrayjoin_sep,
    );
    let shape = shape(visit, table)?;
    let mut records: Vec<Json> = ids
        .iter()
        .filter_map(|id| reader.row(table, id))
        .map(|row| show::record(&reader, row, &shape))
        .collect();
    let count = records.len();
    let body = match (single, upserted) {
        (true, _) => records.pop().unwrap_or(Json::Null),
        (false, None) => json!({ "records": records }),
        (false, Some((created, updated))) => {
            let texts = |ids: Vec<Id>| ids.iter().map(|id| json!(&**id)).collect::<Json>();
            json!({"records": records, "updatedRecords": texts(updated), "createdRecords": texts(created)})
        }
    };
    let mut response = Response::json(200, &body);
    response.records = Some(count);
    Ok(response)
}
