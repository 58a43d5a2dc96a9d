//! Field definitions of a seed: names to ids, links to their other ends, formulas to trees.

use super::model::{Base, Field, Kind, TableNames};
use super::seed::{add_choice, list, object, text};
use crate::formula::{self, Expr};
use crate::ids::{mint, Id};
use serde_json::{json, Map, Value as Json};
use std::sync::Arc;

/// Defines the fields of all tables.
///
/// Plain fields come first, then links, then what is computed.
///
/// # Errors
/// A sentence naming the field and what it refers to in vain.
pub(crate) fn define(base: &mut Base, seeds: &[Json]) -> Result<(), String> {
    for seed in seeds {
        declare(base, seed)?;
    }
    for seed in seeds {
        for field in list(seed, "fields")? {
            if text(field, "type") == Some("multipleRecordLinks") {
                resolve_link(base, seed, field)?;
            }
        }
    }
    // Formulas before lookups of them, so that a lookup can show what kind of result it looks up.
    for formulas in [true, false] {
        for seed in seeds {
            for field in list(seed, "fields")? {
                if (text(field, "type") == Some("formula")) == formulas {
                    resolve_computed(base, text(seed, "name").unwrap_or_default(), field)?;
                }
            }
        }
    }
    Ok(())
}

/// Makes the fields of one table with what needs no other field.
fn declare(base: &mut Base, seed: &Json) -> Result<(), String> {
    let base_id = base.id.clone();
    let table_name = text(seed, "name").unwrap_or_default();
    let Some(table) = base.tables.iter_mut().find(|t| t.name == table_name) else {
        return Ok(());
    };
    for field in list(seed, "fields")? {
        let field = new_field(field, &base_id, table_name)?;
        if table.field_named(&field.name).is_some() {
            return Err(format!(
                "table {table_name:?}: field {:?} is there twice",
                field.name
            ));
        }
        table.fields.insert(field.id.clone(), field);
    }
    let primary = match text(seed, "primary") {
        Some(name) => table
            .field_named(name)
            .ok_or_else(|| format!("table {table_name:?}: primary field {name:?} is not there"))?,
        None => table
            .fields
            .values()
            .next()
            .ok_or_else(|| format!("table {table_name:?} has no fields"))?,
    };
    table.primary = primary.id.clone();
    Ok(())
}

/// A field whose references are not resolved yet.
pub(crate) fn new_field(seed: &Json, base: &str, table: &str) -> Result<Field, String> {
    let name =
        text(seed, "name").ok_or_else(|| format!("table {table:?}: a field without a name"))?;
    let type_name = text(seed, "type").unwrap_or("singleLineText");
    let id =
        text(seed, "id").map_or_else(|| mint("fld", &format!("{base}/{table}/{name}")), Id::from);
    let mut field = Field {
        id,
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        description: text(seed, "description").map(str::to_owned),
        kind: plain_kind(type_name),
        options: Map::new(),
    };
    let mut options = object(seed, "options");
    let choices = options.remove("choices");
    field.options = options;
    if matches!(field.kind, Kind::Select | Kind::MultiSelect) {
        field.options.insert("choices".to_owned(), json!([]));
        for choice in choices
            .as_ref()
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
        {
            if let Some(name) = choice.as_str().or_else(|| text(choice, "name")) {
                add_choice(&mut field, name, base);
            }
        }
    }
    let defaults: &[(&str, Json)] = &match type_name {
        "number" | "percent" => vec![("precision", json!(0))],
        "currency" => vec![("precision", json!(2)), ("symbol", json!("$"))],
        "checkbox" => vec![("icon", json!("check")), ("color", json!("greenBright"))],
        "rating" => vec![
            ("icon", json!("star")),
            ("color", json!("yellowBright")),
            ("max", json!(5)),
        ],
        "duration" => vec![("durationFormat", json!("h:mm"))],
        "date" => vec![("dateFormat", json!({"name": "iso", "format": "YYYY-MM-DD"}))],
        "dateTime" => vec![
            ("dateFormat", json!({"name": "iso", "format": "YYYY-MM-DD"})),
            ("timeFormat", json!({"name": "24hour", "format": "HH:mm"})),
            ("timeZone", json!("utc")),
        ],
        "createdTime" => vec![("result", date_time_result())],
        "lastModifiedTime" => {
            vec![
                ("isValid", json!(true)),
                ("referencedFieldIds", json!([])),
                ("result", date_time_result()),
            ]
        }
        "multipleAttachments" => vec![("isReversed", json!(false))],
        _ => vec![],
    };
    for (key, value) in defaults {
        field.options.entry(*key).or_insert_with(|| value.clone());
    }
    Ok(field)
}

fn date_time_result() -> Json {
    json!({"type": "dateTime", "options": {
        "dateFormat": {"name": "iso", "format": "YYYY-MM-DD"}, "timeFormat": {"name": "24hour", "format": "HH:mm"}, "timeZone": "utc"}})
}

