//! Calls of the allocator and what comes of them, each in a line for people.

use mesos_core::{
    allocation::{Event, Output},
    machine,
    message::{
        AgentReport, AgentToAllocator, AllocatorCall, Answer, Call, Caller, OperationKind, OperatorCall, Order,
        StreamEvent, ToAgent, ToStream,
    },
    recording::Input,
    row::{AgentState, FrameworkState, LaunchRow, Row, RowChange},
};
use mesos_model::{OfferId, Resources, uuid_text};
use serde::Serialize;

/// What comes of a call of the allocator.
pub(super) type Effects = machine::Effects<Output>;

/// How long a value without words of its own may be.
const DEBUG_MAX: usize = 300;

/// What a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Offer,
    Rescind,
    Launch,
    Operation,
    Task,
    Refuse,
    Unreachable,
}

impl Kind {
    /// Its name in lists.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Offer => "offer",
            Kind::Rescind => "rescind",
            Kind::Launch => "launch",
            Kind::Operation => "operation",
            Kind::Task => "task",
            Kind::Refuse => "refuse",
            Kind::Unreachable => "unreachable",
        }
    }
}

/// One thing that the allocator decided.
#[derive(Debug, Serialize)]
pub(super) struct Decision {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// What was decided in a call, in order.
pub(super) fn decisions(told: &Input, effects: &Effects, mut found: impl FnMut(Decision)) {
    let accept = matches!(told, Input::Step(Event::Call { call: Call { what: AllocatorCall::Accept { .. }, .. }, .. }));
    for change in &effects.changes {
        match change {
            RowChange::Put(Row::Launch(row)) if accept => found(Decision { kind: Kind::Launch, text: launch(row) }),
            RowChange::Put(Row::Operation(_)) => found(Decision { kind: Kind::Operation, text: self::change(change) }),
            RowChange::Put(Row::Agent(row)) if matches!(row.state, AgentState::Unreachable { .. }) => {
                found(Decision { kind: Kind::Unreachable, text: format!("agent {} ({})", row.id, row.hostname) });
            }
            _ => {}
        }
    }
    for output in &effects.outputs {
        match output {
            Output::Reply { answer, .. } if answer.status >= 400 => {
                found(Decision { kind: Kind::Refuse, text: format!("{} with {}", input(told), reply(answer)) });
            }
            Output::Stream { event, .. } => {
                let kind = match &event.event {
                    StreamEvent::Offers(_) => Kind::Offer,
                    StreamEvent::Rescind(_) => Kind::Rescind,
                    StreamEvent::Update { .. } => Kind::Task,
                    StreamEvent::OperationError { .. } | StreamEvent::OperationFinished { .. } => Kind::Operation,
                    _ => continue,
                };
                stream(event).into_iter().for_each(|text| found(Decision { kind, text }));
            }
            _ => {}
        }
    }
}

/// Everything that came of a call: row changes first, which are committed before the outputs leave.
pub(super) fn effects(effects: &Effects) -> Vec<String> {
    effects.changes.iter().map(change).chain(effects.outputs.iter().flat_map(output)).collect()
}

/// A call.
pub(super) fn input(input: &Input) -> String {
    match input {
        Input::Restore(change) => format!("own row: {}", self::change(change)),
        Input::Peer(change) => format!("registry's row: {}", self::change(change)),
        Input::PeerWroteIn(term) => {
            format!("the registry's rows are those of term {} of {}", term.epoch, term.leader_text())
        }
        Input::PeerLost(key) => format!("the registry's row {} is not there any more", key.text()),
        Input::Lead(term) => format!("lead: term {} of {}", term.epoch, term.leader_text()),
        Input::Follow => "follow: the term is over".to_owned(),
        Input::Settle => "settle: the batch ends, what is free is offered".to_owned(),
        Input::Tick => "tick: a deadline has come".to_owned(),
        Input::Step(Event::Call { call, .. }) => self::call(call),
        Input::Step(Event::Agent(message)) => agent(message),
        Input::Step(Event::Delivered(offers)) => format!("a gateway confirms {} deliveries of offers", offers.len()),
        Input::Step(Event::BusBack) => "the bus is back".to_owned(),
        Input::Step(Event::Deaf(true)) => "the own beat does not come back over the bus".to_owned(),
        Input::Step(Event::Deaf(false)) => "the own beat comes back over the bus".to_owned(),
    }
}

fn call(call: &Call<AllocatorCall>) -> String {
    let principal = call.principal.as_ref().map(|principal| format!(" by {principal}")).unwrap_or_default();
    let refuse = |ms: Option<u64>| ms.map(|ms| format!(", refusing for {ms} ms")).unwrap_or_default();
    match &call.what {
        AllocatorCall::Accept { caller, offers, operations, refuse_ms } => {
            let operations: Vec<String> = operations.iter().map(|operation| operation_text(&operation.kind)).collect();
            let what = if operations.is_empty() { "nothing".to_owned() } else { operations.join(", ") };
            format!("ACCEPT{principal} of {} {}: {what}{}", who(caller), ids(offers), refuse(*refuse_ms))
        }
        AllocatorCall::Decline { caller, offers, refuse_ms } => {
            format!("DECLINE{principal} of {} {}{}", who(caller), ids(offers), refuse(*refuse_ms))
        }
        AllocatorCall::AnswerInverse { caller, offers, accepted, refuse_ms } => {
            let name = if *accepted { "ACCEPT_INVERSE_OFFERS" } else { "DECLINE_INVERSE_OFFERS" };
            format!("{name}{principal} of {} {}{}", who(caller), ids(offers), refuse(*refuse_ms))
        }
        AllocatorCall::Request { caller, requests } => {
            let wanted: Vec<String> = requests.iter().map(|one| format!("{} x {}", one.count, one.resources)).collect();
            format!("REQUEST{principal} of {}: {}", who(caller), wanted.join(", "))
        }
        AllocatorCall::Operator(OperatorCall::SetPolicy { policy, module }) => {
            let module = module.as_ref().map(|module| format!(" with a module of {} bytes", module.len()));
            format!("operator{principal}: policy {policy}{}", module.unwrap_or_default())
        }
        AllocatorCall::Operator(call) => format!("operator{principal}: {}", short(call)),
    }
}

fn operation_text(kind: &OperationKind) -> String {
    match kind {
        OperationKind::Launch(tasks) => {
            let tasks: Vec<String> =
                tasks.iter().map(|task| format!("{} with {}", task.task, task.resources)).collect();
            format!("launch {}", tasks.join(", "))
        }
        OperationKind::LaunchGroup { tasks, .. } => {
            let tasks: Vec<&str> = tasks.iter().map(|task| task.task.as_str()).collect();
            format!("launch group {}", tasks.join(", "))
        }
        OperationKind::Convert(conversion) => format!("{} {}", conversion.name, conversion.consumed),
        OperationKind::Invalid { name, message } => format!("{name} (not done: {message})"),
    }
}

fn who(caller: &Caller) -> String {
    format!("{}{}", caller.framework, if caller.operator { " for an operator" } else { "" })
}

fn ids(offers: &[OfferId]) -> String {
    let offers: Vec<String> = offers.iter().map(ToString::to_string).collect();
    offers.join(", ")
}

fn agent(message: &AgentToAllocator) -> String {
    match message {
        AgentToAllocator::Report(report) => self::report(report),
        AgentToAllocator::Beat { agent, number, .. } => format!("agent {agent} lives and has taken up order {number}"),
        AgentToAllocator::Disobeys { agent, term } => format!("agent {agent} obeys epoch {}", term.epoch),
    }
}

fn report(report: &AgentReport) -> String {
    let id = report.agent.as_ref().map_or_else(|| uuid_text(report.instance), ToString::to_string);
    let answers = report.answers.map_or("by itself", |_| "as asked");
    format!(
        "agent {id} ({}) reports {answers}: {}; {} launches",
        report.hostname,
        amount(&report.total),
        report.launches.len()
    )
}

fn change(change: &RowChange) -> String {
    match change {
        RowChange::Delete(key) => format!("- {}", key.text()),
        RowChange::Put(Row::Agent(row)) => {
            let state = match row.state {
                AgentState::Active => "active",
                AgentState::Unreachable { .. } => "unreachable",
                AgentState::Gone => "gone",
            };
            let leaving = match row.drain {
                Some(drain) if drain.drained => ", drained",
                Some(_) => ", draining",
                None if row.deactivated => ", deactivated",
                None => "",
            };
            let down = if row.down { ", its machine down" } else { "" };
            format!("+ agent/{} ({}) {state}{leaving}{down}: {}", row.id, row.hostname, amount(&row.total))
        }
        RowChange::Put(Row::Launch(row)) => format!("+ launch/{}: {}", row.launch, launch(row)),
        RowChange::Put(Row::Framework(row)) => {
            let state = match row.state {
                FrameworkState::Connected => "connected",
                FrameworkState::Lost { .. } => "lost",
                FrameworkState::Disconnected { .. } => "disconnected",
                FrameworkState::Removed { .. } => "removed",
            };
            let roles: Vec<&str> = row.info.roles.iter().map(|role| role.as_str()).collect();
            let suppressed = if row.suppressed.is_empty() { "" } else { ", some suppressed" };
            format!("+ framework/{} ({}) {state} in {}{suppressed}", row.id, row.info.name, roles.join(", "))
        }
        RowChange::Put(Row::Task(row)) => {
            let kill = if row.kill.is_some() { ", to be killed" } else { "" };
            format!("+ task/{}/{} on {}: {}{kill}", row.framework, row.task, row.agent, row.state.name())
        }
        RowChange::Put(Row::Operation(row)) => {
            let (from, to) = (&row.conversion.consumed, &row.conversion.converted);
            format!("+ operation/{} on {}: {} {from} to {to}", row.operation, row.agent, row.conversion.name)
        }
        RowChange::Put(Row::Policy(row)) => format!("+ policy {}", row.policy),
        RowChange::Put(Row::Role(row)) => format!("+ role/{}: {}", row.role, short(&row.facts)),
        // What is in it is cold, or not the allocator's.
        RowChange::Put(row) => format!("+ {}", row.key().text()),
    }
}

fn launch(row: &LaunchRow) -> String {
    let tasks: Vec<&str> = row.tasks.iter().map(|task| task.task.as_str()).collect();
    format!(
        "{} of {} in {} on agent {} with {}",
        tasks.join(", "),
        row.framework,
        row.role,
        row.agent,
        amount(&row.resources())
    )
}

fn output(output: &Output) -> Vec<String> {
    match output {
        Output::Reply { request, answer } => vec![format!("reply to call {}: {}", request.0, reply(answer))],
        Output::Stream { event, .. } => stream(event),
        Output::Agent { agent, message } => to_agent(&format!("agent {agent}"), message),
        Output::Unregistered { instance, message } => to_agent(&format!("instance {}", uuid_text(*instance)), message),
        Output::AllAgents(message) => to_agent("all agents", message),
        Output::RaiseEpoch(term) => vec![format!("a term above epoch {} is needed", term.epoch)],
        Output::Trouble(text) => vec![format!("trouble: {text}")],
    }
}

fn reply(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.text).trim_end().to_owned()
}

