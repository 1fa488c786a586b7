//! An allocator and a registry, or one of them, start on a store that is full of running tasks.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use bytes::Bytes;
use mesos_core::row::{
    AgentRow, AgentState, BodyRow, FrameworkInfo, FrameworkRow, FrameworkState, LaunchKind, LaunchRow, LaunchTask, Row,
    RowChange, TaskRow, service,
};
use mesos_model::{FrameworkId, Resources, TaskState, Term, Time, uuid_text};
use mesos_ports::store::{Commit, Fence, Store};
use mesos_proto::v1;
use mesos_runtime::codec::encode_row;
use mesos_store::redis::RedisStore;
use prost::Message;
use serde_json::json;
use uuid::Uuid;

use crate::{
    framework::command,
    options::{Common, Load, Loading},
    report::Line,
    setup::Setup,
    usage::{Meter, round, rss_mib},
};

/// Rows in one commit.
const BATCH: usize = 1000;
const LEASE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(300);
const FRAMEWORK: &str = "00000000-0000-4000-8000-000000000001-0000";

/// Fills the store, starts the services, and waits until both lead.
pub(crate) async fn run(common: &Common, options: &Load) -> Result<()> {
    let mut setup = Setup::backends(common).await?;
    let store = setup.store().await?;
    let start = Instant::now();
    let now = Time(u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis())?);
    let allocator = Writer::begin(&store, service::ALLOCATOR).await?;
    let registry = Writer::begin(&store, service::REGISTRY).await?;
    let term = allocator.fence.term();
    let (agents, tasks) = (options.tasks.div_ceil(options.tasks_per_agent.max(1)), options.tasks);
    let held = (0..agents).map(|number| Row::Agent(agent(number, options.tasks_per_agent, term, now)));
    let launches = (0..tasks).flat_map(|number| {
        let on = number / options.tasks_per_agent.max(1);
        [Row::Launch(launch(number, on, term, now)), Row::Body(body(number, on))]
    });
    let facts = std::iter::once(Row::Framework(framework(now)));
    let facts =
        facts.chain((0..tasks).map(|number| Row::Task(task(number, number / options.tasks_per_agent.max(1), now))));
    let (rows, more) = tokio::try_join!(allocator.write(held.chain(launches)), registry.write(facts))?;
    let filled = start.elapsed();
    if !common.quiet {
        eprintln!("   {} rows are written after {:.1} s", rows + more, filled.as_secs_f64());
    }
    let start = Instant::now();
    let services = match options.only {
        None => vec!["allocator", "registry"],
        Some(Loading::Allocator) => vec!["allocator"],
        Some(Loading::Registry) => vec!["registry"],
    };
    for service in &services {
        setup.service(common, service, service)?;
    }
    let meter = Meter::start(setup.processes());
    let mut led = vec![None::<Duration>; services.len()];
    while led.iter().any(Option::is_none) {
        setup.must_run()?;
        if start.elapsed() > PATIENCE {
            bail!("not everybody leads within {PATIENCE:?}: {led:?}");
        }
        for (at, name) in services.iter().enumerate() {
            if led[at].is_none() && !setup.said_leading(name).is_empty() {
                led[at] = Some(start.elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let rss = |name: &str| {
        setup.processes().into_iter().find(|(known, _)| known == name).map_or(0.0, |(_, pid)| round(rss_mib(pid)))
    };
    let mut line = Line::new(
        "load",
        json!({
            "tasks": tasks, "agents": agents, "tasks_per_agent": options.tasks_per_agent, "rows": rows + more,
            "only": options.only,
        }),
    );
    line.set("filled_ms", round(filled.as_secs_f64() * 1000.0));
    for (service, led) in services.iter().zip(led) {
        let ms = round(led.unwrap_or_default().as_secs_f64() * 1000.0);
        line.set(&format!("{service}_leads_ms"), ms).say(format!("{service} leads after {ms:.0} ms"));
    }
    let held: BTreeMap<&str, f64> = services.iter().chain(&["redis"]).map(|name| (*name, rss(name))).collect();
    let text: Vec<String> = held.iter().map(|(name, mib)| format!("{name} {mib:.0}")).collect();
    line.set("rss_mib", json!(held)).say(format!("RSS MiB: {}", text.join(", ")));
    line.used(&meter, tasks as u64).print(common);
    setup.finish()
}

/// Writes rows as a leader does.
struct Writer {
    store: RedisStore,
    service: &'static str,
    fence: Fence,
}

impl Writer {
    async fn begin(store: &RedisStore, service: &'static str) -> Result<Writer> {
        let fence = store.acquire(service, Uuid::new_v4(), None, 0, LEASE).await?.fence;
        Ok(Writer { store: store.clone(), service, fence })
    }

    async fn write(mut self, rows: impl Iterator<Item = Row>) -> Result<usize> {
        let mut written = 0;
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let changes = rows.by_ref().take(BATCH).map(|row| encode_row(&RowChange::Put(row)));
            let changes: Vec<_> = changes.collect::<Result<_, _>>()?;
            written += changes.len();
            let commit = Commit {
                service: self.service,
                fence: self.fence,
                batch: Uuid::new_v4(),
                changes,
                peer_cursor: 0,
                lease: LEASE,
            };
            self.fence.seq = self.store.commit(commit).await?.seq;
            if self.fence.seq.is_multiple_of(100) {
                self.store.trim(self.service, self.fence.seq - 1).await?;
            }
        }
        self.store.trim(self.service, self.fence.seq.saturating_sub(1)).await?;
        self.store.release(self.service, self.fence).await?;
        Ok(written)
    }
}

fn agent_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-000000000001-S{number}")
}

fn launch_id(number: usize) -> String {
    uuid_text(number as u128 + (1 << 100))
}

fn agent(number: usize, tasks: usize, term: Term, now: Time) -> AgentRow {
    let room = i64::try_from(tasks).unwrap_or(i64::MAX).saturating_add(10);
    let hostname = format!("simulated-{number}");
    AgentRow {
        id: agent_id(number).into(),
        instance: number as u128 + 1,
        boot: "boot".to_owned(),
        body: v1::AgentInfo { hostname: hostname.clone(), port: Some(5051), ..Default::default() }
            .encode_to_vec()
            .into(),
        hostname,
        ip: "127.0.0.1".to_owned(),
        port: 5051,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        total: Resources::of(&[("cpus", room), ("mem", room.saturating_mul(32))]),
        oversubscribed: Resources::new(),
        attributes: Vec::new(),
        domain: None,
        state: AgentState::Active,
        deactivated: false,
        drain: None,
        down: false,
        degraded: None,
        handshake: term,
        registered: now,
        reregistered: now,
        operated: Vec::new(),
    }
}

fn resources() -> Resources {
    Resources::of(&[("cpus", 1), ("mem", 32)])
}

fn launch(number: usize, agent: usize, term: Term, now: Time) -> LaunchRow {
    let task = format!("task-{number}");
    LaunchRow {
        launch: launch_id(number).as_str().into(),
        framework: FRAMEWORK.into(),
        role: mesos_model::Role::default(),
        agent: agent_id(agent).as_str().into(),
        executor: task.as_str().into(),
        executor_resources: Resources::new(),
        tasks: vec![LaunchTask { task: task.as_str().into(), name: task, resources: resources(), priority: 0 }],
        sent: (term, number as u64 + 1),
        call: launch_id(number).as_str().into(),
        time: now,
        trace: None,
        adopted: None,
        kind: LaunchKind::Command,
    }
}

fn body(number: usize, agent: usize) -> BodyRow {
    let info = v1::TaskInfo {
        name: format!("task-{number}"),
        task_id: v1::TaskId { value: format!("task-{number}") },
        agent_id: v1::AgentId { value: agent_id(agent) },
        resources: vec![mesos_sdk::build::cpus(0.001), mesos_sdk::build::mem(0.032)],
        ..command("sleep 1000")
    };
    BodyRow { launch: launch_id(number).as_str().into(), tasks: vec![info.encode_to_vec().into()], executor: None }
}

fn task(number: usize, agent: usize, now: Time) -> TaskRow {
    let task = format!("task-{number}");
    TaskRow {
        framework: FRAMEWORK.into(),
        task: task.as_str().into(),
        launch: launch_id(number).as_str().into(),
        agent: agent_id(agent).as_str().into(),
        executor: task.as_str().into(),
        name: task,
        role: mesos_model::Role::default(),
        resources: resources(),
        state: TaskState::Running,
        status: None,
        number: 1,
        pending: Vec::new(),
        end_acknowledged: false,
        launch_seen: true,
        kill: None,
        created: now,
        trace: None,
    }
}

fn framework(now: Time) -> FrameworkRow {
    let id: FrameworkId = FRAMEWORK.into();
    let week = Duration::from_secs(7 * 24 * 3600);
    let info = v1::FrameworkInfo {
        id: Some(v1::FrameworkId { value: FRAMEWORK.to_owned() }),
        name: "bench-load".to_owned(),
        user: "root".to_owned(),
        roles: vec!["*".to_owned()],
        failover_timeout: Some(week.as_secs_f64()),
        ..Default::default()
    };
    FrameworkRow {
        id,
        info: FrameworkInfo {
            name: info.name.clone(),
            user: "root".to_owned(),
            roles: vec![mesos_model::Role::default()],
            failover_timeout_ms: week.as_secs() * 1000,
            ..FrameworkInfo::default()
        },
        body: Bytes::from(info.encode_to_vec()),
        state: FrameworkState::Disconnected { deadline: now.after(week) },
        subscription: None,
        suppressed: Default::default(),
        revived: Default::default(),
        priority: None,
        recovered: false,
        registered: now,
        reregistered: now,
    }
}
