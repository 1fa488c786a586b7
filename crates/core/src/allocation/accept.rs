//! ACCEPT: offers become launches, and what is left over is declined.

use mesos_engine::{AgentSlot, Bundle, ClientSlot};
use mesos_model::{
    AgentId, CallId, ExecutorId, FrameworkId, LaunchId, OfferId, Reason, Resources, Role, Source, TaskId, TaskState,
    TaskStatus, Time, Trace,
    planted::{Bug, is_planted},
};

use super::{
    Allocator, Output,
    state::{Framework, holds_something},
    validate::{self, Needs},
};
use crate::{
    machine::Effects,
    message::{Conversion, ExecutorSpec, LaunchOrder, Operation, OperationKind, Order, StreamEvent, TaskSpec},
    row::{BodyRow, LaunchKind, LaunchRow, LaunchTask, Row},
};

/// Whose call it is.
pub(super) struct Context {
    pub(super) framework: FrameworkId,
    pub(super) call: CallId,
    pub(super) trace: Option<Trace>,
}

/// What was accepted, and how much of it no operation has used so far.
struct Claim {
    agent: AgentId,
    role: Role,
    parties: (ClientSlot, AgentSlot),
    left: Resources,
    /// What operations have made of it: it comes back without a filter if nothing uses it.
    converted: Resources,
}

/// One executor with its tasks, found valid.
struct Launching {
    executor: ExecutorId,
    executor_resources: Resources,
    executor_body: Option<bytes::Bytes>,
    kind: LaunchKind,
    tasks: Vec<TaskSpec>,
}

impl Allocator {
    /// Does the operations in order, each with what those before it have left over.
    pub(super) fn accept(
        &mut self,
        now: Time,
        context: &Context,
        offers: &[OfferId],
        operations: Vec<Operation>,
        refuse_ms: Option<u64>,
        fx: &mut Effects<Output>,
    ) {
        let mut claim = match self.claim(&context.framework, offers) {
            Ok(claim) => claim,
            Err(error) => {
                self.discard(now, context, offers, &operations, &error, fx);
                return;
            }
        };
        let count = offers.len() as u64;
        if operations.is_empty() {
            self.metrics.offers_declined += count;
        } else {
            self.metrics.offers_accepted += count;
        }
        for operation in operations {
            self.operate(now, context, &mut claim, operation, fx);
        }
        let (client, agent) = claim.parties;
        let refused = Bundle::from(&claim.left.minus(&claim.converted));
        self.refuse(now, client, agent, &refused, refuse_ms);
    }

    /// Takes the offers if all of them are valid together.
    fn claim(&mut self, framework: &FrameworkId, offers: &[OfferId]) -> Result<Claim, String> {
        let mut numbers: Vec<u64> = Vec::with_capacity(offers.len());
        let mut claim: Option<Claim> = None;
        for id in offers {
            let no_longer = || format!("Offer {id} is no longer valid");
            let number = self.find_offer(id).ok_or_else(no_longer)?;
            let open = self.open_offer(number).ok_or_else(no_longer)?;
            if numbers.contains(&number) {
                return Err(format!("Duplicate offer {id} in offer list"));
            }
            if open.framework != *framework && !is_planted(Bug::AnybodysOffer) {
                return Err(format!(
                    "Offer {id} has invalid framework {} while framework {framework} is expected",
                    open.framework
                ));
            }
            let claim = claim.get_or_insert_with(|| Claim {
                agent: open.agent.clone(),
                role: open.role.clone(),
                parties: open.parties,
                left: Resources::new(),
                converted: Resources::new(),
            });
            if claim.agent != open.agent {
                return Err(format!(
                    "Aggregated offers must belong to one single agent. Offer {id} uses agent {} and agent {}",
                    open.agent, claim.agent
                ));
            }
            if claim.role != open.role {
                return Err(format!(
                    "Aggregated offers must be allocated to the same role. Offer {id} uses role {} but another is \
                     using role {}",
                    open.role, claim.role
                ));
            }
            claim.left.add(&open.bundle.resources());
            numbers.push(number);
        }
        for number in numbers.into_iter().filter(|_| !is_planted(Bug::OfferStaysOpen)) {
            self.take_offer(number);
        }
        claim.ok_or_else(|| "No offers specified".to_owned())
    }

    /// Not all offers are valid: the others are free again without a filter, and nothing is done.
    fn discard(
        &mut self,
        now: Time,
        context: &Context,
        offers: &[OfferId],
        operations: &[Operation],
        error: &str,
        fx: &mut Effects<Output>,
    ) {
        for id in offers {
            let own = self
                .find_offer(id)
                .filter(|number| self.open_offer(*number).is_some_and(|open| open.framework == context.framework));
            if let Some(number) = own {
                self.take_offer(number);
                self.metrics.offers_recovered += 1;
            }
        }
        for operation in operations {
            match &operation.kind {
                OperationKind::Launch(tasks) | OperationKind::LaunchGroup { tasks, .. } => {
                    let message = format!("Task launched with invalid offers: {error}");
                    for task in tasks {
                        if self.is_taken(&context.framework, &task.task) {
                            // A repeat of an ACCEPT whose answer a store has lost: its tasks run.
                            continue;
                        }
                        self.drop_task(now, context, task, Reason::INVALID_OFFERS, &message, fx);
                    }
                }
                OperationKind::Invalid { name, .. } | OperationKind::Convert(Conversion { name, .. }) => {
                    let message = format!("{name} operation attempted with invalid offers: {error}");
                    self.fail_operation(context, operation.id.as_ref(), None, message, fx);
                }
            }
        }
    }

