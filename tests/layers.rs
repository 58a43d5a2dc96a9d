//! Imports run one way: the layers of `src/server` as ARCHITECTURE.md ranks them, and no circles in the crates below it.
//!
//! Sources are read as tokens, so that a path counts wherever it stands: in `use`, in a body, in a macro's arguments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module: its path below the crate or folder that is looked at, e.g. `["desk", "orders"]`; empty for the top.
type Module = Vec<String>;

/// A path as written, made absolute, and whether everything of it is taken (`::*`).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mention {
    path: Vec<String>,
    glob: bool,
    /// In an inline module, which is what tests are.
    inline: bool,
}

/// Every path in `tokens` that begins with `crate`, `self` or `super`, as seen from the module `at`.
fn mentions(tokens: TokenStream, at: &Module) -> Vec<Mention> {
    let mut found = Vec::new();
    walk(tokens, at, false, &mut found);
    found
}

fn walk(tokens: TokenStream, at: &Module, inline: bool, found: &mut Vec<Mention>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut n = 0;
    while n < tokens.len() {
        match &tokens[n] {
            TokenTree::Ident(word) if word == "mod" => {
                // An inline module is one level further down.
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(n + 1), tokens.get(n + 2))
                {
                    let mut inner = at.clone();
                    inner.push(name.to_string());
                    walk(body.stream(), &inner, true, found);
                    n += 3;
                    continue;
                }
            }
            TokenTree::Ident(word) if is_start(&word.to_string()) && !follows_path(&tokens, n) => {
                n = path(&tokens, n, Vec::new(), at, inline, found);
                continue;
            }
            TokenTree::Group(group) => walk(group.stream(), at, inline, found),
            _ => {}
        }
        n += 1;
    }
}

fn is_start(word: &str) -> bool {
    matches!(word, "crate" | "self" | "super")
}

fn is_colons(tokens: &[TokenTree], n: usize) -> bool {
    let colon =
        |t: Option<&TokenTree>| matches!(t, Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(tokens.get(n)) && colon(tokens.get(n + 1))
}

fn follows_path(tokens: &[TokenTree], n: usize) -> bool {
    n >= 2 && is_colons(tokens, n - 2)
}

/// Reads a path or a tree of them from `n` on, after `before`; the place behind it.
fn path(
    tokens: &[TokenTree],
    mut n: usize,
    mut before: Vec<String>,
    at: &Module,
    inline: bool,
    found: &mut Vec<Mention>,
) -> usize {
    let mut glob = false;
    loop {
        match tokens.get(n) {
            Some(TokenTree::Ident(word)) => before.push(word.to_string()),
            Some(TokenTree::Punct(p)) if p.as_char() == '*' => glob = true,
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let mut m = 0;
                while m < inner.len() {
                    m = path(&inner, m, before.clone(), at, inline, found);
                    // To the next branch of the tree.
                    while m < inner.len()
                        && !matches!(&inner[m], TokenTree::Punct(p) if p.as_char() == ',')
                    {
                        m += 1;
                    }
                    m += 1;
                }
                return n + 1;
            }
            _ => return n,
        }
        n += 1;
        if glob || !is_colons(tokens, n) {
            break;
        }
        n += 2;
    }
    if let Some(path) = absolute(&before, at, glob) {
        found.push(Mention { path, glob, inline });
    }
    n
}

/// `super::x`, `self::x`, `crate::x` from the module `at`; `None` for a bare word (`pub(crate)`, the value `self`).
fn absolute(path: &[String], at: &Module, glob: bool) -> Option<Vec<String>> {
    let mut base: Vec<String> = at.clone();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => {
            base.clear();
            rest = &rest[1..];
        }
        Some("self") => rest = &rest[1..],
        _ => {}
    }
    while rest.first().is_some_and(|s| s == "super") {
        base.pop();
        rest = &rest[1..];
    }
    // `use a::{self}` names `a`.
    let rest = rest.strip_suffix(&["self".to_string()]).unwrap_or(rest);
    (path.len() > 1 || glob).then(|| [base, rest.to_vec()].concat())
}

