//! An agent's host: its containers, which live on when the agent dies and end when the host does.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mesos_core::{
    agent::{ContainerOrder, Ended, Event, TaskFacts},
    row::{Row, TaskStage},
};
use mesos_model::{
    FrameworkId, LaunchId, Reason, Resource, Resources, TaskId,
    planted::{Bug, is_planted},
};

use crate::{
    net::{Happening, Net, Node, Work},
    node::operation,
};

/// What a container is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is being prepared.
    Preparing,
    /// Its program runs.
    Running,
    /// It has ended like this.
    Ended(Ended),
}

/// A timer of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// It is prepared.
    Start,
    /// Its program ends by itself.
    Exit,
    /// Its program ends because it was asked to.
    Stop,
}

/// A container.
#[derive(Clone, Debug)]
pub struct Container {
    /// By which launch.
    pub launch: LaunchId,
    /// Whose.
    pub framework: FrameworkId,
    /// Which task.
    pub task: TaskId,
    /// What it uses.
    pub resources: Resources,
    /// What it is at.
    pub phase: Phase,
    script: Script,
    serial: u64,
    /// The agent's process waits for its end.
    watched: bool,
}

/// What a task does, as its body says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// How long it runs; 0 is for ever.
    pub run_ms: u64,
    /// Its exit code.
    pub code: i32,
    /// How long it takes to end when it is asked to.
    pub grace_ms: u64,
}

impl Script {
    /// As a task's body.
    #[must_use]
    pub fn body(self) -> Bytes {
        Bytes::from(format!("{}:{}:{}", self.run_ms, self.code, self.grace_ms))
    }

    /// Out of a task's body.
    #[must_use]
    pub fn read(body: &Bytes) -> Script {
        let text = String::from_utf8_lossy(body);
        let mut parts = text.split(':').map(|part| part.parse::<u64>().unwrap_or(0));
        let mut part = || parts.next().unwrap_or(0);
        Script { run_ms: part(), code: i32::try_from(part()).unwrap_or(1), grace_ms: part() }
    }

    /// What the agent's machine is told.
    #[must_use]
    pub fn facts(self) -> TaskFacts {
        TaskFacts { grace_ms: self.grace_ms, ..TaskFacts::default() }
    }
}

/// A host.
#[derive(Debug, Default)]
pub struct Host {
    /// Counts its boots.
    pub boot: u32,
    /// All that its agent may give away.
    pub total: Resources,
    /// What is there.
    pub containers: BTreeMap<String, Container>,
    /// Directories of volumes, by what their disks say.
    pub volumes: BTreeSet<Vec<u8>>,
    /// Counts the containers that were ever made.
    pub serials: u64,
}

impl Host {
    /// The containers that run.
    pub fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.values().filter(|container| container.phase == Phase::Running)
    }

    fn serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }
}

impl Net {
    fn tell_agent(&mut self, host: u8, event: Event) {
        let delay = self.rng.between(0, 3);
        self.give(Node::Agent(host), delay, Work::Container(event));
    }

    fn container(&mut self, host: u8, name: &str) -> Option<&mut Container> {
        self.hosts.get_mut(&host)?.containers.get_mut(name)
    }

    /// The agent has a container launched.
    pub fn container_launch(&mut self, host: u8, order: &ContainerOrder) {
        let name = order.container.clone();
        let twice = is_planted(Bug::ContainerTwice) && self.rng.below(4) == 0;
        if let Some(known) = self.container(host, &name) {
            known.watched = true;
            match known.phase.clone() {
                Phase::Preparing => {}
                Phase::Running => self.tell_agent(host, Event::Started { container: name, body: Bytes::new() }),
                Phase::Ended(ended) => self.tell_agent(host, Event::Exited { container: name, ended }),
            }
            return;
        }
        let delay = if self.rng.below(10) == 0 { self.rng.between(0, 4000) } else { self.rng.between(1, 200) };
        let Some(state) = self.hosts.get_mut(&host) else { return };
        let serial = state.serial();
        let container = Container {
            launch: order.launch.clone(),
            framework: order.framework.clone(),
            task: order.task.clone(),
            resources: order.resources.clone(),
            phase: Phase::Preparing,
            script: Script::read(&order.body),
            serial,
            watched: true,
        };
        state.containers.insert(name.clone(), container);
        if twice {
            self.after(delay + 50, Happening::Container { host, container: name.clone(), serial, tick: Tick::Start });
        }
        self.after(delay, Happening::Container { host, container: name, serial, tick: Tick::Start });
    }

