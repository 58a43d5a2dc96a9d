//! What was spent of Airtable's budget, kept over restart and failover: the month's calls, lock-outs, open breakers.
//!
//! One hash for each `{tag}` among the entities (`podium:budget`, `podium:budget:{tag}`), so that in a cluster it lies on the
//! shard that owns the bases. Each holds the node's month; what is read is the highest count.

use crate::server::desk::{desk, Desk};
use crate::server::state::clock;
use crate::server::state::entities::State;
use crate::server::store::own_keys::{self, Wrote};
use crate::server::valkey::ffi::{self, Ctx, Key, KeyKind, RString};
use parking_lot::Mutex;
use podium_core::key;
use podium_core::pace::{Saved, SavedBase, SavedRefusal};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Written at most so often.
const EVERY: Duration = Duration::from_secs(1);

/// A base, is it locked out, in which month and under which allowance Airtable refused it, is its breaker open.
type WrittenBase = (u32, bool, Option<(u32, Option<u64>)>, bool);

/// What is in the keys, as far as it matters whether it changed.
#[derive(PartialEq, Eq, Clone, Default)]
struct Written {
    month: Option<u32>,
    calls: u64,
    bases: Vec<WrittenBase>,
}

struct Last {
    written: Written,
    at: Option<Instant>,
}

static LAST: Mutex<Last> = Mutex::new(Last {
    written: Written {
        month: None,
        calls: 0,
        bases: Vec::new(),
    },
    at: None,
});

fn digest(s: &Saved) -> Written {
    let mut bases: Vec<_> = s
        .bases
        .iter()
        .map(|b| {
            let refused = b.refusal.map(|r| (r.month, r.monthly));
            (b.base, b.silent_ms > 0, refused, b.breaker_open)
        })
        .collect();
    bases.sort_unstable();
    Written {
        month: s.month,
        calls: s.calls,
        bases,
    }
}

fn state() -> (Saved, Vec<(u32, Arc<str>)>) {
    let d: &Desk = &desk();
    (
        d.sched.state(clock::mono_ms()),
        d.bases
            .iter()
            .map(|(name, key)| (*key, name.clone()))
            .collect(),
    )
}

/// Names of the keys, with the bases whose entities carry the tag.
fn keys(st: &State) -> Vec<(Vec<u8>, Vec<String>)> {
    let mut out: Vec<(Vec<u8>, Vec<String>)> = Vec::new();
    for e in st.entities() {
        let name = name_of(key::tag(&e.name));
        let base = e.base();
        match out.iter_mut().find(|(n, _)| *n == name) {
            Some((_, bases)) if bases.contains(&base) => {}
            Some((_, bases)) => bases.push(base),
            None => out.push((name, vec![base])),
        }
    }
    out
}

fn name_of(tag: &str) -> Vec<u8> {
    if tag.is_empty() {
        b"podium:budget".to_vec()
    } else {
        key::own("budget", tag)
    }
}

/// Writes what changed. Under the server's lock, on a node that may write.
pub(crate) fn save(ctx: Ctx, st: &State) {
    let (saved, names) = state();
    let now = digest(&saved);
    {
        let last = LAST.lock();
        let quiet =
            last.at.is_some_and(|at| at.elapsed() < EVERY) && now.bases == last.written.bases;
        if now == last.written || quiet {
            return;
        }
    }
    if saved.calls == 0 && saved.bases.is_empty() {
        return;
    }
    let mut all = true;
    for (name, bases) in keys(st) {
        all &= write(ctx, &name, &saved, &names, &bases);
    }
    if all {
        *LAST.lock() = Last {
            written: now,
            at: Some(Instant::now()),
        };
    }
}

/// The keys are gone (FLUSHALL) or another data set is there: they are written at the next occasion.
pub(crate) fn lost() {
    *LAST.lock() = Last {
        written: Written::default(),
        at: None,
    };
}

fn write(
    ctx: Ctx,
    name: &[u8],
    saved: &Saved,
    names: &[(u32, Arc<str>)],
    bases: &[String],
) -> bool {
    let mut fields: Vec<(String, String)> = vec![("calls".into(), saved.calls.to_string())];
    let mut put = |field: &str, n: Option<u64>| {
        if let Some(n) = n {
            fields.push((field.to_string(), n.to_string()));
        }
    };
    put("at", saved.unix_ms);
    put("month", saved.month.map(u64::from));
    put("poll", saved.poll_credit);
    put("background", saved.background_credit);
    let mut well = Vec::new();
    for base in bases {
        let key = names.iter().find(|(_, n)| **n == **base).map(|(k, _)| *k);
        let field = format!("base:{base}");
        match saved.bases.iter().find(|b| Some(b.base) == key) {
            Some(b) => fields.push((field, written(b))),
            None => well.push(field),
        }
    }
    let mut args: Vec<&[u8]> = vec![name];
    for (k, v) in &fields {
        args.push(k.as_bytes());
        args.push(v.as_bytes());
    }
    let wrote = own_keys::write(ctx, c"HSET", &args);
    let more = || Key::peek(ctx, RString::new(name).raw()).len() > fields.len();
    if wrote == Wrote::Yes && !well.is_empty() && more() {
        let mut args: Vec<&[u8]> = vec![name];
        args.extend(well.iter().map(|f| f.as_bytes()));
        own_keys::write(ctx, c"HDEL", &args);
    }
    wrote != Wrote::Later
}