/// Kinds that refer to nothing; links and computed kinds are replaced when they are resolved.
fn plain_kind(type_name: &str) -> Kind {
    match type_name {
        "singleLineText" | "multilineText" | "richText" | "email" | "url" | "phoneNumber" => {
            Kind::Text
        }
        "number" | "currency" | "percent" | "rating" | "duration" => Kind::Number,
        "checkbox" => Kind::Checkbox,
        "singleSelect" => Kind::Select,
        "multipleSelects" => Kind::MultiSelect,
        "date" => Kind::Date,
        "dateTime" => Kind::DateTime,
        "multipleAttachments" => Kind::Attachments,
        "singleCollaborator" => Kind::Collaborator,
        "multipleCollaborators" => Kind::Collaborators,
        "barcode" => Kind::Barcode,
        "autoNumber" => Kind::AutoNumber,
        "createdTime" => Kind::CreatedTime,
        "lastModifiedTime" => Kind::ModifiedTime,
        "createdBy" => Kind::CreatedBy,
        "lastModifiedBy" => Kind::ModifiedBy,
        _ => Kind::Opaque,
    }
}

fn option<'a>(field: &'a Json, keys: &[&str]) -> Option<&'a str> {
    let options = field.get("options");
    keys.iter().find_map(|key| {
        options
            .and_then(|o| text(o, key))
            .or_else(|| text(field, key))
    })
}

fn resolve_link(base: &mut Base, table_seed: &Json, seed: &Json) -> Result<(), String> {
    let table_name = text(table_seed, "name").unwrap_or_default();
    let name = text(seed, "name").unwrap_or_default();
    let at = format!("table {table_name:?}, field {name:?}");
    let target_name = option(seed, &["linkedTableId", "linkedTable"])
        .ok_or_else(|| format!("{at}: no linkedTable"))?;
    let target = base
        .table_named(target_name)
        .ok_or_else(|| format!("{at}: no table {target_name:?}"))?;
    let target_id = target.id.clone();
    let Some(table) = base.table_named(table_name) else {
        return Ok(());
    };
    let (table_id, field_id) = match table.field_named(name) {
        Some(field) => (table.id.clone(), field.id.clone()),
        None => return Ok(()),
    };
    let named = option(seed, &["inverseLinkFieldId", "inverseLinkField"]);
    let known = named.map(|name| target.field_named(name).map(|f| f.id.clone()).ok_or(name));
    let inverse = known.map(|found| {
        found.unwrap_or_else(|name| make_inverse(base, &target_id, name, &table_id, &field_id))
    });
    // The other end may have been declared without naming this one.
    let inverse = inverse.or_else(|| {
        base.table(&target_id)?
            .fields
            .values()
            .find_map(|f| match &f.kind {
                Kind::Link {
                    table,
                    inverse: Some(back),
                } if *table == table_id && *back == field_id => Some(f.id.clone()),
                _ => None,
            })
    });
    if let Some(other) = inverse
        .as_ref()
        .and_then(|i| base.table_mut(&target_id)?.fields.get_mut(i))
    {
        if let Kind::Link {
            inverse: back @ None,
            ..
        } = &mut other.kind
        {
            *back = Some(field_id.clone());
            other
                .options
                .insert("inverseLinkFieldId".to_owned(), json!(&*field_id));
        }
    }
    let single = seed
        .get("options")
        .and_then(|o| o.get("prefersSingleRecordLink"))
        .or_else(|| seed.get("prefersSingleRecordLink"));
    let single = single.and_then(Json::as_bool).unwrap_or(false);
    let reversed = seed
        .get("options")
        .and_then(|o| o.get("isReversed"))
        .and_then(Json::as_bool)
        .unwrap_or(false);
    if let Some(field) = base
        .table_mut(&table_id)
        .and_then(|t| t.fields.get_mut(&field_id))
    {
        field.options = link_options(&target_id, inverse.as_ref(), single, reversed);
        field.kind = Kind::Link {
            table: target_id,
            inverse,
        };
    }
    Ok(())
}

fn link_options(
    target: &Id,
    inverse: Option<&Id>,
    single: bool,
    reversed: bool,
) -> Map<String, Json> {
    let mut options = Map::new();
    options.insert("linkedTableId".to_owned(), json!(&**target));
    options.insert("isReversed".to_owned(), json!(reversed));
    options.insert("prefersSingleRecordLink".to_owned(), json!(single));
    if let Some(inverse) = inverse {
        options.insert("inverseLinkFieldId".to_owned(), json!(&**inverse));
    }
    options
}

