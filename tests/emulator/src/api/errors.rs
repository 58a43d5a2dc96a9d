//! Error replies in Airtable's words and shapes.

use crate::http::response::Response;
use crate::switches::Switches;
use serde_json::json;

/// An error that a route answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: u16,
    error_type: String,
    message: Option<String>,
    /// `{"error": "TYPE"}` instead of an object.
    bare: bool,
}

impl ApiError {
    /// The message of the monthly cap.
    pub(crate) const MONTH_SPENT: &'static str =
        "API billing plan limit exceeded. You've reached the maximum number of requests allowed for this month.";

    fn new(status: u16, error_type: &str, message: Option<&str>) -> Self {
        Self {
            status,
            error_type: error_type.to_owned(),
            message: message.map(str::to_owned),
            bare: false,
        }
    }

    /// A 422.
    pub(crate) fn invalid(error_type: &str, message: &str) -> Self {
        Self::new(422, error_type, Some(message))
    }

    /// The same error under another status.
    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn invalid_request() -> Self {
        Self::invalid(
            "INVALID_REQUEST_UNKNOWN",
            "Invalid request: parameter validation failed. Check your request data.",
        )
    }

    pub(crate) fn unknown_field(name: &str) -> Self {
        Self::invalid(
            "UNKNOWN_FIELD_NAME",
            &format!("Unknown field name: \"{name}\""),
        )
    }

    pub(crate) fn bad_formula(reason: &crate::formula::FormulaError) -> Self {
        Self::invalid(
            "INVALID_FILTER_BY_FORMULA",
            &format!("The formula for filtering records is invalid: {reason}"),
        )
    }

    pub(crate) fn iterator_gone() -> Self {
        Self::new(422, "LIST_RECORDS_ITERATOR_NOT_AVAILABLE", None)
    }

    pub(crate) fn bad_json() -> Self {
        Self::new(
            400,
            "INVALID_REQUEST_BODY",
            Some("Could not parse request body"),
        )
    }

    pub(crate) fn authentication_required() -> Self {
        Self::new(
            401,
            "AUTHENTICATION_REQUIRED",
            Some("Authentication required"),
        )
    }

    pub(crate) fn invalid_token() -> Self {
        Self::new(401, "UNAUTHORIZED", Some("Invalid authentication token"))
    }

    /// No permission, or no such thing: Airtable does not tell which.
    pub(crate) fn forbidden() -> Self {
        let message = "Invalid permissions, or the requested model was not found. Check that both your user and your token have the required permissions, and that the model names and/or ids are correct.";
        Self::new(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", Some(message))
    }

    /// The base is readable, but its role does not allow this.
    pub(crate) fn not_permitted() -> Self {
        Self::new(
            403,
            "INVALID_PERMISSIONS",
            Some("You are not permitted to perform this operation"),
        )
    }

    /// An unknown route or an id that is not shaped like one.
    pub(crate) fn not_found() -> Self {
        Self {
            bare: true,
            ..Self::new(404, "NOT_FOUND", None)
        }
    }

    pub(crate) fn missing_record(switches: &Switches) -> Self {
        if switches.legacy_404 {
            Self::new(404, "MODEL_ID_NOT_FOUND", Some("Record not found"))
        } else {
            Self::forbidden()
        }
    }

    pub(crate) fn missing_table(switches: &Switches, table: &str, base: &str) -> Self {
        if switches.legacy_404 {
            Self::new(
                404,
                "TABLE_NOT_FOUND",
                Some(&format!(
                    "Could not find table {table} in application {base}"
                )),
            )
        } else {
            Self::forbidden()
        }
    }

    pub(crate) fn missing_base(switches: &Switches) -> Self {
        if switches.legacy_404 {
            Self::new(404, "NOT_FOUND", None)
        } else {
            Self::forbidden()
        }
    }

    pub(crate) fn response(&self) -> Response {
        let error = match (&self.message, self.bare) {
            (_, true) => json!(self.error_type),
            (Some(message), _) => json!({"type": self.error_type, "message": message}),
            (None, _) => json!({"type": self.error_type}),
        };
        Response::json(self.status, &json!({ "error": error }))
    }
}

/// One of the two 429s, shaped by the switches.
pub(crate) fn too_many(switches: &Switches, month_spent: bool) -> Response {
    let (error_type, message) = if month_spent {
        ("PUBLIC_API_BILLING_LIMIT_EXCEEDED", ApiError::MONTH_SPENT)
    } else {
        (
            "RATE_LIMIT_REACHED",
            "Rate limit exceeded. Please try again later",
        )
    };
    let mut response = if switches.object_429 {
        Response::json(
            429,
            &json!({"error": {"type": error_type, "message": message}}),
        )
    } else {
        Response::json(
            429,
            &json!({"errors": [{"error": error_type, "message": message}]}),
        )
    };
    if let (Some(seconds), false) = (switches.retry_after_on_429, month_spent) {
        response
            .headers
            .push(("Retry-After".to_owned(), seconds.to_string()));
    }
    response
}
