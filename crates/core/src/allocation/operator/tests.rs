//! What operators set, as scenarios.

use super::super::scenario::plays;

#[test]
fn a_limit_cuts_offers_and_room_under_it_is_offered_at_once() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > operator quota r limit=cpus:3
          put role r
          reply 200
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:3; mem:4096]
        > accept f O0 run=t:cpus:3 refuse=0
          put launch L0 f@r on a t t[cpus:3] sent 1.1
          reply 202
          f: offers O1=a@r[mem:4096]
          a: orders from 1: launch L0 (t)
        > operator quota r limit=cpus:2
          reply 409 Role 'r' uses cpus:3 already, more than the limit of 2; use force to set it anyway
        > operator quota r limit=cpus:3.5
          put role r
          reply 200
          f: offers O2=a@r[cpus:0.5]
        > operator quota r limit=cpus:2 force=1
          put role r
          f: rescind O2
          f: rescind O1
          reply 200
          f: offers O3=a@r[mem:4096]
        > task f t FINISHED
          delete launch L0
          f: offers O4=a@r[cpus:2]
        ",
    );
}

#[test]
fn f20_what_an_operator_asked_an_earlier_leader_for_is_not_done_by_the_next_one() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > operator quota r limit=cpus:3 call=early term=1
          put role r
          reply 200
        > operator quota r limit=cpus:5 call=later term=1
          put role r
          reply 200
        > standby
        > lead 2
          all agents: handshake 2
        > operator quota r limit=cpus:3 call=early term=1
          reply 503 changing its leader; try again
        > operator quota r limit=cpus:3 call=early term=2
          put role r
          reply 200
        # one that was refused stays refused
        > operator quota r limit=cpus:9 guarantee=cpus:9 call=refused
          reply 409 All guarantees together are cpus:9, but the cluster has 0; use force to set it anyway
        > operator quota r limit=cpus:9 guarantee=cpus:9 force=1 call=refused
          reply 409 All guarantees together are cpus:9, but the cluster has 0; use force to set it anyway
        ",
    );
}

#[test]
fn a_guarantee_is_kept_free_for_a_role_that_is_not_there_yet() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > operator quota web guarantee=cpus:9
          reply 409 All guarantees together are cpus:9, but the cluster has 4; use force to set it anyway
        > operator quota web guarantee=cpus:3;mem:96
          put role web
          reply 200
        > decline f O0 refuse=0
          reply 202
          f: offers O1=a@r[cpus:1; mem:4000]
        > framework g roles=web/shop
          g: offers O2=a@web/shop[cpus:3; mem:96]
        ",
    );
}

#[test]
fn bad_settings_are_refused_and_change_nothing() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > operator weight r 0
          reply 400 The weight of role 'r' must be above 0 and at most 1000000
        > operator weight a//b 1000
          reply 400 'a//b' is no role
        > operator quota r limit=cpus:1 guarantee=cpus:2
          reply 400 Role 'r' cannot be guaranteed cpus:2 and limited to cpus:1
        > operator policy nonsense
          reply 400 there is no policy 'nonsense'; there are drf, fifo, drc, random, and modules that were loaded
        > operator policy fifo
          put policy fifo
          reply 200
        > operator weight r 2000
          put role r
          reply 200
        > operator weight r 1000
          delete role r
          reply 200
        ",
    );
}

#[test]
fn what_was_set_survives_the_leader() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > operator quota r limit=cpus:1
          put role r
          reply 200
        > framework f
        > standby
        > lead 2
          all agents: handshake 2
        > report a
          put agent a shook 2
          a: welcome a
          f: offers 2:O0=a@r[cpus:1; mem:4096]
        ",
    );
}
