//! Seeds: a JSON document to a [`World`]. Whatever is wrong is named with its place.

use super::model::{
    is_empty_cell, linked_ids, Base, Field, Kind, Record, Table, TableNames, Token, View, World,
};
use super::seed_fields;
use crate::datetime;
use crate::formula;
use crate::ids::{mint, Id};
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Records without a `createdTime` are a second apart from here on: 2026-01-01T00:00:00Z.
const FIRST_CREATED_MS: i64 = 1_767_225_600_000;

/// Builds a world.
///
/// # Errors
/// A sentence that names the base, table, field or record that is wrong.
pub(crate) fn world(seed: &Json) -> Result<World, String> {
    let mut world = World::default();
    for token in list(seed, "tokens")? {
        world.tokens.push(Token {
            secret: text(token, "token")
                .ok_or("a token without \"token\"")?
                .to_owned(),
            scopes: strings(token, "scopes"),
            bases: strings(token, "bases"),
        });
    }
    for (place, base) in list(seed, "bases")?.iter().enumerate() {
        let base = build_base(base, place)?;
        if world.bases.insert(base.id.clone(), base).is_some() {
            return Err(format!("base {place} repeats an id"));
        }
    }
    Ok(world)
}

fn build_base(seed: &Json, place: usize) -> Result<Base, String> {
    let name = text(seed, "name").unwrap_or("Base").to_owned();
    let id = text(seed, "id").map_or_else(|| mint("app", &format!("{name}#{place}")), Id::from);
    let mut base = Base {
        id: id.clone(),
        name,
        permission_level: text(seed, "permissionLevel").unwrap_or("create").to_owned(),
        tables: Vec::new(),
        homes: HashMap::new(),
        transaction: 0,
        minted: 0,
        lagging: HashMap::new(),
        webhooks: Vec::new(),
    };
    let tables = list(seed, "tables")?;
    for table in tables {
        let table = empty_table(table, &id)?;
        if base
            .tables
            .iter()
            .any(|t| t.name == table.name || t.id == table.id)
        {
            return Err(format!("base {id}: table {:?} is there twice", table.name));
        }
        base.tables.push(table);
    }
    seed_fields::define(&mut base, tables)?;
    let mut count = 0;
    for table in tables {
        add_views(&mut base, table)?;
        add_records(&mut base, table, &mut count)?;
    }
    join_both_ends(&mut base)?;
    Ok(base)
}

fn empty_table(seed: &Json, base: &str) -> Result<Table, String> {
    let name = text(seed, "name").ok_or_else(|| format!("base {base}: a table without a name"))?;
    let id = text(seed, "id").map_or_else(|| mint("tbl", &format!("{base}/{name}")), Id::from);
    Ok(Table {
        id,
        name: name.to_owned(),
        description: text(seed, "description").map(str::to_owned),
        primary: Arc::from(""),
        fields: IndexMap::new(),
        views: Vec::new(),
        records: IndexMap::new(),
        next_number: 1,
    })
}

fn add_views(base: &mut Base, seed: &Json) -> Result<(), String> {
    let base_id = base.id.clone();
    let Some(table) = base
        .tables
        .iter_mut()
        .find(|t| Some(t.name.as_str()) == text(seed, "name"))
    else {
        return Ok(());
    };
    for view in list(seed, "views")? {
        let name = text(view, "name")
            .ok_or_else(|| format!("table {:?}: a view without a name", table.name))?;
        let names = TableNames {
            table,
            accept_ids: true,
        };
        let filter = match text(view, "filter") {
            Some(formula) => {
                let compiled =
                    formula::compile(formula, &names).map_err(|e| format!("view {name:?}: {e}"))?;
                Some(compiled.expr)
            }
            None => None,
        };
        let named = |name: &Json| Some(table.field_named(name.as_str()?)?.id.clone());
        let visible = view.get("visibleFields").and_then(Json::as_array);
        let visible = visible.map(|fields| fields.iter().filter_map(named).collect());
        let id = text(view, "id").map_or_else(
            || mint("viw", &format!("{base_id}/{}/{name}", table.name)),
            Id::from,
        );
        let kind = text(view, "type").unwrap_or("grid").to_owned();
        table.views.push(View {
            id,
            name: name.to_owned(),
            kind,
            filter,
            visible,
        });
    }
    if table.views.is_empty() {
        let id = mint("viw", &format!("{base_id}/{}/Grid view", table.name));
        table.views.push(View {
            id,
            name: "Grid view".to_owned(),
            kind: "grid".to_owned(),
            filter: None,
            visible: None,
        });
    }
    Ok(())
}

