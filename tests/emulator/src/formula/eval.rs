//! Tree to value, for one record at a time, within a budget of steps for the whole request.

use super::{functions, strict};
use super::{Expr, Operator, Value};
use crate::ids::Id;
use regex::Regex;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// What a formula may ask of the record it runs on.
pub(crate) trait RowContext {
    fn record_id(&self) -> Id;
    fn created_ms(&self) -> i64;
    fn modified_ms(&self) -> i64;
    fn now_ms(&self) -> i64;
    fn field(&self, id: &Id) -> Value;
    /// The looked-up values that a rollup aggregates; blank elsewhere.
    fn values(&self) -> Value;
    /// Between the elements of an array that is read as text.
    fn separator(&self) -> &str;
}

/// Runs formulas; shared by all records of a request so that the budget and the compiled patterns are too.
pub(crate) struct Evaluator {
    steps_left: Cell<u64>,
    /// Values of another type than is expected fail: the switch `strict_formulas`.
    strict: bool,
    patterns: RefCell<HashMap<String, Option<Regex>>>,
}

impl Evaluator {
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            steps_left: Cell::new(budget),
            strict: false,
            patterns: RefCell::default(),
        }
    }

    pub(crate) fn be_strict(&mut self, strict: bool) {
        self.strict = strict;
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether the budget ran out; results since then are worthless.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.steps_left.get() == 0
    }

    pub(crate) fn run(&self, expr: &Expr, row: &dyn RowContext) -> Value {
        let left = self.steps_left.get();
        if left == 0 {
            return Value::Error;
        }
        self.steps_left.set(left - 1);
        match expr {
            Expr::Number(n) => Value::Number(*n),
            Expr::Text(text) => Value::Text(text.clone()),
            Expr::Field(id) => row.field(id),
            Expr::Values => row.values(),
            Expr::Negate(inner) => match self.run(inner, row).to_number() {
                Some(n) => Value::Number(-n),
                None => Value::Error,
            },
            Expr::Binary(operator, a, b) => {
                let (mut a, mut b) = (self.run(a, row), self.run(b, row));
                if self.strict {
                    match operator {
                        Operator::Join => (a, b) = (strict::shown(a), strict::shown(b)),
                        _ if strict::clash(&a, &b) => return Value::Error,
                        _ => {}
                    }
                }
                binary(*operator, &a, &b, row.separator())
            }
            Expr::Call(function, args) => functions::call(*function, args, self, row),
        }
    }

    /// Runs `use_pattern` with the compiled pattern; `None` when it does not compile.
    pub(crate) fn with_pattern<T>(
        &self,
        pattern: &str,
        use_pattern: impl FnOnce(&Regex) -> T,
    ) -> Option<T> {
        let mut patterns = self.patterns.borrow_mut();
        patterns
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).ok())
            .as_ref()
            .map(use_pattern)
    }
}

fn binary(operator: Operator, a: &Value, b: &Value, separator: &str) -> Value {
    if *a == Value::Error || *b == Value::Error {
        return Value::Error;
    }
    match operator {
        Operator::Equal => Value::Bool(a.equals(b, separator)),
        Operator::NotEqual => Value::Bool(!a.equals(b, separator)),
        Operator::Join => {
            let mut text = a.to_text(separator).to_string();
            text.push_str(&b.to_text(separator));
            if text.len() > super::JOIN_LIMIT {
                return Value::Error;
            }
            Value::text(text)
        }
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            let Some(order) = a.order(b, separator) else {
                return Value::Error;
            };
            Value::Bool(match operator {
                Operator::Less => order.is_lt(),
                Operator::LessOrEqual => order.is_le(),
                Operator::Greater => order.is_gt(),
                _ => order.is_ge(),
            })
        }
        Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide => {
            let (Some(a), Some(b)) = (a.to_number(), b.to_number()) else {
                return Value::Error;
            };
            Value::Number(match operator {
                Operator::Add => a + b,
                Operator::Subtract => a - b,
                Operator::Multiply => a * b,
                _ => a / b,
            })
        }
    }
}
