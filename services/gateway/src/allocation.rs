//! What operators set for roles and ask about allocation: weights, quota, placement, policy, needs, explain
//! and what-if. gRPC, REST, the operator API and Mesos's older endpoints all end here.
//!
//! Nothing is decided: a request is checked as far as that needs no knowledge of the cluster, asked of the
//! service that owns the fact, and its answer is written as the contract has it.
//!
//! # Layout
//! - [`check`]: from the contract's messages to the machines' types, with what is wrong in words.
//! - [`convert`]: from the machines' types to the contract's messages.
//! - [`grpc`]: the gRPC service.

pub mod check;
pub mod convert;
pub mod grpc;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::StatusCode;
use mesos_core::message::{
    AllocatorCall, Answer, AnswerBody, Caller, Conversion, JobView, LauncherCall, NeedView, OperatorCall, PolicyName,
    PolicyView, Query, Quota, RegistryCall, RoleView,
};
use mesos_model::{AgentId, FrameworkId, TaskId};
use mesos_proto::services::v1;

use crate::{
    calls::{self, Context},
    reads::{Reads, reply::Refusal},
    translate::resources::printable,
};

/// The doors behind the requests. Cheap to clone.
#[derive(Clone)]
pub struct Allocation {
    reads: Arc<Reads>,
}

impl Allocation {
    /// Behind the doors of a gateway.
    #[must_use]
    pub fn new(reads: Arc<Reads>) -> Allocation {
        Allocation { reads }
    }

    /// Asks the allocator; the body of its answer.
    ///
    /// # Errors
    /// What it refuses, with its status.
    pub async fn ask(&self, what: OperatorCall, context: Context) -> Result<AnswerBody, Refusal> {
        taken(self.reads.calls.allocator(AllocatorCall::Operator(what), context).await)
    }

    async fn policy_view(&self) -> Result<PolicyView, Refusal> {
        match self.ask(OperatorCall::GetPolicy, Context::default()).await? {
            AnswerBody::Policy(policy) => Ok(policy),
            _ => Err(unfit()),
        }
    }

    /// The policy in force.
    ///
    /// # Errors
    /// What the allocator refuses.
    pub async fn policy(&self) -> Result<v1::PolicyView, Refusal> {
        self.policy_view().await.map(convert::policy)
    }

    /// Another policy, or a module that is only loaded.
    ///
    /// # Errors
    /// For a name or a module that cannot be one, and what the allocator refuses.
    pub async fn set_policy(&self, request: v1::SetPolicyRequest, context: Context) -> Result<v1::PolicyView, Refusal> {
        let policy = check::policy(&request.policy)?;
        let module = request.module;
        if let Some(module) = &module {
            check::module(&policy, module)?;
        }
        if request.load_only && module.is_none() {
            return Err(Refusal::bad("there is no module to load"));
        }
        let context = with_call(context, &request.call_id)?;
        let before = self.policy_view().await?;
        if let PolicyName::Module(name) = &policy
            && module.is_none()
            && !before.modules.contains(name)
        {
            let known = ["drf", "fifo", "drc", "random"].into_iter().chain(before.modules.iter().map(String::as_str));
            let known: Vec<&str> = known.collect();
            let text = format!("there is no policy '{}'; there are {}", printable(name), known.join(", "));
            return Err(Refusal::not_found(text));
        }
        let call = match module {
            Some(module) if request.load_only => OperatorCall::LoadPolicy { name: request.policy, module },
            module => OperatorCall::SetPolicy { policy, module },
        };
        self.ask(call, context).await?;
        self.policy().await
    }

    /// The roles.
    ///
    /// # Errors
    /// What the allocator refuses.
    pub async fn role_views(&self) -> Result<Vec<RoleView>, Refusal> {
        match self.ask(OperatorCall::GetRoles, Context::default()).await? {
            AnswerBody::Roles(roles) => Ok(roles),
            _ => Err(unfit()),
        }
    }

    /// The roles, as the contract has them.
    ///
    /// # Errors
    /// What the allocator refuses.
    pub async fn roles(&self) -> Result<v1::GetRolesResponse, Refusal> {
        let roles = self.role_views().await?;
        Ok(v1::GetRolesResponse { roles: roles.into_iter().map(convert::role).collect() })
    }

    /// One role.
    ///
    /// # Errors
    /// For what is no name of a role, for a role that nobody is in and nothing is set for, and what the
    /// allocator refuses.
    pub async fn role(&self, name: &str) -> Result<v1::RoleView, Refusal> {
        let role = check::role(name)?;
        let found = self.role_views().await?.into_iter().find(|view| view.role == role);
        found.map(convert::role).ok_or_else(|| {
            Refusal::not_found(format!("nobody is in role '{}' and nothing is set for it", printable(name)))
        })
    }

