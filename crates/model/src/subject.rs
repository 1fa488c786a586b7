//! Names on the bus. Ids that are not plain tokens are written in hex, so that no id can add a token or
//! a wildcard to a subject.

use crate::planted::{Bug, is_planted};

/// The subjects of one cluster: `mesos.<cluster>.…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
}

impl Subjects {
    /// The subjects of a cluster.
    #[must_use]
    pub fn new(cluster: &str) -> Self {
        Subjects { prefix: format!("mesos.{}", token(cluster)) }
    }

    /// Calls and messages for the leader of a service (`allocator`, `registry`, `launcher`).
    #[must_use]
    pub fn service(&self, service: &str) -> String {
        format!("{}.{service}", self.prefix)
    }

    /// The change stream of a service, as its leader commits.
    #[must_use]
    pub fn changes(&self, service: &str) -> String {
        format!("{}.changes.{service}", self.prefix)
    }

    /// Commands and acknowledgements for one agent.
    #[must_use]
    pub fn agent(&self, agent: &str) -> String {
        format!("{}.agent.{}", self.prefix, token(agent))
    }

    /// Requests that one agent answers itself (files, logs).
    #[must_use]
    pub fn agent_files(&self, agent: &str) -> String {
        format!("{}.files.{}", self.prefix, token(agent))
    }

    /// Announcements to all agents.
    #[must_use]
    pub fn agents(&self) -> String {
        format!("{}.agents", self.prefix)
    }

    /// Events for the streams that one gateway holds.
    #[must_use]
    pub fn gateway(&self, gateway: &str) -> String {
        format!("{}.gateway.{}", self.prefix, token(gateway))
    }

    /// Announcements to all gateways.
    #[must_use]
    pub fn gateways(&self) -> String {
        format!("{}.gateways", self.prefix)
    }
}

/// An id as one token of a subject: as it is if it is plain, else `x` and its bytes in hex.
#[must_use]
pub fn token(id: &str) -> String {
    let plain = is_planted(Bug::IdsAsTheyAre)
        || !id.is_empty()
            && !id.starts_with('x')
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain {
        return id.to_owned();
    }
    let mut hex = String::with_capacity(1 + 2 * id.len());
    hex.push('x');
    for byte in id.bytes() {
        hex.push_str(&format!("{byte:02x}"));
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f29_no_id_adds_a_token_or_a_wildcard_to_a_subject() {
        let subjects = Subjects::new("c 1");
        for id in ["a.b", "*", ">", "a b", "a\0b", "", "x41", "ü"] {
            let subject = subjects.agent(id);
            assert_eq!(subject.split('.').count(), 4, "{subject}");
            assert!(subject.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>'), "{subject}");
        }
    }

    #[test]
    fn two_ids_never_share_a_subject() {
        assert_ne!(token("x41"), token("A"));
        assert_eq!(token("0a-S1"), "0a-S1");
    }
}
