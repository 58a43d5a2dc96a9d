//! Finds credentials in text from upstream, in whatever spelling it echoes them, and takes them out.
//!
//! A text is looked at as it stands and with its escapes undone (`%2E`, `\u002e`, `&#46;`, and those again escaped); each
//! character knows what it was spelled with, so that what is taken out is the spelling, and the rest stays as it came.

use crate::token::Token;

/// Parts of a token shorter than this are too ordinary to be looked for.
const TELLING_PART: usize = 8;
/// A word this long that mixes letters and digits is taken for a secret.
const LONG_WORD: usize = 40;
/// So many times escaped is undone.
const ROUNDS: usize = 4;
pub(crate) const REDACTED: &str = "(redacted)";

/// A character of the text, and the bytes of the text that spell it.
#[derive(Clone, Copy)]
struct Letter {
    c: char,
    from: usize,
    to: usize,
}

/// Every word replaced that holds a part of `token`, plainly, escaped or in base64 or hex, follows `Bearer` or looks like a
/// credential.
pub(crate) fn redact(text: &str, token: &Token) -> String {
    let telling = telling_parts(token);
    let mut letters = as_it_stands(text);
    let mut secrets = Vec::new();
    for _ in 0..ROUNDS {
        secrets.extend(find(&letters, &telling));
        match unescaped(&letters) {
            Some(next) => letters = next,
            None => break,
        }
    }
    secrets.extend(find(&letters, &telling));
    without(text, secrets)
}

/// `text` with each of the spans replaced; those that touch are one.
fn without(text: &str, mut spans: Vec<(usize, usize)>) -> String {
    spans.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (from, to) in spans {
        if let Some(before) = text.get(done..from) {
            out.push_str(before);
            out.push_str(REDACTED);
        }
        done = done.max(to);
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

fn as_it_stands(text: &str) -> Vec<Letter> {
    let letters = text.char_indices().map(|(from, c)| Letter {
        c,
        from,
        to: from + c.len_utf8(),
    });
    letters.collect()
}

/// Once unescaped. `None`: nothing was escaped.
fn unescaped(letters: &[Letter]) -> Option<Vec<Letter>> {
    let mut out = Vec::with_capacity(letters.len());
    let mut rest = letters;
    while let [first, ..] = rest {
        let (c, len) = escape(rest).unwrap_or((first.c, 1));
        let (spelled, next) = rest.split_at_checked(len)?;
        out.push(Letter {
            c,
            from: first.from,
            to: spelled.last().map_or(first.to, |last| last.to),
        });
        rest = next;
    }
    (out.len() < letters.len()).then_some(out)
}

/// The character that the text begins with in escaped form, and how many letters spell it.
fn escape(letters: &[Letter]) -> Option<(char, usize)> {
    let at = |i: usize| letters.get(i).map(|l| l.c);
    match (at(0)?, at(1)?) {
        ('%' | '\\', 'u' | 'U') if at(2) == Some('{') => {
            let (code, len) = number(letters.get(3..)?, 16, 6)?;
            (at(3 + len) == Some('}')).then_some((code, 4 + len))
        }
        ('%' | '\\', 'u' | 'U') => exactly(letters.get(2..)?, 4).map(|c| (c, 6)),
        ('\\', 'x' | 'X') => exactly(letters.get(2..)?, 2).map(|c| (c, 4)),
        ('%', _) => exactly(letters.get(1..)?, 2).map(|c| (c, 3)),
        ('\\', c) if c.is_ascii_punctuation() => Some((c, 2)),
        ('&', '#') => {
            let hex = matches!(at(2)?, 'x' | 'X');
            let from = if hex { 3 } else { 2 };
            let (c, len) = number(letters.get(from..)?, if hex { 16 } else { 10 }, 7)?;
            let end = usize::from(at(from + len) == Some(';'));
            Some((c, from + len + end))
        }
        _ => None,
    }
}

/// The character whose code the next hex digits are, all of `len`.
fn exactly(letters: &[Letter], len: usize) -> Option<char> {
    let (c, found) = number(letters, 16, len)?;
    (found == len).then_some(c)
}

/// The character whose code the next digits are, `most` at most, and how many there are.
fn number(letters: &[Letter], radix: u32, most: usize) -> Option<(char, usize)> {
    let digits = letters.iter().take(most).map_while(|l| l.c.to_digit(radix));
    let (code, len) = digits.fold((0u32, 0), |(code, len), digit| {
        (code.saturating_mul(radix).saturating_add(digit), len + 1)
    });
    (len > 0)
        .then(|| char::from_u32(code))
        .flatten()
        .map(|c| (c, len))
}

/// The spans of the words that are secrets.
fn find(letters: &[Letter], telling: &[String]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut after_bearer = false;
    for word in letters.split(|l| !in_word(l.c)).filter(|w| !w.is_empty()) {
        let text: String = word.iter().map(|l| l.c).collect();
        if after_bearer || looks_secret(&text) || holds_part(&text, telling) {
            if let (Some(first), Some(last)) = (word.first(), word.last()) {
                found.push((first.from, last.to));
            }
        }
        after_bearer = text.eq_ignore_ascii_case("bearer");
    }
    found
}

/// The alphabet of credentials: base64 of both kinds, and the separators inside personal access
/// tokens and JWTs.
fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '/' | '=' | '~')
}

