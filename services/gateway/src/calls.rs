//! The door to the allocator and the registry.
//!
//! Calls for a service leave in batches: as long as a few requests are under way, what arrives meanwhile is
//! the next batch; a batch never waits for more. A call that finds no leader, or whose outcome is unknown, is
//! held and repeated with its call id until its deadline, so that a hand-over is not seen from outside.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mesos_core::{
    message::{AllocatorCall, Answer, Call, LauncherCall, PoolsCall, RegistryCall, ToAllocator, ToRegistry},
    row::service,
};
use mesos_model::{
    CallId, GatewayId, Term, Trace, envelope,
    planted::{Bug, is_planted},
};
use mesos_ports::bus::BusError;
use mesos_runtime::{
    quarantine::Quarantine,
    shell::{Ports, kind},
};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};
use uuid::Uuid;

/// What is answered when no leader was found in time, in Mesos's words.
pub const NO_LEADER: &str = "No leader elected";
/// Requests of one service that are under way at the same time.
const FLIGHTS: usize = 8;
const BATCH_MAX: usize = 256;
const WAITING_MAX: usize = 16_384;
/// How long one request may take before it is repeated.
const ATTEMPT: Duration = Duration::from_secs(2);
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(250);
/// The longest call id of a client, in bytes.
pub const CALL_ID_MAX: usize = 128;

/// Who calls, and as part of what.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The client's own id of the call.
    pub call: Option<CallId>,
    /// Who the gateway found the caller to be.
    pub principal: Option<String>,
    /// The trace the call belongs to.
    pub trace: Option<Trace>,
}

/// A call id from a client, if it gave one.
///
/// # Errors
/// If it is too long.
pub fn call_id(given: Option<&str>) -> Result<Option<CallId>, String> {
    match given.filter(|id| !id.is_empty()) {
        Some(id) if id.len() > CALL_ID_MAX => Err(format!("'call_id' must not be longer than {CALL_ID_MAX} bytes")),
        id => Ok(id.map(CallId::new)),
    }
}

/// What is known of a service by its change stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Number of the last entry.
    pub seq: u64,
    /// The leader's term.
    pub term: Term,
}

/// Gives what is known of a service.
pub type Followed = Arc<dyn Fn(&'static str) -> Known + Send + Sync>;

/// The doors to both services. Cheap to clone.
#[derive(Clone)]
pub struct Calls {
    gateway: GatewayId,
    followed: Followed,
    allocator: Door<AllocatorCall>,
    registry: Door<RegistryCall>,
    launcher: Door<LauncherCall>,
    pools: Door<PoolsCall>,
}

impl Calls {
    /// Opens the doors. `followed` gives what is known here of a service. Answers that cannot be read are counted in `quarantine`.
    #[must_use]
    pub fn new(
        ports: &Ports,
        gateway: GatewayId,
        hold: Duration,
        followed: Followed,
        quarantine: &Quarantine,
    ) -> Calls {
        Calls {
            gateway,
            allocator: Door::open(ports.clone(), hold, &followed, quarantine),
            registry: Door::open(ports.clone(), hold, &followed, quarantine),
            launcher: Door::open(ports.clone(), hold, &followed, quarantine),
            pools: Door::open(ports.clone(), hold, &followed, quarantine),
            followed,
        }
    }

    /// Asks the allocator.
    pub async fn allocator(&self, what: AllocatorCall, context: Context) -> Answer {
        self.allocator.call(self.call(what, context)).await
    }

    /// Asks the registry.
    pub async fn registry(&self, what: RegistryCall, context: Context) -> Answer {
        self.registry.call(self.call(what, context)).await
    }

    /// Asks the launcher.
    pub async fn launcher(&self, what: LauncherCall, context: Context) -> Answer {
        self.launcher.call(self.call(what, context)).await
    }

    /// Asks whoever keeps the node pools.
    pub async fn pools(&self, what: PoolsCall, context: Context) -> Answer {
        self.pools.call(self.call(what, context)).await
    }

    /// When each service last answered as a leader does: allocator, registry.
    #[must_use]
    pub fn answered(&self) -> (Option<Instant>, Option<Instant>) {
        (self.allocator.answered(), self.registry.answered())
    }

    /// Requests that had to be repeated.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.allocator.repeats.load(Ordering::Relaxed) + self.registry.repeats.load(Ordering::Relaxed)
    }

    fn call<T: Asked>(&self, what: T, context: Context) -> Call<T> {
        Call {
            call: context.call.unwrap_or_else(|| CallId::new(Uuid::new_v4().to_string())),
            gateway: self.gateway.clone(),
            principal: context.principal,
            trace: context.trace,
            peer_seq: T::PEER.map_or(0, |peer| (self.followed)(peer).seq),
            term: Term::default(),
            what,
        }
    }
}

