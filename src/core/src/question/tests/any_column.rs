//! What is asked upstream.

use super::*;

const T: &str = "({f}&'')";

/// `T` in place of the column's text.
fn short(formula: String) -> String {
    formula.replace(T, "T")
}

#[test]
fn a_value_is_found_in_a_column_of_any_type() {
    let text = || json!({"type": "string"});
    let trimmed = json!({"type": "string", "normalize": ["trim", "lower"]});
    let rows = [
        (
            "text, or one of several",
            text(),
            "open",
            "OR(T='open',AND(FIND(',',T),FIND('open',T)))",
        ),
        (
            "lower-cased",
            json!({"type": "string", "normalize": ["lower"]}),
            "Open",
            "OR(LOWER(T)='open',AND(FIND(',',T),FIND('open',LOWER(T))))",
        ),
        (
            "trimmed: blanks of any kind around it",
            trimmed.clone(),
            " A@B.c",
            "FIND('a@b.c',LOWER(T))",
        ),
        ("nothing but blanks", trimmed, "", "UPPER(T)=LOWER(T)"),
        ("quotes", text(), "it's \"x", "FIND('it\\'s ',T)"),
        ("with a comma", text(), "a, b", "FIND('a, b',T)"),
        ("empty", text(), "", "{f}=''"),
        ("a line break", text(), "a\nbcd", "FIND('bcd',T)"),
        ("a NUL", text(), "\0", "NOT({f}='')"),
        ("what was mended", text(), "ab\u{fffd}", "FIND('ab',T)"),
        (
            "letters beyond ASCII, lower-cased",
            json!({"type": "string", "normalize": ["lower"]}),
            "Ärger in Köln",
            "FIND('rger in k',LOWER(T))",
        ),
        (
            "default, and what came to nothing",
            json!({"type": "string", "default": "open"}),
            "open",
            "OR(IF(ISERROR({f}=''),TRUE(),{f}=''),IF(ISERROR(OR(FIND('#ERROR',T),FIND('NaN',T),FIND('Infinity',T))),FALSE(),OR(FIND('#ERROR',T),FIND('NaN',T),FIND('Infinity',T))),\
             IF(ISERROR(OR(T='open',AND(FIND(',',T),FIND('open',T)))),FALSE(),OR(T='open',AND(FIND(',',T),FIND('open',T)))))",
        ),
        (
            "a text, or a number",
            text(),
            "94",
            "OR(OR(T='94',AND(FIND(',',T),FIND('94',T))),IF(ISERROR({f}=94),FALSE(),{f}=94))",
        ),
        (
            "a number, or texts of it",
            json!({"type": ["string", "number"]}),
            "8.50",
            "OR(IF(ISERROR({f}=8.5),FALSE(),{f}=8.5),AND(NOT(IF(ISERROR({f}=VALUE(T)),FALSE(),{f}=VALUE(T))),\
             OR(FIND('8.5',T),FIND(',',T),FIND('%',T),FIND('e',LOWER(T)))))",
        ),
        (
            "a number beyond all columns",
            json!({"type": ["string", "number"]}),
            "1e999",
            "NOT({f}='')",
        ),
        (
            "true",
            json!({"type": "boolean"}),
            "true",
            "OR(IF(ISERROR({f}=TRUE()),FALSE(),{f}=TRUE()),NOT(OR(T='',T='0',LOWER(T)='false')))",
        ),
        (
            "a day that the model calls a text",
            text(),
            "2026-03-04",
            "OR(OR(T='2026-03-04',AND(FIND(',',T),FIND('2026-03-04',T))),\
             OR(IF(ISERROR(IS_SAME({f},DATETIME_PARSE('2026-03-04'),'day')),FALSE(),IS_SAME({f},DATETIME_PARSE('2026-03-04'),'day')),\
             FIND('2026-03-04',T),AND(NOT(T=''),NOT(AND(MID(T,5,1)='-',MID(T,8,1)='-')))))",
        ),
        (
            "a time, written anywhere",
            json!({"type": "string", "format": "date-time"}),
            "2026-03-01T01:00:00.1234+02:00",
            "OR(IF(ISERROR(IS_SAME({f},DATETIME_PARSE('2026-02-28T23:00:00.123Z'),'second')),FALSE(),IS_SAME({f},DATETIME_PARSE('2026-02-28T23:00:00.123Z'),'second')),\
             FIND('2026-02-27',T),FIND('2026-02-28',T),FIND('2026-03-01',T),AND(NOT(T=''),NOT(AND(MID(T,5,1)='-',MID(T,8,1)='-'))))",
        ),
        (
            "choices",
            json!({"type": "array", "items": {"type": "string"}}),
            "a",
            "OR(FIND('a',T),IF(ISERROR(FIND('a',ARRAYJOIN({f}))),FALSE(),FIND('a',ARRAYJOIN({f}))))",
        ),
        ("an object", json!({"type": "object"}), "{}", "NOT({f}='')"),
        (
            "a cell's JSON",
            json!({}),
            "{\"error\":\"#ERROR!\"}",
            "IF(ISERROR(NOT({f}='')),TRUE(),NOT({f}=''))",
        ),
    ];
    for (name, property, value, expected) in rows {
        assert_eq!(short(asked(&one(property), value)), expected, "{name}");
    }
}

