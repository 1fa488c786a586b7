//! Where the hosts of node pools come from, each on the real thing: agents of this build, real scripts, and the server
//! of moto in the place of AWS, which checks signatures and rights as AWS does.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use mesos_model::resources_text::parse;
use mesos_pools::{
    Definition,
    definition::{Aws, Exec, Kind, Local},
    machine::{Group, Job},
    provider::{Provider, Surroundings, aws::AwsProvider},
};
use mesos_runtime::instance;
use reqsign_core::StaticEnv;

fn around() -> Surroundings {
    // Nobody listens there: an agent waits for its master.
    let master = "127.0.0.1:1".to_owned();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_mesos"));
    Surroundings { gateway: master.clone(), master, cluster: "c".to_owned(), program, invitations: None }
}

fn provider(kind: Kind) -> Provider {
    let definition = Definition {
        name: "p".to_owned(),
        kind,
        resources: parse("cpus:1;mem:64", "*").unwrap(),
        master: None,
        min: 0,
        max: 8,
        drain_timeout: Duration::from_secs(60),
        auto: None,
    };
    Provider::new(&definition, around()).unwrap()
}

fn job(node: &str) -> Job {
    Job {
        node: node.to_owned(),
        pool: "p".to_owned(),
        resources: parse("cpus:1;mem:64;disk:100", "*").unwrap(),
        place: None,
        hostname: None,
        agent: None,
    }
}

/// What every provider does that makes hosts one by one. `hosts` says which there are.
async fn makes_and_takes_away(provider: &Provider, hosts: &dyn Fn() -> Vec<String>) {
    assert!(hosts().is_empty());
    let first = provider.add(&job("p-1")).await.unwrap();
    provider.add(&job("p-2")).await.unwrap();
    assert_eq!(hosts(), ["p-1", "p-2"]);
    assert_eq!(provider.add(&job("p-1")).await.unwrap(), first, "a repeat makes nothing and says the same");
    assert_eq!(hosts(), ["p-1", "p-2"]);
    let gone = Job { place: first.place.clone(), hostname: first.hostname, ..job("p-1") };
    provider.remove(&gone).await.unwrap();
    assert_eq!(hosts(), ["p-2"]);
    provider.remove(&gone).await.unwrap();
    provider.remove(&job("p-9")).await.unwrap();
    assert_eq!(hosts(), ["p-2"], "what is gone, or never was, is no error");
    provider.remove(&job("p-2")).await.unwrap();
    assert!(hosts().is_empty());
    assert!(provider.resize(3).await.is_err());
}

fn local(dir: &Path, agent_args: &[&str], keep: bool) -> Provider {
    provider(Kind::Local(Local {
        dir: dir.join("pool"),
        agent_args: agent_args.iter().map(|arg| (*arg).to_owned()).collect(),
        keep_work_dir: keep,
    }))
}

fn running(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir.join("pool")) else { return Vec::new() };
    let running = entries.flatten().filter(|entry| instance::running(&entry.path(), "agent").is_some());
    let mut names: Vec<String> = running.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn agents_of_this_host_are_made_and_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let provider = local(dir.path(), &[], false);
    assert!(provider.list().await.unwrap().hosts.is_empty());
    makes_and_takes_away(&provider, &|| running(dir.path())).await;
    assert!(fs::read_dir(dir.path().join("pool")).unwrap().next().is_none(), "their folders are gone");
}

#[tokio::test]
async fn an_agent_of_this_host_that_was_killed_is_seen_and_started_again_in_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let provider = local(dir.path(), &[], true);
    provider.add(&job("p-1")).await.unwrap();
    let own = dir.path().join("pool/p-1");
    let pid = instance::running(&own, "agent").unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    until("the agent is seen to be dead", async || !provider.list().await.unwrap().hosts[0].alive).await;
    provider.add(&job("p-1")).await.unwrap();
    assert_ne!(instance::running(&own, "agent").unwrap(), pid);
    assert!(provider.list().await.unwrap().hosts[0].alive);
    provider.remove(&job("p-1")).await.unwrap();
    assert!(provider.list().await.unwrap().hosts.is_empty());
    let kept = fs::read_dir(dir.path().join("pool/removed")).unwrap().count();
    assert_eq!(kept, 1, "what is left of it is kept");
}

#[tokio::test]
async fn an_agent_of_this_host_that_does_not_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let why = local(dir.path(), &["--no-such-option"], false).add(&job("p-1")).await.unwrap_err();
    assert!(why.contains("--no-such-option") && !why.contains('\n'), "{why}");
}

