//! Handshakes, as scenarios.

use super::super::scenario::plays;

#[test]
fn an_agent_without_an_id_gets_one_and_the_same_again() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report ? instance=7
          put agent S0 shook 1
          instance 7: welcome S0
        > report ? instance=7
          instance 7: welcome S0
        > report ? instance=8
          put agent S1 shook 1
          instance 8: welcome S1
        > report S0 instance=7
          put agent S0 shook 1
          S0: welcome S0
        ",
    );
}

#[test]
fn f12_an_agent_of_a_wiped_store_keeps_its_id_and_its_tasks() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report a term=0 number=9 holds=9:L4/f/t1:cpus:1+t2:cpus:1,9:L5/f/
        a: handshake 1
        > report a term=0 number=9 answers=1 holds=9:L4/f/t1:cpus:1+t2:cpus:1,9:L5/f/
          put agent a shook 1
          put launch 00000000-0000-0000-0000-000000000009-L4 f@r on a e t1[cpus:1] t2[cpus:1] sent 0.0 adopted
          a: welcome a
        > allocated a
          cpus:2
        > framework f
          f: offers O0=a@r[cpus:2; mem:4096]
        > beat a number=0 holds=9:L4
          a: heard
        ",
    );
}

#[test]
fn f20_a_late_copy_of_a_first_report_leaves_no_ghost_of_the_agent() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report ? instance=7
          put agent S0 shook 1
          instance 7: welcome S0
          f: offers O0=S0@r[cpus:4; mem:4096]
        > report a instance=7
          delete agent S0
          put agent a shook 1
          f: rescind O0
          a: welcome a
          f: offers O1=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn f20_what_operators_ordered_of_a_ghost_goes_with_it() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report ? instance=7
          put agent S0 shook 1
          instance 7: welcome S0
        > operator reserve S0 cpus(web):1
          put agent S0 shook 1
          put operation P0 on 00000000-0000-0000-0000-000000000001-S0 sent 1.1
          reply 200
          S0: orders from 1: reserve cpus:1 to cpus(web):1
        > report a instance=7
          delete operation P0
          delete agent S0
          put agent a shook 1
          a: welcome a
        ",
    );
}

#[test]
fn f20_a_copy_of_a_report_that_comes_after_a_later_one_brings_no_launch_back() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a answers=1 start=1 said=1 holds=9:L4/f/t:cpus:1
          put agent a shook 1
          put launch 00000000-0000-0000-0000-000000000009-L4 f@r on a e t[cpus:1] sent 0.0 adopted
          a: welcome a
          f: offers O0=a@r[cpus:3; mem:4096]
        > report a answers=1 start=1 said=2
          delete launch 00000000-0000-0000-0000-000000000009-L4
          a: welcome a
          f: offers O1=a@r[cpus:1]
        > report a answers=1 start=1 said=1 holds=9:L4/f/t:cpus:1
        ",
    );
}

#[test]
fn f42_an_agent_that_can_start_nothing_is_offered_to_nobody_until_it_can() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a degraded=docker-hangs
          put agent a shook 1
          a: welcome a
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > report a degraded=docker-hangs
          put agent a shook 1
          f: rescind O0
          a: welcome a
        ",
    );
}

#[test]
fn f36_a_second_instance_of_an_id_is_refused() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report a instance=1
          put agent a shook 1
          a: welcome a
        > report a instance=2
          trouble: agent host-a is refused: agent id a belongs to the agent at host-a; a copied work directory must be emptied before its agent starts
          a: refused
        > beat a instance=2
          trouble: agent a is refused: agent id a belongs to the agent at host-a; a copied work directory must be emptied before its agent starts
          a: refused
        ",
    );
}

#[test]
fn f3_a_launch_that_its_agent_has_not_seen_is_ordered_again_by_the_next_leader() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t1:cpus:1,t2:cpus:1,t3:cpus:1
          put launch L0 f@r on a t1 t1[cpus:1] sent 1.1
          put launch L1 f@r on a t2 t2[cpus:1] sent 1.2
          put launch L2 f@r on a t3 t3[cpus:1] sent 1.3
          reply 202
          a: orders from 1: launch L0 (t1), launch L1 (t2), launch L2 (t3)
        > standby
        > lead 2
          all agents: handshake 2
        # an answer to nobody may be old; something hangs on it
        > report a term=1 number=2 holds=L0/f/t1:cpus:1
          a: handshake 2
        > report a term=1 number=2 holds=L0/f/t1:cpus:1 answers=2
          put agent a shook 2
          delete launch L1
          put launch L2 f@r on a t3 t3[cpus:1] sent 2.1
          a: welcome a
          f: offers 2:O0=a@r[cpus:2; mem:4096]
          a: orders from 1: launch L2 (t3)
        > allocated a
          cpus:2
        # the welcome was lost
        > report a term=1 number=2 holds=L0/f/t1:cpus:1 answers=2
          a: welcome a
          a: orders from 1: launch L2 (t3)
        > beat a term=2 number=1 holds=L0,L2
          a: heard
        # late: from before the order was taken up
        > report a term=1 number=2 holds=L0/f/t1:cpus:1 answers=2
        ",
    );
}

