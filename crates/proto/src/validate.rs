//! What Mesos checks before it looks at a message: required fields, the parts of a call, ids.
//!
//! prost decodes a message whose `required` fields are missing as if they were empty; the checks here
//! go by the descriptors, over the undecoded bytes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};

use crate::v1::{executor, master, scheduler};
use crate::wire::{DEPTH_MAX, Fields, Value, WireError};

/// Why a message cannot be taken as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequiredError {
    /// The paths of the missing fields, in Mesos's order (`subscribe.framework_info.user`).
    #[error("Missing required fields: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// The bytes are not protobuf.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// The contract has no message of this name.
    #[error("unknown message {0}")]
    UnknownMessage(String),
}

/// Checks that an encoded message and all messages within it have their `required` fields.
///
/// Messages that need no check are skipped without being read, so a valid call costs a walk over its
/// outer fields and few allocations. A required enum with an unknown number counts as missing, as it
/// does for proto2.
pub fn required_fields(full_name: &str, message: &[u8]) -> Result<(), RequiredError> {
    let plans = &*PLANS;
    let Some(&index) = plans.by_name.get(full_name) else {
        return Err(RequiredError::UnknownMessage(full_name.to_owned()));
    };
    let plan = &plans.all[index];
    if !plan.needed {
        return Ok(());
    }
    let mut missing = Vec::new();
    plan.check(message, &mut String::new(), &mut missing, 0)?;
    if missing.is_empty() { Ok(()) } else { Err(RequiredError::Missing(missing)) }
}

/// What to look at in the messages of one type.
struct Plan {
    /// Whether this message or one within it has required fields at all.
    needed: bool,
    required: Vec<Required>,
    /// The message fields whose type is worth a look, by ascending number.
    children: Vec<Child>,
}

struct Required {
    number: u32,
    name: String,
    values: Option<EnumDescriptor>,
}

struct Child {
    number: u32,
    name: String,
    repeated: bool,
    plan: usize,
}

struct Plans {
    all: Vec<Plan>,
    by_name: HashMap<String, usize>,
}

static PLANS: LazyLock<Plans> = LazyLock::new(Plans::new);

impl Plans {
    fn new() -> Self {
        let messages: Vec<MessageDescriptor> = crate::descriptors().all_messages().collect();
        let by_name: HashMap<String, usize> =
            messages.iter().enumerate().map(|(index, message)| (message.full_name().to_owned(), index)).collect();
        let mut all: Vec<Plan> = messages.iter().map(|message| Plan::new(message, &by_name)).collect();
        // A message is worth a look if one of its children is; repeat until nothing new is found.
        loop {
            let found: Vec<usize> = (0..all.len())
                .filter(|&index| !all[index].needed)
                .filter(|&index| all[index].children.iter().any(|child| all[child.plan].needed))
                .collect();
            if found.is_empty() {
                break;
            }
            for index in found {
                all[index].needed = true;
            }
        }
        let needed: Vec<bool> = all.iter().map(|plan| plan.needed).collect();
        for plan in &mut all {
            plan.children.retain(|child| needed[child.plan]);
        }
        Plans { all, by_name }
    }
}

impl Plan {
    fn new(message: &MessageDescriptor, by_name: &HashMap<String, usize>) -> Self {
        let mut required = Vec::new();
        let mut children = Vec::new();
        for field in message.fields() {
            let kind = field.kind();
            if field.is_required() {
                required.push(Required {
                    number: field.number(),
                    name: field.name().to_owned(),
                    values: kind.as_enum().cloned(),
                });
            }
            if let Kind::Message(inner) = kind
                && let Some(&plan) = by_name.get(inner.full_name())
            {
                children.push(Child {
                    number: field.number(),
                    name: field.name().to_owned(),
                    repeated: field.is_list() || field.is_map(),
                    plan,
                });
            }
        }
        children.sort_by_key(|child| child.number);
        Plan { needed: !required.is_empty(), required, children }
    }

