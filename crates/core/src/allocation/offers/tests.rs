//! Who is offered what, as scenarios.

use super::super::{
    Options,
    scenario::{plays, plays_with},
};

#[test]
fn a_framework_is_offered_everything_free_as_soon_as_it_is_there() {
    plays(
        "
        > lead 1
        > report a
        > report b total=cpus:2
        > framework f
        > framework g
        > decline f O0
        > pass 1
        ",
    );
}

#[test]
fn nothing_is_offered_of_an_agent_that_has_not_shaken_hands_in_this_term() {
    plays(
        "
        > lead 1
        > report a
        > standby
        > framework f
        > lead 2
        > beat a term=1
        > report a term=1 answers=2
        ",
    );
}

#[test]
fn a_refused_offer_comes_back_when_its_filter_ends_or_is_forgotten() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > decline f O0
        > pass 4999
        > pass 1
        # zero is no filter
        > decline f O1 refuse=0
        > decline f O2 refuse=60000
        > framework f revived=1
        > decline f O3 refuse=60000
        > report a attributes=rack:1
        > decline f O4 refuse=60000
        > framework f revived=1 state=lost
        > framework f revived=1
        ",
    );
}

#[test]
fn a_larger_bundle_than_the_refused_one_is_offered_at_once() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > accept f O0 run=t:cpus:3 refuse=60000
        > task f t FINISHED
        ",
    );
}

#[test]
fn what_a_framework_cannot_take_goes_to_others() {
    plays_with(
        Options { region: Some("here".into()), ..Options::default() },
        "
        > lead 1
        > framework f
        > framework g caps=gpu,region min=cpus:2
        > report a total=cpus:4;gpus:1
        > report b total=cpus:4 region=there
        > report c total=cpus:4 region=here
        > report d total=cpus:1
        > report e total=ports:[1-5]
        ",
    );
}

#[test]
fn reserved_resources_go_to_their_role_and_the_rest_to_whose_turn_it_is() {
    plays(
        "
        > lead 1
        > framework f roles=a
        > framework g roles=b/c
        > report x total=cpus:4;cpus(b):2
        > report y total=cpus(a):1
        > report z total=cpus:1;cpus(q):1
        ",
    );
}

#[test]
fn f59_an_offer_that_is_not_answered_is_taken_back() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > framework g
        > pass 59999
        > pass 1
        ",
    );
}

#[test]
fn a_suppressed_role_keeps_its_offers_and_gets_no_more() {
    plays(
        "
        > lead 1
        > framework f
        > report a
        > framework f suppressed=r
        > report b
        > decline f O0 refuse=0
        > framework f revived=1
        ",
    );
}
