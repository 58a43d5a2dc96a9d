//! Columns that a spec names by their ids: what they are called in a base, and cells under the names that the spec uses.
//!
//! A column's id outlives its renaming. Formulas take names, and most answers come by names; so what is asked is put into
//! names, and what comes back is put under the ids.

use alloc::borrow::{Cow, ToOwned};
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use hashbrown::{HashMap, HashSet};
use serde_json::{Map, Value};

/// Shortest text that is taken for a column's id: ids have 17 letters, but that is not promised.
const SHORTEST: usize = 10;

/// Does it look like a column's id, `fld…`?
pub fn is_id(column: &str) -> bool {
    column.len() >= SHORTEST
        && column
            .strip_prefix("fld")
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The columns that a spec names.
#[derive(Clone, Default, Debug)]
pub struct Columns {
    /// By what looks like an id.
    pub ids: BTreeSet<String>,
    /// By name.
    pub names: HashSet<String>,
    /// Every column is wanted, whatever it is called.
    pub all: bool,
}

impl Columns {
    pub(crate) fn add(&mut self, column: &str) {
        if !is_id(column) {
            self.names.insert(column.to_owned());
        } else {
            self.ids.insert(column.to_owned());
        }
    }
    /// Can an answer by ids hold all of them?
    pub fn only_ids(&self) -> bool {
        self.names.is_empty() && !self.all
    }
}

/// What the columns of one table are called.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Names {
    by_id: HashMap<String, String>,
    names: HashSet<String>,
}

impl Names {
    /// Of the table that a spec names, by its id or name, in a base's schema as Airtable sends it.
    pub fn of(schema: &Value, table: &str) -> Option<Names> {
        let text =
            |v: &Value, key: &str| v.get(key).and_then(Value::as_str).map(ToString::to_string);
        let tables = schema.get("tables")?.as_array()?;
        let by = |key: &str| {
            let is = |t: &&Value| t.get(key).and_then(Value::as_str) == Some(table);
            tables.iter().find(is)
        };
        let fields = by("id").or_else(|| by("name"))?.get("fields")?.as_array()?;
        let mut out = Names::default();
        for f in fields {
            if let (Some(id), Some(name)) = (text(f, "id"), text(f, "name")) {
                out.names.insert(name.clone());
                out.by_id.insert(id, name);
            }
        }
        Some(out)
    }
    /// What a column of this id is called.
    pub fn name(&self, id: &str) -> Option<&str> {
        self.by_id.get(id).map(String::as_str)
    }
    /// Is every cell one of a column known here? If not, a column was renamed or made since.
    pub fn know(&self, cells: &Map<String, Value>) -> bool {
        cells.keys().all(|name| self.names.contains(name))
    }
    /// These are known now, though the schema does not tell of them.
    pub fn accept(&mut self, cells: &Map<String, Value>) {
        self.names.extend(cells.keys().cloned());
    }
    /// Puts cells that came by name under the ids by which the spec names their columns.
    pub fn put_under_ids(&self, columns: &Columns, cells: &mut Map<String, Value>) {
        for id in columns.ids.iter().filter(|id| !self.names.contains(*id)) {
            let Some(name) = self.name(id) else { continue };
            let cell = match columns.all || columns.names.contains(name) {
                true => cells.get(name).cloned(),
                false => cells.shift_remove(name),
            };
            if let Some(cell) = cell {
                cells.insert(id.clone(), cell);
            }
        }
    }
    /// A formula with columns by name in place of those by id.
    pub fn in_formula<'a>(&self, formula: &'a str) -> Cow<'a, str> {
        rewritten(formula, |id| {
            let name = self.name(id).filter(|_| !self.names.contains(id))?;
            Some(name.replace('}', "\\}"))
        })
    }
}

/// Does a formula name columns by their ids?
pub fn names_ids(formula: &str) -> bool {
    let mut found = false;
    let _ = rewritten(formula, |_| {
        found = true;
        None
    });
    found
}

