//! Machines that will be away, and what frameworks are told and say about it.

use mesos_model::{AgentId, FrameworkId, OfferId, Time};
use serde::{Deserialize, Serialize};

/// A machine by its hostname (in lower case), its address, or both; what is not given is empty. Mesos's
/// `MachineID`. An agent is on it if everything that is given agrees.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MachineId {
    /// As its agent says it.
    #[serde(default)]
    pub hostname: String,
    /// As its agent says it.
    #[serde(default)]
    pub ip: String,
}

impl MachineId {
    /// Whether an agent that says this of itself is on it.
    #[must_use]
    pub fn has(&self, hostname: &str, ip: &str) -> bool {
        let named = !self.hostname.is_empty() || !self.ip.is_empty();
        named
            && (self.hostname.is_empty() || self.hostname.eq_ignore_ascii_case(hostname))
            && (self.ip.is_empty() || self.ip == ip)
    }

    /// Whether both are the same machine, as far as both say: nothing that both give differs.
    #[must_use]
    pub fn overlaps(&self, other: &MachineId) -> bool {
        let both = |ours: &str, theirs: &str| !ours.is_empty() && !theirs.is_empty();
        let differ = |ours: &str, theirs: &str| both(ours, theirs) && ours != theirs;
        let shares = both(&self.hostname, &other.hostname) || both(&self.ip, &other.ip);
        shares && !differ(&self.hostname, &other.hostname) && !differ(&self.ip, &other.ip)
    }
}

impl std::fmt::Display for MachineId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.hostname.as_str(), self.ip.as_str()) {
            (hostname, "") => f.write_str(hostname),
            ("", ip) => f.write_str(ip),
            (hostname, ip) => write!(f, "{hostname} ({ip})"),
        }
    }
}

/// When a machine is away, in nanoseconds since the Unix epoch, as the operator wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailability {
    /// From.
    pub start_ns: i64,
    /// For so long; `None` is until further notice.
    #[serde(default)]
    pub duration_ns: Option<i64>,
}

/// Machines that are away at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Which; no machine is in two places of a schedule.
    pub machines: Vec<MachineId>,
    /// When.
    pub unavailability: Unavailability,
}

/// One inverse offer: a framework is asked to leave an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InverseOffer {
    /// `<leader>-I<n>`.
    pub id: OfferId,
    /// Which agent.
    pub agent: AgentId,
    /// The agent's host.
    pub hostname: String,
    /// The agent's address; may be empty.
    #[serde(default)]
    pub ip: String,
    /// The agent's port.
    pub port: u32,
    /// When it will be away.
    pub unavailability: Unavailability,
}

/// What a framework answered to an inverse offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InverseAnswer {
    /// Who.
    pub framework: FrameworkId,
    /// Whether it accepts; `None` if it was asked and has not answered.
    pub accepted: Option<bool>,
    /// When it answered, or was asked.
    pub time: Time,
}

/// What is planned, and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceView {
    /// The schedule.
    pub windows: Vec<Window>,
    /// Machines of the schedule that are not down, with what frameworks answered.
    pub draining: Vec<(MachineId, Vec<InverseAnswer>)>,
    /// Machines that are down.
    pub down: Vec<MachineId>,
}
