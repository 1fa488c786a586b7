//! ACCEPT, as scenarios.

use super::super::scenario::plays;

#[test]
fn an_accepted_task_is_written_down_ordered_and_what_is_left_over_is_refused() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t1:cpus:1;mem:32,t2:cpus:1
          put launch L0 f@r on a t1 t1[cpus:1; mem:32] sent 1.1
          put launch L1 f@r on a t2 t2[cpus:1] sent 1.2
          reply 202
          a: orders from 1: launch L0 (t1), launch L1 (t2)
        > allocated a
          cpus:2; mem:32
        > free a
          cpus:2; mem:4064
        > framework g
          g: offers O1=a@r[cpus:2; mem:4064]
        > beat a number=2 holds=L0,L1
          a: heard
        > pass 5000
        ",
    );
}

#[test]
fn f55_an_offer_is_consumed_once() {
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
        # again, by another call, together with one that is still valid
        > accept f O0,O1 run=t2:cpus:1
          reply 202
          f: update t2 TASK_LOST REASON_INVALID_OFFERS Task launched with invalid offers: Offer O0 is no longer valid
          f: offers O2=a@r[cpus:3; mem:4096]
        # an offer of somebody else
        > framework g caps=partition
        > accept g O2 run=t3:cpus:1
          reply 202
          g: update t3 TASK_DROPPED REASON_INVALID_OFFERS Task launched with invalid offers: Offer O2 has invalid framework f while framework g is expected
        > accept g O2 other=CREATE_DISK id=x
          reply 202
          g: operation x failed: CREATE_DISK operation attempted with invalid offers: Offer O2 has invalid framework f while framework g is expected
        > accept f run=t4:cpus:1
          reply 202
          f: update t4 TASK_LOST REASON_INVALID_OFFERS Task launched with invalid offers: No offers specified
        ",
    );
}

#[test]
fn offers_of_two_agents_or_roles_cannot_be_accepted_together() {
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
        > accept f O0,O1 run=t:cpus:1
          reply 202
          f: update t TASK_LOST REASON_INVALID_OFFERS Task launched with invalid offers: Aggregated offers must belong to one single agent. Offer O1 uses agent b and agent a
          f: offers O2=a@r[cpus:4; mem:4096] O3=b@r[cpus:4; mem:4096]
        > accept f O2,O2 run=t:cpus:1
          reply 202
          f: update t TASK_LOST REASON_INVALID_OFFERS Task launched with invalid offers: Duplicate offer O2 in offer list
          f: offers O4=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn f28_a_repeated_call_is_answered_as_the_first_was() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t:cpus:1 call=c refuse=0
          put launch L0 f@r on a t t[cpus:1] sent 1.1
          reply 202
          f: offers O1=a@r[cpus:3; mem:4096]
          a: orders from 1: launch L0 (t)
        > accept f O0 run=t:cpus:1 call=c
          reply 202
        # one id, one effect, whatever it comes with
        > accept f O1 run=u:cpus:1 call=c
          reply 202
        # the next leader knows it from the launch row
        > standby
        > lead 2
          all agents: handshake 2
        > accept f O0 run=t:cpus:1 call=c
          reply 202
        # and goes on knowing it when the task has ended
        > task f t FINISHED
          delete launch L0
        > forget-task f t
        > accept f O0 run=t:cpus:1 call=c
          reply 202
        ",
    );
}

#[test]
fn invalid_tasks_are_refused_one_by_one_and_groups_as_a_whole() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t1:cpus:3,t2:cpus:2,t1:cpus:1,t3:cpus:1 refuse=0
          put launch L0 f@r on a t1 t1[cpus:3] sent 1.1
          put launch L1 f@r on a t3 t3[cpus:1] sent 1.2
          reply 202
          f: update t2 TASK_ERROR REASON_TASK_INVALID Total resources cpus:2 required by task and its executor is more than available cpus:1; mem:4096
          f: update t1 TASK_ERROR REASON_TASK_INVALID Task has duplicate ID: t1
          f: offers O1=a@r[mem:4096]
          a: orders from 1: launch L0 (t1), launch L1 (t3)
        > accept f O1 executor=e:cpus:0 group=g1:mem:1,t3:mem:1 refuse=0
          reply 202
          f: update g1 TASK_ERROR REASON_TASK_GROUP_INVALID Task 't3' is invalid: Task has duplicate ID: t3
          f: update t3 TASK_ERROR REASON_TASK_GROUP_INVALID Task 't3' is invalid: Task has duplicate ID: t3
          f: offers O2=a@r[mem:4096]
        > accept f O2 executor=e:mem:32 group=g1:mem:1,g2:mem:1 refuse=0
          put launch L2 f@r on a e[mem:32] g1[mem:1] g2[mem:1] sent 1.3
          reply 202
          f: offers O3=a@r[mem:4062]
          a: orders from 3: launch L2 (g1 g2)
        > accept f O3 run=t9:mem:1 id=x refuse=0
          reply 202
          f: update t9 TASK_ERROR REASON_TASK_INVALID The `id` field cannot be set on LAUNCH operations
          f: offers O4=a@r[mem:4062]
        ",
    );
}

