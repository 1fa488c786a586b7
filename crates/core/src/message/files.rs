//! Files of sandboxes: asked of an agent itself, under `Subjects::agent_files`.

use bytes::Bytes;
use mesos_model::{ExecutorId, FrameworkId, TaskId};
use serde::{Deserialize, Serialize};

/// What is asked of an agent about the sandbox of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilesRequest {
    /// The entries of a directory.
    List {
        /// Whose.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// Below the task's sandbox; empty is the sandbox itself.
        path: String,
        /// Its executor, if whoever asks knows it; by default that of a command task.
        #[serde(default)]
        executor: ExecutorId,
    },
    /// A part of a file.
    Read {
        /// Whose.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// Below the task's sandbox, for example `stdout`.
        path: String,
        /// The first byte wanted; past the end gives no data.
        offset: u64,
        /// How many bytes at most; an agent may give fewer.
        length: u64,
        /// Its executor, if whoever asks knows it; by default that of a command task.
        #[serde(default)]
        executor: ExecutorId,
    },
}

/// One entry of a directory in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Below the task's sandbox.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Last changed, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub mtime_ms: u64,
    /// Permission bits and kind, as `stat` gives them.
    #[serde(default)]
    pub mode: u32,
    /// It is a directory.
    #[serde(default)]
    pub is_dir: bool,
}

/// What an agent answers to a [`FilesRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilesAnswer {
    /// The entries, sorted by path.
    Listing(Vec<FileEntry>),
    /// A part of a file.
    Data {
        /// Where the part begins.
        offset: u64,
        /// The part.
        data: Bytes,
        /// The whole file's size now, in bytes.
        size: u64,
    },
    /// It cannot be done: an HTTP status and why.
    Error {
        /// 400, 404 or 500.
        status: u16,
        /// Why.
        text: String,
    },
}
