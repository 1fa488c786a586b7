//! Rows of the registry, as scenarios.

use super::super::scenario::plays;

#[test]
fn a_new_subscription_gets_new_offers_and_the_old_ones_go_silently() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > framework f sub=2
        > decline f O0 stream=2
        > framework f sub=2 state=lost
        > framework f sub=2
        ",
    );
}

#[test]
fn offers_in_a_role_that_was_left_are_rescinded() {
    plays(
        "
        > lead 1
        > framework f roles=a,b
        > report x
        > framework f roles=b
        ",
    );
}

#[test]
fn f22_a_kill_is_ordered_behind_the_launch_and_again_by_the_next_leader() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t1:cpus:1
        > standby
        > task f t1 STAGING kill=1
        > lead 2
        > report a term=1 number=0 answers=2
        > report a term=1 number=0 answers=2
        ",
    );
}

#[test]
fn a_removed_framework_is_shut_down_where_it_has_something() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > report b
        > accept f O0 run=t1:cpus:1
        > framework f state=removed
        > accept f O1
        > task f t1 KILLED
        > forget f
        ",
    );
}

#[test]
fn the_end_of_a_task_frees_its_part_of_a_group_and_twice_is_once() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 executor=e:cpus:0.5 group=t1:cpus:1,t2:cpus:2 refuse=0
        > task f t1 FAILED
        > task f t1 FAILED
        > task f t2 LOST
        > task f t2 FAILED
        > free a
        ",
    );
}

#[test]
fn what_ended_while_nobody_led_is_free_at_the_start_of_the_term() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t1:cpus:1,t2:cpus:1
        > standby
        > task f t1 FINISHED
        > lead 2
        ",
    );
}