    fn check(
        &self,
        message: &[u8],
        path: &mut String,
        missing: &mut Vec<String>,
        depth: usize,
    ) -> Result<(), WireError> {
        if depth > DEPTH_MAX {
            return Err(WireError::TooDeep);
        }
        let mut seen = vec![false; self.required.len()];
        let mut parts: Vec<(usize, &[u8])> = Vec::new();
        for field in Fields::new(message) {
            let (number, value) = field?;
            if let Some(at) = self.required.iter().position(|required| required.number == number) {
                seen[at] |= self.required[at].accepts(value);
            }
            if let Ok(at) = self.children.binary_search_by_key(&number, |child| child.number) {
                let Value::Bytes(inner) = value else {
                    return Err(WireError::NotLengthDelimited(number));
                };
                parts.push((at, inner));
            }
        }
        for (required, seen) in self.required.iter().zip(seen) {
            if !seen {
                missing.push(format!("{path}{}", required.name));
            }
        }
        parts.sort_by_key(|&(at, _)| at);
        for group in parts.chunk_by(|left, right| left.0 == right.0) {
            self.children[group[0].0].check(group, path, missing, depth)?;
        }
        Ok(())
    }
}

impl Required {
    fn accepts(&self, value: Value<'_>) -> bool {
        match (&self.values, value) {
            // Enums are written as sign-extended 64 bits; the lower half is the number.
            (Some(values), Value::Varint(number)) => values.get_value(number as i32).is_some(),
            (Some(_), _) => false,
            (None, _) => true,
        }
    }
}

impl Child {
    /// Checks all occurrences of this field in one message.
    fn check(
        &self,
        occurrences: &[(usize, &[u8])],
        path: &mut String,
        missing: &mut Vec<String>,
        depth: usize,
    ) -> Result<(), WireError> {
        let plan = &PLANS.all[self.plan];
        let length = path.len();
        path.push_str(&self.name);
        let stem = path.len();
        match occurrences {
            _ if self.repeated => {
                for (index, (_, inner)) in occurrences.iter().enumerate() {
                    // Writing to a string cannot fail.
                    let _ = write!(path, "[{index}].");
                    plan.check(inner, path, missing, depth + 1)?;
                    path.truncate(stem);
                }
            }
            [(_, inner)] => {
                path.push('.');
                plan.check(inner, path, missing, depth + 1)?;
            }
            // Written twice, a message that is not repeated is the merge of both.
            _ => {
                path.push('.');
                let joined: Vec<u8> = occurrences.iter().flat_map(|(_, inner)| *inner).copied().collect();
                plan.check(&joined, path, missing, depth + 1)?;
            }
        }
        path.truncate(length);
        Ok(())
    }
}

/// Why an id of a framework, agent, task, executor or volume is refused. Worded as Mesos words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing there.
    #[error("ID must not be empty")]
    Empty,
    /// More than 255 bytes.
    #[error("ID must not be greater than {ID_MAX_BYTES} characters")]
    TooLong,
    /// `.` or `..`, which would be directories.
    #[error("'{0}' is disallowed")]
    Disallowed(String),
    /// A slash, a backslash or a control character.
    #[error("'{0}' contains invalid characters")]
    InvalidCharacters(String),
}

/// The longest id, in bytes: a file name may not be longer.
pub const ID_MAX_BYTES: usize = 255;

/// The rules that every id must meet (`src/common/validation.cpp` of Apache Mesos).
pub fn validate_id(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if id.len() > ID_MAX_BYTES {
        return Err(IdError::TooLong);
    }
    if id == "." || id == ".." {
        return Err(IdError::Disallowed(id.to_owned()));
    }
    if id.bytes().any(|byte| byte.is_ascii_control() || byte == b'/' || byte == b'\\') {
        return Err(IdError::InvalidCharacters(id.to_owned()));
    }
    Ok(())
}

/// What is wrong with a call, in the words that follow `Failed to validate scheduler::Call: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallError(pub String);

fn expecting(field: &str) -> CallError {
    CallError(format!("Expecting '{field}' to be present"))
}

