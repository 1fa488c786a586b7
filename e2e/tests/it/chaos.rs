//! Everything at once, at random: each process is on a host of its own (a network namespace), processes are killed and
//! paused, hosts unplugged, cut from each other in one direction or both, slowed down, packets lost, disks filled, Docker
//! hangs, the store's clock steps, and Sentinels make a replica of Redis the primary, also one that misses the last second. All the while tasks
//! are launched, end and are killed. At the end the history of every task is checked.
//!
//! Each run prints its seed, which `MESOS_CHAOS_SEED` repeats as far as real processes repeat anything.
//! `MESOS_CHAOS_SECONDS` makes it longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::framework::Launched;
use mesos_e2e::scheduler::{framework_info, scalar};
use mesos_e2e::{AgentSpec, Cluster, Damage, Framework, Network, Scheduler, TaskSpec, eventually};
use serde_json::{Value, json};

use crate::support::IMAGE;

/// How long faults go on where nobody says otherwise.
const SECONDS: u64 = 180;
/// For all to be well after the last fault.
const CALM: Duration = Duration::from_secs(180);
const AGENTS: usize = 3;
const CPUS: f64 = 8.0;
/// Tasks that run from before the first fault until after the last.
const STAYING: usize = 9;
/// More than may wait when offers do not come.
const WAITING_MAX: usize = 20;
/// How far a Redis's clock may be off, ms.
const CLOCK_OFF_MAX: u64 = 60_000;
/// Its own disk's end is the end of a task that needs it to start.
const NO_ROOM: &str = "No space left on device";

/// Numbers that a seed gives (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// What was done and must be undone.
enum Fault {
    Dead(String),
    Paused(String),
    Network(Damage),
    DockerHangs(String),
    FullDisk(usize),
}

fn setting(name: &str) -> Result<Option<u64>> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().with_context(|| format!("{name} is no number: {text}")))
        .transpose()
}

#[test]
fn every_task_has_its_one_right_history_whatever_happens_to_the_cluster() -> Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seed = setting("MESOS_CHAOS_SEED")?.unwrap_or(now.as_secs() << 20 | u64::from(now.subsec_micros()));
    let length = Duration::from_secs(setting("MESOS_CHAOS_SECONDS")?.unwrap_or(SECONDS));
    println!("MESOS_CHAOS_SEED={seed} MESOS_CHAOS_SECONDS={}", length.as_secs());
    let network = Arc::new(Network::new()?);
    network.add("load")?;
    let run = async || run(seed, length, network.clone()).await;
    network.run_on("load", run).with_context(|| format!("MESOS_CHAOS_SEED={seed}"))
}

