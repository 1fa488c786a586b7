//! What is seen of the cluster through a gateway, and told to it: an operator's calls, as `mesos agents` and
//! `mesos drain` make them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mesos_core::message::Amounts;
use mesos_model::{AgentId, Resource, Resources, resources::milli_from_f64};
use mesos_proto::{
    dial::{Access, Address, Door, reason},
    services::v1::{
        CreateJoinTokenRequest, GetRequestsRequest, JoinToken, agents_client::AgentsClient,
        allocation_client::AllocationClient, operator_client::OperatorClient,
    },
    v1::{
        self, DrainState,
        master::{
            Call,
            call::{self, Type},
            response::get_agents::Agent,
        },
    },
};
use tokio::sync::OnceCell;
use tonic::{Code, Status};

use crate::machine::{AgentSeen, Picture, Refused, Tell, auto::Waiting};

/// How long a call may take.
const CALL_MAX: Duration = Duration::from_secs(10);
/// The attributes by which a node's agent is known.
const NAMES: [&str; 2] = ["node", "instance"];

/// The port of a gateway that names none.
const PORT: u16 = 5050;

/// The way to the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cluster {
    gateway: Address,
    access: Access,
    /// One connection, which opens itself again.
    door: Arc<OnceCell<Door>>,
}

impl Cluster {
    /// Through this gateway; connects when it is first asked.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn new(gateway: &str, access: Access) -> Result<Cluster, String> {
        let gateway = Address::parse(gateway, PORT).map_err(|why| format!("{gateway}: {why}"))?;
        Ok(Cluster { gateway, access, door: Arc::default() })
    }

    async fn door(&self) -> Result<Door, String> {
        let open = async {
            let endpoint = self.access.endpoint(&self.gateway).await?;
            let endpoint = endpoint.connect_timeout(CALL_MAX).timeout(CALL_MAX).http2_keep_alive_interval(CALL_MAX);
            Ok::<_, String>(Door::new(self.access.connect(endpoint).await?, self.access.bearer().await?))
        };
        self.door.get_or_try_init(|| open).await.cloned()
    }

    /// A token with which one agent joins, good for so long, and the hash of the cluster's CA.
    ///
    /// # Errors
    /// If the cluster gives none, and why.
    pub async fn join_token(&self, ttl: Duration) -> Result<JoinToken, String> {
        let request = CreateJoinTokenRequest { ttl_seconds: ttl.as_secs() };
        let made = AgentsClient::new(self.door().await?).create_join_token(request).await;
        made.map(tonic::Response::into_inner).map_err(|status| reason(&status))
    }

    /// All agents, and what waits.
    ///
    /// # Errors
    /// If the gateway cannot say, and why.
    pub async fn look(&self) -> Result<Picture, String> {
        let unseen = |why: String| format!("the cluster cannot be seen: {why}");
        let words = |status: Status| unseen(reason(&status));
        let door = self.door().await.map_err(unseen)?;
        // A whole cluster's agents in one message, from a gateway of ours.
        let mut operator = OperatorClient::new(door.clone()).max_decoding_message_size(usize::MAX);
        let mut allocation = AllocationClient::new(door).max_decoding_message_size(usize::MAX);
        let call = Call { r#type: Some(Type::GetAgents.into()), ..Call::default() };
        let answer = Box::pin(operator.call(call)).await.map_err(words)?.into_inner();
        let agents = answer.get_agents.unwrap_or_default();
        let waiting = allocation.get_requests(GetRequestsRequest {}).await.map_err(words)?.into_inner();
        let away = agents.unreachable_agents.iter().map(|agent| seen(agent, false));
        let waits = waiting.requests.iter().map(|one| (resources(&one.resources).scalars(), one.count));
        Ok(Picture {
            agents: agents.agents.iter().map(|agent| seen(agent, true)).chain(away).collect(),
            waiting: together(waits),
        })
    }

    /// Tells the allocator something about an agent.
    ///
    /// # Errors
    /// What it says to that.
    pub async fn tell(&self, agent: &AgentId, what: Tell) -> Result<(), Refused> {
        let agent_id = v1::AgentId { value: agent.as_str().to_owned() };
        let mut call = Call::default();
        let kind = match what {
            Tell::Deactivate => {
                call.deactivate_agent = Some(call::DeactivateAgent { agent_id });
                Type::DeactivateAgent
            }
            Tell::Reactivate => {
                call.reactivate_agent = Some(call::ReactivateAgent { agent_id });
                Type::ReactivateAgent
            }
            Tell::Gone => {
                call.mark_agent_gone = Some(call::MarkAgentGone { agent_id });
                Type::MarkAgentGone
            }
            Tell::Drain { grace_ms } => {
                let grace = grace_ms.map(Duration::from_millis).and_then(|grace| grace.try_into().ok());
                call.drain_agent = Some(call::DrainAgent { agent_id, max_grace_period: grace, mark_gone: Some(false) });
                Type::DrainAgent
            }
        };
        call.r#type = Some(kind.into());
        let door = self.door().await.map_err(|text| Refused { is_gone: false, text })?;
        let done = Box::pin(OperatorClient::new(door).call(call)).await;
        done.map(drop).map_err(|status| Refused {
            is_gone: status.code() == Code::NotFound || status.message().contains("was marked gone"),
            text: status.message().to_owned(),
        })
    }
}

