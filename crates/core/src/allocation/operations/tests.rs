//! Reservations and volumes, as scenarios.

use super::super::scenario::plays;

#[test]
fn a_framework_reserves_what_it_was_offered_and_nobody_else_is_offered_it() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > framework g roles=s
        > accept f O0 reserve=cpus(r):3 id=x refuse=60000
          put agent a shook 1
          put operation P0 on a sent 1.1
          reply 202
          f: offers O2=a@r[cpus(r):3]
          g: offers O1=a@s[cpus:1; mem:4096]
          a: orders from 1: reserve cpus:3 to cpus(r):3
        # the agent has it in its checkpoint
        > beat a number=1
          delete operation P0
          f: operation x finished: cpus(r):3
          a: heard
        > accept f O2 unreserve=cpus(r):3 id=y refuse=0
          put agent a shook 1
          put operation P1 on a sent 1.2
          reply 202
          f: offers O3=a@r[cpus:3]
          a: orders from 2: unreserve cpus(r):3 to cpus:3
        ",
    );
}

#[test]
fn an_operation_that_its_agent_has_not_seen_is_ordered_again_by_the_next_leader() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 reserve=cpus(r):3 id=x refuse=60000
          put agent a shook 1
          put operation P0 on a sent 1.1
          reply 202
          f: offers O1=a@r[cpus:1; cpus(r):3; mem:4096]
          a: orders from 1: reserve cpus:3 to cpus(r):3
        > standby
        > lead 2
          all agents: handshake 2
        > report a term=1 number=0 answers=2
          put agent a shook 2
          put operation P0 on a sent 2.1
          a: welcome a
          f: offers 2:O0=a@r[cpus:1; cpus(r):3; mem:4096]
          a: orders from 1: reserve cpus:3 to cpus(r):3
        > beat a term=2 number=1
          delete operation P0
          f: operation x finished: cpus(r):3
          a: heard
        ",
    );
}

#[test]
fn the_agents_word_counts_for_what_it_has_seen_and_for_what_nobody_ordered() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 reserve=cpus(r):3 refuse=60000
          put agent a shook 1
          put operation P0 on a sent 1.1
          reply 202
          f: offers O1=a@r[cpus:1; cpus(r):3; mem:4096]
          a: orders from 1: reserve cpus:3 to cpus(r):3
        > standby
        > lead 2
          all agents: handshake 2
        > report a term=1 number=1 answers=2 total=cpus:1;cpus(r):3;mem:4096
          put agent a shook 2
          delete operation P0
          a: welcome a
          f: offers 2:O0=a@r[cpus:1; cpus(r):3; mem:4096]
        # a store that was rolled back knows of no reservation; the agent does
        > report a term=2 number=0 answers=2 total=cpus:2;cpus(r):2;mem:4096
          put agent a shook 2
          f: rescind 2:O0
          a: welcome a
          f: offers 2:O1=a@r[cpus:2; cpus(r):2; mem:4096]
        ",
    );
}

#[test]
fn an_operation_that_is_not_valid_changes_nothing() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 reserve=cpus(other):1 id=x refuse=0
          reply 202
          f: operation x failed: Invalid RESERVE operation: A reserve operation was attempted for a resource allocated to role 'r', but it is to be reserved for role 'other'
          f: offers O1=a@r[cpus:4; mem:4096]
        > accept f O1 reserve=cpus(r):5 id=x refuse=0
          reply 202
          f: operation x failed: Invalid RESERVE operation: cpus:5 is not contained in what was offered, cpus:4; mem:4096
          f: offers O2=a@r[cpus:4; mem:4096]
        > accept f O2 unreserve=cpus(r):1 id=x refuse=0
          reply 202
          f: operation x failed: Invalid UNRESERVE operation: cpus(r):1 is not contained in what was offered, cpus:4; mem:4096
          f: offers O3=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn an_operator_takes_back_as_many_offers_as_the_reservation_needs() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > operator reserve a cpus(web):5
          reply 409 Agent a has not enough that is not in use: cpus:5 is wanted, cpus:4; mem:4096 is there
        > operator reserve nobody cpus(web):1
          reply 400 Agent nobody is not known; `mesos agents` lists those that are
        > operator reserve a cpus(web):1
          put agent a shook 1
          put operation P0 on a sent 1.1
          f: rescind O0
          reply 200
          f: offers O1=a@r[cpus:3; mem:4096]
          a: orders from 1: reserve cpus:1 to cpus(web):1
        > framework g roles=web/shop
          g: offers O2=a@web/shop[cpus(web):1]
        ",
    );
}

#[test]
fn f28_an_operators_reserve_that_comes_again_is_not_done_again_by_the_next_leader() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report a
          put agent a shook 1
          a: welcome a
        > operator reserve a cpus(r):1 call=c
          put agent a shook 1
          put operation P0 on a sent 1.1
          reply 200
          a: orders from 1: reserve cpus:1 to cpus(r):1
        > beat a number=1
          delete operation P0
          a: heard
        > standby
        > lead 2
          all agents: handshake 2
        > report a term=1 number=1 answers=2 total=cpus:3;cpus(r):1;mem:4096
          put agent a shook 2
          a: welcome a
        > operator reserve a cpus(r):1 call=c
          reply 200
        > operator reserve a cpus(r):1 call=d
          put agent a shook 2
          put operation 2:P0 on a sent 2.1
          reply 200
          a: orders from 1: reserve cpus:1 to cpus(r):1
        ",
    );
}
