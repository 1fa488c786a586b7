//! The option ladder: defaults, then a config file, then `MESOS_<OPTION>`, then flags.
//!
//! Options are declared once, as clap arguments. The lower rungs are put below the command line as the
//! arguments' defaults, so that every value is checked by the same parser, wherever it comes from.
//!
//! # Layout
//! - `args`: `--work_dir` is `--work-dir`; flags of Apache Mesos that are not ours.
//! - `file`: config files and their keys.
//! - `message`: one clear line for whatever is wrong.
//! - [`options`]: options that every role has.

mod args;
mod file;
mod message;
pub mod options;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};
use serde_json::{Value, json};

pub use args::normalise;
pub use message::{nearest, one_line};

/// A role: what has options.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// As the user calls it: `mesos master`.
    pub display: &'static str,
    /// Names of its config file without folder and suffix, for example `mesos-master`; below `/etc` the
    /// ones that begin with `mesos-` count, below `/etc/mesos` all.
    pub files: &'static [&'static str],
}

/// What lies around a process and decides about its options.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `/`, below which `etc` is.
    pub root: PathBuf,
    /// The environment.
    pub env: BTreeMap<String, String>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Surroundings {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Surroundings { root: PathBuf::from("/"), env: std::env::vars_os().filter_map(text).collect() }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A config file and the key in it.
    File(PathBuf, String),
    /// A variable of the environment.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, key) => write!(f, "{} ({key})", path.display()),
            Origin::Environment(name) => write!(f, "environment ({name})"),
            Origin::Flag => f.write_str("command line"),
        }
    }
}

/// Why there are no options to go on with.
#[derive(Debug)]
pub enum Stop {
    /// Help, the version or the options in force were asked for: to be printed, exit status 0.
    Print(String),
    /// Something is wrong: one line for stderr, exit status 2.
    Wrong(String),
}

/// Options in force.
#[derive(Debug)]
pub struct Resolved {
    /// To make the options' structs of.
    pub matches: ArgMatches,
    /// What was read though it means nothing here, one line each.
    pub warnings: Vec<String>,
    /// The config file that was read.
    pub file: Option<PathBuf>,
    command: Command,
    lower: Lower,
}

/// Values from below the command line: by the argument's id.
type Lower = BTreeMap<String, (Origin, Vec<String>)>;

/// Finds the options in force for `args` (without the program's name).
///
/// # Errors
/// With what is to be said instead of going on.
pub fn resolve(command: Command, role: Role, args: &[OsString], around: &Surroundings) -> Result<Resolved, Stop> {
    let command = command.no_binary_name(true).disable_help_subcommand(true);
    let mut warnings = Vec::new();
    let args = args::understood(&command, role, args, &mut warnings).map_err(Stop::Wrong)?;
    let mut lower = Lower::new();
    let file = file::find(&command, role, &args, around).map_err(Stop::Wrong)?;
    if let Some(path) = &file {
        for (id, key, values) in file::read(&command, path, &mut warnings).map_err(Stop::Wrong)? {
            lower.insert(id, (Origin::File(path.clone(), key), values));
        }
    }
    from_environment(&command, around, &mut lower);
    let laid = lay_below(command, &lower);
    match laid.clone().try_get_matches_from(&args) {
        Ok(matches) => Ok(Resolved { matches, warnings, file, command: laid, lower }),
        Err(error) if !error.use_stderr() => Err(Stop::Print(error.to_string())),
        Err(error) => Err(Stop::Wrong(message::about(&error, &laid, role, &lower, &args))),
    }
}

fn from_environment(command: &Command, around: &Surroundings, lower: &mut Lower) {
    for argument in options_of(command) {
        let Some(name) = argument.get_long().map(variable) else { continue };
        // A variable that is set to nothing counts as not set, as charts and unit files leave them.
        if let Some(value) = around.env.get(&name).filter(|value| !value.is_empty()) {
            lower.insert(argument.get_id().to_string(), (Origin::Environment(name), vec![value.clone()]));
        }
    }
}

/// The variable of an option: `work-dir` is `MESOS_WORK_DIR`.
fn variable(long: &str) -> String {
    format!("MESOS_{}", long.replace('-', "_").to_ascii_uppercase())
}

fn lay_below(command: Command, lower: &Lower) -> Command {
    lower.iter().fold(command, |command, (id, (_, values))| {
        command.mut_arg(id, |argument| {
            let argument = if is_switch(&argument) {
                argument.value_parser(clap::builder::BoolishValueParser::new())
            } else {
                argument
            };
            argument.required(false).default_values(values.clone())
        })
    })
}

fn is_switch(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::SetFalse)
}

/// The arguments that are options with a long name, `--help` and `--version` left out.
fn options_of(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| {
        let other = matches!(
            argument.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        argument.get_long().is_some() && !other
    })
}

impl Resolved {
    /// Where an option's value comes from; `id` is the name of its field.
    #[must_use]
    pub fn origin(&self, id: &str) -> Origin {
        match (self.matches.value_source(id), self.lower.get(id)) {
            (Some(ValueSource::CommandLine), _) => Origin::Flag,
            (_, Some((origin, _))) => origin.clone(),
            _ => Origin::Default,
        }
    }

    /// All options in force and where they come from, as JSON. Passwords are not shown.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut options = serde_json::Map::new();
        for argument in options_of(&self.command) {
            let (id, Some(long)) = (argument.get_id().as_str(), argument.get_long()) else { continue };
            if matches!(id, "dump_config" | "terminate") || argument.is_hide_set() {
                continue;
            }
            let raw = self.matches.get_raw(id).into_iter().flatten();
            let mut values: Vec<Value> = raw.map(|value| typed(argument, &value.to_string_lossy())).collect();
            let value = match (argument.get_action(), values.len()) {
                (ArgAction::Append, _) => Value::Array(values),
                (_, 0) => Value::Null,
                (_, 1) => values.remove(0),
                _ => Value::Array(values),
            };
            options.insert(long.replace('-', "_"), json!({"value": value, "from": self.origin(id).to_string()}));
        }
        let dump = json!({"config_file": self.file, "options": options});
        serde_json::to_string_pretty(&dump).unwrap_or_default()
    }
}

fn typed(argument: &Arg, text: &str) -> Value {
    if is_switch(argument) {
        return Value::Bool(text == "true");
    }
    let secret = argument.get_long().is_some_and(|long| long.ends_with("token") || long.ends_with("password"));
    if secret {
        return Value::String("***".to_owned());
    }
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => json!(number),
        _ => Value::String(without_password(text)),
    }
}

/// A URL, or several with commas between, with any password replaced.
#[must_use]
pub fn without_password(urls: &str) -> String {
    let hide = |url: &str| {
        let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
        let authority = rest.find('/').unwrap_or(rest.len());
        let Some(at) = rest[..authority].rfind('@') else { return url.to_owned() };
        // Without a colon it is a user, or a token in the user's place: not for other eyes either way.
        let user = rest[..at].split_once(':').map_or("***", |(user, _)| user);
        format!("{scheme}://{user}:***{}", &rest[at..])
    };
    urls.split(',').map(hide).collect::<Vec<_>>().join(",")
}

/// A span of time as options take it: `15s`, `500ms`, `2weeks`, `0`.
///
/// # Errors
/// Says what is expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text.trim())
        .map_err(|error| format!("{error}; expected a number with a unit, for example 15s, 500ms or 10min"))
}

/// Makes a relative path absolute, so that it stays right whatever the process does later.
///
/// # Errors
/// If there is no current directory.
pub fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
