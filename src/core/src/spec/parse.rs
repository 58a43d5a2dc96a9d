//! From what `PODIUM.SPEC SET` was given to a [`Spec`].

use super::field::Said;
use super::marks::{normals, step, wrong};
use super::properties::{properties, Model};
use super::schema::Doc;
use super::steps::Steps;
use super::union::{Alternatives, Told};
use super::{stored_order, strict, Field, FieldIx, Normal, Spec, SpecError};
use crate::columns::{is_id, Columns};
use crate::key::base_ok;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::{HashMap, HashSet};
use serde_json::{Map, Value};

const MEMBERS: [&str; 13] = [
    "table",
    "base",
    "schema",
    "views",
    "default_view",
    "index_to_airtable",
    "indexed",
    "sortable",
    "normalize",
    "depends",
    "ttl",
    "jitter",
    "tombstone_ttl",
];
/// What tells a bare JSON Schema from a spec.
const SCHEMA_MEMBERS: [&str; 9] = [
    "$schema",
    "$id",
    "$ref",
    "$defs",
    "definitions",
    "properties",
    "allOf",
    "anyOf",
    "oneOf",
];
/// Ten years: longer lives are a slip of the pen, and their milliseconds still fit.
const MAX_LIFE_S: i64 = 315_360_000;

pub(super) fn parse(entity: &str, json: &[u8]) -> Result<Spec, SpecError> {
    let given = strict::parse(json)
        .map_err(|e| wrong(String::new(), &format!("the spec is not JSON: {e}")))?;
    let mut steps = Steps::of(&given);
    let Value::Object(given) = given else {
        return Err(wrong(
            String::new(),
            "the spec must be an object, such as {\"schema\": …} or a bare JSON Schema",
        ));
    };
    let (members, schema_base) = as_spec(given)?;
    let mut spec = Reader {
        members: &members,
        schema_base,
    }
    .read(entity, &mut steps)?;
    spec.given = Value::Object(members);
    Ok(spec)
}

/// The spec's members, and where its schema stands in what was given.
fn as_spec(given: Map<String, Value>) -> Result<(Map<String, Value>, &'static str), SpecError> {
    let is_member = |k: &&String| MEMBERS.contains(&k.as_str());
    let bare = !given.contains_key("schema")
        && (SCHEMA_MEMBERS.iter().any(|k| given.contains_key(*k))
            || given.get("type").is_some_and(Value::is_string));
    if bare && !given.keys().any(|k| is_member(&k)) {
        let mut members = Map::new();
        members.insert("schema".into(), Value::Object(given));
        return Ok((members, ""));
    }
    if let Some(unknown) = given.keys().find(|k| !is_member(k)) {
        let what = if bare {
            format!("{unknown:?} is no member of a spec: put the JSON Schema under \"schema\"")
        } else {
            format!(
                "{unknown:?} is no member of a spec; it may have {}",
                MEMBERS.join(", ")
            )
        };
        return Err(wrong(step("", unknown), &what));
    }
    Ok((given, "/schema"))
}

/// The fields of the whole record.
pub(super) struct Known<'a> {
    pub(super) fields: &'a [Field],
    pub(super) by_name: &'a HashMap<String, FieldIx>,
}

impl<'a> Known<'a> {
    pub(super) fn field(&self, name: &str) -> Option<&'a Field> {
        self.fields.get(usize::from(*self.by_name.get(name)?))
    }
    /// A fill in the form in which cells are stored.
    pub(super) fn normalize(&self, name: &str, value: &mut Value) {
        if let Some(f) = self.field(name).filter(|f| !f.kind.is_link()) {
            Normal::apply_to(&f.normalize, value);
        }
    }
}

pub(super) struct Reader<'a> {
    pub(super) members: &'a Map<String, Value>,
    schema_base: &'static str,
}

