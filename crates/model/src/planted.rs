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
    "store-without-seq" StoreWithoutSeq + seeds [6, 11] "The store takes a commit whatever number it shows.";
    "disk-without-sync" DiskWithoutSync + seeds [33] "The agent's disk answers before it has written, and forgets.";
    "container-twice" ContainerTwice + seeds [31] "The containerizer starts a container again.";
    "late-subscribe-takes-over" LateSubscribeTakesOver [54] "A SUBSCRIBE that comes late ends the stream that has come since.";
    // Leaders and standbys, allocator, agent, registry.
    "speak-before-commit" SpeakBeforeCommit + seeds [1, 2] "Outputs leave before the rows that they rest on are committed.";
    "claim-without-commit" ClaimWithoutCommit [4] "A leader says how things are without a commit that shows that it still leads.";
    "clock-steps" ClockSteps [5] "Deadlines jump with the store's clock.";
    "keep-machine" KeepMachine + seeds [] "A leader whose commit was refused goes on with what it had in memory.";
    "history-by-epoch" HistoryByEpoch [6] "Two histories with the same epochs are taken for one.";
    "own-gap-ignored" OwnGapIgnored [19] "A standby applies an entry of its stream although one before it is missing.";
    "peer-gap-ignored" PeerGapIgnored [19] "An entry of the peer's stream is applied although one before it is missing.";
    "answer-before-peer" AnswerBeforePeer + seeds [6] "An event does not wait for the peer's rows that it may rest on.";
    "peer-cursor-ignored" PeerCursorIgnored [2] "A new leader knows less of the peer than the last one did.";
    "local-clock" LocalClock [51] "Deadlines that outlive a leader are in the time of its own clock.";
    "vanished-counts-at-once" VanishedCountsAtOnce + seeds [] "Rows that a reload of the peer no longer shows count as deleted, though the peer may not know yet that they are lost.";
    "offer-without-handshake" OfferWithoutHandshake + seeds [33] "Agents are offered before they have shaken hands in the term.";
    "repeat-is-new" RepeatIsNew + seeds [28] "A repeat of a call is carried out again.";
    "repeat-after-the-end" RepeatAfterTheEnd [28] "A repeat of an ACCEPT whose tasks have ended is carried out again.";
    "late-calls" LateCalls [20] "What an earlier leader was asked for is done by this one as well.";
    "launch-again" LaunchAgain + seeds [] "A launch that its agent has taken up and does not know any more is ordered again.";
    "launch-forgotten" LaunchForgotten [3] "A launch that its agent has not seen is not ordered again.";
    "offer-stays-open" OfferStaysOpen + seeds [55] "An offer that was accepted can be accepted again.";
    "lost-offers-stay" LostOffersStay [19] "Offers that no gateway has received stay out of use until they time out.";
    "repetition-put-off" RepetitionPutOff [19] "Orders that follow put off the repetition of the ones that were lost.";
    "offers-for-ever" OffersForEver [59] "Offers never run out.";
    "nothing-adopted" NothingAdopted + seeds [12] "What an agent runs and no row knows is not taken into the books.";
    "ghost-agents" GhostAgents [20] "A late copy of an agent's first report leaves a second agent behind.";
    "earlier-reports-believed" EarlierReportsBelieved [20] "A copy of a report is believed after a later report of the same term.";
    "gone-speaks" GoneSpeaks [35] "What an agent that is gone says of its tasks brings them back.";
    "old-reports-believed" OldReportsBelieved [3, 12] "A report is believed although it may be from an earlier term.";
    "kills-forgotten" KillsForgotten + seeds [22] "A handshake does not order the kills again that the agent may have missed.";
    "unreachable-is-free" UnreachableIsFree + seeds [34] "What runs on an unreachable agent is taken for over.";
    "deaf-listener" DeafListener + seeds [18, 84] "The silence of agents counts although the listener itself hears nothing.";
    "unlimited-marks" UnlimitedMarks + seeds [84] "Any number of agents is marked as unreachable at once.";
    "removed-is-free" RemovedIsFree + seeds [] "What tasks of a removed framework hold is given away before their agents have ended them.";
    "anybodys-offer" AnybodysOffer [70] "A framework may accept another's offer.";
    "task-id-twice" TaskIdTwice [58] "A task id is taken although its task runs.";
    "obey-anybody" ObeyAnybody + seeds [4] "An agent obeys a leader whose term is over.";
    "orders-again" OrdersAgain + seeds [20] "An agent carries out an order again that it took up before.";
    "orders-skipped" OrdersSkipped + seeds [21] "An agent takes up an order although one before it is missing.";
    "anything-fits" AnythingFits [49] "An agent launches what does not fit its own books.";
    "forget-on-receipt" ForgetOnReceipt + seeds [] "An agent forgets an update once the registry has it.";
    "forget-unacknowledged" ForgetUnacknowledged + seeds [57] "An agent forgets an ended task at the acknowledgement of an earlier update.";
    "reboot-unnoticed" RebootUnnoticed + seeds [37] "An agent does not notice that its host was booted.";
    "run-again" RunAgain + seeds [] "A task whose container is gone after a restart of the agent is started again.";
    "exits-missed" ExitsMissed + seeds [31] "An agent does not wait for the containers that it finds after a restart.";
    "nothing-sent-again" NothingSentAgain + seeds [] "An agent does not tell its updates again after a restart.";
    "update-told-once" UpdateToldOnce + seeds [17, 19, 56] "An agent tells an update once only.";
    "shutdown-forgets" ShutdownForgets + seeds [53] "An agent forgets the tasks of a removed framework before they have ended.";
    "any-uuid" AnyUuid + seeds [57] "An acknowledgement counts whatever UUID it names.";
    "updates-skipped" UpdatesSkipped + seeds [21] "An update is taken over although one before it is missing.";
    "end-is-not-final" EndIsNotFinal + seeds [] "A status is taken over after the end of its task.";
    "repeated-update-counts" RepeatedUpdateCounts + seeds [34] "An update that comes again is taken over again.";
    "row-goes-early" RowGoesEarly + seeds [] "A task's row goes before its agent and the allocator have forgotten the task.";
    "no-grace" NoGrace + seeds [61] "A stream that is lost with its gateway gets no time to come back.";
    "no-failover-timeout" NoFailoverTimeout + seeds [53] "A framework is removed as soon as its stream is closed.";
    "deadline-forgotten" DeadlineForgotten + seeds [53] "A new leader forgets when absent frameworks are to be removed.";
    "unknown-too-early" UnknownTooEarly [33] "A task is said to be gone before its agent has said what it runs.";
    "gone-before-told" GoneBeforeTold [6] "A task is said to be gone before its agent has said which tasks it knows.";
    "absent-too-early" AbsentTooEarly + seeds [] "A task is taken for over because a row is missing, before its agent has said what it runs.";
    "unreachable-is-gone" UnreachableIsGone + seeds [34] "The tasks of an unreachable agent are over for good.";
    "events-before-subscribed" EventsBeforeSubscribed + seeds [61] "Gateways let events out before SUBSCRIBED.";
    "executor-update-twice" ExecutorUpdateTwice [20] "An agent tells an executor's update again that the executor sends again.";
    "executor-task-twice" ExecutorTaskTwice [31] "An executor that subscribes again gets tasks that it says it has.";
    "executor-of-another" ExecutorOfAnother [70] "An agent takes an executor's calls whatever token they show.";
    // Reservations, volumes and quota.
    "operation-again" OperationAgain + seeds [] "A new leader orders operations again that their agent has done.";
    "repeat-after-failover" RepeatAfterFailover [28] "A new leader carries an operator's RESERVE out again that comes again.";
    "numbers-begin-anew" NumbersBeginAnew + seeds [] "Numbers of orders begin anew when an agent is back in the same term.";
    "operation-forgotten" OperationForgotten + seeds [] "A new leader does not order operations that their agent has not seen.";
    "finished-before-done" FinishedBeforeDone + seeds [] "An operation is told as finished before its agent has it in its checkpoint.";
    "reservations-forgotten" ReservationsForgotten + seeds [] "An agent that starts again has what its options give, without reservations and volumes.";
    "limit-ignored" LimitIgnored + seeds [] "Roles are offered more than their limits.";
    "guarantee-ignored" GuaranteeIgnored + seeds [] "Nothing is kept for guarantees, and who has one is not offered first.";
    // Agents that leave, as the allocator and the agent have them.
    "join-token-twice" JoinTokenTwice [78] "A join token that one agent has used lets another in.";
    "agent-speaks-for-another" AgentSpeaksForAnother [79] "A service takes what an agent says in the name of another.";
    "gone-agent-is-admitted" GoneAgentIsAdmitted [35] "The allocator admits an agent again that was marked gone.";
    "drain-forgotten" DrainForgotten [33] "A handshake does not order the end of the tasks of an agent that is drained.";
    "down-is-forgotten" DownIsForgotten + seeds [] "The registry forgets the tasks of a machine that is down before their agent has.";
    "gone-agent-keeps-tasks" GoneAgentKeepsTasks [35] "An agent that was marked gone goes without ending its tasks.";
    "agent-id-of-another-host" AgentIdOfAnotherHost [36] "The allocator admits a second host under the id of the first.";
    "agent-shrinks-below-tasks" AgentShrinksBelowTasks [49] "An agent starts with less than its tasks hold.";
    "deactivated-agent-is-offered" DeactivatedAgentIsOffered [35] "Agents are offered that an operator deactivated.";

    // The adapters of store and bus.
    "store-refusals-unseen" StoreRefusalsUnseen [7, 8, 10] "A store that refuses writes is taken for one that is silent.";
    "roll-back-unseen" RollBackUnseen [6, 9] "The Redis adapter takes a commit on a lost history for done.";
    "bus-queue-unbounded" BusQueueUnbounded [23] "What waits for a slow subscriber grows without end.";
    "large-message-whole" LargeMessageWhole [26] "A message is sent whole whatever its size.";

    // The loop around a machine, and the shell around that.
    "inbox-unbounded" InboxUnbounded [11] "A leader takes in what it is told although its store does not answer.";
    "silence-ends-term" SilenceEndsTerm [11] "A leader steps down when the store does not answer once.";
    "repeat-as-new" RepeatAsNew [28] "A commit or a call is repeated under a new id.";
    "standby-unaudited" StandbyUnaudited [14] "A standby's rows are not compared with the store's.";
    "poison-row-spoils-load" PoisonRowSpoilsLoad [16] "Rows before one that cannot be read are left out.";
    "poison-message-ends-reading" PoisonMessageEndsReading [30] "Nothing is read after a message that cannot be.";
    "dead-subscription-kept" DeadSubscriptionKept [24] "A subscription that hears nothing is never renewed.";
    "series-by-key" SeriesByKey [67] "Each foreign record gets a series of its own.";

    // Bad input.
    "old-version-refused" OldVersionRefused [13] "Records of the version before are not read.";
    "ids-as-they-are" IdsAsTheyAre [29] "Ids stand in subjects as they are.";
    "amounts-unchecked" AmountsUnchecked [66] "Any amount of a resource is taken.";
    "malformed-call-passed" MalformedCallPassed [63] "A call's required fields are not looked at.";
    "body-unbounded" BodyUnbounded [64] "A request's body may have any size.";
    "patient-with-slow-clients" PatientWithSlowClients [65] "A client may take all the time for its request.";
    "fetch-from-anywhere" FetchFromAnywhere [72] "The fetcher asks any address.";
    "archive-climbs-out" ArchiveClimbsOut [76] "Archives may write outside of the sandbox.";
    "sandbox-links-followed" SandboxLinksFollowed [71] "Paths in a sandbox may lead through links.";

    // Frameworks, and the gateway that serves them.
    "any-stream-will-do" AnyStreamWillDo [54] "A call's stream id is not compared.";
    "owner-unchecked" OwnerUnchecked [70] "A framework's principal is not compared.";
    "slow-client-kept" SlowClientKept [60] "What waits for a client that does not read has no bound.";
    "subscription-keeps-gateway" SubscriptionKeepsGateway [61] "Events go where the framework subscribed first.";
    "handshakes-at-once" HandshakesAtOnce [62] "All agents answer a new term at the same time.";
    "updates-at-once" UpdatesAtOnce [62] "All agents tell a new term of the registry everything at the same time.";
    "repeats-at-once" RepeatsAtOnce [68] "A call that finds no leader is repeated without a pause.";
    // Agents, containers, hosts.
    "recovery-blind" RecoveryBlind [31] "An agent that comes back takes no container for its own.";
    "late-shim-starts" LateShimStarts [32] "A shim starts its task although the agent has given it up.";
    "boot-ignored" BootIgnored [37] "An agent does not notice that its host was booted.";
    "damage-is-the-end" DamageIsTheEnd [38] "A damaged checkpoint is not salvaged.";
    "disk-without-reserve" DiskWithoutReserve [39] "An agent has nothing to give up when its disk is full.";
    "docker-wait-believed" DockerWaitBelieved [41] "A container counts as ended when the daemon ends its wait.";
    "docker-without-deadline" DockerWithoutDeadline [42] "Calls to the Docker daemon may take for ever.";
    "degraded-offered" DegradedOffered [42] "An agent that can start nothing is offered.";
    "pull-without-deadline" PullWithoutDeadline [43] "A pull may take for ever.";
    "task-in-agents-group" TaskInAgentsGroup [40] "A task runs in the group of its agent.";
    "orphans-kept" OrphansKept [44] "Containers of an agent that is no more are left alone.";
    "memory-kill-unread" MemoryKillUnread [45] "Nobody looks whether a task was killed for its memory.";
    "pid-is-enough" PidIsEnough [46] "A process is known by its number alone.";
    "kill-main-only" KillMainOnly [47] "Only the main process of a task is killed.";
    "failed-start-kept" FailedStartKept [48] "A container that did not start is not removed.";
    "log-without-end" LogWithoutEnd [50] "The log of a task grows without end.";
    "clock-of-the-wall" ClockOfTheWall [51] "Time is what the wall clock says.";
    "last-word-unread" LastWordUnread [52] "How a container ended while nobody watched is not read.";
}

