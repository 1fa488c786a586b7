//! The shell around machines: the loop that moves bytes and timers, options, telemetry, the process.
//!
//! # Layout
//! - [`shell`]: runs a service's machine with a bus and a store.
//! - [`solo`]: runs a machine with a store only.
//! - [`follow`]: follows a change stream.
//! - [`door`]: where calls come in, for a service that answers each by itself.
//! - [`instance`]: one process per role and work directory, and its end.
//! - [`listen`]: reads a subject, and notices when it hears nothing any more.
//! - [`codec`]: rows and messages as bytes.
//! - [`quarantine`]: what of them cannot be read.
//! - [`config`]: the option ladder.
//! - [`process`]: a process in one role: signals, an orderly end, exit status.
//! - [`health`]: `/health`, `/ready` and `/metrics` where there is no gateway.
//! - [`http`]: what HTTP servers have in common.
//! - [`clock`]: a clock that never jumps.
//! - [`telemetry`]: log lines, metrics, traces.

pub mod clock;
pub mod codec;
pub mod config;
pub mod door;
pub mod follow;
pub mod health;
pub mod http;
pub mod instance;
pub mod listen;
pub mod process;
pub mod quarantine;
pub mod shell;
pub mod solo;
mod store_side;
pub mod telemetry;
