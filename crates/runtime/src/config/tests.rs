use std::fs;

use clap::{Args, FromArgMatches, ValueEnum};

use super::{options::CommonOptions, *};

#[derive(Args, Debug)]
struct Options {
    #[command(flatten)]
    common: CommonOptions,
    #[arg(long, default_value = "mesos")]
    cluster: String,
    #[arg(long)]
    work_dir: Option<PathBuf>,
    #[arg(long, default_value_t = 5050)]
    port: u16,
    #[arg(long, value_delimiter = ',')]
    containerizers: Vec<String>,
    #[arg(long)]
    docker_socket: Option<String>,
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    #[arg(long)]
    resources: Option<String>,
    #[arg(long, alias = "resource-cpu")]
    resource_cpus: Option<String>,
    #[arg(long, alias = "resource-ram")]
    resource_mem: Option<String>,
    #[arg(long)]
    wait: bool,
    #[arg(long)]
    redis_url: Option<String>,
    #[arg(long, required = true)]
    master: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Slow,
    Fast,
}

const ROLE: Role = Role { display: "mesos slave", files: &["mesos-slave", "agent"] };

struct Setting {
    root: std::path::PathBuf,
    env: Vec<(&'static str, &'static str)>,
    _dir: Dir,
}

/// A folder of its own that goes with the test.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn setting() -> Setting {
    let root = std::env::temp_dir().join(format!("mesos-config-{}", uuid::Uuid::new_v4()));
    fs::create_dir_all(root.join("etc/mesos")).unwrap();
    Setting { root: root.clone(), env: Vec::new(), _dir: Dir(root) }
}

impl Setting {
    fn file(self, path: &str, text: &str) -> Self {
        fs::write(self.root.join(path), text).unwrap();
        self
    }

    fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    fn resolve(&self, args: &[&str]) -> Result<Resolved, String> {
        let env = self.env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let around = Surroundings { root: self.root.clone(), env };
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let command = Options::augment_args(Command::new("mesos slave"));
        resolve(command, ROLE, &args, &around).map_err(|stop| match stop {
            Stop::Print(text) => format!("PRINT {text}"),
            Stop::Wrong(text) => {
                assert_eq!(text.lines().count(), 1, "{text}");
                text.replace(&self.root.display().to_string(), "")
            }
        })
    }

    fn options(&self, args: &[&str]) -> Options {
        let resolved = self.resolve(args).unwrap();
        Options::from_arg_matches(&resolved.matches).unwrap()
    }

    fn wrong(&self, args: &[&str]) -> String {
        self.resolve(args).expect_err("an error")
    }
}

#[test]
fn each_rung_covers_the_ones_below() {
    let port = |file: bool, env: bool, flag: bool| {
        let mut setting = setting();
        if file {
            setting = setting.file("etc/mesos-slave.json", r#"{"port": 1}"#);
        }
        if env {
            setting = setting.env("MESOS_PORT", "2");
        }
        let args: &[&str] = if flag { &["--master=m", "--port=3"] } else { &["--master=m"] };
        let resolved = setting.resolve(args).unwrap();
        let options = Options::from_arg_matches(&resolved.matches).unwrap();
        (options.port, resolved.origin("port").to_string().replace(&setting.root.display().to_string(), ""))
    };
    assert_eq!(port(false, false, false), (5050, "default".to_owned()));
    assert_eq!(port(true, false, false), (1, "/etc/mesos-slave.json (port)".to_owned()));
    assert_eq!(port(true, true, false), (2, "environment (MESOS_PORT)".to_owned()));
    assert_eq!(port(true, true, true), (3, "command line".to_owned()));
    assert_eq!(port(false, true, true).0, 3);
    assert_eq!(port(true, false, true).0, 3);
    assert_eq!(port(false, true, false).0, 2);
}

#[test]
fn a_required_option_may_come_from_any_rung() {
    assert!(setting().wrong(&[]).contains("--master"));
    assert_eq!(setting().env("MESOS_MASTER", "a:1").options(&[]).master, "a:1");
    assert_eq!(setting().file("etc/mesos/agent.yaml", "master: b:1\n").options(&[]).master, "b:1");
}

#[test]
fn the_slaves_file_of_the_book_is_read() {
    let setting = setting().file(
        "etc/mesos-slave.json",
        r#"{
            "master": "127.0.0.1:5050",
            "work_dir": "/var/lib/mesos",
            "containerizers": [{"name": "docker", "params": {"socket": "/run/docker.sock"}}],
            "resource.ram": "4GB",
            "resource": {"cpu": 2},
            "log": {"level": "INFO"}
        }"#,
    );
    let options = setting.options(&[]);
    assert_eq!(options.master, "127.0.0.1:5050");
    assert_eq!(options.work_dir, Some(PathBuf::from("/var/lib/mesos")));
    assert_eq!(options.containerizers, ["docker"]);
    assert_eq!(options.docker_socket.as_deref(), Some("/run/docker.sock"));
    assert_eq!((options.resource_cpus.as_deref(), options.resource_mem.as_deref()), (Some("2"), Some("4GB")));
    assert_eq!(options.common.log_level, "info");
}

