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

    /// Calls and messages of the control plane for the leader of a service (`allocator`, `registry`, `launcher`).
    #[must_use]
    pub fn service(&self, service: &str) -> String {
        format!("{}.{service}.calls", self.prefix)
    }

    /// What one agent says to the leader of a service: its id is in the subject, so that a server can hold it to
    /// its own, and so that the service knows who speaks.
    #[must_use]
    pub fn said(&self, service: &str, agent: &str) -> String {
        format!("{}.{service}.agent.{}", self.prefix, token(agent))
    }

    /// All that is for the leader of a service: to subscribe to.
    #[must_use]
    pub fn inbox(&self, service: &str) -> String {
        format!("{}.{service}.>", self.prefix)
    }

    /// The token of the agent that says something to a service, if one does.
    #[must_use]
    pub fn speaker<'a>(&self, service: &str, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix('.')?.strip_prefix(service)?;
        rest.strip_prefix(".agent.")
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

    /// Everything in the cluster.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}.>", self.prefix)
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

/// The id that a token stands for: what [`token`] was made of.
#[must_use]
pub fn id_of(token: &str) -> Option<String> {
    let Some(hex) = token.strip_prefix('x') else { return Some(token.to_owned()) };
    let digits = hex.as_bytes().chunks(2).map(|pair| {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        u8::try_from(digit(0)? * 16 + digit(1)?).ok()
    });
    String::from_utf8(digits.collect::<Option<Vec<u8>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_its_id_back() {
        for id in ["0a-S1", "x41", "", "a b", "ü.*"] {
            assert_eq!(id_of(&token(id)).as_deref(), Some(id));
        }
        for bad in ["x4", "xzz", "xff"] {
            assert_eq!(id_of(bad), None);
        }
    }

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
    fn who_speaks_is_in_the_subject() {
        let subjects = Subjects::new("c");
        for id in ["l-S1", "a.b", "calls"] {
            let said = subjects.said("allocator", id);
            assert_eq!(subjects.speaker("allocator", &said), Some(&*token(id)));
            assert_eq!(subjects.speaker("registry", &said), None);
            assert_ne!(said, subjects.service("allocator"));
        }
        assert_eq!(subjects.speaker("allocator", &subjects.service("allocator")), None);
    }

    #[test]
    fn two_ids_never_share_a_subject() {
        assert_ne!(token("x41"), token("A"));
        assert_eq!(token("0a-S1"), "0a-S1");
    }
}