/// Row 6 of the checks of the scheduler API, after [`required_fields`]: the parts that the type asks
/// for, ids that agree, acknowledgements with a UUID, and the principal who was authenticated.
pub fn scheduler_call(call: &scheduler::Call, principal: Option<&str>) -> Result<(), CallError> {
    use scheduler::call::Type;
    // A type that this build does not know reads as unset, as proto2 has it.
    let Some(kind) = call.r#type.and_then(|number| Type::try_from(number).ok()) else {
        return Err(expecting("type"));
    };
    if kind == Type::Subscribe {
        return subscribe_call(call, principal);
    }
    let Some(framework_id) = &call.framework_id else {
        return Err(expecting("framework_id"));
    };
    let part = |present: bool, field: &str| {
        if present { Ok(()) } else { Err(expecting(field)) }
    };
    match kind {
        Type::Subscribe | Type::Unknown | Type::Teardown | Type::Revive | Type::Suppress => Ok(()),
        Type::Accept => part(call.accept.is_some(), "accept"),
        Type::Decline => part(call.decline.is_some(), "decline"),
        Type::AcceptInverseOffers => part(call.accept_inverse_offers.is_some(), "accept_inverse_offers"),
        Type::DeclineInverseOffers => part(call.decline_inverse_offers.is_some(), "decline_inverse_offers"),
        Type::Kill => part(call.kill.is_some(), "kill"),
        Type::Shutdown => part(call.shutdown.is_some(), "shutdown"),
        Type::Acknowledge => {
            let acknowledge = call.acknowledge.as_ref().ok_or_else(|| expecting("acknowledge"))?;
            uuid(&acknowledge.uuid)
        }
        Type::AcknowledgeOperationStatus => {
            let acknowledge =
                call.acknowledge_operation_status.as_ref().ok_or_else(|| expecting("acknowledge_operation_status"))?;
            uuid(&acknowledge.uuid)?;
            part(acknowledge.agent_id.is_some(), "agent_id")
        }
        Type::Reconcile => part(call.reconcile.is_some(), "reconcile"),
        Type::ReconcileOperations => part(call.reconcile_operations.is_some(), "reconcile_operations"),
        Type::Message => part(call.message.is_some(), "message"),
        Type::Request => part(call.request.is_some(), "request"),
        Type::UpdateFramework => {
            let update = call.update_framework.as_ref().ok_or_else(|| expecting("update_framework"))?;
            let id = update.framework_info.id.as_ref().map_or("", |id| &id.value);
            if framework_id.value != id {
                return Err(CallError("'framework_id' differs from 'update_framework.framework_info.id'".to_owned()));
            }
            Ok(())
        }
    }
}

fn subscribe_call(call: &scheduler::Call, principal: Option<&str>) -> Result<(), CallError> {
    let subscribe = call.subscribe.as_ref().ok_or_else(|| expecting("subscribe"))?;
    let info = &subscribe.framework_info;
    let own = info.id.as_ref().map_or("", |id| &id.value);
    let outer = call.framework_id.as_ref().map_or("", |id| &id.value);
    if own != outer {
        return Err(CallError("'framework_id' differs from 'subscribe.framework_info.id'".to_owned()));
    }
    match (principal, &info.principal) {
        (Some(authenticated), Some(claimed)) if authenticated != claimed => Err(CallError(format!(
            "Authenticated principal '{authenticated}' does not match principal '{claimed}' set in \
             `FrameworkInfo`"
        ))),
        _ => Ok(()),
    }
}

fn uuid(bytes: &[u8]) -> Result<(), CallError> {
    if bytes.len() == 16 { Ok(()) } else { Err(CallError("Not a valid UUID".to_owned())) }
}

/// Checks an executor's call by itself (`src/slave/validation.cpp`, `executor::call::validate`).
///
/// # Errors
/// What is wrong, in Mesos's words; they follow `Failed to validate Executor::Call: `.
pub fn executor_call(call: &executor::Call) -> Result<(), CallError> {
    use executor::call::Type;
    let kind = call.r#type.and_then(|number| Type::try_from(number).ok()).unwrap_or(Type::Unknown);
    if call.r#type.is_none() {
        return Err(expecting("type"));
    }
    for (name, id) in [("framework_id", &call.framework_id.value), ("executor_id", &call.executor_id.value)] {
        validate_id(id).map_err(|error| CallError(format!("'{name}' is invalid: {error}")))?;
    }
    match kind {
        Type::Unknown | Type::Heartbeat => Ok(()),
        Type::Subscribe => {
            let subscribe = call.subscribe.as_ref().ok_or_else(|| expecting("subscribe"))?;
            subscribe.unacknowledged_updates.iter().try_for_each(|update| executor_status(call, &update.status))
        }
        Type::Update => executor_status(call, &call.update.as_ref().ok_or_else(|| expecting("update"))?.status),
        Type::Message => call.message.as_ref().map(|_| ()).ok_or_else(|| expecting("message")),
    }
}