#[test]
fn an_operation_that_is_not_supported_fails_and_the_others_go_on() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 other=CREATE_DISK refuse=0
          reply 202
          f: offers O1=a@r[cpus:4; mem:4096]
        > accept f O1 other=CREATE_DISK id=x refuse=0
          reply 202
          f: operation x failed: CREATE_DISK failed: no
          f: offers O2=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn tasks_that_share_an_executor_pay_for_it_once_and_the_last_one_frees_it() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 executor=e:cpus:0.5 run=t1:cpus:1,t2:cpus:1 refuse=0
          put launch L0 f@r on a e[cpus:0.5] t1[cpus:1] sent 1.1
          put launch L1 f@r on a e t2[cpus:1] sent 1.2
          reply 202
          f: offers O1=a@r[cpus:1.5; mem:4096]
          a: orders from 1: launch L0 (t1), launch L1 (t2)
        > allocated a
          cpus:2.5
        > accept f O1 executor=e:cpus:0.5 run=t3:cpus:1 refuse=0
          put launch L2 f@r on a e t3[cpus:1] sent 1.3
          reply 202
          f: offers O2=a@r[cpus:0.5; mem:4096]
          a: orders from 3: launch L2 (t3)
        > task f t1 FINISHED launch=L0
          delete launch L0
          put launch L1 f@r on a e[cpus:0.5] t2[cpus:1] sent 1.2
          f: offers O3=a@r[cpus:1]
        > allocated a
          cpus:2.5
        > task f t2 FINISHED launch=L1
          delete launch L1
          put launch L2 f@r on a e[cpus:0.5] t3[cpus:1] sent 1.3
          f: offers O4=a@r[cpus:1]
        > task f t3 FINISHED launch=L2
          delete launch L2
          f: offers O5=a@r[cpus:1.5]
        > allocated a
          nothing
        ",
    );
}

#[test]
fn f58_a_task_id_is_taken_until_the_registry_forgets_it() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t:cpus:1 refuse=0
          put launch L0 f@r on a t t[cpus:1] sent 1.1
          reply 202
          f: offers O1=a@r[cpus:3; mem:4096]
          a: orders from 1: launch L0 (t)
        > accept f O1 run=t:cpus:1 refuse=0
          reply 202
          f: update t TASK_ERROR REASON_TASK_INVALID Task has duplicate ID: t
          f: offers O2=a@r[cpus:3; mem:4096]
        > task f t FINISHED
          delete launch L0
          f: offers O3=a@r[cpus:1]
        > accept f O3 run=t:cpus:1 refuse=0
          reply 202
          f: update t TASK_ERROR REASON_TASK_INVALID Task has duplicate ID: t
          f: offers O4=a@r[cpus:1]
        > forget-task f t
        > accept f O4 run=t:cpus:1
          put launch L1 f@r on a t t[cpus:1] sent 1.2
          reply 202
          a: orders from 2: launch L1 (t)
        ",
    );
}

#[test]
fn an_executor_whose_tasks_have_ended_on_the_agent_is_paid_for_again() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 executor=e:cpus:0.5 run=t1:cpus:1 refuse=0
          put launch L0 f@r on a e[cpus:0.5] t1[cpus:1] sent 1.1
          reply 202
          f: offers O1=a@r[cpus:2.5; mem:4096]
          a: orders from 1: launch L0 (t1)
        > report a term=1 number=1 holds=L0/f/
          put launch L0 f@r on a e t1[] sent 1.1
          a: welcome a
          f: offers O2=a@r[cpus:1.5]
        > accept f O1 executor=e:cpus:0.5 run=t2:cpus:1 refuse=0
          put launch L1 f@r on a e[cpus:0.5] t2[cpus:1] sent 1.2
          reply 202
          f: offers O3=a@r[cpus:1; mem:4096]
          a: orders from 2: launch L1 (t2)
        ",
    );
}

#[test]
fn a_frameworks_own_executor_holds_its_part_until_its_agent_says_that_it_is_gone() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 own=e:cpus:0.5 run=t1:cpus:1 refuse=0
          put launch L0 f@r on a e[cpus:0.5] t1[cpus:1] sent 1.1
          reply 202
          f: offers O1=a@r[cpus:2.5; mem:4096]
          a: orders from 1: launch L0 (t1)
        > task f t1 FINISHED launch=L0
          put launch L0 f@r on a e[cpus:0.5]  sent 1.1
          f: offers O2=a@r[cpus:1]
        > allocated a
          cpus:0.5
        > accept f O1 own=e:cpus:0.5 run=t2:cpus:1 refuse=0
          put launch L1 f@r on a e t2[cpus:1] sent 1.2
          reply 202
          f: offers O3=a@r[cpus:1.5; mem:4096]
          a: orders from 2: launch L1 (t2)
        > report a term=1 number=2 holds=L0/f//cpus:0.5,L1/f/t2:cpus:1
          a: welcome a
        > beat a number=2 holds=L0,L1
          a: heard
        > report a term=1 number=2 answers=1 holds=L1/f/
          delete launch L0
          put launch L1 f@r on a e t2[] sent 1.2
          a: welcome a
          f: offers O4=a@r[cpus:1.5]
        > allocated a
          nothing
        ",
    );
}

#[test]
fn an_executor_without_a_task_that_no_row_knows_is_adopted() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a term=0 number=9 answers=1 holds=9:L4/f//cpus:0.5
          put agent a shook 1
          put launch 00000000-0000-0000-0000-000000000009-L4 f@r on a e[cpus:0.5]  sent 0.0 adopted
          a: welcome a
          f: offers O0=a@r[cpus:3.5; mem:4096]
        > framework f state=removed
          a: orders from 1: shut down f
        > report a term=1 number=1 answers=1 holds=9:L4/f//cpus:0.5
          a: welcome a
          a: orders from 2: shut down f
        > allocated a
          cpus:0.5
        > report a term=1 number=2 answers=1
          delete launch 00000000-0000-0000-0000-000000000009-L4
          a: welcome a
        ",
    );
}
