//! What is known of a column that a question is put to.

/// What the base's schema says of a column, as far as a question is put otherwise for it. A column may have become another
/// one since: what is asked of a single choice must find it among several.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Column {
    /// Nothing.
    #[default]
    Unknown,
    /// What users enter, no link and no date.
    Plain,
    /// A day, or a day and a time.
    Date,
    Link,
}

impl Column {
    /// By the name of its type. What is computed may come to anything.
    pub fn of(kind: &str) -> Column {
        match kind {
            "date" | "dateTime" => Column::Date,
            "multipleRecordLinks" => Column::Link,
            "singleLineText" | "multilineText" | "richText" | "email" | "url" | "phoneNumber"
            | "singleSelect" | "multipleSelects" | "number" | "currency" | "percent" | "rating"
            | "duration" | "checkbox" | "autoNumber" => Column::Plain,
            _ => Column::Unknown,
        }
    }
}
