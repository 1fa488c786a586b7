//! The handle by which a framework calls.

use std::{sync::Arc, time::Duration};

use mesos_proto::{
    GRPC_MESSAGE_MAX_BYTES, STREAM_ID_HEADER,
    dial::{Access, Bearer},
    services::v1::{CallResponse, scheduler_client::SchedulerClient as Wire},
    tonic::{Code, Request, Status, metadata::AsciiMetadataValue, transport::Channel},
    v1::{self, offer, scheduler},
};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::client::jitter;

/// Why a call did not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The master refused it; a repeat cannot help.
    #[error("refused: {message}")]
    Refused {
        /// As gRPC tells it.
        code: Code,
        /// Why.
        message: String,
    },
    /// Nobody answered in time; whether it was taken is unknown.
    #[error("not answered in time: {0}")]
    Unavailable(String),
    /// The client has stopped.
    #[error("the client has stopped")]
    Stopped,
}

/// One established subscription.
#[derive(Clone)]
pub(crate) struct Session {
    /// Rises with each one.
    pub(crate) number: u64,
    pub(crate) channel: Channel,
    pub(crate) bearer: Bearer,
    pub(crate) stream: Option<AsciiMetadataValue>,
    pub(crate) framework: v1::FrameworkId,
}

/// What handle and loop share.
pub(crate) struct Shared {
    /// What the next SUBSCRIBE says.
    pub(crate) subscribe: Mutex<scheduler::call::Subscribe>,
    pub(crate) session: watch::Sender<Option<Session>>,
    pub(crate) stop: CancellationToken,
    pub(crate) call_timeout: Duration,
    pub(crate) access: Access,
}

