//! The calls about weights, quota, roles, reservations and volumes, with Mesos's statuses.

use http::StatusCode;
use mesos_core::message::Conversion;
use mesos_proto::v1::{
    self,
    master::{Call, Response as Reply, call::Type, response},
};

use super::Outcome;
use crate::{
    allocation::{Allocation, check, convert},
    calls::Context,
    reads::reply::Refusal,
    translate::conversion,
};

/// Whether a call is one of these.
#[must_use]
pub fn handles(kind: Type) -> bool {
    matches!(
        kind,
        Type::GetRoles
            | Type::GetWeights
            | Type::UpdateWeights
            | Type::GetQuota
            | Type::UpdateQuota
            | Type::SetQuota
            | Type::RemoveQuota
            | Type::ReserveResources
            | Type::UnreserveResources
            | Type::CreateVolumes
            | Type::DestroyVolumes
            | Type::GrowVolume
            | Type::ShrinkVolume
    )
}

/// Does one.
///
/// # Errors
/// 400 for what is wrong in the call, and what the allocator refuses.
pub(crate) async fn outcome(allocation: &Allocation, call: &Call, context: Context) -> Result<Outcome, Refusal> {
    match call.r#type() {
        Type::GetRoles | Type::GetWeights | Type::GetQuota => read(allocation, call.r#type()).await,
        Type::UpdateWeights | Type::UpdateQuota | Type::SetQuota | Type::RemoveQuota => {
            set(allocation, call, context).await.map_err(in_words_of_mesos)?;
            Ok(Outcome::Done(StatusCode::OK))
        }
        _ => {
            let (agent, conversion) = asked_conversion(call)?;
            allocation.convert(&agent, conversion, context).await.map_err(in_words_of_mesos)?;
            Ok(Outcome::Done(StatusCode::ACCEPTED))
        }
    }
}

async fn read(allocation: &Allocation, kind: Type) -> Result<Outcome, Refusal> {
    let roles = allocation.role_views().await?;
    let mut reply = Reply::default();
    let kind = match kind {
        Type::GetWeights => {
            let weight_infos = roles.iter().filter(|view| convert::has_weight(view)).map(convert::weight_info);
            reply.get_weights = Some(response::GetWeights { weight_infos: weight_infos.collect() });
            response::Type::GetWeights
        }
        Type::GetQuota => {
            reply.get_quota = Some(response::GetQuota { status: convert::quota_status(&roles) });
            response::Type::GetQuota
        }
        _ => {
            reply.get_roles = Some(response::GetRoles { roles: roles.iter().map(convert::mesos_role).collect() });
            response::Type::GetRoles
        }
    };
    reply.r#type = Some(kind.into());
    Ok(Outcome::Reply(Box::new(reply)))
}

async fn set(allocation: &Allocation, call: &Call, context: Context) -> Result<(), Refusal> {
    match call.r#type() {
        Type::UpdateWeights => {
            let infos = call.update_weights.as_ref().map_or(&[][..], |update| &update.weight_infos);
            update_weights(allocation, infos, context).await
        }
        Type::UpdateQuota => {
            let update = call.update_quota.clone().unwrap_or_default();
            let quotas = update.quota_configs.iter().map(check::quota_config).collect::<Result<Vec<_>, _>>()?;
            allocation.set_quotas(update.force.unwrap_or_default(), quotas, context).await
        }
        Type::SetQuota => {
            let request = call.set_quota.as_ref().map(|set| set.quota_request.clone()).unwrap_or_default();
            set_quota(allocation, &request, context).await
        }
        _ => {
            let role = call.remove_quota.as_ref().map(|remove| remove.role.as_str()).unwrap_or_default();
            remove_quota(allocation, role, context).await
        }
    }
}

