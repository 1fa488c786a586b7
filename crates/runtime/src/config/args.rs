//! The command line before clap sees it.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

use super::Role;

/// Writes long flags with `-` where they have `_`; values, and what belongs to a program that is to be
/// run, stay as they are.
#[must_use]
pub fn normalise(command: &Command, args: &[OsString]) -> Vec<OsString> {
    let mut walk = Walk::new(command, args);
    let mut normal = Vec::with_capacity(args.len());
    while let Some(word) = walk.next() {
        match word {
            Word::Long { name, value, .. } => normal.push(joined(&name, value)),
            Word::Other(word) => normal.push(word.clone()),
        }
    }
    normal
}

/// As [`normalise`]; also takes out flags of Apache Mesos that mean nothing here, with a warning each.
///
/// # Errors
/// For a flag of Apache Mesos that must not be passed over; says what to use instead.
pub(super) fn understood(
    command: &Command,
    role: Role,
    args: &[OsString],
    warnings: &mut Vec<String>,
) -> Result<Vec<OsString>, String> {
    let mut walk = Walk::new(command, args);
    let mut kept = Vec::with_capacity(args.len());
    while let Some(word) = walk.next() {
        match word {
            Word::Other(word) => kept.push(word.clone()),
            Word::Long { name, value, known: true } => kept.push(joined(&name, value)),
            Word::Long { name, value, known: false } => {
                let text = value.and_then(OsStr::to_str).or_else(|| walk.peek_value());
                match of_mesos(&name, text) {
                    None => kept.push(joined(&name, value)),
                    Some(Mesos::Instead(advice)) => return Err(format!("{}: --{name}: {advice}", role.display)),
                    Some(Mesos::Ignored(why)) => {
                        if value.is_none() && walk.peek_value().is_some() {
                            walk.skip();
                        }
                        warnings.push(format!("--{name} is ignored: {why}"));
                    }
                }
            }
        }
    }
    Ok(kept)
}

fn joined(name: &str, value: Option<&OsStr>) -> OsString {
    let mut flag = OsString::from(format!("--{name}"));
    if let Some(value) = value {
        flag.push("=");
        flag.push(value);
    }
    flag
}

enum Word<'a> {
    Long { name: String, value: Option<&'a OsStr>, known: bool },
    Other(&'a OsString),
}

/// Goes through a command line as clap will.
struct Walk<'a> {
    command: &'a Command,
    args: &'a [OsString],
    at: usize,
    value_is_next: bool,
    verbatim: bool,
}

impl<'a> Walk<'a> {
    fn new(command: &'a Command, args: &'a [OsString]) -> Self {
        Walk { command, args, at: 0, value_is_next: false, verbatim: false }
    }

    fn next(&mut self) -> Option<Word<'a>> {
        let word = self.args.get(self.at)?;
        self.at += 1;
        if self.verbatim || std::mem::take(&mut self.value_is_next) {
            return Some(Word::Other(word));
        }
        let text = word.to_string_lossy();
        if let Some(flag) = text.strip_prefix("--") {
            if flag.is_empty() {
                self.verbatim = true;
                return Some(Word::Other(word));
            }
            let name = flag.split('=').next().unwrap_or(flag).replace('_', "-");
            // Split as bytes, so that a value that is not UTF-8 stays what it is.
            let value = value_of(word);
            let argument = find(self.command, &name);
            self.value_is_next = value.is_none() && argument.is_some_and(takes_value);
            return Some(Word::Long { name, value, known: argument.is_some() || is_builtin(flag) });
        }
        if let Some(letters) = text.strip_prefix('-')
            && let Some(letter) = letters.chars().next()
        {
            let argument = self.command.get_arguments().find(|argument| argument.get_short() == Some(letter));
            self.value_is_next = letters.chars().count() == 1 && argument.is_some_and(takes_value);
        } else if self.command.get_arguments().any(Arg::is_trailing_var_arg_set) {
            self.verbatim = true;
        }
        Some(Word::Other(word))
    }

    /// The next word, if it can be the value of a flag that nobody knows.
    fn peek_value(&self) -> Option<&'a str> {
        self.args.get(self.at)?.to_str().filter(|word| !word.starts_with('-'))
    }

    fn skip(&mut self) {
        self.at += 1;
    }
}

fn value_of(word: &OsStr) -> Option<&OsStr> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    Some(OsStr::from_bytes(&bytes[at + 1..]))
}

fn is_builtin(flag: &str) -> bool {
    matches!(flag, "help" | "version")
}

/// The argument with this long name or alias.
pub(super) fn find<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|argument| {
        let aliases = argument.get_all_aliases().unwrap_or_default();
        argument.get_long() == Some(long) || aliases.contains(&long)
    })
}

fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