#[test]
fn a_column_that_is_known_to_hold_dates_is_asked_by_the_date() {
    let text = || json!({"type": "string"});
    let rows = [
        (
            text(),
            "2026-03-04",
            "AND(NOT({f}=''),IF(ISERROR(IS_SAME({f},DATETIME_PARSE('2026-03-04'),'day')),TRUE(),IS_SAME({f},DATETIME_PARSE('2026-03-04'),'day')))",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            "2026-03-04T05:06:07Z",
            "AND(NOT({f}=''),IF(ISERROR(IS_SAME({f},DATETIME_PARSE('2026-03-04T05:06:07.000Z'),'second')),TRUE(),IS_SAME({f},DATETIME_PARSE('2026-03-04T05:06:07.000Z'),'second')))",
        ),
        (text(), "open", "OR(T='open',AND(FIND(',',T),FIND('open',T)))"),
    ];
    for (property, value, expected) in rows {
        let formula = asked_of(&one(property), value, Column::Date);
        assert_eq!(short(formula), expected);
    }
}

#[test]
fn a_column_that_users_fill_has_no_cell_that_came_to_nothing() {
    let number = json!({"type": "number", "default": 0});
    let f = asked_of(&one(number), "0", Column::Plain);
    assert!(
        f.starts_with("OR({f}='',IF(ISERROR(OR(IF(ISERROR({f}=0),FALSE(),{f}=0),")
            && !f.contains("NaN"),
        "{f}"
    );
    let name = json!({"type": "string", "airtable": "F } 1"});
    assert!(asked(&one(name), "x").starts_with("OR(({F \\} 1}&'')='x',"));
}

#[test]
fn an_id_is_asked_for_by_its_text_and_through_the_lookup() {
    let id = "recA1b2C3d4E5f6G7";
    let own = format!("FIND('{id}',T)");
    let listed = format!("FIND('{id}',ARRAYJOIN({{f_id}}))");
    let both = format!("OR({own},IF(ISERROR({listed}),FALSE(),{listed}))");
    for property in [
        json!({"type": ["string", "null"]}),
        json!({"type": "array", "items": {"type": "string"}}),
        json!({}),
    ] {
        let s = one(property);
        assert_eq!(short(asked(&s, id)), both);
        let plain = formula(&s, 0, id.as_bytes(), Through::Own, Column::Unknown).unwrap();
        assert_eq!(short(plain), own);
    }
    assert_eq!(
        asked(&one(link()), "recA1"),
        "FIND('recA1',ARRAYJOIN({f_id}))"
    );
    let s = spec_of(
        json!({"schema": {"properties": {"voter": link()}}, "index_to_airtable": {"voter": "user_id"}}),
    );
    assert_eq!(asked(&s, "recA1"), "FIND('recA1',ARRAYJOIN({user_id}))");
    let text = one(json!({"type": "string"}));
    assert_eq!(asked_of(&text, id, Column::Link), listed);
    let f = s.get(0).unwrap();
    assert_eq!(filled_formula(f), "NOT({voter}='')");
    assert_eq!(
        shown_formula(f, "recA", "recB"),
        "AND(RECORD_ID()='recA',FIND('recB',({voter}&'')))"
    );
}

#[test]
fn what_is_taken_for_an_id() {
    let text = one(json!({"type": "string"}));
    let open = spec_of(json!({"indexed": ["f", "f_id"]}));
    let is = |s: &Spec, value: &str| by_id(s.get(0).unwrap(), value);
    assert_eq!(is(&text, "recA1b2C3d4E5f6G7"), ById::Perhaps);
    assert_eq!(is(&text, "recipe"), ById::No);
    assert_eq!(is(&open, "recipe"), ById::Perhaps);
    assert_eq!(is(&one(link()), "recA"), ById::Declared);
    assert_eq!(lookup(open.get(0).unwrap()).as_deref(), Some("f_id"));
    assert_eq!(lookup(open.get(1).unwrap()), None);
}