fn add_records(base: &mut Base, seed: &Json, count: &mut i64) -> Result<(), String> {
    let base_id = base.id.clone();
    let homes = &mut base.homes;
    let Some(table) = base
        .tables
        .iter_mut()
        .find(|t| Some(t.name.as_str()) == text(seed, "name"))
    else {
        return Ok(());
    };
    for (place, record) in list(seed, "records")?.iter().enumerate() {
        let id = text(record, "id").map_or_else(
            || mint("rec", &format!("{base_id}/{}/{place}", table.name)),
            Id::from,
        );
        let at = format!("table {:?}, record {id}", table.name);
        let created_ms = match text(record, "createdTime") {
            Some(time) => {
                datetime::parse(time).ok_or_else(|| format!("{at}: createdTime {time:?}"))?
            }
            None => FIRST_CREATED_MS + *count * 1000,
        };
        *count += 1;
        let mut cells = HashMap::new();
        for (name, cell) in record
            .get("fields")
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
        {
            let field = table
                .field_named(name)
                .ok_or_else(|| format!("{at}: unknown field {name:?}"))?
                .id
                .clone();
            let Some(field) = table.fields.get_mut(&field) else {
                continue;
            };
            let cell = seed_cell(
                field,
                cell.clone(),
                &base_id,
                &format!("{}/{place}", table.name),
            );
            if !is_empty_cell(&cell) {
                cells.insert(field.id.clone(), cell);
            }
        }
        for field in table
            .fields
            .values()
            .filter(|f| matches!(f.kind, Kind::AutoNumber))
        {
            cells
                .entry(field.id.clone())
                .or_insert_with(|| Json::from(table.next_number));
        }
        table.next_number += 1;
        if homes.insert(id.clone(), table.id.clone()).is_some() {
            return Err(format!("{at}: the id is there twice"));
        }
        table.records.insert(
            id,
            Record {
                created_ms,
                modified_ms: created_ms,
                cells,
            },
        );
    }
    Ok(())
}

/// Seed cells are taken as given; choices that are not declared become so, attachments get an id.
fn seed_cell(field: &mut Field, mut cell: Json, base: &str, place: &str) -> Json {
    match (&field.kind, &mut cell) {
        (Kind::Select, Json::String(choice)) => {
            let choice = choice.clone();
            add_choice(field, &choice, base);
        }
        (Kind::MultiSelect, Json::Array(items)) => {
            let choices: Vec<String> = items
                .iter()
                .filter_map(|c| c.as_str().map(str::to_owned))
                .collect();
            for choice in choices {
                add_choice(field, &choice, base);
            }
        }
        (Kind::Attachments, Json::Array(items)) => {
            for (number, item) in items.iter_mut().enumerate() {
                let id = mint("att", &format!("{base}/{place}/{}/{number}", field.name));
                if let Some(item) = item.as_object_mut() {
                    item.entry("id")
                        .or_insert_with(|| Json::String(id.to_string()));
                }
            }
        }
        _ => {}
    }
    cell
}

/// Adds a select choice unless there is one of that name.
pub(crate) fn add_choice(field: &mut Field, name: &str, base: &str) {
    const COLORS: [&str; 5] = [
        "blueLight2",
        "cyanLight2",
        "tealLight2",
        "greenLight2",
        "yellowLight2",
    ];
    let id = mint("sel", &format!("{base}/{}/{name}", field.id));
    let choices = field
        .options
        .entry("choices")
        .or_insert_with(|| Json::Array(Vec::new()));
    let Some(choices) = choices.as_array_mut() else {
        return;
    };
    if choices.iter().any(|c| text(c, "name") == Some(name)) {
        return;
    }
    let color = COLORS
        .get(choices.len() % COLORS.len())
        .copied()
        .unwrap_or_default();
    choices.push(serde_json::json!({"id": &*id, "name": name, "color": color}));
}

/// A seed may give either end of a link; the data hold both.
fn join_both_ends(base: &mut Base) -> Result<(), String> {
    let mut missing: Vec<(Id, Id, Id, Id)> = Vec::new();
    for table in &base.tables {
        for field in table.fields.values() {
            let Kind::Link {
                table: target,
                inverse,
            } = &field.kind
            else {
                continue;
            };
            let Some(target) = base.table(target) else {
                continue;
            };
            for (id, record) in &table.records {
                for linked in linked_ids(record.cells.get(&field.id)) {
                    let Some((linked, other)) = target.records.get_key_value(linked) else {
                        return Err(format!(
                            "table {:?}, record {id}, {:?}: no record {linked} in {:?}",
                            table.name, field.name, target.name
                        ));
                    };
                    if let Some(inverse) = inverse {
                        if !linked_ids(other.cells.get(inverse)).any(|back| back == &**id) {
                            missing.push((
                                target.id.clone(),
                                linked.clone(),
                                inverse.clone(),
                                id.clone(),
                            ));
                        }
                    }
                }
            }
        }
    }
    for (table, record, field, back) in missing {
        let Some(record) = base
            .table_mut(&table)
            .and_then(|t| t.records.get_mut(&record))
        else {
            continue;
        };
        let cell = record
            .cells
            .entry(field)
            .or_insert_with(|| Json::Array(Vec::new()));
        if let Some(items) = cell.as_array_mut() {
            items.push(Json::String(back.to_string()));
        }
    }
    Ok(())
}

/// A string member.
pub(crate) fn text<'a>(object: &'a Json, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Json::as_str)
}

/// An array member; absent is empty.
pub(crate) fn list<'a>(object: &'a Json, key: &str) -> Result<&'a [Json], String> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(&[]),
        Some(Json::Array(items)) => Ok(items),
        Some(_) => Err(format!("{key:?} is not an array")),
    }
}

/// An options member that is an object; absent is empty.
pub(crate) fn object(value: &Json, key: &str) -> Map<String, Json> {
    value
        .get(key)
        .and_then(Json::as_object)
        .cloned()
        .unwrap_or_default()
}

fn strings(object: &Json, key: &str) -> Option<HashSet<String>> {
    let items = object.get(key)?.as_array()?;
    Some(
        items
            .iter()
            .filter_map(|s| s.as_str().map(str::to_owned))
            .collect(),
    )
}
