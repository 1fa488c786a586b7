//! Who is offered what, as scenarios.

use std::time::Duration;

use super::super::{
    Options,
    scenario::{plays, plays_with},
};

#[test]
fn a_framework_is_offered_everything_free_as_soon_as_it_is_there() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report a
          put agent a shook 1
          a: welcome a
        > report b total=cpus:2
          put agent b shook 1
          b: welcome b
        > framework f
          f: offers O0=b@r[cpus:2] O1=a@r[cpus:4; mem:4096]
        > framework g
        > decline f O0
          reply 202
          g: offers O2=b@r[cpus:2]
        > pass 1
        ",
    );
}

#[test]
fn nothing_is_offered_of_an_agent_that_has_not_shaken_hands_in_this_term() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report a
          put agent a shook 1
          a: welcome a
        > standby
        > framework f
        > lead 2
          all agents: handshake 2
        > beat a term=1
          a: handshake 2
        > report a term=1 answers=2
          put agent a shook 2
          a: welcome a
          f: offers 2:O0=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn a_refused_offer_comes_back_when_its_filter_ends_or_is_forgotten() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > decline f O0
          reply 202
        > pass 4999
        > pass 1
          +5000 f: offers O1=a@r[cpus:4; mem:4096]
        # zero is no filter
        > decline f O1 refuse=0
          reply 202
          f: offers O2=a@r[cpus:4; mem:4096]
        > decline f O2 refuse=60000
          reply 202
        > framework f revived=1
          f: offers O3=a@r[cpus:4; mem:4096]
        > decline f O3 refuse=60000
          reply 202
        > report a attributes=rack:1
          put agent a shook 1
          a: welcome a
          f: offers O4=a@r[cpus:4; mem:4096]
        > decline f O4 refuse=60000
          reply 202
        > framework f revived=1 state=lost
        > framework f revived=1
          f: offers O5=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn a_larger_bundle_than_the_refused_one_is_offered_at_once() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept f O0 run=t:cpus:3 refuse=60000
          put launch L0 f@r on a t t[cpus:3] sent 1.1
          reply 202
          a: orders from 1: launch L0 (t)
        > task f t FINISHED
          delete launch L0
          f: offers O1=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn what_a_framework_cannot_take_goes_to_others() {
    plays_with(
        Options { region: Some("here".into()), ..Options::default() },
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > framework g caps=gpu,region min=cpus:2
        > report a total=cpus:4;gpus:1
          put agent a shook 1
          a: welcome a
          g: offers O0=a@r[cpus:4; gpus:1]
        > report b total=cpus:4 region=there
          put agent b shook 1
          b: welcome b
          g: offers O1=b@r[cpus:4]
        > report c total=cpus:4 region=here
          put agent c shook 1
          c: welcome c
          f: offers O2=c@r[cpus:4]
        > report d total=cpus:1
          put agent d shook 1
          d: welcome d
          f: offers O3=d@r[cpus:1]
        > report e total=ports:[1-5]
          put agent e shook 1
          e: welcome e
        ",
    );
}

#[test]
fn reserved_resources_go_to_their_role_and_the_rest_to_whose_turn_it_is() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f roles=a
        > framework g roles=b/c
        > report x total=cpus:4;cpus(b):2
          put agent x shook 1
          x: welcome x
          f: offers O0=x@a[cpus:4]
          g: offers O1=x@b/c[cpus(b):2]
        > report y total=cpus(a):1
          put agent y shook 1
          y: welcome y
          f: offers O2=y@a[cpus(a):1]
        > report z total=cpus:1;cpus(q):1
          put agent z shook 1
          z: welcome z
          g: offers O3=z@b/c[cpus:1]
        ",
    );
}

#[test]
fn f59_an_offer_that_is_not_answered_is_taken_back() {
    plays_with(
        Options { agent_timeout: std::time::Duration::from_secs(100), ..Options::default() },
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > framework g
        > pass 59999
        > pass 1
          +60000 f: rescind O0
          +60000 g: offers O1=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn a_suppressed_role_keeps_its_offers_and_gets_no_more() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > framework f suppressed=r
        > report b
          put agent b shook 1
          b: welcome b
        > decline f O0 refuse=0
          reply 202
        > framework f revived=1
          f: offers O1=b@r[cpus:4; mem:4096] O2=a@r[cpus:4; mem:4096]
        ",
    );
}

fn confirmed_within_3_s() -> Options {
    Options {
        offer_delivery: Some(Duration::from_secs(3)),
        agent_timeout: Duration::from_secs(60),
        ..Options::default()
    }
}

#[test]
fn f19_offers_that_no_gateway_confirms_are_taken_back_and_made_again() {
    plays_with(
        confirmed_within_3_s(),
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > pass 2999
        > pass 1
          +3000 f: rescind O0
          +3000 f: offers O1=a@r[cpus:4; mem:4096]
        > delivered O1
        > pass 20000
        > decline f O1 refuse=0
          reply 202
          f: offers O2=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn offers_are_not_taken_for_lost_while_no_confirmation_could_be_heard() {
    plays_with(
        confirmed_within_3_s(),
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > deaf
        > pass 10000
        > hears
        > pass 1
          +10000 f: rescind O0
          +10000 f: offers O1=a@r[cpus:4; mem:4096]
        ",
    );
}

#[test]
fn an_offer_that_was_answered_before_its_confirmation_came_is_no_loss() {
    plays_with(
        confirmed_within_3_s(),
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > decline f O0 refuse=1000000
          reply 202
        > pass 4000
        > delivered O0
        ",
    );
}
