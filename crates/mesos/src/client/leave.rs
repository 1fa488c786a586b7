//! `drain`, and what `agents` changes: agents that leave, and come back.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use mesos_proto::v1::{
    DrainState,
    master::{
        Call,
        call::{self, Type},
        response::get_agents::Agent,
    },
};
use mesos_runtime::config::parse_duration;
use serde::Serialize;

use super::{
    ClientArgs, Failure, Master, amounts,
    cluster::{ListArgs, agent_state},
    find,
    output::{self, OutputArgs},
};

/// How often an agent that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Options of `drain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DrainArgs {
    /// Which agent: id, hostname, or the beginning of its id
    #[arg(value_name = "AGENT")]
    agent: String,
    /// The longest time that a task gets to end [default: each task's own grace]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// Mark it gone once it is drained: it does not come back under this id
    #[arg(long)]
    gone: bool,
    /// Wait until nothing is left on it; this is what is done unless --no-wait is given
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Do not wait
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// Wait so long at most; the drain goes on after that
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Options of `agents`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AgentsArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(subcommand)]
    what: Option<AgentsCommand>,
}

#[derive(Clone, Debug, Subcommand)]
enum AgentsCommand {
    /// Offer nothing of an agent any more; its tasks go on
    Deactivate(OneAgent),
    /// Offer an agent again that was deactivated or drained
    Reactivate(OneAgent),
    /// Say that an agent will not come back: its tasks are over, and its id is not used again
    Gone(OneAgent),
}

#[derive(Args, Clone, Debug)]
struct OneAgent {
    /// Which agent: id, hostname, or the beginning of its id
    #[arg(value_name = "AGENT")]
    agent: String,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl AgentsArgs {
    /// Which master is asked.
    pub(crate) fn client(&self) -> ClientArgs {
        match &self.what {
            None => self.list.client.clone(),
            Some(AgentsCommand::Deactivate(one) | AgentsCommand::Reactivate(one) | AgentsCommand::Gone(one)) => {
                one.client.clone()
            }
        }
    }
}

/// What was done with an agent, and where it stands.
#[derive(Debug, Serialize)]
struct Done {
    agent_id: String,
    hostname: String,
    state: &'static str,
}

impl Done {
    fn of(agent: &Agent, state: &'static str) -> Done {
        Done { agent_id: find::agent_id(agent).value, hostname: agent.agent_info.hostname.clone(), state }
    }

