//! The catalogue: what can go wrong, and what must happen then. The numbers are names.

/// A fault.
pub(super) struct Fault {
    pub(super) number: u8,
    pub(super) what: &'static str,
    pub(super) must: &'static str,
}

const fn fault(number: u8, what: &'static str, must: &'static str) -> Fault {
    Fault { number, what, must }
}

/// The headings, each with the faults below it.
pub(super) const CATALOGUE: &[(&str, &[Fault])] = &[
    (
        "State, leadership, Redis",
        &[
            fault(
                1,
                "The allocator dies after its commit, before the offers are out",
                "The resources are offered again",
            ),
            fault(
                2,
                "A service dies after it spoke, before its peer's cursor moved",
                "The repeat has no second effect",
            ),
            fault(
                3,
                "Crash between the commit of an ACCEPT and its launch",
                "Launched once under the next term, or told as dropped",
            ),
            fault(
                4,
                "Two leaders: one was paused, its lease ran out",
                "Its commits are refused by the store, its orders by agents",
            ),
            fault(5, "The store's clock jumps", "Only who leads may change"),
            fault(
                6,
                "A replica that lacks the last commits is promoted",
                "Noticed at the next commit; new term, handshakes, nothing allocated twice",
            ),
            fault(
                7,
                "The Redis primary is cut off together with its leader",
                "Writes are refused, the leader steps down",
            ),
            fault(8, "Redis is out of memory", "Reads go on, changes get 503, tasks run"),
            fault(
                9,
                "The append-only file is cut or corrupt at a restart",
                "Its tail is dropped, or it is refused; agents fill the gap",
            ),
            fault(10, "The disk of Redis is full", "As 8"),
            fault(11, "Redis stalls for seconds", "No term is lost, queues stay bounded"),
            fault(12, "Redis is wiped", "Agents and frameworks come back with their ids, no task is killed"),
            fault(13, "Versions N and N-1 run side by side", "Unknown fields are kept, records are versioned"),
            fault(14, "A standby's memory differs from the store", "Found, and built anew"),
            fault(
                15,
                "A long allocation cycle starves the lease's renewal",
                "Work is bounded per batch; a late lease is renewed by its holder",
            ),
            fault(
                16,
                "A record cannot be read at the start",
                "It is set aside with a log line and a metric; the rest loads",
            ),
        ],
    ),
    (
        "The bus",
        &[
            fault(17, "An agent is cut off", "Tasks run, updates wait on disk, nothing is lost when it is back"),
            fault(18, "NATS is down", "Requests time out; everything is sent again when it is back"),
            fault(
                19,
                "Messages are lost, for a while all of them",
                "Gaps are found by numbers, the rest by reconciliation",
            ),
            fault(20, "Messages come again, however late", "No second effect"),
            fault(21, "Messages overtake each other", "Older ones than what is known are ignored"),
            fault(22, "A kill overtakes its launch", "The task ends once and does not run on"),
            fault(23, "A subscriber is too slow", "It is cut, notices, and starts anew; others are not slowed"),
            fault(24, "A subscription dies silently", "It is noticed by the subscriber's own beat and renewed"),
            fault(25, "Persistence of the bus creeps in", "Cannot: its features are off, and a check says so"),
            fault(26, "A message is larger than the server takes", "It travels in parts or is refused, never dropped"),
            fault(27, "Credentials run out under way", "Renewed without a loss"),
            fault(28, "A request's outcome is unknown", "Repeated with the same id, done once"),
            fault(29, "Ids with characters that subjects or paths give a meaning", "Refused, or encoded"),
            fault(30, "A message cannot be decoded", "Counted and set aside; the next is read"),
        ],
    ),
    (
        "Agents, containers, hosts",
        &[
            fault(31, "An agent restarts with running tasks", "All are adopted, no exit is lost"),
            fault(
                32,
                "Crash after a container was made, before that was written down",
                "Adopted or removed, never two",
            ),
            fault(33, "An agent and the leaders restart together", "Nothing is killed"),
            fault(
                34,
                "An agent is away for longer than its timeout, and returns",
                "TASK_UNREACHABLE, then TASK_RUNNING; nothing is killed",
            ),
            fault(35, "An agent returns that was marked gone", "Its tasks are shut down, it gets a new id"),
            fault(36, "Two hosts with one agent id", "The second is refused"),
            fault(37, "The host boots", "Its tasks end once and do not run again"),
            fault(38, "A checkpoint is torn or flipped", "Only what cannot be read is lost; the agent starts"),
            fault(39, "The agent's disk is full", "Launches are refused, tasks run, it recovers by itself"),
            fault(40, "The agent is killed for memory", "Its tasks are in groups of their own and run on"),
            fault(41, "dockerd restarts", "Containers are looked at again: running, or ended with a reason"),
            fault(42, "dockerd hangs", "Calls have deadlines, the agent goes on beating"),
            fault(43, "An image cannot be pulled, or hangs", "The task fails with the reason; a kill works meanwhile"),
            fault(44, "Containers without an owner", "Removed by their labels"),
            fault(45, "A task uses more memory than it has", "TASK_FAILED with the memory limit as its reason"),
            fault(46, "A pid is used again", "No stranger is signalled"),
            fault(47, "A task ignores SIGTERM and forks", "All of its processes are killed after the grace"),
            fault(48, "A host port is taken", "The task fails and says so"),
            fault(49, "An agent restarts with less than before", "Refused, or what is used stays covered"),
            fault(50, "A task floods its log", "Rotated, bounded"),
            fault(51, "Clocks step", "Timers and order do not care"),
            fault(52, "Tasks end at once", "Their exit codes are told"),
            fault(
                84,
                "Who listens for agents is cut off itself",
                "Silence counts only while it hears itself; few are marked at a time",
            ),
        ],
    ),
    (
        "Frameworks, API, load",
        &[
            fault(
                53,
                "A framework is away for less or more than its failover timeout",
                "Kept, or removed; across leaders",
            ),
            fault(54, "A stale stream id; two schedulers with one id", "400; the last to subscribe has it"),
            fault(55, "An offer is accepted twice, or too late", "Once; the other tasks are told as lost"),
            fault(56, "A status is lost before it is acknowledged", "Told again"),
            fault(57, "An acknowledgement is lost, repeated or wrong", "No effect but the right one"),
            fault(58, "A task id is used again while it runs", "TASK_ERROR, the first is not touched"),
            fault(59, "A framework hoards offers", "They run out"),
            fault(60, "A client does not read its stream", "It is cut; memory stays flat"),
            fault(61, "A gateway with many streams dies", "They go elsewhere, nothing is missed"),
            fault(62, "Everybody comes back at once", "Spread out, in a bounded time"),
            fault(63, "Malformed or deeply nested requests", "4xx, no panic"),
            fault(64, "Huge bodies, also packed ones", "Refused before they are read whole"),
            fault(65, "Clients that send slowly, or reset streams", "They time out and are bounded"),
            fault(66, "Amounts that are no amounts", "Refused"),
            fault(67, "Names without end", "Bounded series and states"),
            fault(68, "A dependency is slow and everybody repeats", "Repeats are bounded and spread"),
        ],
    ),
    (
        "Abuse",
        &[
            fault(69, "No or wrong credentials", "Refused everywhere"),
            fault(70, "A framework acts on another's tasks or offers", "Refused by the machine that owns them"),
            fault(71, "Paths that lead out of a sandbox", "Refused"),
            fault(72, "The fetcher is sent to inner addresses", "Refused"),
            fault(73, "Flags and commands hidden in names", "Arguments stay arguments"),
            fault(74, "Privileged containers, host mounts", "Refused unless allowed"),
            fault(75, "A container overwrites its helper", "It cannot"),
            fault(76, "Archives that write elsewhere, or grow without end", "Refused"),
            fault(77, "Secrets in logs, arguments, state, traces", "Never"),
            fault(78, "A host that only claims to be an agent", "Not admitted"),
            fault(79, "An agent uses subjects of others", "Denied"),
            fault(80, "Events leak to other tenants", "Never"),
            fault(81, "Redis is reached by others", "Denied"),
            fault(82, "Tokens that are not what they say", "Refused"),
            fault(83, "An old or open NATS server", "Seen at the start"),
        ],
    ),
];
