//! A parser for what the strict one refuses.

use crate::outline::{is_space, part_end, string_end};
use crate::{Unreadable, DEPTH, MARK};
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::{Map, Number, Value};

/// A value with [`MARK`] in place of what cannot be read, and why the first such cannot.
pub(crate) fn parse(text: &[u8]) -> Result<(Value, Option<Unreadable>), Unreadable> {
    let mut parser = Parser {
        text,
        at: 0,
        unreadable: None,
    };
    let value = parser.value(DEPTH)?;
    match parser.next() {
        None => Ok((value, parser.unreadable)),
        Some(_) => Err(Unreadable::Cut),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    unreadable: Option<Unreadable>,
}

impl Parser<'_> {
    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        loop {
            let b = *self.text.get(self.at)?;
            if !is_space(b) {
                return Some(b);
            }
            self.at += 1;
        }
    }

    /// `depth`: levels that may follow.
    fn value(&mut self, depth: usize) -> Result<Value, Unreadable> {
        match self.next().ok_or(Unreadable::Cut)? {
            b'"' => self.string().map(Value::String),
            b'[' | b'{' if depth == 0 => {
                self.at = part_end(self.text, self.at).unwrap_or(self.text.len());
                Ok(self.mark(Unreadable::TooDeep))
            }
            b'[' => self.array(depth - 1),
            b'{' => self.object(depth - 1),
            _ => Ok(self.scalar()),
        }
    }

    fn mark(&mut self, why: Unreadable) -> Value {
        self.unreadable.get_or_insert(why);
        Value::from(MARK)
    }

    fn array(&mut self, depth: usize) -> Result<Value, Unreadable> {
        self.at += 1;
        let mut list = Vec::new();
        if self.next() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(list));
        }
        loop {
            list.push(self.value(depth)?);
            if self.closes(b']')? {
                return Ok(Value::Array(list));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Unreadable> {
        self.at += 1;
        let mut map = Map::new();
        if self.next() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(map));
        }
        loop {
            if self.next() != Some(b'"') {
                return Err(Unreadable::Outline);
            }
            let name = self.string()?;
            if self.next() != Some(b':') {
                return Err(Unreadable::Outline);
            }
            self.at += 1;
            let value = self.value(depth)?;
            map.insert(name, value);
            if self.closes(b'}')? {
                return Ok(Value::Object(map));
            }
        }
    }

    /// Past the comma, or past the bracket that ends it.
    fn closes(&mut self, bracket: u8) -> Result<bool, Unreadable> {
        let b = self.next().ok_or(Unreadable::Cut)?;
        self.at += 1;
        match b {
            b',' => Ok(false),
            b if b == bracket => Ok(true),
            _ => Err(Unreadable::Outline),
        }
    }

    fn scalar(&mut self) -> Value {
        let rest = self.text.get(self.at..).unwrap_or(&[]);
        let ends =
            |b: &u8| is_space(*b) || matches!(b, b',' | b']' | b'}' | b'"' | b'[' | b'{' | b':');
        let len = rest.iter().position(ends).unwrap_or(rest.len());
        let token = rest.get(..len).unwrap_or(&[]);
        self.at += len;
        match token {
            b"null" => Value::Null,
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            _ => match serde_json::from_slice::<Number>(token) {
                Ok(number) => Value::Number(number),
                // Beyond a float: its digits say more than any number that is one.
                Err(_) if is_number(token) => {
                    Value::String(String::from_utf8_lossy(token).into_owned())
                }
                Err(_) => self.mark(Unreadable::NoValue),
            },
        }
    }

    fn string(&mut self) -> Result<String, Unreadable> {
        let end = string_end(self.text, self.at).ok_or(Unreadable::Cut)?;
        let inside = self.text.get(self.at + 1..end - 1).unwrap_or(&[]);
        self.at = end;
        Ok(unescape(inside))
    }
}

/// Is it a number as JSON writes them?
fn is_number(token: &[u8]) -> bool {
    let digits = |b: &[u8]| b.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = token.strip_prefix(b"-").unwrap_or(token);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.first() == Some(&b'0')) {
        return false;
    }
    rest = rest.get(whole..).unwrap_or(&[]);
    if let Some(fraction) = rest.strip_prefix(b".") {
        let n = digits(fraction);
        if n == 0 {
            return false;
        }
        rest = fraction.get(n..).unwrap_or(&[]);
    }
    if let Some(b'e' | b'E') = rest.first() {
        let power = rest.get(1..).unwrap_or(&[]);
        let power = match power.first() {
            Some(b'+' | b'-') => power.get(1..).unwrap_or(&[]),
            _ => power,
        };
        return !power.is_empty() && digits(power) == power.len();
    }
    rest.is_empty()
}

/// What the inside of a string literal says. Halves of surrogate pairs, escapes that are none and bytes that are no UTF-8
/// become U+FFFD; control characters that should have been escaped stay.
fn unescape(inside: &[u8]) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(inside.len());
    let mut push = |c: char| {
        let mut buffer = [0; 4];
        out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
    };
    let mut at = 0;
    while let Some(b) = inside.get(at).copied() {
        if b != b'\\' {
            // Bytes are taken as they come, and judged together below.
            let run = inside.get(at..).unwrap_or(&[]);
            let len = run.iter().position(|b| *b == b'\\').unwrap_or(run.len());
            for piece in run.get(..len).unwrap_or(&[]).utf8_chunks() {
                piece.valid().chars().for_each(&mut push);
                if !piece.invalid().is_empty() {
                    push(char::REPLACEMENT_CHARACTER);
                }
            }
            at += len;
            continue;
        }
        at += 2;
        let plain = match inside.get(at - 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => match unit(inside, at) {
                Some(high @ 0xd800..=0xdbff) => {
                    at += 4;
                    let low = match inside.get(at..at + 2) {
                        Some(b"\\u") => {
                            unit(inside, at + 2).filter(|u| (0xdc00..=0xdfff).contains(u))
                        }
                        _ => None,
                    };
                    match low {
                        Some(low) => {
                            at += 6;
                            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                        }
                        None => char::REPLACEMENT_CHARACTER,
                    }
                }
                Some(unit) => {
                    at += 4;
                    char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
                None => char::REPLACEMENT_CHARACTER,
            },
            _ => {
                // No escape: what follows the backslash is text of its own.
                at -= 1;
                char::REPLACEMENT_CHARACTER
            }
        };
        push(plain);
    }
    String::from_utf8(out).unwrap_or_default()
}

/// The four hexadecimal digits at `at`.
fn unit(inside: &[u8], at: usize) -> Option<u32> {
    let digits = inside.get(at..at + 4)?;
    digits
        .iter()
        .try_fold(0, |n, d| Some(n * 16 + char::from(*d).to_digit(16)?))
}
