//! The files of tasks' sandboxes: asked of the agent that has them, over the bus.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use mesos_core::message::{FileEntry, FilesAnswer, FilesRequest};
use mesos_model::{AgentId, ExecutorId, FrameworkId, TaskId, envelope, subject::Subjects};
use mesos_ports::bus::{Bus, BusError};
use mesos_runtime::shell::{Ports, kind};

use crate::{reads::reply::Refusal, view::View};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// The whole file's size.
    pub size: u64,
}

/// See the module.
#[derive(Clone)]
pub struct SandboxFiles {
    bus: Arc<dyn Bus>,
    subjects: Subjects,
    view: Arc<View>,
}

impl SandboxFiles {
    /// Files of the agents of a cluster.
    #[must_use]
    pub fn new(ports: &Ports, view: Arc<View>) -> SandboxFiles {
        SandboxFiles { bus: ports.bus.clone(), subjects: ports.subjects.clone(), view }
    }

    /// The executor of a task, whose sandbox it may have; unknown ones are taken for those of command tasks.
    fn executor(&self, framework: &FrameworkId, task: &TaskId) -> ExecutorId {
        let key = (framework.clone(), task.clone());
        let known = self.view.with(|cluster| {
            let view = cluster.tasks.get(&key).or_else(|| cluster.completed_tasks.get(&key))?;
            Some(view.row.executor.clone())
        });
        known.unwrap_or_else(|| ExecutorId::new(task.as_str()))
    }

    /// The entries of a directory of a sandbox.
    ///
    /// # Errors
    /// 404 where there is none, 503 if the agent cannot be reached.
    pub async fn list(
        &self,
        agent: &AgentId,
        framework: &FrameworkId,
        task: &TaskId,
        path: &str,
    ) -> Result<Vec<FileEntry>, Refusal> {
        let executor = self.executor(framework, task);
        let (framework, task) = (framework.clone(), task.clone());
        let request = FilesRequest::List { framework, task, path: path.to_owned(), executor };
        match self.ask(agent, &request).await? {
            FilesAnswer::Listing(entries) => Ok(entries),
            FilesAnswer::Data { .. } | FilesAnswer::Error { .. } => Err(confused(agent)),
        }
    }

    /// A part of a file: all that was asked for, as far as the file has it.
    ///
    /// # Errors
    /// 404 where there is none, 503 if the agent cannot be reached.
    pub async fn read(
        &self,
        agent: &AgentId,
        framework: &FrameworkId,
        task: &TaskId,
        path: &str,
        offset: u64,
        length: u64,
    ) -> Result<Part, Refusal> {
        let executor = self.executor(framework, task);
        let mut read = BytesMut::new();
        loop {
            let done = read.len() as u64;
            let request = FilesRequest::Read {
                framework: framework.clone(),
                task: task.clone(),
                path: path.to_owned(),
                offset: offset.saturating_add(done),
                length: length - done,
                executor: executor.clone(),
            };
            let FilesAnswer::Data { data, size, .. } = self.ask(agent, &request).await? else {
                return Err(confused(agent));
            };
            // An agent that gives more than was asked for must not break the sum.
            let wanted = usize::try_from(length - done).unwrap_or(usize::MAX).min(data.len());
            read.extend_from_slice(&data[..wanted]);
            // An agent may give less at once than was asked for; whoever reads relies on the whole.
            if wanted == 0 || read.len() as u64 >= length {
                return Ok(Part { offset, data: read.freeze(), size });
            }
        }
    }

    async fn ask(&self, agent: &AgentId, request: &FilesRequest) -> Result<FilesAnswer, Refusal> {
        let sealed = envelope::seal(kind::FILES, request);
        let payload = sealed.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let subject = self.subjects.agent_files(agent.as_str());
        let message =
            self.bus.request(&subject, Vec::new(), payload, TIMEOUT).await.map_err(|error| away(agent, &error))?;
        match envelope::open(kind::FILES_ANSWER, &message.payload) {
            Ok(FilesAnswer::Error { status, text }) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Err(Refusal::new(status, text))
            }
            Ok(answer) => Ok(answer),
            Err(error) => {
                tracing::warn!(%agent, %error, "an agent's answer cannot be read");
                Err(confused(agent))
            }
        }
    }
}

fn confused(agent: &AgentId) -> Refusal {
    Refusal::new(StatusCode::BAD_GATEWAY, format!("agent {agent} gave an answer that cannot be read"))
}

fn away(agent: &AgentId, error: &BusError) -> Refusal {
    tracing::debug!(%agent, %error, "files were not to be had");
    let text = match error {
        BusError::NoResponders(_) => {
            format!("agent {agent} is not there at present; its files can be read when it is back")
        }
        BusError::Timeout { .. } => format!("agent {agent} does not answer; try again"),
        BusError::Unavailable(_) | BusError::Refused(_) => "agents cannot be reached at present; try again".to_owned(),
    };
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
}
