//! Room that is made, as scenarios.

use super::super::{
    Options,
    scenario::{plays, plays_with},
};

const LIFE: &str = "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a total=cpus:4
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4]
        > accept f O0 run=t1:cpus:2,t2:cpus:2 refuse=0
          put launch L0 f@r on a t1 t1[cpus:2] sent 1.1
          put launch L1 f@r on a t2 t2[cpus:2] sent 1.2
          reply 202
          a: orders from 1: launch L0 (t1), launch L1 (t2)
        > framework g priority=5
";

#[test]
fn lower_work_of_the_same_role_goes_for_a_need_the_least_work_lost_first() {
    let options = Options { preemption: true, ..Options::default() };
    plays_with(
        options,
        &format!(
            "{LIFE}
        > request g big:cpus:2 hold=60000
          reply 202
          a: orders from 3: preempt t1: made room for 'big' of framework g in role r
        > task f t1 FAILED
          delete launch L0
          g: offers O1=a@r[cpus:2]
        "
        ),
    );
}

#[test]
fn nobody_goes_unless_the_operator_allows_it() {
    plays(&format!(
        "{LIFE}
        > request g big:cpus:2 hold=60000
          reply 202
        > needs
          g big: 0 of 1, holds , waits for cpus:2 more on agent a
        "
    ));
}
