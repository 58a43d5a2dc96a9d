//! Airtable formulas: the question as asked upstream.
//!
//! A model says what a field's values are, not what the column is that they come from: a `str` may be a date, a link, a
//! choice of several. What is asked finds the value in a column of any type, and the record's own cells decide; only where
//! the base's schema is known is it asked more narrowly. A part of a formula that makes sense for one type of column only is
//! put so that it says no where it fails: an error would spread to the whole.

mod parts;

pub(super) use parts::literal;
use parts::{either, failing_is, name, safe};

use super::column::Column;
use super::instant::{self, Written};
use super::{form, number};
use crate::spec::{self, Field, FieldIx, Kind, Normal, Spec};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

/// How a record id is asked for in a field that is not declared to be a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Through {
    /// Through its lookup, too: should the column be a link, its own text are names.
    Lookup,
    /// By its own text.
    Own,
}

/// The `filterByFormula` for "`field` has `value`", where `value` is [canonical](super::canonical).
///
/// It may match more records than have the value and never fewer, but for ids in a column that proves to be a link
/// ([`by_id`]). `None`: no formula can ask this, the whole table has to be read.
pub fn formula(
    spec: &Spec,
    field: FieldIx,
    value: &[u8],
    through: Through,
    column: Column,
) -> Option<String> {
    let ix = field;
    let field = spec.get(ix)?;
    let value = core::str::from_utf8(value).ok()?;
    let q = Asking::new(field, value);
    let asked = match by_id(field, value) {
        ById::Declared => linked(value, &lookup(field)?),
        ById::Perhaps => q.perhaps_linked(through, column)?,
        ById::No => match column {
            Column::Date => q.of_date().unwrap_or_else(|| q.of_any_column()),
            _ => q.of_any_column(),
        },
    };
    // A box that is not checked is blank already.
    let blank = field.kind != Kind::Boolean && matches_blank(spec, ix, field, value);
    Some(match blank {
        false => asked,
        true => q.or_blank(&asked, column),
    })
}

/// Is the value asked for as the id of a linked record?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ById {
    No,
    /// The field is a link by its schema.
    Declared,
    /// It may be: that depends on the column, and the answer has to show which it is.
    Perhaps,
}

/// How a value is asked for. Only what looks exactly like an id is taken for one where there is a schema: `recipe` may be a
/// tag.
pub fn by_id(field: &Field, value: &str) -> ById {
    let id = value.as_bytes();
    match field.kind {
        Kind::Link | Kind::Links => ById::Declared,
        Kind::Text | Kind::Array | Kind::Any
            if spec::record_id_ok(id)
                && (field.rule.is_none() || (id.len() == 17 && !id.contains(&b'_'))) =>
        {
            ById::Perhaps
        }
        _ => ById::No,
    }
}

/// The formula for records by their ids.
pub fn ids_formula(ids: &[impl AsRef<str>]) -> String {
    let mut out = String::with_capacity(ids.len() * 33 + 4);
    for id in ids {
        if !out.is_empty() {
            out.push(',');
        }
        // Writing to a string cannot fail.
        let _ = write!(out, "RECORD_ID()={}", literal(id.as_ref()));
    }
    match ids.len() {
        0 => "FALSE()".into(),
        1 => out,
        _ => format!("OR({out})"),
    }
}

/// The value is what a lacking cell is filled with, in whichever alternative of the model.
fn matches_blank(spec: &Spec, ix: FieldIx, field: &Field, value: &str) -> bool {
    let filled = |fill| {
        form::texts(field, fill)
            .iter()
            .any(|t| t == value.as_bytes())
    };
    spec.fills(ix).any(filled)
}

/// The formula for records whose cell is not empty.
pub fn filled_formula(field: &Field) -> String {
    filled(&name(&field.airtable))
}

/// The formula for the record `id`, if the text of its cell shows the id `of` to formulas.
pub fn shown_formula(field: &Field, id: &str, of: &str) -> String {
    let own = name(&field.airtable);
    format!(
        "AND(RECORD_ID()={},FIND({},({own}&'')))",
        literal(id),
        literal(of)
    )
}

/// The Airtable field that holds the ids of the records that `field` links to, if it links to any.
pub fn lookup(field: &Field) -> Option<Cow<'_, str>> {
    match (&field.lookup, field.kind) {
        (Some(lookup), _) => Some(Cow::Borrowed(lookup)),
        // A model may say of its links no more than that they are texts; a field of ids is its own lookup.
        (None, Kind::Any | Kind::Array | Kind::Text) if !field.name.ends_with("_id") => {
            Some(Cow::Owned(format!("{}_id", field.name)))
        }
        _ => None,
    }
}