    /// A container's timer.
    pub fn container_tick(&mut self, host: u8, name: String, serial: u64, tick: Tick) {
        let fails = !self.healed && tick == Tick::Start && self.rng.chance(self.plan.container_failure);
        let twice = is_planted(Bug::ContainerTwice);
        let Some(container) = self.container(host, &name).filter(|container| container.serial == serial) else {
            return;
        };
        match tick {
            Tick::Start if container.phase != Phase::Preparing && !twice => {}
            Tick::Start if fails => {
                let (watched, launch) = (container.watched, container.launch.clone());
                self.seen.exited(&launch);
                self.hosts.get_mut(&host).map(|state| state.containers.remove(&name));
                if watched {
                    let message = "it would not start".to_owned();
                    let failed = Event::Failed { container: name, reason: Reason::CONTAINER_LAUNCH_FAILED, message };
                    self.tell_agent(host, failed);
                }
            }
            Tick::Start => {
                container.phase = Phase::Running;
                let (watched, script) = (container.watched, container.script);
                let container = container.clone();
                self.trace(1, || format!("agent{host}: {} of {} runs", container.task, container.launch));
                self.seen.started(host, &name, &container, &self.hosts);
                if watched {
                    self.tell_agent(host, Event::Started { container: name.clone(), body: Bytes::new() });
                }
                if !self.healed && self.rng.chance(self.plan.strike) {
                    let (delay, boots) = (self.rng.below(6), self.rng.below(3) == 0);
                    self.after(delay, Happening::Strike { host, boots });
                }
                if script.run_ms > 0 {
                    self.after(script.run_ms, Happening::Container { host, container: name, serial, tick: Tick::Exit });
                }
            }
            Tick::Exit => {
                let ended = Ended { code: Some(container.script.code), ..Ended::default() };
                self.container_end(host, &name, ended);
            }
            Tick::Stop => self.container_end(host, &name, killed()),
        }
    }

