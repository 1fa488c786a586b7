//! Silence, as scenarios.

use mesos_model::{Resources, Term, Time};

use super::super::{
    Allocator, Options, Output,
    scenario::{plays, plays_with},
};
use crate::{
    machine::{Effects, Machine},
    message::ToAgent,
    row::{AgentRow, AgentState, Row, RowChange},
};

#[test]
fn f34_a_silent_agent_is_unreachable_keeps_its_tasks_and_comes_back_by_a_handshake() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t1:cpus:1 refuse=0
          put launch L0 f@r on a t1 t1[cpus:1] sent 1.1
          reply 202
          f: offers O1=a@r[cpus:3; mem:4096]
          a: orders from 1: launch L0 (t1)
        > pass 900
        > beat a number=1 holds=L0
          a: heard
        > pass 14999
        > pass 1
          +15900 put agent a unreachable
          +15900 f: rescind O1
          +15900 f: failure of a
        > allocated a
          cpus:1
        > beat a number=1 holds=L0
          a: handshake 1
        > report a term=1 number=1 holds=L0/f/t1:cpus:1 answers=1
          put agent a shook 1
          a: welcome a
          f: offers O2=a@r[cpus:3; mem:4096]
        ",
    );
}

#[test]
fn f84_silence_does_not_count_while_the_listener_is_deaf() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report a
          put agent a shook 1
          a: welcome a
        > deaf
        > pass 100000
        > hears
        > pass 14999
        > pass 1
          +115000 put agent a unreachable
        ",
    );
}

#[test]
fn f84_only_some_agents_become_unreachable_in_one_minute() {
    plays_with(
        Options { unreachable_per_minute_percent: 34, ..Options::default() },
        "
        > lead 1
          all agents: handshake 1
        > report a
          put agent a shook 1
          a: welcome a
        > report b
          put agent b shook 1
          b: welcome b
        > report c
          put agent c shook 1
          c: welcome c
        > report d
          put agent d shook 1
          d: welcome d
        > report e
          put agent e shook 1
          e: welcome e
        > report f
          put agent f shook 1
          f: welcome f
        > pass 15000
          +15000 put agent a unreachable
          +15000 put agent b unreachable
        > pass 59999
        > pass 1
          +75000 put agent c unreachable
          +75000 put agent d unreachable
        > pass 60000
          +135000 put agent e unreachable
          +135000 put agent f unreachable
        ",
    );
}

#[test]
fn agents_that_do_not_answer_a_new_term_become_unreachable_after_a_full_timeout() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report a
          put agent a shook 1
          a: welcome a
        > standby
        > pass 100000
        > lead 2
          all agents: handshake 2
        > pass 14999
        > beat a term=1
          a: handshake 2
        > pass 1
          +115000 put agent a unreachable
        ",
    );
}

#[test]
fn orders_leave_again_until_they_are_taken_up_and_at_once_when_the_bus_is_back() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t1:cpus:1
          put launch L0 f@r on a t1 t1[cpus:1] sent 1.1
          reply 202
          a: orders from 1: launch L0 (t1)
        > pass 3000
          +1000 a: orders from 1: launch L0 (t1)
          +3000 a: orders from 1: launch L0 (t1)
        > bus-back
          a: orders from 1: launch L0 (t1)
        > task f t1 RUNNING kill=1
          a: orders from 2: kill t1
        > task f t1 RUNNING kill=1
        > task f t1 RUNNING kill=2
        > pass 200
        > beat a number=1 holds=L0
          a: heard
        > pass 300
        > beat a number=1 holds=L0
          a: heard
          a: orders from 2: kill t1
        > beat a number=2 holds=L0
          a: heard
        # Asked again after it was taken up.
        > task f t1 RUNNING kill=3
          a: orders from 3: kill t1
        > beat a number=3 holds=L0
          a: heard
        > pass 9000
          +5000 f: offers O1=a@r[cpus:3; mem:4096]
        ",
    );
}

/// Over how long a new leader lets its agents spread their answers.
fn spread_of(agents: usize) -> u64 {
    let mut allocator = Allocator::new(Options::default());
    for number in 0..agents {
        allocator.restore(RowChange::Put(Row::Agent(AgentRow {
            id: format!("a{number}").into(),
            instance: number as u128,
            boot: String::new(),
            hostname: "host".to_owned(),
            ip: String::new(),
            port: 5051,
            version: String::new(),
            total: Resources::of(&[("cpus", 4000)]),
            oversubscribed: Resources::new(),
            attributes: vec![],
            domain: None,
            state: AgentState::Active,
            deactivated: false,
            down: false,
            drain: None,
            handshake: Term::default(),
            registered: Time(1),
            reregistered: Time(1),
            operated: Vec::new(),
            degraded: None,
            body: Default::default(),
        })));
    }
    let mut effects = Effects::default();
    allocator.lead(Time(1000), Term { epoch: 1, leader: 1 }, &mut effects);
    let spread = effects.outputs.iter().find_map(|output| match output {
        Output::AllAgents(ToAgent::Handshake { spread_ms, .. }) => Some(*spread_ms),
        _ => None,
    });
    spread.unwrap()
}

#[test]
fn f62_a_new_term_is_answered_by_ten_agents_a_millisecond_at_most() {
    assert_eq!(spread_of(3), 0);
    assert_eq!(spread_of(2000), 200);
}

#[test]
fn an_agent_whose_report_that_it_is_well_again_was_lost_is_asked_for_another() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a degraded=full
          put agent a shook 1
          a: welcome a
        > beat a degraded=full
          a: heard
        > beat a degraded=full
          a: heard
        > beat a
          a: heard
        > beat a
          a: handshake 1
        > report a term=1 answers=1
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        ",
    );
}