/// The modules below a folder, with their files; `prefix`: the folder's own path from its crate's root.
fn modules(root: &Path, prefix: &[&str]) -> BTreeMap<Module, PathBuf> {
    let mut found = BTreeMap::new();
    let mut open = vec![(
        root.to_path_buf(),
        prefix.iter().map(|s| s.to_string()).collect::<Module>(),
    )];
    while let Some((dir, at)) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let stem = path.file_stem().unwrap().to_string_lossy().to_string();
            let mut module = at.clone();
            if path.is_dir() {
                module.push(stem);
                open.push((path, module));
            } else if path.extension().is_some_and(|e| e == "rs") {
                if stem != "mod" && stem != "lib" {
                    module.push(stem);
                }
                found.insert(module, path);
            }
        }
    }
    found
}

/// Which of the known modules a path leads into: the longest that it begins with.
fn target(path: &[String], known: &BTreeMap<Module, PathBuf>) -> Option<Module> {
    (0..=path.len())
        .rev()
        .map(|n| path[..n].to_vec())
        .find(|m| known.contains_key(m))
}

fn tokens(file: &Path) -> TokenStream {
    let text = fs::read_to_string(file).expect("a readable file");
    text.parse()
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The block ```` ```layers ```` of ARCHITECTURE.md: a line a rank, the highest first.
fn ranks(text: &str) -> BTreeMap<String, usize> {
    let block = text
        .split("```layers\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("ARCHITECTURE.md has a block ```layers");
    let mut ranks = BTreeMap::new();
    for (rank, line) in block.lines().rev().enumerate() {
        for name in line.split_whitespace() {
            assert!(
                ranks.insert(name.to_string(), rank).is_none(),
                "{name} has two ranks"
            );
        }
    }
    ranks
}

/// The layer of a module of `src/server`: the folder or file right below it, `mod` for the top itself.
fn layer(module: &Module) -> String {
    module.get(1).map_or("mod", String::as_str).to_string()
}

