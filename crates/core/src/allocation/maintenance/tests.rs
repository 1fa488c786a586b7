//! Maintenance, as scenarios.

use super::super::scenario::plays;

const BUSY: &str = "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t1:cpus:1 refuse=60000
          put launch L0 f@r on a t1 t1[cpus:1] sent 1.1
          reply 202
          a: orders from 1: launch L0 (t1)
        > beat a number=1 holds=L0
          a: heard
        ";

fn plays_busy(text: &str) {
    plays(&format!("{BUSY}{text}"));
}

#[test]
fn frameworks_with_something_there_are_asked_to_leave_and_their_answers_are_shown() {
    plays_busy(
        "
        > operator schedule HOST-A@50:10
          put maintenance: 1 windows, 0 down
          reply 200
          f: leave I0=a at 50
        > maintenance
          host-a draining: f was asked
        > inverse g accept I0
          reply 400 Framework cannot be found
        > inverse f accept I0 refuse=20000
          reply 202
        > maintenance
          host-a draining: f accepted
        > inverse f decline I0,I7,O0
          reply 202
        > maintenance
          host-a draining: f accepted
        > pass 10000
        > beat a number=1 holds=L0
          a: heard
        > pass 10000
          +20000 f: leave I1=a at 50
        > inverse f decline I1 refuse=60000
          reply 202
        > maintenance
          host-a draining: f declined
        ",
    );
}

#[test]
fn offers_say_when_their_agent_will_be_away_and_a_change_takes_them_back() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > operator schedule host-a@50,host-b@60
          put maintenance: 2 windows, 0 down
          f: rescind O0
          reply 200
          f: offers O1=a@r[cpus:4; mem:4096] until 50
        > operator schedule host-a@50
          put maintenance: 1 windows, 0 down
          reply 200
        > operator schedule
          delete maintenance
          f: rescind O1
          reply 200
          f: offers O2=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn inverse_offers_are_rescinded_when_they_mean_nothing_any_more() {
    plays_busy(
        "
        > operator schedule host-a@50
          put maintenance: 1 windows, 0 down
          reply 200
          f: leave I0=a at 50
        > operator schedule host-a@70
          put maintenance: 1 windows, 0 down
          reply 200
          f: rescind inverse I0
          f: leave I1=a at 70
        > task f t1 FINISHED
          delete launch L0
          f: rescind inverse I1
          f: offers O1=a@r[cpus:4; mem:4096] until 70
        > maintenance
          host-a draining
        ",
    );
}

#[test]
fn a_framework_that_subscribes_again_and_the_next_leader_ask_again() {
    plays_busy(
        "
        > operator schedule host-a@50
          put maintenance: 1 windows, 0 down
          reply 200
          f: leave I0=a at 50
        > framework f sub=2
          f: leave I1=a at 50
          f: offers O1=a@r[cpus:3; mem:4096] until 50
        > standby
        > lead 2
          all agents: handshake 2
        > report a term=1 number=1 answers=2 holds=L0/f/t1:cpus:1
          put agent a shook 2
          a: welcome a
          f: leave 2:I0=a at 50
          f: offers 2:O0=a@r[cpus:3; mem:4096] until 50
        ",
    );
}

#[test]
fn an_inverse_offer_that_nobody_answers_is_rescinded_and_made_again() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t1:cpus:4;mem:4096
          put launch L0 f@r on a t1 t1[cpus:4; mem:4096] sent 1.1
          reply 202
          a: orders from 1: launch L0 (t1)
        > operator schedule host-a@50
          put maintenance: 1 windows, 0 down
          reply 200
          f: leave I0=a at 50
        > beat a number=1 holds=L0
          a: heard
        > pass 14000
        > beat a number=1 holds=L0
          a: heard
        > pass 14000
        > beat a number=1 holds=L0
          a: heard
        > pass 14000
        > beat a number=1 holds=L0
          a: heard
        > pass 14000
        > beat a number=1 holds=L0
          a: heard
        > pass 5000
          +60000 f: rescind inverse I0
          +60000 f: leave I1=a at 50
        ",
    );
}

