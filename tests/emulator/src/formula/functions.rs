//! The functions by name, with how many arguments each takes, and what they compute (dates are in `dates`).

use super::value::{join, JOIN_LIMIT};
use super::{dates, strict, Evaluator, Expr, RowContext, Value};
use std::sync::Arc;

macro_rules! functions {
    ($($variant:ident $name:literal $least:literal $most:expr;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Function { $($variant,)* }

        impl Function {
            /// The function of this name; case does not matter, as third-party parsers have it.
            pub(crate) fn named(name: &str) -> Option<Self> {
                match name.to_ascii_uppercase().as_str() {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Whether it takes this many arguments.
            pub(crate) fn accepts(self, count: usize) -> bool {
                let (least, most): (usize, usize) = match self { $(Self::$variant => ($least, $most),)* };
                (least..=most).contains(&count)
            }
        }
    };
}

const MANY: usize = usize::MAX;

functions! {
    And "AND" 1 MANY; Or "OR" 1 MANY; Not "NOT" 1 1; Xor "XOR" 1 MANY; If "IF" 2 3; Switch "SWITCH" 3 MANY;
    Blank "BLANK" 0 0; True "TRUE" 0 0; False "FALSE" 0 0; Error "ERROR" 0 1; IsError "ISERROR" 1 1;
    RecordId "RECORD_ID" 0 0; CreatedTime "CREATED_TIME" 0 0; LastModifiedTime "LAST_MODIFIED_TIME" 0 MANY;
    Now "NOW" 0 0; Today "TODAY" 0 0;
    Find "FIND" 2 3; Search "SEARCH" 2 3; Lower "LOWER" 1 1; Upper "UPPER" 1 1; Trim "TRIM" 1 1; Len "LEN" 1 1;
    Left "LEFT" 1 2; Right "RIGHT" 1 2; Mid "MID" 3 3; Substitute "SUBSTITUTE" 3 4; Replace "REPLACE" 4 4;
    Concatenate "CONCATENATE" 1 MANY; Value "VALUE" 1 1; Rept "REPT" 2 2; Exact "EXACT" 2 2; AsText "T" 1 1;
    EncodeUrl "ENCODE_URL_COMPONENT" 1 1;
    RegexMatch "REGEX_MATCH" 2 2; RegexExtract "REGEX_EXTRACT" 2 2; RegexReplace "REGEX_REPLACE" 3 3;
    ArrayJoin "ARRAYJOIN" 1 2; ArrayUnique "ARRAYUNIQUE" 1 1; ArrayCompact "ARRAYCOMPACT" 1 1; ArrayFlatten "ARRAYFLATTEN" 1 MANY;
    Sum "SUM" 1 MANY; Average "AVERAGE" 1 MANY; Max "MAX" 1 MANY; Min "MIN" 1 MANY;
    Count "COUNT" 1 MANY; CountA "COUNTA" 1 MANY; CountAll "COUNTALL" 1 MANY;
    Abs "ABS" 1 1; Round "ROUND" 1 2; RoundUp "ROUNDUP" 1 2; RoundDown "ROUNDDOWN" 1 2; Int "INT" 1 1; Floor "FLOOR" 1 2;
    Ceiling "CEILING" 1 2; Mod "MOD" 2 2; Power "POWER" 2 2; Sqrt "SQRT" 1 1; Exp "EXP" 1 1; Log "LOG" 1 2;
    Even "EVEN" 1 1; Odd "ODD" 1 1;
    IsSame "IS_SAME" 2 3; IsBefore "IS_BEFORE" 2 3; IsAfter "IS_AFTER" 2 3; DatetimeParse "DATETIME_PARSE" 1 3;
    DatetimeFormat "DATETIME_FORMAT" 1 2; DateAdd "DATEADD" 3 3; DatetimeDiff "DATETIME_DIFF" 2 3; DateStr "DATESTR" 1 1;
    TimeStr "TIMESTR" 1 1; SetTimezone "SET_TIMEZONE" 2 2; SetLocale "SET_LOCALE" 2 2;
    Year "YEAR" 1 1; Month "MONTH" 1 1; Day "DAY" 1 1; Hour "HOUR" 1 1; Minute "MINUTE" 1 1; Second "SECOND" 1 1;
    Weekday "WEEKDAY" 1 2;
}

/// Evaluates a call. Control functions evaluate only the arguments they need, and are the only ones to look past an error.
pub(crate) fn call(
    function: Function,
    args: &[Expr],
    evaluator: &Evaluator,
    row: &dyn RowContext,
) -> Value {
    let run = |expr: &Expr| evaluator.run(expr, row);
    let nth = |place: usize| args.get(place).map_or(Value::Blank, &run);
    match function {
        Function::And | Function::Or => {
            let decisive = function == Function::Or;
            if evaluator.is_strict() && args.iter().any(|arg| run(arg) == Value::Error) {
                return Value::Error;
            }
            for arg in args {
                match run(arg) {
                    Value::Error => return Value::Error,
                    value if value.passes() == decisive => return Value::Bool(decisive),
                    _ => {}
                }
            }
            Value::Bool(!decisive)
        }
        Function::If => match nth(0) {
            Value::Error => Value::Error,
            condition if condition.passes() => nth(1),
            _ => nth(2),
        },
        Function::Switch => switch(args, &run, row.separator()),
        Function::IsError => Value::Bool(nth(0) == Value::Error),
        Function::Error => Value::Error,
        Function::Blank => Value::Blank,
        Function::True => Value::Bool(true),
        Function::False => Value::Bool(false),
        Function::RecordId => Value::Text(row.record_id()),
        Function::CreatedTime => Value::Date(row.created_ms(), false),
        Function::LastModifiedTime => Value::Date(row.modified_ms(), false),
        Function::Now => Value::Date(row.now_ms(), false),
        Function::Today => Value::Date(dates::midnight(row.now_ms()), true),
        _ => {
            let values: Vec<Value> = args.iter().map(run).collect();
            if values.contains(&Value::Error) {
                return Value::Error;
            }
            if evaluator.is_strict() && !strict::accepts(function, &values) {
                return Value::Error;
            }
            if let (true, Function::Trim, [Value::Text(t)]) =
                (evaluator.is_strict(), function, values.as_slice())
            {
                return Value::text(t.trim_matches(' '));
            }
            plain(function, &values, evaluator, row.separator()).unwrap_or(Value::Error)
        }
    }
}

fn switch(args: &[Expr], run: &dyn Fn(&Expr) -> Value, separator: &str) -> Value {
    let Some((subject, cases)) = args.split_first() else {
        return Value::Error;
    };
    let subject = run(subject);
    for case in cases.chunks(2) {
        match case {
            [pattern, result] if run(pattern).equals(&subject, separator) => return run(result),
            [default] => return run(default),
            _ => {}
        }
    }
    Value::Blank
}

/// Functions of plain values; `None` is `#ERROR!`.
fn plain(
    function: Function,
    args: &[Value],
    evaluator: &Evaluator,
    separator: &str,
) -> Option<Value> {
    let text = |place: usize| {
        args.get(place)
            .map_or_else(|| Arc::from(""), |v| v.to_text(separator))
    };
    let number = |place: usize| args.get(place).and_then(Value::to_number);
    let number_or =
        |place: usize, default: f64| args.get(place).map_or(Some(default), Value::to_number);
    let length = |place: usize, default: f64| number_or(place, default).map(to_length);
    Some(match function {
        Function::Not => Value::Bool(!args.first()?.passes()),
        Function::Xor => Value::Bool(args.iter().filter(|v| v.passes()).count() % 2 == 1),
        Function::Find => Value::Number(find(&text(0), &text(1), length(2, 1.0)?)),
        Function::Search => match find(
            &text(0).to_lowercase(),
            &text(1).to_lowercase(),
            length(2, 1.0)?,
        ) {
            0.0 => Value::Blank,
            place => Value::Number(place),
        },
        Function::Lower => Value::text(text(0).to_lowercase()),
        Function::Upper => Value::text(text(0).to_uppercase()),
        Function::Trim => Value::text(text(0).trim()),
        Function::Len => Value::Number(count(text(0).chars().count())),
        Function::Left => Value::text(text(0).chars().take(length(1, 1.0)?).collect::<String>()),
        Function::Right => {
            let text = text(0);
            let skip = text.chars().count().saturating_sub(length(1, 1.0)?);
            Value::text(text.chars().skip(skip).collect::<String>())
        }
        Function::Mid => {
            let skip = length(1, 1.0)?.saturating_sub(1);
            Value::text(
                text(0)
                    .chars()
                    .skip(skip)
                    .take(length(2, 0.0)?)
                    .collect::<String>(),
            )
        }
        Function::Substitute => substitute(&text(0), &text(1), &text(2), length(3, 0.0)?)?,
        Function::Replace => {
            let text = text(0);
            let (skip, gone) = (length(1, 1.0)?.saturating_sub(1), length(2, 0.0)?);
            let head: String = text.chars().take(skip).collect();
            let tail: String = text.chars().skip(skip.saturating_add(gone)).collect();
            Value::text(format!("{head}{}{tail}", args.get(3)?.to_text(separator)))
        }
        Function::Concatenate => {
            let texts: Vec<Value> = args
                .iter()
                .map(|v| Value::Text(v.to_text(separator)))
                .collect();
            Value::text(join(&texts, ""))
        }
        Function::Value => {
            let digits: String = text(0)
                .chars()
                .filter(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
                .collect();
            Value::Number(digits.parse().ok()?)
        }
        Function::Rept => {
            let (text, times) = (text(0), length(1, 0.0)?);
            if text.len().saturating_mul(times) > JOIN_LIMIT {
                return None;
            }
            Value::text(text.repeat(times))
        }
        Function::Exact => Value::Bool(text(0) == text(1)),
        Function::AsText => match args.first()? {
            Value::Text(text) => Value::Text(text.clone()),
            _ => Value::Blank,
        },
        Function::EncodeUrl => Value::text(crate::http::url::encode(&text(0))),
        Function::RegexMatch => {
            Value::Bool(evaluator.with_pattern(&text(1), |re| re.is_match(&text(0)))?)
        }
        Function::RegexExtract => {
            let subject = text(0);
            evaluator.with_pattern(&text(1), |re| {
                re.find(&subject).map(|m| Value::text(m.as_str()))
            })??
        }
        Function::RegexReplace => {
            let replaced = evaluator.with_pattern(&text(1), |re| {
                re.replace_all(&text(0), text(2).as_ref()).into_owned()
            })?;
            Value::text(replaced)
        }
        Function::ArrayJoin => {
            let between = args
                .get(1)
                .map_or_else(|| Arc::from(separator), |v| v.to_text(separator));
            Value::text(join(&items(args.get(..1)?), &between))
        }
        Function::ArrayUnique => {
            let mut unique: Vec<Value> = Vec::new();
            for item in items(args) {
                if !unique.contains(&item) {
                    unique.push(item);
                }
            }
            Value::Array(unique)
        }
        Function::ArrayCompact => {
            Value::Array(items(args).into_iter().filter(|v| !is_empty(v)).collect())
        }
        Function::ArrayFlatten => Value::Array(items(args)),
        Function::Sum | Function::Average | Function::Max | Function::Min | Function::Count => {
            statistic(function, &items(args))
        }
        Function::CountA => {
            Value::Number(count(items(args).iter().filter(|v| !is_empty(v)).count()))
        }
        Function::CountAll => Value::Number(count(items(args).len())),
        Function::Abs => Value::Number(number(0)?.abs()),
        Function::Round => rounded(number(0)?, number_or(1, 0.0)?, f64::round),
        Function::RoundUp => rounded(number(0)?, number_or(1, 0.0)?, |n| {
            n.abs().ceil() * n.signum()
        }),
        Function::RoundDown => rounded(number(0)?, number_or(1, 0.0)?, f64::trunc),
        Function::Int => Value::Number(number(0)?.floor()),
        Function::Floor => {
            Value::Number((number(0)? / number_or(1, 1.0)?).floor() * number_or(1, 1.0)?)
        }
        Function::Ceiling => {
            Value::Number((number(0)? / number_or(1, 1.0)?).ceil() * number_or(1, 1.0)?)
        }
        Function::Mod => {
            let (a, b) = (number(0)?, number(1)?);
            Value::Number(a - b * (a / b).floor())
        }
        Function::Power => Value::Number(number(0)?.powf(number(1)?)),
        Function::Sqrt => Value::Number(number(0)?.sqrt()),
        Function::Exp => Value::Number(number(0)?.exp()),
        Function::Log => Value::Number(number(0)?.log(number_or(1, 10.0)?)),
        Function::Even => Value::Number((number(0)? / 2.0).ceil() * 2.0),
        Function::Odd => Value::Number(((number(0)? - 1.0) / 2.0).ceil() * 2.0 + 1.0),
        _ => return dates::call(function, args, separator),
    })
}

/// The elements of the arguments, arrays opened, however deep.
fn items(args: &[Value]) -> Vec<Value> {
    let mut out = Vec::new();
    for arg in args {
        match arg {
            Value::Array(inner) => out.extend(items(inner)),
            other => out.push(other.clone()),
        }
    }
    out
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::Blank) || matches!(value, Value::Text(t) if t.is_empty())
}

fn statistic(function: Function, values: &[Value]) -> Value {
    if matches!(function, Function::Max | Function::Min)
        && values.iter().all(|v| matches!(v, Value::Date(..)))
    {
        let dates = values.iter().filter_map(Value::to_date);
        let found = if function == Function::Max {
            dates.max()
        } else {
            dates.min()
        };
        return found.map_or(Value::Number(0.0), |ms| Value::Date(ms, false));
    }
    let numbers: Vec<f64> = values
        .iter()
        .filter_map(|v| match v {
            Value::Number(n) => Some(*n),
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            _ => None,
        })
        .collect();
    let sum: f64 = numbers.iter().sum();
    let extreme = |pick: fn(f64, f64) -> f64| numbers.iter().copied().reduce(pick).unwrap_or(0.0);
    Value::Number(match function {
        Function::Sum => sum,
        Function::Average => sum / count(numbers.len()),
        Function::Max => extreme(f64::max),
        Function::Min => extreme(f64::min),
        _ => count(numbers.len()),
    })
}

/// 1-based place in characters, 0 if absent.
fn find(needle: &str, hay: &str, start: usize) -> f64 {
    let from = hay
        .char_indices()
        .nth(start.saturating_sub(1))
        .map_or(hay.len(), |(at, _)| at);
    let Some(tail) = hay.get(from..) else {
        return 0.0;
    };
    match tail.find(needle) {
        Some(at) => count(hay.get(..from + at).map_or(0, |head| head.chars().count()) + 1),
        None => 0.0,
    }
}

fn substitute(text: &str, old: &str, new: &str, which: usize) -> Option<Value> {
    if old.is_empty() {
        return Some(Value::text(text));
    }
    let found = text.matches(old).count();
    if text.len().saturating_add(found.saturating_mul(new.len())) > JOIN_LIMIT {
        return None;
    }
    if which == 0 {
        return Some(Value::text(text.replace(old, new)));
    }
    let Some((at, _)) = text.match_indices(old).nth(which - 1) else {
        return Some(Value::text(text));
    };
    Some(Value::text(format!(
        "{}{new}{}",
        text.get(..at)?,
        text.get(at + old.len()..)?
    )))
}

fn rounded(n: f64, digits: f64, round: impl Fn(f64) -> f64) -> Value {
    let scale = 10_f64.powf(digits.trunc());
    Value::Number(round(n * scale) / scale)
}

#[allow(clippy::cast_precision_loss)] // Lengths of texts and lists stay far below 2^53.
fn count(n: usize) -> f64 {
    n as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Clamped to the range first.
fn to_length(n: f64) -> usize {
    n.clamp(0.0, 1e9) as usize
}