impl Reader<'_> {
    fn read(&self, entity: &str, steps: &mut Steps) -> Result<Spec, SpecError> {
        let (doc, model) = match self.members.get("schema") {
            None => (None, None),
            Some(schema @ Value::Object(_)) => {
                let (doc, model) = document(schema, self.schema_base, steps)?;
                (Some(doc), Some(model))
            }
            Some(_) => return Err(wrong("/schema".into(), "must be a JSON Schema, an object")),
        };
        let open = model.is_none();
        let names = Names {
            known: model
                .as_ref()
                .map(|m| m.properties.iter().map(|p| p.name.as_str()).collect()),
        };
        let said = self.said(&names)?;

        let mut fields = Vec::new();
        if let (Some(doc), Some(model)) = (&doc, &model) {
            for p in model.properties.iter().filter(|p| p.name != "id") {
                fields.push(said.field(doc, p, steps)?);
            }
        } else {
            fields.extend(said.named.iter().map(|name| said.open_field(name.clone())));
        }
        if FieldIx::try_from(fields.len()).is_err() {
            return Err(wrong(self.schema_base.into(), "has too many properties"));
        }
        for f in &fields {
            if f.indexed && (f.name.contains(':') || f.name.is_empty()) {
                let what = format!("{:?} cannot be indexed: its name would not fit into the key <entity>:<field>:<value>", f.name);
                return Err(wrong(step("/indexed", &f.name), &what));
            }
        }
        let by_name: HashMap<String, FieldIx> = (0..)
            .zip(&fields)
            .map(|(i, f)| (f.name.clone(), i))
            .collect();
        let known = Known {
            fields: &fields,
            by_name: &by_name,
        };
        let union = match (&doc, &model) {
            (Some(doc), Some(model)) => {
                let told = Told {
                    place: &|name| by_name.get(name).copied(),
                    normalize: &|name, v| known.normalize(name, v),
                    inherited: &|_| None,
                    read_only: &|_| false,
                };
                Alternatives::new(doc, model, &told, steps)?
            }
            _ => None,
        };
        let views = self.views(&names, &known, steps)?;
        let default_view = self.default_view(&views)?;
        let stored_order = stored_order(default_view, &views, fields.len());
        Ok(Spec {
            entity: entity.to_owned(),
            table: match self.members.get("table") {
                None => crate::key::untagged(entity).to_owned(),
                Some(Value::String(t)) if !t.is_empty() => t.clone(),
                Some(_) => {
                    return Err(wrong(
                        "/table".into(),
                        "must be the name or the tbl… id of a table",
                    ))
                }
            },
            base: match self.members.get("base") {
                None => None,
                Some(Value::String(b)) if base_ok(b.as_bytes()) => Some(b.clone()),
                Some(_) => {
                    return Err(wrong(
                        "/base".into(),
                        "must be the id of a base, such as \"appXXXXXXXXXXXXXX\"",
                    ))
                }
            },
            open,
            columns: columns(&fields, open),
            fields,
            by_name,
            union,
            views,
            default_view,
            stored_order,
            ttl: self.life("ttl")?,
            jitter: match self.members.get("jitter") {
                None => None,
                Some(j) => match j.as_f64().filter(|j| (0.0..=0.5).contains(j)) {
                    None => {
                        return Err(wrong(
                            "/jitter".into(),
                            "must be a share from 0 to 0.5, such as 0.05 for 5 %",
                        ))
                    }
                    share => share,
                },
            },
            tombstone_ttl: self.life("tombstone_ttl")?,
            given: Value::Null,
        })
    }

    fn life(&self, member: &str) -> Result<Option<i64>, SpecError> {
        let Some(v) = self.members.get(member) else {
            return Ok(None);
        };
        match v.as_i64().filter(|s| (1..=MAX_LIFE_S).contains(s)) {
            None => Err(wrong(
                step("", member),
                &format!("must be whole seconds, from 1 to {MAX_LIFE_S}"),
            )),
            seconds => Ok(seconds),
        }
    }

    /// What the spec's own members say of fields.
    fn said(&self, names: &Names) -> Result<Said, SpecError> {
        let indexed = self.list("indexed", names)?;
        if let Some(at) = indexed.iter().position(|name| name == "id") {
            let what = "\"id\" needs no index: a record is read by its own key, <entity>:<id>";
            return Err(wrong(format!("/indexed/{at}"), what));
        }
        let sortable = self.list("sortable", names)?;
        let normalize = self.map("normalize", names, normals)?;
        let lookups = self.map("index_to_airtable", names, |v, place| match v.as_str() {
            Some(column) if !column.is_empty() => Ok(column.to_owned()),
            _ => Err(wrong(
                place.to_owned(),
                "must be the name or the fld… id of a field in Airtable",
            )),
        })?;
        let depends = self.map("depends", names, |v, place| match v.as_str() {
            Some(entity) if super::entity_name_ok(entity.as_bytes()) => Ok(entity.to_owned()),
            _ => Err(wrong(place.to_owned(), "must be the name of an entity")),
        })?;
        let keyed = normalize.iter().map(|(n, _)| n);
        let keyed = keyed
            .chain(lookups.iter().map(|(n, _)| n))
            .chain(depends.iter().map(|(n, _)| n));
        let mut seen: HashSet<&str> = HashSet::from(["id"]);
        let named: Vec<String> = indexed
            .iter()
            .chain(&sortable)
            .chain(keyed)
            .filter(|name| seen.insert(name))
            .cloned()
            .collect();
        drop(seen);
        Ok(Said {
            named,
            indexed: indexed.into_iter().collect(),
            sortable: sortable.into_iter().collect(),
            normalize: normalize.into_iter().collect(),
            lookups: lookups.into_iter().collect(),
            depends: depends.into_iter().collect(),
        })
    }

    fn list(&self, member: &str, names: &Names) -> Result<Vec<String>, SpecError> {
        let place = step("", member);
        match self.members.get(member) {
            None => Ok(Vec::new()),
            Some(Value::Array(all)) => name_list(all, &place, names),
            Some(_) => Err(wrong(place, "must be a list of field names")),
        }
    }

    fn map<T>(
        &self,
        member: &str,
        names: &Names,
        read: impl Fn(&Value, &str) -> Result<T, SpecError>,
    ) -> Result<Vec<(String, T)>, SpecError> {
        let place = step("", member);
        match self.members.get(member) {
            None => Ok(Vec::new()),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(name, v)| {
                    let at = step(&place, name);
                    names.check(name, &at)?;
                    Ok((name.clone(), read(v, &at)?))
                })
                .collect(),
            Some(_) => Err(wrong(place, "must be an object keyed by field names")),
        }
    }
}

