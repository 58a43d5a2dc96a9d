//! What a name that leads nowhere was probably meant to be.

use alloc::string::String;
use alloc::vec::Vec;

/// Longest part of a name that is looked at, in letters and digits.
const LONGEST: usize = 64;

/// Letters and digits alone, in lower case.
fn bare(name: &str) -> Vec<char> {
    name.chars()
        .flat_map(char::to_lowercase)
        .filter(|c| c.is_alphanumeric())
        .take(LONGEST)
        .collect()
}

/// Letters to change, add or take away.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = core::mem::replace(row.first_mut().unwrap_or(&mut 0), i + 1);
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let up = *cell;
            left = (diagonal + usize::from(x != y)).min(up + 1).min(left + 1);
            diagonal = up;
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The name that comes nearest, if one comes near at all; else the only one there is.
pub(super) fn nearest<'a>(name: &str, among: &[&'a str]) -> Option<&'a str> {
    let wanted = bare(name);
    let contains = |long: &[char], short: &[char]| {
        short.len() >= 3 && long.windows(short.len()).any(|w| w == short)
    };
    let rank = |n: &&&str| {
        let is = bare(n);
        let far = distance(&wanted, &is);
        if far > 0 && (contains(&is, &wanted) || contains(&wanted, &is)) {
            return Some(1);
        }
        (far * 3 <= wanted.len().max(is.len())).then_some(far)
    };
    let mut best: Option<(usize, &'a str)> = None;
    for n in among {
        if let Some(far) = rank(&n) {
            if best.is_none_or(|(b, _)| far < b) {
                best = Some((far, n));
            }
        }
    }
    match (best, among) {
        (Some((_, n)), _) => Some(n),
        (None, [only]) => Some(only),
        _ => None,
    }
}

/// The text in which a list of names is shown, not too long.
pub(super) fn listed(names: &[&str]) -> String {
    const MOST: usize = 12;
    let mut out = names
        .iter()
        .take(MOST)
        .map(|n| alloc::format!("\"{n}\""))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MOST {
        out.push_str(", …");
    }
    out
}
