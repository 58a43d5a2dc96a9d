//! The column through which a link is asked for: does the table have it, and does it hold the ids of the linked records?

use super::absent::{absent, shown, Absent, Checked};
use super::fits::looked_up;
use crate::discover::computed::{holds_own_id, id_lookup};
use crate::discover::table::{Column, Table};
use crate::spec::Field;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

/// What it is, if it is not what it is taken for.
enum Wrong<'a> {
    /// It follows another link.
    Link(&'a str),
    /// It shows another column of the linked records.
    Of(&'a str),
    /// A type that holds no ids.
    Type,
    /// Airtable says that it cannot be computed.
    Broken,
}

/// What is wrong with the lookup of a link field, and what to do.
pub(super) fn wrong(d: &Checked, field: &Field, link: &Column) -> Option<(String, String)> {
    let lookup = field.lookup.as_deref()?;
    let t = d.table;
    let found = t.fields.iter().find(|f| f.id == lookup || f.name == lookup);
    let other = id_lookup(t, link, d.all).filter(|n| *n != lookup);
    let remedy = |said: &str| match other {
        Some(other) => format!(
            "set \"index_to_airtable\": {{{}: {}}}",
            shown(&field.name),
            shown(other)
        ),
        None => format!(
            "{said} in {}: a lookup of a formula RECORD_ID() of the linked records, through {}",
            shown(t.name),
            shown(link.name)
        ),
    };
    let Some(found) = found else {
        let Absent { problem, instead } = absent(d, lookup, None);
        let problem = format!(
            "records are asked for by {} through the lookup {}, and {problem}",
            shown(&field.name),
            shown(lookup)
        );
        let renamed = instead.filter(|c| why(c, link, t, d.all).is_none());
        let todo = match renamed {
            Some(c) if other.is_none() => format!(
                "set \"index_to_airtable\": {{{}: {}}}",
                shown(&field.name),
                shown(c.name)
            ),
            _ => remedy(&format!("create {}", shown(lookup))),
        };
        return Some((problem, todo));
    };
    let why = match why(found, link, t, d.all)? {
        Wrong::Link(other) => format!(
            "follows the link {}, not {}",
            shown(other),
            shown(link.name)
        ),
        Wrong::Of(other) => format!(
            "shows the column {} of the linked records, not their ids",
            shown(other)
        ),
        Wrong::Type => format!("is a {}, which holds no ids of records", found.kind),
        Wrong::Broken => "is broken: Airtable cannot compute it any more".to_owned(),
    };
    Some((
        format!(
            "records are asked for by {} through the column {}, which {why}",
            shown(&field.name),
            shown(lookup)
        ),
        remedy(&format!("mend {}", shown(lookup))),
    ))
}

fn why<'t>(
    found: &Column<'t>,
    link: &Column<'t>,
    t: &'t Table<'t>,
    all: &'t [Table<'t>],
) -> Option<Wrong<'t>> {
    match found.kind {
        "multipleLookupValues" | "rollup" => {
            if found.option("isValid") == Some(&serde_json::Value::Bool(false)) {
                return Some(Wrong::Broken);
            }
            let through = found.option_text("recordLinkFieldId")?;
            if link.kind == "multipleRecordLinks" && through != link.id {
                let other = t.fields.iter().find(|f| f.id == through);
                return Some(Wrong::Link(other.map_or("of another table", |f| f.name)));
            }
            let (_, of) = looked_up(found, t, all)?;
            (!may_hold_id(of)).then_some(Wrong::Of(of.name))
        }
        // A formula, or a text that somebody keeps, may spell the ids; the link itself may be named where it holds them.
        "formula" | "singleLineText" | "multilineText" | "multipleRecordLinks" | "aiText" => None,
        _ => Some(Wrong::Type),
    }
}

/// May a column of the linked records hold their own ids? A text that is called an id may be kept by an automation.
fn may_hold_id(of: &Column) -> bool {
    let formula = || of.option_text("formula").unwrap_or("").to_ascii_uppercase();
    match of.kind {
        "formula" => {
            holds_own_id(of)
                || formula().contains("RECORD_ID")
                || of.option_text("formula").is_none()
        }
        "singleLineText" => {
            let bare = of.name.to_ascii_lowercase();
            bare == "id"
                || bare.contains("record")
                || bare.ends_with("_id")
                || bare.ends_with(" id")
        }
        _ => false,
    }
}
