//! ACCEPT, as scenarios.

use super::super::scenario::plays;

#[test]
fn an_accepted_task_is_written_down_ordered_and_what_is_left_over_is_refused() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t1:cpus:1;mem:32,t2:cpus:1
        > allocated a
        > free a
        > framework g
        > beat a number=2 holds=L0,L1
        > pass 5000
        ",
    );
}

#[test]
fn f55_an_offer_is_consumed_once() {
    plays(
        "
        > lead 1
        > framework f
        > framework g caps=partition
        > report a
        > report b
        > accept f O0 run=t1:cpus:1
        # again, by another call, together with one that is still valid
        > accept f O0,O2 run=t2:cpus:1
        # an offer of somebody else
        > accept g O0 run=t3:cpus:1 other=RESERVE id=x
        > accept f run=t4:cpus:1
        ",
    );
}

#[test]
fn offers_of_two_agents_or_roles_cannot_be_accepted_together() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > report b
        > accept f O0,O1 run=t:cpus:1
        > accept f O2,O2 run=t:cpus:1
        ",
    );
}

#[test]
fn a_repeated_call_is_answered_as_the_first_was() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t:cpus:1 call=c refuse=0
        > accept f O0 run=t:cpus:1 call=c
        # the next leader knows it from the launch row
        > standby
        > lead 2
        > accept f O0 run=t:cpus:1 call=c
        ",
    );
}

#[test]
fn invalid_tasks_are_refused_one_by_one_and_groups_as_a_whole() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t1:cpus:3,t2:cpus:2,t1:cpus:1,t3:cpus:1 refuse=0
        > accept f O1 executor=e:cpus:0 group=g1:mem:1,t3:mem:1 refuse=0
        > accept f O2 executor=e:mem:32 group=g1:mem:1,g2:mem:1 refuse=0
        > accept f O3 run=t9:mem:1 id=x refuse=0
        ",
    );
}

#[test]
fn an_operation_that_is_not_supported_fails_and_the_others_go_on() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 other=RESERVE refuse=0
        > accept f O1 other=RESERVE id=x refuse=0
        ",
    );
}

#[test]
fn tasks_that_share_an_executor_pay_for_it_once_and_the_last_one_frees_it() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 executor=e:cpus:0.5 run=t1:cpus:1,t2:cpus:1 refuse=0
        > allocated a
        > accept f O1 executor=e:cpus:0.5 run=t3:cpus:1 refuse=0
        > task f t1 FINISHED launch=L0
        > allocated a
        > task f t2 FINISHED launch=L1
        > task f t3 FINISHED launch=L2
        > allocated a
        ",
    );
}

#[test]
fn a_task_id_is_taken_until_the_registry_forgets_it() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t:cpus:1 refuse=0
        > accept f O1 run=t:cpus:1 refuse=0
        > task f t FINISHED
        > accept f O3 run=t:cpus:1 refuse=0
        ",
    );
}
