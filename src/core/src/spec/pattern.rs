//! A text against its `pattern`, as far as that is certain: the model's own validator runs it with the engine of its
//! language, and those differ. JavaScript, Python and Rust mean other characters by `\w`, `\d`, `\s` and `\b` once a text
//! leaves ASCII, other line ends by `.`, and by `$` Python also the place before a last line feed.

use regex_lite::{Regex, RegexBuilder};

/// Bytes of a compiled pattern: keeps a hostile one from costing memory and time.
const SIZE: usize = 1 << 16;
/// Bytes of a text that is looked at: matching takes time by their product.
const MAX_TEXT: usize = 4_096;

/// A pattern of which all engines mean the same.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    uses: Uses,
}

/// What in it engines read differently, depending on the text.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Uses {
    /// `\w`, `\d`, `\s`, `\b` and their opposites.
    classes: bool,
    /// `.`
    dot: bool,
    /// `.`, `[^…]` and characters beyond ASCII: JavaScript may count a character beyond U+FFFF as two.
    wide: bool,
    /// `$`
    end: bool,
}

impl Pattern {
    /// `None`: it cannot be read, or engines read it differently.
    pub(super) fn new(pattern: &str) -> Option<Pattern> {
        let uses = uses(pattern)?;
        let regex = RegexBuilder::new(pattern).size_limit(SIZE).build().ok()?;
        Some(Pattern { regex, uses })
    }
    /// Does some part of the text match? `None`: not every engine says the same.
    pub(super) fn judge(&self, text: &str) -> Option<bool> {
        let uses = self.uses;
        // Python takes the separators U+001C to U+001F for white space.
        let ascii = |c: char| c.is_ascii() && !('\u{1c}'..='\u{1f}').contains(&c);
        let unsure = text.len() > MAX_TEXT
            || (uses.end && text.ends_with('\n'))
            || (uses.classes && !text.chars().all(ascii))
            || (uses.dot && text.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']))
            || (uses.wide && text.chars().any(|c| c > '\u{ffff}'));
        (!unsure).then(|| self.regex.is_match(text))
    }
}

/// What a pattern is made of; `None`: something that engines read differently whatever the text (flags, look-around,
/// references back, possessive quantifiers, classes in classes, escapes of one engine only).
fn uses(pattern: &str) -> Option<Uses> {
    let mut uses = Uses::default();
    let mut rest = pattern.chars().peekable();
    let mut quantified = false;
    while let Some(c) = rest.next() {
        let mut quantifier = false;
        match c {
            '\\' => escape(&mut rest, &mut uses, false)?,
            '[' => class(&mut rest, &mut uses)?,
            '(' if rest.peek() == Some(&'?') => group(&mut rest)?,
            '.' => (uses.dot, uses.wide) = (true, true),
            '$' => uses.end = true,
            // Only Python knows a possessive `++`; a lazy `+?` matches the same texts.
            '+' if quantified => return None,
            '*' | '+' | '?' => quantifier = true,
            '{' => {
                counts(&mut rest)?;
                quantifier = true;
            }
            c if c > '\u{ffff}' => return None,
            c if !c.is_ascii() => uses.wide = true,
            _ => {}
        }
        quantified = quantifier;
    }
    Some(uses)
}

type Rest<'a> = core::iter::Peekable<core::str::Chars<'a>>;

/// What follows a backslash.
fn escape(rest: &mut Rest, uses: &mut Uses, in_class: bool) -> Option<()> {
    match rest.next()? {
        'w' | 'd' | 's' => uses.classes = true,
        'W' | 'D' | 'S' => (uses.classes, uses.wide) = (true, true),
        // In a class it is a backspace.
        'b' | 'B' if !in_class => uses.classes = true,
        'n' | 'r' | 't' | 'f' | 'v' => {}
        'x' => hex(rest, 2).map(|_| ())?,
        'u' => {
            let code = hex(rest, 4)?;
            uses.wide |= code > 0x7f;
            // Half a surrogate pair.
            if (0xd800..0xe000).contains(&code) {
                return None;
            }
        }
        // Rust means the edges of words by `\<` and `\>`.
        c if c.is_ascii_punctuation() && c != '<' && c != '>' => {}
        _ => return None,
    }
    Some(())
}

fn hex(rest: &mut Rest, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0, |n, _| Some(n * 16 + rest.next()?.to_digit(16)?))
}