/// Replaces what `name` knows of the ids that stand in braces, outside of texts.
fn rewritten(formula: &str, mut name: impl FnMut(&str) -> Option<String>) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut rest = formula.char_indices();
    while let Some((at, c)) = rest.next() {
        let close = match c {
            '\'' | '"' => c,
            '{' => '}',
            _ => continue,
        };
        let mut end = None;
        while let Some((i, c)) = rest.next() {
            match c {
                '\\' => drop(rest.next()),
                c if c == close => {
                    end = Some(i);
                    break;
                }
                _ => {}
            }
        }
        let Some(end) = end.filter(|_| close == '}') else {
            continue;
        };
        let Some(id) = formula.get(at + 1..end).filter(|id| is_id(id)) else {
            continue;
        };
        if let Some(name) = name(id) {
            out.push_str(formula.get(copied..=at).unwrap_or(""));
            out.push_str(&name);
            copied = end;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(formula);
    }
    out.push_str(formula.get(copied..).unwrap_or(""));
    Cow::Owned(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::format;
    use serde_json::json;

    const STAGE: &str = "fldS6tA7gE8yU9iO0";
    const ODD: &str = "fldO2wN4eR6pL8kJ1";

    fn names() -> Names {
        let schema = json!({"tables": [{"id": "tblP", "name": "Projects", "fields": [
            {"id": STAGE, "name": "Stage", "type": "singleSelect"}, {"id": ODD, "name": "a}b", "type": "number"}, {"id": "fldX", "name": "Name"}, {}]}]});
        assert_eq!(Names::of(&schema, "Nobody"), None);
        assert_eq!(Names::of(&schema, "tblP"), Names::of(&schema, "Projects"));
        Names::of(&schema, "tblP").unwrap()
    }

    #[test]
    fn what_looks_like_an_id() {
        for (column, expected) in [
            (STAGE, true),
            ("fldName", false),
            ("fld", false),
            ("fldS6tA7gE8yU9iO0 ", false),
            ("Stage", false),
            ("FLDS6tA7gE8yU9iO0", false),
        ] {
            assert_eq!(is_id(column), expected, "{column}");
        }
    }

    #[test]
    fn formulas_name_columns_and_leave_texts_alone() {
        for (formula, expected) in [
            (format!("{{{STAGE}}}='x'"), "{Stage}='x'".to_string()),
            (
                format!("OR({{{ODD}}}=1,{{n}}=2,{{{STAGE}}}='')"),
                "OR({a\\}b}=1,{n}=2,{Stage}='')".into(),
            ),
            (
                format!("{{n}}='{{{STAGE}}}'"),
                format!("{{n}}='{{{STAGE}}}'"),
            ),
            (
                format!("{{n}}='it\\'s {{{STAGE}}}'&{{{STAGE}}}"),
                format!("{{n}}='it\\'s {{{STAGE}}}'&{{Stage}}"),
            ),
            ("{fldUnknown1234567}".into(), "{fldUnknown1234567}".into()),
            ("{fldS6tA7gE8yU9iO0".into(), "{fldS6tA7gE8yU9iO0".into()),
        ] {
            assert_eq!(names().in_formula(&formula), expected);
        }
        assert!(
            names_ids(&format!("{{{STAGE}}}=1")) && !names_ids(&format!("{{n}}='{{{STAGE}}}'"))
        );
    }

    #[test]
    fn cells_come_under_the_names_that_the_spec_uses() {
        let mut columns = Columns::default();
        for c in [STAGE, ODD, "Name", STAGE] {
            columns.add(c);
        }
        let cells = |v: Value| v.as_object().unwrap().clone();
        let mut got = cells(json!({"Stage": "x", "Name": "n", "a}b": 1}));
        assert!(names().know(&got) && !names().know(&cells(json!({"Phase": 1}))));
        names().put_under_ids(&columns, &mut got);
        assert_eq!(Value::Object(got), json!({"Name": "n", ODD: 1, STAGE: "x"}));
        columns.names.insert("Stage".into());
        let mut got = cells(json!({"Stage": "x"}));
        names().put_under_ids(&columns, &mut got);
        assert_eq!(
            Value::Object(got),
            json!({"Stage": "x", STAGE: "x"}),
            "named both ways"
        );
        assert!(!columns.only_ids());
        let mut known = names();
        known.accept(&cells(json!({"Phase": 1})));
        assert!(known.know(&cells(json!({"Phase": 1}))));
    }
}