#[test]
fn agents_of_a_machine_that_is_down_end_their_tasks_and_come_back_when_it_is_up() {
    plays_busy(
        "
        > operator schedule host-a@50
          put maintenance: 1 windows, 0 down
          reply 200
          f: leave I0=a at 50
        > operator down host-a
          put maintenance: 1 windows, 1 down
          put agent a unreachable down
          delete launch L0
          a: refused, wait
          reply 200
          f: rescind inverse I0
        > maintenance
          host-a down
        > beat a number=1 holds=L0
          a: refused, wait
        > standby
        > lead 2
          all agents: handshake 2
        > report a term=1 number=1 answers=2 holds=L0/f/t1:cpus:1
          a: refused, wait
        > operator schedule
          reply 400 Machine 'host-a' is down and cannot leave the schedule; stop its maintenance first
        > operator up host-a
          delete maintenance
          reply 200
        > report a term=1 number=1 answers=2 holds=L0/f/t1:cpus:1
          a: refused, wait
        > report a term=1 number=1 answers=2 holds=L0/f/
          put agent a shook 2
          a: welcome a
          f: offers 2:O0=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn a_new_agent_on_a_machine_that_is_down_has_to_wait() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > operator schedule host-?@50
          put maintenance: 1 windows, 0 down
          reply 200
        > operator down host-?
          put maintenance: 1 windows, 1 down
          reply 200
        > report ? instance=5
          instance 5: refused, wait
        > operator up host-?
          delete maintenance
          reply 200
        > report ? instance=5
          put agent S0 shook 1
          instance 5: welcome S0
        ",
    );
}

#[test]
fn a_schedule_that_cannot_be_is_refused_and_changes_nothing() {
    for (call, why) in [
        ("schedule @50", "A maintenance window names no machine"),
        ("schedule nobody@50", "A machine needs a hostname or an IP address"),
        ("schedule a/1.2.3@50", "'1.2.3' is no IP address"),
        ("schedule a+b@50:-1", "The duration of an unavailability is negative"),
        ("schedule a+b@50,A@60", "Machine 'a' is in the maintenance schedule more than once"),
        ("schedule a/10.0.0.1@50,10.0.0.1@60", "Machine '10.0.0.1' is in the maintenance schedule more than once"),
        ("down", "No machine is named"),
        ("down b", "Machine 'b' is not in the maintenance schedule and cannot be brought down"),
        ("down kept,kept", "Machine 'kept' is named twice"),
        ("up kept", "Machine 'kept' is not down and cannot be brought up"),
    ] {
        plays(&format!(
            "
            > lead 1
              all agents: handshake 1
            > operator schedule kept@1
              put maintenance: 1 windows, 0 down
              reply 200
            > operator {call}
              reply 400 {why}
            > maintenance
              kept draining
            "
        ));
    }
}

#[test]
fn machines_are_told_apart_by_all_that_is_said_of_them() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > operator schedule a/10.0.0.1+a/10.0.0.2@1,10.0.0.3@2
          put maintenance: 2 windows, 0 down
          reply 200
        > operator down a/10.0.0.1
          put maintenance: 2 windows, 1 down
          reply 200
        > operator down a/10.0.0.1
          reply 400 Machine 'a (10.0.0.1)' is down already
        > operator up a/10.0.0.1
          put maintenance: 2 windows, 0 down
          reply 200
        > maintenance
          a (10.0.0.2) draining
          10.0.0.3 draining
        ",
    );
}

#[test]
fn numbers_of_orders_go_on_when_a_machine_is_back_in_the_same_term() {
    plays_busy(
        "
        > operator schedule host-a@50
          put maintenance: 1 windows, 0 down
          reply 200
          f: leave I0=a at 50
        > operator down host-a
          put maintenance: 1 windows, 1 down
          put agent a unreachable down
          delete launch L0
          a: refused, wait
          reply 200
          f: rescind inverse I0
        > operator up host-a
          delete maintenance
          reply 200
        > report a term=1 number=1 answers=1
          put agent a shook 1
          a: welcome a
          f: offers O1=a@r[cpus:4; mem:4096]
        > accept f O1 run=t3:cpus:1 refuse=60000
          put launch L1 f@r on a t3 t3[cpus:1] sent 1.2
          reply 202
          a: orders from 2: launch L1 (t3)
        ",
    );
}

#[test]
fn an_agent_whose_machine_was_down_is_admitted_once_orders_of_before_cannot_reach_it_any_more() {
    let down = "
        > operator schedule host-a@50
          put maintenance: 1 windows, 0 down
          reply 200
          f: leave I0=a at 50
        > operator down host-a
          put maintenance: 1 windows, 1 down
          put agent a unreachable down
          delete launch L0
          a: refused, wait
          reply 200
          f: rescind inverse I0
        ";
    // It was welcomed by this term, but has not heard of that; the first order may still come.
    plays_busy(&format!(
        "{down}
        > operator up host-a
          delete maintenance
          reply 200
        > report a term=0 number=0 answers=1
          a: refused, wait
        > report a term=1 number=1 answers=1
          put agent a shook 1
          a: welcome a
          f: offers O1=a@r[cpus:4; mem:4096]
        "
    ));
    // It has not heard of the next leader yet, and would take up what the last one ordered.
    plays_busy(&format!(
        "{down}
        > standby
        > lead 2
          all agents: handshake 2
        > operator up host-a
          delete maintenance
          reply 200
        > report a term=1 number=0 answers=1
          a: handshake 2
        > report a term=1 number=0 answers=2
          put agent a shook 2
          a: welcome a
          f: offers 2:O0=a@r[cpus:4; mem:4096]
        "
    ));
}
