//! Agents that leave on purpose, and machines that will be away: what operators ask, over every API.
//!
//! Nothing is decided here: a request is read, asked of the allocator, and its answer written as the contract has it.

use std::time::Duration;

use mesos_core::message::{
    AnswerBody, InverseAnswer, MachineId, MaintenanceView, OperatorCall, Unavailability, Window,
};
use mesos_core::row::{AgentRow, Drain};
use mesos_model::{AgentId, Time};
use mesos_proto::v1::{
    self, DrainState, allocator::InverseOfferStatus, allocator::inverse_offer_status::Status, maintenance,
    maintenance::cluster_status::DrainingMachine,
};

use crate::{allocation::Allocation, calls::Context, reads::reply::Refusal, translate};

/// The longest grace that a drain may be given: 365 days, as the longest filter.
const GRACE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The grace of a DRAIN_AGENT in milliseconds, rounded up.
///
/// # Errors
/// For one that is negative, or longer than a year.
pub fn grace_ms(grace: Option<&prost_types::Duration>) -> Result<Option<u64>, Refusal> {
    let Some(grace) = grace else { return Ok(None) };
    let wrong = || Refusal::bad("'max_grace_period' must be between 0 and 365 days");
    let grace = Duration::try_from(*grace).map_err(|_| wrong())?;
    if grace > GRACE_MAX {
        return Err(wrong());
    }
    Ok(u64::try_from(grace.as_nanos().div_ceil(1_000_000)).ok())
}

/// A call on one agent.
///
/// # Errors
/// For an agent without an id, and what the allocator refuses.
pub async fn on_agent(
    allocation: &Allocation,
    agent: &str,
    call: impl FnOnce(AgentId) -> OperatorCall,
    context: Context,
) -> Result<(), Refusal> {
    if agent.is_empty() {
        return Err(Refusal::bad("'agent_id' is empty"));
    }
    allocation.ask(call(AgentId::new(agent)), context).await.map(drop)
}

/// A schedule as the machines have it.
#[must_use]
pub fn windows(schedule: &maintenance::Schedule) -> Vec<Window> {
    let window = |window: &maintenance::Window| Window {
        machines: machines(&window.machine_ids),
        unavailability: Unavailability {
            start_ns: window.unavailability.start.nanoseconds,
            duration_ns: window.unavailability.duration.as_ref().map(|duration| duration.nanoseconds),
        },
    };
    schedule.windows.iter().map(window).collect()
}

/// Machines as the machines have them.
#[must_use]
pub fn machines(ids: &[v1::MachineId]) -> Vec<MachineId> {
    let machine = |id: &v1::MachineId| MachineId {
        hostname: id.hostname.clone().unwrap_or_default(),
        ip: id.ip.clone().unwrap_or_default(),
    };
    ids.iter().map(machine).collect()
}

/// What is planned, and where it stands.
///
/// # Errors
/// What the allocator refuses.
pub async fn view(allocation: &Allocation) -> Result<MaintenanceView, Refusal> {
    match allocation.ask(OperatorCall::GetMaintenance, Context::default()).await? {
        AnswerBody::Maintenance(view) => Ok(*view),
        _ => Err(crate::allocation::unfit()),
    }
}

/// The schedule as the contract has it.
#[must_use]
pub fn schedule(view: &MaintenanceView) -> maintenance::Schedule {
    let window = |window: &Window| maintenance::Window {
        machine_ids: window.machines.iter().map(machine).collect(),
        unavailability: unavailability(&window.unavailability),
    };
    maintenance::Schedule { windows: view.windows.iter().map(window).collect() }
}

/// Where the machines of the schedule stand, as the contract has it.
#[must_use]
pub fn status(view: &MaintenanceView) -> maintenance::ClusterStatus {
    let answer = |answer: &InverseAnswer| InverseOfferStatus {
        status: match answer.accepted {
            None => Status::Unknown,
            Some(true) => Status::Accept,
            Some(false) => Status::Decline,
        }
        .into(),
        framework_id: translate::framework_id(&answer.framework),
        timestamp: time(answer.time),
    };
    let draining = |(id, answers): &(MachineId, Vec<InverseAnswer>)| DrainingMachine {
        id: machine(id),
        statuses: answers.iter().map(answer).collect(),
    };
    maintenance::ClusterStatus {
        draining_machines: view.draining.iter().map(draining).collect(),
        down_machines: view.down.iter().map(machine).collect(),
    }
}

fn machine(machine: &MachineId) -> v1::MachineId {
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    v1::MachineId { hostname: given(&machine.hostname), ip: given(&machine.ip) }
}

/// When something is away, as the contract has it.
#[must_use]
pub fn unavailability(when: &Unavailability) -> v1::Unavailability {
    v1::Unavailability {
        start: v1::TimeInfo { nanoseconds: when.start_ns },
        duration: when.duration_ns.map(|nanoseconds| v1::DurationInfo { nanoseconds }),
    }
}

fn time(time: Time) -> v1::TimeInfo {
    v1::TimeInfo { nanoseconds: i64::try_from(time.0).unwrap_or(i64::MAX).saturating_mul(1_000_000) }
}

/// How an agent is drained and how far, as the contract has it.
#[must_use]
pub fn drain_info(row: &AgentRow) -> Option<v1::DrainInfo> {
    let info = |drain: &Drain| {
        let grace = drain.max_grace_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000));
        v1::DrainInfo {
            state: if drain.drained { DrainState::Drained } else { DrainState::Draining }.into(),
            config: v1::DrainConfig {
                max_grace_period: grace.map(|nanoseconds| v1::DurationInfo { nanoseconds }),
                mark_gone: Some(drain.mark_gone),
            },
        }
    };
    row.drain.as_ref().map(info)
}

/// When an agent's drain began, as the contract has it.
#[must_use]
pub fn drain_start(row: &AgentRow) -> Option<v1::TimeInfo> {
    row.drain.map(|drain| time(drain.since))
}

#[cfg(test)]
mod tests;