fn stream(event: &ToStream) -> Vec<String> {
    let framework = &event.framework;
    match &event.event {
        StreamEvent::Offers(offers) => offers
            .iter()
            .map(|offer| {
                let (role, agent, host) = (&offer.role, &offer.agent, &offer.hostname);
                let what = amount(&offer.resources);
                format!("offer {} to {framework} in {role}: of agent {agent} ({host}) {what}", offer.id)
            })
            .collect(),
        StreamEvent::Rescind(offer) => vec![format!("rescind {offer} of {framework}")],
        StreamEvent::InverseOffers(offers) => {
            let ask = |offer: &mesos_core::message::InverseOffer| {
                format!("ask {framework} by {} to leave agent {} ({})", offer.id, offer.agent, offer.hostname)
            };
            offers.iter().map(ask).collect()
        }
        StreamEvent::RescindInverse(offer) => vec![format!("rescind inverse offer {offer} of {framework}")],
        StreamEvent::Update { status, .. } => {
            let why = status.message.as_deref().unwrap_or_default();
            vec![format!("tell {framework}: task {} is {}: {why}", status.task, status.state.name())]
        }
        StreamEvent::OperationError { operation, message, .. } => {
            vec![format!("tell {framework}: operation {operation} is not done: {message}")]
        }
        StreamEvent::OperationFinished { operation, agent, .. } => {
            vec![format!("tell {framework}: operation {operation} is done on {agent}")]
        }
        other => vec![format!("tell {framework}: {}", short(other))],
    }
}