/// Calls of one framework. Cheap to clone. The client stops when [`stop`](Handle::stop) is called or the
/// events are dropped.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// The framework's id, once it is subscribed.
    #[must_use]
    pub fn framework_id(&self) -> Option<v1::FrameworkId> {
        self.shared.session.borrow().as_ref().map(|session| session.framework.clone())
    }

    /// Any call but SUBSCRIBE. Framework id and call id are filled in where they are absent. Waits for a
    /// subscription, and repeats under one call id (so that it counts once) while nobody answers.
    ///
    /// # Errors
    /// If it is refused, or not answered within [`Options::call_timeout`](crate::Options::call_timeout).
    pub async fn call(&self, mut call: scheduler::Call) -> Result<CallResponse, CallError> {
        let deadline = Instant::now() + self.shared.call_timeout;
        call.call_id.get_or_insert_with(|| uuid::Uuid::new_v4().to_string());
        let mut attempt = 0;
        loop {
            let session = self.session(deadline).await?;
            call.framework_id = Some(session.framework.clone());
            let status = match Box::pin(self.attempt(&session, call.clone(), deadline)).await {
                Ok(response) => return Ok(response),
                Err(status) => status,
            };
            if self.shared.stop.is_cancelled() {
                return Err(CallError::Stopped);
            }
            if status.code() == Code::Unauthenticated && self.renew(&session).await {
                continue;
            }
            let superseded = self.shared.session.borrow().as_ref().is_none_or(|now| now.number != session.number);
            if !superseded && !may_be_repeated(&status) {
                return Err(CallError::Refused { code: status.code(), message: status.message().to_owned() });
            }
            attempt += 1;
            let wait = jitter(Duration::from_millis(50), Duration::from_secs(1), attempt);
            if Instant::now() + wait >= deadline {
                return Err(CallError::Unavailable(status.message().to_owned()));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes up a token that was written since the subscription was made; whether there is one.
    async fn renew(&self, session: &Session) -> bool {
        let Ok(bearer) = self.shared.access.bearer().await else { return false };
        let is_new = bearer != session.bearer;
        if is_new {
            self.shared.session.send_modify(|now| {
                if let Some(now) = now.as_mut().filter(|now| now.number == session.number) {
                    now.bearer = bearer;
                }
            });
        }
        is_new
    }

    async fn attempt(
        &self,
        session: &Session,
        call: scheduler::Call,
        deadline: Instant,
    ) -> Result<CallResponse, Status> {
        let mut request = Request::new(call);
        if let Some(stream) = &session.stream {
            request.metadata_mut().insert(STREAM_ID_HEADER, stream.clone());
        }
        session.bearer.put(&mut request);
        let mut client = Wire::new(session.channel.clone())
            .max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES);
        match tokio::time::timeout_at(deadline, client.call(request)).await {
            Ok(answer) => answer.map(mesos_proto::tonic::Response::into_inner),
            Err(_) => Err(Status::unavailable("no answer from the master")),
        }
    }

    async fn session(&self, deadline: Instant) -> Result<Session, CallError> {
        let mut sessions = self.shared.session.subscribe();
        let subscribed = sessions.wait_for(Option::is_some);
        let found = tokio::select! {
            () = self.shared.stop.cancelled() => return Err(CallError::Stopped),
            found = tokio::time::timeout_at(deadline, subscribed) => found,
        };
        match found {
            Ok(Ok(session)) => session.clone().ok_or(CallError::Stopped),
            Ok(Err(_)) => Err(CallError::Stopped),
            Err(_) => Err(CallError::Unavailable("not subscribed".to_owned())),
        }
    }

    /// Uses offers of one agent and role. What the operations leave over is not offered again before
    /// `refuse` has passed; `None` is the master's default.
    ///
    /// # Errors
    /// As [`call`](Handle::call). That an offer has become invalid is told by updates instead.
    pub async fn accept(
        &self,
        offers: impl IntoIterator<Item = v1::OfferId>,
        operations: Vec<offer::Operation>,
        refuse: Option<Duration>,
    ) -> Result<(), CallError> {
        let accept =
            scheduler::call::Accept { offer_ids: offers.into_iter().collect(), operations, filters: filters(refuse) };
        self.send(scheduler::call::Type::Accept, |call| call.accept = Some(accept)).await
    }

    /// Launches tasks on an offer; their agent is filled in.
    ///
    /// # Errors
    /// As [`accept`](Handle::accept).
    pub async fn launch(&self, offer: &v1::Offer, mut tasks: Vec<v1::TaskInfo>) -> Result<(), CallError> {
        for task in &mut tasks {
            task.agent_id = offer.agent_id.clone();
        }
        self.accept([offer.id.clone()], vec![crate::build::launch(tasks)], None).await
    }

    /// Does not want offers, for `refuse` at least.
    ///
    /// # Errors
    /// As [`call`](Handle::call).
    pub async fn decline(
        &self,
        offers: impl IntoIterator<Item = v1::OfferId>,
        refuse: Option<Duration>,
    ) -> Result<(), CallError> {
        let decline = scheduler::call::Decline { offer_ids: offers.into_iter().collect(), filters: filters(refuse) };
        self.send(scheduler::call::Type::Decline, |call| call.decline = Some(decline)).await
    }

    /// Wants offers again, whatever was declined before; no roles means all.
    ///
    /// # Errors
    /// As [`call`](Handle::call).
    pub async fn revive(&self, roles: Vec<String>) -> Result<(), CallError> {
        self.send(scheduler::call::Type::Revive, |call| call.revive = Some(scheduler::call::Revive { roles })).await
    }

    /// Wants no offers until the next revive; no roles means all.
    ///
    /// # Errors
    /// As [`call`](Handle::call).
    pub async fn suppress(&self, roles: Vec<String>) -> Result<(), CallError> {
        self.send(scheduler::call::Type::Suppress, |call| call.suppress = Some(scheduler::call::Suppress { roles }))
            .await
    }

    /// Ends a task; `grace` overrules the task's own kill policy.
    ///
    /// # Errors
    /// As [`call`](Handle::call).
    pub async fn kill(
        &self,
        task: v1::TaskId,
        agent: Option<v1::AgentId>,
        grace: Option<Duration>,
    ) -> Result<(), CallError> {
        let grace =
            grace.map(|grace| v1::DurationInfo { nanoseconds: i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX) });
        let kill_policy = grace.map(|grace| v1::KillPolicy { grace_period: Some(grace) });
        let kill = scheduler::call::Kill { task_id: task, agent_id: agent, kill_policy };
        self.send(scheduler::call::Type::Kill, |call| call.kill = Some(kill)).await
    }

    /// Ends an executor with its tasks.
    ///
    /// # Errors
    /// As [`call`](Handle::call).
    pub async fn shutdown(&self, executor: v1::ExecutorId, agent: v1::AgentId) -> Result<(), CallError> {
        let shutdown = scheduler::call::Shutdown { executor_id: executor, agent_id: agent };
        self.send(scheduler::call::Type::Shutdown, |call| call.shutdown = Some(shutdown)).await
    }

    /// Confirms that a status was taken over. Statuses without `uuid` need none.
    ///
    /// # Errors
    /// As [`call`](Handle::call).
    pub async fn acknowledge(&self, status: &v1::TaskStatus) -> Result<(), CallError> {
        let (Some(uuid), Some(agent)) = (status.uuid.clone(), status.agent_id.clone()) else { return Ok(()) };
        let acknowledge = scheduler::call::Acknowledge { agent_id: agent, task_id: status.task_id.clone(), uuid };
        self.send(scheduler::call::Type::Acknowledge, |call| call.acknowledge = Some(acknowledge)).await
    }

    /// Asks for the latest status of tasks, and where they are thought to be; none means all.
    ///
    /// # Errors
    /// As [`call`](Handle::call). The answers are updates.
    pub async fn reconcile(
        &self,
        tasks: impl IntoIterator<Item = (v1::TaskId, Option<v1::AgentId>)>,
    ) -> Result<(), CallError> {
        let task = |(task_id, agent_id)| scheduler::call::reconcile::Task { task_id, agent_id };
        let reconcile = scheduler::call::Reconcile { tasks: tasks.into_iter().map(task).collect() };
        self.send(scheduler::call::Type::Reconcile, |call| call.reconcile = Some(reconcile)).await
    }

    /// Sends something to an executor; it may be lost.
    ///
    /// # Errors
    /// As [`call`](Handle::call).
    pub async fn message(
        &self,
        agent: v1::AgentId,
        executor: v1::ExecutorId,
        data: impl Into<bytes::Bytes>,
    ) -> Result<(), CallError> {
        let message = scheduler::call::Message { agent_id: agent, executor_id: executor, data: data.into() };
        self.send(scheduler::call::Type::Message, |call| call.message = Some(message)).await
    }

    /// Says what it would like to be offered.
    ///
    /// # Errors
    /// As [`call`](Handle::call).
    pub async fn request(&self, requests: Vec<v1::Request>) -> Result<(), CallError> {
        let request = scheduler::call::Request { requests };
        self.send(scheduler::call::Type::Request, |call| call.request = Some(request)).await
    }

    /// Changes what the framework says about itself, now and in later subscriptions.
    ///
    /// # Errors
    /// As [`call`](Handle::call).
    pub async fn update_framework(
        &self,
        mut info: v1::FrameworkInfo,
        suppressed_roles: Vec<String>,
    ) -> Result<(), CallError> {
        {
            let mut subscribe = self.shared.subscribe.lock().await;
            info.id = subscribe.framework_info.id.clone();
            subscribe.framework_info = info.clone();
        }
        let update =
            scheduler::call::UpdateFramework { framework_info: info, suppressed_roles, offer_constraints: None };
        self.send(scheduler::call::Type::UpdateFramework, |call| call.update_framework = Some(update)).await
    }

    /// Removes the framework: its tasks are killed and its id is void. The client stops.
    ///
    /// # Errors
    /// As [`call`](Handle::call).
    pub async fn teardown(&self) -> Result<(), CallError> {
        self.send(scheduler::call::Type::Teardown, |_| {}).await?;
        self.stop();
        Ok(())
    }

    /// Closes the subscription. The framework's failover timeout begins; its tasks run on.
    pub fn stop(&self) {
        self.shared.stop.cancel();
    }

    async fn send(
        &self,
        kind: scheduler::call::Type,
        fill: impl FnOnce(&mut scheduler::Call),
    ) -> Result<(), CallError> {
        let mut call = scheduler::Call { r#type: Some(kind.into()), ..scheduler::Call::default() };
        fill(&mut call);
        Box::pin(self.call(call)).await.map(drop)
    }
}

fn may_be_repeated(status: &Status) -> bool {
    // A connection that breaks under a call shows as one of the last two.
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled)
}

fn filters(refuse: Option<Duration>) -> Option<v1::Filters> {
    refuse.map(|refuse| v1::Filters { refuse_seconds: Some(refuse.as_secs_f64()) })
}
