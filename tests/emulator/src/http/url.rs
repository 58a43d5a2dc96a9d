//! Percent-encoding and query strings.

/// A query string taken apart, in order, repeats kept.
pub(crate) type Query = Vec<(String, String)>;

/// Decodes `%XX`, and `+` as a space when `form` is set; malformed escapes stay as they are.
pub(crate) fn decode(text: &str, form: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' if form => out.push(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                match (ahead.next().and_then(hex), ahead.next().and_then(hex)) {
                    (Some(high), Some(low)) => {
                        out.push(high << 4 | low);
                        bytes = ahead;
                    }
                    _ => out.push(byte),
                }
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Splits and decodes a query string.
pub(crate) fn query(text: &str) -> Query {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        })
        .collect()
}

/// Encodes everything but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn queries_decode_both_spellings_of_space_and_brackets() {
        let found = query("fields%5B%5D=A+b&fields[]=A%20b&x=%2&empty=");
        let expected = [
            ("fields[]", "A b"),
            ("fields[]", "A b"),
            ("x", "%2"),
            ("empty", ""),
        ];
        assert_eq!(found.len(), expected.len());
        for ((key, value), wanted) in found.iter().zip(expected) {
            assert_eq!((key.as_str(), value.as_str()), wanted);
        }
    }

    #[test]
    fn encoding_round_trips() {
        let text = "My Table/α+%";
        assert_eq!(decode(&encode(text), true), text);
        assert_eq!(encode("My Table/α"), "My%20Table%2F%CE%B1");
    }
}