    /// UPDATE_WEIGHTS.
    ///
    /// # Errors
    /// For weights that cannot be, and what the allocator refuses.
    pub async fn update_weights(&self, request: v1::UpdateWeightsRequest, context: Context) -> Result<(), Refusal> {
        let weights = request.weights.iter().map(|weight| (weight.role.as_str(), weight.weight));
        let weights = check::weights(weights)?;
        let context = with_call(context, &request.call_id)?;
        self.ask(OperatorCall::UpdateWeights(weights), context).await.map(drop)
    }

    /// UPDATE_QUOTA.
    ///
    /// # Errors
    /// For quotas that cannot be, and what the allocator refuses.
    pub async fn update_quota(&self, request: v1::UpdateQuotaRequest, context: Context) -> Result<(), Refusal> {
        let quotas = request.quotas.iter().map(check::quota).collect::<Result<Vec<_>, _>>()?;
        let context = with_call(context, &request.call_id)?;
        self.set_quotas(request.force, quotas, context).await
    }

    /// Sets quotas that were read already.
    ///
    /// # Errors
    /// For a role that is named twice, a resource that no agent has, and what the allocator refuses.
    pub async fn set_quotas(&self, force: bool, quotas: Vec<Quota>, context: Context) -> Result<(), Refusal> {
        check::quotas(&quotas)?;
        if !force {
            let known: Vec<String> =
                self.reads.view.with(|copy| copy.totals.resources.iter().map(|(name, _)| name.to_owned()).collect());
            check::names(&quotas, &known)?;
        }
        self.ask(OperatorCall::UpdateQuota { force, quotas }, context).await.map(drop)
    }

    /// Which agents a role is offered first.
    ///
    /// # Errors
    /// For what is no role or placement, and what the allocator refuses.
    pub async fn set_placement(&self, request: v1::SetPlacementRequest, context: Context) -> Result<(), Refusal> {
        let role = check::role(&request.role)?;
        let placement = check::placement(request.placement.as_deref())?;
        let context = with_call(context, &request.call_id)?;
        self.ask(OperatorCall::SetPlacement(role, placement), context).await.map(drop)
    }

    /// What waits for room.
    ///
    /// # Errors
    /// What the allocator refuses.
    pub async fn needs(&self) -> Result<v1::GetNeedsResponse, Refusal> {
        let needs = self.need_views().await?;
        Ok(v1::GetNeedsResponse { needs: needs.iter().map(convert::need).collect() })
    }

    /// What frameworks have asked for and still want.
    ///
    /// # Errors
    /// What the allocator refuses.
    pub async fn requests(&self) -> Result<v1::GetRequestsResponse, Refusal> {
        match self.ask(OperatorCall::GetRequests, Context::default()).await? {
            AnswerBody::Requests(requests) => {
                Ok(v1::GetRequestsResponse { requests: requests.iter().map(convert::request).collect() })
            }
            _ => Err(unfit()),
        }
    }

    async fn need_views(&self) -> Result<Vec<NeedView>, Refusal> {
        match self.ask(OperatorCall::GetNeeds, Context::default()).await? {
            AnswerBody::Needs(needs) => Ok(needs),
            _ => Err(unfit()),
        }
    }

    /// Why something waits.
    ///
    /// # Errors
    /// For a question that names nothing, or what is not there, and what the allocator refuses.
    pub async fn explain(&self, query: v1::Query) -> Result<v1::Explanation, Refusal> {
        let query = self.query(query).await?;
        match self.ask(OperatorCall::Explain(query), Context::default()).await? {
            AnswerBody::Explanation(explanation) => Ok(convert::explanation(&explanation)),
            _ => Err(unfit()),
        }
    }

    /// The same before and after supposed changes.
    ///
    /// # Errors
    /// As [`explain`](Self::explain), and for changes that cannot be.
    pub async fn what_if(&self, request: v1::WhatIfRequest) -> Result<v1::WhatIfResponse, Refusal> {
        let changes = check::changes(request.changes)?;
        let query = self.query(request.query.unwrap_or_default()).await?;
        match self.ask(OperatorCall::WhatIf { changes, query }, Context::default()).await? {
            AnswerBody::WhatIf(outcome) => Ok(convert::what_if(&outcome)),
            _ => Err(unfit()),
        }
    }

    /// A question with everything that a waiting task says of itself.
    async fn query(&self, mut query: v1::Query) -> Result<Query, Refusal> {
        let task = query.task_id.take().map(|id| id.value).filter(|id| !id.is_empty());
        let mut read = check::query(&query)?;
        if let Some(framework) = &read.framework {
            self.is_there(framework)?;
        }
        if let Some(task) = task {
            let task = TaskId::new(task);
            let (framework, job) = self.waiting(&task).await?;
            // A task that gathers room has a request of its own name.
            let is_named = self
                .need_views()
                .await
                .is_ok_and(|needs| needs.iter().any(|need| need.framework == framework && need.name == task.as_str()));
            read.request = read.request.or_else(|| is_named.then(|| task.to_string()));
            read.framework = Some(framework);
            read.role = read.role.or(Some(job.role));
            read.resources = read.resources.or(Some(job.resources));
            // The launcher revives by itself when what it waits for changes.
            read.fresh = true;
        }
        if read.framework.is_none() && read.role.is_none() {
            return Err(Refusal::bad("name a framework, a role or a waiting task to be explained"));
        }
        Ok(read)
    }

