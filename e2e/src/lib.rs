//! Starts real processes (NATS, Redis, Jaeger, every service of ours) for tests from end to end.
//!
//! # Layout
//! - `cluster`: a whole cluster as processes on free loopback ports, with names to kill and restart by
//! - `backends`: how nats-server, redis-server and Jaeger are found and started
//! - `process`: one child process with a log file, its signals, and what it leaves behind
//! - `framework`: a Mesos v1 framework that launches, acknowledges and remembers, for tests to be one
//! - `cli`: the commands of `mesos` that end by themselves
//! - `host`: what tasks look like from the host: processes, cgroups, containers
//! - `kube`: a real Kubernetes of one node, helm and kubectl
//! - `machines`: hosts with systemd and sshd, to install on
//! - `packages`: the image and the Debian package
//! - `network`: hosts as network namespaces, and what can go wrong between them
//! - `link`: connections to Docker that a test can cut
//! - `clients`: Mesos clients that others wrote, as child processes
//! - `scheduler`: the v1 scheduler API over HTTP and JSON, call by call
//! - `recordio`: the framing of event streams
//! - `wait`: waiting for conditions, never for time
//! - `ports`: free ports that stay free while a service is down
//!
//! `scripts/setup` installs what is started here and `eval "$(scripts/setup --print-env)"` tells where
//! it is. Something missing is an error that says so; no test is skipped.

pub mod backends;
pub mod cli;
pub mod clients;
pub mod cluster;
pub mod framework;
pub mod host;
pub mod kube;
pub mod link;
pub mod machines;
pub mod network;
pub mod packages;
pub mod ports;
pub mod process;
pub mod recordio;
pub mod scheduler;
pub mod wait;

pub use cluster::{AgentSpec, Cluster, ClusterBuilder};
pub use framework::{Framework, TaskSpec};
pub use link::Link;
pub use machines::{Machine, Machines};
pub use network::{Damage, Network};
pub use scheduler::Scheduler;
pub use wait::{eventually, eventually_some};

use std::sync::OnceLock;
use std::time::Duration;

/// The HTTP client of all tests. It has no timeout for whole answers, since event streams are endless;
/// calls set their own.
pub fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // A second installation is refused, which is as good: the same provider is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client without special options can be built")
    })
}
