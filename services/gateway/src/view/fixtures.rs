//! Rows, and a gateway's reads over a bus and a store in memory, for tests.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use mesos_bus::memory::MemoryBus;
use mesos_core::{
    message::{AllocatorCall, Answer, Call, OperatorCall, RoleView, ToAllocator},
    row::{
        AgentRow, AgentState, BodyRow, Capabilities, FrameworkInfo, FrameworkRow, FrameworkState, LaunchKind,
        LaunchRow, LaunchTask, Row, RowChange, TaskRow, service,
    },
};
use mesos_model::{
    Resources, Source, TaskState, TaskStatus, Term, Time, attribute, envelope, resources_text, subject::Subjects,
};
use mesos_ports::bus::Bus;
use mesos_proto::{prost::Message, v1};
use mesos_runtime::{
    shell::{Ports, kind},
    telemetry::Metrics,
};
use mesos_store::embedded::EmbeddedStore;
use tokio_util::sync::CancellationToken;

use super::View;
use crate::{
    GatewayOptions,
    calls::Calls,
    reads::{Facts, Reads},
};

pub(crate) fn put(row: Row) -> RowChange {
    RowChange::Put(row)
}

pub(crate) fn agent(id: &str) -> AgentRow {
    AgentRow {
        id: id.into(),
        instance: 1,
        boot: "b".into(),
        hostname: "10.0.0.7".into(),
        ip: "10.0.0.7".into(),
        port: 5051,
        version: "0.1.0".into(),
        total: resources_text::parse("cpus:8;mem:4096;disk:1000;ports:[31000-31005,32000-32001];cpus(ads):2", "*")
            .unwrap(),
        oversubscribed: Default::default(),
        attributes: attribute::parse("rack:r2;level:3;span:[1-2]").unwrap(),
        domain: None,
        state: AgentState::Active,
        deactivated: false,
        drain: None,
        down: false,
        degraded: None,
        handshake: Term { epoch: 1, leader: 1 },
        registered: Time(1_500),
        reregistered: Time(2_000),
        operated: Vec::new(),
        body: Bytes::new(),
    }
}

pub(crate) fn framework(id: &str) -> FrameworkRow {
    let info = FrameworkInfo {
        name: "web".into(),
        user: "root".into(),
        roles: vec!["*".into()],
        failover_timeout_ms: 60_000,
        capabilities: Capabilities { partition_aware: true, ..Capabilities::default() },
        ..FrameworkInfo::default()
    };
    let body = v1::FrameworkInfo {
        name: "web".into(),
        user: "root".into(),
        webui_url: Some("http://web:8080".into()),
        hostname: Some("web".into()),
        ..v1::FrameworkInfo::default()
    };
    FrameworkRow {
        id: id.into(),
        info,
        body: body.encode_to_vec().into(),
        state: FrameworkState::Connected,
        subscription: None,
        suppressed: Default::default(),
        revived: Default::default(),
        priority: None,
        recovered: false,
        registered: Time(1_000),
        reregistered: Time(1_000),
    }
}

/// The role `ads`, with something of everything.
pub(crate) fn role() -> RoleView {
    let amounts = |pairs: &[(&str, i64)]| Resources::of(pairs).scalars();
    RoleView {
        role: "ads".into(),
        weight: 2_500,
        guarantee: amounts(&[("cpus", 2_000)]),
        limit: amounts(&[("cpus", 4_000), ("mem", 1_024_000)]),
        consumed: amounts(&[("cpus", 1_500)]),
        reserved: amounts(&[("cpus", 500)]),
        allocated: amounts(&[("cpus", 1_000)]),
        offered: amounts(&[("cpus", 500), ("mem", 64_000)]),
        share_ppm: 150_000,
        placement: None,
        frameworks: vec!["m-0000".into()],
    }
}

pub(crate) fn launch(id: &str, framework: &str, agent: &str, task: &str) -> LaunchRow {
    LaunchRow {
        launch: id.into(),
        framework: framework.into(),
        role: "*".into(),
        agent: agent.into(),
        executor: task.into(),
        executor_resources: Resources::new(),
        tasks: vec![LaunchTask { task: task.into(), name: "n".into(), resources: amounts(), priority: 0 }],
        sent: (Term { epoch: 1, leader: 1 }, 1),
        call: "c".into(),
        time: Time(3_000),
        trace: None,
        adopted: None,
        kind: LaunchKind::Command,
    }
}

pub(crate) fn amounts() -> Resources {
    Resources::of(&[("cpus", 500), ("mem", 128_000)])
}

pub(crate) fn body(id: &str, task: &str) -> BodyRow {
    let discovery = v1::DiscoveryInfo {
        visibility: v1::discovery_info::Visibility::External.into(),
        name: Some("svc".into()),
        ports: Some(v1::Ports {
            ports: vec![v1::Port {
                number: 31000,
                name: Some("http".into()),
                protocol: Some("tcp".into()),
                ..v1::Port::default()
            }],
        }),
        ..v1::DiscoveryInfo::default()
    };
    let info = v1::TaskInfo {
        name: "n".into(),
        task_id: v1::TaskId { value: task.into() },
        labels: Some(v1::Labels { labels: vec![v1::Label { key: "team".into(), value: Some("core".into()) }] }),
        discovery: Some(discovery),
        ..v1::TaskInfo::default()
    };
    BodyRow { launch: id.into(), tasks: vec![info.encode_to_vec().into()], executor: None }
}

