//! The files of a container's runtime directory, which agent and shim share.
//!
//! `spec.json` is written by the agent before the shim starts; `lock` is held by the shim while the
//! container lives; `pid.json` appears once the program runs; `kill.json` is a request to end it;
//! `exit.json` is the last word. A newer field is ignored and a missing one has its default, so that a
//! shim started by the previous version is understood.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use mesos_ports::containerizer::Exit;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{cgroup::Group, procfs::Process};

pub(crate) const SPEC: &str = "spec.json";
pub(crate) const LOCK: &str = "lock";
pub(crate) const PID: &str = "pid.json";
pub(crate) const KILL: &str = "kill.json";
pub(crate) const EXIT: &str = "exit.json";

/// A user and its groups, looked up by the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// A program to `exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Program {
    /// A path, or a name that is looked for in the task's `PATH`.
    pub file: String,
    pub argv: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub identity: Option<Identity>,
}

/// A bind mount in the task's own mount namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Bind {
    pub from: PathBuf,
    pub to: PathBuf,
    pub read_only: bool,
}

/// `spec.json`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Spec {
    pub agent_id: String,
    pub framework_id: String,
    pub task_id: String,
    pub boot_id: String,
    pub program: Program,
    pub sandbox: PathBuf,
    pub group: Option<Group>,
    pub namespaces: bool,
    pub binds: Vec<Bind>,
    pub warnings: Vec<String>,
    /// How large `stdout` and `stderr` may become; 0 is without a bound.
    pub log_bytes: u64,
}

/// `pid.json`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pids {
    pub shim: Process,
    /// The first process of the PID namespace, where there is one.
    pub init: Option<Process>,
    pub task: Process,
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// `kill.json`
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Kill {
    pub grace_ms: u64,
}

/// `exit.json`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out_of_memory: bool,
    pub message: Option<String>,
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Exit {
        Exit { code: ended.code, signal: ended.signal, out_of_memory: ended.out_of_memory, message: ended.message }
    }
}

/// One line that the shim tells an agent that is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    Running(Pids),
    /// The program could not be started; the text says which and why.
    Failed(String),
    Exited(Ended),
}

/// What the shim is asked on its standard input to run inside a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ExecRequest {
    pub program: Program,
    pub timeout_ms: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExecReport {
    Code(i32),
    TimedOut,
    Failed(String),
}

/// Reads a file of the runtime directory; `None` if it is not there or not whole.
pub(crate) fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> Option<T> {
    serde_json::from_slice(&fs::read(dir.join(name)).ok()?).ok()
}

/// Puts a file there at once or not at all.
pub(crate) fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    put(dir, name, value, false)
}

/// As [`write`], and it survives a crash of the host.
pub(crate) fn write_durably<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    put(dir, name, value, true)
}

fn put<T: Serialize>(dir: &Path, name: &str, value: &T, durable: bool) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&temporary, dir.join(name))?;
    if durable {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}