    fn print(&self, output: OutputArgs) {
        let line = format!("agent {} ({}) is {}", self.agent_id, self.hostname, self.state);
        output::print_change(output.output, self, &line);
    }
}

/// `mesos agents`.
pub(crate) async fn agents(args: AgentsArgs, master: Master) -> Result<ExitCode, Failure> {
    let (one, kind, state) = match args.what {
        None => return super::cluster::agents(args.list, master).await,
        Some(AgentsCommand::Deactivate(one)) => (one, Type::DeactivateAgent, "deactivated"),
        Some(AgentsCommand::Reactivate(one)) => (one, Type::ReactivateAgent, "active"),
        Some(AgentsCommand::Gone(one)) => (one, Type::MarkAgentGone, "gone"),
    };
    let agent = find::agent_or_away(&master, &one.agent).await?;
    let agent_id = find::agent_id(&agent);
    let mut call = Call { r#type: Some(kind.into()), ..Call::default() };
    match kind {
        Type::DeactivateAgent => call.deactivate_agent = Some(call::DeactivateAgent { agent_id }),
        Type::ReactivateAgent => call.reactivate_agent = Some(call::ReactivateAgent { agent_id }),
        _ => call.mark_agent_gone = Some(call::MarkAgentGone { agent_id }),
    }
    master.call(call).await?;
    Done::of(&agent, state).print(one.output);
    Ok(ExitCode::SUCCESS)
}

/// `mesos drain`.
pub(crate) async fn drain(args: DrainArgs, master: Master) -> Result<ExitCode, Failure> {
    let agent = find::agent_or_away(&master, &args.agent).await?;
    let ask = call::DrainAgent {
        agent_id: find::agent_id(&agent),
        max_grace_period: args.grace.map(grace).transpose()?,
        mark_gone: Some(args.gone),
    };
    master.call(Call { r#type: Some(Type::DrainAgent.into()), drain_agent: Some(ask), ..Call::default() }).await?;
    if args.no_wait {
        Done::of(&agent, "draining").print(args.output);
        return Ok(ExitCode::SUCCESS);
    }
    let state = wait(&args, &agent, &master).await?;
    Done::of(&agent, state).print(args.output);
    Ok(ExitCode::SUCCESS)
}

fn grace(grace: Duration) -> Result<mesos_proto::prost_types::Duration, Failure> {
    grace.try_into().map_err(|_| Failure::Wrong("--grace is too long".to_owned()))
}

/// Looks at an agent until it is drained, and says on stderr what it waits for whenever that changes.
async fn wait(args: &DrainArgs, agent: &Agent, master: &Master) -> Result<&'static str, Failure> {
    let (id, since) = (find::agent_id(agent).value, Instant::now());
    let mut said = String::new();
    loop {
        let now = find::all_agents(master).await?.into_iter().find(|other| find::agent_id(other).value == id);
        let progress = match now {
            None => return Ok("gone"),
            Some(now) if is_drained(&now) && !args.gone => return Ok("drained"),
            Some(now) => waits_for(&now),
        };
        if progress != said {
            eprintln!("mesos drain: {progress}");
            said = progress;
        }
        if args.timeout.is_some_and(|timeout| since.elapsed() >= timeout) {
            return Err(Failure::Refused(format!("{id} is not drained yet ({said}); the drain goes on")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn is_drained(agent: &Agent) -> bool {
    agent.drain_info.as_ref().is_some_and(|info| info.state() == DrainState::Drained)
}

/// What a drain waits for, in words.
fn waits_for(agent: &Agent) -> String {
    let (id, host) = (find::agent_id(agent).value, &agent.agent_info.hostname);
    match agent_state(agent) {
        state @ ("unreachable" | "down") => format!("{id} ({host}) is {state}; it is drained when it is back"),
        _ if agent.allocated_resources.is_empty() => format!("{id} ({host}) has nothing left"),
        _ => format!("{id} ({host}) still holds {}", amounts::resources(&agent.allocated_resources)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parse, *};

    #[test]
    fn a_drain_waits_unless_it_is_told_not_to() {
        let drain = |args: &[&str]| parse::<DrainArgs>(args);
        assert!(!drain(&["a"]).unwrap().no_wait);
        assert!(drain(&["a", "--no-wait"]).unwrap().no_wait);
        assert!(!drain(&["a", "--no-wait", "--wait"]).unwrap().no_wait);
        let given = drain(&["a", "--grace", "30secs", "--gone"]).unwrap();
        assert_eq!((given.grace, given.gone), (Some(Duration::from_secs(30)), true));
        assert!(drain(&["a", "--grace", "soon"]).unwrap_err().contains("expected a number"));
        assert!(drain(&["a", "--no-wait", "--timeout", "1s"]).unwrap_err().contains("--no-wait"));
        assert!(drain(&[]).unwrap_err().contains("AGENT"));
    }

    #[test]
    fn agents_are_listed_or_one_is_changed() {
        assert!(parse::<AgentsArgs>(&["-o", "json"]).unwrap().what.is_none());
        let changed = parse::<AgentsArgs>(&["gone", "a", "--master", "m:1"]).unwrap();
        assert_eq!(changed.client().master.as_deref(), Some("m:1"));
        assert!(parse::<AgentsArgs>(&["fire", "a"]).is_err());
    }

    #[test]
    fn what_is_waited_for_is_said_in_words() {
        let mut agent = Agent { active: false, deactivated: Some(true), ..Agent::default() };
        agent.agent_info.hostname = "h".into();
        assert!(waits_for(&agent).ends_with("(h) has nothing left"));
        agent.unreachable = Some(true);
        assert!(waits_for(&agent).contains("is unreachable"));
    }
}
