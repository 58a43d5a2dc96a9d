//! What a lacking cell reads.

use super::rule::{Rule, ARRAY, BOOLEAN, NULL, TEXT};
use super::steps::{values, Steps};
use super::{validate, SpecError};
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::Value;

impl Rule {
    /// The declared default, if it satisfies the schema.
    pub(super) fn valid_default(
        &self,
        declared: Option<&Value>,
        place: &str,
        steps: &mut Steps,
    ) -> Result<Option<Value>, SpecError> {
        let Some(v) = declared else {
            return Ok(None);
        };
        // Kept here, as a fill, and as its text.
        steps.take(values(v), place)?;
        let allowed = self.allows_within(v, place, steps)?;
        Ok(allowed.then(|| v.clone()))
    }
    fn allows_within(
        &self,
        value: &Value,
        place: &str,
        steps: &mut Steps,
    ) -> Result<bool, SpecError> {
        let (allowed, taken) = validate::counted(&self.doc, &self.schema, value);
        steps.take(taken as usize, place)?;
        Ok(allowed)
    }
    /// What a lacking cell reads, given what is declared for it: a lacking boolean is an unchecked box, whatever its
    /// default.
    pub(super) fn fill(
        &self,
        default: Option<&Value>,
        required: bool,
        place: &str,
        steps: &mut Steps,
    ) -> Result<Option<Value>, SpecError> {
        match default {
            Some(v) if !self.is_boolean() || v.is_null() => Ok(Some(v.clone())),
            _ if self.is_boolean() => {
                let unchecked = Value::Bool(false);
                let allowed = self.allows_within(&unchecked, place, steps)?;
                match allowed {
                    true => Ok(Some(unchecked)),
                    false if required => self.empty(place, steps),
                    false => Ok(None),
                }
            }
            _ if required => self.empty(place, steps),
            _ => Ok(None),
        }
    }
    /// The type's empty value, where the schema allows it.
    fn empty(&self, place: &str, steps: &mut Steps) -> Result<Option<Value>, SpecError> {
        let candidates = [
            (BOOLEAN, Value::Bool(false)),
            (ARRAY, Value::Array(Vec::new())),
            (NULL, Value::Null),
            (TEXT, Value::String(String::new())),
        ];
        for (bit, v) in candidates {
            let possible = if self.untyped {
                bit == NULL
            } else {
                self.types & bit != 0
            };
            if possible && self.allows_within(&v, place, steps)? {
                return Ok(Some(v));
            }
        }
        Ok(None)
    }
}
