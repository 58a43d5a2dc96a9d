//! How much work one spec may be: a few bytes of references can stand for more branches than there is time for.

use super::SpecError;
use alloc::borrow::ToOwned;
use alloc::format;
use serde_json::Value;

/// Steps that any spec may take.
const AT_LEAST: u64 = 300_000;
/// Steps for each object in it.
const PER_OBJECT: u64 = 24;

/// The steps left to one spec, its views included. A step is a schema object looked at, or as much work as that.
pub(super) struct Steps {
    left: u64,
    most: u64,
}

impl Steps {
    pub(super) fn of(given: &Value) -> Steps {
        let most = AT_LEAST + PER_OBJECT * objects(given);
        Steps { left: most, most }
    }
    /// # Errors
    /// They are spent; the place is where.
    pub(super) fn take(&mut self, n: usize, place: &str) -> Result<(), SpecError> {
        match self.left.checked_sub(n as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(SpecError {
                    place: place.to_owned(),
                    what: format!(
                        "the references, allOf, anyOf and oneOf here stand for more than the {} schemas that a spec of this size may come to: name each definition once",
                        self.most
                    ),
                })
            }
        }
    }
}

/// Values in a value.
pub(super) fn values(value: &Value) -> usize {
    match value {
        Value::Array(all) => all.iter().map(values).sum::<usize>() + 1,
        Value::Object(map) => map.values().map(values).sum::<usize>() + 1,
        _ => 1,
    }
}

/// Nesting is bounded by the parser.
fn objects(value: &Value) -> u64 {
    match value {
        Value::Object(map) => 1 + map.values().map(objects).sum::<u64>(),
        Value::Array(all) => all.iter().map(objects).sum(),
        _ => 0,
    }
}