fn linked(id: &str, lookup: &str) -> String {
    format!("FIND({},ARRAYJOIN({}))", literal(id), name(lookup))
}

fn filled(column: &str) -> String {
    format!("NOT({column}='')")
}

/// A value asked for, and the column as formulas name it.
struct Asking<'a> {
    field: &'a Field,
    value: &'a str,
    /// `{name}`
    column: String,
    /// The column's text: of several values, of a number or a date too.
    text: String,
}

impl<'a> Asking<'a> {
    fn new(field: &'a Field, value: &'a str) -> Asking<'a> {
        let column = match &field.lookup {
            Some(asked) if field.kind != Kind::Any => name(asked),
            _ => name(&field.airtable),
        };
        Asking {
            text: format!("({column}&'')"),
            field,
            value,
            column,
        }
    }

    /// A cell that lacks: empty, or a computed one that came to nothing.
    fn or_blank(&self, asked: &str, column: Column) -> String {
        let own = name(&self.field.airtable);
        if column != Column::Unknown {
            return either(vec![format!("{own}=''"), safe(asked)]);
        }
        let nothing = ["#ERROR", "NaN", "Infinity"].map(|t| format!("FIND('{t}',({own}&''))"));
        either(vec![
            failing_is("TRUE()", &format!("{own}=''")),
            safe(&either(nothing.into())),
            safe(asked),
        ])
    }

    fn perhaps_linked(&self, through: Through, column: Column) -> Option<String> {
        let lookup = lookup(self.field);
        if column == Column::Link {
            return Some(linked(self.value, &lookup?));
        }
        let text = format!("({}&'')", name(&self.field.airtable));
        let own = format!("FIND({},{})", literal(self.value), self.cased(&text));
        Some(match (through, lookup) {
            (Through::Lookup, Some(lookup)) => {
                let listed = self.cased(&format!("ARRAYJOIN({})", name(&lookup)));
                let listed = format!("FIND({},{listed})", literal(self.value));
                either(vec![own, safe(&listed)])
            }
            _ => own,
        })
    }

    /// Of a column of dates.
    fn of_date(&self) -> Option<String> {
        let (moment, _) = instant::read(self.value).filter(|(_, w)| *w != Written::Local)?;
        let same = failing_is("TRUE()", &self.same_time(&moment));
        Some(format!("AND({},{same})", filled(&self.column)))
    }

    fn of_any_column(&self) -> String {
        let moment = instant::read(self.value).filter(|(_, w)| *w != Written::Local);
        let of_dates = matches!(self.field.holds(), Kind::Date | Kind::DateTime);
        match (self.field.kind, moment) {
            (Kind::Boolean, _) => self.truth(),
            (Kind::Object, _) => filled(&self.column),
            // The JSON of a cell, which may be that of an error.
            _ if self.value.starts_with(['{', '[']) => failing_is("TRUE()", &filled(&self.column)),
            _ if self.is_number() => self.numbers(),
            (Kind::Date | Kind::DateTime, Some((moment, _))) => self.moments(&moment, true),
            (_, Some((moment, written))) => {
                let abroad = of_dates || written == Written::Zoned;
                either(vec![self.texts(), self.moments(&moment, abroad)])
            }
            _ if self.value == "true" => either(vec![
                self.texts(),
                safe(&format!("{}=TRUE()", self.column)),
                self.found("1"),
                format!("FIND('check',LOWER({}))", self.text),
            ]),
            _ => {
                let number = self.number().map(|n| safe(&n));
                either([Some(self.texts()), number].into_iter().flatten().collect())
            }
        }
    }

    /// In a text, a choice, or the joined text of several.
    fn texts(&self) -> String {
        let text = self.cased(&self.text);
        let value = literal(self.value);
        if self.value.is_empty() {
            // Blanks of every kind, which have no case.
            return match self.trims() {
                true => format!("UPPER({0})=LOWER({0})", self.text),
                false => format!("{}=''", self.column),
            };
        }
        let joined = self.field.kind == Kind::Array || self.value.contains(',');
        match self.run() {
            None => filled(&self.column),
            Some(run) if joined || self.trims() || run != self.value => {
                let found = self.found(run);
                if self.field.kind != Kind::Array {
                    return found;
                }
                let listed = self.cased(&format!("ARRAYJOIN({})", self.column));
                let listed = format!("FIND({},{listed})", literal(run));
                either(vec![found, safe(&listed)])
            }
            Some(_) => either(vec![
                format!("{text}={value}"),
                format!("AND(FIND(',',{}),{})", self.text, self.found(self.value)),
            ]),
        }
    }

    fn found(&self, run: &str) -> String {
        format!("FIND({},{})", literal(run), self.cased(&self.text))
    }

    /// Is it compared as a number?
    fn is_number(&self) -> bool {
        self.field.may_be_number() && number::canonical_number(self.value).is_some()
    }

    /// `{f}=8`; `None`: it is no number that a formula could hold.
    fn number(&self) -> Option<String> {
        let same = number::canonical_number(self.value).is_some_and(|n| n == self.value);
        (same && !self.value.contains('e')).then(|| format!("{}={}", self.column, self.value))
    }

    /// In numbers, and in texts and lists of them. A text may write the same number in other ways, a list's text may.
    fn numbers(&self) -> String {
        let Some(number) = self.number() else {
            return filled(&self.column);
        };
        let digits = self.value.trim_start_matches('-');
        let digits = match digits.strip_prefix('0') {
            Some(rest) if !rest.is_empty() => rest,
            _ => digits,
        };
        let (column, text) = (&self.column, &self.text);
        let written = [
            format!("FIND({},{text})", literal(digits)),
            format!("FIND(',',{text})"),
            format!("FIND('%',{text})"),
            format!("FIND('e',LOWER({text}))"),
        ];
        let is_number = safe(&format!("{column}=VALUE({text})"));
        either(vec![
            safe(&number),
            format!("AND(NOT({is_number}),{})", either(written.into())),
        ])
    }

    /// Days compare by the day, as do times that are shown as a day; other times by the second: what lies below is checked
    /// here.
    fn same_time(&self, moment: &str) -> String {
        let (moment, unit) = match moment.strip_suffix("T00:00:00.000Z") {
            Some(day) => (day.to_string(), "day"),
            None => (instant::to_the_ms(moment), "second"),
        };
        format!(
            "IS_SAME({},DATETIME_PARSE({}),'{unit}')",
            self.column,
            literal(&moment)
        )
    }

    /// In dates, in texts that write the moment somewhere in the world (`abroad`), and in what lists of them look like: where
    /// that is not as in their cells, nothing is known of it.
    fn moments(&self, moment: &str, abroad: bool) -> String {
        let text = &self.text;
        let mut parts = vec![safe(&self.same_time(moment))];
        let [before, day, after] = instant::days_around(moment);
        let days = match abroad {
            true => vec![before, day, after],
            false => vec![day],
        };
        let found = |day: String| format!("FIND({},{text})", literal(&day));
        parts.extend(days.into_iter().flatten().map(found));
        parts.push(format!(
            "AND({},NOT(AND(MID({text},5,1)='-',MID({text},8,1)='-')))",
            filled(text)
        ));
        either(parts)
    }

    /// A box, what a formula or a number says of it, or the word.
    fn truth(&self) -> String {
        let (column, text) = (&self.column, &self.text);
        match self.value {
            "true" => either(vec![
                safe(&format!("{column}=TRUE()")),
                format!("NOT(OR({text}='',{text}='0',LOWER({text})='false'))"),
            ]),
            _ => either(vec![
                failing_is("TRUE()", &format!("NOT({column})")),
                safe(&format!("OR({text}='0',FIND('false',{text}))")),
            ]),
        }
    }

    /// The normalisations of case around it, the first one innermost. Blanks are not trimmed but searched through: which ones
    /// there are is not the same everywhere.
    fn cased(&self, column: &str) -> String {
        let each = self.field.normalize.iter();
        each.fold(column.to_string(), |inner, n| match n {
            Normal::Trim => inner,
            Normal::Lower => format!("LOWER({inner})"),
            Normal::Upper => format!("UPPER({inner})"),
        })
    }
    fn trims(&self) -> bool {
        self.field.normalize.contains(&Normal::Trim)
    }
    fn is_cased(&self) -> bool {
        self.field.normalize.iter().any(|n| *n != Normal::Trim)
    }

    /// The longest part of the value that is the same in every text of it: quotes may be doubled in a list, and what marks a
    /// text up may not be shown.
    fn run(&self) -> Option<&'a str> {
        let cased = self.is_cased();
        let odd = |c: char| !is_plain_char(c, cased) || "\"*`~[]\\".contains(c);
        let runs: Vec<&str> = self.value.split(odd).collect();
        runs.into_iter()
            .max_by_key(|run| run.len())
            .filter(|run| !run.is_empty())
    }
}

/// Does it mean the same to Airtable as to us? Control characters may have no spelling there, what was mended was something
/// else, and letters beyond ASCII may change case by other rules.
fn is_plain_char(c: char, cased: bool) -> bool {
    !c.is_control() && c != char::REPLACEMENT_CHARACTER && (!cased || c.is_ascii())
}
