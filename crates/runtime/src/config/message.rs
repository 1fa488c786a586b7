//! One clear line for whatever is wrong with options.

use std::ffi::OsString;

use clap::{
    Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{Lower, Origin, Role, options_of};

/// What a clap error says, in one line, without usage.
#[must_use]
pub fn one_line(error: &Error) -> String {
    let text = error.to_string();
    let mut line = String::new();
    for part in text.lines() {
        let part = part.trim();
        if part.starts_with("Usage:") || part.starts_with("For more information") {
            break;
        }
        let part = part.trim_start_matches("error: ").trim_start_matches("tip: ");
        if part.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push_str(if line.ends_with(':') || part.starts_with('[') { " " } else { "; " });
        }
        line.push_str(part);
    }
    line
}

/// What is wrong with options, and where the wrong value comes from.
pub(super) fn about(error: &Error, command: &Command, role: Role, lower: &Lower, args: &[OsString]) -> String {
    let invalid = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => name.clone(),
        _ => String::new(),
    };
    if error.kind() == ErrorKind::UnknownArgument && invalid.starts_with('-') {
        return unknown_option(command, role, &invalid);
    }
    let long = invalid.trim_start_matches("--").split([' ', '=', '[']).next().unwrap_or_default();
    let on_line = args.iter().any(|word| {
        let word = word.to_string_lossy();
        word.strip_prefix("--").is_some_and(|flag| flag.split('=').next() == Some(long))
    });
    let found = options_of(command).find(|argument| argument.get_long() == Some(long));
    let below = found.and_then(|argument| lower.get(argument.get_id().as_str())).filter(|_| !on_line);
    let line = one_line(error);
    match below {
        Some((Origin::Environment(name), _)) => format!("{}: {name}: {line}", role.display),
        Some((Origin::File(path, key), _)) => format!("{}: {}: {key}: {line}", role.display, path.display()),
        _ => format!("{}: {line}", role.display),
    }
}

fn unknown_option(command: &Command, role: Role, flag: &str) -> String {
    let names =
        options_of(command).filter(|argument| !argument.is_hide_set()).filter_map(|argument| argument.get_long());
    let hint = match nearest(flag.trim_start_matches('-'), names) {
        Some(name) => format!("; did you mean --{name}?"),
        None => String::new(),
    };
    format!("{}: there is no option {flag}{hint} ({} --help lists all)", role.display, role.display)
}

/// The name that was probably meant.
#[must_use]
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.map(|name| {
        // A beginning, or a part of the right one, is nearer than its length says.
        let part = word.len() >= 3 && (name.starts_with(word) || name.ends_with(word) || word.ends_with(name));
        (if part { 1 } else { distance(word, name) }, name)
    });
    scored.filter(|(far, name)| *far <= 1 + name.len().min(word.len()) / 4).min().map(|(_, name)| name)
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}
