//! Which commands there are and who carries them out.

use std::{ffi::OsString, io::Write, path::Path, process::ExitCode};

use clap::{Args, Command, FromArgMatches};
use clap_complete::Shell;
use mesos_runtime::config::{nearest, normalise, one_line};

use crate::{
    client::{self, launch::LaunchArgs, launch::SpawnArgs},
    pki::{self, PkiArgs},
    replay::{self, ReplayArgs},
    role::{agent, gateway, local, master},
    token::{self, TokenArgs},
};

/// Exit status for a command line that cannot be understood.
const USAGE: u8 = 2;

/// Names of this binary that stand for one of its roles.
const NAMES: [(&str, &str); 4] =
    [("mesos-master", "master"), ("mesos-agent", "agent"), ("mesos-slave", "slave"), ("mesos-local", "local")];

/// One command.
struct Entry {
    name: &'static str,
    about: &'static str,
    /// Adds its options.
    augment: fn(Command) -> Command,
    /// Carries it out with what follows its name.
    run: fn(&'static Entry, &[OsString]) -> ExitCode,
}

const fn role_entry(
    name: &'static str,
    about: &'static str,
    augment: fn(Command) -> Command,
    run: fn(&'static Entry, &[OsString]) -> ExitCode,
) -> Entry {
    Entry { name, about, augment, run }
}

/// What `mesos slave` and `mesos agent` are with one of these words behind: nodes of a pool come or go.
static NODE_COMMANDS: [Entry; 2] = [
    Entry {
        name: "slave add",
        about: "Add nodes, each with an agent, to a pool",
        augment: client::pools::AddArgs::augment_args,
        run: |entry, args| ask::<client::pools::AddArgs>(entry, args, |args| args.client.clone(), client::pools::add),
    },
    Entry {
        name: "slave remove",
        about: "Take nodes out of a pool; their tasks are ended first",
        augment: client::pools::RemoveArgs::augment_args,
        run: |entry, args| {
            ask::<client::pools::RemoveArgs>(entry, args, |args| args.client.clone(), client::pools::remove)
        },
    },
];

/// The last word of a command of two.
fn word(entry: &Entry) -> &'static str {
    entry.name.rsplit(' ').next().unwrap_or_default()
}

fn agent(command: Command) -> Command {
    let node = |entry: &Entry| (entry.augment)(Command::new(word(entry)).about(entry.about));
    agent::AgentArgs::augment_args(command).subcommands(NODE_COMMANDS.iter().map(node))
}

fn agent_or_node(display: &'static str, args: &[OsString]) -> ExitCode {
    let first = args.first().and_then(|word| word.to_str()).unwrap_or_default();
    match NODE_COMMANDS.iter().find(|entry| word(entry) == first) {
        Some(entry) => (entry.run)(entry, &args[1..]),
        None => agent::main(display, args),
    }
}

static COMMANDS: [Entry; 36] = [
    role_entry("local", "Everything in one process, nothing to install", local::LocalArgs::augment_args, |_, args| {
        local::main(args)
    }),
    role_entry(
        "master",
        "The master: allocator, registry, gateway and launcher in one process",
        master::MasterArgs::augment_args,
        |_, args| master::main(args),
    ),
    role_entry(
        "agent",
        "The agent of one host: runs tasks; `agent add` and `agent remove` change a pool",
        agent,
        |_, args| agent_or_node("mesos agent", args),
    ),
    role_entry("slave", "The same as agent", agent, |_, args| agent_or_node("mesos slave", args)),
    role_entry(
        "allocator",
        "The allocator alone, over NATS and Redis",
        mesos_allocator::alone::Alone::augment_args,
        |_, args| mesos_allocator::alone::main(args),
    ),
    role_entry(
        "registry",
        "The framework registry alone, over NATS and Redis",
        mesos_registry::alone::Alone::augment_args,
        |_, args| mesos_registry::alone::main(args),
    ),
    role_entry("gateway", "A gateway alone, over NATS and Redis", gateway::GatewayAlone::augment_args, |_, args| {
        gateway::main(args)
    }),
    Entry {
        name: "launch",
        about: "Run a command as a task and follow it to its end",
        augment: LaunchArgs::augment_args,
        run: |entry, args| ask::<LaunchArgs>(entry, args, |args| args.client.clone(), client::launch::launch),
    },
    Entry {
        name: "spawn",
        about: "Start tasks and leave them running",
        augment: SpawnArgs::augment_args,
        run: |entry, args| ask::<SpawnArgs>(entry, args, |args| args.launch.client.clone(), client::launch::spawn),
    },
    Entry {
        name: "ps",
        about: "List tasks",
        augment: client::tasks::PsArgs::augment_args,
        run: |entry, args| ask::<client::tasks::PsArgs>(entry, args, |args| args.client.clone(), client::tasks::ps),
    },
    Entry {
        name: "logs",
        about: "Print what a task has written",
        augment: client::tasks::LogsArgs::augment_args,
        run: |entry, args| ask::<client::tasks::LogsArgs>(entry, args, |args| args.client.clone(), client::tasks::logs),
    },
    Entry {
        name: "kill",
        about: "End tasks",
        augment: client::tasks::KillArgs::augment_args,
        run: |entry, args| ask::<client::tasks::KillArgs>(entry, args, |args| args.client.clone(), client::tasks::kill),
    },
    Entry {
        name: "agents",
        about: "List agents; deactivate, reactivate one, or mark it gone",
        augment: client::leave::AgentsArgs::augment_args,
        run: |entry, args| ask::<client::leave::AgentsArgs>(entry, args, |args| args.client(), client::leave::agents),
    },
    Entry {
        name: "drain",
        about: "Take an agent out: no more offers of it, and its tasks are ended",
        augment: client::leave::DrainArgs::augment_args,
        run: |entry, args| {
            ask::<client::leave::DrainArgs>(entry, args, |args| args.client.clone(), client::leave::drain)
        },
    },
    Entry {
        name: "maintenance",
        about: "Plan when machines are away, take them down and bring them up",
        augment: client::maintenance::MaintenanceArgs::augment_args,
        run: |entry, args| {
            ask::<client::maintenance::MaintenanceArgs>(
                entry,
                args,
                |args| args.client(),
                client::maintenance::maintenance,
            )
        },
    },
    Entry {
        name: "pool",
        about: "List node pools and their nodes; change how many nodes a pool has",
        augment: client::pools::PoolArgs::augment_args,
        run: |entry, args| ask::<client::pools::PoolArgs>(entry, args, |args| args.client(), client::pools::pool),
    },
    Entry {
        name: "frameworks",
        about: "List frameworks",
        augment: client::cluster::FrameworksArgs::augment_args,
        run: |entry, args| {
            ask::<client::cluster::FrameworksArgs>(entry, args, |args| args.client.clone(), client::cluster::frameworks)
        },
    },
    Entry {
        name: "stats",
        about: "Totals of the cluster and how much of them is used",
        augment: client::cluster::ListArgs::augment_args,
        run: |entry, args| {
            ask::<client::cluster::ListArgs>(entry, args, |args| args.client.clone(), client::cluster::stats)
        },
    },
    Entry {
        name: "replay",
        about: "Live a recording of the allocator again, and say why it decided",
        augment: ReplayArgs::augment_args,
        run: |entry, args| alone(entry, args, replay::run),
    },
    Entry {
        name: "roles",
        about: "List roles with their weights, quotas and shares",
        augment: client::roles::RolesArgs::augment_args,
        run: |entry, args| {
            ask::<client::roles::RolesArgs>(entry, args, |args| args.client.clone(), client::roles::roles)
        },
    },
    Entry {
        name: "quota",
        about: "Show or set what roles are guaranteed and limited to",
        augment: client::roles::QuotaArgs::augment_args,
        run: |entry, args| ask::<client::roles::QuotaArgs>(entry, args, |args| args.client(), client::roles::quota),
    },
    Entry {
        name: "weights",
        about: "Show or set the weights of roles",
        augment: client::roles::WeightsArgs::augment_args,
        run: |entry, args| ask::<client::roles::WeightsArgs>(entry, args, |args| args.client(), client::roles::weights),
    },
    Entry {
        name: "placement",
        about: "Say which agents a role is offered first",
        augment: client::roles::PlacementArgs::augment_args,
        run: |entry, args| {
            ask::<client::roles::PlacementArgs>(entry, args, |args| args.client.clone(), client::roles::placement)
        },
    },
    Entry {
        name: "priority",
        about: "Give a framework or a waiting task another priority",
        augment: client::roles::PriorityArgs::augment_args,
        run: |entry, args| {
            ask::<client::roles::PriorityArgs>(entry, args, |args| args.client.clone(), client::roles::priority)
        },
    },
    Entry {
        name: "policy",
        about: "Show, choose or load the policy by which turns are given",
        augment: client::policy::PolicyArgs::augment_args,
        run: |entry, args| ask::<client::policy::PolicyArgs>(entry, args, |args| args.client(), client::policy::policy),
    },
    Entry {
        name: "needs",
        about: "List what resources are gathered for",
        augment: client::policy::NeedsArgs::augment_args,
        run: |entry, args| {
            ask::<client::policy::NeedsArgs>(entry, args, |args| args.client.clone(), client::policy::needs)
        },
    },
    Entry {
        name: "explain",
        about: "Say why a framework or a task gets nothing, and what would help",
        augment: client::explain::ExplainArgs::augment_args,
        run: |entry, args| {
            ask::<client::explain::ExplainArgs>(entry, args, |args| args.client.clone(), client::explain::explain)
        },
    },
    Entry {
        name: "what-if",
        about: "The same after changes that are only supposed",
        augment: client::explain::WhatIfArgs::augment_args,
        run: |entry, args| {
            ask::<client::explain::WhatIfArgs>(entry, args, |args| args.client.clone(), client::explain::what_if)
        },
    },
    Entry {
        name: "reserve",
        about: "Reserve resources of an agent for a role",
        augment: client::reserve::ReserveArgs::augment_args,
        run: |entry, args| {
            ask::<client::reserve::ReserveArgs>(entry, args, |args| args.client.clone(), client::reserve::reserve)
        },
    },
    Entry {
        name: "unreserve",
        about: "Undo a reservation",
        augment: client::reserve::ReserveArgs::augment_args,
        run: |entry, args| {
            ask::<client::reserve::ReserveArgs>(entry, args, |args| args.client.clone(), client::reserve::unreserve)
        },
    },
    Entry {
        name: "volume",
        about: "Create, destroy, grow or shrink a persistent volume",
        augment: client::reserve::VolumeArgs::augment_args,
        run: |entry, args| {
            ask::<client::reserve::VolumeArgs>(entry, args, |args| args.client(), client::reserve::volume)
        },
    },
    Entry {
        name: "pki",
        about: "Make and renew the keys, certificates and credentials of a cluster",
        augment: PkiArgs::augment_args,
        run: |entry, args| alone(entry, args, pki::run),
    },
    Entry {
        name: "token",
        about: "Make tokens for operators and frameworks",
        augment: TokenArgs::augment_args,
        run: |entry, args| alone(entry, args, token::run),
    },
    Entry {
        name: "completion",
        about: "Print completions for a shell",
        augment: CompletionArgs::augment_args,
        run: completion,
    },
    Entry {
        name: "man",
        about: "Print the manual page of a command, for man -l -",
        augment: ManArgs::augment_args,
        run: |entry, args| alone(entry, args, manual),
    },
    Entry { name: "version", about: "Print the version", augment: |command| command, run: |_, _| say(&version()) },
];

/// Carries out a whole command line, the program's name first.
pub(crate) fn run(mut args: Vec<OsString>) -> ExitCode {
    let program = if args.is_empty() { OsString::from("mesos") } else { args.remove(0) };
    let file = Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some((_, role)) = NAMES.iter().find(|(name, _)| *name == file)
        && let Some(entry) = find(role)
    {
        return (entry.run)(entry, &args);
    }
    let Some(first) = args.first().map(|word| word.to_string_lossy().into_owned()) else {
        let _ = say(&overview());
        return ExitCode::from(USAGE);
    };
    match (first.as_str(), args.get(1)) {
        ("--version" | "-V", _) => say(&version()),
        ("--help" | "-h" | "help", None) | ("--help" | "-h", Some(_)) => say(&overview()),
        ("help", Some(of)) => match find(&of.to_string_lossy()) {
            Some(entry) => (entry.run)(entry, &["--help".into()]),
            None => unknown(&of.to_string_lossy()),
        },
        (name, _) => match find(name) {
            Some(entry) => (entry.run)(entry, &args[1..]),
            None => unknown(name),
        },
    }
}

fn find(name: &str) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| entry.name == name)
}