    fn operate(
        &mut self,
        now: Time,
        context: &Context,
        claim: &mut Claim,
        operation: Operation,
        fx: &mut Effects<Output>,
    ) {
        // Feedback on launches comes as task statuses, so Mesos refuses an id there.
        let misplaced_id = operation.id.is_some().then_some("The `id` field cannot be set on LAUNCH operations");
        match operation.kind {
            OperationKind::Launch(tasks) => {
                for task in tasks {
                    let valid = match misplaced_id {
                        Some(error) => Err(error.to_owned()),
                        None => self.validate_task(context, claim, &task),
                    };
                    match valid {
                        Ok(needs) => self.launch_task(now, context, claim, task, needs, fx),
                        Err(error) => self.refuse_task(now, context, &task, Reason::TASK_INVALID, &error, fx),
                    }
                }
            }
            OperationKind::LaunchGroup { executor, tasks } => {
                let valid = match misplaced_id {
                    Some(_) => Err("The `id` field cannot be set on LAUNCH_GROUP operations".to_owned()),
                    None => self.validate_group(context, claim, &executor, &tasks),
                };
                match valid {
                    Ok(needs) => {
                        let group = Launching {
                            executor: executor.executor,
                            executor_resources: needs.executor,
                            executor_body: Some(executor.body),
                            kind: if executor.custom { LaunchKind::CustomGroup } else { LaunchKind::Group },
                            tasks,
                        };
                        self.launch(now, context, claim, group, fx);
                    }
                    Err(error) => {
                        for task in &tasks {
                            self.refuse_task(now, context, task, Reason::TASK_GROUP_INVALID, &error, fx);
                        }
                    }
                }
            }
            OperationKind::Convert(conversion) => {
                let valid = self.validate_conversion(context, &claim.agent, &claim.role, &claim.left, &conversion);
                match valid {
                    Ok(()) => {
                        claim.left = conversion.applied_to(&claim.left);
                        claim.converted = conversion.applied_to(&claim.converted);
                        let feedback = operation.id.map(|id| (context.framework.clone(), id));
                        self.convert(now, &claim.agent, conversion, feedback, None, fx);
                    }
                    Err(error) => {
                        let message = format!("Invalid {} operation: {error}", conversion.name);
                        self.fail_operation(context, operation.id.as_ref(), Some(&claim.agent), message, fx);
                    }
                }
            }
            OperationKind::Invalid { message, .. } => {
                self.fail_operation(context, operation.id.as_ref(), Some(&claim.agent), message, fx);
            }
        }
    }

    fn validate_task(&self, context: &Context, claim: &Claim, task: &TaskSpec) -> Result<Needs, String> {
        let running = |executor: &ExecutorSpec| self.running(&claim.agent, &context.framework, &executor.executor);
        validate::task(task, &claim.agent, |id| self.is_taken(&context.framework, id), running, &claim.left)
    }

    fn validate_group(
        &self,
        context: &Context,
        claim: &Claim,
        executor: &ExecutorSpec,
        tasks: &[TaskSpec],
    ) -> Result<Needs, String> {
        let running = self.running(&claim.agent, &context.framework, &executor.executor);
        let taken = |id: &TaskId| self.is_taken(&context.framework, id);
        validate::group(executor, tasks, &claim.agent, taken, running, &claim.left)
    }

    /// The own part of an executor that is there already. Launches whose tasks have all ended on the agent hold
    /// nothing, and neither does their executor unless it is the framework's own.
    fn running(&self, agent: &AgentId, framework: &FrameworkId, executor: &ExecutorId) -> Option<Resources> {
        self.launches_of_executor(agent, framework, executor)
            .filter(|row| holds_something(row))
            .map(|row| row.executor_resources.clone())
            .reduce(|sum, part| sum.plus(&part))
    }

    /// A task's id is taken until both the allocator and the registry have forgotten it.
    fn is_taken(&self, framework: &FrameworkId, task: &TaskId) -> bool {
        self.frameworks
            .get(framework)
            .is_some_and(|framework| framework.live.contains_key(task) || framework.tasks.contains_key(task))
            && !is_planted(Bug::TaskIdTwice)
    }

    fn launch_task(
        &mut self,
        now: Time,
        context: &Context,
        claim: &mut Claim,
        task: TaskSpec,
        needs: Needs,
        fx: &mut Effects<Output>,
    ) {
        let (executor, executor_body) = match &task.executor {
            Some(spec) => (spec.executor.clone(), Some(spec.body.clone())),
            None => (ExecutorId::new(task.task.as_str()), None),
        };
        let custom = task.executor.as_ref().is_some_and(|spec| spec.custom);
        let kind = if custom { LaunchKind::Custom } else { LaunchKind::Command };
        let executor_resources = needs.executor;
        let single = Launching { executor, executor_resources, executor_body, kind, tasks: vec![task] };
        self.launch(now, context, claim, single, fx);
    }

