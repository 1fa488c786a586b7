//! Rows of the registry, as scenarios.

use super::super::scenario::plays;

#[test]
fn a_new_subscription_gets_new_offers_and_the_old_ones_go_silently() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > framework f sub=2
          f: offers O1=a@r[cpus:4; mem:4096]
        > decline f O0 stream=2
          reply 202
        > framework f sub=2 state=lost
        > framework f sub=2
          f: offers O2=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn offers_in_a_role_that_was_left_are_rescinded() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f roles=a,b
        > report x
          put agent x shook 1
          x: welcome x
          f: offers O0=x@a[cpus:4; mem:4096]
        > framework f roles=b
          f: rescind O0
          f: offers O1=x@b[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn f22_a_kill_is_ordered_behind_the_launch_and_again_by_the_next_leader() {
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
        > standby
        > task f t1 STAGING kill=1
        > lead 2
          all agents: handshake 2
        > report a term=1 number=0 answers=2
          put agent a shook 2
          put launch L0 f@r on a t1 t1[cpus:1] sent 2.1
          a: welcome a
          f: offers 2:O0=a@r[cpus:3; mem:4096]
          a: orders from 1: launch L0 (t1), kill t1
        > report a term=1 number=0 answers=2
          a: welcome a
          a: orders from 1: launch L0 (t1), kill t1
        ",
    );
}

#[test]
fn a_removed_framework_is_shut_down_where_it_has_something() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > report b
          put agent b shook 1
          b: welcome b
          f: offers O1=b@r[cpus:4; mem:4096]
        > accept f O0 run=t1:cpus:1
          put launch L0 f@r on a t1 t1[cpus:1] sent 1.1
          reply 202
          a: orders from 1: launch L0 (t1)
        > framework f state=removed
          a: orders from 2: shut down f
        > accept f O1
          reply 400 Framework cannot be found
        > task f t1 KILLED
          delete launch L0
        > forget f
        ",
    );
}

#[test]
fn the_end_of_a_task_frees_its_part_of_a_group_and_twice_is_once() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 executor=e:cpus:0.5 group=t1:cpus:1,t2:cpus:2 refuse=0
          put launch L0 f@r on a e[cpus:0.5] t1[cpus:1] t2[cpus:2] sent 1.1
          reply 202
          f: offers O1=a@r[cpus:0.5; mem:4096]
          a: orders from 1: launch L0 (t1 t2)
        > task f t1 FAILED
          put launch L0 f@r on a e[cpus:0.5] t2[cpus:2] sent 1.1
          f: offers O2=a@r[cpus:1]
        > task f t1 FAILED
        > task f t2 LOST
        > task f t2 FAILED
          delete launch L0
          f: offers O3=a@r[cpus:2.5]
        > free a
          nothing
        ",
    );
}

#[test]
fn what_ended_while_nobody_led_is_free_at_the_start_of_the_term() {
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
        > task f t1 FINISHED
        > lead 2
          delete launch L0
          all agents: handshake 2
        ",
    );
}
