//! A driver without a peer and without calls of its own: an agent's checkpoint, the launcher.
//!
//! Events come through a channel, outputs go to a closure once what they rest on is committed.

use std::sync::Arc;

use futures::StreamExt;
use mesos_core::{
    driver::{Config, Driver, Input, Output},
    machine::Machine,
};
use mesos_model::Term;
use mesos_ports::store::Store;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, codec, quarantine::Quarantine, store_side::StoreSide, telemetry::StepSpan};

/// What a driver tells its host.
#[derive(Debug)]
pub enum Happening<O> {
    /// The machine leads: events count from now on.
    Leading(Term),
    /// It does no longer, and why.
    Following(String),
    /// Its outputs, in order.
    Do(Vec<O>),
}

/// Runs a machine until it is cancelled. Events that come while it does not lead are dropped.
pub async fn run<M>(
    config: Config,
    store: Arc<dyn Store>,
    make: impl Fn() -> M + Send + 'static,
    mut events: mpsc::UnboundedReceiver<M::Event>,
    act: impl FnMut(Happening<M::Output>) + Send,
    cancel: CancellationToken,
) where
    M: Machine<Event: Send + 'static, Output: Send> + Send,
{
    let (inputs, mut results) = mpsc::unbounded_channel();
    let side = StoreSide { store, service: config.service, lease: config.lease, quarantine: Quarantine::default() };
    let driver = Driver::new(config, make);
    let mut solo = Solo {
        driver,
        side,
        clock: Clock::default(),
        inputs,
        act,
        following: None,
        service: config.service,
        spans: Vec::new(),
        stopped: false,
    };
    solo.handle(Input::Tick);
    while !solo.stopped {
        let deadline = solo.driver.deadline().map(|time| solo.clock.instant(time));
        tokio::select! {
            biased;
            () = cancel.cancelled(), if !solo.stopping() => solo.handle(Input::Stop),
            Some(input) = results.recv() => solo.handle(input),
            Some(event) = events.recv() => solo.events(event, &mut events),
            () = crate::clock::sleep_until(deadline) => solo.handle(Input::Tick),
        }
    }
}

const BATCH_MAX: usize = 512;

struct Solo<M: Machine, A> {
    driver: Driver<M>,
    side: StoreSide,
    clock: Clock,
    inputs: mpsc::UnboundedSender<Input<M::Event>>,
    act: A,
    following: Option<tokio::task::AbortHandle>,
    service: &'static str,
    spans: Vec<StepSpan>,
    stopped: bool,
}

impl<M, A> Solo<M, A>
where
    M: Machine<Event: Send + 'static, Output: Send> + Send,
    A: FnMut(Happening<M::Output>),
{
    fn stopping(&self) -> bool {
        self.driver.is_stopping()
    }

    fn events(&mut self, first: M::Event, more: &mut mpsc::UnboundedReceiver<M::Event>) {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(event) = more.try_recv()
        {
            batch.push(event);
        }
        for event in &batch {
            if let Some((trace, name)) = M::trace(event) {
                self.spans.push(StepSpan::start(self.service, name, trace));
            }
        }
        self.handle(Input::Events(batch));
    }

    fn handle(&mut self, input: Input<M::Event>) {
        let mut outputs = Vec::new();
        self.driver.handle(self.clock.now(), input, &mut outputs);
        for output in outputs {
            self.output(output);
        }
    }

    fn output(&mut self, output: Output<M::Output>) {
        let (side, inputs) = (self.side.clone(), self.inputs.clone());
        match output {
            Output::Load => {
                self.unfollow();
                tokio::spawn(async move {
                    let _ = inputs.send(Input::Loaded(side.load().await));
                });
            }
            Output::LoadCold(keys) => {
                tokio::spawn(async move {
                    let _ = inputs.send(Input::ColdLoaded(side.cold(&keys).await));
                });
            }
            Output::LoadPeer | Output::FollowPeer { .. } => {}
            Output::Follow { after } => self.follow(after),
            Output::Audit => {
                tokio::spawn(async move {
                    let _ = inputs.send(Input::Audited(side.audit().await));
                });
            }
            Output::Diverged { key, rows } => {
                let key = key.text();
                tracing::error!(service = self.service, key, rows, "held other rows than the store; loading them");
            }
            Output::Acquire { leader, previous, epoch_min } => {
                tokio::spawn(async move {
                    let _ = inputs.send(Input::Acquired(side.acquire(leader, previous, epoch_min).await));
                });
            }
            Output::Commit { lease, batch, changes, peer_cursor } => {
                tokio::spawn(async move {
                    let (_, done) = side.commit(lease, batch, &changes, peer_cursor).await;
                    let _ = inputs.send(Input::Committed { batch, done });
                });
            }
            Output::Release(lease) => {
                tokio::spawn(async move { side.release(lease).await });
            }
            Output::Leading(term) => (self.act)(Happening::Leading(term)),
            Output::Following(why) => (self.act)(Happening::Following(why)),
            Output::Announce(entry) => {
                self.spans.clear();
                // Nobody is so far behind that it would not load the rows instead.
                if entry.seq % TRIM_EVERY == 0 {
                    tokio::spawn(async move {
                        let _ = side.store.trim(side.service, entry.seq - TRIM_EVERY / 2).await;
                    });
                }
            }
            Output::Do(outputs) => (self.act)(Happening::Do(outputs)),
            Output::Stopped => self.stopped = true,
        }
    }

    fn follow(&mut self, after: u64) {
        let (side, inputs) = (self.side.clone(), self.inputs.clone());
        let task = tokio::spawn(async move {
            if let Ok(mut entries) = side.store.follow(side.service, after).await {
                while let Some(Ok(entry)) = entries.next().await {
                    if inputs.send(Input::Entry(codec::decode_entry(&entry))).is_err() {
                        return;
                    }
                }
            }
            let _ = inputs.send(Input::Gap);
        });
        self.unfollow();
        self.following = Some(task.abort_handle());
    }

    fn unfollow(&mut self) {
        if let Some(previous) = self.following.take() {
            previous.abort();
        }
    }
}

const TRIM_EVERY: u64 = 64;