#[test]
fn yaml_toml_and_a_named_file_are_read_too() {
    let yaml = setting().file("etc/mesos-slave.yaml", "master: m\nresources:\n  cpus: 2\n  mem: 8GB\nwait: true\n");
    let options = yaml.options(&[]);
    assert_eq!(options.resources.as_deref(), Some("cpus:2;mem:8GB"));
    assert!(options.wait);
    let toml = setting().file("etc/mesos/agent.toml", "master = 'm'\ncontainerizers = ['docker', 'mesos']\n");
    assert_eq!(toml.options(&[]).containerizers, ["docker", "mesos"]);
    let named = setting().file("my.json", r#"{"master": "n"}"#).file("etc/mesos-slave.json", r#"{"master": "e"}"#);
    let path = named.root.join("my.json").display().to_string();
    assert_eq!(named.options(&["--config", &path]).master, "n");
    assert_eq!(named.options(&[&format!("--config={path}")]).master, "n");
}

#[test]
fn underscores_and_dashes_are_the_same_in_flags_and_not_in_values() {
    let options = setting().options(&[
        "--work_dir=/a_b",
        "--resource_cpus",
        "2",
        "--master",
        "host_a",
        "--docker_socket=x_y=z_1",
    ]);
    assert_eq!(options.work_dir, Some(PathBuf::from("/a_b")));
    assert_eq!((options.resource_cpus.as_deref(), options.master.as_str()), (Some("2"), "host_a"));
    assert_eq!(options.docker_socket.as_deref(), Some("x_y=z_1"));
}

#[test]
fn what_belongs_to_a_program_stays_as_it_is() {
    let command = Command::new("launch")
        .arg(Arg::new("name").long("name"))
        .arg(Arg::new("cpu_limit").long("cpu-limit"))
        .arg(Arg::new("program").trailing_var_arg(true).num_args(0..));
    let plain = |args: &[&str]| -> Vec<String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        normalise(&command, &args).into_iter().map(|word| word.into_string().unwrap()).collect()
    };
    assert_eq!(
        plain(&["--cpu_limit=1", "--name", "--a_b", "/bin/x", "--work_dir=1"]),
        ["--cpu-limit=1", "--name", "--a_b", "/bin/x", "--work_dir=1"]
    );
    assert_eq!(plain(&["--", "--work_dir"]), ["--", "--work_dir"]);
}

#[test]
fn variables_of_tasks_and_empty_ones_mean_nothing() {
    let setting =
        setting().env("MESOS_TASK_ID", "t").env("MESOS_SANDBOX", "/s").env("MESOS_PORT", "").env("MESOS_WAIT", "1");
    let options = setting.options(&["--master=m"]);
    assert_eq!(options.port, 5050);
    assert!(options.wait);
}