/// UPDATE_WEIGHTS.
///
/// # Errors
/// For weights that cannot be, and what the allocator refuses.
pub async fn update_weights(
    allocation: &Allocation,
    infos: &[v1::WeightInfo],
    context: Context,
) -> Result<(), Refusal> {
    let weights = check::weights(infos.iter().map(|info| (info.role.as_deref().unwrap_or("*"), info.weight)))?;
    allocation.ask(mesos_core::message::OperatorCall::UpdateWeights(weights), context).await.map(drop)
}

/// SET_QUOTA, the old way: a role that has a quota has to lose it first.
///
/// # Errors
/// As Mesos words them.
pub async fn set_quota(
    allocation: &Allocation,
    request: &v1::quota::QuotaRequest,
    context: Context,
) -> Result<(), Refusal> {
    let quota = check::old_quota(request)?;
    let roles = allocation.role_views().await?;
    if roles.iter().any(|view| view.role == quota.role && convert::has_quota(view)) {
        let text = format!(
            "Failed to validate set quota request: Cannot set quota for role '{}' which already has quota",
            quota.role
        );
        return Err(Refusal::bad(text));
    }
    allocation.set_quotas(request.force.unwrap_or_default(), vec![quota], context).await
}

/// REMOVE_QUOTA.
///
/// # Errors
/// For a role without one, and what the allocator refuses.
pub async fn remove_quota(allocation: &Allocation, role: &str, context: Context) -> Result<(), Refusal> {
    let role = check::role(role)?;
    let roles = allocation.role_views().await?;
    if !roles.iter().any(|view| view.role == role && convert::has_quota(view)) {
        return Err(Refusal::bad(format!("Failed to remove quota: Role '{role}' has no quota set")));
    }
    let quota = mesos_core::message::Quota { role, ..Default::default() };
    allocation.set_quotas(false, vec![quota], context).await
}

/// Mesos answers 400 where something that was named is not there.
pub(crate) fn in_words_of_mesos(refusal: Refusal) -> Refusal {
    match refusal.status {
        StatusCode::NOT_FOUND => Refusal { status: StatusCode::BAD_REQUEST, ..refusal },
        _ => refusal,
    }
}

/// What is to become what, and on which agent.
fn asked_conversion(call: &Call) -> Result<(String, Conversion), Refusal> {
    let id = |agent: &v1::AgentId| agent.value.clone();
    // Without an agent the volume would be one of a resource provider.
    let own = |agent: &Option<v1::AgentId>| {
        agent.as_ref().map(id).ok_or_else(|| Refusal::bad("Expecting 'agent_id' to be present"))
    };
    let (name, agent, read) = if let Some(ask) = &call.reserve_resources {
        ("RESERVE", id(&ask.agent_id), conversion::reserve(&ask.resources, &ask.source))
    } else if let Some(ask) = &call.unreserve_resources {
        ("UNRESERVE", id(&ask.agent_id), conversion::unreserve(&ask.resources))
    } else if let Some(ask) = &call.create_volumes {
        ("CREATE", id(&ask.agent_id), conversion::create(&ask.volumes))
    } else if let Some(ask) = &call.destroy_volumes {
        ("DESTROY", id(&ask.agent_id), conversion::destroy(&ask.volumes))
    } else if let Some(ask) = &call.grow_volume {
        ("GROW_VOLUME", own(&ask.agent_id)?, conversion::grow(&ask.volume, &ask.addition))
    } else if let Some(ask) = &call.shrink_volume {
        ("SHRINK_VOLUME", own(&ask.agent_id)?, conversion::shrink(&ask.volume, ask.subtract))
    } else {
        return Err(Refusal::bad("Expecting what is to be converted"));
    };
    Ok((agent, valid(name, read)?))
}

/// An operation that could be read, or why it could not, as Mesos words it.
///
/// # Errors
/// 400.
pub fn valid(name: &str, read: Result<Conversion, String>) -> Result<Conversion, Refusal> {
    read.map_err(|why| Refusal::bad(format!("Invalid {name} operation: {why}")))
}