fn script(path: &Path, text: &str) -> PathBuf {
    fs::write(path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}

fn exec(dir: &Path, add: &str, remove: &str, timeout: Duration) -> Provider {
    let add = script(&dir.join("add"), add);
    let remove = script(&dir.join("remove"), remove);
    provider(Kind::Exec(Exec { add, remove, timeout }))
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn scripts_make_hosts_and_take_them_away() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    fs::create_dir(&hosts).unwrap();
    let add = format!(
        "cat > {0}/$MESOS_NODE.tmp; mv {0}/$MESOS_NODE.tmp {0}/$MESOS_NODE\necho making it >&2\n\
         echo '{{\"place\": \"rack-'$MESOS_NODE'\", \"hostname\": \"h-'$MESOS_NODE'\"}}'\n",
        hosts.display()
    );
    let remove = format!(
        "[ -z \"$MESOS_NODE_PLACE\" ] || [ \"$MESOS_NODE_PLACE\" = rack-$MESOS_NODE ] || exit 9\nrm -f {}/$MESOS_NODE\n",
        hosts.display()
    );
    let provider = exec(dir.path(), &add, &remove, LONG);
    let there = || {
        let mut names: Vec<String> =
            fs::read_dir(&hosts).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    makes_and_takes_away(&provider, &there).await;
    let made = provider.add(&job("p-1")).await.unwrap();
    assert_eq!((made.place.as_deref(), made.hostname.as_deref()), (Some("rack-p-1"), Some("h-p-1")));
    let told: serde_json::Value = serde_json::from_str(&fs::read_to_string(hosts.join("p-1")).unwrap()).unwrap();
    assert_eq!((&told["action"], &told["node"], &told["pool"]), (&"add".into(), &"p-1".into(), &"p".into()));
    assert_eq!((&told["cpus"], &told["mem_mb"], &told["master"]), (&1.0.into(), &64.0.into(), &"127.0.0.1:1".into()));
}

#[tokio::test]
async fn a_script_is_told_an_agents_own_options_by_its_variables() {
    let dir = tempfile::tempdir().unwrap();
    let provider = exec(dir.path(), "env | grep ^MESOS_ | sort > \"$(dirname \"$0\")/env\"\n", "true", LONG);
    provider.add(&job("p-1")).await.unwrap();
    let env = fs::read_to_string(dir.path().join("env")).unwrap();
    for line in [
        "MESOS_ACTION=add",
        "MESOS_ATTRIBUTES=node:p-1;pool:p",
        "MESOS_CLUSTER=c",
        "MESOS_MASTER=127.0.0.1:1",
        "MESOS_NODE=p-1",
        "MESOS_NODE_CPUS=1",
        "MESOS_NODE_MEM_MB=64",
        "MESOS_POOL=p",
        "MESOS_RESOURCES=cpus:1;disk:100;mem:64",
    ] {
        assert!(env.lines().any(|found| found == line), "{line} in\n{env}");
    }
}

#[tokio::test]
async fn a_script_that_fails_says_why_in_its_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let fails = async |add: &str| exec(dir.path(), add, "true", LONG).add(&job("p-1")).await.unwrap_err();
    let why = fails("echo trying >&2; echo 'no rack is free' >&2; exit 3").await;
    assert!(why.ends_with("add ended with 3: no rack is free"), "{why}");
    assert!(fails("echo on stdout; exit 1").await.ends_with("ended with 1: on stdout"));
    assert!(fails("exit 1").await.ends_with("it said nothing"));
    assert!(fails("kill -9 $$").await.contains("was ended by a signal"));
    let why = fails("echo '{\"host\": \"h\"}'").await;
    assert!(why.contains("unknown field `host`"), "{why}");
    // Whatever it writes, it does not fill this process, and does not hang.
    let why = fails("head -c 3000000 /dev/zero | tr '\\0' a >&2; echo >&2; echo the end >&2; exit 1").await;
    assert!(why.ends_with("the end"), "{}", why.len());
}

#[tokio::test]
async fn a_script_that_takes_too_long_is_ended_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let add = "sleep 1000 & echo $! > \"$(dirname \"$0\")/pid\"; wait\n";
    let provider = exec(dir.path(), add, "true", Duration::from_millis(700));
    let why = provider.add(&job("p-1")).await.unwrap_err();
    assert!(why.contains("took longer than") && why.contains("and was ended"), "{why}");
    let pid = fs::read_to_string(dir.path().join("pid")).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    let is_over = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    until("what it started has ended", async || is_over()).await;
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Moto's server, with a group of one instance and a user who may do what the docs say.
struct Moto {
    server: Child,
    url: String,
    variables: StaticEnv,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What the user may do: `docs/elastic.md` has the same.
const RIGHTS: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*","Action":[
"autoscaling:DescribeAutoScalingGroups","autoscaling:SetDesiredCapacity",
"autoscaling:TerminateInstanceInAutoScalingGroup"]}]}"#;

