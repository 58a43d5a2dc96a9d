//! The base's schema, as far as the feed needs it: names to ids, and which tables show cells of which others.

use crate::automation::same_name;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use hashbrown::HashSet;
use serde_json::Value;

/// A base's tables.
#[derive(Clone, Default, Debug)]
pub struct Schema {
    tables: Vec<Table>,
}

#[derive(Clone, Debug)]
struct Table {
    id: String,
    name: String,
    /// Names it had before: specs may still use them.
    former: Vec<String>,
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
struct Field {
    id: String,
    name: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A link to the records of this table.
    Link(String),
    /// A lookup, rollup or count through this link field; of this field in the linked table, where it is of one.
    Through {
        link: String,
        of: Option<String>,
    },
    /// Computed otherwise.
    Computed,
    Plain,
}

/// Records of `table` whose link cell `link` holds a changed record show something of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dependent {
    pub table: String,
    /// The link field's name.
    pub link: String,
    /// The same field's id.
    pub link_id: String,
}

impl Dependent {
    /// Is the link the column that a spec names, by its name or id?
    pub fn is_through(&self, column: &str) -> bool {
        self.link == column || self.link_id == column
    }
}

impl Schema {
    /// Reads `{"tables": […]}`; what is not understood is left out.
    pub fn parse(body: &Value) -> Schema {
        let tables = body
            .get("tables")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(table)
            .collect();
        Schema { tables }
    }

    /// Keeps the names that tables had in an earlier schema.
    pub fn after(mut self, before: &Schema) -> Schema {
        let taken: HashSet<String> = self.tables.iter().map(|t| t.name.clone()).collect();
        for t in &mut self.tables {
            let Some(old) = before.tables.iter().find(|o| o.id == t.id) else {
                continue;
            };
            let mut former = old.former.clone();
            if old.name != t.name {
                former.push(old.name.clone());
            }
            former.retain(|n| !taken.contains(n));
            t.former = former;
        }
        self
    }

    /// The id of the table that a spec names, by its id or by its name.
    pub fn table_id(&self, named: &str) -> Option<&str> {
        let by = |pick: &dyn Fn(&Table) -> bool| {
            self.tables.iter().find(|t| pick(t)).map(|t| t.id.as_str())
        };
        by(&|t| t.id == named)
            .or_else(|| by(&|t| t.name == named))
            .or_else(|| by(&|t| t.former.iter().any(|f| f == named)))
    }

    /// The same whatever the case: what somebody calls a table.
    pub fn table_called(&self, name: &str) -> Option<&str> {
        let by = |pick: &dyn Fn(&Table) -> bool| {
            self.tables.iter().find(|t| pick(t)).map(|t| t.id.as_str())
        };
        self.table_id(name)
            .or_else(|| by(&|t| same_name(&t.id, name)))
            .or_else(|| by(&|t| same_name(&t.name, name)))
            .or_else(|| by(&|t| t.former.iter().any(|f| same_name(f, name))))
    }

    /// The table that a link field, by its name or id, leads to.
    pub fn link_target(&self, table: &str, field: &str) -> Option<&str> {
        match &self
            .tables
            .iter()
            .find(|t| t.id == table)?
            .fields
            .iter()
            .find(|f| f.name == field || f.id == field)?
            .kind
        {
            Kind::Link(to) => Some(to),
            _ => None,
        }
    }

    /// The table that a link field, by its id, leads to, and the field's name.
    pub fn link(&self, table: &str, field: &str) -> Option<(&str, &str)> {
        let name = self.field_name(table, field)?;
        Some((self.link_target(table, name)?, name))
    }

    /// The name of a field of a table.
    pub fn field_name(&self, table: &str, field: &str) -> Option<&str> {
        self.tables
            .iter()
            .find(|t| t.id == table)?
            .fields
            .iter()
            .find(|f| f.id == field)
            .map(|f| f.name.as_str())
    }

    /// Who shows cells of `table`, of which these fields changed. A lookup of a computed field counts whatever changed.
    pub fn dependents(
        &self,
        table: &str,
        fields: &HashSet<String>,
        all_fields: bool,
    ) -> Vec<Dependent> {
        let source = self.tables.iter().find(|t| t.id == table);
        let mut out: Vec<Dependent> = Vec::new();
        for t in &self.tables {
            for f in &t.fields {
                let Kind::Through { link, of } = &f.kind else {
                    continue;
                };
                let Some(via) = t.fields.iter().find(|l| l.id == *link) else {
                    continue;
                };
                if !matches!(&via.kind, Kind::Link(to) if to == table) {
                    continue;
                }
                let shows = all_fields
                    || of.as_ref().is_none_or(|of| {
                        let looked_up = source.and_then(|s| s.fields.iter().find(|f| f.id == *of));
                        fields.contains(of)
                            || !matches!(
                                looked_up.map(|f| &f.kind),
                                Some(Kind::Plain | Kind::Link(_))
                            )
                    });
                let dependent = Dependent {
                    table: t.id.clone(),
                    link: via.name.clone(),
                    link_id: via.id.clone(),
                };
                if shows && !out.contains(&dependent) {
                    out.push(dependent);
                }
            }
        }
        out
    }
}