fn executor_status(call: &executor::Call, status: &crate::v1::TaskStatus) -> Result<(), CallError> {
    use crate::v1::{TaskState, task_status::Source};
    uuid(status.uuid.as_ref().ok_or_else(|| expecting("uuid"))?)?;
    validate_id(&status.task_id.value).map_err(|error| CallError(format!("'task_id' is invalid: {error}")))?;
    let executor = &call.executor_id.value;
    if let Some(other) = status.executor_id.as_ref().filter(|id| id.value != *executor) {
        return Err(CallError(format!(
            "ExecutorID in Call: {executor} does not match ExecutorID in TaskStatus: {}",
            other.value.escape_debug()
        )));
    }
    // An executor that says nothing of the source means itself.
    if status.source.is_some_and(|source| source != i32::from(Source::Executor)) {
        return Err(CallError(format!(
            "Received Call from executor {executor} with a source other than SOURCE_EXECUTOR"
        )));
    }
    match TaskState::try_from(status.state) {
        Ok(TaskState::TaskStaging) => {
            Err(CallError(format!("Received TASK_STAGING from executor {executor} which is not allowed")))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(CallError(format!("there is no task state {}", status.state))),
    }
}

/// The parts that the type of an operator's call asks for; the words that follow
/// `Failed to validate master::Call: `.
pub fn master_call(call: &master::Call) -> Result<(), CallError> {
    use master::call::Type;
    let Some(kind) = call.r#type.and_then(|number| Type::try_from(number).ok()) else {
        return Err(expecting("type"));
    };
    let (present, field) = match kind {
        Type::Unknown
        | Type::GetHealth
        | Type::GetFlags
        | Type::GetVersion
        | Type::GetLoggingLevel
        | Type::GetState
        | Type::GetAgents
        | Type::GetFrameworks
        | Type::GetExecutors
        | Type::GetOperations
        | Type::GetTasks
        | Type::GetRoles
        | Type::GetWeights
        | Type::GetMaster
        | Type::Subscribe
        | Type::GetMaintenanceStatus
        | Type::GetMaintenanceSchedule
        | Type::GetQuota => return Ok(()),
        Type::GetMetrics => (call.get_metrics.is_some(), "get_metrics"),
        Type::SetLoggingLevel => (call.set_logging_level.is_some(), "set_logging_level"),
        Type::ListFiles => (call.list_files.is_some(), "list_files"),
        Type::ReadFile => (call.read_file.is_some(), "read_file"),
        Type::UpdateWeights => (call.update_weights.is_some(), "update_weights"),
        Type::ReserveResources => (call.reserve_resources.is_some(), "reserve_resources"),
        Type::UnreserveResources => (call.unreserve_resources.is_some(), "unreserve_resources"),
        Type::CreateVolumes => (call.create_volumes.is_some(), "create_volumes"),
        Type::DestroyVolumes => (call.destroy_volumes.is_some(), "destroy_volumes"),
        Type::GrowVolume => (call.grow_volume.is_some(), "grow_volume"),
        Type::ShrinkVolume => (call.shrink_volume.is_some(), "shrink_volume"),
        Type::UpdateMaintenanceSchedule => (call.update_maintenance_schedule.is_some(), "update_maintenance_schedule"),
        Type::StartMaintenance => (call.start_maintenance.is_some(), "start_maintenance"),
        Type::StopMaintenance => (call.stop_maintenance.is_some(), "stop_maintenance"),
        Type::DrainAgent => (call.drain_agent.is_some(), "drain_agent"),
        Type::DeactivateAgent => (call.deactivate_agent.is_some(), "deactivate_agent"),
        Type::ReactivateAgent => (call.reactivate_agent.is_some(), "reactivate_agent"),
        Type::UpdateQuota => (call.update_quota.is_some(), "update_quota"),
        Type::SetQuota => (call.set_quota.is_some(), "set_quota"),
        Type::RemoveQuota => (call.remove_quota.is_some(), "remove_quota"),
        Type::Teardown => (call.teardown.is_some(), "teardown"),
        Type::MarkAgentGone => (call.mark_agent_gone.is_some(), "mark_agent_gone"),
    };
    if present { Ok(()) } else { Err(expecting(field)) }
}
