//! What a seed draws before its run: how much of which fault there will be, and how frameworks behave.

use mesos_model::Resources;

use crate::rng::Rng;

/// Rates are in ten-thousandths; those of [`Plan::per_tick`] apply to each fifth of a second.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long faults happen, in milliseconds.
    pub fault_ms: u64,
    /// Faults drawn five times a second.
    pub per_tick: Ticked,
    /// A message is lost.
    pub loss: u32,
    /// A message comes again, later.
    pub duplicate: u32,
    /// A message ignores the order of its subject.
    pub reorder: u32,
    /// The longest ordinary delay on the bus, in milliseconds.
    pub bus_delay_ms: u64,
    /// The longest ordinary delay of the store, in milliseconds.
    pub store_delay_ms: u64,
    /// A store operation's answer is lost, with or without its effect.
    pub unknown_outcome: u32,
    /// A container does not start.
    pub container_failure: u32,
    /// The agent is killed, or its host boots, just when a container has started.
    pub strike: u32,
    /// How each framework behaves.
    pub frameworks: Vec<Temper>,
    /// What an operator does; there is none if it has no whims and no framework has a role.
    pub operator: Whims,
    /// What an agent has.
    pub agent: Resources,
}

/// What an operator does. Rates are drawn once a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whims {
    /// It sets a role's quota.
    pub quota: u32,
    /// It reserves, or makes a volume, or takes one of them back.
    pub convert: u32,
    /// It drains an agent.
    pub drain: u32,
    /// It deactivates an agent.
    pub deactivate: u32,
    /// Agents that it drains are gone then; now and then it says so at once.
    pub gone: u32,
    /// It plans maintenance, and begins it.
    pub maintenance: u32,
}

/// Rates of faults that are drawn five times a second.
#[derive(Clone, Debug, Default)]
pub struct Ticked {
    /// kill -9 of an allocator or a registry.
    pub crash_service: u32,
    /// kill -9 of an agent.
    pub crash_agent: u32,
    /// kill -9 of a gateway.
    pub crash_gateway: u32,
    /// kill -9 of a framework.
    pub crash_framework: u32,
    /// An agent's host boots.
    pub reboot: u32,
    /// SIGSTOP of anything for a while.
    pub pause: u32,
    /// A node is cut from the bus for a while.
    pub cut: u32,
    /// The bus loses a large part of all messages for a while.
    pub loss_spell: u32,
    /// The store does not answer for a while.
    pub stall: u32,
    /// The store refuses writes for a while.
    pub read_only: u32,
    /// A replica that is behind takes over.
    pub rollback: u32,
    /// The store loses everything.
    pub wipe: u32,
    /// Entries behind the peer are trimmed.
    pub trim: u32,
    /// A container is gone without a word.
    pub vanish: u32,
    /// An agent's disk is full for a while.
    pub disk_full: u32,
    /// The store's clock steps.
    pub clock_step: u32,
}

/// How a framework behaves.
#[derive(Clone, Debug)]
pub struct Temper {
    /// It understands the states of partitions.
    pub partition_aware: bool,
    /// It understands TASK_KILLING.
    pub task_killing: bool,
    /// How long it may be away.
    pub failover_ms: u64,
    /// It accepts an offer (else it declines).
    pub accept: u32,
    /// It sits on an offer and says nothing.
    pub hoard: u32,
    /// It accepts an offer twice.
    pub accept_twice: u32,
    /// It launches a group with an executor.
    pub group: u32,
    /// It kills a task, drawn once a second.
    pub kill: u32,
    /// It suppresses or revives, drawn once a second.
    pub appetite: u32,
    /// It tears itself down, drawn once a second.
    pub teardown: u32,
    /// It acknowledges late.
    pub ack_late: u32,
    /// It acknowledges twice.
    pub ack_twice: u32,
    /// It acknowledges something else first.
    pub ack_wrong: u32,
    /// It forgets to acknowledge, and does so when told again.
    pub ack_forgotten: u32,
    /// The most tasks that it has at a time.
    pub tasks_max: usize,
    /// How long a task runs at most, in milliseconds; some run for ever.
    pub run_max_ms: u64,
    /// Tasks run until they are killed.
    pub run_for_ever: u32,
    /// It goes for good after so many milliseconds.
    pub leaves_at: Option<u64>,
    /// The role that it is in.
    pub role: &'static str,
    /// It reserves, makes volumes, and takes them back, in an ACCEPT.
    pub convert: u32,
}

impl Default for Temper {
    fn default() -> Self {
        Temper {
            partition_aware: true,
            task_killing: false,
            failover_ms: 3_600_000,
            accept: 10_000,
            hoard: 0,
            accept_twice: 0,
            group: 0,
            kill: 0,
            appetite: 0,
            teardown: 0,
            ack_late: 0,
            ack_twice: 0,
            ack_wrong: 0,
            ack_forgotten: 0,
            tasks_max: 6,
            run_max_ms: 10_000,
            run_for_ever: 0,
            leaves_at: None,
            role: "*",
            convert: 0,
        }
    }
}