/// A schema that stands at `base`, and the properties of its model.
pub(super) fn document(
    schema: &Value,
    base: &str,
    steps: &mut Steps,
) -> Result<(Arc<Doc>, Model), SpecError> {
    let mut doc = Doc::new(schema.clone(), base);
    let model = properties(&doc, steps)?;
    doc.share(model.checks());
    Ok((Arc::new(doc), model))
}

/// The columns that fields are read from and asked by.
fn columns(fields: &[Field], open: bool) -> Columns {
    let mut out = Columns {
        all: open,
        ..Columns::default()
    };
    for f in fields {
        out.add(&f.airtable);
        let asked = f.lookup.as_deref();
        if let Some(lookup) = asked.filter(|l| f.indexed || is_id(l)) {
            out.add(lookup);
        }
    }
    out
}

/// The names that fields may have.
pub(super) struct Names<'a> {
    /// `None`: no schema, any name.
    known: Option<HashSet<&'a str>>,
}

impl Names<'_> {
    pub(super) fn check(&self, name: &str, place: &str) -> Result<(), SpecError> {
        match &self.known {
            Some(known) if !known.contains(name) && name != "id" => Err(wrong(
                place.to_owned(),
                &format!("the schema has no property {name:?}"),
            )),
            _ => Ok(()),
        }
    }
}

/// Names of fields, each of them known and given once.
pub(super) fn name_list(
    all: &[Value],
    place: &str,
    names: &Names,
) -> Result<Vec<String>, SpecError> {
    let mut out: Vec<String> = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, v) in all.iter().enumerate() {
        let at = format!("{place}/{i}");
        let Some(name) = v.as_str() else {
            return Err(wrong(at, "must be the name of a field"));
        };
        names.check(name, &at)?;
        if !seen.insert(name) {
            return Err(wrong(at, &format!("{name:?} is given twice")));
        }
        out.push(name.to_owned());
    }
    Ok(out)
}