/// What follows `[`, up to its `]`.
fn class(rest: &mut Rest, uses: &mut Uses) -> Option<()> {
    if rest.peek() == Some(&'^') {
        rest.next();
        uses.wide = true;
    }
    // Empty to JavaScript, the beginning of a class to others.
    if rest.peek() == Some(&']') {
        return None;
    }
    let mut before = None;
    loop {
        let c = rest.next()?;
        match c {
            ']' => return Some(()),
            // A class within a class to some.
            '[' => return None,
            // Set operations to some.
            '&' | '-' | '~' | '|' if before == Some(c) => return None,
            '\\' => escape(rest, uses, true)?,
            c if c > '\u{ffff}' => return None,
            c if !c.is_ascii() => uses.wide = true,
            _ => {}
        }
        before = Some(c);
    }
}

/// What follows `(` and begins with `?`: a plain group, or a named one.
fn group(rest: &mut Rest) -> Option<()> {
    rest.next();
    match rest.next()? {
        ':' => Some(()),
        'P' if rest.next() == Some('<') => name(rest),
        '<' => name(rest),
        _ => None,
    }
}

fn name(rest: &mut Rest) -> Option<()> {
    let mut letters = rest
        .by_ref()
        .take_while(|c| *c != '>')
        .map(|c| c.is_ascii_alphanumeric() || c == '_');
    let begun = letters.next()?;
    (begun && letters.all(|ok| ok)).then_some(())
}

/// What follows `{`: `2}`, `2,}` or `2,5}`; anything else is a text to some.
fn counts(rest: &mut Rest) -> Option<()> {
    let mut digits = 0;
    let mut commas = 0;
    loop {
        match rest.next()? {
            c if c.is_ascii_digit() => digits += 1,
            ',' if digits > 0 && commas == 0 => commas += 1,
            '}' if digits > 0 => return Some(()),
            _ => return None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_engine_says_is_said() {
        let rows = [
            (r"^\w+$", "Jose", Some(true)),
            (r"^\w+$", "a b", Some(false)),
            (r"^\w+$", "José", None),
            (r"^\w+$", "Jose\n", None),
            (r"^\d+$", "１２", None),
            (r"^\d{2,3}$", "1234", Some(false)),
            (r"\bx\b", "é x", None),
            (r"^\s$", "\u{1c}", None),
            (r"^\s$", "\u{a0}", None),
            (r"^\S+$", "é", None),
            ("^[a-z]+$", "José", Some(false)),
            ("^[a-z]+$", "😀", Some(false)),
            ("^[^a-z]$", "😀", None),
            ("^.$", "é", Some(true)),
            ("^.$", "😀", None),
            ("^.$", "\r", None),
            ("^.$", "\n", Some(false).filter(|_| false)),
            ("^.", "\n", Some(false)),
            ("^é+$", "éé", Some(true)),
            ("^[à-ý]+$", "é", Some(true)),
            ("^a$", "a\n", None),
            ("^rec[A-Za-z0-9]{14}$", "nope", Some(false)),
            (r"^(?:a|b)\-\/\.$", "a-/.", Some(true)),
            (r"^(?P<y>\d{4})-(?<m>\d\d)$", "2026-03", Some(true)),
            (r"^\u0041\x42$", "AB", Some(true)),
            ("a+?b", "aab", Some(true)),
        ];
        for (pattern, text, expected) in rows {
            let judged = Pattern::new(pattern).unwrap().judge(text);
            assert_eq!(judged, expected, "{pattern} on {text:?}");
        }
        let long = "a".repeat(MAX_TEXT + 1);
        assert_eq!(Pattern::new("^b+$").unwrap().judge(&long), None);
    }

    #[test]
    fn what_engines_read_differently_is_not_judged() {
        for pattern in [
            "(?i)abc",
            "(?=a)",
            "(?!a)",
            "(?<=a)b",
            "(?<!a)b",
            r"(a)\1",
            r"\Aa",
            r"a\Z",
            r"a\z",
            r"\p{L}",
            r"\u{41}",
            r"\ud83d",
            r"\cA",
            r"\0",
            r"(?P=x)",
            r"\k<x>",
            "a++",
            "a*+",
            "a{1}+",
            "a{,3}",
            "a{",
            "a{x}",
            "[[:alpha:]]",
            "[a&&b]",
            "[a--b]",
            "[]a]",
            "[]",
            r"[\b]",
            "😀",
            "[😀]",
            r"\<a",
            "(",
            "[a",
            r"\",
            "(?#c)a",
            "(?>a)",
            "a{100000}",
        ] {
            assert!(Pattern::new(pattern).is_none(), "{pattern}");
        }
    }
}
