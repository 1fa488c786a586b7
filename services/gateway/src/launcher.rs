//! `mesos.services.v1.Launcher`: what `mesos launch`, `spawn` and `kill` talk to.
//!
//! The gateway translates and follows; what is to run is decided and kept by the launcher's leader. A watcher
//! is told what this gateway's own copy sees, at once, and what only the launcher knows (a task that waits
//! for room, one that ended before it was placed) about every second.
//!
//! # Layout
//! - [`watch`]: following tasks.

mod watch;

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use mesos_core::message::{Answer, AnswerBody, Caller, JobView, LauncherCall, RegistryCall, Submission};
use mesos_model::{
    FrameworkId, Role, TaskId,
    attribute::{Attribute, AttributeValue},
    resources::milli_from_f64,
    validate_role,
};
use mesos_proto::{
    prost::Message as _,
    services::v1::{
        KillRequest, KillResponse, LaunchRequest, LaunchResponse, TaskEvent, WatchRequest, launcher_server::Launcher,
    },
    v1,
};
use mesos_runtime::telemetry;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    calls::{self, Context},
    errors,
    reads::Principal,
    server::App,
    translate,
};

/// The longest name of a task, in bytes.
const NAME_MAX: usize = 255;
/// Events that wait for a watcher's client.
const EVENTS_MAX: usize = 256;

/// The service.
pub struct Service {
    app: App,
}

