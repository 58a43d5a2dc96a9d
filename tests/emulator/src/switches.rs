//! Where Airtable's behaviour is not known for certain, a switch: clients are tested against each variant.

use serde_json::{json, Value as Json};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Switches {
    /// Missing things answer 404 as in 2021, not 403.
    pub(crate) legacy_404: bool,
    /// 429 as `{"error": {…}}`, not as `{"errors": […]}`.
    pub(crate) object_429: bool,
    /// Seconds for a `Retry-After` on 429.
    pub(crate) retry_after_on_429: Option<u64>,
    pub(crate) arrayjoin_sep: String,
    /// Formulas accept `{fld…}`.
    pub(crate) formula_field_ids: bool,
    /// What it is not known for certain that a filter may do with a value of another type than it expects fails: a number
    /// beside a text, text functions of lists, date functions of texts. An error in AND or OR is one of the whole, TRIM strips
    /// spaces only, and a date joined to a text looks as an American writes it.
    pub(crate) strict_formulas: bool,
    /// A change can be listed as a payload only so long after it.
    pub(crate) payload_delay_ms: i64,
    /// Computed cells show the old value so long after an edit.
    pub(crate) linked_computed_lag_ms: i64,
    /// What a URL of 16,000 characters or more answers.
    pub(crate) url_too_long_status: u16,
    /// An iterator dies after so long without use.
    pub(crate) offset_life_ms: i64,
    /// Records on a page at most, whatever was asked for.
    pub(crate) longest_page: usize,
    /// Payloads tell of the link cells that were written, not of their other ends.
    pub(crate) one_ended_payloads: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            legacy_404: false,
            object_429: false,
            retry_after_on_429: None,
            arrayjoin_sep: ", ".to_owned(),
            formula_field_ids: true,
            strict_formulas: false,
            payload_delay_ms: 0,
            linked_computed_lag_ms: 0,
            url_too_long_status: 414,
            offset_life_ms: 300_000,
            longest_page: usize::MAX,
            one_ended_payloads: false,
        }
    }
}

impl Switches {
    /// Sets what the object names.
    ///
    /// # Errors
    /// A sentence naming an unknown switch or a value that does not fit; nothing is set then.
    pub(crate) fn set(&mut self, changes: &Json) -> Result<(), String> {
        let mut next = self.clone();
        for (name, value) in changes.as_object().ok_or("switches must be an object")? {
            let fits = match name.as_str() {
                "legacy_404" => value.as_bool().map(|v| next.legacy_404 = v),
                "error_shape_429" => match value.as_str() {
                    Some(shape @ ("object" | "plural")) => Some(shape == "object"),
                    _ => None,
                }
                .map(|v| next.object_429 = v),
                "retry_after_on_429" => match value {
                    Json::Null | Json::Bool(false) => Some(None),
                    Json::Bool(true) => Some(Some(30)),
                    _ => value.as_u64().map(Some),
                }
                .map(|v| next.retry_after_on_429 = v),
                "arrayjoin_sep" => value
                    .as_str()
                    .map(|v| v.clone_into(&mut next.arrayjoin_sep)),
                "formula_field_ids" => value.as_bool().map(|v| next.formula_field_ids = v),
                "strict_formulas" => value.as_bool().map(|v| next.strict_formulas = v),
                "payload_delay_ms" => value.as_i64().map(|v| next.payload_delay_ms = v),
                "linked_computed_lag_ms" => value.as_i64().map(|v| next.linked_computed_lag_ms = v),
                "one_ended_payloads" => value.as_bool().map(|v| next.one_ended_payloads = v),
                "offset_life_ms" => value.as_i64().map(|v| next.offset_life_ms = v),
                "longest_page" => value
                    .as_u64()
                    .and_then(|v| usize::try_from(v).ok())
                    .filter(|v| *v > 0)
                    .map(|v| next.longest_page = v),
                "url_too_long_status" => value
                    .as_u64()
                    .and_then(|v| u16::try_from(v).ok())
                    .map(|v| next.url_too_long_status = v),
                _ => return Err(format!("unknown switch {name:?}")),
            };
            fits.ok_or_else(|| format!("switch {name:?} does not take {value}"))?;
        }
        *self = next;
        Ok(())
    }

    pub(crate) fn show(&self) -> Json {
        json!({
            "legacy_404": self.legacy_404, "error_shape_429": if self.object_429 { "object" } else { "plural" },
            "retry_after_on_429": self.retry_after_on_429, "arrayjoin_sep": self.arrayjoin_sep,
            "formula_field_ids": self.formula_field_ids, "strict_formulas": self.strict_formulas, "payload_delay_ms": self.payload_delay_ms,
            "linked_computed_lag_ms": self.linked_computed_lag_ms, "url_too_long_status": self.url_too_long_status,
            "offset_life_ms": self.offset_life_ms, "longest_page": self.longest_page,
            "one_ended_payloads": self.one_ended_payloads,
        })
    }
}