#[test]
fn imports_run_down_the_layers() {
    let text = fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let ranks = ranks(&text);
    let known = modules(&repository().join("src/server"), &["server"]);
    let mut wrong = BTreeSet::new();
    for (module, file) in &known {
        let own = layer(module);
        let rank = *ranks
            .get(&own)
            .unwrap_or_else(|| panic!("{own} has no rank in ARCHITECTURE.md"));
        for mention in mentions(tokens(file), module) {
            let Some(to) = target(&mention.path, &known) else {
                continue;
            };
            let theirs = layer(&to);
            if theirs != own && ranks.get(&theirs).is_none_or(|r| *r >= rank) {
                wrong.insert(format!(
                    "{} -> {}",
                    module.join("::"),
                    mention.path.join("::")
                ));
            }
            if mention.glob && !mention.inline {
                wrong.insert(format!(
                    "{} takes everything of {}",
                    module.join("::"),
                    to.join("::")
                ));
            }
        }
    }
    let layers: BTreeSet<String> = known.keys().map(layer).collect();
    for name in ranks.keys().filter(|name| !layers.contains(*name)) {
        wrong.insert(format!("ARCHITECTURE.md ranks {name}, which is not there"));
    }
    assert!(
        wrong.is_empty(),
        "{} imports do not run down:\n{}",
        wrong.len(),
        wrong.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// What writes into the order of changes ([`podium_core::token::Tokens`]).
const SAYS_A_CHANGE: [&str; 6] = ["note", "note_entity", "note_all", "told", "lost", "doubted"];

/// Calls of [`SAYS_A_CHANGE`] on the order, `order().note(…)` or `order.note(…)`.
fn changes_said(tokens: TokenStream, found: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (n, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => changes_said(group.stream(), found),
            TokenTree::Ident(word) if word == "order" => {
                let mut rest = tokens[n + 1..].iter();
                let mut next = rest.next();
                if matches!(next, Some(TokenTree::Group(g)) if g.stream().is_empty()) {
                    next = rest.next();
                }
                let dot = matches!(next, Some(TokenTree::Punct(p)) if p.as_char() == '.');
                match rest.next() {
                    Some(TokenTree::Ident(m)) if dot && SAYS_A_CHANGE.iter().any(|s| m == s) => {
                        found.push(m.to_string());
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

#[test]
fn changes_are_said_at_the_gate_alone() {
    let known = modules(&repository().join("src/server"), &["server"]);
    let gate = ["server", "store", "change"].map(String::from).to_vec();
    let mut elsewhere = Vec::new();
    for (module, file) in &known {
        let mut found = Vec::new();
        changes_said(tokens(file), &mut found);
        if *module == gate {
            let missing: Vec<_> = SAYS_A_CHANGE
                .iter()
                .filter(|s| !found.iter().any(|f| f == *s))
                .collect();
            assert!(
                missing.is_empty(),
                "the gate says all of them, but {missing:?} was not found"
            );
        } else {
            elsewhere.extend(found.iter().map(|f| format!("{}: {f}", module.join("::"))));
        }
    }
    assert!(elsewhere.is_empty(), "not at the gate: {elsewhere:?}");
}

/// Files of one folder, and folders, import each other in one direction only. A folder's own `mod.rs` and what lies in the
/// folder belong together: it gathers them, and they share what it holds.
#[test]
fn the_crates_below_have_no_circles() {
    for (root, crate_name) in [("src/core/src", "core"), ("src/airtable/src", "airtable")] {
        let known = modules(&repository().join(root), &[]);
        let mut arrows: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        let tests = |m: &Module| m.iter().any(|name| name == "tests");
        for (module, file) in known.iter().filter(|(m, _)| !tests(m)) {
            for mention in mentions(tokens(file), module).iter().filter(|m| !m.inline) {
                let Some(to) = target(&mention.path, &known).filter(|to| !tests(to)) else {
                    continue;
                };
                // The first place where the two part: siblings.
                let shared = module.iter().zip(&to).take_while(|(a, b)| a == b).count();
                if shared < module.len() && shared < to.len() {
                    arrows
                        .entry(module[..=shared].to_vec())
                        .or_default()
                        .insert(to[..=shared].to_vec());
                }
            }
        }
        let circles: Vec<String> = arrows
            .keys()
            .filter(|from| reaches(&arrows, from))
            .map(|m| m.join("::"))
            .collect();
        assert!(
            circles.is_empty(),
            "{crate_name}: in a circle of imports: {circles:?}"
        );
    }
}

/// Does a walk along the arrows come back to where it began?
fn reaches(arrows: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> bool {
    let mut seen: BTreeSet<&Module> = BTreeSet::new();
    let mut open: Vec<&Module> = arrows.get(from).into_iter().flatten().collect();
    while let Some(m) = open.pop() {
        if m == from {
            return true;
        }
        if seen.insert(m) {
            open.extend(arrows.get(m).into_iter().flatten());
        }
    }
    false
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let source = r#"
        use crate::server::{desk::{self, orders::Order as O}, valkey::*};
        pub(crate) use super::land;
        fn f() -> super::super::reads::Thing { format!("{}", crate::server::feed::state()); self.x; }
        mod tests { use super::*; use super::super::low; }
    "#;
    let at = ["server", "writes", "step"].map(String::from).to_vec();
    let found: Vec<String> = mentions(source.parse().unwrap(), &at)
        .iter()
        .map(|m| {
            m.path.join("::")
                + if m.glob { "::*" } else { "" }
                + if m.inline { " (inline)" } else { "" }
        })
        .collect();
    assert_eq!(
        found,
        [
            "server::desk",
            "server::desk::orders::Order",
            "server::valkey::*",
            "server::writes::land",
            "server::reads::Thing",
            "server::feed::state",
            "server::writes::step::* (inline)",
            "server::writes::low (inline)",
        ]
    );
}