/// Takes over what an earlier process, or the primary so far, kept. Whether or not there is anything: it may have been
/// calling until a moment ago. Under the server's lock.
pub(crate) fn load(ctx: Ctx, st: &State) {
    if st.replica || st.loading {
        return;
    }
    let mut saved = Saved::default();
    let mut d = desk();
    // The month of a count that is read must be known by, and under which allowance Airtable refused.
    d.heed_settings();
    d.sched.set_clock(clock::mono_ms(), ffi::now_ms());
    for (name, bases) in keys(st) {
        let s = RString::new(&name);
        let k = Key::peek(ctx, s.raw());
        if k.kind() != KeyKind::Hash {
            continue;
        }
        let fields = k.fields();
        let text = |field: &str| {
            let (_, v) = fields.iter().find(|(k, _)| k == field.as_bytes())?;
            std::str::from_utf8(v).ok()
        };
        let number = |field: &str| text(field).and_then(|t| t.parse::<u64>().ok());
        let month = number("month").and_then(|m| u32::try_from(m).ok());
        let calls = number("calls").unwrap_or(0);
        if (month, calls) >= (saved.month, saved.calls) {
            saved.unix_ms = number("at").or(saved.unix_ms);
            saved.month = month;
            saved.calls = calls;
            saved.poll_credit = number("poll");
            saved.background_credit = number("background");
        }
        for base in bases {
            let monthly = d.sched.limits().monthly;
            let Some(kept) = text(&format!("base:{base}")).and_then(|t| kept(t, monthly)) else {
                continue;
            };
            let key = d.base(&base);
            saved.bases.push(SavedBase { base: key, ..kept });
        }
    }
    // The count read is added to what this process counted itself: a data set loaded anew holds some of that already.
    let own = d.sched.state(clock::mono_ms());
    if own.month == saved.month {
        saved.calls = saved.calls.saturating_sub(own.calls);
    }
    d.sched.restore(saved, clock::mono_ms());
}

/// A base, in words: ms of the lock-out, month of Airtable's refusal, is the breaker open; and of the refusal the ms until
/// the next try and the allowance of that time. `-`: none.
fn written(b: &SavedBase) -> String {
    let or_none = |n: Option<u64>| n.map_or_else(|| "-".to_string(), |n| n.to_string());
    let month = or_none(b.refusal.map(|r| r.month.into()));
    let mut text = format!("{} {month} {}", b.silent_ms, u8::from(b.breaker_open));
    if let Some(r) = b.refusal {
        text.push_str(&format!(" {} {}", r.probe_ms, or_none(r.monthly)));
    }
    text
}

/// What [`written`] wrote, or an earlier version, which wrote three words: then the allowance was that of now.
fn kept(text: &str, monthly: Option<u64>) -> Option<SavedBase> {
    let mut words = text.split(' ');
    let silent_ms = words.next()?.parse().ok()?;
    let month = words.next()?.parse().ok();
    let breaker_open = words.next() == Some("1");
    let probe_ms = words.next().and_then(|w| w.parse().ok());
    let monthly = words.next().map_or(monthly, |w| w.parse().ok());
    Some(SavedBase {
        base: 0,
        silent_ms,
        refusal: month.map(|month| SavedRefusal {
            month,
            probe_ms: probe_ms.unwrap_or(u64::MAX),
            monthly,
        }),
        breaker_open,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_read_as_it_was_written() {
        let refusal = |monthly| {
            Some(SavedRefusal {
                month: 682,
                probe_ms: 1234,
                monthly,
            })
        };
        for (refusal, text) in [
            (None, "7 - 1"),
            (refusal(Some(900)), "7 682 1 1234 900"),
            (refusal(None), "7 682 1 1234 -"),
        ] {
            let base = SavedBase {
                base: 0,
                silent_ms: 7,
                refusal,
                breaker_open: true,
            };
            assert_eq!(written(&base), text);
            assert_eq!(kept(text, Some(5)), Some(base));
        }
        let old = kept("0 682 0", Some(5)).and_then(|b| b.refusal);
        assert_eq!(old.map(|r| (r.month, r.monthly)), Some((682, Some(5))));
        for text in ["", "x", "1"] {
            assert_eq!(kept(text, None), None);
        }
    }

    #[test]
    fn damaged_words_say_as_little_as_they_can() {
        // An allowance that cannot be read is none; a refusal without a time for the next try waits for its month's end.
        let refusal = |text| kept(text, Some(5)).and_then(|b| b.refusal);
        let short = refusal("0 682 0 x y").map(|r| (r.probe_ms, r.monthly));
        assert_eq!(short, Some((u64::MAX, None)));
        assert_eq!(kept("-1 682 0", None), None);
        assert!(kept("7 x yes", None).is_some_and(|b| b.refusal.is_none() && !b.breaker_open));
    }

    #[test]
    fn what_only_passes_by_is_no_change_worth_writing() {
        let base = |silent_ms| SavedBase {
            base: 1,
            silent_ms,
            refusal: None,
            breaker_open: false,
        };
        let saved = |bases: &[SavedBase]| Saved {
            bases: bases.to_vec(),
            ..Saved::default()
        };
        let silent = digest(&saved(&[base(900)]));
        assert!(silent == digest(&saved(&[base(100)])), "the time runs down");
        assert!(silent != digest(&saved(&[base(0)])), "it is over");
        let other = SavedBase { base: 2, ..base(0) };
        let (two, turned) = ([base(5), other.clone()], [other, base(5)]);
        assert!(digest(&saved(&two)) == digest(&saved(&turned)));
    }

    #[test]
    fn the_budget_of_tagged_entities_lies_in_their_slot() {
        assert_eq!(name_of(""), b"podium:budget");
        assert_eq!(name_of("{a}"), b"podium:budget:{a}");
    }
}
