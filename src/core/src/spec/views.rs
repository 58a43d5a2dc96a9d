//! The views of a spec.

use super::field::{key, view_column};
use super::marks::{step, wrong};
use super::parse::{document, name_list, Known, Names, Reader};
use super::steps::Steps;
use super::union::{Alternatives, Told};
use super::{Column, FieldIx, SpecError, View, ViewIx};
use alloc::format;
use alloc::vec::Vec;
use hashbrown::HashMap;
use serde_json::Value;

impl Reader<'_> {
    pub(super) fn views(
        &self,
        names: &Names,
        whole: &Known,
        steps: &mut Steps,
    ) -> Result<Vec<View>, SpecError> {
        let views = match self.members.get("views") {
            None => return Ok(Vec::new()),
            Some(Value::Object(views)) => views,
            Some(_) => {
                return Err(wrong(
                    "/views".into(),
                    "must be an object keyed by the views' names",
                ))
            }
        };
        let mut out = Vec::new();
        for (name, given) in views {
            let place = step("/views", name);
            if name.is_empty()
                || name == "*"
                || name.chars().any(|c| c.is_whitespace() || c.is_control())
            {
                return Err(wrong(
                    place,
                    "a view's name must be one word; * stands for the whole record",
                ));
            }
            let mut union = None;
            let columns = match given {
                Value::Array(list) => name_list(list, &place, names)?
                    .into_iter()
                    .map(|name| Column {
                        field: whole.by_name.get(&name).copied(),
                        key: key(&name),
                        name,
                        fill: None,
                        rule: None,
                    })
                    .collect(),
                Value::Object(_) => {
                    let (doc, model) = document(given, &place, steps)?;
                    let mut columns = Vec::new();
                    let mut places: HashMap<&str, FieldIx> = HashMap::new();
                    for p in model.properties.iter().filter(|p| p.name != "id") {
                        let at = step(&step(&place, "properties"), &p.name);
                        names.check(&p.name, &at)?;
                        let field = whole.by_name.get(&p.name).copied();
                        let of_whole = whole.field(&p.name);
                        let Ok(at) = FieldIx::try_from(columns.len()) else {
                            return Err(wrong(place, "has too many properties"));
                        };
                        places.insert(&p.name, at);
                        columns.push(view_column(&doc, p, of_whole, field, steps)?);
                    }
                    let told = Told {
                        place: &|name| places.get(name).copied(),
                        normalize: &|name, v| whole.normalize(name, v),
                        inherited: &|name| whole.field(name)?.default.as_ref(),
                        read_only: &|name| whole.field(name).is_some_and(|f| f.read_only),
                    };
                    union = Alternatives::new(&doc, &model, &told, steps)?;
                    columns
                }
                _ => {
                    return Err(wrong(
                        place,
                        "must be a JSON Schema or a list of field names",
                    ))
                }
            };
            out.push(View {
                name: name.clone(),
                columns: columns
                    .into_iter()
                    .filter(|c: &Column| c.name != "id")
                    .collect(),
                own_schema: given.is_object(),
                union,
            });
        }
        match ViewIx::try_from(out.len()) {
            Ok(_) => Ok(out),
            Err(_) => Err(wrong("/views".into(), "has too many views")),
        }
    }

    pub(super) fn default_view(&self, views: &[View]) -> Result<Option<ViewIx>, SpecError> {
        let find = |name: &str| {
            views
                .iter()
                .position(|v| v.name == name)
                .and_then(|i| ViewIx::try_from(i).ok())
        };
        match self.members.get("default_view") {
            None => Ok(find("public")),
            Some(Value::String(name)) if name == "*" => Ok(None),
            Some(Value::String(name)) => match find(name) {
                None => Err(wrong(
                    "/default_view".into(),
                    &format!("{name:?} is none of the views"),
                )),
                view => Ok(view),
            },
            Some(_) => Err(wrong("/default_view".into(), "must be the name of a view")),
        }
    }
}
