//! The calls about agents that leave, and about maintenance, with Mesos's statuses.

use http::StatusCode;
use mesos_core::message::OperatorCall;
use mesos_proto::v1::{
    AgentId,
    master::{Call, Response as Reply, call::Type, response},
};

use super::{Outcome, resources::in_words_of_mesos};
use crate::{allocation::Allocation, calls::Context, leave, reads::reply::Refusal};

/// Whether a call is one of these.
#[must_use]
pub fn handles(kind: Type) -> bool {
    matches!(
        kind,
        Type::DrainAgent
            | Type::DeactivateAgent
            | Type::ReactivateAgent
            | Type::MarkAgentGone
            | Type::GetMaintenanceStatus
            | Type::GetMaintenanceSchedule
            | Type::UpdateMaintenanceSchedule
            | Type::StartMaintenance
            | Type::StopMaintenance
    )
}

/// Does one.
///
/// # Errors
/// 400 for what is wrong in the call, and what the allocator refuses.
pub(crate) async fn outcome(allocation: &Allocation, call: &Call, context: Context) -> Result<Outcome, Refusal> {
    match call.r#type() {
        Type::GetMaintenanceStatus | Type::GetMaintenanceSchedule => read(allocation, call.r#type()).await,
        _ => {
            change(allocation, call, context).await.map_err(in_words_of_mesos)?;
            Ok(Outcome::Done(StatusCode::OK))
        }
    }
}

async fn read(allocation: &Allocation, kind: Type) -> Result<Outcome, Refusal> {
    let view = leave::view(allocation).await?;
    let mut reply = Reply::default();
    let kind = if kind == Type::GetMaintenanceStatus {
        reply.get_maintenance_status = Some(response::GetMaintenanceStatus { status: leave::status(&view) });
        response::Type::GetMaintenanceStatus
    } else {
        reply.get_maintenance_schedule = Some(response::GetMaintenanceSchedule { schedule: leave::schedule(&view) });
        response::Type::GetMaintenanceSchedule
    };
    reply.r#type = Some(kind.into());
    Ok(Outcome::Reply(Box::new(reply)))
}

async fn change(allocation: &Allocation, call: &Call, context: Context) -> Result<(), Refusal> {
    let what = match call.r#type() {
        Type::DrainAgent => {
            let ask = call.drain_agent.clone().unwrap_or_default();
            let max_grace_ms = leave::grace_ms(ask.max_grace_period.as_ref())?;
            let mark_gone = ask.mark_gone.unwrap_or_default();
            let drain = |agent| OperatorCall::Drain { agent, max_grace_ms, mark_gone };
            return leave::on_agent(allocation, &ask.agent_id.value, drain, context).await;
        }
        Type::DeactivateAgent => {
            let agent = named(call.deactivate_agent.as_ref().map(|ask| &ask.agent_id));
            return leave::on_agent(allocation, agent, OperatorCall::Deactivate, context).await;
        }
        Type::ReactivateAgent => {
            let agent = named(call.reactivate_agent.as_ref().map(|ask| &ask.agent_id));
            return leave::on_agent(allocation, agent, OperatorCall::Reactivate, context).await;
        }
        Type::MarkAgentGone => {
            let agent = named(call.mark_agent_gone.as_ref().map(|ask| &ask.agent_id));
            return leave::on_agent(allocation, agent, OperatorCall::MarkGone, context).await;
        }
        Type::UpdateMaintenanceSchedule => {
            let update = call.update_maintenance_schedule.clone().unwrap_or_default();
            OperatorCall::SetSchedule(leave::windows(&update.schedule))
        }
        Type::StartMaintenance => {
            let machines = call.start_maintenance.as_ref().map_or(&[][..], |ask| &ask.machines);
            OperatorCall::StartMaintenance(leave::machines(machines))
        }
        _ => {
            let machines = call.stop_maintenance.as_ref().map_or(&[][..], |ask| &ask.machines);
            OperatorCall::StopMaintenance(leave::machines(machines))
        }
    };
    allocation.ask(what, context).await.map(drop)
}

fn named(agent: Option<&AgentId>) -> &str {
    agent.map(|agent| agent.value.as_str()).unwrap_or_default()
}