#[test]
fn a_task_that_has_ended_on_its_agent_holds_nothing_but_is_not_taken_for_lost() {
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
        > report a term=1 number=1 holds=L0/f/
          put launch L0 f@r on a t1 t1[] sent 1.1
          a: welcome a
          f: offers O1=a@r[cpus:4; mem:4096]
        > beat a number=1
          a: heard
        > task f t1 FINISHED
          delete launch L0
        ",
    );
}

#[test]
fn what_agent_and_allocator_hold_differently_is_settled_by_a_report() {
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
        > beat a number=1
          a: heard
        > beat a number=1
          a: handshake 1
        > report a term=1 number=1 answers=1
          delete launch L0
          a: welcome a
          f: offers O1=a@r[cpus:4; mem:4096]
        > beat a number=1
          a: heard
        ",
    );
}

#[test]
fn an_agent_that_shrank_is_never_over_committed() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t1:cpus:3 refuse=0
          put launch L0 f@r on a t1 t1[cpus:3] sent 1.1
          reply 202
          f: offers O1=a@r[cpus:1; mem:4096]
          a: orders from 1: launch L0 (t1)
        > report a term=1 number=1 holds=L0/f/t1:cpus:3 total=cpus:2;mem:4096
          put agent a shook 1
          f: rescind O1
          a: welcome a
          f: offers O2=a@r[mem:4096]
        > free a
          nothing
        > task f t1 FINISHED
          delete launch L0
          f: offers O3=a@r[cpus:2]
        ",
    );
}

#[test]
fn an_agent_that_obeys_someone_higher_makes_the_term_rise() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report a term=3
          raise epoch above 3
        > beat a term=2
          raise epoch above 2
        # One that nobody has welcomed yet has promised to obey another leader.
        > report ? instance=7 answers=3
          raise epoch above 3
        ",
    );
}

#[test]
fn tasks_of_a_removed_framework_end_wherever_they_turn_up() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t1:cpus:1,t2:cpus:1
          put launch L0 f@r on a t1 t1[cpus:1] sent 1.1
          put launch L1 f@r on a t2 t2[cpus:1] sent 1.2
          reply 202
          a: orders from 1: launch L0 (t1), launch L1 (t2)
        > standby
        > lead 2
          all agents: handshake 2
        > framework f state=removed
        > report a term=1 number=1 holds=L0/f/t1:cpus:1,L9/f/t9:cpus:1,L8/unknown/t8:cpus:1 answers=2
          put agent a shook 2
          delete launch L1
          put launch L8 unknown@r on a e t8[cpus:1] sent 0.0 adopted
          put launch L9 f@r on a e t9[cpus:1] sent 0.0 adopted
          a: welcome a
          a: orders from 1: shut down f
        ",
    );
}

#[test]
fn an_agent_is_asked_again_about_a_launch_whose_end_the_registry_does_not_hear_of() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t:cpus:1 refuse=60000
          put launch L0 f@r on a t t[cpus:1] sent 1.1
          reply 202
          a: orders from 1: launch L0 (t)
        > report a term=1 number=1 answers=1 holds=L0/f/
          put launch L0 f@r on a t t[] sent 1.1
          a: welcome a
          f: offers O1=a@r[cpus:4; mem:4096]
        > pass 12000
        > beat a number=1
          a: heard
        > pass 12000
        > beat a number=1
          a: heard
        > pass 6000
          +30000 a: handshake 1
        > report a term=1 number=1 answers=1
          delete launch L0
          a: welcome a
        ",
    );
}

#[test]
fn a_late_copy_of_the_first_report_of_an_agent_that_is_gone_makes_no_other_agent() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report ? instance=7
          put agent S0 shook 1
          instance 7: welcome S0
        > operator gone 00000000-0000-0000-0000-000000000001-S0
          put agent S0 gone deactivated
          S0: refused gone
          reply 200
        > report ? instance=7
          instance 7: refused gone
        > standby
        > lead 2
          all agents: handshake 2
        > report ? instance=7
          instance 7: refused gone
        > report ? instance=8
          put agent 2:S0 shook 2
          instance 8: welcome 2:S0
        ",
    );
}