fn unknown(name: &str) -> ExitCode {
    let hint = nearest(name, COMMANDS.iter().map(|entry| entry.name));
    let hint = hint.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    eprintln!("mesos: there is no command {name}{hint} (mesos --help lists all)");
    ExitCode::from(USAGE)
}

fn version() -> String {
    format!("mesos {}\n", env!("CARGO_PKG_VERSION"))
}

fn overview() -> String {
    let mut text = "Mesos for today: many frameworks share one pool of machines.\n\nUsage: mesos <COMMAND> [OPTIONS]\n\nCommands:\n".to_owned();
    for entry in &COMMANDS {
        text.push_str(&format!("  {:<12} {}\n", entry.name, entry.about));
    }
    text.push_str(
        "\n`mesos <COMMAND> --help` says more. MESOS_MASTER names the master that commands ask (127.0.0.1:5050).\n",
    );
    text
}

/// Prints to stdout; whoever reads it may have gone, which is no error.
fn say(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Reads a client command's options and carries it out.
fn ask<A: Args>(
    entry: &'static Entry,
    args: &[OsString],
    common: fn(&A) -> client::ClientArgs,
    run: impl AsyncFnOnce(A, client::Master) -> Result<ExitCode, client::Failure>,
) -> ExitCode {
    let command =
        A::augment_args(Command::new(format!("mesos {}", entry.name)).about(entry.about)).no_binary_name(true);
    // Whoever forgets the word after `mesos quota` is told which there are, in one line.
    let command = command.arg_required_else_help(false);
    let args = normalise(&command, args);
    let parsed = command.try_get_matches_from(args).and_then(|matches| A::from_arg_matches(&matches));
    match parsed {
        Ok(args) => client::run(entry.name, common(&args), async |master| run(args, master).await),
        Err(error) if !error.use_stderr() => say(&error.to_string()),
        Err(error) => {
            eprintln!("mesos {}: {} (mesos {0} --help says more)", entry.name, one_line(&error));
            ExitCode::from(USAGE)
        }
    }
}

/// Reads the options of a command that needs no master and carries it out.
fn alone<A: Args>(entry: &'static Entry, args: &[OsString], run: fn(&A) -> ExitCode) -> ExitCode {
    let command =
        A::augment_args(Command::new(format!("mesos {}", entry.name)).about(entry.about)).no_binary_name(true);
    let args = normalise(&command, args);
    let parsed = command.try_get_matches_from(args).and_then(|matches| A::from_arg_matches(&matches));
    match parsed {
        Ok(args) => run(&args),
        Err(error) if !error.use_stderr() => say(&error.to_string()),
        Err(error) => {
            eprintln!("mesos {}: {} (mesos {0} --help says more)", entry.name, one_line(&error));
            ExitCode::from(USAGE)
        }
    }
}

#[derive(Args, Clone, Debug)]
struct CompletionArgs {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

fn completion(entry: &'static Entry, args: &[OsString]) -> ExitCode {
    let command =
        CompletionArgs::augment_args(Command::new("mesos completion").about(entry.about)).no_binary_name(true);
    let parsed = command.try_get_matches_from(args).and_then(|matches| CompletionArgs::from_arg_matches(&matches));
    match parsed {
        Ok(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut whole(), "mesos", &mut script);
            say(&String::from_utf8_lossy(&script))
        }
        Err(error) if !error.use_stderr() => say(&error.to_string()),
        Err(error) => {
            eprintln!("mesos completion: {}", one_line(&error));
            ExitCode::from(USAGE)
        }
    }
}

#[derive(Args, Clone, Debug)]
struct ManArgs {
    /// Of which command [default: mesos itself, which lists all]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(COMMANDS.iter().map(|entry| entry.name)))]
    command: Option<String>,
}

fn manual(args: &ManArgs) -> ExitCode {
    let mut page = Vec::new();
    let command = match args.command.as_deref().and_then(find) {
        Some(entry) => {
            let name = format!("mesos-{}", entry.name);
            (entry.augment)(Command::new(name)).about(entry.about).bin_name(format!("mesos {}", entry.name))
        }
        None => whole(),
    };
    // Only a writer that fails could fail it.
    let _ = clap_mangen::Man::new(command.disable_help_subcommand(true)).render(&mut page);
    say(&String::from_utf8_lossy(&page))
}

/// All commands with all options, for completions and the manual.
fn whole() -> Command {
    let command =
        Command::new("mesos").version(env!("CARGO_PKG_VERSION")).about("Many frameworks share one pool of machines");
    COMMANDS.iter().fold(command, |command, entry| {
        command.subcommand((entry.augment)(Command::new(entry.name)).about(entry.about))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_well_formed() {
        whole().debug_assert();
    }

    #[test]
    fn every_command_has_a_manual_page() {
        for entry in &COMMANDS {
            assert_eq!(manual(&ManArgs { command: Some(entry.name.to_owned()) }), ExitCode::SUCCESS);
        }
    }
}
