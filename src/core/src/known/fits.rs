//! Can cells of a column's type satisfy what a model says of the field? Only what never can is told: a text column may hold
//! dates, a lookup of several values may hold one.

use crate::discover::table::{field, Column, Table};
use crate::spec::{Field, Kind};
use alloc::boxed::Box;

/// What the cells of a column look like in the API.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Shape {
    Text,
    Number,
    Truth,
    Date,
    DateTime,
    Object,
    /// Several of them; a lookup is a list even of one.
    List(Box<Shape>),
    /// Ids of linked records.
    Ids,
    /// Nobody can tell.
    Unknown,
}

/// How deep lookups of lookups are followed.
const DEEPEST: u32 = 8;

fn shape(f: &Column, t: &Table, all: &[Table], depth: u32) -> Shape {
    let list = |of| Shape::List(Box::new(of));
    match f.kind {
        "singleLineText" | "multilineText" | "richText" | "email" | "url" | "phoneNumber"
        | "singleSelect" => Shape::Text,
        "number" | "currency" | "percent" | "duration" | "rating" | "autoNumber" | "count" => {
            Shape::Number
        }
        "checkbox" => Shape::Truth,
        "date" => Shape::Date,
        "dateTime" => Shape::DateTime,
        "createdTime" | "lastModifiedTime" => match f.result() {
            Some("date") => Shape::Date,
            _ => Shape::DateTime,
        },
        "multipleSelects" => list(Shape::Text),
        "multipleRecordLinks" => Shape::Ids,
        "multipleAttachments" | "multipleCollaborators" => list(Shape::Object),
        "singleCollaborator" | "createdBy" | "lastModifiedBy" | "barcode" | "button" | "aiText" => {
            Shape::Object
        }
        "multipleLookupValues" => list(match looked_up(f, t, all) {
            Some((linked, of)) if depth > 0 => match shape(of, linked, all, depth - 1) {
                // Lists that are looked up are laid end to end.
                Shape::List(of) => *of,
                Shape::Ids => Shape::Text,
                // What a formula comes to may be an error, too.
                one => one,
            },
            _ => Shape::Unknown,
        }),
        "formula" | "rollup" => match f.result() {
            Some("singleLineText" | "multilineText" | "richText" | "email" | "url") => Shape::Text,
            // A formula's truth is 1 or 0, and what is computed may be of any sort where it is not told.
            Some("number" | "currency" | "percent" | "duration" | "rating" | "count") => {
                Shape::Number
            }
            Some("date") => Shape::Date,
            Some("dateTime") => Shape::DateTime,
            Some("checkbox") => Shape::Truth,
            _ => Shape::Unknown,
        },
        _ => Shape::Unknown,
    }
}

/// The column that a lookup or rollup is of, and its table.
pub(super) fn looked_up<'t, 'a>(
    f: &Column<'a>,
    t: &'t Table<'a>,
    all: &'t [Table<'a>],
) -> Option<(&'t Table<'a>, &'t Column<'a>)> {
    let link = f.option_text("recordLinkFieldId")?;
    let link = t.fields.iter().find(|l| l.id == link)?;
    let to = link.option_text("linkedTableId")?;
    let linked = all.iter().find(|t| t.id == to)?;
    Some((
        linked,
        field(all, to, f.option_text("fieldIdInLinkedTable")?)?,
    ))
}

/// Can a cell of the column satisfy the field's schema?
pub(super) fn fits(field: &Field, f: &Column, t: &Table, all: &[Table]) -> bool {
    holds(field.kind, field.item, &shape(f, t, all, DEEPEST))
}

fn holds(kind: Kind, item: Kind, shape: &Shape) -> bool {
    match (kind, shape) {
        (Kind::Any, _) | (_, Shape::Unknown) => true,
        // A link's cell may be a single id.
        (Kind::Link | Kind::Links, Shape::Ids | Shape::Text) => true,
        (Kind::Link | Kind::Links, Shape::List(of)) => matches!(**of, Shape::Text | Shape::Unknown),
        (Kind::Link | Kind::Links, _) => false,
        (Kind::Array, Shape::Ids) => one(item, &Shape::Text),
        (Kind::Array, Shape::List(of)) => one(item, of),
        (Kind::Array, _) => false,
        // One value of a list stands for itself.
        (_, Shape::Ids) => one(kind, &Shape::Text),
        (_, Shape::List(of)) => one(kind, of),
        (_, alone) => one(kind, alone),
    }
}

fn one(kind: Kind, shape: &Shape) -> bool {
    match (kind, shape) {
        (Kind::Any, _) | (_, Shape::Unknown) => true,
        (Kind::Text, _) => matches!(shape, Shape::Text | Shape::Date | Shape::DateTime),
        (Kind::Integer | Kind::Number, _) => *shape == Shape::Number,
        // A truth that is computed is 1 or 0.
        (Kind::Boolean, _) => matches!(shape, Shape::Truth | Shape::Number),
        (Kind::Date, _) => matches!(shape, Shape::Text | Shape::Date),
        (Kind::DateTime, _) => matches!(shape, Shape::Text | Shape::Date | Shape::DateTime),
        (Kind::Object, _) => *shape == Shape::Object,
        (Kind::Link | Kind::Links | Kind::Array, _) => matches!(shape, Shape::List(_) | Shape::Ids),
    }
}

/// A type as people call it.
pub(super) fn called(f: &Column) -> alloc::string::String {
    match (f.kind, f.result()) {
        ("formula" | "rollup" | "multipleLookupValues", Some(result)) => {
            alloc::format!("{} of {result}", f.kind)
        }
        (kind, _) => kind.into(),
    }
}
