//! Room that is gathered, as scenarios.

use super::super::scenario::plays;

#[test]
fn room_for_a_task_that_is_bigger_than_what_is_free_is_gathered_as_others_leave() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a total=cpus:4
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4]
        > accept f O0 run=t1:cpus:2,t2:cpus:1 refuse=60000
          put launch L0 f@r on a t1 t1[cpus:2] sent 1.1
          put launch L1 f@r on a t2 t2[cpus:1] sent 1.2
          reply 202
          a: orders from 1: launch L0 (t1), launch L1 (t2)
        > framework g roles=s
          g: offers O1=a@s[cpus:1]
        > request g big:cpus:3 hold=60000
          reply 202
        > needs
          g big: 0 of 1, holds , waits for cpus:3 more on agent a
        > decline g O1 refuse=0
          reply 202
        > needs
          g big: 0 of 1, holds a[cpus:1], waits for cpus:2 more on agent a
        # what becomes free goes to the need, whoever's turn it is
        > task f t1 FINISHED
          delete launch L0
          g: offers O2=a@s[cpus:3]
        > needs
        ",
    );
}

#[test]
fn a_gang_is_offered_at_once_or_not_at_all_and_let_go_when_its_time_is_over() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework g roles=s
        > request g gang:cpus:2*3 hold=20000
          reply 202
        > report a total=cpus:4
          put agent a shook 1
          a: welcome a
        > needs
          g gang: 2 of 3, holds a[cpus:2] a[cpus:2], waits for an agent for 1 more of 3 tasks
        > beat a
          a: heard
        > pass 12000
        > beat a
          a: heard
        > pass 8000
          +20000 g: offers O0=a@s[cpus:4]
        ",
    );
}

#[test]
fn bad_requests_are_refused_and_what_was_asked_before_stands() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework g roles=s
        > request g gang:cpus:2*3 hold=20000
          reply 202
        > request g x:cpus:2 role=other
          reply 400 Request 'x': the framework is not subscribed to role 'other'
        > request g x:cpus:2*0
          reply 400 Request 'x': the count must be between 1 and 1024
        > request g x:cpus:2 hold=9000000
          reply 400 Request 'x': room can be held for one hour at most, and not for no time
        > needs
          g gang: 0 of 3, holds , waits for an agent for 3 more of 3 tasks
        ",
    );
}