/// The bug of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Planted> {
    ALL.iter().find(|planted| planted.name == name)
}

/// Whether this bug is planted in this process.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
#[must_use]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}

/// The variable that plants this process's bug in a child that inherits no environment.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn for_child() -> Option<(&'static str, &'static str)> {
    None
}

#[cfg(feature = "planted-bugs")]
pub use chosen::{choose, for_child, is_planted};

#[cfg(feature = "planted-bugs")]
mod chosen {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{ALL, Bug, named};

    const VARIABLE: &str = "MESOS_PLANTED_BUG";
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

    /// The variable that plants this process's bug in a child that inherits no environment.
    #[must_use]
    pub fn for_child() -> Option<(&'static str, &'static str)> {
        ALL.iter().find(|planted| is_planted(planted.bug)).map(|planted| (VARIABLE, planted.name))
    }

    #[cold]
    fn from_environment() -> usize {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        let bug = named(&name).map(|planted| planted.bug);
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
    fn every_bug_is_found_by_somebody() {
        let idle: Vec<&str> =
            ALL.iter().filter(|bug| !bug.by_seeds && bug.faults.is_empty()).map(|bug| bug.name).collect();
        assert!(idle.is_empty(), "{idle:?}");
    }

    #[test]
    fn names_differ_and_faults_are_of_the_catalogue() {
        let names: BTreeSet<&str> = ALL.iter().map(|planted| planted.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().flat_map(|planted| planted.faults).all(|fault| (1..=84).contains(fault)));
    }
}
