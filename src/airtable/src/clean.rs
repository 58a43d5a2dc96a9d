//! Text from upstream, made fit to be quoted: short, on one line, without secrets.

use crate::redact::redact;
use crate::token::Token;

/// Longest message quoted, in characters.
const MESSAGE_CHARS: usize = 200;
/// Longest error type quoted, in characters.
const TYPE_CHARS: usize = 64;
/// No more of a text than this is looked at, in bytes.
const LOOKED_AT: usize = 8 * 1024;

/// `text` on one line, at most 200 characters, control characters gone, and without what
/// [`redact`] takes for a credential. Redaction comes before the cut, so a secret is never cut to an
/// unrecognised half.
pub(crate) fn message(text: &str, token: &Token) -> String {
    limit(&redact(&one_line(text), token), MESSAGE_CHARS)
}

/// An error type: a word of letters, digits and `_.-`, or nothing.
pub(crate) fn error_type(text: &str, token: &Token) -> Option<String> {
    let only_word = |text: String| -> String {
        text.chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
            .collect()
    };
    let text = text.get(..floor(text, LOOKED_AT)).unwrap_or_default();
    // What stood between its parts may have hidden a secret that the word would show.
    let word = only_word(redact(&only_word(redact(text, token)), token));
    let word: String = word.chars().take(TYPE_CHARS).collect();
    (!word.is_empty()).then_some(word)
}

fn limit(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.to_string(),
        Some(_) => {
            let mut cut: String = text.chars().take(chars - 1).collect();
            cut.push('…');
            cut
        }
    }
}

/// The largest char boundary of `text` not beyond `at`.
fn floor(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at)
        .rev()
        .find(|i| text.is_char_boundary(*i))
        .unwrap_or(0)
}

/// White space and control characters become single spaces; characters that reorder or hide text
/// are dropped.
fn one_line(text: &str) -> String {
    let text = text.get(..floor(text, LOOKED_AT)).unwrap_or_default();
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || c.is_whitespace() {
            if !line.is_empty() && !line.ends_with(' ') {
                line.push(' ');
            }
        } else if !is_invisible(c) {
            line.push(c);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::redact::REDACTED;

    const TOKEN: &str =
        "patAbCdEfGhIjKlMn.0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn clean(text: &str) -> String {
        message(text, &Token::new(TOKEN).unwrap())
    }

    #[test]
    fn ordinary_messages_stay() {
        for text in [
            "Unknown field names: stagee, foo",
            "Could not find table Xyz in application appK3xT9vQ2mWb7Rd",
            "You are not permitted to create records in table Projects (tblP4rJ8sLm2XcV6k)",
            "Field \"owner_id\" cannot accept a value because the field is computed",
            "Naïve pattern-matching of paths: /v0/appK3xT9vQ2mWb7Rd/tblP4rJ8sLm2XcV6k/listRecords",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn tokens_go_whole_or_in_part() {
        for text in [
            format!("Invalid token {TOKEN} given"),
            format!("Invalid token '{TOKEN}' given"),
            "id patAbCdEfGhIjKlMn given".to_string(),
            "half 0123456789abcdef012345 given".to_string(),
            format!("lower {} given", TOKEN.to_lowercase()),
            "other patZzZzZzZz9zZzZz.ffff given".to_string(),
            "old keyAbCdEf123456789 given".to_string(),
            "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIi given".to_string(),
            "Authorization: Bearer hunter2 given".to_string(),
        ] {
            let cleaned = clean(&text);
            assert!(
                cleaned.contains(REDACTED) && cleaned.ends_with("given"),
                "{text} became {cleaned}"
            );
            for part in [
                "AbCdEfGh",
                "abcdefgh",
                "0123456789",
                "ZzZz",
                "eyJ",
                "hunter2",
                "ffff",
            ] {
                assert!(!cleaned.contains(part), "{text} became {cleaned}");
            }
        }
    }

    #[test]
    fn an_opaque_token_is_known_by_its_own_text() {
        let token = Token::new("oaaSomeOpaqueWord").unwrap();
        assert_eq!(
            message("bad oaaSomeOpaqueWord here", &token),
            "bad (redacted) here"
        );
        assert_eq!(
            message("bad xoaaSomeOp here", &token),
            "bad (redacted) here"
        );
    }

    #[test]
    fn a_token_across_the_cut_does_not_survive_in_half() {
        let cleaned = clean(&format!("{} {TOKEN}", "x".repeat(185)));
        assert_eq!(
            cleaned.chars().count(),
            MESSAGE_CHARS.min(186 + REDACTED.len())
        );
        assert!(!cleaned.contains("patAb"));
    }

    #[test]
    fn long_text_is_cut_and_control_characters_go() {
        let cleaned = clean(&"é".repeat(100_000));
        assert_eq!(cleaned.chars().count(), 200);
        assert!(cleaned.ends_with('…'));
        assert_eq!(
            clean("a\r\nb\0c\u{1b}[31m\u{202e}d\t e\u{85}"),
            "a b c [31md e"
        );
    }

    #[test]
    fn an_error_type_is_one_word() {
        let token = Token::new(TOKEN).unwrap();
        assert_eq!(
            error_type("NOT_FOUND", &token).as_deref(),
            Some("NOT_FOUND")
        );
        assert_eq!(error_type("A\r\nB C", &token).as_deref(), Some("ABC"));
        assert_eq!(error_type("\n", &token), None);
        assert_eq!(error_type(TOKEN, &token).as_deref(), Some("redacted"));
        let token = Token::new("patTEST.secret").unwrap();
        for hidden in ["patTEST%2Esecret", "patTEST .secret", "pat%TEST.sec%ret"] {
            assert_eq!(error_type(hidden, &token).as_deref(), Some("redacted"));
        }
    }
}