    /// A task of the built-in framework that waits for room.
    async fn waiting(&self, task: &TaskId) -> Result<(FrameworkId, JobView), Refusal> {
        let (framework, job) = self.job(task).await?;
        if job.ended.is_some() {
            let text = format!("task '{task}' has ended ({}): it waits for nothing", job.state.name());
            return Err(Refusal::new(StatusCode::CONFLICT, text));
        }
        if let Some(agent) = &job.agent {
            let text =
                format!("task '{task}' has its place, on agent {agent} ({}): it waits for nothing", job.state.name());
            return Err(Refusal::new(StatusCode::CONFLICT, text));
        }
        Ok((framework, job))
    }

    /// A task of the built-in framework.
    async fn job(&self, task: &TaskId) -> Result<(FrameworkId, JobView), Refusal> {
        let what = LauncherCall::Query { tasks: vec![task.clone()] };
        match taken(self.reads.calls.launcher(what, Context::default()).await)? {
            AnswerBody::Jobs { framework: Some(framework), jobs } => match jobs.into_iter().next() {
                Some(job) => Ok((framework, job)),
                None => Err(no_job(task)),
            },
            AnswerBody::Jobs { framework: None, .. } => Err(no_job(task)),
            _ => Err(unfit()),
        }
    }

    /// Another priority for a framework or for a task of the built-in one.
    ///
    /// # Errors
    /// For what is not there, and what its owner refuses.
    pub async fn set_priority(&self, request: v1::SetPriorityRequest, context: Context) -> Result<(), Refusal> {
        let context = with_call(context, &request.call_id)?;
        let framework = request.framework_id.map(|id| id.value).filter(|id| !id.is_empty()).map(FrameworkId::new);
        let task = request.task_id.map(|id| id.value).filter(|id| !id.is_empty()).map(TaskId::new);
        let answer = match (framework, task) {
            (None, None) => return Err(Refusal::bad("name a framework, or a task of the built-in one")),
            (Some(framework), None) => {
                self.is_there(&framework)?;
                let caller = Caller::operator(framework);
                self.reads
                    .calls
                    .registry(RegistryCall::SetPriority { caller, priority: request.priority }, context)
                    .await
            }
            (framework, Some(task)) => {
                let (own, _) = self.job(&task).await?;
                if framework.is_some_and(|framework| framework != own) {
                    let text = format!(
                        "task '{task}' is one of the built-in framework ({own}); other frameworks give their tasks a \
                         priority when they launch them"
                    );
                    return Err(Refusal::bad(text));
                }
                let what = LauncherCall::SetPriority { task, priority: request.priority };
                self.reads.calls.launcher(what, context).await
            }
        };
        taken(answer).map(drop)
    }

    fn is_there(&self, framework: &FrameworkId) -> Result<(), Refusal> {
        let reads = &self.reads;
        if reads.view.loaded() && reads.view.with(|copy| copy.frameworks.get(framework).is_none()) {
            let text = format!("there is no framework '{}'", printable(framework.as_str()));
            return Err(Refusal::not_found(text));
        }
        Ok(())
    }

    /// Some resources of an agent become others: RESERVE_RESOURCES and its like.
    ///
    /// # Errors
    /// In Mesos's words for an agent that is not there, and what the allocator refuses.
    pub async fn convert(&self, agent: &str, conversion: Conversion, context: Context) -> Result<(), Refusal> {
        let agent = AgentId::new(agent);
        let reads = &self.reads;
        if reads.view.loaded() && reads.view.with(|copy| copy.agents.get(&agent).is_none()) {
            return Err(Refusal::bad("No agent found with specified ID"));
        }
        self.ask(OperatorCall::Convert { agent, conversion }, context).await.map(drop)
    }
}

/// The context with a client's own id of the call.
fn with_call(context: Context, id: &str) -> Result<Context, Refusal> {
    let given = calls::call_id(Some(id)).map_err(Refusal::bad)?;
    Ok(Context { call: given.or(context.call), ..context })
}

/// The body of a success.
fn taken(answer: Answer) -> Result<AnswerBody, Refusal> {
    if (200..300).contains(&answer.status) {
        return Ok(answer.body);
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Err(Refusal::new(status, answer.text))
}

fn no_job(task: &TaskId) -> Refusal {
    let id = printable(task.as_str());
    Refusal::not_found(format!("the built-in framework has no task '{id}'; only its tasks can be meant by an id"))
}

pub(crate) fn unfit() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the service gave an answer that does not fit")
}