impl Moto {
    async fn start() -> Moto {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let python = std::env::var("PYTHON").expect("PYTHON is not set; eval \"$(scripts/setup --print-env)\"");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            // After these calls everything needs a signature and the right to do it.
            .env("INITIAL_NO_AUTH_ACTION_COUNT", "5")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let mut moto = Moto { server, url, variables: StaticEnv { home_dir: None, envs: HashMap::new() } };
        until("moto listens", async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        let image = "LaunchConfigurationName=lc&ImageId=ami-12c6146b&InstanceType=t2.micro";
        moto.unsigned("autoscaling", &format!("Action=CreateLaunchConfiguration&{image}")).await;
        let group = "AutoScalingGroupName=agents&LaunchConfigurationName=lc&MinSize=0&MaxSize=3&DesiredCapacity=1";
        let zone = "AvailabilityZones.member.1=eu-west-1a";
        moto.unsigned("autoscaling", &format!("Action=CreateAutoScalingGroup&{group}&{zone}")).await;
        moto.unsigned("iam", "Action=CreateUser&UserName=u").await;
        let rights: String = RIGHTS.bytes().map(|byte| format!("%{byte:02X}")).collect();
        moto.unsigned("iam", &format!("Action=PutUserPolicy&UserName=u&PolicyName=p&PolicyDocument={rights}")).await;
        let key = moto.unsigned("iam", "Action=CreateAccessKey&UserName=u").await;
        let of = |tag: &str| key.split(&format!("<{tag}>")).nth(1).unwrap().split('<').next().unwrap().to_owned();
        moto.variables.envs = HashMap::from([
            ("AWS_ACCESS_KEY_ID".to_owned(), of("AccessKeyId")),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), of("SecretAccessKey")),
        ]);
        moto
    }

    async fn unsigned(&self, service: &str, body: &str) -> String {
        let version = if service == "iam" { "2010-05-08" } else { "2011-01-01" };
        let scope = format!("Credential=x/20260101/eu-west-1/{service}/aws4_request");
        let request = reqwest::Client::new()
            .post(&self.url)
            .header("authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=x"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("{body}&Version={version}"));
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{body}: {text}");
        text
    }

    fn provider(&self, group: &str, variables: StaticEnv) -> AwsProvider {
        let aws = Aws { group: group.to_owned(), region: "eu-west-1".to_owned(), endpoint: Some(self.url.clone()) };
        AwsProvider::with_variables(aws, variables).unwrap()
    }
}

#[tokio::test]
async fn a_group_grows_by_its_size_and_shrinks_by_one_instance_once() {
    let moto = Moto::start().await;
    let provider = moto.provider("agents", moto.variables.clone());
    let size = async |desired: u32| {
        let found = provider.list().await.unwrap();
        assert_eq!(found.group, Some(Group { desired, min: 0, max: 3 }));
        let alive = found.hosts.into_iter().filter(|host| host.alive).map(|host| host.node);
        let alive: Vec<String> = alive.collect();
        assert_eq!(alive.len(), desired as usize);
        alive
    };
    size(1).await;
    provider.resize(3).await.unwrap();
    let instances = size(3).await;
    provider.resize(2).await.unwrap();
    assert_eq!(size(3).await, instances, "it is never made smaller by its size");
    provider.remove(&instances[1]).await.unwrap();
    let left = size(2).await;
    assert!(!left.contains(&instances[1]), "{left:?}");
    provider.remove(&instances[1]).await.unwrap();
    provider.remove("i-0123456789").await.unwrap();
    assert_eq!(size(2).await, left, "a repeat takes nothing more");
}

#[tokio::test]
async fn what_aws_refuses_is_said_in_one_line() {
    let moto = Moto::start().await;
    let why = moto.provider("nobodys", moto.variables.clone()).list().await.unwrap_err();
    assert_eq!(why, "there is no Auto Scaling group nobodys in eu-west-1");
    let mut wrong = moto.variables.clone();
    wrong.envs.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "wrong".to_owned());
    let why = moto.provider("agents", wrong).list().await.unwrap_err();
    assert!(why.contains("DescribeAutoScalingGroups") && why.contains("SignatureDoesNotMatch"), "{why}");
    let nowhere = Aws { group: "g".into(), region: "r".into(), endpoint: Some("http://127.0.0.1:1".into()) };
    let why = AwsProvider::with_variables(nowhere, moto.variables.clone()).unwrap().list().await.unwrap_err();
    assert!(why.contains("127.0.0.1:1") && why.contains("refused"), "{why}");
}
