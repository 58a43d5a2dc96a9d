//! ACL users whose rules name Podium's commands.
//!
//! When a module goes, the server goes through the rules of all users anew; on one that names a command which went with the
//! module, Valkey 8.0 aborts. So Podium stays as long as there is such a rule.

use crate::server::valkey::ffi::{self, Ctx};

/// What all our commands' names begin with.
const OURS: &str = "podium.";
/// So many are named in a message.
const NAMED: usize = 5;

/// Why the module cannot go: who names its commands, and what to do. `None`: nobody does.
pub(crate) fn in_the_way(ctx: Ctx) -> Option<String> {
    let lines = ffi::call(ctx, c"ACL", false, &[b"LIST"]).texts();
    let found: Vec<(&str, &str)> = lines.iter().flat_map(|line| naming(line)).collect();
    let (user, rule) = found.first()?;
    let shown: Vec<String> = found
        .iter()
        .take(NAMED)
        .map(|(user, rule)| format!("user {user} has {rule}"))
        .collect();
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let undo = if rule.starts_with('-') {
        "nocommands"
    } else {
        "-@all"
    };
    Some(format!(
        "ACL rules name its commands ({}{more}). Give the users' rights anew without them first, e.g. ACL SETUSER {user} {undo} +@podium (a rule on a category may stay), or ACL DELUSER {user}",
        shown.join(", ")
    ))
}

/// The rules of one line of ACL LIST that name a command of ours, with the user's name.
fn naming(line: &str) -> Vec<(&str, &str)> {
    let mut words = line.split_ascii_whitespace();
    let user = match (words.next(), words.next()) {
        (Some("user"), Some(user)) => user,
        _ => return Vec::new(),
    };
    words
        .map(|word| word.trim_start_matches('(').trim_end_matches(')'))
        .filter(|word| {
            let named = word.strip_prefix('+').or_else(|| word.strip_prefix('-'));
            named
                .and_then(|name| name.get(..OURS.len()))
                .is_some_and(|start| start.eq_ignore_ascii_case(OURS))
        })
        .map(|rule| (user, rule))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_name_a_command_of_ours_are_found() {
        for (line, rules) in [
            ("user web on #ab ~* resetchannels -@all +podium.get", &["+podium.get"][..]),
            ("user web off nopass sanitize-payload ~* &* +@all -podium.get", &["-podium.get"]),
            ("user web on -@all +podium.spec|set +get", &["+podium.spec|set"]),
            ("user web on -@all (~x resetchannels -@all +podium.get) (+PODIUM.MGET)", &["+podium.get", "+PODIUM.MGET"]),
            ("user default on nopass ~* &* +@all", &[]),
            ("user web on ~podium.get %R~+podium.get &+podium.x -@all +@podium -@podium +podiumx", &[]),
            ("user podium.get on -@all", &[]),
            ("", &[]),
            ("nonsense +podium.get", &[]),
        ] {
            let found: Vec<&str> = naming(line).into_iter().map(|(_, rule)| rule).collect();
            assert_eq!(found, rules, "{line}");
        }
    }
}
