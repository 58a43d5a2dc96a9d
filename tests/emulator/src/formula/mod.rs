//! Airtable's formula language: text → tokens → tree → value.
//!
//! [`compile`] refuses whatever it does not know (syntax, functions, fields), so that a wrong filter is a 422 and never
//! "matches everything".

mod dates;
mod eval;
mod functions;
mod lexer;
mod parser;
mod strict;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use eval::{Evaluator, RowContext};
pub(crate) use functions::Function;
pub(crate) use parser::{compile, FieldNames};
pub(crate) use value::{number_json, Value, JOIN_LIMIT};

use crate::ids::Id;
use std::sync::Arc;

/// A compiled formula. Field references are resolved to field ids.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Number(f64),
    Text(Arc<str>),
    Field(Id),
    /// The `values` of a rollup's aggregation.
    Values,
    Negate(Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Join,
}

/// Why a formula was refused; [`std::fmt::Display`] gives Airtable's sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FormulaError {
    Syntax,
    UnknownFields(Vec<String>),
    UnknownFunctions(Vec<String>),
    TooComplex,
}

impl std::fmt::Display for FormulaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax => f.write_str("Invalid formula. Please check your formula text."),
            Self::UnknownFields(names) => write!(f, "Unknown field names: {}", names.join(", ")),
            Self::UnknownFunctions(names) => {
                write!(f, "Unknown function names: {}", names.join(", "))
            }
            Self::TooComplex => f.write_str("The formula is too complex to evaluate."),
        }
    }
}

impl Expr {
    /// Every field the formula reads, repeats included.
    pub(crate) fn fields(&self) -> Vec<&Id> {
        let mut found = Vec::new();
        let mut pending = vec![self];
        while let Some(expr) = pending.pop() {
            match expr {
                Self::Field(id) => found.push(id),
                Self::Negate(inner) => pending.push(inner),
                Self::Binary(_, a, b) => pending.extend([a.as_ref(), b.as_ref()]),
                Self::Call(_, args) => pending.extend(args),
                Self::Number(_) | Self::Text(_) | Self::Values => {}
            }
        }
        found
    }

    /// Whether any call in the tree is to `function`.
    pub(crate) fn calls(&self, function: Function) -> bool {
        match self {
            Self::Call(f, args) => *f == function || args.iter().any(|a| a.calls(function)),
            Self::Negate(inner) => inner.calls(function),
            Self::Binary(_, a, b) => a.calls(function) || b.calls(function),
            _ => false,
        }
    }

    /// The only record ids for which the formula can be true, when its shape tells: `RECORD_ID()='…'`, an OR of such,
    /// an AND with one such. A batch of 500 ids then costs 500 look-ups instead of a walk over the table.
    pub(crate) fn record_ids(&self) -> Option<Vec<Arc<str>>> {
        match self {
            Self::Binary(Operator::Equal, a, b) => match (a.as_ref(), b.as_ref()) {
                (Self::Call(Function::RecordId, _), Self::Text(id))
                | (Self::Text(id), Self::Call(Function::RecordId, _)) => Some(vec![id.clone()]),
                _ => None,
            },
            Self::Call(Function::Or, args) => {
                let mut all = Vec::with_capacity(args.len());
                for arg in args {
                    all.extend(arg.record_ids()?);
                }
                Some(all)
            }
            Self::Call(Function::And, args) => args
                .iter()
                .filter_map(Self::record_ids)
                .min_by_key(Vec::len),
            _ => None,
        }
    }
}