/// Equal wants as one, so that what waits can be compared from look to look.
fn together(all: impl Iterator<Item = Waiting>) -> Vec<Waiting> {
    let mut sums: BTreeMap<Amounts, u32> = BTreeMap::new();
    for (need, count) in all.filter(|(need, _)| !need.is_empty()) {
        let sum = sums.entry(need).or_insert(0);
        *sum = sum.saturating_add(count);
    }
    sums.into_iter().collect()
}

fn seen(agent: &Agent, reachable: bool) -> AgentSeen {
    let info = &agent.agent_info;
    let names = info.attributes.iter().filter(|attribute| NAMES.contains(&attribute.name.as_str()));
    let names = names.filter_map(|attribute| attribute.text.as_ref().map(|text| text.value.clone()));
    let is_free = |one: &&v1::Resource| !is_reserved(one);
    let mut free = amounts(agent.total_resources.iter().filter(is_free));
    for (name, amount) in amounts(agent.allocated_resources.iter().filter(is_free)) {
        *free.entry(name).or_insert(0) -= amount;
    }
    AgentSeen {
        id: AgentId::new(info.id.as_ref().map(|id| id.value.as_str()).unwrap_or_default()),
        hostname: info.hostname.clone(),
        names: names.collect(),
        reachable: reachable && !agent.unreachable.unwrap_or(false),
        active: agent.active && !agent.deactivated.unwrap_or(false),
        drained: agent.drain_info.as_ref().is_some_and(|info| info.state() == DrainState::Drained),
        total: resources(&agent.total_resources),
        allocated: resources(&agent.allocated_resources),
        free,
    }
}

fn is_reserved(resource: &v1::Resource) -> bool {
    !resource.reservations.is_empty() || resource.role.as_deref().is_some_and(|role| role != "*" && !role.is_empty())
}

/// Amounts of what is not revocable, in thousandths.
fn amounts<'a>(list: impl Iterator<Item = &'a v1::Resource>) -> Amounts {
    let mut amounts = Amounts::new();
    for resource in list.filter(|resource| resource.revocable.is_none()) {
        let value = resource.scalar.as_ref().map(|scalar| scalar.value);
        if let Some(Ok(milli)) = value.map(|value| milli_from_f64(&resource.name, value)) {
            *amounts.entry(Arc::from(resource.name.as_str())).or_insert(0) += milli;
        }
    }
    amounts
}

fn resources(list: &[v1::Resource]) -> Resources {
    let mut resources = Resources::new();
    for (name, milli) in amounts(list.iter()) {
        resources.add_entry(Resource::scalar(&name, milli));
    }
    resources
}
