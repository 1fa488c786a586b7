//! Allocation measured by itself, against Mesos's allocator on the same machine.
//!
//! One process runs one workload, so that peak memory belongs to it. CPU time is that of the process; there is
//! one thread. Whatever a workload makes is checked, and a run whose outcome is not what it must be exits 1.
//!
//! # Layout
//! - [`workloads`], [`placements`]: what happens. [`cluster`]: the engine with its agents and frameworks.
//! - [`measure`]: time, and the lines that become of it. [`baseline`]: what Mesos needed.
//! - [`grid`]: everything, and what the targets are.

mod baseline;
mod cluster;
mod grid;
mod measure;
mod placements;
mod workloads;

use anyhow::{Result, bail};

use crate::options::{Allocator, Workload};

/// How much there is of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Agents.
    pub(crate) agents: usize,
    /// Frameworks.
    pub(crate) frameworks: usize,
    /// Roles; 1 is `*`.
    pub(crate) roles: usize,
}

impl Size {
    fn of(options: &Allocator) -> Result<Size> {
        let workload = options.workload;
        let size = if workload == Workload::Quota {
            let roles = options.roles.unwrap_or(3000);
            let (small, large) = workloads::small_and_large(roles);
            Size { agents: options.agents.unwrap_or(small / 5 + 5 * large), frameworks: roles, roles }
        } else {
            let (agents, frameworks) = if workload == Workload::Placements { (1000, 50) } else { (10_000, 200) };
            let frameworks = options.frameworks.unwrap_or(frameworks);
            let roles = match workload {
                Workload::Decline | Workload::AllFiltered => 1,
                _ => frameworks.min(200),
            };
            Size { agents: options.agents.unwrap_or(agents), frameworks, roles: options.roles.unwrap_or(roles) }
        };
        if size.agents == 0 || size.frameworks == 0 || size.roles == 0 {
            bail!("--agents, --frameworks and --roles must be at least 1");
        }
        if workload == Workload::Quota && options.frameworks.is_some_and(|frameworks| frameworks != size.roles) {
            bail!("quota has one framework per role; leave --frameworks out");
        }
        Ok(size)
    }
}

/// Measures.
///
/// # Errors
/// If an outcome is not what it must be.
pub(crate) fn run(quiet: bool, options: &Allocator) -> Result<()> {
    if options.grid {
        return grid::run(quiet, options);
    }
    let size = Size::of(options)?;
    let steps = match options.workload {
        Workload::Idle => workloads::idle(size)?,
        Workload::Steady => workloads::steady(size)?,
        Workload::Decline => workloads::decline(size)?,
        Workload::AllFiltered => workloads::all_filtered(size)?,
        Workload::Quota => workloads::quota(size)?,
        Workload::Placements => placements::run(size)?,
    };
    steps.print(options.workload.name(), size);
    Ok(())
}
