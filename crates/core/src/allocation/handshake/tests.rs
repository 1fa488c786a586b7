//! Handshakes, as scenarios.

use super::super::scenario::plays;

#[test]
fn an_agent_without_an_id_gets_one_and_the_same_again() {
    plays(
        "
        > lead 1
        > report ? instance=7
        > report ? instance=7
        > report ? instance=8
        > report S0 instance=7
        ",
    );
}

#[test]
fn f12_an_agent_of_a_wiped_store_keeps_its_id_and_its_tasks() {
    plays(
        "
        > lead 1
        > report a term=0 number=9 holds=9:L4/f/t1:cpus:1+t2:cpus:1,9:L5/f/
        > allocated a
        > framework f
        > beat a number=0 holds=9:L4
        ",
    );
}

#[test]
fn f36_a_second_instance_of_an_id_is_refused() {
    plays(
        "
        > lead 1
        > report a instance=1
        > report a instance=2
        > beat a instance=2
        ",
    );
}

#[test]
fn f3_a_launch_that_its_agent_has_not_seen_is_ordered_again_by_the_next_leader() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t1:cpus:1,t2:cpus:1,t3:cpus:1
        > standby
        > lead 2
        # an answer to nobody may be old; something hangs on it
        > report a term=1 number=2 holds=L0/f/t1:cpus:1
        > report a term=1 number=2 holds=L0/f/t1:cpus:1 answers=2
        > allocated a
        # the welcome was lost
        > report a term=1 number=2 holds=L0/f/t1:cpus:1 answers=2
        > beat a term=2 number=1 holds=L0,L2
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
        > framework f
        > report a
        > accept f O0 run=t1:cpus:1
        > report a term=1 number=1 holds=L0/f/
        > beat a number=1
        > task f t1 FINISHED
        ",
    );
}

#[test]
fn what_agent_and_allocator_hold_differently_is_settled_by_a_report() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t1:cpus:1
        > beat a number=1
        > beat a number=1
        > report a term=1 number=1
        > beat a number=1
        ",
    );
}

#[test]
fn an_agent_that_shrank_is_never_over_committed() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t1:cpus:3 refuse=0
        > report a term=1 number=1 holds=L0/f/t1:cpus:3 total=cpus:2;mem:4096
        > free a
        > task f t1 FINISHED
        ",
    );
}

#[test]
fn an_agent_that_obeys_someone_higher_makes_the_term_rise() {
    plays(
        "
        > lead 1
        > report a term=3
        > beat a term=2
        ",
    );
}

#[test]
fn tasks_of_a_removed_framework_end_wherever_they_turn_up() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t1:cpus:1,t2:cpus:1
        > standby
        > lead 2
        > framework f state=removed
        > report a term=1 number=1 holds=L0/f/t1:cpus:1,L9/f/t9:cpus:1,L8/unknown/t8:cpus:1 answers=2
        ",
    );
}
