//! One run of a health check. When to run it and what its failures mean is the agent's decision.

use std::{net::IpAddr, time::Duration};

use mesos_ports::containerizer::{Command, ContainerError, Containerizer};
use reqwest::redirect::Policy;
use tokio::{net::TcpStream, time::timeout};

use crate::fetcher::with_tls;

/// What is checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// A command inside the container; exit code 0 is healthy.
    Command(Command),
    /// `GET`; a status from 200 to 399 is healthy, redirects are followed. Certificates are not verified:
    /// the check goes to an address, and asks whether the task answers.
    Http {
        /// `http` or `https`.
        scheme: String,
        /// Where the task listens: 127.0.0.1, or the container's own address.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// Path with query, `/` at its start.
        path: String,
    },
    /// A connection that is accepted.
    Tcp {
        /// Where the task listens.
        address: IpAddr,
        /// Its port.
        port: u16,
    },
}

/// Runs checks. Holds one HTTP client for all of them.
pub struct Checker {
    client: reqwest::Client,
}

impl Checker {
    /// The error is the TLS library's and does not depend on any check.
    pub fn new() -> Result<Checker, String> {
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::limited(10))
            .pool_max_idle_per_host(0)
            .tls_danger_accept_invalid_certs(true);
        Ok(Checker { client: with_tls(builder)? })
    }

    /// Runs one check. The error says in words what was found instead.
    pub async fn run(
        &self,
        containerizer: &dyn Containerizer,
        container_id: &str,
        check: &Check,
        limit: Duration,
    ) -> Result<(), String> {
        // Mesos: a timeout of 0 is none.
        let limit = if limit.is_zero() { Duration::from_secs(24 * 3600) } else { limit };
        let run = async {
            match check {
                Check::Command(command) => match containerizer.exec(container_id, command.clone(), limit).await {
                    Ok(0) => Ok(()),
                    Ok(code) => Err(format!("the command exited with {code}")),
                    Err(ContainerError::Unknown(_)) => Err("the container is gone".into()),
                    Err(error) => Err(error.to_string()),
                },
                Check::Http { scheme, address, port, path } => self.get(scheme, *address, *port, path).await,
                Check::Tcp { address, port } => match TcpStream::connect((*address, *port)).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!("cannot connect to {address}:{port}: {error}")),
                },
            }
        };
        // The adapter has its own deadline for a command and cleans up after it, so it goes first.
        let outer = limit.saturating_add(Duration::from_secs(if matches!(check, Check::Command(_)) { 5 } else { 0 }));
        timeout(outer, run).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }

    async fn get(&self, scheme: &str, address: IpAddr, port: u16, path: &str) -> Result<(), String> {
        if !matches!(scheme, "http" | "https") {
            return Err(format!("unknown scheme {scheme}"));
        }
        let host = std::net::SocketAddr::new(address, port);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = format!("{scheme}://{host}{slash}{path}");
        match self.client.get(&url).send().await {
            Ok(response) if (200..400).contains(&response.status().as_u16()) => Ok(()),
            Ok(response) => Err(format!("{url} answered {}", response.status())),
            Err(error) => Err(format!("{url}: {}", crate::fetcher::deepest(&error))),
        }
    }
}