    /// Directories of volumes come and go.
    pub fn volumes_change(&mut self, host: u8, made: &Resources, removed: &Resources) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        for entry in removed.iter().filter(|entry| operation::is_volume(entry)) {
            self.seen.volume_removed(Node::Agent(host), entry);
            state.volumes.remove(&disk_of(entry));
        }
        state.volumes.extend(made.iter().filter(|entry| operation::is_volume(entry)).map(disk_of));
    }

    fn container_end(&mut self, host: u8, name: &str, ended: Ended) {
        let Some(container) = self.container(host, name) else { return };
        if matches!(container.phase, Phase::Ended(_)) {
            return;
        }
        container.phase = Phase::Ended(ended.clone());
        let launch = container.launch.clone();
        let (watched, task) = (container.watched, container.task.clone());
        self.seen.exited(&launch);
        self.trace(2, || format!("agent{host}: {task} ended {:?} {:?}", ended.code, ended.signal));
        if watched {
            self.tell_agent(host, Event::Exited { container: name.to_owned(), ended });
        }
    }

    /// The agent has a container ended.
    pub fn container_kill(&mut self, host: u8, name: &str, grace_ms: u64) {
        let now = self.now;
        let Some(container) = self.container(host, name).map(|container| container.clone()) else { return };
        match container.phase {
            Phase::Ended(ended) => self.tell_agent(host, Event::Exited { container: name.to_owned(), ended }),
            Phase::Preparing => {
                self.seen.killed(now, host, &container);
                self.hosts.get_mut(&host).map(|state| state.containers.remove(name));
                let (reason, message) = (Reason::TASK_KILLED_DURING_LAUNCH, "killed before it ran".to_owned());
                self.tell_agent(host, Event::Failed { container: name.to_owned(), reason, message });
            }
            Phase::Running => {
                self.seen.killed(now, host, &container);
                let takes = container.script.grace_ms.min(grace_ms);
                let (name, serial) = (name.to_owned(), container.serial);
                self.after(takes, Happening::Container { host, container: name, serial, tick: Tick::Stop });
            }
        }
    }

    /// The agent's process wants to know when a container ends.
    pub fn container_wait(&mut self, host: u8, name: &str) {
        let Some(container) = self.container(host, name) else {
            let ended = Ended { message: Some("the container is gone".to_owned()), ..Ended::default() };
            return self.tell_agent(host, Event::Exited { container: name.to_owned(), ended });
        };
        container.watched = true;
        if let Phase::Ended(ended) = container.phase.clone() {
            self.tell_agent(host, Event::Exited { container: name.to_owned(), ended });
        }
    }

    /// The agent has a container forgotten.
    pub fn container_destroy(&mut self, host: u8, name: &str) {
        let now = self.now;
        let gone = self.hosts.get_mut(&host).and_then(|state| state.containers.remove(name));
        if let Some(container) = gone.filter(|container| !matches!(container.phase, Phase::Ended(_))) {
            self.seen.killed(now, host, &container);
        }
    }

    /// The agent's process died. What it was preparing is dropped, or goes on without it.
    pub fn host_lost_agent(&mut self, host: u8) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        let mut dropped = BTreeSet::new();
        for (name, container) in &mut state.containers {
            container.watched = false;
            if container.phase == Phase::Preparing && self.rng.below(2) == 0 {
                dropped.insert(name.clone());
            }
        }
        for name in dropped {
            state.containers.remove(&name);
        }
    }

    /// A container is gone, as if somebody had removed it by hand.
    pub fn container_vanish(&mut self, host: u8) {
        let Some(disk) = self.disks.get(&Node::Agent(host)) else { return };
        // One that is gone before its agent wrote down that it ran cannot be told from one that was never made.
        let rows = disk.rows.values().filter_map(|row| if let Row::Executor(row) = row { Some(row) } else { None });
        let ran = rows.flat_map(|row| &row.tasks).filter(|task| task.stage == TaskStage::Running);
        let names: Vec<String> = ran.map(|task| task.container.clone()).collect();
        let Some(name) = names.get(self.rng.below(names.len().max(1) as u64) as usize) else { return };
        let Some(container) = self.hosts.get_mut(&host).and_then(|state| state.containers.remove(name)) else { return };
        self.trace(3, || format!("agent{host}: {} of {} vanishes", container.task, container.launch));
        self.seen.lost_with_host(&container);
        if container.watched {
            let ended = Ended { message: Some("the container is gone".to_owned()), ..Ended::default() };
            self.tell_agent(host, Event::Exited { container: name.clone(), ended });
        }
    }

    /// The host boots: no container survives.
    pub fn host_boots(&mut self, host: u8) {
        if let Some(state) = self.hosts.get_mut(&host) {
            state.boot += 1;
            let gone: Vec<Container> = std::mem::take(&mut state.containers).into_values().collect();
            for container in gone {
                self.seen.lost_with_host(&container);
            }
        }
    }

    /// What a starting agent finds.
    #[must_use]
    pub fn containers_found(&self, host: u8) -> Vec<(String, bool)> {
        let containers = self.hosts.get(&host).into_iter().flat_map(|state| &state.containers);
        containers.map(|(name, container)| (name.clone(), !matches!(container.phase, Phase::Ended(_)))).collect()
    }
}

/// What names a volume.
#[must_use]
pub fn disk_of(entry: &Resource) -> Vec<u8> {
    entry.qualifier.as_ref().map(|qualifier| qualifier.disk.clone()).unwrap_or_default()
}

fn killed() -> Ended {
    Ended { signal: Some(15), ..Ended::default() }
}
