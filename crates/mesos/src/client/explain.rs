//! `explain`, `what-if`: why something waits, and what would help.

use std::process::ExitCode;

use clap::Args;
use mesos_model::resources_text;
use mesos_proto::{
    json,
    prost::{Message, Name},
    services::v1::{Change, Explanation, Query, RoleWeight, WhatIfRequest, WhatIfResponse, change},
    v1,
};

use super::{
    ClientArgs, Failure, Master,
    amounts::{self, Amounts},
    find::{self, Target},
    output::{self, Format, OutputArgs, number},
    request::{check_resources, wire},
    roles::{parse_weight, percent},
};

/// What is asked about.
#[derive(Args, Clone, Debug)]
struct QueryArgs {
    /// Name or id of a framework, or id of a waiting task of `mesos launch` or `mesos spawn`
    #[arg(value_name = "FRAMEWORK|TASK", required_unless_present = "role")]
    target: Option<String>,
    /// In which role [default: the framework's first]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// What one task needs, for example cpus:8;mem:32GB [default: the smallest offer that is taken]
    #[arg(long, value_name = "RESOURCES", value_parser = check_resources)]
    resources: Option<String>,
    /// How many such tasks
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// One of the framework's requests, by its name
    #[arg(long, value_name = "NAME")]
    request: Option<String>,
}

impl QueryArgs {
    async fn query(&self, master: &Master) -> Result<(Query, Option<Target>), Failure> {
        let target = match &self.target {
            Some(wanted) => Some(find::target(master, wanted).await?),
            None => None,
        };
        let resources = match &self.resources {
            Some(text) => resources_text::parse(text, "*").map_err(Failure::Wrong)?.iter().map(wire).collect(),
            None => Vec::new(),
        };
        let mut query = Query {
            role: self.role.clone(),
            request: self.request.clone(),
            resources,
            count: self.count,
            ..Query::default()
        };
        match &target {
            Some(Target::Framework(id)) => query.framework_id = Some(v1::FrameworkId { value: id.clone() }),
            Some(Target::Task(id)) => query.task_id = Some(v1::TaskId { value: id.clone() }),
            None => {}
        }
        Ok((query, target))
    }
}

fn failure(target: Option<&Target>, status: tonic::Status) -> Failure {
    match target {
        Some(target) => find::refused(target, status),
        None => status.into(),
    }
}

/// Options of `explain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

fn as_json<T: Message + Name>(message: &T) -> String {
    let value: serde_json::Value = serde_json::from_str(&json::encode(message)).unwrap_or_default();
    output::json(&value)
}

