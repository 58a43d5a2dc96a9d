//! Podium: a read-through cache for Airtable inside Valkey.
