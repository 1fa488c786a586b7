//! Who may call, as scenarios.

use super::super::scenario::plays;

#[test]
fn f70_a_call_is_checked_in_mesos_order_before_anything_is_done() {
    plays(
        "
        > lead 1
        > framework f principal=alice
        > report a
        > accept nobody O0
        > accept f O0 principal=mallory
        > accept f O0 stream=none
        > accept f O0 stream=7
        > framework f principal=alice state=lost
        > accept f O0
        > framework f principal=alice state=removed
        > accept f O0
        ",
    );
}

#[test]
fn a_framework_can_neither_use_nor_decline_the_offers_of_another() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > framework g
        > decline g O0
        > decline g O0,nonsense,O00,O7
        > accept f O0 refuse=0
        ",
    );
}

#[test]
fn f54_a_call_that_is_ahead_of_the_registry_waits_for_its_rows() {
    plays(
        "
        > lead 1
        > report a
        > accept f O0 run=t1:cpus:1 seq=5
        > seq 4
        > framework f
        > seq 5
        > accept f O0 seq=9
        > pass 5000
        ",
    );
}