/// `mesos explain`.
pub(crate) async fn explain(args: ExplainArgs, master: Master) -> Result<ExitCode, Failure> {
    let (query, target) = args.query.query(&master).await?;
    let answer = master.allocation().explain(query).await.map_err(|status| failure(target.as_ref(), status))?;
    let explanation = answer.into_inner();
    match args.output.output {
        Format::Json => output::write(&as_json(&explanation)),
        Format::Quiet => output::write(&format!("{}\n", explanation.summary)),
        Format::Table | Format::Wide => output::write(&text(&explanation, args.output.output == Format::Wide)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(explanation: &Explanation, wide: bool) -> String {
    let mut text = format!("{}\n", explanation.summary);
    if !explanation.blockers.is_empty() {
        text.push_str("\nWhat binds:\n");
        let on = |agents: u32| match agents {
            0 => "everywhere".to_owned(),
            1 => "on 1 agent".to_owned(),
            agents => format!("on {agents} agents"),
        };
        let width = explanation.blockers.iter().map(|blocker| on(blocker.agents).len()).max().unwrap_or_default();
        for blocker in &explanation.blockers {
            text.push_str(&format!("  {:<width$}  {}", on(blocker.agents), blocker.detail));
            let examples: Vec<&str> = blocker.examples.iter().map(|agent| agent.value.as_str()).collect();
            if wide && !examples.is_empty() {
                text.push_str(&format!(" ({})", examples.join(", ")));
            }
            text.push('\n');
        }
    }
    if !explanation.turns.is_empty() {
        text.push_str("\nWhose turn it is:\n");
        for (place, turn) in explanation.turns.iter().enumerate() {
            let framework = turn.framework_id.as_ref().map(|id| id.value.as_str()).unwrap_or_default();
            let here = if turn.framework_id == explanation.framework_id && turn.role == explanation.role {
                "  <-"
            } else {
                ""
            };
            text.push_str(&format!(
                "  {}. {framework} in {}: {:.1}% of the cluster, weight {}, priority {}{here}\n",
                place + 1,
                turn.role,
                percent(turn.share),
                number(turn.weight),
                turn.priority
            ));
        }
    }
    if !explanation.remedies.is_empty() {
        text.push_str("\nAny of these would place it:\n");
        for remedy in &explanation.remedies {
            text.push_str(&format!("  - {}\n", remedy.text));
        }
    }
    text
}

/// Options of `what-if`.
#[derive(Args, Clone, Debug)]
pub(crate) struct WhatIfArgs {
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// So many more agents, like one that is there or of these resources
    #[arg(long, value_name = "N:like=AGENT|N:RESOURCES", value_parser = parse_added)]
    add: Vec<Added>,
    /// An agent goes, and what runs on it
    #[arg(long, value_name = "AGENT")]
    remove: Vec<String>,
    /// A role has another weight
    #[arg(long, value_name = "ROLE=WEIGHT", value_parser = parse_weight)]
    weight: Vec<(String, f64)>,
    /// A role has another limit, for example ads=cpus:8;mem:16GB, or ads=none
    #[arg(long, value_name = "ROLE=RESOURCES", value_parser = parse_of_role)]
    limit: Vec<(String, Amounts)>,
    /// A role has another guarantee
    #[arg(long, value_name = "ROLE=RESOURCES", value_parser = parse_of_role)]
    guarantee: Vec<(String, Amounts)>,
    /// Another policy is in force: drf, fifo, drc or random
    #[arg(long, value_name = "POLICY", value_parser = ["drf", "fifo", "drc", "random"])]
    policy: Option<String>,
    /// The framework asks for less of something, for example cpus:2
    #[arg(long, value_name = "NAME:AMOUNT", value_parser = amounts::parse)]
    less: Option<Amounts>,
    /// The framework has a capability, by Mesos's name, for example GPU_RESOURCES
    #[arg(long, value_name = "CAPABILITY")]
    capability: Vec<String>,
    /// The framework forgets what it refused
    #[arg(long)]
    drop_filters: bool,
    /// The framework takes smaller offers
    #[arg(long)]
    drop_minimum: bool,
    /// The framework revives the role
    #[arg(long)]
    revive: bool,
    /// Reservations of a role are undone
    #[arg(long, value_name = "ROLE")]
    drop_reservations: Vec<String>,
}

/// Supposed agents.
#[derive(Clone, Debug, PartialEq)]
struct Added {
    count: u32,
    what: AddedLike,
}

#[derive(Clone, Debug, PartialEq)]
enum AddedLike {
    /// Another one.
    Agent(String),
    /// Of these resources.
    Resources(String),
}

fn parse_added(text: &str) -> Result<Added, String> {
    let expected = || "expected N:like=AGENT or N:RESOURCES, for example 3:like=host7 or 2:cpus:8;mem:32GB".to_owned();
    let (count, what) = text.split_once(':').ok_or_else(expected)?;
    let count = count.parse::<u32>().ok().filter(|count| (1..=10_000).contains(count)).ok_or_else(expected)?;
    let what = match what.strip_prefix("like=") {
        Some("") => return Err(expected()),
        Some(agent) => AddedLike::Agent(agent.to_owned()),
        None => AddedLike::Resources(check_resources(what)?),
    };
    Ok(Added { count, what })
}

fn parse_of_role(text: &str) -> Result<(String, Amounts), String> {
    let (role, amounts) = text
        .split_once('=')
        .filter(|(role, _)| !role.is_empty())
        .ok_or_else(|| "expected ROLE=RESOURCES, for example ads=cpus:8;mem:16GB, or ROLE=none".to_owned())?;
    Ok((role.to_owned(), amounts::parse(amounts)?))
}

impl WhatIfArgs {
    async fn changes(&self, master: &Master) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        for added in &self.add {
            let mut agents = change::AddAgents { count: added.count, ..change::AddAgents::default() };
            match &added.what {
                AddedLike::Agent(wanted) => agents.like = Some(find::agent_id(&find::agent(master, wanted).await?)),
                AddedLike::Resources(text) => {
                    let parsed = resources_text::parse(text, "*").map_err(Failure::Wrong)?;
                    agents.total = parsed.iter().map(wire).collect();
                }
            }
            changes.push(change::Change::AddAgents(agents));
        }
        for wanted in &self.remove {
            changes.push(change::Change::RemoveAgent(find::agent_id(&find::agent(master, wanted).await?)));
        }
        changes.extend(self.plain());
        Ok(changes.into_iter().map(|change| Change { change: Some(change) }).collect())
    }

    /// Changes that need nobody to be looked up.
    fn plain(&self) -> Vec<change::Change> {
        use change::{Change as Supposed, DropFilters, Less, Nothing, RoleAmounts};
        let of_role = |(role, amounts): &(String, Amounts)| RoleAmounts {
            role: role.clone(),
            amounts: amounts.clone().into_iter().collect(),
        };
        let weight = |(role, weight): &(String, f64)| RoleWeight { role: role.clone(), weight: *weight };
        let mut changes: Vec<Supposed> = self.weight.iter().map(|given| Supposed::Weight(weight(given))).collect();
        changes.extend(self.limit.iter().map(|given| Supposed::Limit(of_role(given))));
        changes.extend(self.guarantee.iter().map(|given| Supposed::Guarantee(of_role(given))));
        changes.extend(self.policy.clone().map(Supposed::Policy));
        let less = self.less.iter().flatten();
        changes.extend(less.map(|(name, amount)| Supposed::Less(Less { name: name.clone(), amount: *amount })));
        changes.extend(self.capability.iter().cloned().map(Supposed::Capability));
        changes.extend(self.drop_filters.then(|| Supposed::DropFilters(DropFilters::default())));
        changes.extend(self.drop_minimum.then_some(Supposed::DropMinimum(Nothing {})));
        changes.extend(self.revive.then_some(Supposed::Revive(Nothing {})));
        changes.extend(self.drop_reservations.iter().cloned().map(Supposed::DropReservations));
        changes
    }
}

/// `mesos what-if`.
pub(crate) async fn what_if(args: WhatIfArgs, master: Master) -> Result<ExitCode, Failure> {
    let changes = args.changes(&master).await?;
    if changes.is_empty() {
        let text = "nothing is supposed: say what would be different, for example --add 1:like=AGENT";
        return Err(Failure::Wrong(text.to_owned()));
    }
    let (query, target) = args.query.query(&master).await?;
    let request = WhatIfRequest { changes, query: Some(query) };
    let answer = master.allocation().what_if(request).await.map_err(|status| failure(target.as_ref(), status))?;
    let outcome = answer.into_inner();
    match args.output.output {
        Format::Json => output::write(&as_json(&outcome)),
        Format::Quiet => output::write(&format!("{}\n", placed(outcome.after.as_ref()))),
        Format::Table | Format::Wide => output::write(&outcome_text(&outcome, args.output.output == Format::Wide)),
    }
    Ok(ExitCode::SUCCESS)
}

fn placed(explanation: Option<&Explanation>) -> String {
    explanation.map(|found| format!("{} of {} placed", found.placeable, found.count.max(1))).unwrap_or_default()
}

fn outcome_text(outcome: &WhatIfResponse, wide: bool) -> String {
    let summary = |found: Option<&Explanation>| found.map(|found| found.summary.clone()).unwrap_or_default();
    let mut out = format!(
        "now   {}: {}\nthen  {}: {}\n",
        placed(outcome.before.as_ref()),
        summary(outcome.before.as_ref()),
        placed(outcome.after.as_ref()),
        summary(outcome.after.as_ref())
    );
    if !outcome.roles.is_empty() {
        out.push_str("\nWhat roles would have:\n");
        for role in &outcome.roles {
            let (before, after) = (amounts::text(&role.before), amounts::text(&role.after));
            let change = if before == after { format!("{before} as now") } else { format!("{before} -> {after}") };
            out.push_str(&format!("  {}: {change}\n", role.role));
        }
    }
    if let Some(after) = outcome.after.as_ref().filter(|after| after.placeable < after.count.max(1)) {
        out.push_str("\nThen:\n");
        out.push_str(&text(after, wide));
    }
    out
}

#[cfg(test)]
mod tests {
    use mesos_proto::services::v1::{Blocker, Remedy, RoleOutcome, Turn};

    use super::{super::tests::parse, *};

    fn explanation() -> Explanation {
        let id = |value: &str| Some(v1::FrameworkId { value: value.into() });
        Explanation {
            framework_id: id("f1"),
            role: "ads".into(),
            count: 1,
            summary: "waits for 8 cpus: no agent has them free".into(),
            blockers: vec![
                Blocker {
                    why: "in_use".into(),
                    detail: "tasks hold 6 of 8 cpus".into(),
                    agents: 12,
                    examples: vec![v1::AgentId { value: "S1".into() }],
                },
                Blocker { why: "limit".into(), detail: "the limit of ads is 4 cpus".into(), ..Blocker::default() },
            ],
            turns: vec![
                Turn { framework_id: id("f2"), role: "eng".into(), share: 0.1, weight: 2.0, priority: 0 },
                Turn { framework_id: id("f1"), role: "ads".into(), share: 0.255, weight: 1.0, priority: -1 },
            ],
            remedies: vec![Remedy { text: "ask for 2 cpus".into(), ..Remedy::default() }],
            ..Explanation::default()
        }
    }

    #[test]
    fn an_explanation_begins_with_its_summary_and_ends_with_what_would_help() {
        let expected = "waits for 8 cpus: no agent has them free\n\
            \nWhat binds:\n  on 12 agents  tasks hold 6 of 8 cpus\n  everywhere    the limit of ads is 4 cpus\n\
            \nWhose turn it is:\n  1. f2 in eng: 10.0% of the cluster, weight 2, priority 0\n  \
            2. f1 in ads: 25.5% of the cluster, weight 1, priority -1  <-\n\
            \nAny of these would place it:\n  - ask for 2 cpus\n";
        assert_eq!(text(&explanation(), false), expected);
        assert!(text(&explanation(), true).contains("tasks hold 6 of 8 cpus (S1)"));
    }

    #[test]
    fn a_what_if_shows_what_would_change() {
        let amounts = |cpus: f64| [("cpus".to_owned(), cpus)].into();
        let role = |role: &str, before: f64, after: f64| RoleOutcome {
            role: role.into(),
            before: amounts(before),
            after: amounts(after),
        };
        let after = Explanation { placeable: 1, summary: "nothing binds".into(), ..explanation() };
        let outcome = WhatIfResponse {
            before: Some(explanation()),
            after: Some(after),
            roles: vec![role("ads", 1.0, 9.0), role("eng", 2.0, 2.0)],
        };
        let text = outcome_text(&outcome, false);
        assert!(text.starts_with("now   0 of 1 placed: waits for 8 cpus"), "{text}");
        assert!(text.contains("then  1 of 1 placed: nothing binds"), "{text}");
        assert!(text.contains("  ads: cpus:1 -> cpus:9\n  eng: cpus:2 as now\n"), "{text}");
        assert!(!text.contains("What binds"), "{text}");
    }

    #[test]
    fn supposed_changes_are_read() {
        let args: WhatIfArgs = parse(&[
            "f",
            "--add=2:like=host7",
            "--add=1:cpus:8;mem:32GB",
            "--weight=ads=2",
            "--limit=ads=cpus:4",
            "--policy=fifo",
            "--less=cpus:2",
            "--revive",
        ])
        .unwrap();
        assert_eq!(args.add[0], Added { count: 2, what: AddedLike::Agent("host7".into()) });
        assert_eq!(args.add[1], Added { count: 1, what: AddedLike::Resources("cpus:8;mem:32GB".into()) });
        assert_eq!(args.plain().len(), 5);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(parse::<ExplainArgs>(&["--role", "ads"]).is_ok());
        for args in [&[][..], &["f", "--count", "0"], &["f", "--resources", "gold"]] {
            assert!(parse::<ExplainArgs>(args).is_err(), "{args:?}");
        }
        for args in [
            &["f", "--add", "like=a"][..],
            &["f", "--add", "0:like=a"],
            &["f", "--add", "1:like="],
            &["f", "--add", "1:gold"],
            &["f", "--limit", "ads"],
            &["f", "--limit", "ads=cpus"],
            &["f", "--weight", "ads=0"],
            &["f", "--policy", "mine"],
        ] {
            assert!(parse::<WhatIfArgs>(args).is_err(), "{args:?}");
        }
    }
}
