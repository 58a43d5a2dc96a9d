//! Airtable stand-in.