#[test]
fn wrong_values_name_the_place_they_come_from() {
    let line = setting().env("MESOS_PORT", "x").wrong(&["--master=m"]);
    assert!(line.starts_with("mesos slave: MESOS_PORT: invalid value 'x'"), "{line}");
    let line = setting().file("etc/mesos-slave.json", r#"{"master": "m", "port": 70000}"#).wrong(&[]);
    assert!(line.starts_with("mesos slave: /etc/mesos-slave.json: port: invalid value '70000'"), "{line}");
    let line = setting().env("MESOS_PORT", "x").wrong(&["--master=m", "--port=y"]);
    assert!(line.starts_with("mesos slave: invalid value 'y' for '--port"), "{line}");
    let line = setting().wrong(&["--master=m", "--mode=fats"]);
    assert!(line.contains("slow, fast") && line.contains("'fast'"), "{line}");
}

#[test]
fn unknown_options_get_a_suggestion() {
    for (flag, meant) in [("--prot=1", "--port"), ("--workdir=x", "--work-dir"), ("--socket=x", "--docker-socket")] {
        let line = setting().wrong(&["--master=m", flag]);
        assert!(line.starts_with("mesos slave: there is no option --"), "{line}");
        assert!(line.contains(&format!("did you mean {meant}?")), "{line}");
    }
    let line = setting().wrong(&["--master=m", "--xyzzy"]);
    assert_eq!(line, "mesos slave: there is no option --xyzzy (mesos slave --help lists all)");
}

#[test]
fn unknown_keys_are_named_with_what_is_allowed() {
    let line = setting().file("etc/mesos-slave.json", r#"{"work_dri": "/x"}"#).wrong(&[]);
    assert!(
        line.starts_with("/etc/mesos-slave.json: work_dri: unknown key, did you mean work_dir? (allowed: "),
        "{line}"
    );
    assert!(line.contains("cluster, work_dir, port"), "{line}");
    let line = setting().file("etc/mesos-slave.json", r#"{"resource": {"gold": 1}}"#).wrong(&[]);
    assert!(line.contains("resource.gold: unknown key"), "{line}");
    let params = r#"{"containerizers": [{"name": "docker", "params": {"sokket": 1}}]}"#;
    let line = setting().file("etc/mesos-slave.json", params).wrong(&[]);
    assert!(line.contains("containerizers[0].params.sokket: unknown parameter of docker; allowed: socket"), "{line}");
    let line = setting().file("etc/mesos-slave.json", r#"{"containerizers": [{"params": {}}]}"#).wrong(&[]);
    assert!(line.contains("containerizers[0]: a containerizer needs a name"), "{line}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    assert!(setting().wrong(&["--config=/no/such.json"]).contains("--config /no/such.json: there is no such file"));
    let line = setting().file("etc/mesos-slave.json", "{\"port\": ").wrong(&[]);
    assert!(line.starts_with("/etc/mesos-slave.json: "), "{line}");
    let odd = setting().file("x.ini", "");
    let line = odd.wrong(&["--config", &odd.root.join("x.ini").display().to_string()]);
    assert!(line.contains("ends in .json, .yaml, .yml or .toml"), "{line}");
}

#[test]
fn flags_of_apache_mesos_are_passed_over_or_answered() {
    let resolved =
        setting().resolve(&["--quorum=1", "--registry", "in_memory", "--no-hostname_lookup", "--master=m"]).unwrap();
    assert_eq!(resolved.warnings.len(), 3, "{:?}", resolved.warnings);
    assert!(resolved.warnings[0].starts_with("--quorum is ignored: "));
    let line = setting().wrong(&["--zk=zk://a:2181/mesos", "--master=m"]);
    assert!(line.contains("--zk: ") && line.contains("--nats-url"), "{line}");
    assert!(setting().wrong(&["--acls=file:///acls", "--master=m"]).contains("no authorisation"));
    assert!(setting().resolve(&["--authenticate_frameworks=false", "--master=m"]).is_ok());
    let file = setting().file("etc/mesos-slave.json", r#"{"master": "m", "quorum": 2}"#).resolve(&[]).unwrap();
    assert!(file.warnings[0].contains("quorum is ignored"), "{:?}", file.warnings);
}

#[test]
fn what_is_in_force_is_dumped_without_passwords() {
    let setting = setting().file("etc/mesos-slave.json", r#"{"master": "m", "containerizers": ["docker", "mesos"]}"#);
    let resolved = setting.resolve(&["--redis-url=redis://me:secret@h:1/0", "--wait"]).unwrap();
    let dump: Value = serde_json::from_str(&resolved.dump()).unwrap();
    let option = |name: &str| dump["options"][name]["value"].clone();
    assert_eq!(option("port"), json!(5050));
    assert_eq!(option("wait"), json!(true));
    assert_eq!(option("work_dir"), Value::Null);
    assert_eq!(option("containerizers"), json!(["docker", "mesos"]));
    assert_eq!(option("redis_url"), json!("redis://me:***@h:1/0"));
    assert_eq!(dump["options"]["port"]["from"], "default");
    assert_eq!(dump["options"]["wait"]["from"], "command line");
    assert!(dump["config_file"].as_str().is_some_and(|file| file.ends_with("/etc/mesos-slave.json")));
}

#[test]
fn help_is_printed_and_not_an_error() {
    let text = setting().resolve(&["--help"]).expect_err("help");
    assert!(text.starts_with("PRINT ") && text.contains("--work-dir"), "{text}");
}

#[test]
fn passwords_in_urls_are_not_shown() {
    for (url, shown) in [
        ("nats://a:4222", "nats://a:4222"),
        ("nats://u:p@a:4222,nats://token@b:4222", "nats://u:***@a:4222,nats://***:***@b:4222"),
        ("redis://:p@a/1", "redis://:***@a/1"),
        ("plain", "plain"),
    ] {
        assert_eq!(without_password(url), shown);
    }
}

#[test]
fn spans_of_time_are_read_as_mesos_writes_them() {
    for (text, seconds) in
        [("15s", 15), ("10secs", 10), ("2mins", 120), ("1hrs", 3600), ("2weeks", 1_209_600), ("0", 0)]
    {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    assert!(parse_duration("soon").is_err());
}
