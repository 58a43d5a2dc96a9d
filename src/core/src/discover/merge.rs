//! A spec made anew, the one made before, and what a user made of that.

use alloc::string::String;
use serde_json::{Map, Value};

/// The spec to put in force: what the base's schema changed, and what a user set. `before`: as it was made last time
/// (null: never); `given`: as it is in force; `made`: as it is made now.
pub fn merged(before: &Value, given: &Value, made: &Value) -> Value {
    let (Value::Object(before), Value::Object(given), Value::Object(made)) = (before, given, made)
    else {
        return given.clone();
    };
    let mut out = objects(before, given, made, 0);
    // A model of the user's own is not added to: which columns it leaves out is its business.
    if let (Some(b), Some(g)) = (before.get("schema"), given.get("schema")) {
        if is_own_model(b, g) {
            out.insert("schema".into(), g.clone());
            for member in ["index_to_airtable", "depends"] {
                keep_known(&mut out, member);
            }
        }
    }
    Value::Object(out)
}

/// Objects are brought together member by member, everything else is one thing or the other.
fn objects(
    before: &Map<String, Value>,
    given: &Map<String, Value>,
    made: &Map<String, Value>,
    depth: usize,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, now) in given {
        match (before.get(name), made.get(name)) {
            // As it was made: as it is made now, or gone with its column.
            (Some(was), new) if was == now => {
                if let Some(new) = new {
                    out.insert(name.clone(), new.clone());
                }
            }
            (was, Some(Value::Object(new))) if depth < 4 => {
                let nothing = Map::new();
                let value = match now {
                    Value::Object(now) => Value::Object(objects(
                        was.and_then(Value::as_object).unwrap_or(&nothing),
                        now,
                        new,
                        depth + 1,
                    )),
                    _ => now.clone(),
                };
                out.insert(name.clone(), value);
            }
            _ => {
                out.insert(name.clone(), now.clone());
            }
        }
    }
    for (name, new) in made {
        // New upstream; what a user took away stays away.
        if !given.contains_key(name) && !before.contains_key(name) {
            out.insert(name.clone(), new.clone());
        }
    }
    out
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

/// Does it lack a property that was made, or spell its properties another way?
fn is_own_model(before: &Value, given: &Value) -> bool {
    match (properties(before), properties(given)) {
        (Some(b), Some(g)) => b.keys().any(|name| !g.contains_key(name)),
        _ => before != given,
    }
}

/// Entries for fields that the schema lacks would be refused.
fn keep_known(spec: &mut Map<String, Value>, member: &str) {
    let Some(known) = spec
        .get("schema")
        .and_then(properties)
        .map(|p| p.keys().cloned().collect::<alloc::vec::Vec<_>>())
    else {
        return;
    };
    if let Some(Value::Object(o)) = spec.get_mut(member) {
        o.retain(|name, _| known.contains(name));
    }
}
