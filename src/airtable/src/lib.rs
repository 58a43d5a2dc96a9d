//! Airtable over HTTP.
