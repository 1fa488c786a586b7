//! Keeps a question behind the launches that it asks about.
//!
//! An ACCEPT goes to the allocator and a RECONCILE to the registry, which says that a task is unknown when it has
//! applied all that the allocator has committed. An ACCEPT that is still on its way then would launch a task that the
//! framework was just told is none. So a gateway asks about a task only when no ACCEPT can launch it any more:
//!
//! - one that is held here is waited for by not asking: the framework asks again;
//! - one that was given up without an answer may still arrive: its offers are declined first. Once the allocator has
//!   answered that, the ACCEPT was carried out before it, or finds its offers gone;
//! - one that came over an earlier stream, maybe at a gateway that is no more, is refused by an allocator that knows
//!   the present stream. A stream's first question waits until it does.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mesos_core::message::{AllocatorCall, Answer, Caller, OperationKind, RegistryCall};
use mesos_model::{AgentId, OfferId, TaskId};

use crate::{calls::Context, server::App};

/// Streams of which something is kept. Those that the allocator is known to know are forgotten beyond that, which
/// costs one call each; launches that were given up, which costs what this module is for.
const STREAMS_MAX: usize = 65_536;
/// Given-up launches of one stream.
const GIVEN_UP_MAX: usize = 1024;

/// The launches of all streams whose outcome is not known.
#[derive(Debug, Default)]
pub struct Launches {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    open: HashMap<u128, Vec<Launch>>,
    /// Streams that the allocator has taken a call of.
    known: HashSet<u128>,
}

#[derive(Debug)]
struct Launch {
    number: u64,
    tasks: Vec<TaskId>,
    offers: Vec<OfferId>,
    given_up: bool,
}

/// An ACCEPT under way. Dropped before it is [`settled`](UnderWay::settled), it was given up.
#[derive(Debug)]
pub struct UnderWay {
    launches: Arc<Launches>,
    stream: u128,
    number: u64,
}

impl UnderWay {
    /// The allocator has answered.
    pub fn settled(self) {
        self.launches.forget(self.stream, &[self.number]);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut inner = self.launches.lock();
        let Some(open) = inner.open.get_mut(&self.stream) else { return };
        for launch in open.iter_mut().filter(|launch| launch.number == self.number) {
            launch.given_up = true;
        }
        let too_many = open.iter().filter(|launch| launch.given_up).count().saturating_sub(GIVEN_UP_MAX);
        let oldest: Vec<u64> =
            open.iter().filter(|launch| launch.given_up).take(too_many).map(|launch| launch.number).collect();
        open.retain(|launch| !oldest.contains(&launch.number));
    }
}

impl Launches {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that leaves for the allocator; something to keep until it is answered if it launches tasks.
    pub fn begin(self: &Arc<Self>, what: &AllocatorCall) -> Option<UnderWay> {
        let AllocatorCall::Accept { caller: Caller { stream: Some(stream), .. }, offers, operations, .. } = what else {
            return None;
        };
        let tasks: Vec<TaskId> = operations
            .iter()
            .flat_map(|operation| match &operation.kind {
                OperationKind::Launch(tasks) | OperationKind::LaunchGroup { tasks, .. } => tasks.as_slice(),
                OperationKind::Convert(_) | OperationKind::Invalid { .. } => &[],
            })
            .map(|task| task.task.clone())
            .collect();
        if tasks.is_empty() {
            return None;
        }
        let mut inner = self.lock();
        if inner.open.len() >= STREAMS_MAX && !inner.open.contains_key(stream) {
            return None;
        }
        inner.next += 1;
        let number = inner.next;
        let launch = Launch { number, tasks, offers: offers.clone(), given_up: false };
        inner.open.entry(*stream).or_default().push(launch);
        Some(UnderWay { launches: self.clone(), stream: *stream, number })
    }

    /// The allocator took a call of this stream.
    pub fn known(&self, stream: u128) {
        let known = &mut self.lock().known;
        if known.len() >= STREAMS_MAX {
            known.clear();
        }
        known.insert(stream);
    }

    /// What the allocator has to be told before it can be said that one of the tasks is unknown: given-up launches
    /// and their offers. `None` if there is nothing.
    fn to_settle(&self, stream: u128, tasks: &[(TaskId, Option<AgentId>)]) -> Option<(Vec<u64>, Vec<OfferId>)> {
        let inner = self.lock();
        let given_up = inner.open.get(&stream).into_iter().flatten().filter(|launch| launch.given_up);
        let (numbers, offers): (Vec<u64>, Vec<&[OfferId]>) = given_up
            .filter(|launch| tasks.iter().any(|(task, _)| launch.tasks.contains(task)))
            .map(|launch| (launch.number, launch.offers.as_slice()))
            .unzip();
        (!numbers.is_empty() || !inner.known.contains(&stream)).then(|| (numbers, offers.concat()))
    }

    fn forget(&self, stream: u128, numbers: &[u64]) {
        let mut inner = self.lock();
        let Some(open) = inner.open.get_mut(&stream) else { return };
        open.retain(|launch| !numbers.contains(&launch.number));
        if open.is_empty() {
            inner.open.remove(&stream);
        }
    }

    /// Whether a launch of this task may still be carried out.
    fn may_launch(&self, stream: u128, task: &TaskId) -> bool {
        self.lock().open.get(&stream).is_some_and(|open| open.iter().any(|launch| launch.tasks.contains(task)))
    }
}

/// Asks the registry about those tasks of which it can say at present that they are unknown, or that are known. The
/// others get no answer.
pub async fn reconcile(
    app: &App,
    caller: Caller,
    mut tasks: Vec<(TaskId, Option<AgentId>)>,
    context: Context,
) -> Answer {
    if let Some(stream) = caller.stream
        && !tasks.is_empty()
    {
        let mut settled = true;
        if let Some((numbers, offers)) = app.launches.to_settle(stream, &tasks) {
            let decline = AllocatorCall::Decline { caller: caller.clone(), offers, refuse_ms: Some(0) };
            let of_its_own = Context { call: None, ..context.clone() };
            let answer = super::submit::ask_allocator(app, decline, of_its_own).await;
            // Any other refusal is one that the registry has for this caller too.
            settled = answer.status != 503;
            if (200..300).contains(&answer.status) {
                app.launches.forget(stream, &numbers);
            }
        }
        let is_known = |task: &TaskId| app.view.with(|cluster| cluster.task(&caller.framework, task).is_some());
        tasks.retain(|(task, _)| is_known(task) || (settled && !app.launches.may_launch(stream, task)));
        if tasks.is_empty() {
            // Without tasks it would be the question about all.
            return Answer::accepted();
        }
    }
    app.calls.registry(RegistryCall::Reconcile { caller, tasks }, context).await
}