/// The beginnings of the token's parts, lower-cased. `patID.SECRET` has two: neither half may be
/// quoted, nor a piece of one.
fn telling_parts(token: &Token) -> Vec<String> {
    let text = token.reveal().to_ascii_lowercase();
    let mut parts: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| part.len() >= TELLING_PART)
        .filter_map(|part| part.get(..TELLING_PART).map(str::to_string))
        .collect();
    if parts.is_empty() && text.len() >= 4 {
        parts.push(text);
    }
    parts
}

fn holds_part(word: &str, parts: &[String]) -> bool {
    let told = |text: &[u8]| {
        let text = text.to_ascii_lowercase();
        parts
            .iter()
            .any(|part| text.windows(part.len()).any(|w| w == part.as_bytes()))
    };
    // Base64 of a text in which the token does not come first begins anywhere.
    let shifted = |skip: usize| word.get(skip..).is_some_and(|w| told(&from_base64(w)));
    told(word.as_bytes()) || (0..4).any(shifted) || told(&from_hex(word))
}

/// What a word says in base64, of either alphabet. Other characters end it.
fn from_base64(word: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let (mut bits, mut held) = (0u32, 0u32);
    for b in word.bytes() {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => break,
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}

/// What a word says in hex digits. Other characters end it.
fn from_hex(word: &str) -> Vec<u8> {
    let digits: Vec<u32> = word.chars().map_while(|c| c.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| {
            pair.iter()
                .fold(0, |byte, digit| (byte << 4) | *digit as u8)
        })
        .collect()
}

fn looks_secret(word: &str) -> bool {
    let has_digit = word.bytes().any(|b| b.is_ascii_digit());
    let has_letter = word.bytes().any(|b| b.is_ascii_alphabetic());
    let is_airtable =
        word.len() >= 12 && (word.starts_with("pat") || word.starts_with("key")) && has_digit;
    let is_jwt = word.len() >= 20 && word.starts_with("eyJ");
    let is_long = word.len() >= LONG_WORD && has_digit && has_letter && !word.contains('/');
    is_airtable || is_jwt || is_long
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// Spellings of a text that a server may echo.
    fn spellings(text: &str) -> Vec<String> {
        let each = |f: &dyn Fn(char) -> String| text.chars().map(f).collect::<String>();
        let dot = |with: &str| text.replace('.', with);
        let base64 = |text: &str| {
            const ALPHABET: &[u8] =
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let mut out = String::new();
            for chunk in text.as_bytes().chunks(3) {
                let n = (0..3).fold(0u32, |n, i| {
                    (n << 8) | u32::from(*chunk.get(i).unwrap_or(&0))
                });
                for i in 0..=chunk.len() {
                    out.push(ALPHABET[(n >> (18 - 6 * i)) as usize & 63] as char);
                }
            }
            out
        };
        vec![
            text.to_string(),
            text.to_uppercase(),
            dot("%2E"),
            dot("%2e"),
            dot("%252E"),
            dot("%25252e"),
            dot("\\u002e"),
            dot("\\\\u002E"),
            dot("\\u{2e}"),
            dot("\\x2e"),
            dot("%u002e"),
            dot("\\."),
            dot("&#46;"),
            dot("&#x2E;"),
            dot("&amp;#46;").replace("&amp;", "%26"),
            each(&|c| format!("%{:02X}", c as u32)),
            each(&|c| format!("%{:02x}", c as u32)),
            each(&|c| format!("\\u{:04x}", c as u32)),
            each(&|c| {
                if "pTs".contains(c) {
                    format!("%{:02x}", c as u32)
                } else {
                    c.to_string()
                }
            }),
            each(&|c| format!("{:02x}", c as u32)),
            base64(text),
            base64(text).replace('+', "-").replace('/', "_"),
            base64(&format!("api:{text}")),
            base64(&format!("x{text}:")),
            base64(&format!("yz{text}")),
            format!("https://example.com/?token={}&x=1", dot("%2E")),
        ]
    }

    #[test]
    fn a_token_is_known_in_whatever_spelling() {
        for token in [
            "patTEST.secret",
            "patAbCdEfGhIjKlMn.0123456789abcdef0123456789abcdef",
            "oaaOpaque",
        ] {
            let parsed = Token::new(token).unwrap();
            for spelled in spellings(token) {
                let text = format!("café: \"{spelled}\", it said");
                let out = redact(&text, &parsed);
                assert!(
                    out.starts_with("café: \"") && out.ends_with("\", it said"),
                    "{text} became {out}"
                );
                assert!(out.contains(REDACTED), "{text} became {out}");
                assert!(!out.contains(&spelled), "{text} became {out}");
                let last = spelled.get(spelled.len() - 6..).unwrap();
                if !spelled.ends_with("x=1") {
                    assert!(!out.contains(last), "{text} became {out}");
                }
            }
        }
    }

    #[test]
    fn escapes_of_other_things_stay_as_they_came() {
        let token = Token::new("patTEST.secret").unwrap();
        for text in [
            "Could not find /v0/app1/My%20Table%2FB in 100% of cases, \\u00e9 &#233; &amp; \\ %",
            "C:\\dir\\u12 %zz %2 \\u00 &#; &#x; &#99999999; \\u{110000} \\u{ %u",
            "cGF0IGlzIGEgbmFtZQ== 70617420697320612e",
            "",
        ] {
            assert_eq!(redact(text, &token), text);
        }
    }

    #[test]
    fn a_short_answer_is_not_held_up_by_a_long_one() {
        let token = Token::new("patTEST.secret").unwrap();
        let text = "%25".repeat(2700);
        assert_eq!(redact(&text, &token), text);
    }
}
