//! Faults planted in the world around the machines, to show that the invariants find them.

use std::str::FromStr;

/// Something that the world does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The store takes a commit whatever term it shows.
    StoreWithoutFence,
    /// The store takes a commit whatever number it shows.
    StoreWithoutSeq,
    /// Gateways let events out before SUBSCRIBED.
    EventsBeforeSubscribed,
    /// The agent's disk answers before it has written, and forgets at a crash.
    DiskWithoutSync,
    /// The containerizer starts a container again that it started before.
    ContainerTwice,
}

impl Bug {
    /// All of them with the names that the command line takes.
    pub const ALL: [(&'static str, Bug); 5] = [
        ("store-without-fence", Bug::StoreWithoutFence),
        ("store-without-seq", Bug::StoreWithoutSeq),
        ("events-before-subscribed", Bug::EventsBeforeSubscribed),
        ("disk-without-sync", Bug::DiskWithoutSync),
        ("container-twice", Bug::ContainerTwice),
    ];
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Bug, String> {
        let found = Bug::ALL.iter().find(|(name, _)| *name == text).map(|(_, bug)| *bug);
        found.ok_or_else(|| {
            let names: Vec<&str> = Bug::ALL.iter().map(|(name, _)| *name).collect();
            format!("no bug is called '{text}'; there are {}", names.join(", "))
        })
    }
}
