//! What computed fields are made of: lookups of ids, and the entity that a value comes from.

use super::table::{field, Column, Table};
use super::{property, Names};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::Value;

/// Does a column hold its own record's id?
pub(crate) fn holds_own_id(f: &Column) -> bool {
    let formula = f.option_text("formula").unwrap_or("");
    let bare: String = formula.chars().filter(|c| !c.is_whitespace()).collect();
    f.kind == "formula" && bare.eq_ignore_ascii_case("RECORD_ID()")
}

/// The column of the same table that looks up the ids of a link's records, whatever it is called.
pub(crate) fn id_lookup<'a>(t: &'a Table, link: &Column, tables: &[Table]) -> Option<&'a str> {
    let to = link
        .option_text("linkedTableId")
        .filter(|_| link.kind == "multipleRecordLinks")?;
    let holds_id = |id: &str| field(tables, to, id).is_some_and(holds_own_id);
    t.fields
        .iter()
        .find(|f| {
            f.kind == "multipleLookupValues"
                && f.option_text("recordLinkFieldId") == Some(link.id)
                && f.option_text("fieldIdInLinkedTable").is_some_and(holds_id)
                && f.option("isValid") != Some(&Value::Bool(false))
        })
        .map(|f| f.name)
}

/// How deep formulas are followed through the formulas they are made of.
const DEEPEST: usize = 16;

/// The one entity from which a computed field is computed: its own for what its own cells give; `None`: several, or
/// nobody knows.
pub(super) fn computed_from(
    t: &Table,
    f: &Column,
    tables: &[Table],
    names: &Names,
) -> Option<String> {
    if !property::is_computed(f.kind) {
        return None;
    }
    let mut from: Vec<&str> = Vec::new();
    sources(t, f, tables, &mut from, DEEPEST)?;
    from.retain(|id| *id != t.id);
    match from.as_slice() {
        [] => names.entity(t.id),
        [one] => names.entity(one),
        _ => None,
    }
    .map(ToOwned::to_owned)
}

/// Collects the tables that a field's value comes from; `None`: it cannot be told.
fn sources<'a>(
    t: &Table<'a>,
    f: &Column<'a>,
    tables: &[Table<'a>],
    out: &mut Vec<&'a str>,
    depth: usize,
) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let mut add = |id: &'a str| {
        if !out.contains(&id) {
            out.push(id);
        }
    };
    match f.kind {
        "multipleLookupValues" | "rollup" | "count" => {
            let link = f.options?.get("recordLinkFieldId")?.as_str()?;
            let link = t.fields.iter().find(|l| l.id == link)?;
            let to = link.options?.get("linkedTableId")?.as_str()?;
            add(to);
            // What is looked up may itself be computed over there.
            let linked = tables.iter().find(|t| t.id == to)?;
            if let Some(of) = f
                .options?
                .get("fieldIdInLinkedTable")
                .and_then(Value::as_str)
            {
                if let Some(of) = linked
                    .fields
                    .iter()
                    .find(|l| l.id == of)
                    .filter(|l| property::is_computed(l.kind))
                {
                    sources(linked, of, tables, out, depth)?;
                }
            }
        }
        "formula" => {
            let used = f
                .options
                .and_then(|o| o.get("referencedFieldIds"))
                .and_then(Value::as_array);
            for id in used.into_iter().flatten().filter_map(Value::as_str) {
                let of = t.fields.iter().find(|l| l.id == id)?;
                // A link's text is the primary field of the linked record.
                if of.kind == "multipleRecordLinks" {
                    if let Some(to) = of
                        .options
                        .and_then(|o| o.get("linkedTableId"))
                        .and_then(Value::as_str)
                    {
                        add_to(out, to);
                    }
                } else if property::is_computed(of.kind) {
                    sources(t, of, tables, out, depth)?;
                }
            }
        }
        _ => {}
    }
    Some(())
}

fn add_to<'a>(out: &mut Vec<&'a str>, id: &'a str) {
    if !out.contains(&id) {
        out.push(id);
    }
}
