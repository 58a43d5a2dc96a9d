//! The language, row by row: formula, what it gives for one fixed record.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::{compile, Evaluator, Expr, FieldNames, FormulaError, RowContext, Value};
use crate::datetime;
use crate::ids::Id;
use serde_json::{json, Value as Json};

/// A record with one field of each kind that behaves differently.
struct Fixture;

fn cell(name: &str) -> Option<Value> {
    let text = |t: &str| Value::text(t);
    Some(match name {
        "Name" => text("Apollo"),
        "Points" => Value::Number(8.0),
        "Empty" | "Undone" => Value::Blank,
        "Done" => Value::Bool(true),
        "When" => Value::Date(datetime::parse("2026-03-04").unwrap(), true),
        "At" => Value::Date(datetime::parse("2026-03-04T05:06:07.000Z").unwrap(), false),
        "Owner" => Value::Array(vec![text("Ada")]),
        "owner_id" => Value::Array(vec![text("recU5s6E7r8A9b0C1")]),
        "Tags" => Value::Array(vec![text("a"), text("b")]),
        "Scores" => Value::Array(vec![Value::Number(2.0), Value::Number(3.0)]),
        "odd } name" => text("brace"),
        _ => return None,
    })
}

impl FieldNames for Fixture {
    fn field(&self, name: &str) -> Option<Id> {
        cell(name).map(|_| Id::from(name))
    }
}

impl RowContext for Fixture {
    fn record_id(&self) -> Id {
        Id::from("recA1b2C3d4E5f6G7")
    }
    fn created_ms(&self) -> i64 {
        0
    }
    fn modified_ms(&self) -> i64 {
        datetime::parse("2026-03-04T05:06:07.000Z").unwrap()
    }
    fn now_ms(&self) -> i64 {
        datetime::parse("2026-03-05T00:00:01.000Z").unwrap()
    }
    fn field(&self, id: &Id) -> Value {
        cell(id).unwrap()
    }
    fn values(&self) -> Value {
        Value::Blank
    }
    fn separator(&self) -> &str {
        ", "
    }
}

fn compiled(formula: &str) -> Expr {
    compile(formula, &Fixture).map_or_else(|e| panic!("{formula}: {e}"), |c| c.expr)
}

fn result(formula: &str) -> Json {
    Evaluator::new(100_000)
        .run(&compiled(formula), &Fixture)
        .to_json()
}