impl Plan {
    /// No faults, short delays, three tame frameworks.
    #[must_use]
    pub fn calm() -> Plan {
        Plan {
            fault_ms: 0,
            per_tick: Ticked::default(),
            loss: 0,
            duplicate: 0,
            reorder: 0,
            bus_delay_ms: 2,
            store_delay_ms: 2,
            unknown_outcome: 0,
            container_failure: 0,
            strike: 0,
            frameworks: vec![Temper::default(); 3],
            operator: Whims::default(),
            agent: Resources::of(&[("cpus", 4000), ("mem", 1_024_000)]),
        }
    }

    /// What the seed draws: each fault is absent, rare or frequent.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Plan {
        let mut rate = |most: u32| -> u32 {
            match rng.below(5) {
                0 | 1 => 0,
                2 | 3 => u32::try_from(rng.below(u64::from(most / 4) + 1)).unwrap_or(0),
                _ => u32::try_from(rng.below(u64::from(most) + 1)).unwrap_or(0),
            }
        };
        let per_tick = Ticked {
            crash_service: rate(200),
            crash_agent: rate(200),
            crash_gateway: rate(150),
            crash_framework: rate(150),
            reboot: rate(40),
            pause: rate(200),
            cut: rate(150),
            loss_spell: rate(100),
            stall: rate(100),
            read_only: rate(60),
            rollback: rate(100),
            wipe: rate(8),
            trim: rate(1000),
            vanish: rate(100),
            disk_full: rate(40),
            clock_step: rate(40),
        };
        let (loss, duplicate, reorder) = (rate(1500), rate(3000), rate(2000));
        let (unknown_outcome, container_failure, strike) = (rate(500), rate(1500), rate(800));
        Plan {
            fault_ms: rng.between(30_000, 120_000),
            per_tick,
            loss,
            duplicate,
            reorder,
            bus_delay_ms: rng.between(1, 50),
            store_delay_ms: rng.between(1, 40),
            unknown_outcome,
            container_failure,
            strike,
            frameworks: (0..3).map(|_| Temper::draw(rng)).collect(),
            operator: Whims::default(),
            agent: Resources::of(&[("cpus", 4000), ("mem", 1_024_000)]),
        }
    }

    /// What the seed draws beyond that: roles, reservations, volumes, and an operator with whims.
    pub fn draw_more(&mut self, rng: &mut Rng) {
        self.agent.add(&Resources::of(&[("disk", 10_000)]));
        let in_roles = rng.below(4) != 0;
        let mut rate = |most: u64| if rng.below(2) == 0 { 0 } else { rng.below(most) as u32 };
        let reserve = rate(2_000);
        let roles = if in_roles { ["a", "a/x", "b", "*"] } else { ["*"; 4] };
        self.operator = Whims {
            quota: if in_roles { rate(2_000) } else { 0 },
            convert: rate(1_500),
            drain: rate(500),
            deactivate: rate(500),
            gone: rate(1_000),
            maintenance: rate(500),
        };
        for temper in &mut self.frameworks {
            temper.role = roles[rng.below(4) as usize];
            temper.convert = reserve;
        }
    }
}

impl Temper {
    fn draw(rng: &mut Rng) -> Temper {
        let some = |rng: &mut Rng, most: u64| if rng.below(2) == 0 { 0 } else { rng.below(most) as u32 };
        let leaves_at = (rng.below(5) == 0).then(|| rng.between(5_000, 100_000));
        let failover_ms = [0, 5_000, 30_000, 3_600_000, 3_600_000][rng.below(5) as usize];
        Temper {
            partition_aware: rng.below(3) != 0,
            task_killing: rng.below(2) == 0,
            // Who goes for good is to be removed before the run ends.
            failover_ms: if leaves_at.is_some() { failover_ms.min(30_000) } else { failover_ms },
            leaves_at,
            accept: rng.between(3_000, 10_000) as u32,
            hoard: some(rng, 1_500),
            accept_twice: some(rng, 2_000),
            group: some(rng, 3_000),
            kill: some(rng, 4_000),
            appetite: some(rng, 500),
            teardown: some(rng, 30),
            ack_late: some(rng, 4_000),
            ack_twice: some(rng, 3_000),
            ack_wrong: some(rng, 3_000),
            ack_forgotten: some(rng, 1_000),
            tasks_max: rng.between(1, 12) as usize,
            run_max_ms: rng.between(200, 40_000),
            run_for_ever: some(rng, 5_000),
            ..Temper::default()
        }
    }

    /// The same framework on its best behaviour: what happens once faults are over.
    #[must_use]
    pub fn reformed(&self) -> Temper {
        Temper {
            hoard: 0,
            accept_twice: 0,
            appetite: 0,
            teardown: 0,
            ack_wrong: 0,
            ack_late: 0,
            ack_twice: 0,
            ack_forgotten: 0,
            ..self.clone()
        }
    }
}
