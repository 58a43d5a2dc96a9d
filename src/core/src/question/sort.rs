//! The order of SORT, and a key whose bytes have it: compared once for all, however often a value is looked for.

use super::{instant, number};
use crate::spec::{Field, Kind};
use compact_str::CompactString;
use core::cmp::Ordering;
use core::str::from_utf8;

/// How a field's values are ordered: numbers before the rest, or all as texts.
fn by_number(field: &Field) -> bool {
    match field.kind {
        Kind::Text => field.may_be_number(),
        Kind::Integer | Kind::Number | Kind::Any | Kind::Array => true,
        _ => false,
    }
}

fn as_number(text: &[u8]) -> Option<&str> {
    from_utf8(text).ok().filter(|t| number::is_number(t))
}

/// The order of SORT: numbers as numbers, false before true, moments by their instant, other text bytewise. Where a field
/// holds anything, numbers come before the rest.
pub fn compare(field: &Field, a: &[u8], b: &[u8]) -> Ordering {
    if !by_number(field) {
        return instant::order(a, b);
    }
    match (as_number(a), as_number(b)) {
        (Some(x), Some(y)) => number::compare(x, y).unwrap_or_else(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => instant::order(a, b),
    }
}

/// What a value is sorted by: two keys of one field are ordered as [`compare`] orders their texts. Short ones take no
/// allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SortKey(CompactString);

const NUMBER: char = '\u{1}';
const TEXT: char = '\u{2}';
/// Behind a text, and in front of what a NUL in it is written as: before all that a longer text can go on with.
const END: char = '\0';

impl SortKey {
    /// The key of a value's text. `None`: the text is not UTF-8, which nothing stored by us is.
    pub fn of(field: &Field, text: &[u8]) -> Option<SortKey> {
        let text = from_utf8(text).ok()?;
        let mut out = CompactString::default();
        match by_number(field).then(|| number::parts(text)).flatten() {
            Some((sign, point, digits)) => number_key(&mut out, sign, point, &digits),
            None => text_key(&mut out, text),
        }
        Some(SortKey(out))
    }
    /// Bytes beside the key itself.
    pub fn allocated(&self) -> usize {
        if self.0.is_heap_allocated() {
            self.0.capacity()
        } else {
            0
        }
    }
}

/// The size first, then the digits; of what is below zero the complement of both. Seven bits to a byte, all of it ASCII.
fn number_key(out: &mut CompactString, sign: Ordering, point: i64, digits: &str) {
    const SHIFT: i64 = 1 << 34;
    out.push(NUMBER);
    out.push(match sign {
        Ordering::Less => '\0',
        Ordering::Equal => '\u{1}',
        Ordering::Greater => '\u{2}',
    });
    if sign == Ordering::Equal {
        return;
    }
    let size = (point.saturating_add(SHIFT)).clamp(0, 2 * SHIFT - 1);
    let ends = (0..5).rev().map(|at| (size >> (7 * at) & 0x7f) as u8);
    for b in ends.chain(digits.bytes()) {
        let b = if sign == Ordering::Less { 0x7f - b } else { b };
        out.push(char::from(b));
    }
    if sign == Ordering::Less {
        // Fewer digits are less below the point, so nearer to zero: behind those with more.
        out.push('\u{7f}');
    }
}

fn text_key(out: &mut CompactString, text: &str) {
    out.push(TEXT);
    let by = from_utf8(instant::key(text.as_bytes())).unwrap_or(text);
    for c in by.chars() {
        out.push(c);
        if c == END {
            out.push('\u{2}');
        }
    }
    out.push(END);
    out.push(if by.len() < text.len() { '\u{1}' } else { '\0' });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::spec::Spec;
    use alloc::string::String;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const SPEC: &str = r#"{"table":"t","base":"app1","schema":{"type":"object","properties":{
        "i":{"type":"integer"},"n":{"type":"number"},"t":{"type":"string"},"d":{"type":"string","format":"date-time"},
        "b":{"type":"boolean"},"x":{},"m":{"anyOf":[{"type":"number"},{"type":"string"}]},
        "a":{"type":"array","items":{"type":"string"}},"o":{"type":"object"}}}}"#;

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[-+]?[0-9]{0,4}[.]?[0-9]{0,4}",
            "[-+]?[0-9]{1,3}(e[-+]?[0-9]{1,3})?",
            "-?(0|1|9|10|99|100)([.](0|00|5|50|05))?",
            "[a-c\u{0}\u{1}\u{ff}Z]{0,4}",
            "2026-03-0[12]T05:06:07[.]000[0-2]{0,2}Z?",
            "2026-03-0[12]T05:06:07[.]000[a-c]{0,2}Z?",
            "(true|false|inf|nan|NaN|-|[.]|e5)",
            any::<f64>().prop_map(|n| alloc::format!("{n}")),
            any::<i64>().prop_map(|n| alloc::format!("{n}")),
            ".{0,6}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]
        #[test]
        fn keys_are_ordered_as_their_texts(a in texts(), b in texts()) {
            let spec = Spec::parse("t", SPEC.as_bytes()).unwrap();
            for field in spec.fields() {
                let (x, y) = (SortKey::of(field, a.as_bytes()).unwrap(), SortKey::of(field, b.as_bytes()).unwrap());
                prop_assert_eq!(x.cmp(&y), compare(field, a.as_bytes(), b.as_bytes()), "{}: {:?} {:?}", field.name, a, b);
            }
        }
    }

    #[test]
    fn the_order_is_one_order() {
        let spec = Spec::parse("t", SPEC.as_bytes()).unwrap();
        let field = spec.get(spec.field("m").unwrap()).unwrap();
        let ordered = [
            "-1e999",
            "-100",
            "-99.5",
            "-99",
            "-1.25",
            "-1.2",
            "-1",
            "-0.125",
            "-1e-9",
            "0",
            "1e-9",
            "0.1",
            "0.12",
            "1",
            "1.0000000000000000000000001",
            "9",
            "10",
            "9007199254740993",
            "1e400",
            "",
            "a",
            "a\0",
            "a\0b",
            "ab",
        ];
        let keys: Vec<SortKey> = ordered
            .iter()
            .map(|t| SortKey::of(field, t.as_bytes()).unwrap())
            .collect();
        assert!(keys.windows(2).all(|w| w[0] < w[1]), "{keys:?}");
        for same in [["0", "0.0"], ["-0", "0e7"], ["1", "+1.00"], ["10", "1e1"]] {
            let [a, b] = same.map(|t| SortKey::of(field, t.as_bytes()).unwrap());
            assert_eq!(a, b);
            assert_eq!(
                compare(field, same[0].as_bytes(), same[1].as_bytes()),
                Ordering::Equal
            );
        }
    }

    #[test]
    fn short_values_take_no_allocation() {
        let spec = Spec::parse("t", SPEC.as_bytes()).unwrap();
        let field = spec.get(spec.field("n").unwrap()).unwrap();
        for text in ["0", "-1234567.25", "9007199254740993"] {
            assert_eq!(SortKey::of(field, text.as_bytes()).unwrap().allocated(), 0);
        }
        assert!(SortKey::of(field, b"\xff").is_none());
    }
}