#[test]
fn formulas_give_what_airtable_gives() {
    let error = json!({"error": "#ERROR!"});
    let yes = json!(true);
    let no = Json::Null;
    for (formula, expected) in [
        // Precedence and operators.
        ("1+2*3", json!(7)),
        ("(1+2)*3", json!(9)),
        ("2-3-4", json!(-5)),
        ("-2.5+1", json!(-1.5)),
        ("'a'&1+1&'b'", json!("a2b")),
        ("1/0", json!({"specialValue": "Infinity"})),
        ("0/0", json!({"specialValue": "NaN"})),
        ("'a'+1", error.clone()),
        (" 1\n=\t1 ", yes.clone()),
        // Literals.
        (r"'it\'s'", json!("it's")),
        (r#""a\\b\n""#, json!("a\\b\n")),
        (r"{odd \} name}", json!("brace")),
        // Comparison.
        ("{Name}='apollo'", no.clone()),
        ("Name='Apollo'", yes.clone()),
        ("{Points}=8", yes.clone()),
        ("{Points}='8'", no.clone()),
        ("{Points}!=8", no.clone()),
        ("{Points}>=8", yes.clone()),
        ("'b'>'a'", yes.clone()),
        ("{Empty}=''", yes.clone()),
        ("{Empty}=BLANK()", yes.clone()),
        ("{Empty}=0", yes.clone()),
        ("NOT({Name}='')", yes.clone()),
        ("{Done}=TRUE()", yes.clone()),
        ("{Done}=1", yes.clone()),
        ("{Undone}=FALSE()", yes.clone()),
        // Links are primary text, never ids; arrays are their joined text.
        ("{Owner}='Ada'", yes.clone()),
        ("{Owner}='recU5s6E7r8A9b0C1'", no.clone()),
        ("{owner_id}='recU5s6E7r8A9b0C1'", yes.clone()),
        ("FIND('recU5s6E7r8A9b0C1',ARRAYJOIN({owner_id}))", json!(1)),
        ("{Tags}='a, b'", yes.clone()),
        ("ARRAYJOIN({Tags},'|')", json!("a|b")),
        ("SUM({Scores})", json!(5)),
        ("MAX({Scores},1)", json!(3)),
        // Logic.
        ("AND(1,{Name},{Done})", yes.clone()),
        ("AND(1,{Empty})", no.clone()),
        ("OR({Empty},{Undone})", no.clone()),
        ("XOR(1,1,1)", yes.clone()),
        ("IF({Done},'y','n')", json!("y")),
        ("IF({Undone},'y')", no.clone()),
        ("SWITCH({Points},1,'a',8,'b','c')", json!("b")),
        ("ISERROR(ERROR())", yes.clone()),
        ("IF(ISERROR('a'+1),'caught')", json!("caught")),
        ("ERROR()=1", error.clone()),
        // Text.
        ("RECORD_ID()", json!("recA1b2C3d4E5f6G7")),
        ("record_id()=RECORD_ID()", yes.clone()),
        ("FIND('l','Apollo')", json!(4)),
        ("FIND('l','Apollo',5)", json!(5)),
        ("FIND('é','aéé',3)", json!(3)),
        ("FIND('L','Apollo')", json!(0)),
        ("SEARCH('L','Apollo')", json!(4)),
        ("SEARCH('x','Apollo')", no.clone()),
        ("LOWER(TRIM('  ÄB '))", json!("äb")),
        ("LEN('äb')", json!(2)),
        (
            "LEFT('abc',2)&RIGHT('abc',2)&MID('abc',2,1)",
            json!("abbcb"),
        ),
        ("SUBSTITUTE('aXbX','X','-')", json!("a-b-")),
        ("SUBSTITUTE('aXbX','X','-',2)", json!("aXb-")),
        ("CONCATENATE('a',1,{Tags})", json!("a1a, b")),
        ("VALUE('$1200.5')", json!(1200.5)),
        ("REGEX_MATCH('a12','^[a-z][0-9]+$')", yes.clone()),
        ("REGEX_REPLACE('a1b2','[0-9]','')", json!("ab")),
        ("REGEX_MATCH('a','(')", error.clone()),
        ("REPT('x',99999999)", error),
        // Dates.
        ("{When}=DATETIME_PARSE('2026-03-04')", yes.clone()),
        (
            "{At}=DATETIME_PARSE('2026-03-04T05:06:07.000Z')",
            yes.clone(),
        ),
        ("IS_SAME({At},'2026-03-04','day')", yes.clone()),
        ("IS_SAME({At},'2026-03-04')", no.clone()),
        ("IS_SAME({At},'2026-03-01','week')", yes.clone()),
        ("{When}='2026-03-04'", no.clone()),
        ("{At}='2026-03-04T05:06:07.000Z'", no.clone()),
        ("FIND('2026-03-04',{At})", json!(1)),
        (
            "IS_AFTER(LAST_MODIFIED_TIME(),DATETIME_PARSE('2026-03-04T05:06:06.999Z'))",
            yes,
        ),
        ("IS_BEFORE(CREATED_TIME(),{At})", json!(true)),
        ("IS_AFTER({Empty},{At})", no),
        (
            "DATETIME_FORMAT({At},'YYYY-MM-DD HH:mm')",
            json!("2026-03-04 05:06"),
        ),
        (
            "DATEADD({When},-1,'months')",
            json!("2026-02-04T00:00:00.000Z"),
        ),
        (
            "DATEADD('2026-01-31',1,'month')",
            json!("2026-02-28T00:00:00.000Z"),
        ),
        ("DATETIME_DIFF({At},{When},'hours')", json!(5)),
        ("TODAY()", json!("2026-03-05")),
        ("WEEKDAY({When})", json!(3)),
    ] {
        assert_eq!(result(formula), expected, "{formula}");
    }
}

#[test]
fn what_is_unknown_is_refused_and_named() {
    let fields = |names: &[&str]| {
        FormulaError::UnknownFields(names.iter().map(|n| (*n).to_owned()).collect())
    };
    for (formula, expected) in [
        ("{Stagee}=foo", fields(&["stagee", "foo"])),
        ("{Name}=recA1b2C3d4E5f6G7", fields(&["reca1b2c3d4e5f6g7"])),
        (
            "BAD(1)",
            FormulaError::UnknownFunctions(vec!["BAD".to_owned()]),
        ),
        ("1==1", FormulaError::Syntax),
        ("'open", FormulaError::Syntax),
        ("AND(1,)", FormulaError::Syntax),
        ("{Name}='a' && 1", FormulaError::Syntax),
        ("NOT(1,2)", FormulaError::Syntax),
        ("", FormulaError::Syntax),
        ("1 2", FormulaError::Syntax),
    ] {
        assert_eq!(
            compile(formula, &Fixture).err(),
            Some(expected),
            "{formula}"
        );
    }
}

#[test]
fn depth_and_work_are_bounded() {
    let deep = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(compile(&deep(300), &Fixture).is_ok());
    assert_eq!(
        compile(&deep(100_000), &Fixture).err(),
        Some(FormulaError::TooComplex)
    );
    let chain = vec!["1"; 5000].join("+");
    assert_eq!(
        compile(&chain, &Fixture).err(),
        Some(FormulaError::TooComplex)
    );
    let evaluator = Evaluator::new(10);
    assert_eq!(
        evaluator.run(&compiled("SUM(1,2,3,4,5,6,7,8,9,10,11)"), &Fixture),
        Value::Error
    );
    assert!(evaluator.is_exhausted());
}

#[test]
fn a_filter_on_ids_names_its_candidates() {
    for (formula, expected) in [
        ("RECORD_ID()='recA'", Some(vec!["recA"])),
        (
            "OR(RECORD_ID()='recA','recB'=RECORD_ID())",
            Some(vec!["recA", "recB"]),
        ),
        (
            "AND({Points}>1,OR(RECORD_ID()='recA',RECORD_ID()='recB'))",
            Some(vec!["recA", "recB"]),
        ),
        ("OR(RECORD_ID()='recA',{Points}=8)", None),
        ("NOT(RECORD_ID()='recA')", None),
        ("RECORD_ID()!='recA'", None),
    ] {
        let found = compiled(formula).record_ids();
        let found = found
            .as_ref()
            .map(|ids| ids.iter().map(|id| &**id).collect::<Vec<_>>());
        assert_eq!(found, expected, "{formula}");
    }
}

#[test]
fn the_schema_shows_field_ids() {
    struct Names;
    impl FieldNames for Names {
        fn field(&self, name: &str) -> Option<Id> {
            (name == "Na me" || name == "x").then(|| Id::from("fld1"))
        }
    }
    let compiled = compile("CONCATENATE({Na me}, x, '{x}')", &Names).unwrap();
    assert_eq!(compiled.with_ids, "CONCATENATE({fld1}, {fld1}, '{x}')");
}

#[test]
fn what_is_not_known_for_certain_fails_where_that_is_asked_for() {
    let mut strict = Evaluator::new(100_000);
    strict.be_strict(true);
    let error = json!({"error": "#ERROR!"});
    for (formula, expected) in [
        ("{Name}=8", error.clone()),
        ("{Points}='8'", error.clone()),
        ("{Points}=8", json!(true)),
        ("{Points}=''", Json::Null),
        ("{Name}=''", Json::Null),
        ("OR({Name}='Apollo',{Name}=8)", error.clone()),
        (
            "OR({Name}='Apollo',IF(ISERROR({Name}=8),FALSE(),{Name}=8))",
            json!(true),
        ),
        ("FIND('a',{Tags})", error.clone()),
        ("FIND('a',{Tags}&'')", json!(1)),
        ("ARRAYJOIN({Name})", error.clone()),
        (
            "IS_SAME({Name},DATETIME_PARSE('2026-03-04'),'day')",
            error.clone(),
        ),
        (
            "IS_SAME({When},DATETIME_PARSE('2026-03-04'),'day')",
            json!(true),
        ),
        ("IS_SAME({Empty},{At},'day')", error),
        ("{When}&''", json!("3/4/2026")),
        ("{At}&''", json!("3/4/2026 5:06")),
        ("'['&TRIM('  a\tb\t ')&']'", json!("[a\tb\t]")),
    ] {
        assert_eq!(
            strict.run(&compiled(formula), &Fixture).to_json(),
            expected,
            "{formula}"
        );
    }
}
