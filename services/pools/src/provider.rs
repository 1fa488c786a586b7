//! Where hosts come from.
//!
//! A provider makes nothing twice for the same node, and takes away what is gone already: whoever leads next asks
//! again for what it does not know to be done.
//!
//! # Layout
//! - [`local`]: agents on this host. [`exec`]: the user's scripts. [`aws`]: an Auto Scaling group.

pub mod aws;
pub mod exec;
pub mod local;

use std::{path::PathBuf, sync::Arc};

use mesos_runtime::config::without_password;

use crate::{
    definition::{Definition, Kind},
    invitation::Invitations,
    machine::{Job, Listing, Made},
};

/// What all providers are given.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where agents of this host find their master, as `--master` takes it.
    pub gateway: String,
    /// Where those of other hosts do.
    pub master: String,
    /// The cluster's name.
    pub cluster: String,
    /// This program.
    pub program: PathBuf,
    /// Where agents have to join: what they do it with.
    pub invitations: Option<Invitations>,
}

/// A pool's hands.
#[derive(Clone, Debug)]
pub enum Provider {
    /// Agents on this host.
    Local(Arc<local::LocalProvider>),
    /// The user's scripts.
    Exec(Arc<exec::ExecProvider>),
    /// An Auto Scaling group.
    Aws(Arc<aws::AwsProvider>),
}

impl Provider {
    /// The hands of a pool.
    ///
    /// # Errors
    /// If an address in it cannot be used.
    pub fn new(definition: &Definition, mut around: Surroundings) -> Result<Provider, String> {
        if let Some(master) = &definition.master {
            (around.gateway, around.master) = (master.clone(), master.clone());
        }
        Ok(match &definition.kind {
            Kind::Local(local) => {
                Provider::Local(Arc::new(local::LocalProvider::new(&definition.name, local.clone(), around)))
            }
            Kind::Exec(exec) => Provider::Exec(Arc::new(exec::ExecProvider::new(exec.clone(), around))),
            Kind::Aws(aws) => {
                let failed = |why: String| {
                    let endpoint = aws.endpoint.as_deref().map(without_password).unwrap_or_default();
                    format!("pool {}: endpoint {endpoint}: {why}", definition.name)
                };
                Provider::Aws(Arc::new(aws::AwsProvider::new(aws.clone()).map_err(failed)?))
            }
        })
    }

    /// Which hosts there are.
    ///
    /// # Errors
    /// If nobody can say at the moment, and why.
    pub async fn list(&self) -> Result<Listing, String> {
        match self {
            Provider::Local(local) => local.list().await,
            Provider::Exec(_) => Err("scripts do not say which hosts there are".to_owned()),
            Provider::Aws(aws) => aws.list().await,
        }
    }

    /// Makes a host, unless it is there.
    ///
    /// # Errors
    /// Why it was not made, in one line.
    pub async fn add(&self, job: &Job) -> Result<Made, String> {
        match self {
            Provider::Local(local) => local.add(job).await,
            Provider::Exec(exec) => exec.add(job).await,
            Provider::Aws(_) => Err("an Auto Scaling group makes its own instances".to_owned()),
        }
    }

    /// Takes a host away, unless it is gone.
    ///
    /// # Errors
    /// Why it may still be there, in one line.
    pub async fn remove(&self, job: &Job) -> Result<(), String> {
        match self {
            Provider::Local(local) => local.remove(job).await,
            Provider::Exec(exec) => exec.remove(job).await,
            Provider::Aws(aws) => aws.remove(&job.node).await,
        }
    }

    /// Makes a group larger; never smaller, as it would choose by itself who goes.
    ///
    /// # Errors
    /// Why it was not, in one line.
    pub async fn resize(&self, to: u32) -> Result<(), String> {
        match self {
            Provider::Aws(aws) => aws.resize(to).await,
            Provider::Local(_) | Provider::Exec(_) => Err("its hosts are made one by one".to_owned()),
        }
    }
}

/// The attributes by which a node's agent is found again.
fn attributes(job: &Job) -> String {
    format!("node:{};pool:{}", job.node, job.pool)
}

/// Resources as `--resources` takes them.
fn resources(job: &Job) -> String {
    job.resources.to_string().replace("; ", ";")
}

/// The options of this process are not those of agents and scripts, which read variables of the same names.
fn own_variables() -> Vec<std::ffi::OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| name.as_encoded_bytes().starts_with(b"MESOS_")).collect()
}

/// The last line that says something, shortened.
fn last_line(text: &str) -> Option<String> {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(300).collect())
}