fn to_agent(whom: &str, message: &ToAgent) -> Vec<String> {
    match message {
        ToAgent::Orders { first, orders, .. } => orders
            .iter()
            .zip(*first..)
            .map(|(order, number)| format!("order {number} to {whom}: {}", self::order(order)))
            .collect(),
        ToAgent::Welcome { agent, .. } => vec![format!("welcome {whom} as {agent}")],
        ToAgent::Handshake { .. } => vec![format!("ask {whom} to shake hands")],
        ToAgent::Refused { reason, .. } => vec![format!("refuse {whom}: {reason}")],
        ToAgent::Heard { .. } => vec![format!("tell {whom} that it is heard")],
        other => vec![format!("tell {whom}: {}", short(other))],
    }
}

fn order(order: &Order) -> String {
    match order {
        Order::Launch(launch) => {
            let tasks: Vec<&str> = launch.tasks.iter().map(|(task, ..)| task.as_str()).collect();
            format!("launch {} ({} of {})", launch.launch, tasks.join(", "), launch.framework)
        }
        Order::Kill { framework, task, .. } => format!("kill {task} of {framework}"),
        Order::ShutdownFramework(framework) => format!("end all of {framework}"),
        Order::Convert(conversion) => format!("{} {}", conversion.name, conversion.consumed),
        Order::Preempt { framework, task, message } => format!("end {task} of {framework}: {message}"),
        Order::Drain { max_grace_ms: Some(ms) } => format!("drain: end everything within {ms} ms"),
        Order::Drain { max_grace_ms: None } => "drain: end everything".to_owned(),
    }
}

fn amount(resources: &Resources) -> String {
    if resources.is_empty() { "nothing".to_owned() } else { resources.to_string() }
}

/// A value as the program writes it, cut where it gets long.
fn short(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(DEBUG_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
