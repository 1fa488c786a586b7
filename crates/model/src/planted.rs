//! Bugs planted on request, to show that the tests and the simulator find them.
//!
//! Each [`Bug`] disables one safeguard where it stands: `if !is_planted(Bug::X) { … }`. Without the feature
//! `planted-bugs` the question is a constant and costs nothing; with it, one bug at a time is chosen for the
//! process, by `MESOS_PLANTED_BUG` or by [`choose`]. `cargo xtask faults` runs the tests of each fault under
//! the bugs that break its handling, and expects them to fail; `docs/faults.md` shows which.

/// A bug with everything that is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// Which.
    pub bug: Bug,
    /// What the environment and the command line call it.
    pub name: &'static str,
    /// Whether the simulator must find it within its minute.
    pub by_seeds: bool,
    /// Numbers of the faults (`docs/faults.md`) whose tests must fail with it.
    pub faults: &'static [u8],
    /// What it does.
    pub what: &'static str,
}

macro_rules! planted {
    ($($name:literal $bug:ident $(+ $seeds:ident)? [$($fault:literal),*] $what:literal;)*) => {
        /// A safeguard that can be switched off.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $what] $bug,)*
        }

        /// All of them.
        pub const ALL: &[Planted] = &[
            $(Planted {
                bug: Bug::$bug,
                name: $name,
                by_seeds: !stringify!($($seeds)?).is_empty(),
                faults: &[$($fault),*],
                what: $what,
            },)*
        ];
    };
}

// Name, variant, `+ seeds` where the simulator must find it, faults whose tests must fail, and what it does.
planted! {
    // The store and the disk, as the simulator plays them.
    "store-without-fence" StoreWithoutFence + seeds [4] "The store takes a commit whatever term it shows.";
    "store-without-seq" StoreWithoutSeq + seeds [6] "The store takes a commit whatever number it shows.";
    "disk-without-sync" DiskWithoutSync + seeds [38] "The agent's disk answers before it has written, and forgets.";
    "container-twice" ContainerTwice + seeds [] "The containerizer starts a container again.";
    "events-before-subscribed" EventsBeforeSubscribed + seeds [] "Gateways let events out before SUBSCRIBED.";
}

/// Whether this bug is planted in this process.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
#[must_use]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
pub use chosen::{choose, is_planted};

#[cfg(feature = "planted-bugs")]
mod chosen {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{ALL, Bug};

    /// Nobody has looked into the environment yet.
    const UNREAD: usize = usize::MAX;
    /// No bug.
    const NONE: usize = usize::MAX - 1;

    static CHOSEN: AtomicUsize = AtomicUsize::new(UNREAD);

    /// Whether this bug is planted in this process.
    #[inline]
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        match CHOSEN.load(Ordering::Relaxed) {
            NONE => false,
            UNREAD => from_environment() == bug as usize,
            chosen => chosen == bug as usize,
        }
    }

    /// Plants a bug in this process, or none.
    pub fn choose(bug: Option<Bug>) {
        CHOSEN.store(bug.map_or(NONE, |bug| bug as usize), Ordering::Relaxed);
    }

    #[cold]
    fn from_environment() -> usize {
        let name = std::env::var("MESOS_PLANTED_BUG").unwrap_or_default();
        let bug = ALL.iter().find(|planted| planted.name == name).map(|planted| planted.bug);
        // A misspelt name must not pass for a bug that no test finds, or worse, for one that all find.
        assert!(bug.is_some() || name.is_empty(), "MESOS_PLANTED_BUG: no bug is called '{name}'");
        choose(bug);
        bug.map_or(NONE, |bug| bug as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn names_differ_and_faults_are_of_the_catalogue() {
        let names: BTreeSet<&str> = ALL.iter().map(|planted| planted.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().flat_map(|planted| planted.faults).all(|fault| (1..=84).contains(fault)));
    }
}
