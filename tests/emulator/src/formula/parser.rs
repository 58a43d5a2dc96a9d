//! Tokens to a tree: precedence climbing, lowest first: comparison, `&`, `+ -`, `* /`, unary minus.

use super::lexer::{tokens, Token};
use super::{Expr, FormulaError, Function, Operator};
use crate::ids::Id;
use std::ops::Range;
use std::sync::Arc;

/// A tree deeper than this is refused: evaluation recurses once per level.
const MAX_DEPTH: usize = 400;

/// Resolves the names in a formula against one table.
pub(crate) trait FieldNames {
    /// The id of the field of this name (or with this id, where formulas accept ids).
    fn field(&self, name: &str) -> Option<Id>;
}

/// A formula ready to run, and its text with field names replaced by `{fld…}` as the schema shows it.
pub(crate) struct Compiled {
    pub(crate) expr: Expr,
    pub(crate) with_ids: String,
}

/// Parses and resolves a formula.
///
/// # Errors
/// [`FormulaError`]: syntax, unknown fields (lower-cased, all of them), unknown functions, or a tree too deep.
pub(crate) fn compile(text: &str, names: &dyn FieldNames) -> Result<Compiled, FormulaError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        names,
        unknown_fields: Vec::new(),
        unknown_functions: Vec::new(),
        references: Vec::new(),
    };
    let (expr, _) = parser.expression(0, 0)?;
    if parser.at != parser.tokens.len() {
        return Err(FormulaError::Syntax);
    }
    if !parser.unknown_functions.is_empty() {
        return Err(FormulaError::UnknownFunctions(parser.unknown_functions));
    }
    if !parser.unknown_fields.is_empty() {
        return Err(FormulaError::UnknownFields(parser.unknown_fields));
    }
    Ok(Compiled {
        expr,
        with_ids: replace(text, &parser.references),
    })
}

fn replace(text: &str, references: &[(Range<usize>, Id)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (range, id) in references {
        out.push_str(text.get(copied..range.start).unwrap_or_default());
        out.push('{');
        out.push_str(id);
        out.push('}');
        copied = range.end;
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    out
}

struct Parser<'a> {
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    names: &'a dyn FieldNames,
    unknown_fields: Vec<String>,
    unknown_functions: Vec<String>,
    references: Vec<(Range<usize>, Id)>,
}

/// A tree and its height; the height bounds the recursion of evaluation, also for long operator chains.
type Tree = (Expr, usize);

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn next(&mut self) -> Option<(Token, Range<usize>)> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    fn expect(&mut self, wanted: &Token) -> Result<(), FormulaError> {
        match self.next() {
            Some((token, _)) if token == *wanted => Ok(()),
            _ => Err(FormulaError::Syntax),
        }
    }

    fn expression(&mut self, lowest: u8, depth: usize) -> Result<Tree, FormulaError> {
        if depth > MAX_DEPTH {
            return Err(FormulaError::TooComplex);
        }
        let (mut left, mut height) = self.operand(depth)?;
        while let Some(Token::Operator(operator)) = self.peek() {
            let operator = *operator;
            let precedence = precedence(operator);
            if precedence < lowest {
                break;
            }
            self.at += 1;
            let (right, right_height) = self.expression(precedence + 1, depth + 1)?;
            height = height.max(right_height) + 1;
            if height > MAX_DEPTH {
                return Err(FormulaError::TooComplex);
            }
            left = Expr::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok((left, height))
    }

    fn operand(&mut self, depth: usize) -> Result<Tree, FormulaError> {
        let (token, range) = self.next().ok_or(FormulaError::Syntax)?;
        match token {
            Token::Number(n) => Ok((Expr::Number(n), 1)),
            Token::Text(text) => Ok((Expr::Text(Arc::from(text)), 1)),
            Token::Braced(name) => Ok((self.field(&name, range), 1)),
            Token::Word(word) if self.peek() == Some(&Token::Open) => self.call(&word, depth),
            Token::Word(word) => Ok((self.bare(&word, range), 1)),
            Token::Operator(Operator::Subtract) => {
                let (inner, height) = self.expression(UNARY, depth + 1)?;
                Ok((Expr::Negate(Box::new(inner)), height + 1))
            }
            Token::Operator(Operator::Add) => self.expression(UNARY, depth + 1),
            Token::Open => {
                let inner = self.expression(0, depth + 1)?;
                self.expect(&Token::Close)?;
                Ok(inner)
            }
            Token::Operator(_) | Token::Close | Token::Comma => Err(FormulaError::Syntax),
        }
    }

    fn bare(&mut self, word: &str, range: Range<usize>) -> Expr {
        if word == "values" && self.names.field(word).is_none() {
            return Expr::Values;
        }
        self.field(word, range)
    }

    fn field(&mut self, name: &str, range: Range<usize>) -> Expr {
        if let Some(id) = self.names.field(name) {
            self.references.push((range, id.clone()));
            return Expr::Field(id);
        }
        let name = name.to_lowercase();
        if !self.unknown_fields.contains(&name) {
            self.unknown_fields.push(name);
        }
        Expr::Number(0.0)
    }

    fn call(&mut self, word: &str, depth: usize) -> Result<Tree, FormulaError> {
        self.expect(&Token::Open)?;
        let mut args = Vec::new();
        let mut height = 0;
        if self.peek() == Some(&Token::Close) {
            self.at += 1;
        } else {
            loop {
                let (arg, arg_height) = self.expression(0, depth + 1)?;
                args.push(arg);
                height = height.max(arg_height);
                match self.next() {
                    Some((Token::Comma, _)) => {}
                    Some((Token::Close, _)) => break,
                    _ => return Err(FormulaError::Syntax),
                }
            }
        }
        let Some(function) = Function::named(word) else {
            self.unknown_functions.push(word.to_owned());
            return Ok((Expr::Number(0.0), 1));
        };
        if !function.accepts(args.len()) {
            return Err(FormulaError::Syntax);
        }
        Ok((Expr::Call(function, args), height + 1))
    }
}

const UNARY: u8 = 5;

fn precedence(operator: Operator) -> u8 {
    match operator {
        Operator::Equal
        | Operator::NotEqual
        | Operator::Less
        | Operator::LessOrEqual
        | Operator::Greater
        | Operator::GreaterOrEqual => 1,
        Operator::Join => 2,
        Operator::Add | Operator::Subtract => 3,
        Operator::Multiply | Operator::Divide => 4,
    }
}