    /// Writes the intent down; the order leaves after the commit.
    fn launch(
        &mut self,
        now: Time,
        context: &Context,
        claim: &mut Claim,
        launching: Launching,
        fx: &mut Effects<Output>,
    ) {
        let Some(term) = self.term else { return };
        let launch = LaunchId::from(format!("{}-L{}", term.leader_text(), self.launches_named));
        self.launches_named += 1;
        self.metrics.launches += 1;
        let framework = self.frameworks.get(&context.framework).and_then(|framework| framework.row.as_ref());
        let own_priority = framework.map_or(0, |row| row.priority.unwrap_or(row.info.priority));
        let bodies: Vec<bytes::Bytes> = launching.tasks.iter().map(|task| task.body.clone()).collect();
        let body = BodyRow { launch: launch.clone(), tasks: bodies, executor: launching.executor_body };
        let tasks = launching
            .tasks
            .into_iter()
            .map(|task| LaunchTask {
                task: task.task,
                name: task.name,
                resources: task.resources,
                priority: task.priority.unwrap_or(own_priority),
            })
            .collect();
        let mut row = LaunchRow {
            launch,
            framework: context.framework.clone(),
            role: claim.role.clone(),
            agent: claim.agent.clone(),
            executor: launching.executor,
            executor_resources: launching.executor_resources,
            tasks,
            sent: (term, 0),
            call: context.call.clone(),
            time: now,
            trace: context.trace,
            adopted: None,
            kind: launching.kind,
        };
        let holds = row.resources();
        // A shared volume is there for the next task as well.
        claim.left.take_what_is_there(&holds.filter(|resource| !resource.is_shared()));
        self.engine.launched(claim.parties.0, &Bundle::from(&holds));
        let order = self.launch_order(&row, &body);
        row.sent.1 = self.order(&row.agent.clone(), order);
        fx.put(Row::Body(body.clone()));
        self.bodies.insert(row.launch.clone(), body);
        self.write_launch(row, fx);
    }

    /// The order that carries a launch.
    pub(super) fn launch_order(&self, row: &LaunchRow, body: &BodyRow) -> Order {
        let facts = match &row.adopted {
            Some(facts) => facts.clone(),
            None => self.frameworks.get(&row.framework).map(Framework::facts).unwrap_or_default(),
        };
        let tasks = row.tasks.iter().zip(&body.tasks);
        Order::Launch(Box::new(LaunchOrder {
            launch: row.launch.clone(),
            framework: row.framework.clone(),
            facts,
            executor: row.executor.clone(),
            role: row.role.clone(),
            executor_resources: row.executor_resources.clone(),
            executor_body: body.executor.clone(),
            tasks: tasks.map(|(task, body)| (task.task.clone(), task.resources.clone(), body.clone())).collect(),
            trace: row.trace,
            kind: row.kind,
        }))
    }

    fn refuse_task(
        &mut self,
        now: Time,
        context: &Context,
        task: &TaskSpec,
        reason: Reason,
        message: &str,
        fx: &mut Effects<Output>,
    ) {
        self.metrics.tasks_invalid += 1;
        self.tell_status(now, context, task, (TaskState::Error, reason, message), fx);
    }

    fn drop_task(
        &mut self,
        now: Time,
        context: &Context,
        task: &TaskSpec,
        reason: Reason,
        message: &str,
        fx: &mut Effects<Output>,
    ) {
        self.metrics.tasks_dropped += 1;
        self.tell_status(now, context, task, (TaskState::Dropped, reason, message), fx);
    }

    /// A status of the control plane's own: told once, not acknowledged.
    fn tell_status(
        &mut self,
        now: Time,
        context: &Context,
        task: &TaskSpec,
        (state, reason, message): (TaskState, Reason, &str),
        fx: &mut Effects<Output>,
    ) {
        let aware = self.frameworks.get(&context.framework).is_some_and(Framework::is_partition_aware);
        let mut status = TaskStatus::new(task.task.clone(), state.for_framework(aware), Source::Master, now)
            .because(reason, message);
        status.agent = Some(task.agent.clone());
        status.executor = task.executor.as_ref().map(|executor| executor.executor.clone());
        fx.claim();
        self.tell(&context.framework, StreamEvent::Update { status, trace: context.trace }, fx);
    }

    fn fail_operation(
        &self,
        context: &Context,
        operation: Option<&String>,
        agent: Option<&AgentId>,
        message: String,
        fx: &mut Effects<Output>,
    ) {
        if let Some(operation) = operation {
            let event = StreamEvent::OperationError { operation: operation.clone(), agent: agent.cloned(), message };
            self.tell(&context.framework, event, fx);
        }
    }
}

#[cfg(test)]
mod tests;
