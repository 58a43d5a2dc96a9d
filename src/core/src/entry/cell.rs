//! The texts of a cell, read from its JSON where they stand there as they are.
//!
//! Nearly every index value is its cell's own text, or an element's: such a value is stored once, in the JSON.

/// The texts of a cell's elements, or of the cell itself, as its JSON spells them: what stands between a text's quotes, and
/// the JSON of anything else. A null has none.
#[derive(Clone)]
pub(super) struct Spelled<'a> {
    rest: &'a [u8],
    /// Inside an array.
    elements: bool,
}

impl<'a> Spelled<'a> {
    /// `json` begins with the cell; what follows the cell does not matter.
    #[inline]
    pub(super) fn new(json: &'a [u8]) -> Spelled<'a> {
        match json.strip_prefix(b"[") {
            Some(rest) => Spelled {
                rest,
                elements: true,
            },
            None => Spelled {
                rest: json,
                elements: false,
            },
        }
    }
}

impl Spelled<'_> {
    /// Is the first of them this text, as a text is spelled? Quick; false says nothing.
    #[inline]
    pub(super) fn first_is(&self, text: &[u8]) -> bool {
        let behind = self
            .rest
            .strip_prefix(b"\"")
            .and_then(|r| r.strip_prefix(text));
        // With a quote in it, it may be more than the first.
        behind.is_some_and(|b| b.first() == Some(&b'"'))
            && !text.contains(&b'"')
            && !text.contains(&b'\\')
    }
}

impl<'a> Iterator for Spelled<'a> {
    type Item = &'a [u8];
    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest;
            let (first, behind) = rest.split_first()?;
            match first {
                b',' if self.elements => self.rest = behind,
                b']' => {
                    self.rest = &[];
                    return None;
                }
                _ => {
                    let (text, behind) = value(rest);
                    // What is cut off, or no JSON, has no end: it is gone through once.
                    self.rest = if self.elements { behind } else { &[] };
                    if text != b"null" || *first == b'"' {
                        return Some(text);
                    }
                }
            }
        }
    }
}

/// The spelling of the value at the front, and what follows it. Never longer than what is given, and never nothing of it.
fn value(json: &[u8]) -> (&[u8], &[u8]) {
    match json.first() {
        Some(b'"') => {
            let inner = json.get(1..).unwrap_or(&[]);
            let end = closing(inner);
            (cut(inner, end).0, cut(inner, end + 1).1)
        }
        Some(b'[' | b'{') => cut(json, nested(json)),
        _ => {
            let end = json.iter().position(|b| matches!(b, b',' | b']' | b'}'));
            cut(json, end.unwrap_or(json.len()).max(1))
        }
    }
}

/// Where the quote is that ends a text, counted from behind its first.
fn closing(inner: &[u8]) -> usize {
    let mut at = 0;
    while let Some(b) = inner.get(at) {
        match b {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    inner.len()
}

/// How long an array or object is.
fn nested(json: &[u8]) -> usize {
    let (mut at, mut depth) = (0usize, 0usize);
    while let Some(b) = json.get(at) {
        at += 1;
        match b {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            b'"' => at += closing(json.get(at..).unwrap_or(&[])) + 1,
            _ => {}
        }
    }
    json.len()
}

fn cut(b: &[u8], at: usize) -> (&[u8], &[u8]) {
    b.split_at_checked(at).unwrap_or((b, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString as _};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn spelled(json: &str) -> Vec<&str> {
        let texts = Spelled::new(json.as_bytes());
        texts
            .map(|t| core::str::from_utf8(t).unwrap_or("?"))
            .collect()
    }

    #[test]
    fn a_cell_is_read_to_its_end_and_no_further() {
        let rows: &[(&str, &[&str])] = &[
            (r#""a b","next":1}"#, &["a b"]),
            (r#""","next":1}"#, &[""]),
            ("12.5,\"next\":1}", &["12.5"]),
            ("true}", &["true"]),
            ("null}", &[]),
            (r#""null"}"#, &["null"]),
            ("[]}", &[]),
            (r#"["recA","recB"],"next":["x"]}"#, &["recA", "recB"]),
            (
                r#"[1,null,"null",false,"",{"a":"]}"},["x",[2]]]}"#,
                &["1", "null", "false", "", r#"{"a":"]}"}"#, r#"["x",[2]]"#],
            ),
            (r#"{"a":[1,"}"]},"next":1}"#, &[r#"{"a":[1,"}"]}"#]),
            (r#""a\"b\\","next":1}"#, &[r#"a\"b\\"#]),
        ];
        for (json, expected) in rows {
            assert_eq!(spelled(json), *expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quickly_seen_is_so(cell in prop::sample::select(alloc::vec![r#""a","b":"c"}"#, r#"["a","b"],"c":1}"#, r#"["","a"]}"#, r#""a\","x":1}"#, "1}", "[1]}", ""]), text in prop::sample::select(alloc::vec!["a", "", "a\",\"b", "b", "a\\", "a\\\",\"x", "1"])) {
            let first = Spelled::new(cell.as_bytes()).next();
            if Spelled::new(cell.as_bytes()).first_is(text.as_bytes()) {
                prop_assert_eq!(first, Some(text.as_bytes()));
            }
        }
        #[test]
        fn no_bytes_lead_astray(bytes in prop::collection::vec(prop::sample::select(b"\"\\[]{},:a1n\0".to_vec()), 0..40)) {
            let total: usize = Spelled::new(&bytes).map(<[u8]>::len).sum();
            prop_assert!(total <= bytes.len());
            prop_assert!(Spelled::new(&bytes).count() <= bytes.len() + 1);
        }
        #[test]
        fn what_needs_no_escape_is_its_own_spelling(texts in prop::collection::vec("[^\"\\\\\u{0}-\u{1f}]{0,9}", 0..5)) {
            let json = serde_json::to_string(&texts).unwrap_or_default() + ",\"next\":[1]}";
            prop_assert_eq!(spelled(&json), texts.iter().map(String::as_str).collect::<Vec<_>>());
            if let Some(one) = texts.first() {
                let json = serde_json::Value::from(one.as_str()).to_string();
                prop_assert_eq!(spelled(&json), [one.as_str()]);
            }
        }
    }
}