/// What happens to a flag of Apache Mesos that is not ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mesos {
    /// Nothing depends on it here, and why.
    Ignored(&'static str),
    /// It must not be passed over: what to do instead.
    Instead(&'static str),
}

const NO_LOG: &str = "there is no replicated log; state is in Redis (--redis-url) or below --work-dir";
const EVENTS: &str = "offers follow each event at once";
const SILENCE: &str = "see --agent-timeout and --unreachable-limit";
const FOUND: &str = "the agent looks at the host itself";
const LOGS: &str = "see --log-level, --log-format and --log-dir";
const SECURITY: &str = "this version has no authentication and no authorisation yet; \
     keep it on a loopback or trusted network and leave this option out";
const PLUGINS: &str = "modules of Apache Mesos cannot be loaded here; leave this option out";

/// Flags of `mesos-master` and `mesos-agent` 1.11 that people have in their scripts.
const OF_MESOS: &[(&str, Mesos)] = &[
    (
        "zk",
        Mesos::Instead(
            "there is no ZooKeeper here; give masters --nats-url and --redis-url, \
             and agents --master host:port[,host:port] or --nats-url",
        ),
    ),
    ("zk-session-timeout", Mesos::Ignored("there is no ZooKeeper here")),
    ("quorum", Mesos::Ignored(NO_LOG)),
    ("registry", Mesos::Ignored(NO_LOG)),
    ("registry-fetch-timeout", Mesos::Ignored(NO_LOG)),
    ("registry-store-timeout", Mesos::Ignored(NO_LOG)),
    ("registry-gc-interval", Mesos::Ignored(NO_LOG)),
    ("registry-max-agent-age", Mesos::Ignored(NO_LOG)),
    ("registry-max-agent-count", Mesos::Ignored(NO_LOG)),
    ("log-auto-initialize", Mesos::Ignored(NO_LOG)),
    ("allocation-interval", Mesos::Ignored(EVENTS)),
    ("batch-allocation-interval", Mesos::Ignored(EVENTS)),
    ("allocator-agent-recovery-factor", Mesos::Ignored(EVENTS)),
    ("allocator-recovery-timeout", Mesos::Ignored(EVENTS)),
    ("agent-ping-timeout", Mesos::Ignored(SILENCE)),
    ("max-agent-ping-timeouts", Mesos::Ignored(SILENCE)),
    ("agent-reregister-timeout", Mesos::Ignored(SILENCE)),
    ("recovery-agent-removal-limit", Mesos::Ignored(SILENCE)),
    ("agent-removal-rate-limit", Mesos::Ignored(SILENCE)),
    ("webui-dir", Mesos::Ignored("the web page is part of the program")),
    ("root-submissions", Mesos::Ignored("tasks run as the user that they name")),
    ("hostname-lookup", Mesos::Ignored("see --hostname")),
    ("isolation", Mesos::Ignored("the process containerizer uses all isolation that the host allows")),
    ("launcher", Mesos::Ignored("the process containerizer uses all isolation that the host allows")),
    ("launcher-dir", Mesos::Ignored("the program is one binary")),
    ("frameworks-home", Mesos::Ignored("executors are named by their own paths")),
    ("hadoop-home", Mesos::Ignored("the fetcher does not use Hadoop")),
    ("cgroups-enable-cfs", Mesos::Ignored("limits are always enforced")),
    ("cgroups-hierarchy", Mesos::Ignored(FOUND)),
    ("systemd-enable-support", Mesos::Ignored(FOUND)),
    ("systemd-runtime-directory", Mesos::Ignored(FOUND)),
    ("strict", Mesos::Ignored("what can be recovered is recovered")),
    ("logbufsecs", Mesos::Ignored(LOGS)),
    ("quiet", Mesos::Ignored(LOGS)),
    ("initialize-driver-logging", Mesos::Ignored(LOGS)),
    ("external-log-file", Mesos::Ignored(LOGS)),
    ("memory-profiling", Mesos::Ignored("there is no built-in memory profiler")),
    ("credential", Mesos::Instead(SECURITY)),
    ("credentials", Mesos::Instead(SECURITY)),
    ("http-credentials", Mesos::Instead(SECURITY)),
    ("acls", Mesos::Instead(SECURITY)),
    ("firewall-rules", Mesos::Instead(SECURITY)),
    ("jwt-secret-key", Mesos::Instead(SECURITY)),
    ("authenticate", Mesos::Instead(SECURITY)),
    ("authenticate-frameworks", Mesos::Instead(SECURITY)),
    ("authenticate-agents", Mesos::Instead(SECURITY)),
    ("authenticate-slaves", Mesos::Instead(SECURITY)),
    ("authenticate-http", Mesos::Instead(SECURITY)),
    ("authenticate-http-readonly", Mesos::Instead(SECURITY)),
    ("authenticate-http-readwrite", Mesos::Instead(SECURITY)),
    ("authenticate-http-frameworks", Mesos::Instead(SECURITY)),
    ("authenticate-http-executors", Mesos::Instead(SECURITY)),
    ("modules", Mesos::Instead(PLUGINS)),
    ("modules-dir", Mesos::Instead(PLUGINS)),
    ("hooks", Mesos::Instead(PLUGINS)),
];

/// What happens to a flag or key of Apache Mesos, written with `-`; `None` for one that it does not have.
pub(super) fn of_mesos(name: &str, value: Option<&str>) -> Option<Mesos> {
    let plain = name.strip_prefix("no-").unwrap_or(name);
    let (_, treatment) = OF_MESOS.iter().find(|(flag, _)| *flag == plain)?;
    let off = plain.starts_with("authenticate") && (value == Some("false") || plain != name);
    Some(if off { Mesos::Ignored("it is off here in any case") } else { *treatment })
}
