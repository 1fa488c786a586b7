//! Agents that leave because an operator says so, as scenarios.

use super::super::scenario::plays;

/// A busy agent `a` of framework `f`.
const BUSY: &str = "
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
        > beat a number=1 holds=L0
          a: heard
        ";

fn plays_busy(text: &str) {
    plays(&format!("{BUSY}{text}"));
}

#[test]
fn a_drained_agent_is_not_offered_and_its_tasks_are_ended_by_order() {
    plays_busy(
        "
        > operator drain a grace=30000
          put agent a shook 1 draining
          f: rescind O1
          reply 200
          a: orders from 2: drain within 30000
        > operator reactivate a
          reply 400 Agent a is still draining; it can be reactivated once it is drained
        > beat a number=2 holds=L0
          a: heard
        > task f t1 KILLED
          delete launch L0
          put agent a shook 1 drained
        > free a
          nothing
        > operator reactivate a
          put agent a shook 1
          reply 200
          f: offers O2=a@r[cpus:4; mem:4096]
        > operator reactivate a
          reply 200
        ",
    );
}

#[test]
fn f33_a_drain_goes_on_under_the_next_leader_and_in_an_agent_that_is_back() {
    plays_busy(
        "
        > operator drain a
          put agent a shook 1 draining
          f: rescind O1
          reply 200
          a: orders from 2: drain
        > standby
        > lead 2
          all agents: handshake 2
        > report a term=1 number=1 answers=2 holds=L0/f/t1:cpus:1
          put agent a shook 2 draining
          a: welcome a
          a: orders from 1: drain
        > pass 15000
          +1000 a: orders from 1: drain
          +3000 a: orders from 1: drain
          +7000 a: orders from 1: drain
          +15000 put agent a unreachable draining
          +15000 f: failure of a
        > report a term=2 number=1 answers=2
          put agent a shook 2 draining
          delete launch L0
          put agent a shook 2 drained
          a: welcome a
        ",
    );
}

#[test]
fn an_agent_without_tasks_is_drained_at_once_and_one_that_is_away_when_it_is_back() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report a
          put agent a shook 1
          a: welcome a
        > pass 15000
          +15000 put agent a unreachable
        > operator drain a
          put agent a unreachable draining
          reply 200
        > report a
          put agent a shook 1 draining
          put agent a shook 1 drained
          a: welcome a
        > operator drain a
          put agent a shook 1 draining
          put agent a shook 1 drained
          reply 200
        ",
    );
}

#[test]
fn f35_an_agent_that_is_gone_is_never_admitted_again_under_its_id() {
    plays_busy(
        "
        > operator gone a
          put agent a gone deactivated
          delete launch L0
          f: rescind O1
          a: refused gone
          reply 200
        > operator gone a
          reply 200
        > beat a number=1 holds=L0
          a: refused gone
        > report a term=1 number=1 answers=1 holds=L0/f/t1:cpus:1
          a: refused gone
        > standby
        > lead 2
          all agents: handshake 2
        > report a term=1 number=1 answers=2 holds=L0/f/t1:cpus:1
          a: refused gone
        > report ? instance=99
          put agent 2:S0 shook 2
          instance 99: welcome 2:S0
          f: offers 2:O0=2:S0@r[cpus:4; mem:4096]
        > operator drain a
          reply 400 Agent a was marked gone; its id is not used again
        > operator reactivate a
          reply 400 Agent a was marked gone; its id is not used again
        ",
    );
}

#[test]
fn f35_an_agent_that_is_drained_to_go_is_gone_once_nothing_is_left() {
    plays_busy(
        "
        > operator drain a gone=1
          put agent a shook 1 draining
          f: rescind O1
          reply 200
          a: orders from 2: drain
        > task f t1 KILLED
          delete launch L0
          put agent a gone drained
          a: refused gone
        > report a term=1 number=2 answers=1
          a: refused gone
        ",
    );
}

#[test]
fn a_deactivated_agent_is_not_offered_and_its_tasks_go_on() {
    plays_busy(
        "
        > operator deactivate a
          put agent a shook 1 deactivated
          f: rescind O1
          reply 200
        > operator deactivate a
          reply 200
        > framework g
        > task f t1 FINISHED
          delete launch L0
        > free a
          nothing
        > standby
        > lead 2
          all agents: handshake 2
        > report a term=1 number=1 answers=2
          put agent a shook 2 deactivated
          a: welcome a
        > operator reactivate a
          put agent a shook 2
          reply 200
          f: offers 2:O0=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn operations_under_way_hold_a_drain_up() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f caps=refined
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 reserve=cpus(r):1 refuse=60000
          put agent a shook 1
          put operation P0 on a sent 1.1
          reply 202
          f: offers O1=a@r[cpus:3; cpus(r):1; mem:4096]
          a: orders from 1: reserve cpus:1 to cpus(r):1
        > operator drain a
          put agent a shook 1 draining
          f: rescind O1
          reply 200
        > beat a number=1
          delete operation P0
          put agent a shook 1 drained
          a: heard
        ",
    );
}

#[test]
fn an_operation_of_an_agent_that_is_gone_is_not_done() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f caps=refined
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 reserve=cpus(r):1 id=x refuse=60000
          put agent a shook 1
          put operation P0 on a sent 1.1
          reply 202
          f: offers O1=a@r[cpus:3; cpus(r):1; mem:4096]
          a: orders from 1: reserve cpus:1 to cpus(r):1
        > operator gone a
          put agent a gone deactivated
          delete operation P0
          f: rescind O1
          f: operation x failed: agent a (host-a) went before it could do it
          a: refused gone
          reply 200
        ",
    );
}

#[test]
fn nobody_leaves_whom_nobody_knows() {
    let refusal = "reply 404 Agent 'x' is not known; `mesos agents` lists those that are";
    for call in ["drain", "deactivate", "reactivate", "gone"] {
        plays(&format!("> lead 1\nall agents: handshake 1\n> operator {call} x\n{refusal}"));
    }
}