/// The other end of a link that names an undeclared inverse field, as Airtable makes it when a link is made.
fn make_inverse(base: &mut Base, target: &Id, name: &str, table: &Id, field: &Id) -> Id {
    let id = mint("fld", &format!("{}/{target}/{name}", base.id));
    if let Some(target) = base.table_mut(target) {
        let inverse = Field {
            id: id.clone(),
            name: name.to_owned(),
            type_name: "multipleRecordLinks".to_owned(),
            description: None,
            kind: Kind::Link {
                table: table.clone(),
                inverse: Some(field.clone()),
            },
            options: link_options(table, Some(field), false, true),
        };
        target.fields.insert(id.clone(), inverse);
    }
    id
}

/// Resolves a lookup, rollup, count or formula field; leaves others alone.
pub(crate) fn resolve_computed(
    base: &mut Base,
    table_name: &str,
    seed: &Json,
) -> Result<(), String> {
    let name = text(seed, "name").unwrap_or_default();
    let at = format!("table {table_name:?}, field {name:?}");
    let Some(table) = base.table_named(table_name) else {
        return Ok(());
    };
    let (kind, options) = match text(seed, "type").unwrap_or_default() {
        "formula" => {
            let source = option(seed, &["formula"]).ok_or_else(|| format!("{at}: no formula"))?;
            let compiled = formula::compile(
                source,
                &TableNames {
                    table,
                    accept_ids: true,
                },
            )
            .map_err(|e| format!("{at}: {e}"))?;
            let referenced: Vec<&str> =
                compiled.expr.fields().into_iter().map(|id| &**id).collect();
            let result = seed
                .get("options")
                .and_then(|o| o.get("result"))
                .cloned()
                .unwrap_or(json!({"type": "singleLineText"}));
            let options = json!({"isValid": true, "formula": compiled.with_ids, "referencedFieldIds": referenced, "result": result});
            (
                Kind::Formula {
                    expr: Arc::new(compiled.expr),
                },
                options,
            )
        }
        type_name @ ("multipleLookupValues" | "rollup" | "count") => {
            let link_name = option(seed, &["recordLinkFieldId", "recordLinkField"])
                .ok_or_else(|| format!("{at}: no recordLinkField"))?;
            let link = table
                .field_named(link_name)
                .ok_or_else(|| format!("{at}: no field {link_name:?}"))?;
            let Kind::Link { table: target, .. } = &link.kind else {
                return Err(format!("{at}: {link_name:?} is not a link"));
            };
            let link = link.id.clone();
            if type_name == "count" {
                (
                    Kind::Count { link: link.clone() },
                    json!({"isValid": true, "recordLinkFieldId": &*link}),
                )
            } else {
                let target_name = option(seed, &["fieldIdInLinkedTable", "fieldInLinkedTable"])
                    .ok_or_else(|| format!("{at}: no fieldInLinkedTable"))?;
                let target = base.table(target).and_then(|t| t.field_named(target_name));
                let target = target
                    .ok_or_else(|| format!("{at}: no field {target_name:?} in the linked table"))?;
                linked_kind(seed, type_name == "rollup", link, target)
                    .map_err(|e| format!("{at}: {e}"))?
            }
        }
        _ => return Ok(()),
    };
    let table_id = table.id.clone();
    if let Some(field) = base.table_mut(&table_id).and_then(|t| {
        let id = t.field_named(name)?.id.clone();
        t.fields.get_mut(&id)
    }) {
        field.kind = kind;
        field.options = options.as_object().cloned().unwrap_or_default();
    }
    Ok(())
}

fn linked_kind(
    seed: &Json,
    is_rollup: bool,
    link: Id,
    target: &Field,
) -> Result<(Kind, Json), String> {
    let result = json!({"type": target.type_name, "options": target.options});
    let result = if target.options.is_empty() {
        json!({"type": target.type_name})
    } else {
        result
    };
    // A lookup of a computed field shows what that field computes.
    let result = target.options.get("result").cloned().unwrap_or(result);
    let mut options = json!({
        "isValid": true, "recordLinkFieldId": &*link, "fieldIdInLinkedTable": &*target.id, "result": result});
    let field = target.id.clone();
    if !is_rollup {
        return Ok((Kind::Lookup { link, field }, options));
    }
    let source = option(seed, &["aggregate", "formula"]).unwrap_or("SUM(values)");
    let aggregate: Expr = formula::compile(source, &NoFields)
        .map_err(|e| e.to_string())?
        .expr;
    if let Some(options) = options.as_object_mut() {
        options.insert("referencedFieldIds".to_owned(), json!([]));
        options.insert(
            "result".to_owned(),
            json!({"type": "number", "options": {"precision": 0}}),
        );
    }
    Ok((
        Kind::Rollup {
            link,
            field,
            aggregate: Arc::new(aggregate),
        },
        options,
    ))
}

struct NoFields;

impl formula::FieldNames for NoFields {
    fn field(&self, _: &str) -> Option<Id> {
        None
    }
}
