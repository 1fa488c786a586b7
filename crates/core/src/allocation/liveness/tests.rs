//! Silence, as scenarios.

use super::super::{
    Options,
    scenario::{plays, plays_with},
};

#[test]
fn f34_a_silent_agent_is_unreachable_keeps_its_tasks_and_comes_back_by_a_handshake() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t1:cpus:1 refuse=0
        > pass 900
        > beat a number=1 holds=L0
        > pass 14999
        > pass 1
        > allocated a
        > beat a number=1 holds=L0
        > report a term=1 number=1 holds=L0/f/t1:cpus:1 answers=1
        ",
    );
}

#[test]
fn f84_silence_does_not_count_while_the_listener_is_deaf() {
    plays(
        "
        > lead 1
        > report a
        > deaf
        > pass 100000
        > hears
        > pass 14999
        > pass 1
        ",
    );
}

#[test]
fn f84_only_some_agents_become_unreachable_in_one_minute() {
    plays_with(
        Options { unreachable_per_minute_percent: 34, ..Options::default() },
        "
        > lead 1
        > report a
        > report b
        > report c
        > report d
        > report e
        > report f
        > pass 15000
        > pass 59999
        > pass 1
        > pass 60000
        ",
    );
}

#[test]
fn agents_that_do_not_answer_a_new_term_become_unreachable_after_a_full_timeout() {
    plays(
        "
        > lead 1
        > report a
        > standby
        > pass 100000
        > lead 2
        > pass 14999
        > beat a term=1
        > pass 1
        ",
    );
}

#[test]
fn orders_leave_again_until_they_are_taken_up_and_at_once_when_the_bus_is_back() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t1:cpus:1
        > pass 3000
        > bus-back
        > task f t1 RUNNING kill=1
        > task f t1 RUNNING kill=1
        > task f t1 RUNNING kill=2
        > pass 200
        > beat a number=1 holds=L0
        > pass 300
        > beat a number=1 holds=L0
        > beat a number=3 holds=L0
        > pass 9000
        ",
    );
}
