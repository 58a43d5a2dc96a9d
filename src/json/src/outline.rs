//! The parts of an array or object, cut out without being read.

use crate::Unreadable;
use alloc::string::String;
use alloc::vec::Vec;

pub(crate) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let begin = text
        .iter()
        .position(|b| !is_space(*b))
        .unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|b| !is_space(*b))
        .map_or(begin, |at| at + 1);
    text.get(begin..end).unwrap_or(&[])
}

/// One past the closing quote of a string that begins at `at`; `None`: it does not end.
pub(crate) fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the part that begins at `at` ends: at the comma or closing bracket that is not inside of it. `None`: nowhere.
pub(crate) fn part_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 0 => return Some(at),
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

/// At most so many values does it hold, itself and those inside it.
pub fn values(text: &[u8]) -> usize {
    let mut n = 1;
    let mut at = 0;
    while let Some(b) = text.get(at) {
        match b {
            b'"' => match string_end(text, at) {
                Some(end) => {
                    at = end;
                    continue;
                }
                None => return n,
            },
            b',' | b'[' | b'{' => n += 1,
            _ => {}
        }
        at += 1;
    }
    n
}

/// The parts of an array, one after the other.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    text: &'a [u8],
    at: usize,
    over: bool,
}

/// The elements of an array.
///
/// # Errors
/// It is no array, or it does not end where it should.
pub fn elements(text: &[u8]) -> Result<Elements<'_>, Unreadable> {
    let text = trim(text);
    if text.first() != Some(&b'[') {
        return Err(Unreadable::Outline);
    }
    // All of it is looked at once: who takes the first elements knows that it ends.
    let mut at = 1;
    loop {
        let end = part_end(text, at).ok_or(Unreadable::Cut)?;
        at = end + 1;
        match text.get(end) {
            Some(b',') => {}
            Some(b']') if at == text.len() => break,
            Some(b']') => return Err(Unreadable::Cut),
            _ => return Err(Unreadable::Outline),
        }
    }
    let inside = text.get(1..text.len() - 1).unwrap_or(&[]);
    Ok(Elements {
        text: inside,
        at: 0,
        over: trim(inside).is_empty(),
    })
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.over {
            return None;
        }
        let end = part_end(self.text, self.at).unwrap_or(self.text.len());
        let part = self.text.get(self.at..end).unwrap_or(&[]);
        self.over = end >= self.text.len();
        self.at = end + 1;
        Some(trim(part))
    }
}

/// The parts of an object.
#[derive(Clone, Debug, Default)]
pub struct Members<'a> {
    /// Names, mended, and the text of each value, in order; a name that came twice is here twice.
    pub list: Vec<(String, &'a [u8])>,
    /// Something stood among them that is no member.
    pub broken: bool,
}

impl<'a> Members<'a> {
    /// The value of this name; of several the last, as parsers have it.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.list.iter().rev().find(|(n, _)| n == name);
        found.map(|(_, value)| *value)
    }
}

/// The members of an object.
///
/// # Errors
/// It is no object, or it does not end where it should.
pub fn members(text: &[u8]) -> Result<Members<'_>, Unreadable> {
    let text = trim(text);
    if text.first() != Some(&b'{') {
        return Err(Unreadable::Outline);
    }
    let mut out = Members::default();
    let mut at = 1;
    loop {
        let end = part_end(text, at).ok_or(Unreadable::Cut)?;
        let part = trim(text.get(at..end).unwrap_or(&[]));
        let closed = text.get(end) == Some(&b'}');
        match member(part) {
            Some(member) => out.list.push(member),
            None => out.broken |= !(part.is_empty() && closed && out.list.is_empty()),
        }
        at = end + 1;
        match text.get(end) {
            Some(b',') => {}
            Some(b'}') if at == text.len() => return Ok(out),
            Some(b'}') => return Err(Unreadable::Cut),
            _ => return Err(Unreadable::Outline),
        }
    }
}

/// `"name": value`
fn member(part: &[u8]) -> Option<(String, &[u8])> {
    if part.first() != Some(&b'"') {
        return None;
    }
    let end = string_end(part, 0)?;
    let name = crate::text(part.get(..end)?)?;
    let rest = trim(part.get(end..)?);
    let value = trim(rest.strip_prefix(b":")?);
    (!value.is_empty()).then_some((name, value))
}
