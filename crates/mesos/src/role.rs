//! What runs until it is stopped: master, agent, single services, local mode.
//!
//! # Layout
//! - [`control`]: allocator, registry, gateway and launcher in one process.
//! - [`master`], [`gateway`], [`agent`], [`local`]: the roles.
//! - [`member`]: how an agent joins, and what shows who it is.

pub(crate) mod agent;
pub(crate) mod control;
pub(crate) mod gateway;
pub(crate) mod local;
pub(crate) mod master;
pub(crate) mod member;

use std::path::PathBuf;

/// Where state is if nobody says and the user is root.
pub(crate) const STATE_DIR: &str = "/var/lib/mesos";

/// The work directory if nobody names one: root's as in Mesos's packages, a user's own below the home.
pub(crate) fn default_work_dir() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from(STATE_DIR);
    }
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")));
    state.map_or_else(|| PathBuf::from(STATE_DIR), |state| state.join("mesos"))
}
