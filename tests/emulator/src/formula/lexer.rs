//! Formula text to tokens, with their places so that field names can be replaced by ids in the schema.

use super::{FormulaError, Operator};
use std::ops::Range;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Number(f64),
    Text(String),
    /// `{Field Name}`, unescaped.
    Braced(String),
    /// A bare word: a function before `(`, else a field.
    Word(String),
    Operator(Operator),
    Open,
    Close,
    Comma,
}

/// Splits a formula into tokens and their byte ranges.
///
/// # Errors
/// [`FormulaError::Syntax`] for an unclosed literal or a character that starts nothing.
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, FormulaError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut found = Vec::new();
    loop {
        lexer.skip_while(char::is_whitespace);
        let start = lexer.at;
        let Some(c) = lexer.next() else {
            return Ok(found);
        };
        let token = match c {
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '+' => Token::Operator(Operator::Add),
            '-' => Token::Operator(Operator::Subtract),
            '*' => Token::Operator(Operator::Multiply),
            '/' => Token::Operator(Operator::Divide),
            '&' => Token::Operator(Operator::Join),
            '=' => Token::Operator(Operator::Equal),
            '!' if lexer.take('=') => Token::Operator(Operator::NotEqual),
            '<' if lexer.take('=') => Token::Operator(Operator::LessOrEqual),
            '<' => Token::Operator(Operator::Less),
            '>' if lexer.take('=') => Token::Operator(Operator::GreaterOrEqual),
            '>' => Token::Operator(Operator::Greater),
            '\'' | '"' => Token::Text(lexer.quoted(c)?),
            '{' => Token::Braced(lexer.braced()?),
            c if c.is_ascii_digit() || c == '.' => lexer.number(start)?,
            c if c.is_alphabetic() || c == '_' => {
                lexer.skip_while(|c| c.is_alphanumeric() || c == '_');
                Token::Word(text.get(start..lexer.at).unwrap_or_default().to_owned())
            }
            _ => return Err(FormulaError::Syntax),
        };
        found.push((token, start..lexer.at));
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text
            .get(self.at..)
            .and_then(|rest| rest.chars().next())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn skip_while(&mut self, accept: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&accept) {
            self.next();
        }
    }

    /// Backslash and n, t, r give the control character; backslash and anything else gives that character.
    fn quoted(&mut self, delimiter: char) -> Result<String, FormulaError> {
        let mut out = String::new();
        loop {
            match self.next().ok_or(FormulaError::Syntax)? {
                '\\' => out.push(match self.next().ok_or(FormulaError::Syntax)? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                }),
                c if c == delimiter => return Ok(out),
                c => out.push(c),
            }
        }
    }

    fn braced(&mut self) -> Result<String, FormulaError> {
        let mut out = String::new();
        loop {
            match self.next().ok_or(FormulaError::Syntax)? {
                '\\' if self.take('}') => out.push('}'),
                '}' => return Ok(out),
                c => out.push(c),
            }
        }
    }

    fn number(&mut self, start: usize) -> Result<Token, FormulaError> {
        self.skip_while(|c| c.is_ascii_digit() || c == '.');
        self.text
            .get(start..self.at)
            .and_then(|digits| digits.parse().ok())
            .map(Token::Number)
            .ok_or(FormulaError::Syntax)
    }
}
