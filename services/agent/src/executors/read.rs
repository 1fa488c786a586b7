//! From the contract's calls to the machine's. What the machine does not decide on stays as it was written.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mesos_core::agent::{ExecutorCall, ExecutorUpdate};
use mesos_model::{Reason, Source, TaskState, TaskStatus, Time};
use mesos_proto::{
    prost::Message as _,
    v1::{
        self,
        executor::{self, call::Type},
    },
    wire,
};

/// The largest status, in bytes: it is in the checkpoint, and in the registry's rows, until it is acknowledged.
const STATUS_MAX: usize = 1 << 20;
/// Tasks and updates that a SUBSCRIBE may name.
const UNACKNOWLEDGED_MAX: usize = 10_000;

/// Field numbers on the way to statuses.
mod number {
    pub(super) const SUBSCRIBE: u32 = 4;
    pub(super) const UPDATE: u32 = 5;
    pub(super) const UNACKNOWLEDGED_UPDATES: u32 = 2;
    pub(super) const STATUS: u32 = 1;
}

/// A call that was found valid; `None` for one without a meaning. `raw` is the call undecoded.
///
/// # Errors
/// Says which limit it breaks.
pub(super) fn call(call: &executor::Call, raw: &Bytes) -> Result<Option<ExecutorCall>, String> {
    let kind = call.r#type.and_then(|number| Type::try_from(number).ok()).unwrap_or(Type::Unknown);
    Ok(Some(match kind {
        Type::Unknown => return Ok(None),
        Type::Heartbeat => ExecutorCall::Heartbeat,
        Type::Message => {
            ExecutorCall::Message(call.message.as_ref().map(|message| message.data.clone()).unwrap_or_default())
        }
        Type::Update => {
            let slices = wire::slices(raw, &[number::UPDATE, number::STATUS]).map_err(|error| error.to_string())?;
            let Some(found) = &call.update else { return Ok(None) };
            ExecutorCall::Update(update(&found.status, wire::merged(slices))?)
        }
        Type::Subscribe => subscribe(call.subscribe.clone().unwrap_or_default(), raw)?,
    }))
}

fn subscribe(subscribe: executor::call::Subscribe, raw: &Bytes) -> Result<ExecutorCall, String> {
    let executor::call::Subscribe { unacknowledged_tasks: tasks, unacknowledged_updates: updates } = subscribe;
    if tasks.len().max(updates.len()) > UNACKNOWLEDGED_MAX {
        return Err(format!("more than {UNACKNOWLEDGED_MAX} unacknowledged tasks or updates"));
    }
    let path = [number::SUBSCRIBE, number::UNACKNOWLEDGED_UPDATES, number::STATUS];
    let slices = wire::slices(raw, &path).map_err(|error| error.to_string())?;
    // A part that was written twice, which nobody does, costs the fields that are not known here.
    let whole = slices.len() == updates.len();
    let slice = |at: usize| slices.get(at).filter(|_| whole).cloned();
    let updates = updates.iter().enumerate().map(|(at, found)| update(&found.status, slice(at)));
    Ok(ExecutorCall::Subscribe {
        tasks: tasks.into_iter().map(|task| task.task_id.value.as_str().into()).collect(),
        updates: updates.collect::<Result<_, _>>()?,
    })
}

fn update(status: &v1::TaskStatus, raw: Option<Bytes>) -> Result<ExecutorUpdate, String> {
    let body = raw.unwrap_or_else(|| status.encode_to_vec().into());
    if body.len() > STATUS_MAX {
        return Err(format!("a status has {} bytes; {STATUS_MAX} are allowed", body.len()));
    }
    let state = TaskState::from_number(status.state).ok_or_else(|| format!("no task state {}", status.state))?;
    let uuid = status.uuid.as_deref().and_then(|uuid| uuid.try_into().ok()).map(u128::from_be_bytes);
    Ok(ExecutorUpdate {
        has_container_status: status.container_status.is_some(),
        status: TaskStatus {
            reason: status.reason.map(Reason),
            message: status.message.clone(),
            uuid,
            healthy: status.healthy,
            exit_code: status.exit_code,
            body,
            ..TaskStatus::new(status.task_id.value.as_str().into(), state, Source::Executor, time(status.timestamp))
        },
    })
}

/// When it was, as far as the executor says something sensible; else now.
fn time(seconds: Option<f64>) -> Time {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    // The cast saturates.
    let given =
        seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0).map(|seconds| (seconds * 1000.0) as u64);
    Time(given.unwrap_or_else(now))
}