async fn run(seed: u64, length: Duration, network: Arc<Network>) -> Result<()> {
    let resources = format!("cpus:{CPUS};mem:8192;disk:1000;ports:[31000-32000]");
    let mut builder = Cluster::builder().services(2, 2, 2).network(network).arg("allocator", "--agent-timeout=15s");
    // A process that starts while it is cut off waits, as it does where somebody starts it again and again.
    for service in ["allocator", "registry", "gateway", "agent"] {
        builder = builder.arg(service, "--wait");
    }
    for _ in 0..AGENTS {
        builder = builder.agent(AgentSpec::with_resources(&resources).arg("--beat=1s").disk(64));
    }
    let cluster = builder.start().await?;
    let starts = cluster.directory().join("starts");
    fs::create_dir_all(&starts)?;
    let info = framework_info("chaos", 3600.0);
    let framework = Framework::start_launching_once(info, &cluster.gateway_urls()).await?;
    let mut random = Random(seed);
    let mut load = Load { random: Random(seed ^ 1), number: 0, to_kill: BTreeMap::new() };
    framework.launch(
        (0..STAYING).map(|number| task(&starts, &format!("stays-{number}"), "exec sleep 10000", number % 3 == 0)),
    );
    framework.wait_for_all(CALM, |_| "TASK_RUNNING").await?;

    let begun = Instant::now();
    let mut faults: Vec<(Instant, Fault)> = Vec::new();
    let mut next_fault = begun;
    while begun.elapsed() < length {
        load.go_on(&framework, &starts).await;
        let due = |at: &Instant| *at <= Instant::now();
        let (over, under_way) = faults.into_iter().partition(|(at, _)| due(at));
        faults = under_way;
        let over: Vec<(Instant, Fault)> = over;
        for (_, fault) in over {
            undo(&cluster, &fault)?;
        }
        if due(&next_fault) {
            if let Some((fault, words)) = cause(&cluster, &mut random, &faults).await? {
                println!("{:6.2} s: {words}", begun.elapsed().as_secs_f64());
                let lasts = random.millis(500, 9000);
                faults.extend(fault.map(|fault| (Instant::now() + lasts, fault)));
            }
            next_fault = Instant::now() + random.millis(200, 2500);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (_, fault) in &faults {
        undo(&cluster, fault)?;
    }
    println!("{:6.2} s: calm; {} tasks were launched", begun.elapsed().as_secs_f64(), framework.tasks().len());
    calm_down(&cluster, &framework).await?;
    let ends = check(&framework.tasks(), &starts)?;
    println!("{:6.2} s: all is well: {ends:?}", begun.elapsed().as_secs_f64());
    everything_is_offered(&cluster).await?;
    cluster.finish()
}

/// One more fault, if it goes together with those under way: what has to be undone of it, and what it is.
async fn cause(
    cluster: &Cluster,
    random: &mut Random,
    faults: &[(Instant, Fault)],
) -> Result<Option<(Option<Fault>, String)>> {
    let busy = |name: &str| {
        faults.iter().any(|(_, fault)| matches!(fault, Fault::Dead(other) | Fault::Paused(other) if other == name))
    };
    let agent = format!("agent-{}", random.below(AGENTS as u64));
    let processes = cluster.names();
    let name = random.one(&processes).clone();
    let (fault, words) = match random.below(22) {
        0..6 if !busy(&name) => {
            cluster.kill_9(&name)?;
            (Some(Fault::Dead(name.clone())), format!("kill -9 {name}"))
        }
        6..9 if !busy(&name) => {
            cluster.pause(&name).await?;
            (Some(Fault::Paused(name.clone())), format!("pause {name}"))
        }
        9..15 => {
            let damage = damage(cluster, random)?;
            // What is repaired must not repair the same of another fault.
            if faults.iter().any(|(_, fault)| matches!(fault, Fault::Network(other) if *other == damage)) {
                return Ok(None);
            }
            cluster.network()?.damage(&damage)?;
            let words = damage.to_string();
            (Some(Fault::Network(damage)), words)
        }
        15 => {
            let number = usize::try_from(random.below(AGENTS as u64))?;
            cluster.fill_disk(number)?;
            (Some(Fault::FullDisk(number)), format!("fill the disk of agent-{number}"))
        }
        16 => {
            cluster.docker_links()[&agent].set_cut(true);
            (Some(Fault::DockerHangs(agent.clone())), format!("Docker hangs for {agent}"))
        }
        17 if cluster.fail_over() => (None, "Sentinels choose another Redis".to_owned()),
        18..20 => {
            let Ok(primary) = cluster.redis_primary() else { return Ok(None) };
            if busy(&primary) {
                return Ok(None);
            }
            lose_the_last_second(cluster, &primary).await?;
            (Some(Fault::Dead(primary.clone())), format!("{primary} dies with what its replicas have not heard"))
        }
        20..22 => {
            let server = random.one(&cluster.redis_servers()).clone();
            let off = i64::try_from(random.below(2 * CLOCK_OFF_MAX))? - i64::try_from(CLOCK_OFF_MAX)?;
            cluster.set_clock(&server, off)?;
            (None, format!("the clock of {server} steps to {off} ms off"))
        }
        _ => return Ok(None),
    };
    Ok(Some((fault, words)))
}

/// Something that goes wrong on the way between two hosts that speak with each other.
fn damage(cluster: &Cluster, random: &mut Random) -> Result<Damage> {
    let network = cluster.network()?;
    let hosts: Vec<String> = network.hosts().into_iter().filter(|host| host != "load").collect();
    let one = random.one(&hosts).clone();
    let kind = |host: &str| host.split('-').next().unwrap_or_default().to_owned();
    let peers: &[&str] = match kind(&one).as_str() {
        "nats" => &["allocator", "registry", "gateway", "agent"],
        "redis" => &["allocator", "registry", "gateway", "redis", "sentinel"],
        "sentinel" => &["redis", "sentinel", "allocator", "registry", "gateway"],
        "gateway" => &["load", "nats", "redis"],
        "agent" => &["nats"],
        _ => &["nats", "redis", "sentinel"],
    };
    let mut others = network.hosts();
    others.retain(|host| *host != one && peers.contains(&kind(host).as_str()));
    let other = random.one(&others).clone();
    let (one, other) = if random.below(2) == 0 { (one, other) } else { (other, one) };
    Ok(match random.below(6) {
        // The load is told nothing when its own cable is pulled, but is all that looks.
        0 if one != "load" => Damage::Unplugged(one),
        1 if one != "load" => Damage::Slow(one),
        2 => Damage::Lossy(one, other),
        3 | 4 => Damage::OneWay(one, other),
        _ => Damage::Cut(one, other),
    })
}

/// Kills the primary of Redis after a while in which it took commits that no replica has.
async fn lose_the_last_second(cluster: &Cluster, primary: &str) -> Result<()> {
    let network = cluster.network()?;
    let replicas = cluster.redis_servers().into_iter().filter(|name| name != primary);
    let deaf: Vec<Damage> = replicas.map(|replica| Damage::OneWay(primary.to_owned(), replica)).collect();
    for damage in &deaf {
        network.damage(damage)?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.kill_9(primary)?;
    deaf.iter().try_for_each(|damage| network.repair(damage))
}

fn undo(cluster: &Cluster, fault: &Fault) -> Result<()> {
    match fault {
        Fault::Dead(name) => cluster.restart(name),
        Fault::Paused(name) => cluster.resume(name),
        Fault::Network(damage) => cluster.network()?.repair(damage),
        Fault::DockerHangs(agent) => {
            cluster.docker_links()[agent].set_cut(false);
            Ok(())
        }
        Fault::FullDisk(agent) => match fs::remove_file(cluster.work_dir(*agent).join("ballast")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        },
    }
}

/// A task that says once that it started, in a file of its own.
fn task(starts: &Path, id: &str, then: &str, docker: bool) -> TaskSpec {
    let starts = starts.display().to_string();
    let command = format!("echo {id} >> {starts}/{id}; {then}");
    if !docker {
        return TaskSpec::shell(id, &command);
    }
    let volume = json!({"container_path": starts, "host_path": starts, "mode": "RW"});
    let container = json!({"type": "DOCKER", "docker": {"image": IMAGE}, "volumes": [volume]});
    TaskSpec::docker(id, IMAGE, &command).with("container", container)
}

/// Tasks that come and go.
struct Load {
    random: Random,
    number: u64,
    /// Which are to be killed, and when.
    to_kill: BTreeMap<String, Instant>,
}

impl Load {
    async fn go_on(&mut self, framework: &Framework, starts: &Path) {
        if framework.waiting() < WAITING_MAX {
            for _ in 0..self.random.below(3) {
                self.number += 1;
                let docker = self.random.below(5) == 0;
                let (id, then) = match self.random.below(4) {
                    0 => (format!("kill-{}", self.number), "exec sleep 10000".to_owned()),
                    1 => (format!("fail-{}", self.number), format!("sleep 0.{}; exit 3", self.random.below(9))),
                    _ => (format!("end-{}", self.number), format!("sleep {}.2; exit 0", self.random.below(4))),
                };
                if id.starts_with("kill-") {
                    self.to_kill.insert(id.clone(), Instant::now() + self.random.millis(0, 8000));
                }
                framework.launch([task(starts, &id, &then, docker)]);
            }
        }
        let due: Vec<String> =
            self.to_kill.iter().filter(|(_, at)| **at <= Instant::now()).map(|(id, _)| id.clone()).collect();
        for id in due {
            let Some(task) = framework.task(&id) else { continue };
            self.to_kill.remove(&id);
            if task.is_over() {
                continue;
            }
            // One that does not arrive is sent again at the end. It must not hold everything else up.
            let _ = tokio::time::timeout(Duration::from_millis(200), framework.kill(&id)).await;
        }
    }
}

/// Waits until every task that is to end has ended.
async fn calm_down(cluster: &Cluster, framework: &Framework) -> Result<()> {
    cluster.wait_for_agents(0, AGENTS, CALM).await?;
    cluster.wait_for_agents(1, AGENTS, CALM).await?;
    eventually(CALM, "every task has its end", async || {
        let tasks = framework.tasks();
        let open: Vec<String> = tasks
            .iter()
            .filter(|(id, task)| !task.is_over() && !id.starts_with("stays-"))
            .map(|(id, task)| format!("{id}: {:?}", task.state()))
            .collect();
        for id in open.iter().filter_map(|text| text.split(':').next()).filter(|id| id.starts_with("kill-")) {
            framework.kill(id).await?;
        }
        let staying = tasks.iter().filter(|(id, _)| id.starts_with("stays-"));
        let restless = staying.filter(|(_, task)| !matches!(task.state(), "TASK_RUNNING")).count();
        if framework.waiting() == 0 && open.is_empty() && restless == 0 {
            return Ok(true);
        }
        bail!("{} wait, {restless} do not run on, {} have no end: {open:?}", framework.waiting(), open.len())
    })
    .await?;
    for number in 0..STAYING {
        framework.kill(&format!("stays-{number}")).await?;
    }
    eventually(CALM, "what stayed is killed", async || {
        let tasks = framework.tasks();
        Ok(tasks.iter().filter(|(id, _)| id.starts_with("stays-")).all(|(_, task)| task.is_over()))
    })
    .await
}

/// Checks the history of every task; how many there were of each end.
fn check(tasks: &BTreeMap<String, Launched>, starts: &Path) -> Result<BTreeMap<String, usize>> {
    let mut ends = BTreeMap::new();
    let mut wrong = Vec::new();
    for (id, task) in tasks {
        let started = fs::read_to_string(starts.join(id)).map_or(0, |text| text.lines().count());
        if let Some(why) = why_wrong(id, task, started) {
            wrong.push(format!("{id}, which started {started} times: {why}; told was {:?}", told(task)));
        }
        *ends.entry(task.state().to_owned()).or_insert(0) += 1;
    }
    ensure!(wrong.is_empty(), "{} of {} histories are wrong:\n{}", wrong.len(), tasks.len(), wrong.join("\n"));
    Ok(ends)
}

/// The statuses of a task in short, repeats left out.
fn told(task: &Launched) -> Vec<String> {
    let words = |status: &Value| {
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", text("state"), text("reason"), text("message"))
    };
    let mut told: Vec<String> = task.statuses.iter().map(words).collect();
    told.dedup();
    told
}

/// States in their order; all ends are the last.
fn rank(state: &str) -> u8 {
    match state {
        "TASK_STAGING" => 0,
        "TASK_STARTING" => 1,
        "TASK_RUNNING" => 2,
        "TASK_KILLING" => 3,
        _ => 4,
    }
}

fn why_wrong(id: &str, task: &Launched, started: usize) -> Option<String> {
    if started > 1 {
        return Some("it ran twice".to_owned());
    }
    // Whether it is known is not a state of the task.
    let of_task = |state: &&str| !matches!(*state, "TASK_UNKNOWN" | "TASK_UNREACHABLE");
    // Updates may come again, all of them in their order: after Redis has lost an acknowledgement, for example.
    let mut seen = BTreeSet::new();
    let first = |status: &&Value| status["uuid"].as_str().is_none_or(|uuid| seen.insert(uuid.to_owned()));
    let statuses: Vec<&Value> = task.statuses.iter().filter(first).collect();
    let mut states: Vec<&str> = Vec::new();
    for status in &statuses {
        let state = status["state"].as_str().unwrap_or_default();
        // A task whose end was acknowledged is forgotten: who asks about it later is told that there is none.
        let none = matches!(state, "TASK_GONE" | "TASK_LOST" | "TASK_DROPPED");
        let forgotten =
            none && status["reason"] == "REASON_RECONCILIATION" && states.iter().any(|state| rank(state) == 4);
        if of_task(&state) && !forgotten {
            states.push(state);
        }
    }
    // What an agent tells has an order; answers to questions may be a little older than what was told last.
    let updates = statuses.iter().filter(|status| status["uuid"].is_string());
    let ranks: Vec<u8> =
        updates.filter_map(|status| status["state"].as_str()).filter(|state| of_task(state)).map(rank).collect();
    if !ranks.is_sorted() {
        return Some("its statuses are out of order".to_owned());
    }
    let ends: Vec<&str> = states.iter().filter(|state| rank(state) == 4).copied().collect();
    if ends.windows(2).any(|two| two[0] != two[1]) {
        return Some(format!("it has several ends: {ends:?}"));
    }
    if let Some(first) = states.iter().position(|state| rank(state) == 4)
        && states[first..].iter().any(|state| rank(state) < 4)
    {
        return Some("it went on after its end".to_owned());
    }
    let end = ends.last().copied().unwrap_or_default();
    let message = task.statuses.iter().rev().find_map(|status| status["message"].as_str()).unwrap_or_default();
    let kind = id.split('-').next().unwrap_or_default();
    let right = match end {
        // It is said that it never started.
        "" | "TASK_DROPPED" | "TASK_LOST" | "TASK_GONE" => started == 0,
        "TASK_FINISHED" => kind == "end" && started == 1,
        "TASK_KILLED" if message.contains("before it ran") => kind == "kill" && started == 0,
        "TASK_KILLED" => matches!(kind, "kill" | "stays"),
        "TASK_FAILED" => {
            (kind == "fail" && started == 1) || message.contains(NO_ROOM) || message.contains("Docker at tcp")
        }
        _ => false,
    };
    (!right).then(|| format!("{end:?} is not its right end"))
}

/// Nothing is held any more, and all of it is offered to who asks.
async fn everything_is_offered(cluster: &Cluster) -> Result<()> {
    for gateway in 0..2 {
        eventually(CALM, "nothing is used any more", async || {
            let seen = cluster.get(gateway, "/v1/cluster").await?;
            if seen["resources"]["used"]["cpus"] == 0.0 {
                return Ok(true);
            }
            bail!("{}", seen["resources"])
        })
        .await?;
    }
    let mut scheduler = Scheduler::subscribe(&cluster.gateway(0), &framework_info("afterwards", 0.0)).await?;
    let mut offered = 0.0;
    let until = Instant::now() + CALM;
    while offered < CPUS * AGENTS as f64 - 0.001 {
        // Offers that were lost on their way to somebody else are free again after a while.
        let left = until.saturating_duration_since(Instant::now());
        let offers = scheduler.wait_for(left, "OFFERS").await.with_context(|| format!("{offered} CPUs are offered"))?;
        for offer in offers["offers"]["offers"].as_array().into_iter().flatten() {
            offered += scalar(&offer["resources"], "cpus");
        }
    }
    Ok(())
}
