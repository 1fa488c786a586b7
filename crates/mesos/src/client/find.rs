//! What is meant by a word on the command line: a framework, a task, an agent.

use mesos_proto::v1::{
    self,
    master::{call, response},
};
use mesos_runtime::config::nearest;
use tonic::{Code, Status};

use super::{Failure, Master};

/// A framework, or else a task of the built-in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Its id.
    Framework(String),
    /// Its id.
    Task(String),
}

/// A framework by id, or by name if only one has it; whatever is none is taken for a task.
pub(crate) async fn target(master: &Master, wanted: &str) -> Result<Target, Failure> {
    let answer = master.operator(call::Type::GetFrameworks).await?.get_frameworks.unwrap_or_default();
    let known = answer.frameworks.into_iter().filter_map(|framework| {
        let info = framework.framework_info;
        Some((info.id?.value, info.name))
    });
    choose(&known.collect::<Vec<_>>(), wanted)
}

fn choose(known: &[(String, String)], wanted: &str) -> Result<Target, Failure> {
    if known.iter().any(|(id, _)| id == wanted) {
        return Ok(Target::Framework(wanted.to_owned()));
    }
    let named: Vec<&str> = known.iter().filter(|(_, name)| name == wanted).map(|(id, _)| id.as_str()).collect();
    match named[..] {
        [] => Ok(Target::Task(wanted.to_owned())),
        [only] => Ok(Target::Framework(only.to_owned())),
        _ => Err(Failure::Wrong(format!(
            "{wanted} is the name of {} frameworks: {}; name one by its id",
            named.len(),
            named.join(", ")
        ))),
    }
}

/// A refusal about a target: what is not there may have been meant as either.
pub(crate) fn refused(target: &Target, status: Status) -> Failure {
    match target {
        Target::Task(task) if status.code() == Code::NotFound => Failure::Wrong(format!(
            "there is no framework {task}, and no task {task} that was launched with `mesos launch` or `mesos spawn`"
        )),
        _ => status.into(),
    }
}

/// An agent by id, hostname if only one has it, or the beginning of its id.
pub(crate) async fn agent(master: &Master, wanted: &str) -> Result<response::get_agents::Agent, Failure> {
    let answer = master.operator(call::Type::GetAgents).await?.get_agents.unwrap_or_default();
    one_agent(answer.agents, wanted)
}

/// The same with agents that are away.
pub(crate) async fn agent_or_away(master: &Master, wanted: &str) -> Result<response::get_agents::Agent, Failure> {
    one_agent(all_agents(master).await?, wanted)
}

/// All agents, those that are away last.
pub(crate) async fn all_agents(master: &Master) -> Result<Vec<response::get_agents::Agent>, Failure> {
    let answer = master.operator(call::Type::GetAgents).await?.get_agents.unwrap_or_default();
    Ok(answer.agents.into_iter().chain(answer.unreachable_agents).collect())
}

/// The id of an agent.
pub(crate) fn agent_id(agent: &response::get_agents::Agent) -> v1::AgentId {
    agent.agent_info.id.clone().unwrap_or_default()
}

fn one_agent(agents: Vec<response::get_agents::Agent>, wanted: &str) -> Result<response::get_agents::Agent, Failure> {
    let id = |agent: &response::get_agents::Agent| agent_id(agent).value;
    let ways: [&dyn Fn(&response::get_agents::Agent) -> bool; 3] =
        [&|agent| id(agent) == wanted, &|agent| agent.agent_info.hostname == wanted, &|agent| {
            id(agent).starts_with(wanted)
        }];
    for way in ways {
        let found: Vec<&response::get_agents::Agent> = agents.iter().filter(|agent| way(agent)).collect();
        match found[..] {
            [] => {}
            [only] => return Ok(only.clone()),
            _ => {
                let ids: Vec<String> = found.iter().take(5).map(|agent| id(agent)).collect();
                let text =
                    format!("{wanted} may be any of {} agents: {}; name one by its id", found.len(), ids.join(", "));
                return Err(Failure::Wrong(text));
            }
        }
    }
    let names: Vec<String> = agents.iter().flat_map(|agent| [id(agent), agent.agent_info.hostname.clone()]).collect();
    let near = nearest(wanted, names.iter().map(String::as_str));
    let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Err(Failure::Wrong(format!("there is no agent {wanted}{near} (`mesos agents` lists all)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_framework_before_it_is_a_task() {
        let known = [("f1", "web"), ("f2", "web"), ("f3", "jobs")].map(|(id, name)| (id.to_owned(), name.to_owned()));
        let meant = |wanted: &str| choose(&known, wanted).map_err(|failure| failure.to_string());
        assert_eq!(meant("f2"), Ok(Target::Framework("f2".into())));
        assert_eq!(meant("jobs"), Ok(Target::Framework("f3".into())));
        assert_eq!(meant("sleep.12"), Ok(Target::Task("sleep.12".into())));
        assert!(meant("web").unwrap_err().contains("f1, f2"));
    }

    #[test]
    fn an_agent_is_meant_by_id_host_or_beginning() {
        let agent = |id: &str, host: &str| response::get_agents::Agent {
            agent_info: v1::AgentInfo {
                id: Some(v1::AgentId { value: id.into() }),
                hostname: host.into(),
                ..v1::AgentInfo::default()
            },
            ..response::get_agents::Agent::default()
        };
        let all = || vec![agent("m-S1", "a"), agent("m-S12", "b"), agent("n-S3", "b")];
        let meant =
            |wanted: &str| one_agent(all(), wanted).map(|found| agent_id(&found).value).map_err(|e| e.to_string());
        assert_eq!(meant("m-S1"), Ok("m-S1".into()));
        assert_eq!(meant("a"), Ok("m-S1".into()));
        assert_eq!(meant("n-"), Ok("n-S3".into()));
        assert!(meant("b").unwrap_err().contains("m-S12, n-S3"));
        assert!(meant("zzz").unwrap_err().contains("there is no agent zzz (`mesos agents`"));
        assert!(meant("m-S2").unwrap_err().contains("did you mean m-S1?"));
    }
}