impl Service {
    /// Serves with this gateway's state.
    #[must_use]
    pub fn new(app: App) -> Service {
        Service { app }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<TaskEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Launcher for Service {
    type WatchStream = Events;

    async fn launch(&self, request: Request<LaunchRequest>) -> Result<Response<LaunchResponse>, Status> {
        let parent = request
            .metadata()
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .and_then(mesos_model::Trace::parse);
        let principal = request.extensions().get::<Principal>().and_then(|principal| principal.0.clone());
        let request = request.into_inner();
        let call = calls::call_id(Some(&request.call_id)).map_err(Status::invalid_argument)?;
        let submission = submission(request).map_err(Status::invalid_argument)?;
        let span = telemetry::begin("gateway", "launch", parent);
        let trace = span.as_ref().and_then(telemetry::StepSpan::trace).or(parent);
        let context = Context { call, principal, trace };
        let answer = self.app.calls.launcher(LauncherCall::Submit(Box::new(submission)), context).await;
        match accepted(answer)? {
            AnswerBody::Submitted { framework, tasks } => Ok(Response::new(LaunchResponse {
                framework_id: Some(translate::framework_id(&framework)),
                task_ids: tasks.iter().map(translate::task_id).collect(),
            })),
            _ => Err(Status::internal("the launcher gave an answer that does not fit")),
        }
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Events>, Status> {
        let request = request.into_inner();
        let tasks: Vec<TaskId> = request.task_ids.iter().map(|id| TaskId::new(&id.value)).collect();
        let framework = request.framework_id.map(|id| FrameworkId::new(&id.value));
        let (events, receiver) = tokio::sync::mpsc::channel(EVENTS_MAX);
        let watcher = watch::Watcher::begin(self.app.clone(), framework, tasks, events).await?;
        tokio::spawn(watcher.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn kill(&self, request: Request<KillRequest>) -> Result<Response<KillResponse>, Status> {
        let request = request.into_inner();
        let task = request
            .task_id
            .map(|id| TaskId::new(&id.value))
            .ok_or_else(|| Status::invalid_argument("'task_id' is missing"))?;
        let grace_ms = match request.grace_period.map(|grace| grace.nanoseconds) {
            Some(nanoseconds) => Some(
                u64::try_from(nanoseconds).map_err(|_| Status::invalid_argument("'grace_period' is negative"))?
                    / 1_000_000,
            ),
            None => None,
        };
        let call = calls::call_id(Some(&request.call_id)).map_err(Status::invalid_argument)?;
        let given = request.framework_id.map(|id| FrameworkId::new(&id.value));
        let own = match &given {
            // Only the launcher knows a task of its own that was not placed yet.
            None => None,
            Some(given) => {
                jobs(&self.app, std::slice::from_ref(&task)).await.ok().filter(|(own, _)| own.as_ref() == Some(given))
            }
        };
        if given.is_none() || own.is_some() {
            let what = LauncherCall::Kill { task: task.clone(), grace_ms };
            let answer = self.app.calls.launcher(what, Context { call, ..Context::default() }).await;
            return accepted(answer).map(|_| Response::new(KillResponse {}));
        }
        let framework = given.unwrap_or_default();
        if self.app.view.loaded() && self.app.view.with(|cluster| cluster.task(&framework, &task).is_none()) {
            return Err(Status::not_found(format!("framework '{framework}' has no task '{task}'")));
        }
        let what = RegistryCall::Kill { caller: Caller::operator(framework), task, agent: None, grace_ms };
        let answer = self.app.calls.registry(what, Context { call, ..Context::default() }).await;
        accepted(answer).map(|_| Response::new(KillResponse {}))
    }
}

fn accepted(answer: Answer) -> Result<AnswerBody, Status> {
    if (200..300).contains(&answer.status) { Ok(answer.body) } else { Err(errors::status(answer.status, &answer.text)) }
}

/// What the launcher knows of these tasks of its own, and its framework's id.
async fn jobs(app: &App, tasks: &[TaskId]) -> Result<(Option<FrameworkId>, Vec<JobView>), Status> {
    let answer = app.calls.launcher(LauncherCall::Query { tasks: tasks.to_vec() }, Context::default()).await;
    match accepted(answer)? {
        AnswerBody::Jobs { framework, jobs } => Ok((framework, jobs)),
        _ => Err(Status::internal("the launcher gave an answer that does not fit")),
    }
}

/// Checks a request as Mesos checks a task.
fn submission(request: LaunchRequest) -> Result<Submission, String> {
    if request.name.len() > NAME_MAX {
        return Err(format!("the name must not be longer than {NAME_MAX} bytes"));
    }
    if request.name.contains(char::is_control) {
        return Err("the name must not contain control characters".to_owned());
    }
    let role = if request.role.is_empty() { "*" } else { &request.role };
    validate_role(role).map_err(|error| error.to_string())?;
    let command = request.command.as_ref().ok_or("a command is missing")?;
    if command.value.as_deref().unwrap_or_default().is_empty() && request.container.is_none() {
        return Err("a command is missing".to_owned());
    }
    let info = v1::TaskInfo {
        name: if request.name.is_empty() { "task".to_owned() } else { request.name.clone() },
        // The launcher puts the real ones in.
        task_id: v1::TaskId { value: "task".to_owned() },
        agent_id: v1::AgentId { value: "agent".to_owned() },
        resources: request.resources,
        command: request.command.clone(),
        container: request.container,
        labels: request.labels,
        health_check: request.health_check,
        check: request.check,
        kill_policy: request.kill_policy,
        limits: request.limits,
        max_completion_time: request.max_completion_time,
        discovery: request.discovery,
        priority: request.priority,
        ..v1::TaskInfo::default()
    };
    let raw = Bytes::from(info.encode_to_vec());
    let spec = translate::task::task(&FrameworkId::default(), &info, raw);
    if let Some(invalid) = spec.invalid {
        return Err(invalid);
    }
    // Another role's reservation would never be offered to this task.
    if let Some(other) = spec.resources.iter().filter_map(|one| one.reserved_for()).find(|other| other.as_str() != role)
    {
        return Err(format!("resources are reserved for role '{other}', and the task is of role '{role}'"));
    }
    Ok(Submission {
        name: info.name,
        instances: request.instances.max(1),
        template: spec.body,
        resources: spec.resources,
        role: Role::new(role),
        attributes: request.attributes.iter().map(attribute).collect::<Result<_, _>>()?,
        priority: spec.priority.unwrap_or(0),
        hold_ms: hold_ms(request.hold.as_ref())?,
    })
}

/// How long room may be gathered for a task, so that a forgotten one does not hold it for ever: as long as the
/// allocator holds anything.
const HOLD_MAX_MS: u64 = 3600 * 1000;

fn hold_ms(hold: Option<&v1::DurationInfo>) -> Result<Option<u64>, String> {
    let Some(hold) = hold else { return Ok(None) };
    match u64::try_from(hold.nanoseconds).map(|nanoseconds| nanoseconds / 1_000_000) {
        Ok(0) | Err(_) => Err("'hold' must be at least a millisecond".to_owned()),
        Ok(millis) if millis > HOLD_MAX_MS => Err("'hold' must be at most an hour".to_owned()),
        Ok(millis) => Ok(Some(millis)),
    }
}

/// An attribute with one value.
///
/// # Errors
/// For one without, with several, or with a number that cannot be accounted.
pub(crate) fn attribute(proto: &v1::Attribute) -> Result<Attribute, String> {
    let value = match (&proto.text, &proto.scalar, &proto.ranges) {
        (Some(text), None, None) => AttributeValue::Text(text.value.clone()),
        (None, Some(scalar), None) => {
            AttributeValue::Scalar(milli_from_f64(&proto.name, scalar.value).map_err(|error| error.to_string())?)
        }
        (None, None, Some(ranges)) => {
            AttributeValue::Ranges(ranges.range.iter().map(|range| (range.begin, range.end)).collect())
        }
        _ => return Err(format!("attribute '{}' needs one value", proto.name.escape_debug())),
    };
    Ok(Attribute { name: proto.name.clone(), value })
}

#[cfg(test)]
mod tests {
    use mesos_proto::v1::value;

    use super::*;

    fn scalar(name: &str, amount: f64) -> v1::Resource {
        v1::Resource {
            name: name.to_owned(),
            r#type: value::Type::Scalar.into(),
            scalar: Some(value::Scalar { value: amount }),
            ..v1::Resource::default()
        }
    }

    fn request() -> LaunchRequest {
        LaunchRequest {
            name: "a".to_owned(),
            command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..v1::CommandInfo::default() }),
            resources: vec![scalar("cpus", 0.5)],
            ..LaunchRequest::default()
        }
    }

    #[test]
    fn a_request_becomes_a_task_without_ids_of_its_own() {
        let submission = submission(request()).unwrap();
        assert_eq!((submission.instances, submission.role.as_str()), (1, "*"));
        assert_eq!(submission.resources.to_string(), "cpus:0.5");
        let template = v1::TaskInfo::decode(submission.template).unwrap();
        assert_eq!(template.command.unwrap().value.as_deref(), Some("true"));
    }

    #[test]
    fn what_cannot_run_is_refused_before_it_waits() {
        type Spoil = fn(&mut LaunchRequest);
        let cases: [(Spoil, &str); 12] = [
            (|r| r.command = None, "a command is missing"),
            (|r| r.resources.clear(), "no resources"),
            (|r| r.resources = vec![scalar("cpus", -1.0)], "cpus"),
            (|r| r.resources = vec![scalar("cpus", f64::NAN)], "cpus"),
            (|r| r.role = "a b".to_owned(), "Role"),
            (|r| r.name = "a\0".to_owned(), "control characters"),
            (|r| r.hold = Some(v1::DurationInfo { nanoseconds: 0 }), "'hold'"),
            (|r| r.hold = Some(v1::DurationInfo { nanoseconds: -1 }), "'hold'"),
            (|r| r.hold = Some(v1::DurationInfo { nanoseconds: i64::MAX }), "at most an hour"),
            (|r| r.resources[0].role = Some("ads".to_owned()), "reserved for role 'ads'"),
            (|r| r.name = "a".repeat(300), "longer than"),
            (
                |r| r.attributes = vec![v1::Attribute { name: "rack".to_owned(), ..v1::Attribute::default() }],
                "attribute 'rack'",
            ),
        ];
        for (spoil, words) in cases {
            let mut request = request();
            spoil(&mut request);
            let error = submission(request).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
