//! Joining, as scenarios.

use super::super::scenario::plays;

#[test]
fn f78_a_token_is_good_for_one_agent_and_its_repeat_gets_the_same_answer() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > join a key=1 instance=7
          reply 403 the join token is not known or has ended; `mesos token create --agent` makes another
        > operator join-token a ttl=60000
          put join token a
          reply 200
        > operator join-token a ttl=60000
          reply 200
        > join a key=1 instance=7
          put join token a used by S0
          reply 200 S0
        > join a key=1 instance=7
          reply 200 S0
        > join a key=2 instance=8
          trouble: a join token that agent 00000000-0000-0000-0000-000000000001-S0 has used was shown by another: who has a copy of it?
          reply 403 the join token was used already; `mesos token create --agent` makes another
        ",
    );
}

#[test]
fn a_token_ends_used_or_not() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > operator join-token a ttl=1000
          put join token a
          reply 200
        > operator join-token b ttl=2000
          put join token b
          reply 200
        > join b key=1 instance=7
          put join token b used by S0
          reply 200 S0
        > pass 1000
          +1000 delete join token a
        > join a key=1 instance=7
          reply 403 the join token is not known or has ended; `mesos token create --agent` makes another
        > pass 1000
          +2000 delete join token b
        > operator join-token c ttl=0
          reply 400 a join token is good for more than nothing and at most 30 days
        ",
    );
}

#[test]
fn the_next_leader_knows_which_tokens_were_used() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > operator join-token a ttl=60000
          put join token a
          reply 200
        > join a key=1 instance=7
          put join token a used by S0
          reply 200 S0
        > standby
        > lead 2
          all agents: handshake 2
        > join a key=1 instance=7
          reply 200 S0
        > join a key=2 instance=7
          trouble: a join token that agent 00000000-0000-0000-0000-000000000001-S0 has used was shown by another: who has a copy of it?
          reply 403 the join token was used already; `mesos token create --agent` makes another
        ",
    );
}

#[test]
fn an_agent_that_has_an_id_keeps_it_and_takes_nobody_elses() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > report a instance=7
          put agent a shook 1
          a: welcome a
        > operator join-token t ttl=60000
          put join token t
          reply 200
        > join t key=1 instance=99 agent=a
          reply 403 agent id a belongs to another agent
        > join t key=1 instance=7 agent=a
          put join token t used by a
          reply 200 a
        ",
    );
}
