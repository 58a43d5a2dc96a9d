//! What the switch `strict_formulas` makes fail, or look otherwise: a client must not rely on what is not known for certain.

use super::{Function, Value};
use crate::datetime::civil;

/// May the two not stand beside each other in a comparison? Empty text is how emptiness is asked for, of any type.
pub(crate) fn clash(a: &Value, b: &Value) -> bool {
    let number = |v: &Value| matches!(v, Value::Number(_) | Value::Bool(_));
    let text = |v: &Value| match v {
        Value::Text(t) => !t.is_empty(),
        Value::Array(_) | Value::Date(..) => true,
        _ => false,
    };
    (number(a) && text(b)) || (text(a) && number(b))
}

/// Are these values of the types that the function is for?
pub(crate) fn accepts(function: Function, args: &[Value]) -> bool {
    let list = |place: usize| matches!(args.get(place), Some(Value::Array(_)));
    match function {
        Function::Lower
        | Function::Upper
        | Function::Trim
        | Function::Len
        | Function::Left
        | Function::Right
        | Function::Mid
        | Function::Value => !list(0),
        Function::Find | Function::Search => !list(1),
        Function::ArrayJoin => matches!(args.first(), Some(Value::Array(_) | Value::Blank)),
        Function::IsSame | Function::IsBefore | Function::IsAfter => {
            matches!(args.first(), Some(Value::Date(..)))
        }
        _ => true,
    }
}

/// As it looks when it is joined to a text.
pub(crate) fn shown(value: Value) -> Value {
    match value {
        Value::Date(ms, day) => {
            let c = civil(ms);
            let date = format!("{}/{}/{}", c.month, c.day, c.year);
            Value::text(if day {
                date
            } else {
                format!("{date} {}:{:02}", c.hour, c.minute)
            })
        }
        Value::Array(items) => Value::Array(items.into_iter().map(shown).collect()),
        other => other,
    }
}
