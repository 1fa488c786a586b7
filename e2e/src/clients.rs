//! Mesos clients that others wrote or that are generated, as child processes: `e2e/clients`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::backends::{self, repository};

/// How long a client may take. The slowest one handles an event only when the next one arrives, which
/// may be a heartbeat each time.
const TIMEOUT: Duration = Duration::from_secs(180);

/// A client and how it is told where the master is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// npm `mesos-framework`, unmodified (JSON).
    NodeMesosFramework,
    /// PyPI `mesoshttp`, unmodified (JSON, fragile framing).
    PythonMesosHttp,
    /// Python's standard library, as the Mesos documentation describes the API (JSON).
    PythonHttp,
    /// Python grpcio, generated from `proto/`.
    PythonGrpc,
    /// `msh` of mesos-go, unmodified (protobuf).
    GoMsh,
}

impl Client {
    /// Runs the client against a master (`host:port`) until it ends well; its output is returned, and
    /// is in the error when it ends otherwise.
    pub async fn run(self, master: &str) -> Result<String> {
        let (program, args) = self.command(master)?;
        let output = tokio::process::Command::new(&program)
            .args(&args)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(TIMEOUT, output)
            .await
            .with_context(|| format!("{self:?} did not end within {TIMEOUT:?}"))?
            .with_context(|| format!("{} did not start", program.display()))?;
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
        if !output.status.success() {
            bail!("{self:?} ended with {}:\n{text}", output.status);
        }
        Ok(text)
    }

    fn command(self, master: &str) -> Result<(PathBuf, Vec<String>)> {
        let script = |name: &str| -> Result<String> {
            let path = repository().join("e2e/clients").join(name);
            let path = path.canonicalize().with_context(|| format!("{} is not there", path.display()))?;
            Ok(path.display().to_string())
        };
        let master = master.to_owned();
        Ok(match self {
            Self::NodeMesosFramework => (PathBuf::from("node"), vec![script("mesos-framework.mjs")?, master]),
            Self::PythonMesosHttp => (backends::python()?, vec![script("mesoshttp_task.py")?, master]),
            Self::PythonHttp => (backends::python()?, vec![script("http_framework.py")?, master]),
            Self::PythonGrpc => (backends::python()?, vec![script("grpc_task.py")?, master]),
            Self::GoMsh => {
                let args = ["-master", &master, "--", "echo", "hello"].map(str::to_owned).to_vec();
                (backends::msh()?, args)
            }
        })
    }
}