/// What a service is asked with.
trait Asked: Clone + Send + Sync + 'static {
    const SERVICE: &'static str;
    /// The service whose rows an answer may rest on as well.
    const PEER: Option<&'static str> = None;
    const KIND: &'static str;
    type Message: Serialize + Send + Sync;
    fn message(call: Call<Self>) -> Self::Message;
}

impl Asked for AllocatorCall {
    const SERVICE: &'static str = service::ALLOCATOR;
    const PEER: Option<&'static str> = Some(service::REGISTRY);
    const KIND: &'static str = kind::ALLOCATOR;
    type Message = ToAllocator;
    fn message(call: Call<Self>) -> ToAllocator {
        ToAllocator::Call(call)
    }
}

impl Asked for RegistryCall {
    const SERVICE: &'static str = service::REGISTRY;
    const PEER: Option<&'static str> = Some(service::ALLOCATOR);
    const KIND: &'static str = kind::REGISTRY;
    type Message = ToRegistry;
    fn message(call: Call<Self>) -> ToRegistry {
        ToRegistry::Call(call)
    }
}

impl Asked for LauncherCall {
    const SERVICE: &'static str = service::LAUNCHER;
    const KIND: &'static str = kind::LAUNCHER;
    type Message = Call<LauncherCall>;
    fn message(call: Call<Self>) -> Call<LauncherCall> {
        call
    }
}

impl Asked for PoolsCall {
    const SERVICE: &'static str = service::POOLS;
    const KIND: &'static str = kind::POOLS;
    type Message = Call<PoolsCall>;
    fn message(call: Call<Self>) -> Call<PoolsCall> {
        call
    }
}

struct Waiting<T> {
    call: Call<T>,
    answer: oneshot::Sender<Answer>,
    deadline: Instant,
}

#[derive(Clone)]
struct Door<T> {
    waiting: mpsc::Sender<Waiting<T>>,
    hold: Duration,
    answered: Arc<Mutex<Option<Instant>>>,
    repeats: Arc<AtomicU64>,
}

impl<T: Asked> Door<T> {
    fn open(ports: Ports, hold: Duration, followed: &Followed, quarantine: &Quarantine) -> Door<T> {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        let door = Door { waiting, hold, answered: Arc::default(), repeats: Arc::default() };
        let flight = Flight {
            subject: ports.subjects.service(T::SERVICE),
            ports,
            slots: Arc::new(Semaphore::new(FLIGHTS)),
            answered: door.answered.clone(),
            repeats: door.repeats.clone(),
            followed: followed.clone(),
            quarantine: quarantine.clone(),
        };
        tokio::spawn(depart(queue, flight));
        door
    }

    async fn call(&self, call: Call<T>) -> Answer {
        let deadline = Instant::now() + self.hold;
        let (answer, answered) = oneshot::channel();
        if self.waiting.try_send(Waiting { call, answer, deadline }).is_err() {
            return Answer::refused(503, "This gateway has too many calls under way; try again");
        }
        // The flight answers by the deadline too; this bounds the time in the queue.
        match tokio::time::timeout_at(deadline + Duration::from_millis(100), answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Answer::refused(503, NO_LEADER),
        }
    }