fn text(v: &Value, key: &str) -> Option<String> {
    v.get(key).and_then(Value::as_str).map(ToString::to_string)
}

fn table(v: &Value) -> Option<Table> {
    let fields = v
        .get("fields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(field)
        .collect();
    Some(Table {
        id: text(v, "id")?,
        name: text(v, "name")?,
        former: Vec::new(),
        fields,
    })
}

fn field(v: &Value) -> Option<Field> {
    let option = |key: &str| v.get("options").and_then(|o| text(o, key));
    let through = || {
        option("recordLinkFieldId").map(|link| Kind::Through {
            link,
            of: option("fieldIdInLinkedTable"),
        })
    };
    let kind = match v.get("type").and_then(Value::as_str)? {
        "multipleRecordLinks" => option("linkedTableId").map(Kind::Link),
        "multipleLookupValues" | "lookup" | "rollup" | "count" => through(),
        "formula" | "button" | "aiText" | "lastModifiedTime" | "lastModifiedBy" => {
            Some(Kind::Computed)
        }
        _ => None,
    };
    Some(Field {
        id: text(v, "id")?,
        name: text(v, "name")?,
        kind: kind.unwrap_or(Kind::Plain),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(people: &str) -> Schema {
        Schema::parse(&json!({"tables": [
            {"id": "tblP", "name": people, "fields": [
                {"id": "fldName", "name": "Name", "type": "singleLineText"},
                {"id": "fldAge", "name": "Age", "type": "number"},
                {"id": "fldTitle", "name": "Title", "type": "formula"}]},
            {"id": "tblT", "name": "Tasks", "fields": [
                {"id": "fldWho", "name": "Who", "type": "multipleRecordLinks", "options": {"linkedTableId": "tblP"}},
                {"id": "fldL", "name": "Who's name", "type": "multipleLookupValues", "options": {"recordLinkFieldId": "fldWho", "fieldIdInLinkedTable": "fldName"}}]},
            {"id": "tblR", "name": "Rooms", "fields": [
                {"id": "fldIn", "name": "In it", "type": "multipleRecordLinks", "options": {"linkedTableId": "tblP"}},
                {"id": "fldT", "name": "Titles", "type": "multipleLookupValues", "options": {"recordLinkFieldId": "fldIn", "fieldIdInLinkedTable": "fldTitle"}}]},
            {"no": "table"}
        ]}))
    }

    #[test]
    fn a_table_is_found_by_id_by_name_and_by_a_name_it_had() {
        let old = schema("People");
        assert_eq!(old.table_id("People"), Some("tblP"));
        assert_eq!(old.table_id("tblT"), Some("tblT"));
        assert_eq!(old.table_id("Nobody"), None);
        assert_eq!(old.table_id("PEOPLE"), None);
        assert_eq!(old.table_called("PEOPLE"), Some("tblP"));
        assert_eq!(old.table_called("TBLt"), Some("tblT"));
        assert_eq!(old.table_called("Nobody"), None);
        let new = schema("Persons").after(&old);
        assert_eq!(new.table_id("Persons"), Some("tblP"));
        assert_eq!(
            new.table_id("People"),
            Some("tblP"),
            "a spec may still say so"
        );
        let taken = schema("Persons").after(&old);
        let later = schema("Tasks2").after(&taken);
        assert_eq!(later.table_id("Persons"), Some("tblP"));
        assert_eq!(later.field_name("tblT", "fldWho"), Some("Who"));
        assert_eq!(later.link_target("tblT", "Who"), Some("tblP"));
        assert_eq!(later.link_target("tblT", "Who's name"), None);
        assert_eq!(later.link("tblT", "fldWho"), Some(("tblP", "Who")));
        assert_eq!(later.link("tblT", "fldL"), None);
    }

    #[test]
    fn lookups_depend_on_the_fields_they_show() {
        let s = schema("People");
        let tables = |fields: &[&str], all| -> Vec<String> {
            let fields = fields.iter().map(ToString::to_string).collect();
            s.dependents("tblP", &fields, all)
                .into_iter()
                .map(|d| d.table + "." + &d.link)
                .collect()
        };
        assert_eq!(
            tables(&["fldName"], false),
            ["tblT.Who", "tblR.In it"],
            "a formula may show anything"
        );
        assert_eq!(tables(&["fldAge"], false), ["tblR.In it"]);
        assert_eq!(tables(&[], true), ["tblT.Who", "tblR.In it"]);
        assert!(s.dependents("tblT", &HashSet::new(), true).is_empty());
    }
}