pub(crate) fn task(framework: &str, id: &str, launch: &str, agent: &str) -> TaskRow {
    TaskRow {
        framework: framework.into(),
        task: id.into(),
        name: "n".into(),
        launch: launch.into(),
        agent: agent.into(),
        executor: id.into(),
        role: "*".into(),
        resources: amounts(),
        state: TaskState::Staging,
        status: None,
        number: 0,
        pending: vec![],
        end_acknowledged: false,
        launch_seen: true,
        kill: None,
        created: Time(3_000),
        trace: None,
    }
}

/// The task with a status that its executor told at `time`.
pub(crate) fn in_state(mut row: TaskRow, state: TaskState, time: u64) -> TaskRow {
    let mut status = TaskStatus::new(row.task.clone(), state, Source::Executor, Time(time));
    let network = v1::NetworkInfo {
        ip_addresses: vec![v1::network_info::IpAddress {
            protocol: Some(v1::network_info::Protocol::IPv4.into()),
            ip_address: Some("172.17.0.2".into()),
        }],
        ..v1::NetworkInfo::default()
    };
    let body = v1::TaskStatus {
        task_id: v1::TaskId { value: row.task.to_string() },
        state: state.number(),
        container_status: Some(v1::ContainerStatus { network_infos: vec![network], ..v1::ContainerStatus::default() }),
        ..v1::TaskStatus::default()
    };
    status.body = body.encode_to_vec().into();
    status.uuid = Some(u128::from(time));
    row.state = state;
    row.status = Some(status);
    row.number += 1;
    row
}

/// A gateway's reads, loaded and empty.
pub(crate) struct Rig {
    pub(crate) reads: Arc<Reads>,
    pub(crate) bus: Arc<MemoryBus>,
    pub(crate) ports: Ports,
    seq: std::sync::atomic::AtomicU64,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        let rig = Rig::unloaded();
        rig.reads.view.reload(service::ALLOCATOR, 0, vec![]);
        rig.reads.view.reload(service::REGISTRY, 0, vec![]);
        rig.reads.view.set_loaded();
        rig
    }

    pub(crate) fn unloaded() -> Rig {
        let bus = Arc::new(MemoryBus::new());
        let ports =
            Ports { bus: bus.clone(), store: Arc::new(EmbeddedStore::in_memory()), subjects: Subjects::new("test") };
        let view = Arc::new(View::default());
        let known = view.clone();
        let hold = std::time::Duration::from_secs(5);
        let calls = Calls::new(&ports, "gw".into(), hold, Arc::new(move |owner| known.known(owner)), &view.quarantine);
        let mut facts = Facts::of(&GatewayOptions::default(), "gw".into(), ([10, 0, 0, 1], 5050).into());
        facts.started = Time(1_000);
        let reads = Reads::new(view, facts, &ports, Metrics::default(), calls, CancellationToken::new());
        Rig { reads, bus, ports, seq: Default::default() }
    }

    /// Answers for the allocator from now on, and gives what it was asked.
    pub(crate) async fn allocator(
        &self,
        script: impl Fn(&OperatorCall) -> Answer + Send + 'static,
    ) -> Arc<Mutex<Vec<OperatorCall>>> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (bus, noted) = (self.bus.clone(), asked.clone());
        let mut inbox = bus.subscribe(&self.ports.subjects.service(service::ALLOCATOR)).await.unwrap();
        tokio::spawn(async move {
            while let Some(message) = inbox.next().await {
                let batch: Vec<ToAllocator> = envelope::open(kind::ALLOCATOR, &message.payload).unwrap();
                let mut answers = Vec::new();
                for call in batch {
                    let ToAllocator::Call(Call { what: AllocatorCall::Operator(call), .. }) = call else { continue };
                    answers.push(script(&call));
                    noted.lock().unwrap().push(call);
                }
                let payload = envelope::seal(kind::ANSWERS, &answers).unwrap();
                bus.publish(&message.reply.unwrap(), Vec::new(), payload).await.unwrap();
            }
        });
        asked
    }

    pub(crate) fn apply(&self, changes: Vec<RowChange>) {
        let seq = self.seq.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let of_allocator = |change: &RowChange| {
            use mesos_core::row::RowKey::{Agent, Body, Launch};
            matches!(change.key(), Agent(_) | Launch(_) | Body(_))
        };
        let (allocator, registry): (Vec<_>, Vec<_>) = changes.into_iter().partition(of_allocator);
        self.reads.view.apply(service::ALLOCATOR, seq, allocator);
        self.reads.view.apply(service::REGISTRY, seq, registry);
    }

    /// One agent, one framework, one task of it that runs.
    pub(crate) fn with_one_of_each() -> Rig {
        let rig = Rig::new();
        rig.apply(vec![
            put(Row::Agent(agent("m-S0"))),
            put(Row::Framework(framework("m-0000"))),
            put(Row::Launch(launch("l1", "m-0000", "m-S0", "t1"))),
            put(Row::Body(body("l1", "t1"))),
            put(Row::Task(task("m-0000", "t1", "l1", "m-S0"))),
        ]);
        let row = task("m-0000", "t1", "l1", "m-S0");
        rig.apply(vec![put(Row::Task(in_state(row, TaskState::Running, 4_000)))]);
        rig
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.reads.cancel.cancel();
    }
}