    fn answered(&self) -> Option<Instant> {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends off batch after batch.
async fn depart<T: Asked>(mut queue: mpsc::Receiver<Waiting<T>>, flight: Flight) {
    loop {
        let Ok(slot) = flight.slots.clone().acquire_owned().await else { return };
        let Some(first) = queue.recv().await else { return };
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        let flight = flight.clone();
        tokio::spawn(async move {
            flight.fly(batch).await;
            drop(slot);
        });
    }
}

#[derive(Clone)]
struct Flight {
    subject: String,
    ports: Ports,
    slots: Arc<Semaphore>,
    answered: Arc<Mutex<Option<Instant>>>,
    repeats: Arc<AtomicU64>,
    followed: Followed,
    quarantine: Quarantine,
}

impl Flight {
    /// Repeats a batch until every call of it is answered or over its time.
    async fn fly<T: Asked>(&self, mut batch: Vec<Waiting<T>>) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let now = Instant::now();
            // Whoever asked may have gone; its call is as good as never made.
            batch.retain(|waiting| !waiting.answer.is_closed());
            let (left, over): (Vec<_>, Vec<_>) = batch.into_iter().partition(|waiting| waiting.deadline > now);
            over.into_iter().for_each(|waiting| reply(waiting, Answer::refused(503, NO_LEADER)));
            let Some(last) = left.iter().map(|waiting| waiting.deadline).max() else { return };
            batch = self.attempt(left, ATTEMPT.min(last - now)).await;
            if batch.is_empty() {
                return;
            }
            self.repeats.fetch_add(1, Ordering::Relaxed);
            if is_planted(Bug::RepeatAsNew) {
                batch.iter_mut().for_each(|waiting| waiting.call.call = CallId::new(Uuid::new_v4().to_string()));
            }
            // Not all of those who wait come back in the same moment.
            let pause = backoff.mul_f64(rand::random_range(0.5..1.0));
            tokio::time::sleep(if is_planted(Bug::RepeatsAtOnce) { Duration::ZERO } else { pause }).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One request; gives back the calls that have to be repeated.
    async fn attempt<T: Asked>(&self, batch: Vec<Waiting<T>>, timeout: Duration) -> Vec<Waiting<T>> {
        let term = T::PEER.map_or_else(Term::default, |_| (self.followed)(T::SERVICE).term);
        let message = |waiting: &Waiting<T>| T::message(Call { term, ..waiting.call.clone() });
        let messages: Vec<T::Message> = batch.iter().map(message).collect();
        let payload = match envelope::seal(T::KIND, &messages) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(service = T::SERVICE, %error, "calls cannot be encoded");
                batch
                    .into_iter()
                    .for_each(|waiting| reply(waiting, Answer::refused(400, "The call cannot be encoded")));
                return Vec::new();
            }
        };
        match self.ports.bus.request(&self.subject, Vec::new(), payload, timeout).await {
            Ok(message) => match self.quarantine.open::<Vec<Answer>>(kind::ANSWERS, &message) {
                Some(answers) if answers.len() == batch.len() => self.take(batch, answers),
                Some(answers) => {
                    tracing::warn!(
                        service = T::SERVICE,
                        asked = batch.len(),
                        answered = answers.len(),
                        "answers do not fit"
                    );
                    batch
                }
                None => batch,
            },
            Err(BusError::Refused(why)) if batch.len() == 1 => {
                tracing::warn!(service = T::SERVICE, %why, "the bus does not take a call");
                batch.into_iter().for_each(|waiting| reply(waiting, Answer::refused(413, "The call is too large")));
                Vec::new()
            }
            Err(BusError::Refused(_)) => self.one_by_one(batch, timeout).await,
            Err(error) => {
                tracing::debug!(service = T::SERVICE, %error, "holding calls");
                batch
            }
        }
    }

    /// A batch that is too large as a whole.
    async fn one_by_one<T: Asked>(&self, batch: Vec<Waiting<T>>, timeout: Duration) -> Vec<Waiting<T>> {
        let mut again = Vec::new();
        for waiting in batch {
            again.extend(Box::pin(self.attempt(vec![waiting], timeout)).await);
        }
        again
    }

    fn take<T>(&self, batch: Vec<Waiting<T>>, answers: Vec<Answer>) -> Vec<Waiting<T>> {
        let mut again = Vec::new();
        for (waiting, answer) in batch.into_iter().zip(answers) {
            if answer.status == 503 {
                again.push(waiting);
            } else {
                *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                reply(waiting, answer);
            }
        }
        again
    }
}

fn reply<T>(waiting: Waiting<T>, answer: Answer) {
    // A caller that is gone needs no answer.
    let _ = waiting.answer.send(answer);
}
